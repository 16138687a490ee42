"""How a command says that it cannot go on: one sentence and an exit status."""

from typing import Final

NOT_AS_IT_MUST_BE: Final = 1
BAD_INPUT: Final = 2
NO_SERVER: Final = 3
INTERRUPTED: Final = 130
TERMINATED: Final = 143


class Failure(Exception):  # noqa: N818 - it is the command's outcome, not a fault in it
    """Ends the command with ``status`` after one sentence on standard error."""

    def __init__(self, sentence: str, status: int = NOT_AS_IT_MUST_BE) -> None:
        """Keep the sentence and the status."""
        super().__init__(sentence)
        self.status = status
