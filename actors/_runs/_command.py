"""Telling a run something from another process, and waiting for its answer."""

import time
from collections.abc import Callable
from threading import Event
from typing import Any, Final, Literal

import msgspec

from tinkex.actors._runs._inbox import SUPERSEDED
from tinkex.actors._runs._owner import owner_alive
from tinkex.actors._runs._rows import Command, CommandName, RunRow
from tinkex.actors._runs._store import RunStore
from tinkex.actors._runs._table import no_such_run
from tinkex.protocol import Err, Ok, Result, TinkexError

LOOK_SECONDS: Final = 0.1
"""Between two looks whether there is an answer."""

ENDED: Final = frozenset({"finished", "stopped", "failed"})
"""States of a run that has ended."""

Presence = Literal["alive", "gone", "elsewhere", "never"]
"""Of whoever took a run last: its process lives, or does not; it is on another host; or nobody took the run yet."""


def presence_of(row: RunRow) -> Presence:
    """Say whether the process that took the run last is there."""
    if row.owner is None:
        return "never"
    alive = owner_alive(row)
    return "elsewhere" if alive is None else "alive" if alive else "gone"


def command_run(
    store: RunStore,
    name: str,
    command: CommandName,
    *,
    timeout: float = 60.0,
    pause: Callable[[float], object] | None = None,
) -> Result[dict[str, Any]]:
    """Post ``command`` to whichever process trains the run, and return what it answers. Blocking; from any thread.

    Args:
        store: that the run is in.
        name: of the run.
        command: see ``CommandName``.
        timeout: seconds to wait for an answer.
        pause: waits so many seconds between two looks.

    Returns:
        What the trainer's own message would be answered with, as plain values. ``Err`` of kind ``conflict``: nobody
        trains the run, so that nothing was posted, or its process ended without an answer, or another one took the
        run over; ``await_timeout``: nobody has answered in time; else the trainer's own error.

    Raises:
        TinkexError: kind ``validation``: there is no such run or command.
    """
    row = _row(store, name)
    if row.status is not None and row.status.state in ENDED:
        return Err(_has_ended(row))
    if presence_of(row) in {"gone", "never"}:
        return Err(nobody_trains(row))
    command_id = store.post(name, command)
    wait = pause if pause is not None else _wait
    until = time.monotonic() + timeout
    while True:
        row = _row(store, name)  # before the answer, so that an answer of a process that is gone by now is seen
        presence = presence_of(row)
        posted = store.command(command_id)
        if posted is not None and posted.result is not None:
            return _answer(row, posted)
        if presence in {"gone", "never"}:
            return _left(row, command)
        if time.monotonic() >= until:
            return Err(_no_answer(row, command, timeout))
        wait(LOOK_SECONDS)


def nobody_trains(row: RunRow) -> TinkexError:
    """Build the error of a run that no process trains."""
    who = "" if row.owner is None else f": its process {row.owner.pid} is gone"
    return _conflict(row, f"nobody trains the run {row.name!r}{who}; nothing would answer")


def _answer(row: RunRow, posted: Command) -> Result[dict[str, Any]]:
    result = posted.result or {}
    if "ok" in result:
        return Ok(dict(result["ok"]))
    if "error" in result:
        return Err(TinkexError.from_dict(result["error"]))
    if result == SUPERSEDED:
        return Err(_conflict(row, f"the run {row.name!r} was taken over by another process; say it again to that one"))
    return Err(_conflict(row, f"the run {row.name!r} gave an answer that this version does not know"))


def _left(row: RunRow, command: CommandName) -> Result[dict[str, Any]]:
    """Return the answer of a trainer whose process ended before it wrote one: a stop is told by the run's state."""
    if command in {"stop", "stop_now"} and row.status is not None and row.status.state in ENDED:
        return Ok(msgspec.to_builtins(row.status))
    return Err(_conflict(row, f"the process that trained the run {row.name!r} ended without an answer"))


def _row(store: RunStore, name: str) -> RunRow:
    row = store.run(name)
    if row is None:
        raise no_such_run(name)
    return row


def _has_ended(row: RunRow) -> TinkexError:
    state = row.status.state if row.status is not None else "idle"
    return _conflict(row, f"the run {row.name!r} is {state}: there is nothing to tell it")


def _no_answer(row: RunRow, command: CommandName, timeout: float) -> TinkexError:
    return TinkexError(
        f"the run {row.name!r} has not answered {command} within {timeout:g} s; it obeys when it can",
        kind="await_timeout",
        category="unknown",
        data={"run": row.name, "outcome": "running"},
    )


def _conflict(row: RunRow, sentence: str) -> TinkexError:
    return TinkexError(sentence, kind="conflict", category="user", data={"run": row.name})


def _wait(seconds: float) -> None:
    Event().wait(seconds)
