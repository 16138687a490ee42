"""Speeds leave pauses out."""

from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._trainer._meter import Meter

STEPS = st.lists(st.tuples(st.floats(0.01, 100.0), st.sampled_from(["pause", "go on", "complete"])), max_size=40)


@given(STEPS)
def test_training_time_is_what_passed_outside_of_pauses(steps: list[tuple[float, str]]) -> None:
    meter = Meter(0, 0.0, 0.0)
    now, worked, since, paused = 0.0, 0.0, 0.0, False
    for seconds, event in steps:
        now += seconds
        since += 0.0 if paused else seconds
        match event:
            case "pause":
                meter.pause(now)
                paused = True
            case "go on":
                meter.go_on(now)
                paused = False
            case _:
                assert abs(meter.completed(10, now) - since) < 1e-6
                worked, since = worked + since, 0.0
        assert abs(meter.since_progress(now) - since) < 1e-6
        assert meter.paused == paused
    assert abs(meter.train_seconds - worked) < 1e-6


def test_work_at_risk_is_what_no_checkpoint_holds() -> None:
    meter = Meter(100, 50.0, 0.0)
    assert meter.at_risk_seconds == 0.0
    meter.completed(10, 2.0)
    held = meter.train_seconds
    meter.completed(10, 5.0)
    assert meter.at_risk_seconds == 5.0
    meter.durable(held)
    assert meter.at_risk_seconds == 3.0
    assert meter.tokens == 120
    assert meter.seconds_per_update == 2.5
    assert meter.tokens_per_second == 4.0
