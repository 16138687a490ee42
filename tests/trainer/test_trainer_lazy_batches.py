"""A batch whose parts can be read only once: what is sent is what the program made, never an empty rest."""

from pathlib import Path
from typing import Any, cast

import pytest

from support_trainer import Program, config, datum, finish, rows_of, sequence
from tinkex.actors._programs._program import Batch


class Once(Program):
    """Gives iterators where lists are expected: of the micro batches, or of the data of each."""

    def __init__(self, updates: int, *, inside: bool) -> None:
        super().__init__(updates)
        self.inside = inside

    def batch(self, cursor: Any) -> Batch | None:
        row = cursor["row"]
        data = [[datum(item)] for item in rows_of(row)]
        micro_batches = [iter(micro) for micro in data] if self.inside else iter(data)
        return Batch(cast("Any", micro_batches), {"row": row + 2}, rows_of(row))


@pytest.mark.parametrize("inside", [False, True])
def test_a_batch_that_can_be_read_once_trains_as_a_list_does(url: str, tmp_path: Path, inside: bool) -> None:
    assert finish(config(tmp_path, url, Once(4, inside=inside))).state == "finished"
    whole = tmp_path / "whole"
    whole.mkdir()
    finish(config(whole, url, Program(4)))
    assert sequence(tmp_path) == sequence(whole)
