"""Commands from other processes to the trainer of a run, which outlive both."""

import sqlite3
from typing import Any, Final, cast, get_args

from tinkex.actors._runs._plain import decode, encode
from tinkex.actors._runs._rows import Command, CommandName
from tinkex.actors._runs._table import Table, require_run
from tinkex.protocol import validation
from tinkex.protocol._checks import shown

_COMMANDS: Final = get_args(CommandName)
_COLUMNS: Final = "SELECT id, run, command, at, result, answered FROM commands"
_STOPS: Final = ("stop", "stop_now")
SUPERSEDED: Final = {"state": "superseded"}
"""The answer to a stop that was meant for a trainer whose run another process has taken since."""


class Inbox(Table):
    """The table of commands. Each is answered once, by the epoch that holds the run."""

    def post(self, name: str, command: CommandName) -> int:
        """Leave ``command`` for whichever trainer holds the run, now or next, and return its id.

        Raises:
            TinkexError: kind ``validation``: there is no such run or command.
        """
        if command not in _COMMANDS:
            raise validation(f"a command is one of {', '.join(_COMMANDS)}, not {shown(command)}", field="command")
        with self._database.transaction() as change:
            require_run(change, name)
            values = (name, command, self._now())
            return int(
                change.execute("INSERT INTO commands (run, command, at) VALUES (?, ?, ?)", values).lastrowid or 0
            )

    def inbox(self, name: str) -> list[Command]:
        """Return the commands of a run that nobody has answered, oldest first."""
        query = f"{_COLUMNS} WHERE run = ? AND answered IS NULL ORDER BY id"
        return [_command(row) for row in self._database.rows(query, name)]

    def command(self, command_id: int) -> Command | None:
        """Return a command, with its answer where there is one."""
        return next(map(_command, self._database.rows(f"{_COLUMNS} WHERE id = ?", command_id)), None)

    def answer(self, command_id: int, epoch: int, result: dict[str, Any]) -> bool:
        """Answer a command, if ``epoch`` holds its run and nobody has answered it; say whether it was done.

        Raises:
            TinkexError: kind ``validation``: ``result`` is not plain JSON.
        """
        text = encode(result, "result").decode()
        query = """
            UPDATE commands SET result = ?, answered = ?
            WHERE id = ? AND answered IS NULL AND EXISTS (SELECT 1 FROM runs WHERE name = run AND epoch = ?)
        """
        with self._database.transaction() as change:
            return change.execute(query, (text, self._now(), command_id, epoch)).rowcount == 1


def supersede_stops(change: sqlite3.Connection, name: str, at: float) -> None:
    """Answer the stops that nobody obeyed: they were meant for a trainer that is no more."""
    query = "UPDATE commands SET result = ?, answered = ? WHERE run = ? AND answered IS NULL AND command IN (?, ?)"
    change.execute(query, (encode(SUPERSEDED).decode(), at, name, *_STOPS))


def _command(row: Any) -> Command:
    command_id, run, command, at, result, answered = row
    return Command(
        command_id,
        run,
        cast("CommandName", command),
        at,
        None if result is None else decode(result.encode()),
        answered,
    )
