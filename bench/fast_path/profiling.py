"""Where the CPU goes in our driver: by calls, exact and slow, or by samples, rough and nearly free.

``calls`` counts every call in every thread with the CPU clock of that thread. What it finds is distorted where small
functions are called often. ``cpu`` looks every millisecond which thread used the CPU since, and what it stands at; it
sees a thread only where the interpreter lock changes hands, and so prefers what reads and writes.
"""

import cProfile
import re
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from types import CodeType, FrameType
from typing import Final, NamedTuple

SAMPLE_SECONDS: Final = 0.001
SWITCH_SECONDS: Final = 1e-6
"""After which a thread gives the interpreter lock to the one that looks."""
SHOWN: Final = 30

Costs = dict[tuple[str, "CodeType | str"], "Cost"]
"""By thread and function."""
Measured = Callable[[], Awaitable[None]]


class Cost(NamedTuple):
    """What one function cost."""

    calls: int
    own: float
    """CPU seconds, what it called left out."""
    whole: float

    def plus(self, other: "Cost", sign: int = 1) -> "Cost":
        return Cost(self.calls + sign * other.calls, self.own + sign * other.own, self.whole + sign * other.whole)


class Calls:
    """Counts all calls of all threads; make it before the first thread starts."""

    def __init__(self) -> None:
        self._profiles = list[tuple[str, cProfile.Profile]]()
        self._lock = threading.Lock()
        run = threading.Thread.run

        def counted(thread: threading.Thread) -> None:
            with self._profile(thread.name):
                run(thread)

        threading.Thread.run = counted  # type: ignore[method-assign, assignment]
        self._main = self._profile("main")
        self._main.enable()

    def _profile(self, name: str) -> cProfile.Profile:
        made = cProfile.Profile(time.thread_time)
        with self._lock:
            self._profiles.append((name, made))
        return made

    async def around(self, measured: Measured) -> None:
        """Run ``measured`` and print what it cost."""
        before = self._costs()
        begun = time.process_time()
        await measured()
        used = time.process_time() - begun
        self._main.disable()
        found = self._costs()
        for key, cost in before.items():
            found[key] = found[key].plus(cost, -1)
        _tell(found, used)

    def _costs(self) -> Costs:
        found = Costs()
        with self._lock:
            profiles = list(self._profiles)
        for name, profile in profiles:
            for entry in profile.getstats():
                key = name, entry.code
                earlier = found.get(key, Cost(0, 0.0, 0.0))
                new = Cost(entry.callcount, entry.inlinetime, entry.totaltime)
                found[key] = earlier.plus(new)
        return found


class Samples:
    """Looks at all threads every millisecond."""

    def __init__(self) -> None:
        self._own = dict[tuple[str, CodeType | str], float]()
        self._whole = dict[tuple[str, CodeType | str], float]()
        self._clocks = dict[int, float]()
        self._ended = threading.Event()

    async def around(self, measured: Measured) -> None:
        """Run ``measured`` and print what it cost."""
        switch = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        self._look(note=False)
        watcher = threading.Thread(target=self._watch, name="sampler", daemon=True)
        begun = time.process_time()
        watcher.start()
        await measured()
        used = time.process_time() - begun
        self._ended.set()
        watcher.join()
        sys.setswitchinterval(switch)
        _tell({key: Cost(0, self._own.get(key, 0.0), whole) for key, whole in self._whole.items()}, used)

    def _watch(self) -> None:
        while not self._ended.wait(SAMPLE_SECONDS):
            self._look(note=True)

    def _look(self, *, note: bool) -> None:
        frames = sys._current_frames()  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] - its documented name
        for thread in threading.enumerate():
            if thread.ident is None or thread.name == "sampler" or thread.ident not in frames:
                continue
            try:
                now = time.clock_gettime(time.pthread_getcpuclockid(thread.ident))
            except OSError:  # it ended meanwhile
                continue
            used = now - self._clocks.get(thread.ident, now)
            self._clocks[thread.ident] = now
            if note and used:
                self._note(thread.name, frames[thread.ident], used)

    def _note(self, thread: str, frame: FrameType, used: float) -> None:
        own = thread, frame.f_code
        self._own[own] = self._own.get(own, 0.0) + used
        for code in _codes(frame):
            whole = thread, code
            self._whole[whole] = self._whole.get(whole, 0.0) + used


def profiler(how: str | None) -> Calls | Samples | None:
    """Return the profiler called ``how``."""
    if how is None:
        return None
    return Calls() if how == "calls" else Samples()


def _codes(frame: FrameType | None) -> set[CodeType]:
    found = set[CodeType]()
    while frame is not None:
        found.add(frame.f_code)
        frame = frame.f_back
    return found


def _kind(thread: str) -> str:
    """Return the thread's name without what tells it from others of its kind."""
    return re.sub(r"[-_ (]*([0-9a-f]{6,}|\d+)[-0-9a-f)]*$", "", thread) or thread


def _place(code: CodeType | str) -> str:
    if isinstance(code, str):
        return code
    path = code.co_filename
    for root in ("/site-packages/", "/src/", f"/python{sys.version_info[0]}.{sys.version_info[1]}/"):
        path = path.rpartition(root)[2]
    return f"{'/'.join(path.split('/')[-4:])}:{code.co_firstlineno} {code.co_name}"


def _library(place: str) -> str:
    if ":" not in place or place.startswith(("<", "~")):
        return "built in"
    parts = place.partition(":")[0].split("/")
    at = next((index for index, part in enumerate(parts) if part in {"actors", "protocol"}), None)
    if at is not None:
        return "/".join(parts[at : at + 2])
    return parts[0].removesuffix(".py")


def _tell(found: Costs, used: float) -> None:
    print(f"{used * 1e3:.1f} ms of CPU in all", file=sys.stderr)
    threads, libraries = dict[str, float](), dict[str, float]()
    functions = dict[str, Cost]()
    for (thread, code), cost in found.items():
        place = _place(code)
        for table, name in ((threads, _kind(thread)), (libraries, _library(place))):
            table[name] = table.get(name, 0.0) + cost.own
        earlier = functions.get(place, Cost(0, 0.0, 0.0))
        functions[place] = earlier.plus(cost)
    for title, table in (("threads", threads), ("libraries", libraries)):
        print(f"\n{title}", file=sys.stderr)
        for name, seconds in sorted(table.items(), key=lambda item: -item[1])[:15]:
            print(f"{seconds * 1e3:9.1f} ms {seconds / used:6.1%}  {name}", file=sys.stderr)
    print(f"\n{'own':>12} {'':6} {'with calls':>12} {'calls':>9}  function", file=sys.stderr)
    for place, cost in sorted(functions.items(), key=lambda item: -item[1].own)[:SHOWN]:
        line = f"{cost.own * 1e3:9.1f} ms {cost.own / used:6.1%} {cost.whole * 1e3:9.1f} ms {cost.calls:9}  {place}"
        print(line, file=sys.stderr)
