"""How many updates go, and where the run ends: whatever the timing, and however often it is killed."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tinkex.actors._trainer._course import Course


def drive(course: Course, choices: st.DataObject, stops: set[int], limit: int) -> None:
    """Send and judge in any order that the course allows, up to ``limit`` updates judged."""
    while course.judged < limit:
        can_judge = course.judged < course.sent
        if course.room and (not can_judge or choices.draw(st.booleans())):
            course.send()
        elif can_judge:
            course.judge(course.judged + 1, stop=course.judged + 1 in stops)
        else:
            return


@settings(max_examples=300)
@given(
    depth=st.integers(1, 5),
    stops=st.sets(st.integers(1, 12), max_size=3),
    updates=st.one_of(st.none(), st.integers(1, 14)),
    kill_at=st.integers(0, 12),
    choices=st.data(),
)
def test_a_run_ends_at_the_same_update_however_it_is_timed_and_wherever_it_is_killed(
    depth: int, stops: set[int], updates: int | None, kill_at: int, choices: st.DataObject
) -> None:
    expected = min(
        [first + depth - 1 for first in sorted(stops)[:1]] + ([updates] if updates is not None else []) + [30]
    )
    # The rule may speak only of updates that are reached before another bound ends the run.
    undisturbed = Course(0, depth, updates=updates)
    drive(undisturbed, choices, stops, 30)
    assert undisturbed.judged == expected

    killed = Course(0, depth, updates=updates)
    drive(killed, choices, stops, min(kill_at, expected))
    # A checkpoint may hold updates whose results were read and which the rule has not seen.
    held = choices.draw(st.integers(killed.judged, killed.sent))
    resumed = Course(held, depth, updates=updates, stop_after=killed.stop_after, unjudged=held - killed.judged)
    drive(resumed, choices, stops, 30)
    assert resumed.judged == expected


@given(depth=st.integers(1, 5), choices=st.data())
def test_never_more_updates_are_on_their_way_than_the_depth(depth: int, choices: st.DataObject) -> None:
    course = Course(7, depth)
    for _ in range(40):
        if course.room and choices.draw(st.booleans()):
            course.send()
        elif course.judged < course.sent:
            course.judge(course.judged + 1, stop=False)
        assert 0 <= course.sent - course.judged <= depth


def test_data_that_end_end_the_run_where_they_are() -> None:
    course = Course(0, 2)
    course.send()
    course.data_ended = True
    assert course.over
    assert not course.room
