"""Manifests on the disk: whole, once, and refused with a reason whatever was done to the file."""

import json
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support_run_store import RUN, a_manifest, failure
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._manifest_file import manifest_bytes, read_manifest_bytes
from tinkex.actors._runs._plain import decode, encode
from tinkex.protocol import Err, Manifest, TinkexError, manifest_name

HERE = Path("manifests/x.json")
FULL = a_manifest(
    2,
    300,
    cursor={"epoch": 1, "rows": [5, 7], "rng": [2**127, 0.1]},
    parent=manifest_name(1, 200),
    learning_rate=1e-4,
    stop_after=400,
    metrics={"loss": float("nan"), "grad": float("inf")},
    expires=5.5,
)


def the_file(folder: RunFolder, manifest: Manifest) -> Path:
    return folder.manifests / f"{manifest.name}.json"


def same(one: Manifest, other: Manifest) -> bool:
    return manifest_bytes(one) == manifest_bytes(other)


def problem(raw: bytes, run: str = RUN, name: str = FULL.name) -> TinkexError | None:
    try:
        read_manifest_bytes(raw, run, name, HERE)
    except TinkexError as error:
        refusal = error
    else:
        return None
    assert (refusal.kind, refusal.category) == ("resume_refused", "user")
    assert str(HERE) in str(refusal)
    return refusal


def signed(fields: dict[str, Any], **envelope: Any) -> bytes:
    import hashlib

    return encode({"manifest": fields, "sha256": hashlib.sha256(encode(fields)).hexdigest(), **envelope})


def test_a_manifest_is_read_back_as_it_was_written_by_any_folder_of_the_run(tmp_path: Path) -> None:
    RunFolder(tmp_path, RUN).write_manifest(FULL)
    again = RunFolder(str(tmp_path), RUN)
    assert same(again.read_manifest(FULL.name), FULL)
    assert again.manifest_names() == [FULL.name]
    assert set(json.loads(the_file(again, FULL).read_text())) == {"manifest", "sha256"}
    assert [path.name for path in again.manifests.iterdir()] == [f"{FULL.name}.json"]


def test_a_file_cut_anywhere_is_torn() -> None:
    raw = manifest_bytes(FULL)
    assert problem(raw) is None
    for length in range(len(raw) - 1):
        error = problem(raw[:length])
        assert error is not None
        assert error.data["problem"] == "torn", length


@settings(max_examples=300)
@given(st.data())
def test_a_changed_byte_is_never_taken_for_a_manifest(data: st.DataObject) -> None:
    raw = bytearray(manifest_bytes(FULL))
    at = data.draw(st.integers(0, len(raw) - 2))
    raw[at] = data.draw(st.integers(0, 255).filter(lambda value: value != raw[at]))
    error = problem(bytes(raw))
    if error is None:  # a blank more or another escape of the same letter changes no value
        assert same(read_manifest_bytes(bytes(raw), RUN, FULL.name, HERE), FULL)
    else:
        assert error.data["problem"] in {"torn", "digest"}


def test_every_other_damage_has_its_name() -> None:
    fields = decode(encode(msgspec.structs.asdict(FULL)))
    for raw, name, words in [
        (signed({**fields, "version": 2}), "version", "version 2"),
        (signed({**fields, "version": True}), "version", "version"),
        (signed({**fields, "colour": "red"}), "version", "colour"),
        (signed({**fields, "update": "many"}), "version", "update"),
        (signed(fields, more=1), "version", "version"),
        (signed({**fields, "run": "others"}), "foreign", "'others'"),
        (signed({**fields, "update": 301}), "swapped", manifest_name(2, 301)),
        (manifest_bytes(FULL).replace(b'"update":300', b'"update":301'), "digest", "digest"),
        (encode({"manifest": fields}), "torn", "torn"),
        (encode([1]), "torn", "torn"),
        (encode({"manifest": [], "sha256": 5}), "digest", "digest"),
        (b"\0" * 4096, "torn", "torn"),
    ]:
        error = problem(raw)
        assert error is not None
        assert error.data["problem"] == name, raw[:80]
        assert words in str(error)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    assert folder.manifest_names() == []
    error = failure(folder.read_manifest, FULL.name)
    assert (error.kind, error.data["problem"]) == ("resume_refused", "missing")
    assert str(the_file(folder, FULL)) in str(error)
    the_file(folder, FULL).mkdir(parents=True)
    assert failure(folder.read_manifest, FULL.name).data["problem"] == "missing"


def test_files_that_changed_places_are_seen(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    one, two = a_manifest(1, 100), a_manifest(1, 200)
    folder.write_manifest(one)
    folder.write_manifest(two)
    third = tmp_path / "third"
    the_file(folder, one).rename(third)
    the_file(folder, two).rename(the_file(folder, one))
    third.rename(the_file(folder, two))
    assert {failure(folder.read_manifest, item.name).data["problem"] for item in (one, two)} == {"swapped"}


def test_a_manifest_is_never_written_over(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    folder.write_manifest(FULL)
    folder.write_manifest(FULL)  # a write whose end was unknown may be repeated
    before = the_file(folder, FULL).read_bytes()
    error = failure(folder.write_manifest, msgspec.structs.replace(FULL, tokens=1))
    assert error.kind == "conflict"
    assert the_file(folder, FULL).read_bytes() == before
    assert [path.name for path in folder.manifests.iterdir()] == [f"{FULL.name}.json"]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"run": "others"}, "folder of 'words'"),
        ({"cursor": {"seen": {1, 2}}}, "manifest['cursor']['seen']"),
        ({"update": -1}, "update is at least 0"),
        ({"epoch": 0}, "epoch is at least 1"),
        ({"version": 2}, "version is 1"),
        ({"fingerprint": {"data": 5}}, "could not be read back"),
    ],
)
def test_what_could_not_be_read_back_is_not_written(tmp_path: Path, fields: dict[str, Any], words: str) -> None:
    folder = RunFolder(tmp_path, RUN)
    error = failure(folder.write_manifest, msgspec.structs.replace(FULL, **fields))
    assert error.kind == "validation"
    assert words in str(error)
    assert folder.manifest_names() == []


def test_a_disk_that_refuses_leaves_no_half_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path, RUN)

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        error = failure(folder.write_manifest, FULL)
    assert error.kind == "run_failed"
    assert "No space left" in str(error)
    assert folder.manifest_names() == []
    folder.write_manifest(FULL)
    assert list(folder.manifests.iterdir()) == [the_file(folder, FULL)]


def test_the_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_return(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path, RUN)
    folder.write_manifest(a_manifest(1, 1))
    seen: list[str] = []
    fsync, link = os.fsync, os.link

    def tell_fsync(fd: int) -> None:
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file")  # noqa: PTH112 - a link to follow
        fsync(fd)

    def tell_link(*args: Any) -> None:
        seen.append("name")
        link(*args)

    monkeypatch.setattr(os, "fsync", tell_fsync)
    monkeypatch.setattr(os, "link", tell_link)
    folder.write_manifest(FULL)
    assert seen == ["file", "name", "folder"]


def test_drafts_of_killed_trainers_are_swept_and_never_read(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    folder.write_manifest(FULL)
    for epoch in (1, 2, 3):
        (folder.manifests / f".draft-{manifest_name(epoch, 9)}.abc").write_bytes(b"{")
    (folder.manifests / "notes.json").write_text("mine")
    assert folder.manifest_names() == [FULL.name]
    folder.sweep(3)
    assert sorted(path.name for path in folder.manifests.iterdir()) == [
        f".draft-{manifest_name(3, 9)}.abc",
        f"{FULL.name}.json",
        "notes.json",
    ]


def test_a_manifest_is_removed_once_and_for_good(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    folder.remove_manifest(FULL.name)
    folder.write_manifest(FULL)
    folder.remove_manifest(FULL.name)
    folder.remove_manifest(FULL.name)
    assert folder.manifest_names() == []


@pytest.mark.parametrize("name", ["../evil", "e1-u2", "e00001-u0000000001", "e00001-u000000001.json", ""])
def test_only_manifests_names_reach_the_disk(tmp_path: Path, name: str) -> None:
    folder = RunFolder(tmp_path, RUN)
    for call in (folder.read_manifest, folder.remove_manifest):
        assert failure(call, name).kind == "validation"


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".x", "a/b", "a\\b", "a b", "x" * 101, "ä", "a\n", "runs.sqlite3-wal", 5]
)
def test_a_run_that_is_no_folder_is_refused(tmp_path: Path, name: Any) -> None:
    assert failure(RunFolder, tmp_path, name).kind == "validation"


def test_the_folders_place_may_be_a_file(tmp_path: Path) -> None:
    (tmp_path / RUN).write_text("")
    error = failure(RunFolder(tmp_path, RUN).write_manifest, FULL)
    assert error.kind == "run_failed"
    assert str(tmp_path / RUN) in str(error)


def test_a_manifests_folder_that_is_none_is_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    folder.path.mkdir()
    folder.manifests.write_text("")
    for error in (
        failure(folder.manifest_names),
        failure(folder.write_manifest, FULL),
        failure(folder.remove_manifest, FULL.name),
        failure(list, folder.lineage(FULL.name, {})),
    ):
        assert (error.kind, error.category) == ("run_failed", "user")
        assert str(folder.manifests) in str(error)
    assert failure(folder.read_manifest, FULL.name).data["problem"] == "missing"


def test_a_lineage_goes_on_behind_a_broken_manifest(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path, RUN)
    for update in (100, 200, 300):
        folder.write_manifest(a_manifest(1, update))
    folder.write_manifest(a_manifest(2, 250))
    folder.write_manifest(a_manifest(1, 400))  # a zombie's
    latest = manifest_name(2, 250)
    began = {1: None, 2: manifest_name(1, 200)}
    the_file(folder, a_manifest(2, 250)).write_bytes(b"{")
    found = list(folder.lineage(latest, began))
    assert [name for name, _ in found] == [latest, manifest_name(1, 200), manifest_name(1, 100)]
    assert isinstance(found[0][1], Err)
    assert found[0][1].error.data["problem"] == "torn"
    assert found[1][1].unwrap() == a_manifest(1, 200)
    gone = list(folder.lineage(latest, began, {manifest_name(1, 200)}))
    assert [name for name, _ in gone] == [latest, manifest_name(1, 100)]
    folder.remove_manifest(latest)
    name, result = next(folder.lineage(latest, began))
    assert name == latest
    assert isinstance(result, Err)
    assert result.error.data["problem"] == "missing"
    assert list(folder.lineage(None, began)) == []
