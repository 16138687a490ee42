"""For how long an operation may work before it is called overdue; a sign, never an end."""

from collections.abc import Mapping
from typing import Final

from tinkex.actors._genserver._client import OTHER_PROGRESS_SECONDS

PROGRESS_SECONDS: Final[Mapping[str, float]] = {
    "forward": 600.0,
    "forward_backward": 600.0,
    "optim_step": 300.0,
    "save_weights": 1800.0,
    "save_weights_for_sampler": 1800.0,
    "load_weights": 1800.0,
    "load_state": 3600.0,
    "create_lora_training_client": 1800.0,
    "create_training_client_from_state": 3600.0,
}
"""Seconds of work, by the name that ``Status()`` gives; of all the others, which servers answer at once, 120."""


def progress_seconds(name: str) -> float:
    """Return the progress deadline of an operation, in seconds of work."""
    return PROGRESS_SECONDS.get(name, OTHER_PROGRESS_SECONDS)
