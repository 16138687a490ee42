"""Clients under every fault, singly and in combination: no leak, no hang, no double, whatever goes wrong."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults.batch import Case, describe, run_case, seeded
from faults.invariants import broken_laws
from faults.matrix import cases
from faults.plan import KINDS, LABELS, Fault, applies, parse
from faults.play import play
from faults.program import Program, Step

ROOT = Path(__file__).parents[2]
SEEDS = 2000


def runner(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``make faults``' program in a process of its own: forks want a parent without threads."""
    return subprocess.run(
        [sys.executable, "-m", "faults.run", *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


def test_two_thousand_programs_break_no_law_and_neither_does_any_fault_at_any_step() -> None:
    done = runner(str(SEEDS), "--seed", "1", "--singly", "--jobs", "2")
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]
    pairs = sum(applies(kind, label) for kind in KINDS for label in LABELS)
    assert f"{pairs} of {pairs} pairs of fault and step" in done.stdout


@pytest.mark.parametrize("case", list(seeded(range(24))), ids=lambda case: str(case.seed))
def test_a_seed_gives_the_same_run_again(case: Case) -> None:
    first, again = play(*case), play(*case)
    assert first.trace == again.trace
    assert first.server.executions == again.server.executions
    assert first.network.hits == again.network.hits


def test_a_failure_tells_what_is_needed_to_see_it_again() -> None:
    faults = parse("lose_reply@optim_step#1 down_503@finish#1x3")
    assert faults == (Fault("lose_reply", "optim_step", 1), Fault("down_503", "finish", 1, 3))
    case = Case(7, Program([Step("create", wait=True), Step("optim_step")]), faults)
    outcome = play(*case)
    text = describe(case, outcome, ["a law"])
    assert "seed 7; plan: lose_reply@optim_step#1 down_503@finish#1x3" in text
    assert "broken: a law" in text
    assert "    create wait=True\n    optim_step\n" in text
    assert outcome.trace[-1] in text


def test_a_plan_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ValueError, match="no plan"):
        parse("lose everything")


def test_every_step_is_reached_by_the_run_that_hurts_it() -> None:
    missed = [case.plan[-1] for case in cases() if case.plan[-1].kind == "duplicate" and not run_case(case).hits]
    assert missed == []


def test_a_program_without_faults_is_answered_and_leaves_nothing() -> None:
    outcome = play(3, Program([Step("create", wait=True), Step("forward_backward", rows=5), Step("optim_step")]), ())
    assert broken_laws(outcome) == []
    assert [execution.seq_id for execution in outcome.server.executions] == [1, 2, 3, 4]
    assert outcome.server.alive() == ([], [])


@pytest.mark.parametrize("seed", [500500, 506801, 30108])
def test_seeds_that_once_broke_a_law_break_none(seed: int) -> None:
    (case,) = seeded([seed])
    assert run_case(case).failures == []
