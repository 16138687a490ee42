"""Runs of the shell in processes that are signalled, killed, told something from elsewhere, and that meet."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from support_shell import Child, Nest, Shell, nest
from tinkex.actors import RunFolder, RunStore, committed_sequence
from tinkex.cli._servers._engine_process import _is_held

SECRET = "tml-planted-7d1f0c3a"
LONG = {"passes": 100_000, "batch_size": 2}


class Server(NamedTuple):
    url: str
    pid: int


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    root = tmp_path_factory.mktemp("engine")
    command = [sys.executable, "-m", "tinkex.cli", "serve", "--port", "0", "--root", str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Server(process.stdout.readline().removeprefix("tinkex engine: ").strip(), process.pid)
        process.kill()


@pytest.fixture(scope="module")
def mother() -> Iterator[Nest]:
    with nest() as made:
        yield made


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capfd)


@pytest.fixture
def child(shell: Shell, mother: Nest, server: Server) -> Iterator[Child]:
    """A process that trains a run without end, of which the first checkpoint is committed."""
    made = mother.start(shell.folder, "train", str(shell.config(training=LONG)), "--base-url", server.url)
    try:
        made.says("r: checkpoint: update 3")
        yield made
    finally:
        made.kill()


def check_sequence(shell: Shell, last: int) -> None:
    """Each update once, and each row once in each pass."""
    records = list(committed_sequence(RunFolder(shell.root, "r").events))
    assert [record.update for record in records] == list(range(1, last + 1))
    rows = [row for record in records for row in record.rows]
    for at in range(0, len(rows) - len(rows) % 24, 24):
        assert sorted(rows[at : at + 24]) == list(range(24))


def finish(shell: Shell) -> None:
    """Resume, and train to the end of the pass that the run is in."""
    (told,) = shell.tinkex("runs", "--json").objects
    passes = told["status"]["durable_update"] // 12 + 1
    resumed = shell.tinkex("resume", "r", "--set", f"training.passes={passes}", "--json")
    assert resumed.status == 0, resumed
    assert resumed.objects[-1]["state"] == "finished"
    check_sequence(shell, 12 * passes)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_stops_and_the_resume_goes_on_exactly_there(
    shell: Shell, child: Child, number: signal.Signals
) -> None:
    child.signal(number)
    done = child.end()
    assert done.status == 75, done
    assert done.err == ""
    assert "tinkex: saving, then stopping; press Ctrl-C again to stop at once" in done.lines
    (stopped,) = [line for line in done.lines if line.startswith("r: stopped at update ")]
    update = int(stopped.rpartition(" ")[2].replace(",", ""))
    assert f"checkpoint: update {update:,} is durable" in done.out, "nothing was lost"
    assert done.lines[-1].endswith("go on with: tinkex resume r")
    assert (shell.root / "r" / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert f"goes on from update {update:,}" in shell.tinkex("why", "r").out
    finish(shell)


def test_a_second_signal_stops_at_once_and_the_run_can_still_be_resumed(
    shell: Shell, child: Child, server: Server
) -> None:
    os.kill(server.pid, signal.SIGSTOP)  # so that no save ends
    try:
        child.signal(signal.SIGINT)
        child.says("saving, then stopping")
        child.signal(signal.SIGINT)
        done = child.end()
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert done.status == 75, done
    assert "Traceback" not in done.err
    assert "tinkex resume r" in done.out.splitlines()[-1]
    finish(shell)


def test_a_killed_run_is_told_from_elsewhere_and_goes_on(shell: Shell, child: Child) -> None:
    child.signal(signal.SIGKILL)
    assert child.end().status == -signal.SIGKILL
    why = shell.tinkex("why", "r").out
    assert why.startswith(f"r: its process (pid {child.pid} on ")
    assert "`tinkex resume r` goes on from update" in why
    assert "gone (training)" in shell.tinkex("runs").lines[1]
    (told,) = shell.tinkex("runs", "--json").objects
    assert (told["run"], told["presence"], told["status"]["state"]) == ("r", "gone", "training")
    shown = shell.tinkex("status", "r").out
    assert f"process {child.pid} on " in shown
    assert ", gone" in shown
    told = json.loads(shell.tinkex("status", "r", "--json").out)
    assert told["folder"] == str(shell.root / "r")
    assert told["config"]["train"]["training"]["batch_size"] == 2
    for command in ("stop", "pause", "unpause", "checkpoint-now"):
        done = shell.tinkex(command, "r")
        assert done.status == 1
        assert "nobody trains the run 'r'" in done.err
        assert "tinkex resume r" in done.err
    store = RunStore.open(shell.root)
    assert store.inbox("r") == [], "nothing is left for the next trainer"
    store.close()
    finish(shell)


def test_a_living_run_is_told_what_to_do_and_is_nobody_elses(shell: Shell, child: Child) -> None:
    refused = shell.tinkex("resume", "r")
    assert refused.status == 2
    assert f"is being trained by process {child.pid} on this machine" in refused.err
    saved = shell.tinkex("checkpoint-now", "r")
    assert saved.status == 0, saved
    assert "is durable at tinker://" in saved.out
    paused = shell.tinkex("pause", "r")
    assert paused.status == 0, paused
    assert paused.out.startswith("r: paused at update ")
    assert "paused on request" in shell.tinkex("why", "r").out
    assert shell.tinkex("unpause", "r").out.startswith("r: training from update ")
    assert "training" in shell.tinkex("runs").lines[1]
    stopped = shell.tinkex("stop", "r")
    assert stopped.status == 0, stopped
    assert stopped.out.startswith("r: stopped at update ")
    assert "go on with it: tinkex resume r" in stopped.out
    assert child.end().status == 75


def test_a_stop_without_a_save_costs_what_no_checkpoint_holds(shell: Shell, child: Child) -> None:
    assert shell.tinkex("stop", "r", "--now").status == 0
    assert child.end().status == 75
    finish(shell)


def test_a_run_can_be_taken_over_and_the_one_that_lost_it_says_so(shell: Shell, mother: Nest, child: Child) -> None:
    taker = mother.start(shell.folder, "resume", "r", "--take-over")
    taker.says("epoch 2 goes on from update")
    loser = child.end()
    assert loser.status == 1, loser
    assert "was taken over" in loser.lines[-1]
    taker.says("checkpoint: update")
    assert shell.tinkex("stop", "r").status == 0
    assert taker.end().status == 75
    finish(shell)


def test_of_two_that_begin_a_run_at_once_one_does(shell: Shell, mother: Nest, server: Server) -> None:
    config = str(shell.config(training={"passes": 1}))
    both = [mother.start(shell.folder, "train", config, "--base-url", server.url) for _ in range(2)]
    ends = sorted((child.end() for child in both), key=lambda done: done.status)
    assert [done.status for done in ends] == [0, 2], ends
    assert "tinkex resume r" in ends[1].err
    check_sequence(shell, 12)


def test_a_run_goes_on_when_nobody_reads_its_lines_any_more(shell: Shell, mother: Nest, server: Server) -> None:
    os.mkfifo(shell.folder / "pipe")
    reader = os.open(shell.folder / "pipe", os.O_RDWR)  # which waits for no writer
    words = ("train", str(shell.config()), "--base-url", server.url)
    child = mother.start(shell.folder, *words, out=shell.folder / "pipe")
    assert b"training r" in os.read(reader, 1000)
    os.close(reader)
    assert child.end().status == 0
    assert child.err == ""
    check_sequence(shell, 12)


def test_the_key_shows_nowhere(shell: Shell, mother: Nest, server: Server) -> None:
    words = ("train", str(shell.config()), "--base-url", server.url, "--log-level", "debug")
    child = mother.start(shell.folder, *words, TINKER_API_KEY=SECRET)
    done = child.end()
    assert done.status == 0, done
    assert "run begins" in done.err, "debug logs were on"
    shown = shell.tinkex("status", "r", "--json", TINKER_API_KEY=SECRET)
    assert SECRET not in shown.out + shown.err
    for path in shell.folder.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes(), path


def test_an_engine_of_the_runs_own_ends_with_it_even_when_it_is_killed(shell: Shell, mother: Nest) -> None:
    child = mother.start(shell.folder, "train", str(shell.config(training=LONG)), "--engine")
    try:
        child.says("r: checkpoint: update 3")
        engine = shell.root / "engine"
        assert _is_held(engine)
        busy = shell.tinkex("prune", "r")
        assert busy.status == 2
        assert "stop it first" in busy.err
    finally:
        child.kill()
    finish(shell)
    assert not _is_held(engine)
