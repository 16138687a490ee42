"""How many updates of a run are on their way, and whether another may go. Pure."""


class Course:
    """Counts the updates of one epoch: sent, read, judged.

    An update is judged when its results were read and the program's stop rule has seen them. The rule's word takes
    effect a fixed number of updates later, whatever the timing: update ``m`` is sent only once update ``m - depth`` was
    judged, and the run ends ``depth - 1`` updates behind the one that the rule ended it for. So a run that was killed
    and resumed ends where the undisturbed one does.

    Args:
        update: completed updates that the epoch begins from.
        depth: updates on their way at once.
        updates: of the whole run, where known.
        stop_after: the last update, where the rule had spoken before.
        unjudged: how many of the completed updates the rule has not seen.
    """

    def __init__(
        self,
        update: int,
        depth: int,
        *,
        updates: int | None = None,
        stop_after: int | None = None,
        unjudged: int = 0,
    ) -> None:
        """Begin with nothing on its way."""
        self.sent = update
        self.judged = update - unjudged
        self.stop_after = stop_after
        self.data_ended = False
        """Whether the program has no further batch."""
        self._depth = depth
        self._updates = updates

    @property
    def over(self) -> bool:
        """Whether no further update is ever sent."""
        return (
            self.data_ended
            or (self._updates is not None and self.sent >= self._updates)
            or (self.stop_after is not None and self.sent >= self.stop_after)
        )

    @property
    def room(self) -> bool:
        """Whether the next update may be sent now."""
        return not self.over and self.sent - self.judged < self._depth

    def send(self) -> int:
        """Count one more on its way; return its number, from 1."""
        if not self.room:
            raise AssertionError("no room for another update")
        self.sent += 1
        return self.sent

    def judge(self, update: int, *, stop: bool) -> None:
        """Note that ``update``, the oldest on its way, was judged; ``stop`` is the rule's word."""
        if update != self.judged + 1 or update > self.sent:
            raise AssertionError(f"update {update} is judged behind {self.judged} of {self.sent}")
        self.judged = update
        if stop and self.stop_after is None:
            self.stop_after = update + self._depth - 1
