"""A process that trains tells its pulse, and a watcher tells from it whether it is frozen or stuck."""

import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer import _pulse
from tinkex.actors._trainer._pulse import PULSE_FILE, Pulse, PulseFile, RunPulse, pulse_file, read_pulse
from tinkex.actors._trainer._pulse_watch import Watched, judge_pulse


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def beat(run: str = "r", update: int = 3, phase: str = "update", state: str = "training", budget: float = 40.0) -> Any:
    return RunPulse(run, update, phase, state, budget)


def test_it_is_written_once_a_second_and_at_each_new_phase_or_state(tmp_path: Path) -> None:
    clock = Clock()
    file = PulseFile(tmp_path / "pulse", clock=clock, wall=lambda: 1000.0 + clock.now)
    assert file.beat(beat())
    assert read_pulse(file.path) == Pulse(os.getpid(), 1050.0, 1.0, [beat()])
    assert not file.beat(beat(update=4))
    clock.now += 0.9
    assert not file.beat(beat(update=5))
    assert file.beat(beat(update=5, phase="checkpoint"))
    assert file.beat(beat(update=5, phase="checkpoint", state="paused"))
    clock.now += 1.0
    assert file.beat(beat(update=6, phase="checkpoint", state="paused"))
    assert read_pulse(file.path) == Pulse(os.getpid(), 1051.9, 1.0, [beat("r", 6, "checkpoint", "paused")])
    assert [path.name for path in tmp_path.iterdir()] == ["pulse"]


def test_runs_of_one_process_are_told_together_until_they_end(tmp_path: Path) -> None:
    file = PulseFile(tmp_path / "pulse", clock=Clock())
    file.beat(beat("a"))
    file.beat(beat("b"))
    pulse = read_pulse(file.path)
    assert pulse is not None
    assert [run.run for run in pulse.runs] == ["a", "b"]
    for name in ("a", "never", "b"):
        file.forget(name)
    pulse = read_pulse(file.path)
    assert pulse is not None
    assert pulse.runs == []


def test_a_reader_never_sees_half_a_pulse(tmp_path: Path) -> None:
    file = PulseFile(tmp_path / "pulse")
    file.beat(beat())
    done = threading.Event()

    def write() -> None:
        for update in range(400):
            file.beat(beat("r" * (1 + update % 300), update))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        assert read_pulse(file.path) is not None
    thread.join()


def test_a_folder_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    file = PulseFile(tmp_path / "gone" / "pulse", clock=Clock())
    assert [file.beat(beat(phase=phase)) for phase in ("batch", "update")] == [False, False]
    file.forget("r")
    (tmp_path / "gone").mkdir()
    assert file.beat(beat())


@pytest.mark.parametrize("raw", [b"", b"{", b"\xff", b"[]", b'{"pid": "x"}'])
def test_what_is_no_pulse_is_none(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "pulse"
    assert read_pulse(path) is None
    assert read_pulse(tmp_path) is None
    path.write_bytes(raw)
    assert read_pulse(path) is None


def test_only_a_process_that_is_asked_tells_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PULSE_FILE, raising=False)
    assert pulse_file() is None
    assert pulse_file({PULSE_FILE: ""}) is None
    monkeypatch.setenv(PULSE_FILE, str(tmp_path / "pulse"))
    file = pulse_file()
    assert file is not None
    assert file is pulse_file(), "all trainers of a process share it"
    assert file.path == tmp_path / "pulse"
    _pulse._reset_after_fork()
    assert pulse_file() is not file


def test_the_file_is_plain_json(tmp_path: Path) -> None:
    file = PulseFile(tmp_path / "pulse", clock=Clock(), wall=lambda: 7.5)
    file.beat(beat())
    assert json.loads(file.path.read_bytes()) == {
        "pid": os.getpid(),
        "written": 7.5,
        "every_seconds": 1.0,
        "runs": [{"run": "r", "update": 3, "phase": "update", "state": "training", "budget_seconds": 40.0}],
    }


class Watcher:
    """Looks every second at a process that beats, or not."""

    def __init__(self) -> None:
        self.now = 0.0
        self.written = 0.0
        self.seen: Watched | None = None

    def look(self, *runs: RunPulse, writes: bool = True, seconds: float = 1.0, pid: int = 7, **options: Any) -> Watched:
        self.now += seconds
        if writes:
            self.written += 1.0
        self.seen = judge_pulse(self.seen, Pulse(pid, self.written, 1.0, list(runs)), self.now, **options)
        return self.seen

    def looks(self, count: int, *runs: RunPulse, **options: Any) -> list[str]:
        return [self.look(*runs, **options).verdict for _ in range(count)]


def test_silence_is_frozen_after_half_a_minute() -> None:
    watcher = Watcher()
    watcher.look(beat())
    assert watcher.looks(31, beat(budget=0.0), writes=False) == ["fine"] * 30 + ["frozen"]
    assert watcher.seen is not None
    assert watcher.seen.why == "nothing was heard of it for 31 s, though it runs"
    assert watcher.look(beat()).verdict == "fine", "it thawed"


def test_a_file_that_is_gone_is_silence_too_once_there_was_one() -> None:
    first = judge_pulse(None, None, 0.0)
    for now in range(1, 100):
        first = judge_pulse(first, None, float(now))
        assert first.verdict == "fine", "it never told one: it is not judged"
    seen = judge_pulse(first, Pulse(7, 1.0, 1.0, [beat(budget=0.0)]), 100.0)
    for now in range(101, 131):
        seen = judge_pulse(seen, None, float(now))
        assert seen.verdict == "fine"
    assert judge_pulse(seen, None, 131.0).verdict == "frozen"


def test_a_process_that_beats_seldom_is_given_more() -> None:
    seen = judge_pulse(None, Pulse(7, 1.0, 20.0, [beat(budget=0.0)]), 0.0)
    verdicts: list[str] = []
    for now in range(1, 122):
        seen = judge_pulse(seen, seen.pulse, float(now))
        verdicts.append(seen.verdict)
    assert verdicts == ["fine"] * 120 + ["frozen"]


def test_without_runs_silence_is_no_sign() -> None:
    watcher = Watcher()
    watcher.look()
    assert set(watcher.looks(100, writes=False)) == {"fine"}


def test_a_beating_process_that_does_not_get_on_is_stuck_after_twice_its_budget() -> None:
    watcher = Watcher()
    watcher.look(beat(budget=10.0))
    assert watcher.looks(21, beat(budget=10.0)) == ["fine"] * 20 + ["stuck"]
    assert watcher.seen is not None
    assert watcher.seen.why == "run r has been at update of update 3 for 21 s, and its budget is 10 s"
    assert watcher.look(beat(update=4, budget=10.0)).verdict == "fine"


@pytest.mark.parametrize("state", ["paused", "paused_capacity", "paused_rate_limit", "finished"])
def test_a_pause_and_an_end_excuse_from_getting_on_and_their_time_does_not_count(state: str) -> None:
    watcher = Watcher()
    assert set(watcher.looks(15, beat(budget=10.0))) == {"fine"}
    assert set(watcher.looks(1000, beat(state=state, budget=10.0))) == {"fine"}
    assert watcher.looks(22, beat(budget=10.0)) == ["fine"] * 21 + ["stuck"]


def test_one_stuck_run_among_others_is_seen() -> None:
    watcher = Watcher()
    for update in range(30):
        verdict = watcher.look(beat("a", update), beat("b", 5, budget=10.0)).verdict
        assert verdict == ("fine" if update <= 20 else "stuck")


def test_another_process_begins_anew() -> None:
    watcher = Watcher()
    assert set(watcher.looks(15, beat(budget=10.0))) == {"fine"}
    assert watcher.looks(21, beat(budget=10.0), pid=8) == ["fine"] * 21
    assert watcher.look(beat(budget=10.0), pid=8).verdict == "stuck"


def test_a_watcher_that_was_stopped_itself_blames_nobody() -> None:
    """Neither for silence nor for standing still while it did not look; and never by the wall clock."""
    watcher = Watcher()
    watcher.look(beat(budget=10.0))
    assert watcher.look(beat(budget=10.0), writes=False, seconds=36_000.0).verdict == "fine"
    watcher.written = -1e9
    assert watcher.look(beat(budget=10.0)).verdict == "fine"


looks = st.tuples(
    st.floats(0.0, 10.0),
    st.booleans(),
    st.sampled_from([beat(), beat(update=4), beat(phase="checkpoint"), beat(state="paused"), beat(budget=5.0)]),
)


@given(st.lists(looks, max_size=60))
def test_nobody_is_blamed_before_the_time_has_passed(history: list[tuple[float, bool, RunPulse]]) -> None:
    watcher = Watcher()
    watcher.look(beat())
    silent = idle = 0.0
    last = beat()
    for seconds, writes, run in history:
        seen = watcher.look(run, writes=writes, seconds=seconds)
        silent = 0.0 if writes else silent + seconds
        got_on = (run.update, run.phase, run.state) != (last.update, last.phase, last.state) or run.state == "paused"
        idle, last = (0.0 if got_on else idle + seconds), run
        if seen.verdict == "frozen":
            assert silent > 30.0
        if seen.verdict == "stuck":
            assert idle > 2.0 * run.budget_seconds
        assert (seen.verdict == "fine") == (seen.why == "")
