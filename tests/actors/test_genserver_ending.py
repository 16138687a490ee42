"""Point 9, within a program: stop refuses new work, lets accepted work finish up to a deadline, answers the rest."""

import gc
import pickle
import threading
from collections.abc import Callable
from typing import Any

import pykka
import pytest
from pykka import messages

from support_genserver import (
    SECONDS,
    Block,
    Call,
    Later,
    Ping,
    Probe,
    Stubborn,
    error_of,
    no_actor_left,
    run_in,
    settled,
    wait_until_told,
)
from tinkex.actors import Deferred, GenRef, GenServer
from tinkex.actors._genserver._life import GRACE_SECONDS
from tinkex.actors.testing import VirtualClock, runtime
from tinkex.protocol import Ok


def _busy(ref: GenRef) -> None:
    """Wait until the actor is at a message."""
    while ref.actor_inbox.current is None:
        pass


def test_queued_work_is_finished_and_new_work_refused_while_it_stops() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        running = ref.ask(Block(gate), block=False)
        queued = [ref.ask(Ping(n), block=False) for n in range(100)]
        stopped = ref.stop(block=False)
        error = error_of(ref.ask(Ping()))
        assert (error.kind, error.data["reason"]) == ("actor_dead", "stopping")
        with pytest.raises(pykka.ActorDeadError):
            ref.tell(Ping())
        assert not stopped.done()
        assert ref.is_alive()
        gate.set()
        assert stopped.get(timeout=SECONDS) is True
        assert settled(running) == Ok(0)
        assert [settled(reply) for reply in queued] == [Ok(n) for n in range(100)]
        assert not ref.is_alive()


def test_order_of_an_ordered_end() -> None:
    with no_actor_left():
        log: list[str] = []
        ref = Stubborn.start(log)
        actor = ref._actor_weakref()
        assert actor is not None
        actor.add_finalizer(log.append)
        ref.monitor(lambda down: log.append(f"watcher {down.reason}"))
        stopped = ref.stop(block=False, reason="shutdown")
        actor.post(Call(lambda actor: Ok(actor.drained())))
        assert stopped.get(timeout=SECONDS)
        assert log == ["start", "drain", "stop shutdown", "shutdown", "watcher shutdown"]


def test_drained_does_nothing_before_the_stop() -> None:
    with no_actor_left():
        ref = Probe.start()
        run_in(ref, lambda actor: actor.drained())
        assert ref.ask(Ping(1)) == Ok(1)
        ref.stop()


def test_what_is_open_at_the_deadline_is_answered_and_on_stop_runs() -> None:
    clock = VirtualClock()
    with no_actor_left(), runtime(clock):
        log: list[str] = []
        ref = Stubborn.start(log)
        reply = ref.ask(Later(Deferred[int]()), block=False)
        stopped = ref.stop(block=False)
        while "drain" not in log:
            pass
        clock.advance(Stubborn.shutdown - 0.1)
        assert not stopped.done()
        clock.advance(0.1)
        assert stopped.get(timeout=SECONDS) is True
        assert "deadline" in error_of(settled(reply)).message
        assert log == ["start", "drain", "stop normal"]
        assert clock.pending() == 0


def test_running_handler_keeps_nobody_waiting_beyond_the_deadline_and_is_killed_after_the_grace() -> None:
    clock, gate = VirtualClock(), threading.Event()
    with no_actor_left(), runtime(clock):
        log: list[str] = []
        ref = Probe.start(log)
        open_reply = ref.ask(Later(Deferred[int]()), block=False)
        running = ref.ask(Block(gate), block=False)
        _busy(ref)
        queued = ref.ask(Ping(), block=False)
        stopped = ref.stop(block=False, shutdown=2.0)
        clock.advance(2.0)
        for reply in (open_reply, running, queued):
            assert error_of(reply.get(timeout=SECONDS)).kind == "actor_dead"
        assert not stopped.done()
        clock.advance(GRACE_SECONDS)
        assert stopped.get(timeout=SECONDS) is True
        assert wait_until_told(ref.monitor).reason == "killed"
        gate.set()
        assert ref.join(SECONDS)
        assert log == ["start"]


def test_handler_that_returns_within_the_grace_ends_in_order() -> None:
    clock, gate = VirtualClock(), threading.Event()
    with no_actor_left(), runtime(clock):
        log: list[str] = []
        ref = Probe.start(log)
        ref.ask(Block(gate), block=False)
        _busy(ref)
        stopped = ref.stop(block=False)
        clock.advance(Probe.shutdown)
        gate.set()
        assert stopped.get(timeout=SECONDS)
        assert log == ["start", "stop normal"]
        assert wait_until_told(ref.monitor).reason == "normal"


def test_second_stop_may_only_shorten_the_deadline() -> None:
    clock = VirtualClock()
    with no_actor_left(), runtime(clock):
        ref = Stubborn.start()
        first = ref.stop(block=False, shutdown=50.0)
        second = ref.stop(block=False, shutdown=1.0, reason="shutdown")
        third = ref.stop(block=False, shutdown=90.0)
        clock.advance(1.0)
        assert [stop.get(timeout=SECONDS) for stop in (first, second, third)] == [True] * 3
        assert wait_until_told(ref.monitor).reason == "normal"
        assert ref.stop(block=False).get(timeout=SECONDS) is False


def test_on_stop_without_a_reason_works_as_in_pykka() -> None:
    class Pykkaish(GenServer):
        def on_stop(self) -> None:  # type: ignore[override]  # pyright: ignore[reportIncompatibleMethodOverride]
            stopped.append("stopped")

    stopped: list[str] = []
    with no_actor_left():
        Pykkaish.start().stop()
        assert stopped == ["stopped"]


def test_actor_stops_itself_by_pykkas_own_ways() -> None:
    ways: list[Callable[[Any], object]] = [
        lambda actor: actor.stop(),
        lambda actor: actor.actor_ref.stop(block=False),
        lambda actor: actor.ref.ask(messages._ActorStop(), block=False),  # pyright: ignore[reportPrivateUsage]
    ]
    for way in ways:
        with no_actor_left():
            ref = Probe.start()
            run_in(ref, way)
            assert wait_until_told(ref.monitor).reason == "normal"


def test_registry_stops_and_broadcasts_to_all() -> None:
    with no_actor_left():
        refs = [Probe.start() for _ in range(3)]
        assert set(pykka.ActorRegistry.get_all()) == set(refs)
        pykka.ActorRegistry.broadcast(Ping(1))
        assert pykka.ActorRegistry.stop_all() == [True] * 3
        assert not any(ref.is_alive() for ref in refs)


def test_stop_waits_no_longer_than_its_timeout_and_goes_on() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        ref.ask(Block(gate), block=False)
        with pytest.raises(pykka.Timeout):
            ref.stop(timeout=0.01)
        gate.set()
        assert wait_until_told(ref.monitor).reason == "normal"


def test_kill_while_on_stop_runs_ends_it() -> None:
    gate, entered = threading.Event(), threading.Event()

    class Slow(Probe):
        def on_stop(self, reason: str = "normal") -> None:
            entered.set()
            gate.wait(SECONDS)

    with no_actor_left():
        ref = Slow.start()
        reply = ref.ask(Later(Deferred[int]()), block=False)
        stopped = ref.stop(block=False)
        assert entered.wait(SECONDS)
        assert ref.kill()
        assert error_of(settled(reply)).kind == "actor_dead"
        assert stopped.get(timeout=SECONDS) is True
        assert wait_until_told(ref.monitor).reason == "killed"
        gate.set()
        assert ref.join(SECONDS)


def test_kill_while_on_failure_runs_tells_the_crash() -> None:
    gate, entered = threading.Event(), threading.Event()

    class Slow(Probe):
        def on_failure(self, exception_type: Any, exception_value: Any, traceback: Any) -> None:
            entered.set()
            gate.wait(SECONDS)

    with no_actor_left():
        ref = Slow.start()
        reply = ref.proxy().crash(ValueError("first"))
        assert error_of(settled(reply)).kind == "actor_crashed"
        assert entered.wait(SECONDS)
        assert ref.kill()
        assert wait_until_told(ref.monitor).reason == "crashed"
        gate.set()
        assert ref.join(SECONDS)


def test_join_waits_for_the_thread_and_refuses_its_own() -> None:
    gate = threading.Event()
    with no_actor_left():
        ref = Probe.start()
        assert not ref.join(0.0)

        def join(actor: Any) -> Any:
            with pytest.raises(RuntimeError, match="its own thread"):
                actor.ref.join()
            return Ok(1)

        assert ref.ask(Call(join)) == Ok(1)
        ref.ask(Block(gate), block=False)
        _busy(ref)
        ref.kill()
        assert not ref.join(0.01)
        gate.set()
        assert ref.join(SECONDS)


def test_actor_that_was_made_but_never_started_can_be_killed() -> None:
    with no_actor_left():
        actor = Probe()
        assert not actor.ref.join(0.0)
        reply = actor.ref.ask(Ping(), block=False)
        assert actor.ref.kill("never started")
        assert error_of(reply.get()).kind == "actor_dead"
        assert actor.ref.join()
        ref = Probe().ref
        gc.collect()
        assert ref.kill()


def test_reference_refuses_to_be_pickled_and_prints() -> None:
    with no_actor_left():
        ref = Probe.start()
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(ref)
        assert ref.actor_urn in repr(ref)
        assert ref.actor_class is Probe
        ref.stop()


def test_actor_runs_in_the_context_it_was_started_in() -> None:
    import contextvars

    variable = contextvars.ContextVar("variable", default="outside")
    with no_actor_left():
        variable.set("inside")
        ref = Probe.start()
        variable.set("changed")
        assert run_in(ref, lambda _actor: variable.get()) == "inside"
        ref.stop()
