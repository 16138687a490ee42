"""Uninterrupted == resumed != cold: what the three ways show, in one sentence, and when it is a pass."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol._resume_verdict import Measured, judge_resume

RUN = [Measured(3.0, (-1.0, -2.0)), Measured(2.0, (-1.0, -1.0)), Measured(1.0, (-0.5, -0.5))]
COLD = [RUN[0], Measured(2.5, (-1.5, -1.0)), Measured(1.5, (-1.0, -0.5))]
NEAR = [RUN[0], Measured(2.0, (-1.0, -1.0001)), RUN[2]]


def test_exact() -> None:
    verdict = judge_resume(RUN, list(RUN), COLD)
    assert (verdict.passed, verdict.exact, verdict.cold_differs, verdict.max_difference) == (True, True, True, 0.0)
    assert (verdict.uninterrupted, verdict.resumed, verdict.cold) == ([3.0, 2.0, 1.0], [3.0, 2.0, 1.0], [3.0, 2.5, 1.5])
    assert verdict.sentence == (
        "the resume is exact: its 3 updates are those of the uninterrupted run bit for bit, and those from the weights "
        "alone are not (they differ by up to 0.5)"
    )


def test_a_difference_in_one_log_probability_is_no_exact_resume_though_all_losses_are_alike() -> None:
    verdict = judge_resume(RUN, NEAR, COLD)
    assert (verdict.passed, verdict.exact, verdict.within_tolerance) == (False, False, False)
    assert verdict.sentence == (
        "the resume differs from update 2 after it on, by up to 0.0001, and was to be the same bit for bit"
    )


def test_within_a_stated_tolerance_it_passes_and_says_so() -> None:
    verdict = judge_resume(RUN, NEAR, COLD, 0.01)
    assert (verdict.passed, verdict.exact, verdict.within_tolerance) == (True, False, True)
    assert verdict.sentence == (
        "the resume is within the tolerance: it differs by up to 0.0001, which is at most 0.01, and a start from the "
        "weights alone by up to 0.5"
    )
    assert not judge_resume(RUN, NEAR, COLD, 0.00001).passed


def test_an_optimizer_that_was_lost_is_named() -> None:
    verdict = judge_resume(RUN, COLD, COLD)
    assert not verdict.passed
    assert verdict.sentence == (
        "the resume lost the optimizer: its losses are those of a start from the weights alone, and differ from the "
        "uninterrupted ones by up to 0.5"
    )


def test_weights_that_were_not_brought_back_are_named() -> None:
    others = [Measured(9.0, (-4.0, -5.0)), *RUN[1:]]
    verdict = judge_resume(RUN, others, COLD)
    assert not verdict.passed
    assert verdict.sentence == (
        "the resume did not bring the weights back: already the first update after it differs, by 6"
    )


@pytest.mark.parametrize("tolerance", [0.0, 1.0])
def test_where_the_cold_way_is_the_same_nothing_is_shown(tolerance: float) -> None:
    verdict = judge_resume(RUN, RUN, COLD if tolerance else RUN, tolerance)
    assert (verdict.passed, verdict.within_tolerance, verdict.cold_differs) == (False, True, False)
    assert verdict.sentence.startswith("inconclusive: a start from the weights alone gives the same losses up to the ")


def test_losses_that_are_no_numbers_show_nothing() -> None:
    broken = [Measured(math.nan), Measured(math.nan)]
    verdict = judge_resume(broken, broken, broken)
    assert (verdict.passed, verdict.max_difference) == (False, 0.0)
    assert verdict.sentence.startswith("inconclusive: the losses are not finite")


@pytest.mark.parametrize(
    "other", [Measured(2.0, (-1.0,)), Measured(2.0, (-1.0, math.nan)), Measured(math.inf, (0.0, 0.0))]
)
def test_what_cannot_be_compared_is_infinitely_apart(other: Measured) -> None:
    verdict = judge_resume(RUN[:2], [RUN[0], other], COLD[:2], 1e9)
    assert (verdict.passed, verdict.max_difference) == (False, math.inf)


def test_the_sign_of_a_zero_is_a_bit() -> None:
    one, other = [Measured(1.0, (0.0,)), Measured(1.0)], [Measured(1.0, (-0.0,)), Measured(1.0)]
    cold = [one[0], Measured(2.0)]
    assert (
        judge_resume(one, other, cold).sentence == "the resume differs from the uninterrupted run in the sign of a zero"
    )
    assert judge_resume(one, other, cold, 1e-9).passed


ways = st.integers(2, 5).flatmap(
    lambda count: st.tuples(
        *[
            st.lists(
                st.builds(Measured, st.floats(), st.lists(st.floats(), max_size=3).map(tuple)),
                min_size=count,
                max_size=count,
            )
        ]
        * 3
    )
)


@given(ways, st.floats(0.0, 1e6))
def test_the_laws_of_a_verdict(three: tuple[list[Measured], list[Measured], list[Measured]], tolerance: float) -> None:
    """A pass needs both, more tolerance never fails what was near enough, and one line says it."""
    verdict = judge_resume(*three, tolerance)
    assert verdict.sentence.splitlines() == [verdict.sentence]
    assert not verdict.passed or (verdict.within_tolerance and verdict.cold_differs)
    assert verdict.within_tolerance == (verdict.exact or (tolerance > 0.0 and verdict.max_difference <= tolerance))
    assert not verdict.exact or verdict.max_difference == 0.0
    assert judge_resume(three[0], three[0], three[2], tolerance).exact
