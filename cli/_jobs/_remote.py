"""``tinkex checkpoint-now``, ``stop``, ``pause`` and ``unpause``: telling a run in another process."""

from pathlib import Path
from typing import Any

from tinkex.actors._runs._command import command_run
from tinkex.actors._runs._rows import CommandName
from tinkex.cli._base._fail import Failure
from tinkex.cli._base._words import count
from tinkex.cli._config._roots import open_store, resume_command, root_of, row_of
from tinkex.protocol import Err


def tell_run(name: str, command: CommandName, root: Path | None, *, timeout: float) -> None:
    """Tell a run something, wait for its answer, and print it.

    Raises:
        Failure: there is no such run, nobody trains it, or the answer is no, or did not come in time.
    """
    folder = root_of(root)
    with open_store(folder) as store:
        status = row_of(store, name).status
        answer = command_run(store, name, command, timeout=timeout)
    if isinstance(answer, Err):
        resumable = answer.error.kind == "conflict" and (status is None or status.state != "finished")
        hint = f"; go on with it: {resume_command(name, folder)}" if resumable else ""
        raise Failure(f"{answer.error.message}{hint}")
    print(f"{name}: {_told(command, answer.value, resume_command(name, folder))}")


def _told(command: CommandName, answer: dict[str, Any], resume: str) -> str:
    update = count(answer.get("update"))
    match command:
        case "checkpoint_now":
            return f"update {update} is durable at {answer.get('path')}"
        case "stop" | "stop_now":
            held = answer.get("durable_update")
            durable = "nothing is durable" if held is None else f"update {count(held)} is durable"
            return f"{answer.get('state')} at update {update}; {durable}; go on with it: {resume}"
        case "pause":
            return f"paused at update {update}; `tinkex unpause` lets it go on"
        case "resume":
            return f"{answer.get('state')} from update {update}"
