"""Calling what a user gave us, so that nothing it does can harm an actor."""

from collections.abc import Callable
from typing import Any, TypeVar

from tinkex.actors._genserver._watch import describe
from tinkex.actors._runtime._log import log
from tinkex.actors._runtime._runtime import Runtime
from tinkex.actors._runtime._turns import WorldEnded

T = TypeVar("T")


def call_back(runtime: Runtime, name: str, callback: Callable[[T], Any] | None, event: T) -> None:
    """Call ``callback`` with ``event`` on a daemon thread of its own; what it raises is logged.

    One that hangs holds up nobody: not the actor, not its stop, not the end of the program, not the next call.
    """
    if callback is None:
        return

    def call() -> None:
        try:
            callback(event)
        except WorldEnded:
            raise
        except BaseException as error:  # noqa: BLE001 - the border to users' code, SystemExit included
            log(callback=name).error("callback failed", error=describe(error))

    try:
        runtime.start_thread("Callback", call)
    except RuntimeError as error:
        log(callback=name).warning("callback not called", error=describe(error))  # the program ends
