"""Whether a run is another process's."""

from pathlib import Path
from typing import Final

from tinkex.actors._runs._command import ENDED, presence_of
from tinkex.actors._runs._rows import RunRow
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._config._roots import resume_command


def refuse_living(row: RunRow, root: Path) -> None:
    """Refuse a run that another process trains, or may.

    Raises:
        Failure: it does; the sentence says which one, and what to do.
    """
    presence = presence_of(row)
    if row.owner is None or presence not in _MAY_TRAIN:
        return
    if row.status is not None and row.status.state in ENDED:
        return
    command = f"{resume_command(row.name, root)} --take-over"
    if presence == "elsewhere":
        raise Failure(
            f"the run {row.name!r} was taken by process {row.owner.pid} on {row.owner.host}, and from here it cannot "
            f"be told whether that one lives; if it does not, or is to lose the run: `{command}`",
            BAD_INPUT,
        )
    raise Failure(
        f"the run {row.name!r} is being trained by process {row.owner.pid} on this machine: `tinkex status {row.name}` "
        f"tells how it is and `tinkex stop {row.name}` ends it; to take it from that process: `{command}`",
        BAD_INPUT,
    )


_MAY_TRAIN: Final = frozenset({"alive", "elsewhere"})
