"""A loss that is no number or leaps is bad; the window is of good ones; a rollback forgets what it undid."""

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer._loss_watch import LossWatch, roll_back_target
from tinkex.protocol import LossGuard, manifest_name

losses = st.floats(1e-6, 1e6)
GUARD = LossGuard(spike=3.0, window=4)


def fed(guard: LossGuard, seen: list[float]) -> LossWatch:
    watch = LossWatch(guard)
    for update, loss in enumerate(seen, 1):
        watch.see(update, loss)
    return watch


def test_the_sentences() -> None:
    watch = fed(GUARD, [2.0, 1.0, 3.0, 2.0])
    assert watch.see(5, 6.0) is None
    spike = watch.see(6, 7.6)
    assert spike is not None
    assert spike.why == "the loss of update 6 is 7.6: more than 3 times 2.5, the median of the last 4"
    torn = watch.see(6, math.nan)
    assert torn is not None
    assert (torn.update, torn.why) == (6, "the loss of update 6 is nan")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_bad_from_the_first_update_on_unless_it_is_allowed(loss: float) -> None:
    assert LossWatch(LossGuard()).see(1, loss) is not None
    allowed = LossWatch(LossGuard(not_finite=False, window=2))
    assert [allowed.see(update, loss) for update in range(1, 9)] == [None] * 8
    assert allowed.median() is None, "and it joins no window"


def test_infinite_is_above_all_multiples() -> None:
    watch = fed(LossGuard(not_finite=False, spike=2.0, window=2), [1.0, 1.0])
    assert watch.see(3, math.inf) is not None
    assert watch.see(3, math.nan) is None


@given(st.lists(losses, max_size=30), losses)
def test_a_spike_is_told_only_of_a_full_window_and_by_its_median(seen: list[float], loss: float) -> None:
    watch = LossWatch(GUARD)
    good: list[float] = []
    for update, one in enumerate([*seen, loss], 1):
        expected = len(good) >= 4 and one > 3.0 * statistics.median(good[-4:])
        assert (watch.see(update, one) is not None) == expected
        if not expected:
            good.append(one)


@given(st.lists(losses, max_size=40))
def test_without_a_spike_rule_every_finite_loss_is_good(seen: list[float]) -> None:
    watch = LossWatch(LossGuard())
    assert [watch.see(update, loss) for update, loss in enumerate(seen, 1)] == [None] * len(seen)


@given(st.lists(st.floats(-1e6, 0.0), min_size=4, max_size=9), st.floats(0.0, 1e6))
def test_where_the_median_is_not_above_zero_nothing_is_a_spike(seen: list[float], loss: float) -> None:
    assert fed(GUARD, seen).see(len(seen) + 1, loss) is None


@given(st.lists(losses, min_size=1, max_size=40), st.lists(losses, max_size=20), losses, st.data())
def test_after_a_rewind_it_judges_as_if_the_rest_had_never_been(
    kept: list[float], undone: list[float], next_loss: float, data: st.DataObject
) -> None:
    watch, twin = fed(GUARD, kept), fed(GUARD, kept)
    for update, loss in enumerate(undone, len(kept) + 1):
        watch.see(update, loss)
    if data.draw(st.booleans(), "told"):
        watch.rewind(len(kept))
    assert watch.see(len(kept) + 1, next_loss) == twin.see(len(kept) + 1, next_loss)
    assert watch.median() == twin.median()


NAMES = [manifest_name(epoch, update) for epoch, update in ((3, 90), (3, 60), (2, 60), (1, 30), (1, 0))]


@pytest.mark.parametrize(
    ("roll_back", "before", "target"),
    [
        (1, 91, NAMES[0]),
        (1, 90, NAMES[1]),
        (2, 91, NAMES[1]),
        (3, 61, NAMES[3]),
        (9, 91, NAMES[4]),
        (1, 30, NAMES[4]),
        (1, 0, None),
    ],
)
def test_the_target_is_so_many_checkpoints_before_the_bad_update(
    roll_back: int, before: int, target: str | None
) -> None:
    assert roll_back_target(NAMES, roll_back, before) == target


def test_names_of_other_forms_are_passed_over() -> None:
    strange = ["latest", "e1-u", "e-u5", "x00001-u000000005", "e00001-u00000000²", "e00001-u-00000005", ""]
    assert roll_back_target([*strange, NAMES[3]], 1, 91) == NAMES[3]
    assert roll_back_target(strange, 1, 91) is None


lineages = st.lists(st.integers(0, 10**10), unique=True, max_size=20).map(lambda found: sorted(found, reverse=True))


@given(lineages, st.integers(1, 30), st.integers(0, 10**10))
def test_the_target_is_before_the_bad_update_and_going_further_back_is_never_newer(
    lineage: list[int], roll_back: int, before: int
) -> None:
    names = [manifest_name(1, update) for update in lineage]
    target = roll_back_target(names, roll_back, before)
    earlier = [update for update in lineage if update < before]
    assert target == (manifest_name(1, earlier[:roll_back][-1]) if earlier else None)
