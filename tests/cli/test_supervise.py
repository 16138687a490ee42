"""``tinkex supervise``: it starts again what died or froze, passes signals on, and ends nothing but its own group."""

import os
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import psutil
import pytest

from support_clients import eventually
from tinkex.cli._base._fail import Failure
from tinkex.cli._jobs._process_group import ProcessGroup
from tinkex.cli._jobs._supervise import Limits, run_supervise

PYTHON = [sys.executable, "-S", "-E", "-c"]
QUICK: dict[str, Any] = {"backoff_seconds": 0.0, "look_seconds": 0.05, "grace_seconds": 20.0}

LIVES = """
import os, sys, signal
folder = sys.argv[1]
life = len(os.listdir(folder))
open(os.path.join(folder, str(life)), "w").write(str(os.getpid()))
"""
"""A program that counts its lives by files in a folder, each with the number of its process."""

BEAT = """
import json, time
def beat(update=0, phase="update", state="training", budget=3600.0, runs=True):
    path = os.environ["TINKEX_PULSE_FILE"]
    one = dict(run="r", update=update, phase=phase, state=state, budget_seconds=budget)
    told = dict(pid=os.getpid(), written=time.time(), every_seconds=0.01, runs=[one] if runs else [])
    open(path + ".new", "w").write(json.dumps(told))
    os.replace(path + ".new", path)
"""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Generator[None]:
    """Each test ends what it started, and leaves the handlers that it found."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # which nohup ignores, and children inherit
    yield
    assert signal.signal(signal.SIGHUP, hung_up) == signal.SIG_DFL
    assert [signal.getsignal(number) for number in numbers] == before
    left = psutil.Process().children()
    for child in left:
        child.kill()
        child.wait(20)
    assert left == []


class Told:
    """What was said, and what to do when it is."""

    def __init__(self, when: str = "", then: Any = None) -> None:
        self.lines: list[str] = []
        self._when, self._then = when, then

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if self._when and self._when in line:
            self._then()

    def has(self, *parts: str) -> bool:
        return any(all(part in line for part in parts) for line in self.lines)


def supervise(code: str, folder: Path, told: Told | None = None, **limits: Any) -> tuple[int, list[int], Told]:
    """Supervise a program; return its status, the process of each of its lives, and what was said."""
    told = told if told is not None else Told()
    status = run_supervise([*PYTHON, LIVES + code, str(folder)], Limits(**{**QUICK, **limits}), told)
    return status, lives(folder), told


def lives(folder: Path) -> list[int]:
    return [int((folder / str(life)).read_text() or 0) for life in range(len(list(folder.iterdir())))]


def gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("status", [0, 1, 2])
def test_an_end_for_good_is_not_started_again(tmp_path: Path, status: int) -> None:
    found, pids, told = supervise(f"sys.exit({status})", tmp_path)
    assert (found, len(pids)) == (status, 1)
    assert told.lines[0] == f"started {sys.executable} as process {pids[0]}"
    assert told.lines[1].startswith(f"process {pids[0]} ended with status {status} after ")
    assert told.lines[1].endswith("; done")


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "was killed by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGTERM)", "was killed by SIGTERM"),
        ("os.abort()", "was killed by SIGABRT"),
        ("sys.exit(75)", "ended with status 75 (resumable)"),
        ("sys.exit(3)", "ended with status 3"),
        ("sys.exit(139)", "ended with status 139"),
    ],
)
def test_what_died_is_started_again_until_it_ends_for_good(tmp_path: Path, end: str, said: str) -> None:
    status, pids, told = supervise(f"if life < 2:\n    {end}", tmp_path)
    assert (status, len(pids)) == (0, 3)
    assert sum(said in line and "starting it again" in line for line in told.lines) == 2


def test_too_many_restarts_within_the_window_end_it_with_the_last_status(tmp_path: Path) -> None:
    status, pids, told = supervise("os.kill(os.getpid(), signal.SIGKILL)", tmp_path, max_restarts=2)
    assert (status, len(pids)) == (137, 3)
    assert told.lines[-1].endswith("; giving up: restarts within 3600 s: 2")
    (tmp_path / "more").mkdir()
    status, pids, _ = supervise(
        "sys.exit(75 if life < 4 else 0)", tmp_path / "more", max_restarts=1, window_seconds=1e-9
    )
    assert (status, len(pids)) == (0, 5), "each window is its own"


def test_it_backs_off_and_doubles(tmp_path: Path) -> None:
    _, _, told = supervise(
        "sys.exit(75 if life < 4 else 0)", tmp_path, backoff_seconds=0.001, max_backoff_seconds=0.003
    )
    waits = [line.rpartition("in ")[2] for line in told.lines if "starting it again" in line]
    assert waits == ["0.001 s", "0.002 s", "0.003 s", "0.003 s"]


WAIT = "import time\nwhile True:\n    time.sleep(0.01)"
"""Until a handler ends it. A signal that comes just before ``signal.pause`` would not."""

ASK = "os.kill(os.getppid(), signal.{name})\n" + WAIT


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_passed_on_and_the_childs_status_is_the_end(tmp_path: Path, name: str) -> None:
    passed = "SIGTERM" if name == "SIGHUP" else name
    code = f"signal.signal(signal.{passed}, lambda *_: sys.exit(75))\n{ASK.format(name=name)}"
    status, pids, told = supervise(code, tmp_path)
    assert (status, len(pids)) == (75, 1), "it was asked to end: what is resumable is not resumed"
    assert told.has(f"{name} came; passing {passed} on to process {pids[0]}")
    assert told.lines[-1].endswith("; done")


def test_a_second_signal_is_passed_on_too(tmp_path: Path) -> None:
    code = (
        "came = []\n"
        "def handle(number, _):\n"
        "    came.append(number)\n"
        "    os.kill(os.getppid(), signal.SIGINT) if len(came) == 1 else sys.exit(9)\n"
        "signal.signal(signal.SIGTERM, handle)\nsignal.signal(signal.SIGINT, handle)\n"
        "os.kill(os.getppid(), signal.SIGTERM)\n"
    ) + WAIT
    status, pids, told = supervise(code, tmp_path)
    assert (status, len(pids)) == (9, 1)
    assert [line.split()[0] for line in told.lines if " came; " in line] == ["SIGTERM", "SIGINT"]


def test_who_does_not_listen_is_killed_after_the_grace(tmp_path: Path) -> None:
    code = f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{ASK.format(name='SIGTERM')}"
    status, pids, told = supervise(code, tmp_path, grace_seconds=0.05)
    assert (status, len(pids)) == (137, 1)
    assert told.has(f"process {pids[0]} did not end within 0.05 s; killing it")


def test_a_signal_while_it_waits_to_start_again_ends_it(tmp_path: Path) -> None:
    told = Told("starting it again", lambda: os.kill(os.getpid(), signal.SIGTERM))
    status, pids, _ = supervise("sys.exit(75)", tmp_path, told, backoff_seconds=1000.0, max_backoff_seconds=1000.0)
    assert (status, len(pids)) == (75, 1)
    assert told.lines[-1] == "asked to end; not starting it again"


STOPPED = BEAT + "if life > 0:\n    sys.exit(0)\nbeat()\nos.kill(os.getpid(), signal.SIGSTOP)\nsys.exit(50)"


def test_a_frozen_process_is_woken_asked_to_end_and_started_again(tmp_path: Path) -> None:
    """It was stopped in the midst of its work, so SIGCONT must come with SIGTERM."""
    handles = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\n"
    status, pids, told = supervise(handles + STOPPED, tmp_path, frozen_seconds=0.2)
    assert (status, len(pids)) == (0, 2)
    assert told.has(f"process {pids[0]} is frozen: nothing was heard of it", "asking it to end, for up to 20 s")
    assert told.has(f"process {pids[0]} ended with status 75 (resumable)")


def test_a_frozen_process_that_cannot_be_woken_is_killed(tmp_path: Path) -> None:
    deaf = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    deaf += "signal.signal(signal.SIGCONT, lambda *_: signal.pause())\n"
    status, pids, told = supervise(deaf + STOPPED, tmp_path, frozen_seconds=0.2, grace_seconds=0.1)
    assert (status, len(pids)) == (0, 2)
    assert told.has(f"process {pids[0]} was killed by SIGKILL")


def test_a_process_that_beats_and_does_not_get_on_is_started_again(tmp_path: Path) -> None:
    """But not while the server pauses it, however long that takes."""
    code = f"""{BEAT}
import select
end = time.monotonic() + 0.6
while life == 0 or time.monotonic() < end:
    beat(budget=0.1, state="training" if life == 0 else "paused_capacity")
    select.select([], [], [], 0.02)
"""
    status, pids, told = supervise(code, tmp_path)
    assert (status, len(pids)) == (0, 2)
    assert sum("is stuck" in line for line in told.lines) == 1
    assert told.has(f"process {pids[0]} is stuck: run r has been at update of update 0", "its budget is 0 s")


def test_one_that_never_tells_a_pulse_is_left_alone(tmp_path: Path) -> None:
    code = "import select\nselect.select([], [], [], 0.5)"
    status, pids, _ = supervise(code, tmp_path, frozen_seconds=0.01)
    assert (status, len(pids)) == (0, 1)


def test_an_old_pulse_is_not_held_against_the_next_life(tmp_path: Path) -> None:
    code = BEAT + "import select\nif life == 0:\n    beat()\n    sys.exit(75)\nselect.select([], [], [], 0.5)"
    status, pids, _ = supervise(code, tmp_path, frozen_seconds=0.1)
    assert (status, len(pids)) == (0, 2)


GRANDCHILD = """
import subprocess
child = subprocess.Popen([sys.executable, "-S", "-E", "-c", {deeds!r}], stdout=subprocess.PIPE)
child.stdout.read(1)
open(os.path.join(os.path.dirname(folder), "grandchild"), "w").write(str(child.pid))
"""
LISTENS = "import os, signal\nos.write(1, b'x')\nsignal.pause()"
DEAF = "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.write(1, b'x')\nsignal.pause()"


@pytest.mark.parametrize(("deeds", "grace"), [(LISTENS, 20.0), (DEAF, 0.1)], ids=["listens", "deaf"])
def test_what_a_dead_child_left_behind_is_ended_before_it_is_started_again(
    tmp_path: Path, deeds: str, grace: float
) -> None:
    """Else an old trainer would train beside the new one."""
    folder = tmp_path / "lives"
    folder.mkdir()
    killed = "if life == 0:\n" + GRANDCHILD.format(deeds=deeds).replace("\n", "\n    ")
    code = f"{killed}\n    os.kill(os.getpid(), signal.SIGKILL)"
    status, pids, told = supervise(code, folder, grace_seconds=grace)
    assert (status, len(pids)) == (0, 2)
    assert told.has(f"process {pids[0]} left processes behind")
    assert gone(int((tmp_path / "grandchild").read_text()))


def test_a_signal_reaches_the_grandchild_behind_a_wrapper(tmp_path: Path) -> None:
    folder = tmp_path / "lives"
    folder.mkdir()
    code = GRANDCHILD.format(deeds=LISTENS) + "os.kill(os.getppid(), signal.SIGTERM)\nsys.exit(child.wait() != -15)"
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + code.replace(
        "subprocess.Popen(", "subprocess.Popen(preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL), args="
    )
    status, _, _ = supervise(code, folder)
    assert status == 0
    assert gone(int((tmp_path / "grandchild").read_text()))


def test_nobody_else_is_ended(tmp_path: Path) -> None:
    """Neither a process of ours outside of the group, nor one that an end for good left behind."""
    folder = tmp_path / "lives"
    folder.mkdir()
    with subprocess.Popen([*PYTHON, LISTENS], stdout=subprocess.PIPE) as bystander:
        assert bystander.stdout is not None
        assert bystander.stdout.read(1) == b"x"
        status, _, _ = supervise(GRANDCHILD.format(deeds=LISTENS) + "os._exit(0)", folder, grace_seconds=0.1)
        left = psutil.Process(int((tmp_path / "grandchild").read_text()))
        assert (status, bystander.poll(), left.is_running()) == (0, None, True)
        bystander.kill()
    left.kill()
    eventually(lambda: gone(left.pid))


def test_a_group_is_signalled_only_while_its_number_is_its_own() -> None:
    group = ProcessGroup([*PYTHON, "import signal; signal.pause()"], dict(os.environ))
    assert (group.status(), group.others()) == (None, [])
    group.signal(signal.SIGKILL)
    eventually(lambda: group.status() is not None)
    assert [group.status(), group.status()] == [-signal.SIGKILL] * 2, "looking does not reap"
    assert psutil.Process(group.pid).status() == psutil.STATUS_ZOMBIE
    assert group.reap() == -signal.SIGKILL
    sent: list[int] = []

    def no_signal(number: int, _signal: int) -> None:
        sent.append(number)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "killpg", no_signal)
        group.signal(signal.SIGKILL)
    assert sent == []
    assert (group.status(), group.others()) == (-signal.SIGKILL, [])


@pytest.mark.parametrize(
    ("command", "why"),
    [
        ([], "supervise what"),
        (["/nonexistent/program"], "/nonexistent/program cannot be started: .*No such file"),
        (["/"], "cannot be started"),
        (["a\0b"], "cannot be started"),
    ],
)
def test_what_cannot_be_started_is_bad_input(command: list[str], why: str) -> None:
    with pytest.raises(Failure, match=why) as caught:
        run_supervise(command, Limits(**QUICK), Told())
    assert caught.value.status == 2


@pytest.mark.parametrize("name", ["max_restarts", "window_seconds", "grace_seconds", "look_seconds", "frozen_seconds"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_limits_that_are_none_are_refused_by_name(name: str, value: float) -> None:
    limits: Any = {name: value}
    with pytest.raises(Failure, match=f"{name} must be a finite number"):
        run_supervise([*PYTHON, "pass"], Limits(**limits), Told())


def test_without_a_listener_each_line_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run_supervise([*PYTHON, "print('hello')"]) == 0
    out, errors = capfd.readouterr()
    assert out == "hello\n"
    assert [line.split(":")[0] for line in errors.splitlines()] == ["tinkex supervise"] * 2


def test_arguments_are_never_printed(tmp_path: Path) -> None:
    _, _, told = supervise("sys.exit(75 if life < 1 else 0)  # tml-secretsecret", tmp_path)
    assert not told.has("tml-secret")


def test_the_command_takes_its_limits_and_gives_the_status_on(tmp_path: Path) -> None:
    options = ["--max-restarts", "1", "--backoff", "0"]
    child = [*PYTHON, LIVES + "sys.exit(75)", str(tmp_path)]
    command = [sys.executable, "-m", "tinkex.cli", "supervise", *options, "--", *child]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, len(lives(tmp_path))) == (75, 2), done.stderr
    assert done.stderr.splitlines()[-1].endswith("giving up: restarts within 3600 s: 1")
