"""When the next checkpoint is due. Pure."""

from tinkex.protocol import CheckpointPolicy


class Due:
    """Decides, behind each optimizer step, whether a save is sent before the next update.

    Args:
        policy: when to save.
        update: the update that the last checkpoint holds, 0 for none.
        now: monotonic seconds.
    """

    def __init__(self, policy: CheckpointPolicy, update: int, now: float) -> None:
        """Begin with nothing due."""
        self._policy = policy
        self._saved = update
        self._at = now
        self._demanded = False

    def demand(self, update: int) -> None:
        """Want a save of ``update``, the last one sent, whatever the policy; there may be one already."""
        if update != self._saved:
            self._demanded = True

    def sent(self, update: int, now: float) -> None:
        """Note that a save of ``update`` is on its way."""
        self._saved = update
        self._at = now
        self._demanded = False

    def failed(self) -> None:
        """Want the save again, which failed."""
        self._saved = -1
        self._demanded = True

    def is_due(self, update: int, now: float) -> bool:
        """Tell whether a save is to be sent behind ``update``, which was sent last."""
        if update in (self._saved, 0):
            return False
        every = self._policy.every_updates
        seconds = self._policy.every_seconds
        return (
            self._demanded
            or (every is not None and update % every == 0)
            or (seconds is not None and now - self._at >= seconds)
        )
