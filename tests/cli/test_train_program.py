"""From a configuration to batches: what the file and the settings say, and a fingerprint that tells them apart."""

import json
from pathlib import Path
from typing import Any

import pytest

from support_programs import play, sent
from support_tokenizers import TEMPLATE, write_tokenizer
from tinkex.actors._programs._dataset_program import DatasetProgram
from tinkex.cli._base._config_sections import DataSection
from tinkex.cli._config._train_config import TrainConfig, load_config
from tinkex.cli._config._train_program import RowExamples, build_program
from tinkex.cli._data._reverse_rows import make_reverse_rows, write_reverse_rows
from tinkex.cli._data._row_file import RowFile
from tinkex.cli._data._tokenizers import BUILTIN_TOKENIZER, ByteTokenizer
from tinkex.protocol import TinkexError

CHATS = [
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]},
    {"messages": [{"role": "assistant", "content": "b"}, {"role": "user", "content": "a"}]},
]


def configure(folder: Path, *overrides: str, rows: int = 10) -> TrainConfig:
    (folder / "rows.jsonl").unlink(missing_ok=True)
    write_reverse_rows(folder / "rows.jsonl", rows)
    (folder / "a.toml").write_text('data.path = "rows.jsonl"\ntraining.batch_size = 4\n')
    return load_config(folder / "a.toml", overrides, folder=folder)


def build(folder: Path, *overrides: str, rows: int = 10) -> DatasetProgram:
    return build_program(configure(folder, *overrides, rows=rows), BUILTIN_TOKENIZER)


def test_the_program_trains_on_the_rows_of_the_file(tmp_path: Path) -> None:
    program = build(tmp_path, "data.shuffle=false", "training.passes=2", "training.micro_batch_size=3")
    first = next(make_reverse_rows(10))
    text = [*first["prompt"].encode(), *first["completion"].encode(), 256]
    _, batch = play(program)[0]
    inputs, targets, weights = sent(batch)[0]
    assert (inputs, targets) == (text[:-1], text[1:])
    assert [weight > 0 for weight in weights] == [False] * (len(first["prompt"]) - 1) + [True] * (
        len(first["completion"]) + 1
    )
    assert [len(part) for part in batch.micro_batches] == [3, 1]
    assert program.updates == 6
    assert [len(batch.rows) for _, batch in play(program)] == [4, 4, 2] * 2


def test_every_setting_reaches_the_program(tmp_path: Path) -> None:
    program = build(
        tmp_path,
        "training.stop_below_loss=0.5",
        "training.loss_fn=own",
        "training.loss_fn_config={beta = 0.5}",
        "schedule.warmup_updates=2",
        "schedule.learning_rate=1.0",
    )
    assert program.finished(1, {"loss": 0.4})
    assert (program.loss_fn, program.loss_fn_config) == ("own", {"beta": 0.5})
    assert program.adam_params(0).learning_rate == 0.5


@pytest.mark.parametrize(
    ("max_tokens", "limit", "wanted"), [(None, None, None), (None, 5, 5), (4, 5, 4), (5, 5, 5), (6, None, 6)]
)
def test_rows_are_cut_to_what_the_model_takes(
    max_tokens: int | None, limit: int | None, wanted: int | None, tmp_path: Path
) -> None:
    config = configure(tmp_path, *([] if max_tokens is None else [f"data.max_tokens={max_tokens}"]))
    program = build_program(config, BUILTIN_TOKENIZER, max_context_length=limit)
    assert json.loads(program.fingerprint()["program"])["max_tokens"] == wanted
    longest = max(len(inputs) for _, batch in play(program) for inputs, _, _ in sent(batch))
    assert longest == (13 if wanted is None else wanted - 1)


def test_more_tokens_than_the_model_takes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TinkexError, match=r"data\.max_tokens is 6, but the model takes 5 tokens"):
        build_program(configure(tmp_path, "data.max_tokens=6"), BUILTIN_TOKENIZER, max_context_length=5)


def test_what_is_built_again_goes_on_from_a_cursor(tmp_path: Path) -> None:
    whole = play(build(tmp_path, "training.updates=9"))
    cursor, _ = whole[5]
    rest = play(build(tmp_path, "training.updates=9"), json.loads(json.dumps(cursor)))
    assert [sent(batch) for _, batch in rest] == [sent(batch) for _, batch in whole[5:]]


@pytest.mark.parametrize(
    ("override", "part"),
    [
        ("data.train_on=all", "data"),
        ("data.kind=completion", "data"),
        ("data.seed=1", "program"),
        ("data.max_tokens=6", "program"),
        ("schedule.learning_rate=1e-3", "program"),
        ("training.batch_size=5", "program"),
        ("data.tokenizer=FOLDER", "tokenizer"),
    ],
)
def test_each_setting_that_matters_is_in_one_part_of_the_fingerprint(override: str, part: str, tmp_path: Path) -> None:
    write_tokenizer(tmp_path / "FOLDER")
    plain, changed = build(tmp_path).fingerprint(), build(tmp_path, override).fingerprint()
    assert {name for name in plain if plain[name] != changed[name]} == {part}


def test_the_place_of_the_file_and_settings_of_other_formats_are_not_in_the_fingerprint(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    plain = build(tmp_path).fingerprint()
    assert build(other, "data.chunk_bytes=99", "run.name=x", "checkpoints.every_updates=3").fingerprint() == plain


def test_a_changed_file_has_another_fingerprint(tmp_path: Path) -> None:
    data = [build(tmp_path, rows=rows).fingerprint()["data"] for rows in (10, 11)]
    assert data[0] != data[1]
    assert json.loads(data[0])["file"] != json.loads(data[1])["file"]


def test_a_conversation_that_the_template_refuses_is_said_before_the_run_with_its_line(tmp_path: Path) -> None:
    alternate = "{% if messages[0].role != 'user' %}{{ raise_exception('a user begins') }}{% endif %}" + TEMPLATE
    folder = write_tokenizer(tmp_path / "strict", alternate)
    path = tmp_path / "chats.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*CHATS[:1] * 3, *CHATS[1:]]))
    (tmp_path / "a.toml").write_text(f'data = {{ path = "chats.jsonl", tokenizer = "{folder}" }}\n')
    with pytest.raises(TinkexError, match=r"chats\.jsonl, line 4: the chat template .* refuses .*: a user begins"):
        build_program(load_config(tmp_path / "a.toml"))


def test_examples_are_a_sequence(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("abc" * 10)
    data = DataSection(path=str(path), chunk_bytes=16)
    examples = RowExamples(RowFile(path, data), data, ByteTokenizer())
    assert [len(example) for example in examples] == [16, 15]
    assert examples[0:1] == [examples[0]]
    assert len(examples) == 2
    settings: dict[str, Any] = json.loads(examples.digest)
    assert (settings["chunk_bytes"], settings["columns"]) == (16, None)


def test_reverse_rows_are_strings_and_their_reverse_alike_every_time() -> None:
    rows = list(make_reverse_rows(200, seed=3))
    assert all(row["completion"] + ">" == row["prompt"][-2::-1] + ">" for row in rows)
    assert {len(row["completion"]) for row in rows} == {3, 4, 5, 6}
    assert {letter for row in rows for letter in row["completion"]} == set("abcdefgh")
    assert list(make_reverse_rows(50, seed=3)) == rows[:50]
    assert list(make_reverse_rows(50, seed=4)) != rows[:50]
    assert next(make_reverse_rows(1)) == {"prompt": "bcacgd>", "completion": "dgcacb"}


@pytest.mark.parametrize(
    "wrong", [{"count": 0}, {"seed": -1}, {"least": 0}, {"most": 2}, {"alphabet": ""}, {"alphabet": "a>"}]
)
def test_numbers_of_reverse_rows_that_are_wrong_are_named(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"count": 1, **wrong}
    with pytest.raises(TinkexError, match=next(iter(wrong))):
        make_reverse_rows(**fields)


def test_reverse_rows_overwrite_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_reverse_rows(path, 3)
    before = path.read_bytes()
    with pytest.raises(TinkexError, match="is there already"):
        write_reverse_rows(path, 5)
    with pytest.raises(TinkexError, match="count"):
        write_reverse_rows(path, 0)
    assert path.read_bytes() == before
    with pytest.raises(TinkexError, match="cannot be written: No such file"):
        write_reverse_rows(tmp_path / "no" / "rows.jsonl", 3)
