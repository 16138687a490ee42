"""The address of a service client: a ``GenRef`` that knows what its creates answer with."""

from collections.abc import Callable
from types import TracebackType
from typing import Any, Literal, TypeVar, overload

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._genserver._reply import Reply
from tinkex.actors._service._service_proxy import ServiceClientProxy
from tinkex.actors._training._training_proxy import TrainingClientRef
from tinkex.protocol import Request, Result, messages

T = TypeVar("T")

Create = messages.CreateLoraTrainingClient | messages.CreateTrainingClientFromState


class ServiceClientRef(GenRef[ServiceClientProxy]):
    """Reference to a ``ServiceClient``; adds types only, and stops it at the end of a ``with`` or ``async with``."""

    # The two creates come first: their messages cannot name the reference of an actor.
    @overload  # type: ignore[override]
    def ask(
        self, message: Create, *, block: Literal[True] = True, timeout: float | None = None
    ) -> Result[TrainingClientRef]: ...

    @overload
    def ask(
        self, message: Create, *, block: Literal[False], timeout: float | None = None
    ) -> Reply[TrainingClientRef]: ...

    @overload
    def ask(self, message: Request[T], *, block: Literal[True] = True, timeout: float | None = None) -> Result[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: Literal[False], timeout: float | None = None) -> Reply[T]: ...

    @overload
    def ask(self, message: Request[T], *, block: bool, timeout: float | None = None) -> Result[T] | Reply[T]: ...

    def ask(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, message: Any, *, block: bool = True, timeout: float | None = None
    ) -> Any:
        """Send a message, and wait for the reply unless ``block`` is false; see ``GenRef.ask``."""
        return super().ask(message, block=block, timeout=timeout)


class OpenService:
    """A service client for the length of a block: ``with`` and ``async with`` start it and stop it."""

    def __init__(self, start: Callable[[], ServiceClientRef]) -> None:
        """Keep how it is started."""
        self._start = start
        self._ref: ServiceClientRef | None = None

    def __enter__(self) -> ServiceClientRef:
        """Start it."""
        self._ref = ref = self._start()
        return ref

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it: clients first, then the session; waits for the end."""
        if self._ref is not None:
            self._ref.stop()

    async def __aenter__(self) -> ServiceClientRef:
        """Start it."""
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it without blocking the event loop."""
        if self._ref is not None:
            await self._ref.stop(block=False)
