"""The life of an actor: how it starts, stops, crashes and is killed, and that each of it happens once."""

import inspect
import threading
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final, Protocol

import pykka

from tinkex.actors._genserver._belongings import Belonging, Belongings, Undo
from tinkex.actors._genserver._guard import guard
from tinkex.actors._genserver._here import here, wait
from tinkex.actors._genserver._mailbox import CLOSED, Mailbox
from tinkex.actors._genserver._once import Once, do_all, run
from tinkex.actors._genserver._watch import Down, DownReason, Ending, Watch, describe
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import WorldEnded
from tinkex.protocol import Err, TinkexError

GRACE_SECONDS: Final = 1.0
"""How long after its deadline a stopping actor may be busy before it is killed."""


class Living(Protocol):
    """The actor whose life it is."""

    actor_urn: str
    actor_stopped: threading.Event

    @property
    def actor_ref(self) -> Any:
        """Its reference."""
        ...


class Life:
    """One actor's life, shared by the actor and its references. It does not keep the actor alive.

    The order of every end: the mailbox is closed, pykka is told, the hook runs (``on_stop`` or ``on_failure``), who
    still waits is answered, I/O and timers are cancelled, finalizers run, watchers are told.
    """

    __slots__ = (
        "_actor",
        "_belongings",
        "_born",
        "_draining",
        "_failure",
        "_inbox",
        "_name",
        "_runtime",
        "_since",
        "_stop_by",
        "_stop_reason",
        "_thread",
        "_urn",
        "watch",
    )

    def __init__(self, actor: Living, runtime: Runtime, inbox: Mailbox) -> None:
        self._actor = weakref.ref(actor)
        self._name = str(actor)
        self._urn = actor.actor_urn
        self._runtime = runtime
        self._inbox = inbox
        self._belongings = Belongings()
        self._born: Once[TinkexError | None] = Once()
        self._failure: TinkexError | None = None
        self._stop_reason: DownReason = "normal"
        self._stop_by: float | None = None
        self._draining = False
        self._thread: threading.Thread | None = None
        self._since = runtime.clock.monotonic()
        self.watch = Watch()

    # The beginning

    def begin(self, actor: Living, loop: Callable[[], None]) -> None:
        """Run ``loop`` in the actor's thread and wait until it has called ``setup``.

        Raises:
            TinkexError: the actor's ``on_start`` failed, there is no thread for it, or it was killed meanwhile.
        """
        pykka.ActorRegistry.register(actor.actor_ref)
        guard.enlist(actor.actor_ref, here.urn)
        try:
            self._start_thread(type(actor).__name__, loop)
            wait(self._born, None)
        except BaseException:
            self.die("its start was interrupted")
            raise
        failure = self._born.value()
        if failure is not None:
            raise failure

    def miscarry(self, error: BaseException) -> None:
        """End an actor whose ``__init__`` raised; somebody may have got its reference before."""
        self.end(self._ending("crashed", describe(error)))

    def setup(self, on_start: Callable[[], None]) -> None:
        """Run the actor's ``on_start``; what it raises is told to whoever starts the actor."""
        try:
            on_start()
        except BaseException as error:  # noqa: BLE001 - a crash, whatever it is
            self._failure = self._start_error(error)
            self.crash(error, None)
        else:
            self._born.settle(None)

    def _start_thread(self, name: str, loop: Callable[[], None]) -> None:
        try:
            self._thread = self._runtime.start_thread(name, lambda: self._run(loop))
        except RuntimeError as error:
            self._failure = self._start_error(error)
            self.end(self._ending("crashed", describe(error)))

    def _run(self, loop: Callable[[], None]) -> None:
        here.actor, here.urn = self._name, self._urn
        try:
            loop()
        finally:
            self.end(self._ending("killed", "its thread ended"))

    def _start_error(self, cause: BaseException) -> TinkexError:
        if isinstance(cause, TinkexError):
            return cause
        error = self._ending("crashed", describe(cause)).error()
        error.__cause__ = cause
        return error

    # The ordered end

    def stop(self, reason: DownReason, seconds: float) -> bool:
        """Take nothing more from outside, and end when what is there was handled, or after ``seconds``. Any thread.

        Return False if the end has come already.
        """
        if self._inbox.forked or self.watch.ending is not None:
            return False
        by = self._runtime.clock.monotonic() + seconds
        if self._stop_by is None or by < self._stop_by:
            self._stop_by = by
            with suppress(RuntimeError):  # no timer thread any more: the program ends, and the guard has its own clock
                self.call_later(seconds, self._deadline)
        if self._inbox.drain():
            self._stop_reason = reason
        return True

    def stop_seconds(self) -> float:
        """Return the seconds left of those that ``stop`` gave; infinite before it."""
        by = self._stop_by
        return float("inf") if by is None else max(0.0, by - self._runtime.clock.monotonic())

    def drain(self, on_drain: Callable[[], None]) -> None:
        """Let the actor begin to stop: all that came from outside is handled. The actor's thread."""
        self._draining = True
        on_drain()

    def drained(self) -> None:
        """Go on to the end, if the actor has begun to stop."""
        if self._draining:
            self._inbox.close(self._ending(self._stop_reason))

    def end_in_order(self, on_stop: Callable[..., None]) -> None:
        """Run the actor's ``on_stop`` and end. The actor's thread, when it finds its mailbox closed."""
        ending = self._inbox.ending
        if ending is None or self.watch.ending is not None:
            return
        self._retire()
        if inspect.signature(on_stop).parameters:
            on_stop(ending.reason)
        else:  # pykka's own form
            on_stop()
        self.end(ending)

    def _deadline(self) -> None:
        ending = self._ending(self._stop_reason, "its shutdown deadline passed")
        self._inbox.close(ending)
        if self._inbox.current is not None:
            self._inbox.answer(ending)
        self.call_later(GRACE_SECONDS, lambda: self.die("it was busy beyond its shutdown deadline"))

    # The other ends

    def die(self, why: str) -> bool:
        """End now; False if that has come before. Any thread."""
        if self._inbox.forked:
            return False
        crash = self._inbox.ending
        if crash is not None and crash.reason == "crashed":
            return self.end(crash)
        return self.end(self._ending("killed", why))

    def crash(self, error: BaseException, on_failure: Callable[..., None] | None) -> Err:
        """End by an exception; return what its asker is told. The actor's thread."""
        if isinstance(error, WorldEnded):  # nobody's bug
            self.die("its seeded world ended")
            return Err(self._ending("killed").error())
        ending = self._ending("crashed", describe(error))
        log().error("actor crashed", actor=self._name, exc_info=error)
        if self.watch.ending is None:
            self._inbox.close(ending)
            self._inbox.ending = ending
            self._retire()
            self._inbox.answer(ending)
            if on_failure is not None:
                run(on_failure, type(error), error, error.__traceback__)
            self.end(ending)
        return Err(ending.error())

    def end(self, ending: Ending) -> bool:
        """End, unless that was done before. Any thread."""
        if not self.watch.claim(ending):
            return False
        inbox = self._inbox
        do_all(
            (
                lambda: inbox.close(ending),
                lambda: setattr(inbox, "ending", ending),
                self._retire,
                lambda: inbox.answer(ending),
                self._belongings.cancel_all,
                lambda: guard.forget(self._urn),
                self.watch.tell,
                lambda: self._runtime.trace(f"ends {ending.reason}"),
                lambda: self._born.settle(self._failure or ending.error()),
            )
        )
        return True

    def _retire(self) -> None:
        actor = self._actor()
        if actor is not None and not actor.actor_stopped.is_set():
            pykka.ActorRegistry.unregister(actor.actor_ref)
            actor.actor_stopped.set()

    # What belongs to it

    def watches(
        self, watch: Callable[[Callable[[Down], object]], Callable[[], None]], tell: Callable[[Down], object]
    ) -> None:
        """Have ``watch`` call ``tell`` at the end of another actor, and take that back at the end of this one."""
        belonging = self._belongings.add()

        def ended(down: Down) -> None:
            belonging.leave()
            tell(down)

        belonging.own(Undo(watch(ended)))

    def own(self) -> Belonging:
        """Make room for something that ends with the actor."""
        return self._belongings.add()

    def call_later(self, delay: float, call: Callable[[], object]) -> Belonging:
        """Call ``call`` in ``delay`` seconds on the clock's thread, unless the actor ends before."""
        belonging = self._belongings.add()

        def fire() -> None:
            belonging.leave()
            call()

        belonging.own(self._runtime.clock.call_later(delay, fire))
        return belonging

    def uptime(self) -> float:
        """Return the seconds since the actor was made. Any thread."""
        return self._runtime.clock.monotonic() - self._since

    def join(self, timeout: float | None) -> bool:
        """Wait up to ``timeout`` seconds for the end of the actor's thread; return whether it has come."""
        thread = self._thread
        if thread is None or self._inbox.forked:
            return self._inbox.state == CLOSED
        if thread is threading.current_thread():
            raise RuntimeError(f"{self._name} cannot wait for the end of its own thread")
        return self._runtime.join(thread, timeout)

    def _ending(self, reason: DownReason, cause: str | None = None) -> Ending:
        return Ending(self._name, self._urn, reason, cause)
