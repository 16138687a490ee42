"""A run explains itself in one sentence: what it does, since when, what is durable, what work is at risk."""

import math
import unicodedata
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.protocol import RunState, RunStatus, explain

NOW = 1_800_000_000.0
AT: dict[str, Any] = {"update": 1012, "updates": 5000}
DURABLE: dict[str, Any] = {"durable_update": 960, "durable_path": "tinker://r/weights/u960"}
RISK: dict[str, Any] = {"at_risk_updates": 52, "at_risk_seconds": 190.0}


def run(state: RunState, **fields: Any) -> RunStatus:
    known: dict[str, Any] = {"run": "digits", "state": state, "since": NOW - 840.0, "written": NOW, **fields}
    return RunStatus(**known)


TABLE: list[tuple[RunStatus, bool | None, str]] = [
    (run("idle"), None, "not started for 14 min"),
    (run("idle", since=0.0), False, "not started"),
    (run("restoring", since=NOW - 5.0), True, "restoring for 5 s"),
    (run("restoring", since=NOW - 5.0, **DURABLE), True, "restoring update 960 for 5 s; last durable update 960"),
    (run("training", update=3), True, "training at update 3; nothing is durable yet"),
    (
        run("training", **AT, **DURABLE, **RISK, eta_seconds=7_500.0),
        True,
        (
            "training at update 1,012 of 5,000, about 2 h 5 min left; last durable update 960; "
            "52 updates (3 min 10 s) at risk"
        ),
    ),
    (
        run("training", **AT, **DURABLE, **RISK, waiting="paused_capacity", waiting_since=NOW - 840.0),
        True,
        (
            "paused by the server for capacity for 14 min at update 1,012 of 5,000; last durable update 960; "
            "52 updates (3 min 10 s) at risk"
        ),
    ),
    (
        run(
            "training", update=7, waiting="paused_billing", waiting_since=NOW - 90_000.0, reason="pay first", **DURABLE
        ),
        True,
        "paused by the server for billing for 1 d 1 h at update 7: pay first; last durable update 960",
    ),
    (
        run("training", **AT, waiting="circuit_open", waiting_since=NOW - 61.0, **DURABLE),
        True,
        (
            "training at update 1,012 of 5,000; the server has failed too often to be asked, for 1 min 1 s; "
            "last durable update 960"
        ),
    ),
    (
        run("restoring", reason="the watch failed", waiting="program", waiting_since=NOW - 120.0, **DURABLE),
        True,
        (
            "restoring update 960 for 14 min: the watch failed; it waits for the training program, for 2 min; "
            "last durable update 960"
        ),
    ),
    (
        run("training", **AT, waiting="running", waiting_since=NOW - 59.0, **DURABLE),
        True,
        "training at update 1,012 of 5,000; last durable update 960",
    ),
    (
        run("paused", update=1, at_risk_updates=1, **DURABLE),
        True,
        "paused on request for 14 min at update 1; last durable update 960; 1 update at risk",
    ),
    (run("stopping", update=5, **DURABLE), True, "stopping for 14 min at update 5; last durable update 960"),
    (
        run("finished", update=5000, updates=5000, durable_update=5000, since=NOW - 7_200.0),
        False,
        "finished 2 h ago at update 5,000 of 5,000; last durable update 5,000",
    ),
    (
        run("stopped", update=961, **DURABLE),
        False,
        "stopped 14 min ago at update 961; `tinkex resume digits` goes on from update 960",
    ),
    (
        run("failed", **AT, **DURABLE, since=NOW - 7_200.0, error={"message": "the data\nis\x1b[31m gone"}),
        False,
        (
            "failed 2 h ago at update 1,012 of 5,000: the data is [31m gone; "
            "`tinkex resume digits` goes on from update 960"
        ),
    ),
    (
        run("failed", update=2, error={"message": 3}, reason="no place"),
        None,
        "failed 14 min ago at update 2: no place; nothing is durable: `tinkex resume digits` begins it again",
    ),
    (
        run("training", **AT, **DURABLE, **RISK, pid=4711, host="box", written=NOW - 190.0),
        False,
        (
            "its process (pid 4711 on box) is gone, last heard of 3 min 10 s ago, training at update 1,012 of 5,000; "
            "`tinkex resume digits` goes on from update 960; 52 updates (3 min 10 s) must be done again"
        ),
    ),
    (
        run("restoring", run="my run", durable_update=4, written=0.0),
        False,
        "its process is gone, restoring; `tinkex resume 'my run'` goes on from update 4",
    ),
    (
        run("training", update=3, **DURABLE, written=NOW - 7_300.0),
        None,
        "training at update 3; last durable update 960; last heard of 2 h 1 min ago",
    ),
    (
        run("paused", update=3, **DURABLE, since=NOW + 9.0),
        True,
        ("paused on request for less than 1 s at update 3; last durable update 960"),
    ),
]


@pytest.mark.parametrize(("status", "alive", "sentence"), TABLE, ids=[row[2][:40] for row in TABLE])
def test_the_sentence(status: RunStatus, alive: bool | None, sentence: str) -> None:
    assert explain(status, NOW, alive) == sentence


def test_every_state_is_in_the_table() -> None:
    assert {row[0].state for row in TABLE} == set(get_args(RunState))


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0.0, "less than 1 s"),
        (1.0, "1 s"),
        (59.4, "59 s"),
        (60.0, "1 min"),
        (600.0, "10 min"),
        (3_599.0, "59 min"),
        (3_660.0, "1 h 1 min"),
        (86_400.0, "1 d"),
        (100 * 86_400.0, "100 d"),
        (math.nan, "an unknown time"),
        (math.inf, "an unknown time"),
        (-math.inf, "less than 1 s"),
    ],
)
def test_a_span_is_told_in_its_largest_units(seconds: float, told: str) -> None:
    status = RunStatus(run="r", state="paused", since=NOW)
    assert explain(status, NOW + seconds, True).startswith(f"paused on request for {told} at update 0")


numbers = st.integers(-(2**70), 2**70)
floats = st.floats()
statuses = st.builds(
    RunStatus,
    run=st.text(),
    state=st.sampled_from(get_args(RunState)),
    update=numbers,
    updates=st.none() | numbers,
    since=floats,
    reason=st.none() | st.text(max_size=2000),
    waiting=st.none() | st.text() | st.sampled_from(["paused_capacity", "suspect", "running"]),
    waiting_since=st.none() | floats,
    eta_seconds=st.none() | floats,
    durable_update=st.none() | numbers,
    at_risk_updates=numbers,
    at_risk_seconds=floats,
    pid=st.none() | numbers,
    host=st.none() | st.text(),
    written=floats,
    error=st.none() | st.dictionaries(st.sampled_from(["message", "kind"]), st.none() | st.integers() | st.text()),
)


@given(statuses, floats, st.none() | st.booleans())
def test_whatever_is_told_it_is_one_line_without_control_characters(
    status: RunStatus, now: float, alive: bool | None
) -> None:
    sentence = explain(status, now, alive)
    assert sentence.splitlines() == [sentence]
    assert not {unicodedata.category(letter) for letter in sentence} & {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert len(sentence) < 3000


@given(statuses, st.booleans())
def test_work_at_risk_is_always_told_while_the_run_is_on(status: RunStatus, alive: bool) -> None:
    on = status.state in {"idle", "restoring", "training", "paused", "stopping"}
    plain = msgspec.structs.replace(status, reason=None, error=None)  # either may end as the sentence does
    told = explain(plain, NOW, alive).endswith(("at risk", "must be done again"))
    assert told == (on and status.at_risk_updates > 0)
