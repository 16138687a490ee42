"""``tinkex prune`` and ``tinkex pin`` over a real engine, and ``tinkex verify-resume``."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support_engine_url import engine_url
from support_shell import Shell
from tinkex.actors import RunFolder, RunStore, ServiceClient
from tinkex.protocol import TinkerPath, messages


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], url: str) -> Shell:
    """A folder with a finished run ``r``, which has checkpoints of the updates 3, 6, 9 and 12."""
    made = Shell(tmp_path, monkeypatch, capfd)
    done = made.tinkex("train", str(made.config()), "--base-url", url)
    assert done.status == 0, done
    return made


def manifests(shell: Shell) -> list[int]:
    """The updates of the manifests in the run's folder."""
    folder = RunFolder(shell.root, "r")
    return [folder.read_manifest(name).update for name in folder.manifest_names()]


def on_server(shell: Shell, url: str) -> list[str]:
    """The names of the run's checkpoints that the server has."""
    folder = RunFolder(shell.root, "r")
    run_id = TinkerPath.parse(folder.read_manifest(folder.manifest_names()[-1]).path).run_id
    with ServiceClient.open(base_url=url) as service:
        found = service.ask(messages.ListCheckpoints(run_id)).unwrap().checkpoints
    return sorted(item.checkpoint_id.rpartition("/")[2] for item in found)


def test_a_prune_is_shown_first_and_done_only_when_told_to(shell: Shell, url: str) -> None:
    shown = shell.tinkex("prune", "r", "--keep-last", "1")
    assert shown.status == 0, shown
    assert [line.split()[:4] for line in shown.lines[:-1]] == [
        ["keep", "e00001-u000000012", "update", "12:"],
        *(["delete", f"e00001-u{update:09d}", "update", f"{update}:"] for update in (3, 6, 9)),
    ]
    assert "the run goes on from it" in shown.lines[0]
    assert shown.lines[-1] == "nothing was done; the same with --yes does it"
    assert manifests(shell) == [3, 6, 9, 12]
    assert len(on_server(shell, url)) == 4

    done = shell.tinkex("prune", "r", "--keep-last", "1", "--yes")
    assert done.status == 0, done
    assert done.lines[-1] == "r: 3 checkpoints deleted, 0 renewed"
    assert manifests(shell) == [12]
    assert on_server(shell, url) == ["e00001-u000000012"]
    resumed = shell.tinkex("resume", "r", "--set", "training.passes=2")
    assert resumed.status == 0, resumed


def test_what_is_pinned_is_kept_and_pins_come_off_again(shell: Shell) -> None:
    assert shell.tinkex("pin", "r", "6").out.startswith("r: e00001-u000000006 is pinned")
    shown = shell.tinkex("prune", "r", "--keep-last", "1")
    assert "keep    e00001-u000000006  update 6: it is pinned" in shown.lines
    off = shell.tinkex("pin", "r", "e00001-u000000006", "--remove")
    assert off.lines == ["r: e00001-u000000006 is no longer pinned; pinned are: none"]
    assert "delete  e00001-u000000006" in shell.tinkex("prune", "r", "--keep-last", "1").out
    for word in ("7", "e00001-u000000007", "-", "²"):
        refused = shell.tinkex("pin", "r", "--", word)
        assert refused.status == 2
        assert "its newest are e00001-u000000012, e00001-u000000009" in refused.err


def test_the_best_and_each_so_many_are_kept_and_the_rest_by_the_configuration(shell: Shell) -> None:
    everything = shell.tinkex("prune", "r")
    assert everything.out.count("keep  ") == 4
    assert "delete  " not in everything.out
    folder = RunFolder(shell.root, "r")
    losses = {name: folder.read_manifest(name).metrics["loss"] for name in folder.manifest_names()}
    best = min(losses, key=lambda name: losses[name])
    for rules, kept in (
        (["--keep-every", "6"], {"e00001-u000000006", "e00001-u000000012"}),
        (["--keep-best", "1"], {best, "e00001-u000000012"}),
        (["--keep-best", "4"], set(losses)),
    ):
        ruled = shell.tinkex("prune", "r", "--keep-last", "1", *rules)
        assert {line.split()[1] for line in ruled.lines if line.startswith("keep")} == kept
    wrong = shell.tinkex("prune", "r", "--keep-last", "1", "--metric", "")
    assert wrong.status == 2
    assert "metric" in wrong.err


def test_nothing_is_deleted_whose_survivor_the_server_has_not(shell: Shell, url: str) -> None:
    newest = RunFolder(shell.root, "r").read_manifest("e00001-u000000012")
    with ServiceClient.open(base_url=url) as service:
        service.ask(messages.DeleteCheckpoint(newest.path)).unwrap()
    shown = shell.tinkex("prune", "r", "--keep-last", "1")
    assert shown.lines[:2] == [
        "keep    e00001-u000000009  update 9: it is the newest one that is verified",
        "keep    e00001-u000000012  update 12: the run goes on from it, the server does not list it",
    ]


def test_a_delete_that_was_begun_is_ended_by_the_next_prune(shell: Shell, url: str) -> None:
    store = RunStore.open(shell.root)
    row = store.run("r")
    assert row is not None
    path = RunFolder(shell.root, "r").read_manifest("e00001-u000000003").path
    assert store.retire("r", row.epoch, "e00001-u000000003", path)
    assert "delete  e00001-u000000003  was begun" in shell.tinkex("prune", "r").out
    assert shell.tinkex("pin", "r", "3").status == 2
    assert shell.tinkex("prune", "r", "--yes").lines[-1] == "r: 1 checkpoint deleted, 0 renewed"
    assert manifests(shell) == [6, 9, 12]
    assert len(on_server(shell, url)) == 3
    assert store.retired("r") == {}
    store.close()


def test_a_prune_ends_where_a_trainer_takes_the_run_meanwhile(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    retire = RunStore.retire
    store = RunStore.open(shell.root)

    def taken(self: RunStore, name: str, epoch: int, manifest: str, path: str) -> bool:
        if manifest.endswith("6"):
            store.take("r", reason="a test")
        return retire(self, name, epoch, manifest, path)

    monkeypatch.setattr(RunStore, "retire", taken)
    done = shell.tinkex("prune", "r", "--keep-last", "1", "--yes")
    store.close()
    assert done.status == 2
    assert "was taken over" in done.err
    assert manifests(shell) == [6, 9, 12], "what was done before is done, and nothing after"


def test_a_run_without_checkpoints_says_so(shell: Shell) -> None:
    words = json.loads(shell.tinkex("status", "r", "--json").out)["config"]
    store = RunStore.open(shell.root)
    store.add("young", words)
    store.close()
    assert shell.tinkex("prune", "young").lines == ["young: there are no checkpoints"]
    assert "idle" in shell.tinkex("runs").out


def test_a_finished_run_is_told_nothing(shell: Shell) -> None:
    for command in ("stop", "pause", "unpause", "checkpoint-now"):
        done = shell.tinkex(command, "r")
        assert done.status == 1
        assert done.err == "tinkex: the run 'r' is finished: there is nothing to tell it\n"


def test_verify_resume_prints_three_lists_and_a_verdict(shell: Shell, url: str) -> None:
    done = shell.tinkex("verify-resume", "--base-url", url)
    assert done.status == 0, done
    losses = {line.split(":")[0]: line.split(":")[1].split() for line in done.lines[1:4]}
    assert list(losses) == ["uninterrupted", "resumed with optimizer", "from weights alone"]
    assert losses["uninterrupted"] == losses["resumed with optimizer"]
    assert losses["from weights alone"][0] == losses["uninterrupted"][0]
    assert losses["from weights alone"][1:] != losses["uninterrupted"][1:]
    assert done.lines[-1].startswith("tinkex: the resume is exact")


def test_verify_resume_fails_where_nothing_shows_that_the_optimizer_was_restored(shell: Shell, url: str) -> None:
    still = str(shell.config("still", schedule={"learning_rate": 1e-12}))
    done = shell.tinkex("verify-resume", still, "--base-url", url, "--json")
    assert done.status == 1, done
    assert done.objects[0]["passed"] is False
    assert "inconclusive" in done.err


def test_example_data_is_written_once(shell: Shell) -> None:
    path = shell.folder / "reverse.jsonl"
    assert (
        shell.tinkex("example-data", "reverse", str(path), "--rows", "50", "--seed", "3").out == f"50 rows in {path}\n"
    )
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(rows) == 50
    assert all(row["prompt"] == row["completion"][::-1] + ">" for row in rows)
    again = shell.tinkex("example-data", "reverse", str(path))
    assert again.status == 2
    assert "is there already" in again.err
