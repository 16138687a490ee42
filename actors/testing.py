"""What a test may replace below the actors: time, threads and the network.

``runtime`` makes actors live on something else for the length of a ``with``. What is started inside belongs to it:

    transport = httpx.MockTransport(handler)

    with runtime(http_transport=transport):  # real time, no network
        service = ServiceClient.start(base_url="http://127.0.0.1:8080")

    clock = VirtualClock()
    with runtime(clock=clock, http_transport=transport):  # real threads, time stands still
        ...
        clock.advance(30.0)  # calls every timer of the next 30 seconds, in order

Under a ``SeededScheduler`` all is repeatable: one thread runs at a time, a seeded choice says which, and time jumps to
the next timer only when nobody can run. The same seed gives the same ``trace``; a loop over seeds looks for races:

    @pytest.mark.parametrize("seed", range(50))
    def test_no_request_is_lost(seed):
        with SeededScheduler(seed, http_transport=transport) as world:
            service = ServiceClient.start(base_url="http://127.0.0.1:8080")
            reply = service.ask(GetServerCapabilities(), block=False)
            world.run_for(60.0)
            assert reply.get().is_ok
            service.stop()

A failing seed fails again, and ``world.trace`` says what happened, one line per event.
"""

import contextlib
from collections.abc import Generator
from typing import TYPE_CHECKING

from tinkex.actors._runtime._clock import Clock, SystemClock, Timer, VirtualClock
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._scheduler import SeededScheduler
from tinkex.actors._runtime._turns import DeadlockError

if TYPE_CHECKING:
    import httpx


@contextlib.contextmanager
def runtime(
    clock: Clock | None = None,
    scheduler: SeededScheduler | None = None,
    http_transport: "httpx.AsyncBaseTransport | None" = None,
) -> Generator[Runtime]:
    """Make a runtime the current one for the length of a ``with``; at its end its io and timer threads end.

    Stop the actors that were started inside before: their coroutines are cancelled then, and answers to them are lost.

    Args:
        clock: every sleep, deadline and timestamp of the actors, a ``VirtualClock`` say; None for real time.
        scheduler: a ``SeededScheduler`` that was not entered yet, for a repeatable run; it brings its own clock.
        http_transport: answers the HTTP requests in place of the network, ``httpx.MockTransport(handler)`` say.

    Raises:
        ValueError: a clock was given next to a scheduler.

    Example:
        with runtime(clock=VirtualClock(), http_transport=httpx.MockTransport(handler)):
            service = ServiceClient.start(base_url="http://127.0.0.1:8080")
            ...
            service.stop()
    """
    made = Runtime(clock, None, scheduler, http_transport)
    with scheduler if scheduler is not None else contextlib.nullcontext(), made.use():
        try:
            yield made
        finally:
            made.io.close()
            if clock is None and isinstance(made.clock, SystemClock):
                made.clock.close()


__all__ = ["Clock", "DeadlockError", "Runtime", "SeededScheduler", "Timer", "VirtualClock", "runtime"]
