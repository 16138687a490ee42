"""What a trainer keeps, deletes and renews; and which manifests it goes on from."""

import json
import sqlite3
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from support_engine_url import engine_url
from support_trainer import LORA, Gate, Program, config, finish, sequence, trainer, until
from tinkex.actors import ServiceClient
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._history import read_events
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import (
    CheckpointPolicy,
    Err,
    LoraConfig,
    RetentionPolicy,
    TinkerPath,
    TinkexError,
    messages,
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Generator[tuple[str, Path]]:
    root = tmp_path_factory.mktemp("engine")
    with engine_url(root) as url:
        yield url, root


def listed(url: str, path: str | None) -> dict[str, str | None]:
    """Return the names of a run's checkpoints on the server, and when each expires."""
    assert path is not None
    with ServiceClient.open(base_url=url) as service:
        found = service.ask(messages.ListCheckpoints(TinkerPath.parse(path).run_id)).unwrap()
    return {TinkerPath.parse(item.tinker_path).name: item.expires_at for item in found.checkpoints}


def killed_at(root: Path, url: str, update: int, **options: Any) -> None:
    """Run until the last checkpoint before ``update`` is committed, and kill the trainer."""
    gate = Gate(update)
    with trainer(config(root, url, Program(gate=gate), **options)) as ref:
        until(ref, lambda run: run.durable_update == update // 3 * 3)
        ref.kill()
        gate.open.set()


def refused(root: Path, url: str, program: Any = None, **options: Any) -> TinkexError:
    with trainer(config(root, url, program, **options)) as ref:
        result = ref.ask(messages.WaitUntilDone(await_timeout=60.0))
        assert isinstance(result, Err), result
        assert ref.ask(messages.Status()).unwrap().state == "failed"
        return result.error


def manifests(root: Path) -> list[str]:
    return RunFolder(root / "runs", "r").manifest_names()


def manifest_file(root: Path, name: str) -> Path:
    return root / "runs" / "r" / "manifests" / f"{name}.json"


# Retention


def test_the_policy_keeps_the_newest_and_what_is_pinned(engine: tuple[str, Path], tmp_path: Path) -> None:
    gate = Gate(6)
    options = {
        "checkpoints": CheckpointPolicy(every_updates=1),
        "retention": RetentionPolicy(keep_last=2, keep_every=6),
    }
    with trainer(config(tmp_path, engine[0], Program(gate=gate), **options)) as ref:
        assert gate.reached.wait(30.0)
        saved = ref.ask(messages.CheckpointNow()).unwrap()
        store = RunStore.open(tmp_path / "runs")
        store.pin("r", saved.manifest, pinned=True)
        store.close()
        gate.open.set()
        ended = ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap()
    kept = {"e00001-u000000006", "e00001-u000000011", "e00001-u000000012", saved.manifest}
    assert set(listed(engine[0], ended.durable_path)) == kept

    assert set(manifests(tmp_path)) == kept
    retired = [event for event in read_events(RunFolder(tmp_path / "runs", "r").events) if event["kind"] == "retired"]
    assert len(retired) == 12 - len(kept)


def test_by_default_everything_is_kept(engine: tuple[str, Path], tmp_path: Path) -> None:
    ended = finish(config(tmp_path, engine[0]))
    assert len(listed(engine[0], ended.durable_path)) == len(manifests(tmp_path)) == 4


def test_a_checkpoint_that_is_kept_is_renewed_before_it_expires(engine: tuple[str, Path], tmp_path: Path) -> None:
    policy = CheckpointPolicy(every_updates=3, ttl_seconds=3600)
    killed_at(tmp_path, engine[0], 8, checkpoints=policy)
    latest = manifests(tmp_path)[-1]
    path = RunFolder(tmp_path / "runs", "r").read_manifest(latest).path
    with ServiceClient.open(base_url=engine[0]) as service:
        service.ask(messages.SetCheckpointTtl(path, 100)).unwrap()  # most of its life has passed
    before = listed(engine[0], path)[latest]
    store = RunStore.open(tmp_path / "runs")
    row = store.run("r")
    assert row is not None
    assert store.renew("r", row.epoch, latest, 0.0 + row.created + 100.0)
    store.close()
    gate = Gate(7)
    with trainer(config(tmp_path, engine[0], Program(gate=gate), checkpoints=policy)) as ref:
        assert gate.reached.wait(30.0)
        gate.open.set()
        ref.ask(messages.WaitUntilDone(await_timeout=60.0)).unwrap()
    after = listed(engine[0], path)[latest]
    assert before is not None
    assert after is not None
    assert after > before


# Which checkpoint a run goes on from


def test_a_checkpoint_that_the_server_lost_gives_way_to_the_one_before(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    killed_at(tmp_path, engine[0], 8)
    newest = RunFolder(tmp_path / "runs", "r").read_manifest(manifests(tmp_path)[-1])
    assert newest.update == 6
    with ServiceClient.open(base_url=engine[0]) as service:
        service.ask(messages.DeleteCheckpoint(newest.path)).unwrap()
    ended = finish(config(tmp_path, engine[0]))
    assert ended.state == "finished"
    events = list(read_events(RunFolder(tmp_path / "runs", "r").events))
    assert any(event["kind"] == "warning" and newest.path in event["reason"] for event in events)
    began = [event["update"] for event in events if event["kind"] == "began"]
    assert began == [0, 3]
    assert [update for update, _, _ in sequence(tmp_path)] == list(range(1, 13))


@pytest.mark.parametrize("damage", ["torn", "empty", "swapped", "foreign", "newer", "digest", "gone"])
def test_a_manifest_that_cannot_be_trusted_gives_way_to_the_one_before(
    engine: tuple[str, Path], tmp_path: Path, damage: str
) -> None:
    killed_at(tmp_path, engine[0], 8)
    older, newest = manifests(tmp_path)[-2:]
    file = manifest_file(tmp_path, newest)
    content = json.loads(file.read_text())
    match damage:
        case "torn":
            file.write_bytes(file.read_bytes()[:-40])
        case "empty":
            file.write_bytes(b"")
        case "swapped":
            file.write_bytes(manifest_file(tmp_path, older).read_bytes())
        case "foreign":
            content["manifest"]["run"] = "another"
            file.write_text(json.dumps(content))
        case "newer":
            content["manifest"]["version"] = 99
            file.write_text(json.dumps(content))
        case "digest":
            content["manifest"]["update"] = 5
            file.write_text(json.dumps(content))
        case _:
            file.unlink()
    ended = finish(config(tmp_path, engine[0]))
    assert ended.state == "finished"
    events = list(read_events(RunFolder(tmp_path / "runs", "r").events))
    assert [event["update"] for event in events if event["kind"] == "began"] == [0, 3]
    assert any(event["kind"] == "warning" and newest in str(event) for event in events)


def test_where_no_checkpoint_can_be_loaded_the_run_does_not_begin_again(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    killed_at(tmp_path, engine[0], 5)
    for name in manifests(tmp_path):
        manifest_file(tmp_path, name).write_bytes(b"{")
    error = refused(tmp_path, engine[0])
    assert error.kind == "resume_refused"
    assert "does not begin again by itself" in error.message


# What must be the same


@pytest.mark.parametrize(
    ("part", "words", "program", "options"),
    [
        ("data", "data was squares, is cubes", Program(data="cubes"), {}),
        ("lora", "lora: rank was 4, is 8", None, {"lora": LoraConfig(rank=8, seed=1)}),
        ("lora", "lora: train_mlp was True, is False", None, {"lora": LoraConfig(rank=4, seed=1, train_mlp=False)}),
        ("base_model", "base_model was tinkex/byte-tiny, is another", None, {"base_model": "another"}),
    ],
)
def test_a_run_of_other_inputs_is_refused_by_name(
    engine: tuple[str, Path], tmp_path: Path, part: str, words: str, program: Any, options: dict[str, Any]
) -> None:
    killed_at(tmp_path, engine[0], 5)
    before = manifests(tmp_path)
    error = refused(tmp_path, engine[0], program, **options)
    assert error.kind == "resume_refused"
    assert [item["part"] for item in error.data["differences"]] == [part]
    assert words in error.message
    assert manifests(tmp_path) == before
    assert finish(config(tmp_path, engine[0])).state == "finished", "nothing was spoilt by the refusal"


def test_another_seed_is_no_difference_since_the_weights_are_loaded(engine: tuple[str, Path], tmp_path: Path) -> None:
    killed_at(tmp_path, engine[0], 5)
    assert finish(config(tmp_path, engine[0], lora=LoraConfig(rank=LORA.rank, seed=99))).state == "finished"


def test_a_checkpoint_without_its_optimizer_is_refused(engine: tuple[str, Path], tmp_path: Path) -> None:
    killed_at(tmp_path, engine[0], 5)
    path = RunFolder(tmp_path / "runs", "r").read_manifest(manifests(tmp_path)[-1]).path
    ((folder,),) = (
        sqlite3.connect(engine[1] / "engine.sqlite3")
        .execute("SELECT folder FROM checkpoints WHERE path = ?", (path,))
        .fetchall()
    )
    described = engine[1] / "checkpoints" / folder / "manifest.json"
    content = json.loads(described.read_text())
    content["has_optimizer"] = False
    content["files"].pop("optimizer.safetensors")
    (engine[1] / "checkpoints" / folder / "optimizer.safetensors").unlink()
    described.write_text(json.dumps(content))
    error = refused(tmp_path, engine[0])
    assert error.kind == "resume_refused", error
    assert error.data["problem"] == "optimizer"
    assert "optimizer" in error.message


# A start from weights alone


def test_a_start_from_weights_alone_is_another_run_and_says_so_in_its_lineage(
    engine: tuple[str, Path], tmp_path: Path
) -> None:
    first = finish(config(tmp_path, engine[0], Program(3)))
    second = finish(config(tmp_path, engine[0], Program(6), run="s", from_weights=first.durable_path))
    assert second.state == "finished"
    folder = RunFolder(tmp_path / "runs", "s")
    for name in folder.manifest_names():
        manifest = folder.read_manifest(name)
        assert not manifest.optimizer
        assert manifest.weights_only_from == first.durable_path
    warnings = [event["reason"] for event in read_events(folder.events) if event["kind"] == "warning"]
    assert any("optimizer is reset" in reason for reason in warnings)


def test_a_server_that_computes_with_other_threads_is_a_warning_and_no_refusal(tmp_path: Path) -> None:
    with engine_url(tmp_path / "engine", threads=1) as url:
        killed_at(tmp_path, url, 5)
    with engine_url(tmp_path / "engine", threads=2) as url:
        assert finish(config(tmp_path, url)).state == "finished"
    warnings = [
        event["reason"] for event in read_events(RunFolder(tmp_path / "runs", "r").events) if event["kind"] == "warning"
    ]
    assert any("threads was 1, is 2" in reason for reason in warnings), warnings
