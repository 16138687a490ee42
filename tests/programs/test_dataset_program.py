"""Every row once in each pass, and after a resume the batches that an undisturbed run would have had."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import event, given
from hypothesis import strategies as st

from support_programs import SETTINGS, made, play, program, rows, sent
from tinkex.actors._programs._examples import Example
from tinkex.actors._programs._program import TrainingProgram
from tinkex.actors._programs._schedule import Schedule
from tinkex.protocol import TinkexError


@given(st.integers(9, 14), SETTINGS, st.data())
def test_from_any_cursor_the_rest_is_that_of_the_undisturbed_run(
    count: int, settings: dict[str, Any], data: st.DataObject
) -> None:
    whole = play(made(count, settings))
    at = data.draw(st.integers(0, len(whole) - 1))
    cursor = json.loads(json.dumps(whole[at][0]))
    resumed = play(made(count, settings), cursor)
    assert [(batch.rows, batch.cursor, sent(batch)) for _, batch in resumed] == [
        (batch.rows, batch.cursor, sent(batch)) for _, batch in whole[at:]
    ]


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 3), st.booleans(), st.integers(0, 2**63 - 1))
def test_each_pass_has_every_row_once(count: int, batch_size: int, passes: int, shuffle: bool, seed: int) -> None:
    of = program(count, batch_size=batch_size, passes=passes, shuffle=shuffle, seed=seed)
    played = play(of)
    assert len(played) == of.updates == passes * of.updates_of_a_pass
    for number in range(passes):
        seen = [row for cursor, batch in played if cursor["pass"] == number for row in batch.rows]
        assert sorted(seen, key=int) == list(range(count))
        assert shuffle or seen == list(range(count))
    sizes = [len(batch.rows) for _, batch in played[: of.updates_of_a_pass]]
    assert sizes == [batch_size] * (count // batch_size) + ([count % batch_size] if count % batch_size else [])


@given(st.integers(9, 14), SETTINGS)
def test_rows_are_the_ones_that_were_sent(count: int, settings: dict[str, Any]) -> None:
    for _, batch in play(made(count, settings)):
        assert [inputs[0] for inputs, _, _ in sent(batch)] == list(batch.rows), "row n begins with the token n"


@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 8))
def test_accumulated_passes_send_what_one_large_batch_does(count: int, batch_size: int, micro: int) -> None:
    whole = play(program(count, batch_size=batch_size))
    parts = play(program(count, batch_size=batch_size, micro_batch_size=micro))
    assert [sent(batch) for _, batch in parts] == [sent(batch) for _, batch in whole]
    assert all(len(part) <= micro for _, batch in parts for part in batch.micro_batches)


def test_a_run_of_so_many_updates_takes_the_passes_it_needs() -> None:
    of = program(7, updates=8)
    played = play(of)
    assert of.updates == len(played) == 8
    assert [cursor["pass"] for cursor, _ in played] == [0, 0, 0, 1, 1, 1, 2, 2]
    assert of.batch(played[-1][1].cursor) is None
    assert program(7, updates=1).updates == 1
    assert program(7).updates == 3, "one pass, where nothing is said"


def test_passes_have_orders_of_their_own_and_the_cursor_carries_the_seed() -> None:
    of = program(40, passes=2, batch_size=40, seed=5)
    first, second = (list(batch.rows) for _, batch in play(of))
    assert first != second
    assert first != list(range(40))
    assert of.first_cursor() == {"pass": 0, "row": 0, "seed": 5}
    other = program(40, passes=2, batch_size=40, seed=6)
    assert [list(batch.rows) for _, batch in play(other, of.first_cursor())] == [first, second]


class Lazy(Sequence[Example]):
    """A million rows, made when they are asked for."""

    def __init__(self) -> None:
        self.read: list[int] = []

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: Any) -> Any:
        self.read.append(index)
        return Example([index, 1])


def test_only_the_rows_of_a_batch_are_read() -> None:
    lazy = Lazy()
    of = program(lazy, batch_size=4, data_digest="file 1", passes=3)
    batch = of.batch({"pass": 2, "row": 500_000, "seed": 0})
    assert batch is not None
    assert of.fingerprint()["data"] == "file 1"
    assert lazy.read == list(batch.rows)
    assert len(batch.rows) == 4


VARIANTS: list[dict[str, Any]] = [
    {},
    {"batch_size": 4},
    {"micro_batch_size": 2},
    {"seed": 1},
    {"shuffle": False},
    {"max_tokens": 3},
    {"loss_fn": "own"},
    {"loss_fn_config": {"beta": 0.5}},
    {"loss_fn_config": {"beta": 0.25}},
    {"schedule": Schedule(learning_rate=1e-3)},
    {"schedule": Schedule(warmup_updates=1)},
    {"schedule": Schedule(kind="linear", decay_updates=8)},
    {"schedule": Schedule(kind="cosine", decay_updates=8)},
    {"schedule": Schedule(kind="cosine", decay_updates=8, final_fraction=0.1)},
    {"schedule": Schedule(kind="cosine")},
    {"schedule": Schedule(kind="cosine"), "passes": 2},
    *(
        {"schedule": Schedule.from_dict({name: 0.5})}
        for name in ("beta1", "beta2", "eps", "weight_decay", "grad_clip_norm")
    ),
]
"""Settings no two of which give the same run."""

SAME: list[dict[str, Any]] = [
    {"passes": 5},
    {"updates": 2},
    {"stop_below_loss": 0.1},
    {"micro_batch_size": 3},
    {"micro_batch_size": 100},
    {"loss_fn_config": {}},
    {"schedule": Schedule()},
    {"schedule": Schedule(decay_updates=9, final_fraction=0.5)},
    {"data_digest": "given"},
    {"tokenizer": "other"},
]
"""Settings that are none of the program's, or change nothing of the updates that both runs have."""


def test_the_fingerprint_changes_with_what_changes_the_numbers_and_with_nothing_else() -> None:
    found = [program(**settings).fingerprint()["program"] for settings in VARIANTS]
    assert len(set(found)) == len(VARIANTS)
    assert [program(**settings).fingerprint()["program"] for settings in SAME] == [found[0]] * len(SAME)


@given(SETTINGS, SETTINGS, st.sets(st.sampled_from(["micro_batch_size", "seed", "schedule", "length", "max_tokens"])))
def test_equal_fingerprints_are_equal_updates(one: dict[str, Any], other: dict[str, Any], changed: set[str]) -> None:
    first, second = made(9, one), made(9, one | {name: other[name] for name in changed})
    if first.fingerprint() == second.fingerprint():
        event("equal")
        for update, ((_, batch), (_, twin)) in enumerate(zip(play(first), play(second), strict=False)):
            assert batch.rows == twin.rows
            assert batch.micro_batches == twin.micro_batches
            assert first.adam_params(update) == second.adam_params(update)


def test_the_fingerprint_names_what_it_is_made_of() -> None:
    found = program(seed=3, batch_size=2, tokenizer="bytes-1").fingerprint()
    assert set(found) == {"program", "data", "tokenizer"}
    settings = json.loads(found["program"])
    assert settings["batch_size"] == 2
    assert settings["order"] == "shuffled by seed 3"
    assert settings["schedule"]["learning_rate"] == 1e-4
    assert found["tokenizer"] == "bytes-1"
    assert list(settings) == sorted(settings)


def test_data_that_differ_have_other_fingerprints() -> None:
    changed = [*rows(6), Example([6, 0, 2, 2])]
    found = {program(data).fingerprint()["data"] for data in (rows(7), rows(6), rows(7)[::-1], changed)}
    assert len(found) == 4


def test_the_stop_rule_reads_the_loss() -> None:
    of = program(stop_below_loss=0.5)
    assert of.finished(1, {"loss": 0.49})
    assert not any(of.finished(1, {"loss": loss}) for loss in (0.5, 2.0, 0.0, float("nan")))
    assert not of.finished(1, {})
    assert not program().finished(1, {"loss": 0.001})


def test_the_parameters_of_a_step_follow_the_schedule_over_the_whole_run() -> None:
    of = program(6, passes=2, schedule=Schedule(learning_rate=1.0, kind="linear"))
    assert [of.adam_params(update).learning_rate for update in range(5)] == [1.0, 0.75, 0.5, 0.25, 0.0]
    assert isinstance(of, TrainingProgram)
    assert (of.loss_fn, of.loss_fn_config) == ("cross_entropy", None)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": True}, "batch_size"),
        ({"micro_batch_size": 0}, "micro_batch_size"),
        ({"seed": -1}, "seed"),
        ({"passes": 0}, "passes"),
        ({"updates": 0}, "updates"),
        ({"passes": 1, "updates": 1}, "passes or updates, not both"),
        ({"stop_below_loss": 0.0}, "stop_below_loss"),
        ({"tokenizer": ""}, "tokenizer"),
        ({"shuffle": 1}, "shuffle"),
        ({"max_tokens": 1}, "max_tokens"),
        ({"data_digest": " "}, "data_digest"),
        ({"loss_fn": 1}, "loss_fn must be text"),
        ({"loss_fn": "ppo"}, "'ppo' reads target_tokens, logprobs, advantages"),
        ({"loss_fn_config": {"beta": "high"}}, "beta"),
        ({"examples": []}, "examples is empty"),
        ({"schedule": Schedule(kind="cosine", warmup_updates=3)}, "ends after 3 updates"),
    ],
)
def test_a_setting_that_is_wrong_is_named(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(TinkexError, match=says) as raised:
        program(**settings)
    assert raised.value.kind == "validation"


@pytest.mark.parametrize(
    ("cursor", "says"),
    [
        (None, "must have whole numbers"),
        ({}, "must have whole numbers"),
        ([0, 0, 0], "must have whole numbers"),
        ({"pass": 0, "row": 0}, "must have whole numbers"),
        ({"pass": 0, "row": 0, "seed": 0, "more": 1}, "must have whole numbers"),
        ({"pass": True, "row": 0, "seed": 0}, "must have whole numbers"),
        ({"pass": 0, "row": -3, "seed": 0}, "must have whole numbers"),
        ({"pass": 0, "row": 1.0, "seed": 0}, "must have whole numbers"),
        ({"pass": 0, "row": 1, "seed": 0}, "no batch begins at row 1, with 7 rows in batches of 3"),
        ({"pass": 0, "row": 9, "seed": 0}, "no batch begins at row 9"),
    ],
)
def test_a_cursor_of_another_program_is_refused(cursor: Any, says: str) -> None:
    with pytest.raises(TinkexError, match=says) as raised:
        program().batch(cursor)
    assert raised.value.kind == "resume_refused"
