"""The wait of whoever asks and does not go on without the answer."""

from typing import Any

import pykka

from tinkex.actors._genserver._envelope import Promise
from tinkex.actors._genserver._here import may_block, wait


def ask_and_wait(promise: Promise, timeout: float | None) -> Any:
    """Send an asked message and wait up to ``timeout`` seconds for its answer.

    Raises:
        pykka.Timeout: the wait ran out; the actor is told that nobody reads the reply.
        RuntimeError: on the thread of a GenServer or the io thread, where waiting can deadlock.
    """
    may_block(4)
    try:
        if wait(promise, timeout, promise.send):
            return promise.read()
    except BaseException:
        promise.abandon("dropped")
        raise
    promise.abandon("timeout")
    raise pykka.Timeout(f"{timeout} seconds")
