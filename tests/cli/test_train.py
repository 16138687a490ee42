"""``tinkex train`` and ``tinkex resume`` over a real engine: what is printed, what stays, and with which status."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support_engine_url import engine_url
from support_shell import Done, Shell
from tinkex.actors import RunFolder, RunStore, committed_sequence
from tinkex.actors._leases._process import this_process
from tinkex.protocol import RunStatus


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with engine_url(tmp_path_factory.mktemp("engine")) as address:
        yield address


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capfd)


def refused(done: Done, *words: str, status: int = 2) -> None:
    assert done.status == status, done
    for word in words:
        assert word in done.err, done.err
    assert done.err.startswith("tinkex: ")
    assert len(done.err.splitlines()) == 1, "one sentence"
    assert not done.out


def sequence(shell: Shell, run: str = "r") -> list[tuple[int, list[int | str]]]:
    events = RunFolder(shell.root, run).events
    return [(record.update, list(record.rows)) for record in committed_sequence(events)]


def test_a_run_is_trained_to_its_end_shown_in_plain_lines_and_can_be_made_longer(shell: Shell, url: str) -> None:
    done = shell.tinkex("train", str(shell.config()), "--base-url", url)
    assert done.status == 0, done
    assert done.err == ""
    told = f"tinkex: training r, to 12 updates: model tinkex/byte-tiny on {url}, kept in {shell.root / 'r'}"
    assert done.lines[0] == told
    assert "r: epoch 1 begins" in done.lines
    saved = [line for line in done.lines if line.startswith("r: checkpoint: update ")]
    assert [line.split()[3] for line in saved] == ["3", "6", "9", "12"]
    assert done.lines[-2] == "r: finished at update 12"
    assert done.lines[-1].startswith("tinkex: the run r is finished after 12 updates; its checkpoint is tinker://")
    assert (shell.root / "r" / "loss.png").read_bytes().startswith(b"\x89PNG")

    again = shell.tinkex("resume", "r")
    assert again.status == 0
    assert "resume r --set training.passes=2" in again.out

    longer = shell.tinkex("resume", "r", "--set", "training.passes=2")
    assert longer.status == 0, longer
    assert "r: epoch 2 goes on from update 12" in longer.lines
    trained = sequence(shell)
    assert [update for update, _ in trained] == list(range(1, 25))
    assert sorted(row for _, rows in trained[12:] for row in rows) == list(range(24)), "each row once more"

    unchanged = shell.tinkex("resume", "r")
    assert "training.passes=4" in unchanged.out, "what was set stays set"


def test_json_is_one_object_a_line_and_nothing_else(shell: Shell, url: str) -> None:
    done = shell.tinkex("train", str(shell.config()), "--json", "--name", "j", TINKER_BASE_URL=url)
    assert done.status == 0, done
    told = done.objects
    assert {line["run"] for line in told} == {"j"}
    assert [line["update"] for line in told if line["kind"] == "update"] == list(range(1, 13))
    assert [line["update"] for line in told if line["kind"] == "checkpoint"] == [3, 6, 9, 12]
    states = [line["state"] for line in told if line["kind"] == "status"]
    assert set(states) <= {"restoring", "training", "finished"}
    assert states[-1] == "finished"
    assert told[-1]["kind"] == "outcome"
    assert (told[-1]["state"], told[-1]["update"], told[-1]["status"]) == ("finished", 12, 0)
    assert Path(told[-1]["plot"]).is_file()
    assert "the run j is finished" in done.err


def test_several_configurations_are_trained_together(shell: Shell, url: str) -> None:
    files = [str(shell.config(name)) for name in ("a", "b")]
    done = shell.tinkex("train", *files, "--base-url", url)
    assert done.status == 0, done
    assert "the run a is finished" in done.out
    assert "the run b is finished" in done.out
    table = shell.tinkex("runs").lines
    assert [line.split()[:2] for line in table] == [["run", "state"], ["a", "finished"], ["b", "finished"]]


def test_a_second_run_of_a_name_is_refused_with_the_way_on(shell: Shell, url: str) -> None:
    config = str(shell.config())
    assert shell.tinkex("train", config, "--base-url", url).status == 0
    before = sequence(shell)
    refused(shell.tinkex("train", config, "--base-url", url), "`tinkex resume r`", "finished at update 12", "--name")
    refused(shell.tinkex("train", config, "--base-url", url, "--name", "R"), "'r'")
    assert sequence(shell) == before


def test_the_same_command_goes_on_when_its_supervision_starts_it_again(shell: Shell, url: str) -> None:
    config = str(shell.config())
    mine, other = str(shell.folder / "pulse-1"), str(shell.folder / "pulse-2")
    words = ("train", config, "--base-url", url)
    assert shell.tinkex(*words, TINKEX_PULSE_FILE=mine).status == 0
    refused(shell.tinkex(*words, TINKEX_PULSE_FILE=other), "there is a run 'r'")
    assert shell.tinkex(*words, TINKEX_PULSE_FILE=mine).status == 0


@pytest.mark.parametrize(
    ("sections", "words", "says"),
    [
        ({"training": {"batchsize": 4}}, [], ["r.toml, line ", "did you mean 'batch_size'?"]),
        ({"data": {"path": "nowhere.jsonl"}}, [], ["nowhere.jsonl", "cannot be read"]),
        ({}, ["--set", "schedule.kind=sine"], ["--set", "schedule.kind"]),
        ({}, ["--set", "run.name=a/b"], ["run.name"]),
        ({"server": {"api_key": "tml-secret-0123456789"}}, [], ["TINKER_API_KEY"]),
        ({}, ["--base-url", "ftp://x"], ["base_url"]),
        ({}, ["--engine"], ["--engine and --base-url"]),
        ({}, ["--from-weights", "tinker://nothing"], ["--from-weights", "tinker://<run>/weights/<name>"]),
        ({}, ["--from-weights", "tinker://a:train:0/weights/none"], ["--from-weights", "a:train:0"]),
        ({"data": {"tokenizer": "no-folder"}}, [], ["data.tokenizer", "no-folder"]),
        ({"model": {"base_model": "no/such"}}, [], ["no/such"]),
    ],
)
def test_bad_input_is_one_sentence_and_begins_no_run(
    shell: Shell, url: str, sections: dict[str, Any], words: list[str], says: list[str]
) -> None:
    config = str(shell.config(**sections))
    given = [] if "--base-url" in words else ["--base-url", url]
    done = shell.tinkex("train", config, *given, *words)
    refused(done, *says)
    assert "tml-secret" not in done.err
    if shell.root.exists():
        with_store = RunStore.open(shell.root)
        assert with_store.runs() == []
        with_store.close()


def test_a_row_that_is_wrong_is_named_by_its_line(shell: Shell, url: str) -> None:
    config = str(shell.config())
    with (shell.folder / "rows.jsonl").open("a") as file:
        file.write('{"prompt": "a", "completion": 3}\n')
    refused(shell.tinkex("train", config, "--base-url", url), "rows.jsonl, line 25", "completion")


def test_no_server_is_named_and_none_is_guessed(shell: Shell) -> None:
    refused(shell.tinkex("train", str(shell.config())), "--engine", "--base-url", "TINKER_BASE_URL")


def test_a_server_that_is_not_there_is_said_with_status_3(shell: Shell) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{held.getsockname()[1]}"
        done = shell.tinkex("train", str(shell.config()), "--set", f"server.base_url={address}")
    refused(done, address, "could not reach", status=3)


def test_a_resume_whose_data_changed_fails_and_says_what_differs(shell: Shell, url: str) -> None:
    assert shell.tinkex("train", str(shell.config()), "--base-url", url).status == 0
    rows = shell.folder / "rows.jsonl"
    rows.write_text(rows.read_text().replace("abc", "abd"))
    done = shell.tinkex("resume", "r", "--set", "training.passes=2")
    assert done.status == 1, done
    assert "data" in done.lines[-1]
    assert len(sequence(shell)) == 12, "nothing was trained"


def test_the_root_is_told_by_the_option_then_the_variable_then_the_configuration(shell: Shell, url: str) -> None:
    config = str(shell.config(run={"root": "from-file"}))
    words = ("train", config, "--base-url", url, "--set", "training.updates=1")
    for root, more, variables in (
        ("from-file", [], {}),
        ("from-variable", [], {"TINKEX_RUNS": "from-variable"}),
        ("from-option", ["--root", "from-option"], {"TINKEX_RUNS": "from-variable"}),
    ):
        done = shell.tinkex(*words, *more, **variables)
        assert done.status == 0, done
        assert (shell.folder / root / "r" / "events").is_dir()
        assert "r" in shell.tinkex("runs", "--root", root).out
    assert f"--root {shell.folder / 'from-file'}" in shell.tinkex("resume", "r", "--root", "from-file").out


def test_a_run_of_a_living_process_is_refused_and_one_on_another_host_too(
    shell: Shell, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = str(shell.config())
    assert shell.tinkex("train", config, "--base-url", url, "--set", "training.updates=3").status == 0
    store = RunStore.open(shell.root)
    taken = store.take("r", reason="a test")
    store.report("r", taken.epoch, RunStatus(run="r", state="training", epoch=taken.epoch, update=3))
    pid = str(os.getpid())
    for words in (("resume", "r"), ("train", config, "--base-url", url)):
        refused(shell.tinkex(*words), pid, "is being trained by process", "--take-over")
    away = this_process()
    monkeypatch.setattr(
        "tinkex.actors._runs._store.this_process",
        lambda: type(away)("elsewhere", "another-boot", away.pid, away.started),
    )
    store.take("r", reason="another test")
    store.close()
    monkeypatch.undo()
    monkeypatch.chdir(shell.folder)
    refused(shell.tinkex("resume", "r"), "elsewhere", "cannot be told")
    done = shell.tinkex("resume", "r", "--take-over", "--set", "training.updates=6")
    assert done.status == 0, done
    assert [update for update, _ in sequence(shell)] == list(range(1, 7))


def test_a_run_of_another_program_is_not_gone_on_with_by_the_shell(shell: Shell) -> None:
    store = RunStore.open(shell.root)
    store.add("mine", {"whatever": 1})
    store.close()
    refused(shell.tinkex("resume", "mine"), "'mine'", "was not begun by `tinkex train`")
    assert shell.tinkex("why", "mine").out.startswith("mine: not started")


@pytest.mark.parametrize("command", ["status", "why", "stop", "pause", "unpause", "checkpoint-now", "resume", "prune"])
def test_an_unknown_run_comes_with_the_nearest_one(shell: Shell, command: str) -> None:
    refused(shell.tinkex(command, "r"), f"there is no folder {shell.root}", "--root")
    store = RunStore.open(shell.root)
    refused(shell.tinkex(command, "r"), "nor any other")
    store.add("reverse", {})
    store.close()
    refused(shell.tinkex(command, "revers"), "did you mean 'reverse'?")
    refused(shell.tinkex(command, "zzz"), "its runs are reverse")
