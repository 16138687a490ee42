"""Programs as users write them: what they hand over is taken as it was, or refused in their own words."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support_trainer import Program, config, datum, finish, sequence, trainer
from tinkex.actors import Batch
from tinkex.actors._runs._folder import RunFolder
from tinkex.protocol import AdamParams, CheckpointPolicy, Err, messages


def manifests(root: Path) -> list[Any]:
    folder = RunFolder(root / "runs", "r")
    return [folder.read_manifest(name) for name in folder.manifest_names()]


class Moving(Program):
    """Moves the cursor that it is given on, as a generator of random numbers would be."""

    def batch(self, cursor: Any) -> Batch | None:
        made = super().batch(dict(cursor))
        cursor["row"] += 2
        assert made is not None
        return Batch(made.micro_batches, cursor, made.rows)


def test_a_program_that_changes_the_cursor_it_is_given_moves_no_checkpoint(url: str, tmp_path: Path) -> None:
    finish(config(tmp_path, url, Moving(7), checkpoints=CheckpointPolicy(every_updates=1)))
    assert [(item.update, item.cursor) for item in manifests(tmp_path)] == [
        (update, {"row": 2 * update}) for update in range(1, 8)
    ]


class Drawn(Program):
    """Draws rows by NumPy, whose state has numbers of 128 bits, and keeps a best value that begins as infinite."""

    def first_cursor(self) -> Any:
        return {"state": np.random.default_rng(7).bit_generator.state, "best": math.inf, "worst": math.nan}

    def batch(self, cursor: Any) -> Batch | None:
        rng = np.random.default_rng()
        rng.bit_generator.state = cursor["state"]
        rows: Any = rng.permutation(100)[:2]
        assert math.isnan(cursor["worst"])
        state = {"state": rng.bit_generator.state, "best": min(cursor["best"], 3.5), "worst": math.nan}
        return Batch([[datum(int(row)) for row in rows]], state, rows)


def test_a_cursor_may_hold_random_states_and_numbers_that_json_lacks(url: str, tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    finish(config(tmp_path / "whole", url, Drawn(8)))
    with trainer(config(tmp_path, url, Drawn(4))) as ref:
        assert ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap().durable_update == 4
    assert finish(config(tmp_path, url, Drawn(8))).update == 8
    assert sequence(tmp_path) == sequence(tmp_path / "whole")


class Odd(Program):
    """A program that is wrong in one place."""

    def __init__(self, wrong: Mapping[str, Any]) -> None:
        super().__init__(4)
        self.wrong = wrong
        for name in wrong.keys() & {"updates", "loss_fn", "loss_fn_config"}:
            setattr(self, name, wrong[name])

    def first_cursor(self) -> Any:
        return self.wrong.get("first_cursor", {"row": 0})

    def batch(self, cursor: Any) -> Batch | None:
        made = super().batch(cursor)
        assert made is not None
        return Batch(made.micro_batches, self.wrong.get("cursor", made.cursor), self.wrong.get("rows", made.rows))

    def adam_params(self, update: int) -> AdamParams:
        made: AdamParams = self.wrong.get("adam", super().adam_params(update))
        return made

    def finished(self, update: int, metrics: Mapping[str, float]) -> bool:
        if "finished" in self.wrong:
            raise self.wrong["finished"]
        return False


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"updates": "12"}, "updates"),
        ({"updates": 2.5}, "updates"),
        ({"updates": -1}, "updates"),
        ({"loss_fn": 3}, "loss_fn"),
        ({"loss_fn_config": [1]}, "loss_fn_config"),
        ({"first_cursor": {1, 2}}, "cursor"),
        ({"cursor": {"row": b"x"}}, "cursor"),
        ({"cursor": {1: 2}}, "cursor"),
        ({"rows": [1.5]}, "rows"),
        ({"rows": 3}, "rows"),
        ({"adam": 1e-3}, "adam_params() must return AdamParams"),
        ({"finished": ZeroDivisionError("no rule")}, "ZeroDivisionError: no rule"),
    ],
    ids=str,
)
def test_what_is_wrong_in_a_program_fails_the_run_at_once_and_by_name(
    url: str, tmp_path: Path, wrong: Mapping[str, Any], words: str
) -> None:
    with trainer(config(tmp_path, url, Odd(wrong))) as ref:
        ended = ref.ask(messages.WaitUntilDone(await_timeout=30.0))
        assert isinstance(ended, Err)
        assert (ended.error.kind, words in ended.error.message) == ("program_failed", True), ended.error
        assert ref.is_alive()


class Nothing(Program):
    """A program without data."""

    def batch(self, cursor: Any) -> Batch | None:
        return None


@pytest.mark.parametrize("program", [Nothing(), Program(0)], ids=["no data", "no updates"])
def test_where_there_is_nothing_to_do_the_run_is_finished_with_nothing_saved(
    url: str, tmp_path: Path, program: Program
) -> None:
    for _ in range(2):
        ended = finish(config(tmp_path, url, program))
        assert (ended.state, ended.update, ended.durable_update) == ("finished", 0, None)


@pytest.mark.parametrize("depth", [1, 16])
def test_any_depth_trains_the_same(url: str, tmp_path: Path, depth: int) -> None:
    (tmp_path / "two").mkdir()
    finish(config(tmp_path / "two", url))
    assert finish(config(tmp_path, url, depth=depth)).durable_update == 12
    assert sequence(tmp_path) == sequence(tmp_path / "two")
