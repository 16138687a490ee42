"""The actor type: an actor whose askers are always answered, and that crashes alone."""

import inspect
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, cast

import pykka
from pykka.messages import ProxyCall, ProxyGetAttr

from tinkex.actors._genserver._deferred import Deferred
from tinkex.actors._genserver._dispatch import Handler, handlers_of
from tinkex.actors._genserver._door import Door
from tinkex.actors._genserver._envelope import Tell
from tinkex.actors._genserver._life import Life
from tinkex.actors._genserver._mailbox import DRAINING, ActorStop, Closed, Mailbox
from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._genserver._watch import DownReason
from tinkex.actors._runtime._io import IoTask
from tinkex.actors._runtime._outcome import Outcome
from tinkex.actors._runtime._runtime import Runtime
from tinkex.protocol import Err, Request, Result, TinkexError, validation

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from tinkex.actors._runtime._clock import Timer

    P = TypeVar("P", default=Any)
    T = TypeVar("T")
else:
    from typing import TypeVar

    P = TypeVar("P")
    T = TypeVar("T")

Args = ParamSpec("Args")

_REQUEST: Final[type[Request[Any]]] = Request


class _Blame:
    """Posted to an actor to crash it with what its own code raised elsewhere."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class GenServer(pykka.ThreadingActor, Generic[P]):
    """An actor in the manner of OTP's GenServer; ``P`` is the class that types its proxy.

    Subclasses handle messages by methods marked ``@on(MessageType)``, or pykka's way by ``on_receive``. A handler
    returns the reply, or a ``Deferred`` of it. What it raises is a bug: this actor crashes, every asker gets
    ``Err(kind="actor_crashed")`` and every watcher a ``Down``; no other actor is touched.
    """

    use_daemon_thread: ClassVar[bool] = True

    shutdown: ClassVar[float] = 5.0
    """Seconds that ``stop`` gives to what was accepted; what is open then is answered ``Err(actor_dead)``."""

    ref_class: ClassVar[type[GenRef[Any]]] = GenRef
    """What ``start`` answers with: a subclass may add types."""

    actor_inbox: Mailbox  # pyright: ignore[reportIncompatibleVariableOverride]
    runtime: Runtime
    """The runtime that was current where the actor was started."""

    _actor_ref: GenRef[P]

    # The names below are mangled: whatever a subclass calls its own fields, it cannot meet them.
    __door: ClassVar[Door]
    __handlers: ClassVar[dict[type, Handler]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__handlers = {**cls.__own_handlers, **handlers_of(cls)}
        cls.__door = Door(cls, _OWN_NAMES)

    def __init__(self) -> None:
        self.runtime = Runtime.current()
        super().__init__()
        self.__life = Life(self, self.runtime, self.actor_inbox)
        self.__seeded = self.runtime.scheduler is not None
        self._actor_ref = self.ref_class(self, self.__life, self.__door)  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> GenRef[P]:
        """Start an actor and wait until its ``on_start`` is done.

        Raises:
            TinkexError: ``__init__`` or ``on_start`` failed: what they raised if it was one, else kind
                ``actor_crashed`` from the cause; kind ``validation`` where the arguments do not fit.
        """
        actor = cls.__new__(cls, *args, **kwargs)
        try:
            actor.__init__(*args, **kwargs)  # type: ignore[misc]
        except BaseException as error:
            life = vars(actor).get("_GenServer__life")
            if life is not None:
                life.miscarry(error)
            if isinstance(error, TinkexError) or not isinstance(error, Exception):
                raise
            raise _start_error(cls, error, args, kwargs) from error
        if "_GenServer__life" not in vars(actor):
            raise TypeError(f"{cls.__name__}.__init__ must call super().__init__()")
        actor._start_actor_loop()  # noqa: SLF001 - its own class
        return actor.ref

    @property
    def ref(self) -> GenRef[P]:
        """The actor's own reference."""
        return self._actor_ref

    # The hooks, beside pykka's own. All run in the actor's thread.

    def on_drain(self) -> None:
        """Begin to stop: everything from outside is handled. End it by ``drained()``, now or in a later handler."""
        self.drained()

    def on_stop(self, reason: DownReason = "normal") -> None:
        """Clean up at an ordered end, while open deferreds can still be settled; not after a crash or a kill."""

    def on_receive(self, message: Any) -> Any:
        """Handle a message that has no handler; the default refuses it."""
        return Err(validation(f"{type(self).__name__} does not know the message {type(message).__name__}"))

    # What subclasses may call

    def post(self, message: object) -> bool:
        """Deliver a message of the actor's own, also while it drains; False if it has ended. Any thread."""
        return self.actor_inbox.offer(Tell(message), DRAINING)

    def send_after(self, delay: float, message: object) -> "Timer":
        """Post ``message`` in ``delay`` seconds, unless it is cancelled or the actor ends before. Any thread."""
        inbox = self.actor_inbox
        return self.__life.call_later(delay, lambda: inbox.offer(Tell(message), DRAINING))

    def spawn(self, coro: Coroutine[Any, Any, T], make_message: Callable[[Outcome[T]], object]) -> IoTask[T]:
        """Run ``coro`` on the io loop and post what ``make_message`` makes of its outcome. Any thread.

        The end of this actor cancels it. What ``make_message`` raises crashes this actor.
        """
        task = self.prepare_spawn(coro, make_message)
        task.begin()
        return task

    def prepare_spawn(self, coro: Coroutine[Any, Any, T], make_message: Callable[[Outcome[T]], object]) -> IoTask[T]:
        """Like ``spawn``, but ``coro`` waits to be begun."""
        belonging = self.__life.own()

        def done(outcome: Outcome[T]) -> None:
            belonging.leave()
            try:
                message = make_message(outcome)
            except BaseException as error:  # noqa: BLE001 - raised again in the actor
                message = _Blame(error)
            self.post(message)

        task = self.runtime.io.prepare(coro, done)
        belonging.own(task)
        return task

    def monitor(self, ref: GenRef[Any]) -> None:
        """Have one ``Down`` posted to this actor when that one ends, at once if it has. Any thread."""
        inbox = self.actor_inbox
        self.__life.watches(ref.monitor, lambda down: inbox.offer(Tell(down), DRAINING))

    def add_finalizer(self, finalizer: Callable[[DownReason], object]) -> None:
        """Call ``finalizer`` once with the reason, however this actor ends, before its watchers are told.

        At once if it has ended. It runs in any thread and must be quick.
        """
        self.__life.watch.add_finalizer(finalizer)

    def drained(self) -> None:
        """End the draining that ``stop`` began; without effect before ``on_drain``. The actor's thread only."""
        self.__life.drained()

    def stop_seconds(self) -> float:
        """Return the seconds left of those that ``stop`` gave this actor; infinite before it. Any thread."""
        return self.__life.stop_seconds()

    def handle(self, message: Request[T]) -> Result[T] | Deferred[T]:
        """Handle ``message`` as if it had been asked: for the methods that proxies call. The actor's thread only."""
        return cast("Result[T] | Deferred[T]", self.__dispatch(message))

    def handle_call(
        self, make: Callable[Args, Request[T]], *args: Args.args, **kwargs: Args.kwargs
    ) -> Result[T] | Deferred[T]:
        """Handle ``make(*args, **kwargs)``; arguments that do not fit the message are the caller's ``Err``."""
        try:
            message = make(*args, **kwargs)
        except TypeError as error:
            return Err(validation(str(error)))
        return self.handle(message)

    # pykka's extension points, and the fence around every handler

    @staticmethod
    def _create_actor_inbox() -> Mailbox:
        return Mailbox(Runtime.current().new_parker())

    @staticmethod
    def _create_future() -> Reply[Any]:
        return Reply()

    def _start_actor_loop(self) -> None:
        self.__life.begin(self, self._actor_loop)

    def _actor_loop_setup(self) -> None:
        self.__life.setup(self.on_start)

    def _handle_receive(self, message: Any) -> Any:
        try:
            if self.__seeded:
                self.runtime.step(_event(message))
            return self.__dispatch(message)
        except BaseException as error:  # noqa: BLE001 - a crash; pykka would stop every actor of the process
            return self.__life.crash(error, self.on_failure)

    def __dispatch(self, message: object) -> Any:
        kind = type(message)
        handler = self.__handlers.get(kind) or self.__inherited(kind)
        if handler is None:
            return self.on_receive(message)
        if isinstance(message, _REQUEST):
            error = message.check()
            if error is not None:
                return Err(error)
        return handler(self, message)

    def __inherited(self, kind: type) -> Handler | None:
        for base in kind.__mro__[1:]:
            handler = self.__handlers.get(base)
            if handler is not None:
                self.__handlers[kind] = handler
                return handler
        return None

    def __call(self, message: ProxyCall) -> Any:
        return self.__door.call(self, message)

    def __read(self, message: ProxyGetAttr) -> Any:
        return self.__door.read(self, message)

    def __drain(self, _message: object) -> None:
        self.__life.drain(self.on_drain)

    def __end(self, _message: object) -> None:
        self.__life.end_in_order(self.on_stop)

    def __blame(self, message: _Blame) -> None:
        raise message.error

    __own_handlers: ClassVar[dict[type, Handler]] = {
        ProxyCall: __call,
        ProxyGetAttr: __read,
        ActorStop: __drain,
        Closed: __end,
        _Blame: __blame,
    }


_OWN_NAMES: Final = frozenset({*dir(GenServer), "actor_urn", "actor_inbox", "actor_stopped", "runtime"})


def _event(message: object) -> str:
    if isinstance(message, ProxyCall | ProxyGetAttr):
        return f"handles {'.'.join(message.attr_path)}"
    return f"handles {type(message).__name__}"


def _start_error(cls: type, error: Exception, args: tuple[Any, ...], kwargs: dict[str, Any]) -> TinkexError:
    try:
        inspect.signature(cls).bind(*args, **kwargs)
    except TypeError as misfit:
        return validation(f"{cls.__name__}.start: {misfit}")
    return TinkexError(f"{cls.__name__} did not start: {error}", kind="actor_crashed", category="unknown")
