"""A configuration says what it means, and what is wrong with it is named with file, line, section and key."""

import difflib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._programs._schedule import Schedule
from tinkex.cli._config._train_config import KNOWN, TrainConfig, load_config
from tinkex.protocol import CheckpointPolicy, LoraConfig, TinkexError

LEAST = '[data]\npath = "rows.jsonl"\n'


def write(folder: Path, text: str, name: str = "reverse.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def load(folder: Path, text: str = LEAST, *overrides: str) -> TrainConfig:
    return load_config(write(folder, text), overrides, folder=folder / "here")


def refused(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(TinkexError) as raised:
        load(folder, text, *overrides)
    assert (raised.value.kind, raised.value.category) == ("validation", "user")
    return str(raised.value)


def test_only_the_data_must_be_named(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.run_name == "reverse"
    assert config.run_root == tmp_path / "here" / "runs"
    assert config.data_path == tmp_path / "rows.jsonl"
    assert config.data.tokenizer == "server"
    assert config.model.base_model is None
    assert config.model.lora == LoraConfig(32, seed=0)
    assert config.server.base_url is None
    assert config.schedule == Schedule()
    assert config.checkpoints == CheckpointPolicy()


def test_every_section_is_read(tmp_path: Path) -> None:
    text = """
    [run]
    name = "first"
    root = "runs"
    [server]
    base_url = "http://127.0.0.1:8080"
    [model]
    base_model = "tinkex/byte-tiny"
    rank = 8
    train_mlp = false
    [data]
    path = "rows.csv"
    format = "jsonl"
    kind = "completion"
    prompt_column = "q"
    tokenizer = "models/tiny"
    max_tokens = 64
    [training]
    batch_size = 4
    updates = 10
    loss_fn_config = { beta = 0.5 }
    [schedule]
    kind = "cosine"
    learning_rate = 1
    [checkpoints]
    every_updates = 5
    [retention]
    keep_last = 2
    [watchdog]
    enabled = false
    [loss_guard]
    spike = 3
    [rebuild]
    max_rebuilds = 1
    """
    config = load(tmp_path, text)
    assert config.run_name == "first"
    assert config.run_root == tmp_path / "runs", "relative to the file"
    assert config.data.tokenizer == str(tmp_path / "models" / "tiny")
    assert config.training.loss_fn_config == {"beta": 0.5}
    assert config.schedule.learning_rate == 1
    assert not config.watchdog.enabled
    assert (config.retention.keep_last, config.loss_guard.spike, config.rebuild.max_rebuilds) == (2, 3, 1)
    assert not config.model.lora.train_mlp
    read = json.loads(json.dumps(config.to_dict()))
    assert TrainConfig.from_dict(read) == config, "the run keeps it as JSON"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (
            "[data]\npath = 'a.jsonl'\n\n[training]\nbatchsize = 3\n",
            "line 5: [training] has no key 'batchsize'; did you mean 'batch_size'?",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[trainning]\nx = 1\n",
            "line 3: there is no section [trainning]; did you mean [training]?",
        ),
        ("[data]\npath = 'a.jsonl'\nrank = 3\n", "line 3: [data] has no key 'rank'; it belongs below [model]"),
        (
            "learning_rate = 3\n[data]\npath = 'a.jsonl'\n",
            "line 1: there is no section [learning_rate]; it belongs below [schedule]",
        ),
        ("data.path = 'a.jsonl'\ntraining.batchsize = 2\n", "line 2: [training] has no key 'batchsize'"),
        ("[data]\npath = 'a.jsonl'\nqqq = 3\n", "line 3: [data] has no key 'qqq'; its keys are path, format,"),
        ("[zzz]\n", "line 1: there is no section [zzz]; the sections are run, server, model, data,"),
        ("data = 3\n", "line 1: data must be a section: write [data] and its keys below"),
        ("[[data]]\npath = 'a'\n", "data must be a section"),
        (
            "[data]\npath = 'a.jsonl'\n[training]\nbatch_size = '3'\n",
            "line 4: training.batch_size must be a whole number of at least 1, not '3'",
        ),
        ("[data]\npath = 'a.jsonl'\n[training]\nbatch_size = 0\n", "line 4: training.batch_size"),
        (
            "[data]\npath = 'a.jsonl'\n[training]\npasses = 1\nupdates = 2\n",
            "line 5: training.updates and passes each say how long the run is",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[training.loss_fn_config]\nbeta = 'x'\n",
            "line 3: training.loss_fn_config.beta must be a finite number",
        ),
        ("[data]\npath = 'a.jsonl'\n[training]\nloss_fn_config = 3\n", "loss_fn_config must be a table of numbers"),
        (
            "[data]\npath = 'a.jsonl'\n[schedule]\nkind = 'exponential'\n",
            "schedule.kind must be one of constant, linear, cosine",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[schedule]\nkind = 'linear'\nwarmup_updates = 9\n[training]\nupdates = 9\n",
            "line 5: schedule.warmup_updates is 9",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[checkpoints]\nevery_updates = 1.5\n",
            "line 4: checkpoints.every_updates must be a whole number",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[model]\nrank = 4096\n",
            "line 4: model.rank must be a whole number from 1 to 1024",
        ),
        (
            "[data]\npath = 'a.jsonl'\n[model]\ntrain_mlp=false\ntrain_attn=false\ntrain_unembed=false\n",
            "line 3: [model] one of train_mlp",
        ),
        ("[data]\npath = 'a.jsonl'\n[run]\nname = '../x'\n", "line 4: run.name must be 1 to 255"),
        ("[data]\npath = 'a.jsonl'\n[server]\nbase_url = 'ftp://x'\n", "line 4: server.base_url"),
        ("[data]\npath = 'a.jsonl'\n[server]\nbase_url = 'http://far.example'\n", "unencrypted"),
        ("[data]\npath = 7\n", "line 2: data.path must be text, not 7"),
        ("[data]\npath = 'a.csv'\n", "line 2: data.path '"),
        ("[data]\npath = 'a.csv'\nformat = 'csv'\n", "line 3: data.format must be one of 'jsonl', 'text', not 'csv'"),
        (
            "[data]\npath = 'a.jsonl'\nkind = ['chat']\n",
            "line 3: data.kind must be one of 'chat', 'completion', 'text'",
        ),
        ("[data]\npath = 'a.jsonl'\nmax_tokens = 1\n", "line 3: data.max_tokens"),
        ("[data]\npath = 'a.jsonl'\nseed = 1979-05-27\n", "line 3: data.seed"),
        ("[model]\nrank = 4\n", "data.path is missing: name the file to train on"),
        ("", "data.path is missing"),
        ("[data]\npath = 'a.jsonl'\npath = 'b.jsonl'\n", "is no TOML"),
        ("[data\n", "is no TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text: str, says: str, tmp_path: Path) -> None:
    sentence = refused(tmp_path, text)
    assert sentence.startswith(str(tmp_path / "reverse.toml"))
    assert says in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "line",
    [
        "api_key = 'tml-0123456789'",
        "api-key = 'q0123456789'",
        "TINKER_API_KEY = 'q0123456789'",
        "token = 'q0123456789'",
    ],
)
@pytest.mark.parametrize("section", ["", "[server]", "[data]"])
def test_a_key_in_the_file_is_refused_and_not_repeated(section: str, line: str, tmp_path: Path) -> None:
    sentence = refused(tmp_path, f"{section}\n{line}\n")
    assert "TINKER_API_KEY instead" in sentence
    assert "0123456789" not in sentence


def test_a_key_is_refused_as_an_override_and_in_a_url_and_not_repeated(tmp_path: Path) -> None:
    for override in ("server.api_key=tml-0123456789", "server.base_url=https://u:0123456789@x.example"):
        assert "0123456789" not in refused(tmp_path, LEAST, override)
    assert "0123456789" not in refused(tmp_path, LEAST, "api_key=0123456789")


@pytest.mark.parametrize(
    ("override", "section", "key", "value"),
    [
        ("training.batch_size=7", "training", "batch_size", 7),
        ("training.batch_size = 0x10", "training", "batch_size", 16),
        ("schedule.learning_rate=1e-3", "schedule", "learning_rate", 1e-3),
        ("schedule.kind=linear", "schedule", "kind", "linear"),
        ("schedule.kind='linear'", "schedule", "kind", "linear"),
        ("model.base_model=org/model-1.5", "model", "base_model", "org/model-1.5"),
        ("data.shuffle=false", "data", "shuffle", False),
        ("training.loss_fn_config={beta = 0.5}", "training", "loss_fn_config", {"beta": 0.5}),
        ("data.text_column=a=b", "data", "text_column", "a=b"),
        ("data.tokenizer=bytes", "data", "tokenizer", "bytes"),
        ("data.max_tokens=", "data", "max_tokens", None),
        ("training.passes= ", "training", "passes", None),
    ],
)
def test_an_override_takes_the_place_of_what_the_file_says(
    override: str, section: str, key: str, value: Any, tmp_path: Path
) -> None:
    text = LEAST + 'max_tokens = 5\n[training]\npasses = 3\nbatch_size = "wrong"\n'
    config = load(tmp_path, text, "training.batch_size=2", override)
    assert getattr(getattr(config, section), key) == value


def test_paths_of_overrides_are_relative_to_where_the_user_is(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST, "data.path=other.txt", "run.root=/runs", "data.tokenizer=./bytes")
    assert config.data_path == tmp_path / "here" / "other.txt"
    assert config.run_root == Path("/runs")
    assert config.data.tokenizer == str(tmp_path / "here" / "bytes"), "a folder of that name can be meant"
    assert load(tmp_path, LEAST, "data.path=~/a.jsonl").data_path == Path.home() / "a.jsonl"


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("batch_size=3", "--set 'batch_size' must look like section.key=value"),
        ("training.batch_size", "must look like section.key=value"),
        ("training.batchsize=3", "--set: [training] has no key 'batchsize'; did you mean 'batch_size'?"),
        ("trainings.batch_size=3", "--set: there is no section [trainings]; did you mean [training]?"),
        ("training.batch_size=three", "--set: training.batch_size must be a whole number of at least 1, not 'three'"),
        ("training.batch_size=[3", "--set training.batch_size: the value is no TOML"),
        ("training.batch_size=1\nupdates=3", "--set: training.batch_size must be a whole number"),
        ("data.path=", "--set: data.path is missing"),
        ("data.path=rows.csv", "--set: data.path "),
    ],
)
def test_an_override_that_is_wrong_is_said(override: str, says: str, tmp_path: Path) -> None:
    assert says in refused(tmp_path, LEAST, override)


def test_a_kept_configuration_can_be_overridden_and_is_checked_alike(tmp_path: Path) -> None:
    config = load(tmp_path, LEAST + "[training]\npasses = 2\n")
    longer = config.overridden(["training.passes=5", "data.path=b.jsonl"], folder=tmp_path / "there")
    assert longer.training.passes == 5
    assert longer.data_path == tmp_path / "there" / "b.jsonl"
    assert longer.run == config.run
    with pytest.raises(TinkexError, match=r"--set: \[training\] has no key 'pass'"):
        config.overridden(["training.pass=5"])
    with pytest.raises(TinkexError, match=r"--set: training\.passes"):
        config.overridden(["training.passes=0"])
    with pytest.raises(TinkexError, match=r"the configuration of the run: \[data\] has no key 'pth'"):
        TrainConfig.from_dict({"data": {"pth": "x"}})


@pytest.mark.parametrize(
    ("name", "run"), [("my run (2).toml", "my-run-2-"), (".hidden.toml", "hidden"), ("é.toml", "-")]
)
def test_the_run_is_called_after_its_file(name: str, run: str, tmp_path: Path) -> None:
    assert load_config(write(tmp_path, LEAST, name)).run_name == run


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(TinkexError, match="cannot be read: No such file"):
        load_config(tmp_path / "no.toml")
    with pytest.raises(TinkexError, match="cannot be read: Is a directory"):
        load_config(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
    with pytest.raises(TinkexError, match="not UTF-8 at byte 2"):
        load_config(tmp_path / "latin.toml")
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + LEAST.encode())
    assert load_config(tmp_path / "marked.toml").data_path.name == "rows.jsonl"


def attempt(tables: dict[str, dict[str, Any]]) -> TrainConfig | TinkexError:
    try:
        return TrainConfig.from_dict(tables)
    except TinkexError as error:
        return error


VALUES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.lists(st.integers(), max_size=2)
)


@given(st.sampled_from([(section, key) for section, keys in KNOWN.items() for key in keys]), VALUES)
def test_any_value_is_taken_or_refused_by_name(place: tuple[str, str], value: Any) -> None:
    section, key = place
    tables: dict[str, dict[str, Any]] = {"data": {"path": "/a.jsonl"}}
    tables.setdefault(section, {})[key] = value
    made = attempt(tables)
    if isinstance(made, TinkexError):
        assert made.kind == "validation"
        assert str(made.data["field"]).startswith(section)
        assert f"{section}.{key}" in str(made) or f"[{section}]" in str(made)
    else:
        kept = msgspec.json.decode(msgspec.json.encode(made.to_dict()))
        assert TrainConfig.from_dict(kept) == made


def test_a_slip_that_looks_like_a_secret_is_a_slip_all_the_same(tmp_path: Path) -> None:
    assert "did you mean 'max_tokens'?" in refused(tmp_path, LEAST, "data.max_token=5")


@pytest.mark.parametrize("section", KNOWN)
def test_a_slip_in_any_key_is_answered_with_the_key(section: str) -> None:
    slips = {key[:at] + key[at + 1 :] for key in KNOWN[section] for at in range(len(key))} - {"", *KNOWN[section]}
    for slip in slips:
        with pytest.raises(TinkexError, match="has no key") as raised:
            TrainConfig.from_dict({"data": {"path": "/a.jsonl"}} | {section: {slip: 1}})
        nearest = difflib.get_close_matches(slip, KNOWN[section], 1)
        assert not nearest or f"did you mean '{nearest[0]}'?" in str(raised.value)
