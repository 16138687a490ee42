"""When a trainer saves, what it keeps, when it takes itself for stuck, and what it does about a bad loss."""

from tinkex.protocol._checks import check_flag, check_number, check_text, check_ttl, check_whole
from tinkex.protocol._errors import TinkexError
from tinkex.protocol._policy import Policy, first_error


class CheckpointPolicy(Policy, frozen=True):
    """When a trainer saves; a save is always right behind an optimizer step, and training goes on meanwhile.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    every_updates: int | None = 100
    every_seconds: float | None = None
    """Since the last save was sent."""
    on_pause: bool = True
    """Whether a pause by the server brings a save, at the next step that it takes."""
    on_stop: bool = True
    """Whether the end of the run brings a save: its last update, a signal, the trainer's own end; a ``Stop`` says
    itself whether it does."""
    ttl_seconds: int | None = None
    """Of each checkpoint; None keeps it. Those that are kept are renewed when half of it has passed."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            None if self.every_updates is None else check_whole("every_updates", self.every_updates, 1),
            None if self.every_seconds is None else check_number("every_seconds", self.every_seconds, above=0.0),
            check_flag("on_pause", self.on_pause),
            check_flag("on_stop", self.on_stop),
            check_ttl("ttl_seconds", self.ttl_seconds),
        )


class RetentionPolicy(Policy, frozen=True):
    """Which committed checkpoints are kept; the rest is deleted. The default keeps all.

    A checkpoint is kept if any rule keeps it. The newest one, the parent of a running restore, and pinned ones are kept
    by every policy, and nothing is deleted while no other checkpoint was verified.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    keep_last: int | None = None
    """The newest so many; None keeps all."""
    keep_best: int = 0
    """The so many with the least ``metric``."""
    metric: str = "loss"
    keep_every: int | None = None
    """Those whose update is a multiple of it."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            None if self.keep_last is None else check_whole("keep_last", self.keep_last, 1),
            check_whole("keep_best", self.keep_best, 0),
            check_text("metric", self.metric),
            None if self.keep_every is None else check_whole("keep_every", self.keep_every, 1),
        )


class WatchdogPolicy(Policy, frozen=True):
    """When a run that makes no progress is taken for stuck and rebuilt. Pauses by the server never count.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    enabled: bool = True
    look_seconds: float = 5.0
    """Between two looks."""
    first_seconds: float = 1800.0
    """Budget of a phase that was never seen to end."""
    factor: float = 20.0
    """Budget of a phase: this many times the slowest of the last 32."""
    least_seconds: float = 300.0
    """No budget is less."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            check_flag("enabled", self.enabled),
            check_number("look_seconds", self.look_seconds, above=0.0),
            check_number("first_seconds", self.first_seconds, above=0.0),
            check_number("factor", self.factor, 1.0),
            check_number("least_seconds", self.least_seconds, above=0.0),
        )


class LossGuard(Policy, frozen=True):
    """What counts as a bad loss, and how far back the run goes then.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    not_finite: bool = True
    """Whether a loss that is NaN or infinite is bad."""
    spike: float | None = None
    """A loss above this many times the median of the last ``window`` is bad; None takes no loss for a spike."""
    window: int = 32
    roll_back: int = 1
    """How many checkpoints back: 1 is the newest committed one."""
    lr_factor: float = 1.0
    """The learning rate is multiplied by this, from then on."""
    max_rollbacks: int = 3
    """In a run; one more fails it."""

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            check_flag("not_finite", self.not_finite),
            None if self.spike is None else check_number("spike", self.spike, above=1.0),
            check_whole("window", self.window, 2),
            check_whole("roll_back", self.roll_back, 1),
            check_number("lr_factor", self.lr_factor, above=0.0),
            check_whole("max_rollbacks", self.max_rollbacks, 0),
        )


class RebuildPolicy(Policy, frozen=True):
    """How often a run is rebuilt from its last good checkpoint before it counts as failed.

    Raises:
        TinkexError: kind ``validation``, naming the field that is wrong.
    """

    max_rebuilds: int = 5
    """In a row, none of which completed an update that was not completed before."""
    backoff_seconds: float = 1.0
    """The wait before rebuild n is drawn from 0 to ``backoff_seconds * 2 ** n``."""
    max_backoff_seconds: float = 300.0

    def check(self) -> TinkexError | None:
        """Return what is wrong, or None."""
        return first_error(
            check_whole("max_rebuilds", self.max_rebuilds, 0),
            check_number("backoff_seconds", self.backoff_seconds, 0.0),
            check_number("max_backoff_seconds", self.max_backoff_seconds, 0.0),
        )
