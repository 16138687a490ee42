"""What the benchmark of the hot path shows: medians, ratios in the same run, and whether each goal is met."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fast_path import page
from fast_path.goals import Goal, of_stub, rows_of
from fast_path.processes import environment
from fast_path.scale_page import growth, tables
from fast_path.scenarios import scenario
from fast_path.values import Answers, logprobs_of, loss_of, norm_of

TINY = scenario("C", tiny=True)


def figures(cpu: float, p50: float = 0.002, **more: Any) -> dict[str, Any]:
    stub = {"requests": 20, "polls": 10, "cpu": 0.001, "bytes_in": 100, "bytes_out": 100, "connections": 1}
    base = {"cpu": cpu, "wall": cpu, "operations": 10, "p50": p50, "p95": p50, "p99": p50, "peak_rss": 60 * 2**20}
    return {**base, "stub": stub, **more}


def rows(found: dict[str, dict[str, list[dict[str, Any]]]]) -> dict[tuple[str, str], Any]:
    return {(row.scenario, row.what.partition(",")[0]): row for row in rows_of(found)}


def test_a_goal_is_met_at_its_bound_and_missed_beyond_it() -> None:
    assert Goal(0.2).met(1.0, 5.0) is True
    assert Goal(0.2).met(1.01, 5.0) is False
    assert Goal(5.0, most=False).met(5.0, 1.0) is True
    assert Goal(5.0, most=False).met(4.9, 1.0) is False
    assert Goal(80.0, ratio=False).met(80.0, None) is True
    assert Goal(0.2).met(1.0, None) is None


def test_medians_are_compared_within_the_run() -> None:
    found = {"A": {"ours": [figures(cpu) for cpu in (0.01, 0.9, 0.012)], "sdk": [figures(0.06), figures(0.0601)]}}
    row = rows(found)["A", "CPU of an operation"]
    assert row.ours == pytest.approx(1.2)
    assert row.ratio == pytest.approx(0.0120 / 0.06005)
    assert row.met is True
    assert row.floor is None


def test_another_lane_is_compared_with_the_sdk_in_the_plain_scenario_at_its_own_bound() -> None:
    found = {"A": {"sdk": [figures(0.06)]}, "httpx-A": {"ours": [figures(0.021)]}}
    row = rows(found)["httpx-A", "CPU of an operation"]
    assert (row.met, row.goal) == (False, "at most 0.333x")
    assert ("A", "CPU of an operation") not in rows(found)


def test_a_run_of_ours_alone_has_figures_and_no_verdict() -> None:
    found = rows({"A": {"ours": [figures(0.01)]}})
    assert found["A", "CPU of an operation"].met is None
    assert found["A", "CPU of an operation"].ratio is None
    assert of_stub({"A": {"ours": [figures(0.01)]}}) is None


def test_the_table_says_what_was_missed() -> None:
    found = {"A": {"ours": [figures(0.03)], "sdk": [figures(0.06)], "floor": [figures(0.001)]}}
    told = page.table(rows_of(found))
    assert "| **A: 300 optim_steps, one after another** |" in told
    assert "| CPU of an operation, all threads | 3.00 ms | 6.00 ms | 0.10 ms | 0.500 | at most 0.2x: MISSED |" in told
    words = of_stub(found)
    assert words is not None
    assert "50 µs of CPU for an exchange" in words


def test_only_what_stands_between_the_markers_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    document = tmp_path / "benchmarks.md"
    monkeypatch.setattr(page, "DOCUMENT", document)
    document.write_text("before\n<!-- a -->\nold\n<!-- end of a -->\nafter\n")
    page.write_between("a", "new\n")
    assert document.read_text() == "before\n<!-- a -->\nnew\n<!-- end of a -->\nafter\n"
    with pytest.raises(ValueError, match="no markers <!-- b -->"):
        page.write_between("b", "new\n")
    assert "new" in document.read_text()


def test_the_document_has_the_markers_that_are_written_between() -> None:
    text = page.DOCUMENT.read_text()
    for marker in ("fast path", "fast path at scale"):
        assert text.count(f"<!-- {marker} -->\n") == text.count(f"<!-- end of {marker} -->\n") == 1


def right() -> tuple[float, list[Any]]:
    return loss_of(4), [logprobs_of(place, TINY.tokens) for place in range(TINY.datums)]


def test_right_answers_pass() -> None:
    answers = Answers(TINY)
    answers.step({"grad_norm:mean": norm_of(3)}, 3)
    answers.passed(right(), 4)
    answers.saved("tinker://m/weights/a", "a")
    answers.check()


@pytest.mark.parametrize("wrong", ["step of another", "loss", "datum missing", "one bit", "type", "name"])
def test_a_wrong_answer_is_seen(wrong: str) -> None:
    answers = Answers(TINY)
    loss, arrays = right()
    if wrong == "step of another":
        answers.step({"grad_norm:mean": norm_of(3)}, 4)
    elif wrong == "name":
        answers.saved("tinker://m/weights/b", "a")
    elif wrong == "loss":
        answers.passed((loss_of(5), arrays), 4)
    elif wrong == "datum missing":
        answers.passed((loss, arrays[:-1]), 4)
    elif wrong == "type":
        answers.passed((loss, [array.astype(np.float64) for array in arrays]), 4)
    else:
        arrays[1][2] = np.nextafter(arrays[1][2], np.float32(0))
        answers.passed((loss, arrays), 4)
    with pytest.raises(AssertionError, match="was due"):
        answers.check()


def test_engines_answers_are_named_alike_in_any_order_and_unlike_where_they_differ() -> None:
    names = set[str]()
    for order, norm in ((1, 0.5), (-1, 0.5), (1, 0.6)):
        answers = Answers(scenario("engine-A", tiny=True))
        for metrics, number in [({"norm": 0.25}, 1), ({"norm": norm}, 2)][::order]:
            answers.step(metrics, number)
        answers.check()
        names.add(answers.digest())
    assert len(names) == 2


def test_a_cost_that_grows_is_missed_and_one_that_does_not_is_met() -> None:
    blocks = [{**figures(0.01), "rss": 50 * 2**20} for _ in range(4)] + [{**figures(0.02), "rss": 51 * 2**20}] * 4
    found = {"past": [{"blocks": blocks}]}
    assert [row[-1].split(" (")[0] for row in growth(found)] == ["at most 1.2x: MISSED", "at most 1.2x: met"]
    assert "after 80 others" in tables(found)


def test_clients_at_scale_are_compared_from_the_fewest_to_the_most() -> None:
    def one(size: int, cpu: float) -> dict[str, Any]:
        part = figures(cpu)
        ending = {"wall": 0.1}
        base = {"size": size, "making": part, "alone": part, "together": part, "bytes_each": 5e4, "threads": size}
        return {**base, "late_p50": 0.001, "late_p99": 0.002, "ending": ending}

    found = {"clients": [one(1, 0.01), one(10, 0.011), one(100, 0.03)]}
    told = {row[0]: row[-1] for row in growth(found)}
    assert "MISSED (3.00x)" in told["CPU of an operation beside 99 idle clients"]
    assert "met (1.00x)" in told["memory of a client, of 100"]


@pytest.mark.parametrize("side", ["sdk", "ours", "floor", "stub"])
def test_each_side_keeps_its_bytecode_and_none_reads_the_users_variables(
    side: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("TINKER_API_KEY", "tml-mine")
    monkeypatch.setenv("TINKEX_STATE_DIR", "/mine")
    found = environment(side)
    assert not {"PYTHONDONTWRITEBYTECODE", "TINKER_API_KEY", "TINKEX_STATE_DIR"} & found.keys()
    assert found["NO_PROXY"] == "127.0.0.1"
