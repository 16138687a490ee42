"""What tests of the io thread share."""

import asyncio
import threading
from typing import Any

from tinkex.actors._runtime._outcome import Outcome

SOON = 30.0


class Done:
    """A ``done`` that counts and can be waited for."""

    def __init__(self) -> None:
        self.outcomes: list[Outcome[Any]] = []
        self.threads: list[int] = []
        self._told = threading.Event()

    def __call__(self, outcome: Outcome[Any]) -> None:
        self.outcomes.append(outcome)
        self.threads.append(threading.get_ident())
        self._told.set()

    def wait(self) -> Outcome[Any]:
        assert self._told.wait(SOON)
        (outcome,) = self.outcomes
        return outcome


async def value(of: Any) -> Any:
    return of


async def forever(begun: threading.Event | None = None) -> None:
    if begun is not None:
        begun.set()
    await asyncio.get_running_loop().create_future()
