"""What runs look like, apart from any terminal: curves, words, and which lines are worth printing."""

import io
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tinkex.cli._base._words import span
from tinkex.cli._jobs._endings import exit_status
from tinkex.cli._shown._display_json import JsonDisplay
from tinkex.cli._shown._display_live import LiveDisplay
from tinkex.cli._shown._display_plain import EVERY_SECONDS, PlainDisplay
from tinkex.cli._shown._loss_curve import MOST, LossCurve, draw_curve
from tinkex.cli._shown._loss_plot import MOST_POINTS, PlotPoints, draw_losses, thin
from tinkex.cli._shown._run_view import RunView, tell_event
from tinkex.protocol import RunStatus

LOSSES = st.floats(allow_nan=True, allow_infinity=True, width=32)


def update(number: int, loss: float = 1.0, epoch: int = 1) -> dict[str, Any]:
    return {"kind": "update", "epoch": epoch, "update": number, "loss": loss, "tokens": 8, "at": 0.0}


def view_of(*events: dict[str, Any], updates: int | None = 100, **fields: Any) -> RunView:
    view = RunView("r")
    for event in events:
        view.take(event)
    facts: dict[str, Any] = {"state": "training", "epoch": 1, "updates": updates, **fields}
    view.status = RunStatus(run="r", **facts)
    return view


@given(st.lists(LOSSES, max_size=80), st.integers(1, 30), st.integers(1, 5))
def test_a_curve_keeps_within_its_lines_and_columns_and_none_is_empty(
    losses: list[float], width: int, height: int
) -> None:
    lines = draw_curve(losses, width, height)
    finite = [loss for loss in losses if math.isfinite(loss)]
    assert len(lines) == (height if finite else 0)
    assert {len(line) for line in lines} <= {min(width, len(finite))}
    assert " " not in (lines[-1] if lines else ""), "each column has a block at least"


def test_the_largest_loss_is_on_top_and_the_least_at_the_bottom() -> None:
    assert draw_curve([8.0, 4.5, 1.0], 3) == ["█▅▁"]
    assert draw_curve([8.0, 1.0], 2, 3) == ["█ ", "█ ", "█▁"]
    assert draw_curve([2.0, 2.0], 2) == ["▁▁"]


@given(st.integers(1, 6000), st.floats(0.1, 9.0))
def test_a_curve_takes_the_same_space_however_long_the_run(updates: int, loss: float) -> None:
    curve = LossCurve()
    for number in range(1, updates + 1):
        curve.add(number, loss)
    assert 1 <= len(curve.means()) <= MOST
    assert curve.means() == pytest.approx([loss] * len(curve.means()))


def test_a_curve_forgets_what_is_trained_anew() -> None:
    curve = LossCurve()
    for number in range(1, 11):
        curve.add(number, float(number))
    curve.rewind(4)
    assert curve.means() == [1.0, 2.0, 3.0, 4.0]
    curve.add(5, 50.0)
    assert curve.means()[-1] == 50.0


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.25, "0.2 s"), (59.4, "59 s"), (60.0, "1 min"), (7500.0, "2 h 5 min"), (90_000.0, "1 d 1 h"), (None, "-")],
)
def test_spans_are_short(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


def test_work_at_risk_follows_the_log_and_not_the_last_report() -> None:
    view = view_of(
        {"kind": "began", "epoch": 1, "update": 0, "manifest": None},
        *map(update, range(1, 8)),
        {"kind": "checkpoint", "epoch": 1, "update": 5, "path": "tinker://x/weights/a", "manifest": "m"},
    )
    assert (view.durable, view.at_risk) == (5, 2)
    view.take({"kind": "began", "epoch": 2, "update": 5, "manifest": "m"})
    assert (view.update, view.durable, view.at_risk) == (5, 5, 0)


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"kind": "began", "epoch": 1, "update": 0, "manifest": None, "reason": "started"}, "epoch 1 begins"),
        ({"kind": "began", "epoch": 2, "update": 1200, "manifest": "m"}, "epoch 2 goes on from update 1,200"),
        ({"kind": "checkpoint", "update": 3, "path": "tinker://x"}, "checkpoint: update 3 is durable at tinker://x"),
        (
            {"kind": "began", "epoch": 2, "update": 3, "manifest": "m", "reason": "stuck"},
            "epoch 2 goes on from update 3: stuck",
        ),
        ({"kind": "stalled", "update": 3, "reason": "stuck"}, "interrupted at update 3, to be rebuilt: stuck"),
        ({"kind": "ended", "state": "failed", "update": 3, "reason": "no"}, "failed at update 3: no"),
        ({"kind": "paused", "by": "user", "update": 3}, "paused by user at update 3"),
        ({"kind": "from-a-newer-version"}, None),
        (update(3), None),
    ],
)
def test_each_event_is_a_sentence(event: dict[str, Any], words: str | None) -> None:
    assert tell_event(event) == words


def printed(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_a_fast_run_prints_a_line_for_each_twentieth(capsys: pytest.CaptureFixture[str]) -> None:
    display, view = PlainDisplay(), view_of(updates=200)
    display.show([view], [], 0.0)
    printed(capsys)
    for number in range(1, 201):
        view.take(update(number))
        display.show([view], [], 0.01 * number)
    lines = printed(capsys)
    assert len(lines) == 20
    assert lines[0] == "r: update 10 of 200  loss 1.0000  - tokens/s  ETA -  durable -  at risk 10 updates"


def test_a_slow_run_prints_a_line_each_ten_seconds_and_none_without_progress(
    capsys: pytest.CaptureFixture[str],
) -> None:
    display, view = PlainDisplay(), view_of(updates=100_000)
    display.show([view], [], 0.0)
    for second in range(61):
        if second < 40:
            view.take(update(second + 1))
        display.show([view], [], float(second))
    lines = [line for line in printed(capsys) if "update" in line]
    assert len(lines) == 40 // EVERY_SECONDS
    assert "update 11 of 100,000" in lines[0]


def test_what_a_run_waits_for_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    display, view = PlainDisplay(), view_of(state="restoring", reason="could not reach the server")
    for second in range(5):
        display.show([view], [], float(second))
    assert printed(capsys) == ["r: restoring: could not reach the server"]


def test_lines_of_json_have_no_numbers_that_json_has_not(capsys: pytest.CaptureFixture[str]) -> None:
    display, view = JsonDisplay(), view_of(loss=math.nan)
    display.show([view], [(view, update(1, math.nan)), (view, update(2, math.inf))], 0.0)
    display.show([view], [], 0.5)
    view.status = RunStatus(run="r", state="stopping", epoch=1)
    display.show([view], [], 0.6)
    told = [json.loads(line, parse_constant=pytest.fail) for line in printed(capsys)]
    assert [(line["kind"], line["run"]) for line in told] == [("update", "r"), ("update", "r"), *[("status", "r")] * 2]
    assert told[0]["loss"] is None
    assert [line["state"] for line in told[2:]] == ["training", "stopping"], (
        "a change is told at once, else each second"
    )


def test_a_terminal_shows_the_curve_the_progress_and_what_happened() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, color_system=None)
    view = view_of(*(update(number, 10.0 - number) for number in range(1, 9)), updates=80, tokens_per_second=1234.0)
    display = LiveDisplay(console)
    display.show([view], [(view, {"kind": "warning", "reason": "[bold]disk[/bold] is slow"})], 0.0)
    display.show([view, RunView("other")], [], 1.0)
    display.close()
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    for word in (
        "r: warning: [bold]disk[/bold] is slow",
        "update 8 of 80",
        "loss 9.0000 to 2.0000",
        "1,234 tokens/s",
        "at risk: 8 updates",
        "starting",
    ):
        assert word in shown


@pytest.mark.parametrize(
    ("statuses", "status"), [([0, 0], 0), ([0, 75], 75), ([75, 1, 0], 1), ([0, 3], 1), ([75, 75], 75)]
)
def test_several_runs_end_with_the_worst_status(statuses: list[int], status: int) -> None:
    assert exit_status(statuses) == status


@given(st.integers(0, 3 * MOST_POINTS))
def test_a_plot_has_a_bounded_number_of_points_in_order(count: int) -> None:
    points = thin([(float(at), math.nan if at % 7 == 0 else 1.5) for at in range(count)])
    assert len(points) <= MOST_POINTS
    assert len(points) == count or count > MOST_POINTS
    assert [at for at, _ in points] == sorted({at for at, _ in points})
    assert {loss for _, loss in points if math.isfinite(loss)} <= {1.5}


def test_a_plot_is_a_png_whatever_the_name() -> None:
    raw = draw_losses("$a_b$.x", PlotPoints([(1.0, 2.0), (2.0, math.nan), (3.0, 1.0)], [3], [1, 2]))
    assert raw.startswith(b"\x89PNG")
