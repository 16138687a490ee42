"""``tinkex runs``, ``tinkex status`` and ``tinkex why``: how runs are, told from their store alone."""

import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tinkex.actors import RunFolder
from tinkex.actors._runs._command import ENDED, Presence, presence_of
from tinkex.actors._runs._names import parse_position
from tinkex.actors._runs._rows import RunRow
from tinkex.cli._base._words import NOTHING, count, loss_word, of_updates, plural, span
from tinkex.cli._config._roots import open_store, root_of, row_of
from tinkex.cli._shown._display_json import print_json
from tinkex.cli._shown._loss_curve import LossCurve, draw_curve
from tinkex.cli._shown._loss_plot import PLOT_FILE, read_points
from tinkex.protocol import RunStatus, TinkexError, explain


class Told(NamedTuple):
    """A run at one moment."""

    row: RunRow
    status: RunStatus
    presence: Presence

    @property
    def state(self) -> str:
        """The state; for a run that was left in the midst of it, what it was doing."""
        if self.presence == "gone" and self.status.state not in ENDED:
            return f"gone ({self.status.state})"
        return self.status.state

    def why(self, now: float) -> str:
        """Return the run's state in one sentence."""
        alive = {"alive": True, "gone": False, "never": False, "elsewhere": None}[self.presence]
        return explain(self.status, now, alive)

    def to_dict(self, now: float) -> dict[str, Any]:
        """Return it as plain values."""
        return {
            "run": self.row.name,
            "presence": self.presence,
            "latest": self.row.latest,
            "created": self.row.created,
            "why": self.why(now),
            "status": msgspec.to_builtins(self.status),
        }


def tell(row: RunRow, root: Path) -> Told:
    """Return a run as it is; one that no trainer ever reported of is ``idle``.

    What is durable is told by the manifest that the run goes on from: a trainer may have been killed between its commit
    and its report.
    """
    status = row.status if row.status is not None else RunStatus(run=row.name, since=row.created)
    position = None if row.latest is None else parse_position(row.latest)
    durable = None if position is None else position.update
    if durable != status.durable_update:
        update = max(status.update, durable or 0)
        status = msgspec.structs.replace(
            status,
            update=update,
            durable_update=durable,
            durable_path=_path_of(root, row),
            at_risk_updates=update - (durable or 0),
        )
    return Told(row, status, presence_of(row))


def _path_of(root: Path, row: RunRow) -> str | None:
    if row.latest is None:
        return None
    try:
        return RunFolder(root, row.name).read_manifest(row.latest).path
    except TinkexError:
        return None  # a resume says what is wrong with it


def show_runs(root: Path | None, *, json: bool) -> None:
    """Print a table of all runs; with ``json`` a line for each.

    Raises:
        Failure: there is no run store.
    """
    folder = root_of(root)
    with open_store(folder) as store:
        found = [tell(row, folder) for row in store.runs()]
    now = time.time()
    if json:
        for told in found:
            print_json(told.to_dict(now))
        return
    if not found:
        print(f"there are no runs in {folder}")
        return
    table = Table(box=None, pad_edge=False, header_style="")
    for name in ("run", "state", "update", "loss", "durable", "at risk", "ETA", "written"):
        table.add_column(name, justify="left" if name in {"run", "state"} else "right", no_wrap=True)
    for told in found:
        status = told.status
        table.add_row(
            Text(told.row.name),
            told.state,
            of_updates(status.update, status.updates),
            loss_word(status.loss),
            count(status.durable_update),
            count(status.at_risk_updates),
            span(status.eta_seconds) if told.presence == "alive" else NOTHING,
            f"{span(now - status.written)} ago" if status.written else NOTHING,
        )
    console = Console()
    # A pipe has no width: no column is cut off for one.
    Console(width=None if console.is_terminal else _WIDE).print(table)


def show_status(name: str, root: Path | None, *, json: bool) -> None:
    """Print how a run is.

    Raises:
        Failure: there is no such run.
    """
    folder = root_of(root)
    with open_store(folder) as store:
        told = tell(row_of(store, name), folder)
        epochs = store.epochs(name)
    now = time.time()
    place = RunFolder(folder, name).path
    if json:
        print_json({**told.to_dict(now), "folder": str(place), "config": told.row.config})
        return
    status = told.status
    owner = told.row.owner
    who = NOTHING if owner is None else f"process {owner.pid} on {owner.host}, {_PRESENCE[told.presence]}"
    plot = place / PLOT_FILE
    lines = {
        "run": f"{name}, {told.why(now)}",
        "update": of_updates(status.update, status.updates),
        "loss": f"{loss_word(status.loss)}  {_curve(folder, name)}".rstrip(),
        "learning rate": NOTHING if status.learning_rate is None else f"{status.learning_rate:.4g}",
        "trained": f"{plural(status.tokens, 'token')}, {count(status.tokens_per_second)} tokens/s of late",
        "ETA": span(status.eta_seconds) if told.presence == "alive" else NOTHING,
        "durable": NOTHING
        if status.durable_update is None
        else f"{count(status.durable_update)}: {status.durable_path}",
        "at risk": f"{plural(status.at_risk_updates, 'update')}, {span(status.at_risk_seconds)} of training",
        "owner": who,
        "epoch": f"{told.row.epoch}, {epochs[-1].reason}" if epochs else "0",
        "folder": str(place),
        "loss plot": str(plot) if plot.exists() else NOTHING,
    }
    for label, text in lines.items():
        print(f"{label + ':':<15}{text}")


def show_why(name: str, root: Path | None) -> None:
    """Print one sentence on a run's state.

    Raises:
        Failure: there is no such run.
    """
    folder = root_of(root)
    with open_store(folder) as store:
        told = tell(row_of(store, name), folder)
    print(f"{name}: {told.why(time.time())}")


def _curve(root: Path, name: str) -> str:
    try:
        points = read_points(RunFolder(root, name).events)
    except TinkexError:
        return ""  # the rest is worth telling all the same
    curve = LossCurve()
    for update, loss in points.losses:
        curve.add(int(update), loss)
    return "".join(draw_curve(curve.means(), _SMALL))


_PRESENCE: dict[Presence, str] = {
    "alive": "alive",
    "gone": "gone",
    "elsewhere": "which cannot be seen from here",
    "never": "not there yet",
}
_WIDE = 200
_SMALL = 32
