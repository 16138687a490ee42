"""What is to be seen of a run while it trains."""

from collections.abc import Mapping
from typing import Any, Final

from tinkex.actors._runs._update_record import UpdateRecord
from tinkex.cli._base._words import count, loss_word, of_updates, plural, span
from tinkex.cli._shown._loss_curve import LossCurve
from tinkex.protocol import RunStatus


class RunView:
    """A run's state, made of its log and its status. Pure: both are given.

    Args:
        name: of the run.
    """

    def __init__(self, name: str) -> None:
        self.name: Final = name
        self.curve: Final = LossCurve()
        self.status: RunStatus | None = None
        self.update = 0
        """The last one that was logged."""
        self.loss: float | None = None
        self.durable: int | None = None
        """The update of the newest checkpoint."""

    def take(self, event: Mapping[str, Any]) -> None:
        """Note an event of the run's log."""
        record = UpdateRecord.from_event(event)
        if record is not None:
            self.update, self.loss = record.update, record.loss
            self.curve.add(record.update, record.loss)
        elif event.get("kind") == "began" and isinstance(event.get("update"), int):
            self.update = event["update"]
            self.durable = self.update if event.get("manifest") else None
            self.curve.rewind(self.update)
        elif event.get("kind") == "checkpoint" and isinstance(event.get("update"), int):
            self.durable = event["update"]

    @property
    def updates(self) -> int | None:
        """Of the whole run."""
        return self.status.updates if self.status is not None else None

    @property
    def at_risk(self) -> int:
        """Updates that no checkpoint holds."""
        return max(self.update - (self.durable or 0), 0)

    def progress(self) -> str:
        """Return where the run is, in one line."""
        status = self.status
        parts = [f"update {of_updates(self.update, self.updates)}", f"loss {loss_word(self.loss)}"]
        if status is not None:
            parts += [f"{count(status.tokens_per_second)} tokens/s", f"ETA {span(status.eta_seconds)}"]
        parts += [f"durable {count(self.durable)}", f"at risk {plural(self.at_risk, 'update')}"]
        return "  ".join(parts)


def tell_event(event: Mapping[str, Any]) -> str | None:
    """Return an event of a run's log as a sentence, None where it is told otherwise: an update."""
    update = count(event["update"]) if isinstance(event.get("update"), int) else "?"
    reason = f": {event['reason']}" if event.get("reason") not in _NO_REASONS else ""
    match event.get("kind"):
        case "began":
            return (
                f"epoch {event.get('epoch')} goes on from update {update}{reason}"
                if event.get("manifest")
                else (f"epoch {event.get('epoch')} begins{reason}")
            )
        case "checkpoint":
            return f"checkpoint: update {update} is durable at {event.get('path')}"
        case "retired":
            return f"checkpoint deleted: {event.get('path') or event.get('manifest')}"
        case "paused":
            return f"paused by {event.get('by')} at update {update}{reason}"
        case "resumed":
            return f"resumed at update {update}"
        case "stalled":
            return f"interrupted at update {update}, to be rebuilt{reason}"
        case "rollback":
            return f"rolling back at update {update}{reason}"
        case "warning":
            return f"warning{reason}"
        case "ended":
            return f"{event.get('state')} at update {update}{reason}"
        case _:
            return None


_NO_REASONS: Final = (None, "", "started")
"""Reasons that say no more than the event does."""
