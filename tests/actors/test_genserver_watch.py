"""Point 4: a watcher is told of an end once, with the reason, also of one that is past."""

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import pykka
import pytest

from support_genserver import (
    SECONDS,
    Crash,
    Ping,
    Probe,
    error_of,
    no_actor_left,
    run_in,
    run_script,
    switching_often,
    wait_until_told,
)
from tinkex.actors import Down, GenRef, GenServer
from tinkex.protocol import TinkexError, validation

ENDINGS: list[tuple[Callable[[GenRef], Any], str]] = [
    (lambda ref: ref.stop(), "normal"),
    (lambda ref: ref.stop(reason="shutdown"), "shutdown"),
    (lambda ref: ref.kill(), "killed"),
    (lambda ref: ref.ask(Crash(ValueError("x"))), "crashed"),
]


@pytest.mark.parametrize(("end", "reason"), ENDINGS, ids=[reason for _, reason in ENDINGS])
def test_watchers_before_and_after_the_end_are_told_once_with_the_reason(
    end: Callable[[GenRef], Any], reason: str
) -> None:
    with no_actor_left():
        watching = Probe.start()
        ref = Probe.start()
        downs: list[Down] = []
        ref.monitor(downs.append)
        run_in(watching, lambda actor: actor.monitor(ref))
        end(ref)
        ref.join(SECONDS)
        run_in(watching, lambda actor: actor.monitor(ref))
        late = wait_until_told(ref.monitor)
        assert [down.reason for down in (*downs, late)] == [reason] * 2
        assert downs[0].urn == ref.actor_urn
        assert (downs[0].error is None) == (reason in ("normal", "shutdown"))
        seen = run_in(watching, lambda actor: list(actor.log))
        assert seen == ["start", f"down {reason}", f"down {reason}"]
        watching.stop()


def test_demonitor_takes_it_back_until_it_was_told() -> None:
    with no_actor_left():
        ref = Probe.start()
        downs: list[Down] = []
        take_back = ref.monitor(downs.append)
        ref.monitor(downs.append)
        take_back()
        take_back()
        ref.kill()
        assert len(downs) == 1
        ref.monitor(downs.append)()
        assert len(downs) == 2


def test_watching_ends_with_the_watcher_and_keeps_it_no_longer() -> None:
    with no_actor_left():
        ref, watching = Probe.start(), Probe.start()
        run_in(watching, lambda actor: actor.monitor(ref))
        gone = weakref.ref(watching._actor_weakref())
        assert len(ref._life.watch._watchers) == 1
        watching.stop()
        assert watching.join(SECONDS)
        assert not ref._life.watch._watchers
        gc.collect()
        assert gone() is None
        ref.stop()


def test_finalizers_run_once_before_the_watchers_and_at_once_after_the_end() -> None:
    for end, reason in ENDINGS:
        with no_actor_left():
            order: list[str] = []
            ref = Probe.start()
            ref.monitor(lambda _down, order=order: order.append("watcher"))  # type: ignore[misc]
            actor = ref._actor_weakref()
            assert actor is not None
            for name in ("first", "then"):
                actor.add_finalizer(partial(_write, order, name))
            end(ref)
            ref.join(SECONDS)
            assert order == [f"first {reason}", f"then {reason}", "watcher"]
            actor.add_finalizer(partial(_write, order, "late"))
            assert order[-1] == f"late {reason}"


def _write(order: list[str], name: str, why: str) -> None:
    order.append(f"{name} {why}")


def test_watcher_or_finalizer_that_fails_disturbs_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def fail(_any: object) -> None:
        raise SystemExit("bad callback")

    with no_actor_left():
        ref = Probe.start()
        told: list[Any] = []
        run_in(ref, lambda actor: actor.add_finalizer(fail))
        run_in(ref, lambda actor: actor.add_finalizer(told.append))
        ref.monitor(fail)
        ref.monitor(told.append)
        ref.kill()
        assert [getattr(one, "reason", one) for one in told] == ["killed", "killed"]
    assert caplog.text.count("bad callback") >= 2


def test_init_that_fails_is_raised_by_start_and_told_to_who_watches() -> None:
    leaked: list[GenRef] = []

    class BadInit(GenServer):
        def __init__(self) -> None:
            super().__init__()
            leaked.append(self.ref)
            raise ValueError("bad init")

    with no_actor_left():
        with pytest.raises(TinkexError, match="bad init") as raised:
            BadInit.start()
        assert raised.value.kind == "actor_crashed"
        assert isinstance(raised.value.__cause__, ValueError)
        assert wait_until_told(leaked[0].monitor).reason == "crashed"
        assert error_of(leaked[0].ask(Ping())).kind == "actor_crashed"
        assert leaked[0].join(SECONDS)


@pytest.mark.parametrize("error", [ValueError("bad start"), SystemExit(2)], ids=["exception", "base"])
def test_on_start_that_fails_is_raised_by_start_and_told_to_who_watches(error: BaseException) -> None:
    leaked: list[GenRef] = []
    asked: list[Any] = []
    downs: list[Down] = []

    class BadStart(Probe):
        def __init__(self) -> None:
            super().__init__()
            leaked.append(self.ref)
            asked.append(self.ref.ask(Ping(), block=False))
            self.ref.monitor(downs.append)

        def on_start(self) -> None:
            raise error

        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            downs.clear()

    with no_actor_left():
        with pytest.raises(TinkexError, match=type(error).__name__) as raised:
            BadStart.start()
        assert raised.value.kind == "actor_crashed"
        assert raised.value.__cause__ is error
        assert [down.reason for down in downs] == ["crashed"]
        assert error_of(asked[0].get(timeout=SECONDS)).kind == "actor_crashed"
        assert not leaked[0].is_alive()
        assert not pykka.ActorRegistry.get_all()


def test_start_returns_when_on_start_is_done_and_not_before() -> None:
    gate = threading.Event()
    log: list[str] = []

    class Slow(Probe):
        def on_start(self) -> None:
            assert gate.wait(SECONDS)
            log.append("started")

    with no_actor_left():
        opening = threading.Timer(0.05, gate.set)
        opening.start()
        ref = Slow.start()
        assert log == ["started"]
        opening.join()
        ref.stop()


def test_tinkex_error_of_an_init_is_raised_as_it_is() -> None:
    class Refuses(GenServer):
        def __init__(self, where: str) -> None:
            super().__init__()
            if where == "init":
                raise validation("no such option")

        def on_start(self) -> None:
            raise validation("no such place")

    with no_actor_left():
        for where, text in (("init", "option"), ("start", "place")):
            with pytest.raises(TinkexError, match=text) as raised:
                Refuses.start(where)
            assert raised.value.kind == "validation"


def test_start_with_arguments_that_do_not_fit_is_a_validation_error() -> None:
    with no_actor_left():
        with pytest.raises(TinkexError, match="unexpected") as raised:
            Probe.start(unexpected=1)
        assert raised.value.kind == "validation"


def test_init_that_forgets_its_base_is_told_so() -> None:
    class Forgets(GenServer):
        def __init__(self) -> None: ...  # pyright: ignore[reportMissingSuperCall]

    with no_actor_left(), pytest.raises(TypeError, match="must call super"):
        Forgets.start()


def test_ctrl_c_in_init_is_the_callers() -> None:
    class Interrupted(GenServer):
        def __init__(self) -> None:
            super().__init__()
            raise KeyboardInterrupt

    with no_actor_left(), pytest.raises(KeyboardInterrupt):
        Interrupted.start()


def test_ctrl_c_while_start_waits_kills_the_actor_that_nobody_got() -> None:
    script = """
import _thread, threading
from support_genserver import Probe
gate = threading.Event()
class Slow(Probe):
    def on_start(self):
        _thread.interrupt_main()
        gate.wait(10)
refs = []
class Leaks(Slow):
    def __init__(self):
        super().__init__()
        refs.append(self.ref)
try:
    Leaks.start()
except KeyboardInterrupt:
    print("interrupted", refs[0].is_alive())
gate.set()
"""
    done = run_script(script)
    assert done.stdout == "interrupted False\n", done.stderr


def test_actor_that_is_killed_in_its_start_is_a_failed_start() -> None:
    class Killed(GenServer):
        def on_start(self) -> None:
            self.ref.kill("not wanted")

    with no_actor_left():
        with pytest.raises(TinkexError, match="not wanted") as raised:
            Killed.start()
        assert raised.value.kind == "actor_dead"


def test_thread_that_cannot_start_is_a_failed_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with no_actor_left():
        Probe.start().stop()
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(TinkexError, match="can't start new thread"):
            Probe.start()
        monkeypatch.undo()
        assert not pykka.ActorRegistry.get_all()


def test_each_watcher_is_told_once_however_the_ends_race() -> None:
    with no_actor_left(), switching_often():
        for _ in range(150):
            log: list[str] = []
            ref = Probe.start(log)
            downs: list[list[Down]] = [[] for _ in range(6)]
            barrier = threading.Barrier(3)

            def end(how: int, ref: GenRef = ref, barrier: threading.Barrier = barrier) -> None:
                barrier.wait(SECONDS)
                if how:
                    ref.kill()
                else:
                    ref.ask(Crash(ValueError("x")), block=False)
                    ref.stop(block=False)

            threads = [threading.Thread(target=end, args=(how,)) for how in range(2)]
            for thread in threads:
                thread.start()
            for down in downs[:3]:
                ref.monitor(down.append)
            barrier.wait(SECONDS)
            for down in downs[3:]:
                ref.monitor(down.append)
            for thread in threads:
                thread.join(SECONDS)
            assert ref.join(SECONDS)
            assert [len(down) for down in downs] == [1] * 6
            assert len({down[0].reason for down in downs}) == 1
            assert log in (["start"], ["start", "failure ValueError"])
