"""A trainer that stands still before a write or a send, and was taken over when it goes on, changes nothing.

``make chaos ZOMBIES=all`` stops one before every single write and send.
"""

import os
from pathlib import Path

import pytest

from chaos.child import FENCED
from chaos.run import summary, zombies

MORE = 20
SEED = int(os.environ.get("TINKEX_SEED", "20261125"))


@pytest.mark.timeout(900)
def test_a_trainer_that_was_taken_over_while_it_stood_still_trains_and_saves_nothing(tmp_path: Path) -> None:
    told = zombies(tmp_path, SEED, MORE)
    print(summary(told))  # noqa: T201 - seen with -s, and where it fails
    came = [item for item in told if item.came]
    assert len(came) >= len(told) - 5, "the points are not those that a run passes"
    held = [item for item in came if item.had_taken and item.taken]
    assert len(held) >= 20
    assert sum(item.zombie == FENCED for item in held) >= len(held) * 3 // 4, "most were not through when they stopped"
