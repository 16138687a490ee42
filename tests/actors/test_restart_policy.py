"""Which children are started again, and when: the rules of OTP, over random histories."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors import ChildSpec, GenServer
from tinkex.actors._genserver._watch import DownReason
from tinkex.actors._supervision._policy import BASE_DELAY, MAX_DELAY, Intensity, affected, delay, wants_restart
from tinkex.protocol._child_spec import Restart

REASONS: tuple[DownReason, ...] = ("normal", "shutdown", "killed", "crashed")


@pytest.mark.parametrize(
    ("restart", "after"),
    [("permanent", set(REASONS)), ("transient", {"killed", "crashed"}), ("temporary", set[DownReason]())],
)
def test_a_child_is_started_again_after_these_ends(restart: Restart, after: set[DownReason]) -> None:
    spec = ChildSpec("x", GenServer, restart=restart)
    assert {reason for reason in REASONS if wants_restart(spec, reason)} == after


@given(st.lists(st.text(min_size=1, max_size=3), min_size=1, max_size=8, unique=True), st.data())
def test_those_that_go_with_a_failed_child_keep_their_order(order: list[str], data: st.DataObject) -> None:
    failed = data.draw(st.sampled_from(order))
    at = order.index(failed)
    assert affected("one_for_one", order, failed) == [failed]
    assert affected("one_for_all", order, failed) == order
    assert affected("rest_for_one", order, failed) == order[at:]


@given(
    st.integers(0, 5),
    st.integers(1, 20),
    st.lists(st.integers(0, 6), max_size=40),
)
def test_restarts_are_counted_as_otp_counts_them(limit: int, window: int, gaps: list[int]) -> None:
    """A model that keeps every restart ever: one is allowed if at most ``limit`` lie in the last ``window`` seconds."""
    intensity, now = Intensity(limit, window), 0
    history: list[int] = []
    for gap in gaps:
        now += gap
        history.append(now)
        recent = [then for then in history if then >= now - window]
        assert intensity.allows(now) == (len(recent) <= limit)
        assert intensity.recent == len(recent)


@given(st.integers(0, 5000), st.integers(0, 2**32))
def test_the_first_restart_is_at_once_and_later_ones_wait_longer_and_longer(recent: int, seed: int) -> None:
    seconds = delay(recent, random.Random(seed))
    if recent <= 1:
        assert seconds == 0.0
    else:
        assert 0.0 <= seconds <= min(MAX_DELAY, BASE_DELAY * 2.0 ** (min(recent, 60) - 2))
    highest = max(delay(recent, random.Random(one)) for one in range(200))
    assert highest >= 0.8 * min(MAX_DELAY, BASE_DELAY * 2.0 ** min(recent - 2, 30)) or recent <= 1
