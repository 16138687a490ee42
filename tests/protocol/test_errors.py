import copy
import json
import pickle
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support_protocol import texts
from tinkex.protocol import ErrorCategory, ErrorKind, TinkexError, validation

KINDS: tuple[ErrorKind, ...] = get_args(ErrorKind)
CATEGORIES: tuple[ErrorCategory, ...] = get_args(ErrorCategory)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
errors = st.builds(
    TinkexError,
    texts,
    kind=st.sampled_from(KINDS),
    category=st.sampled_from(CATEGORIES),
    status=st.none() | st.integers(100, 599),
    retry_after=st.none() | st.floats(0, 1e6),
    data=st.none() | st.dictionaries(texts, json_values, max_size=3),
)


def error(kind: ErrorKind, category: ErrorCategory = "server", status: int | None = None, **data: Any) -> TinkexError:
    return TinkexError("failed", kind=kind, category=category, status=status, data=data)


def test_the_kinds_are_the_closed_set() -> None:
    assert set(KINDS) == {
        "validation",
        "api_connection",
        "api_timeout",
        "api_status",
        "request_failed",
        "await_timeout",
        "client_suspect",
        "session_lost",
        "actor_dead",
        "actor_crashed",
        "conflict",
        "protocol",
        "cancelled",
        "fenced",
        "resume_refused",
        "program_failed",
        "run_failed",
    }
    assert set(CATEGORIES) == {"user", "server", "unknown"}


@pytest.mark.parametrize(("kind", "category"), [("nonsense", "user"), ("validation", "me")])
def test_no_other_kind_or_category_can_be_made(kind: Any, category: Any) -> None:
    with pytest.raises(ValueError, match="no such error"):
        TinkexError("x", kind=kind, category=category)


@given(errors)
def test_an_error_survives_dict_json_copy_and_pickle(original: TinkexError) -> None:
    fields = json.loads(json.dumps(original.to_dict()))
    twins = [
        TinkexError.from_dict(original.to_dict()),
        TinkexError.from_dict(fields),
        copy.copy(original),
        copy.deepcopy(original),
        pickle.loads(pickle.dumps(original)),
    ]
    for twin in twins:
        assert twin == original
        assert hash(twin) == hash(original)
        assert (twin.retryable, twin.user_error, str(twin)) == (original.retryable, original.user_error, str(original))


def test_text_and_repr() -> None:
    assert str(validation("name is empty")) == "name is empty"
    assert repr(validation("x")) == "TinkexError('x', kind='validation', category='user')"
    assert repr(error("api_status", status=503)).endswith("category='server', status=503)")


def test_an_error_equals_only_errors_that_say_the_same() -> None:
    assert validation("x") != validation("x", path="y")
    assert validation("x") != "x"


def test_the_cause_is_kept_and_travels_as_text() -> None:
    def fail() -> None:
        raise error("api_connection") from OSError("no route")

    with pytest.raises(TinkexError) as caught:
        fail()
    original = caught.value
    assert original.data == {"cause": "OSError: no route"}
    assert copy.copy(original).__cause__ is original.__cause__
    assert copy.deepcopy(original).__cause__ is original.__cause__
    assert pickle.loads(pickle.dumps(original)).data["cause"] == "OSError: no route"


def test_a_cause_without_words_is_named_and_one_given_in_data_stays() -> None:
    silent = error("api_timeout")
    silent.__cause__ = TimeoutError()
    assert silent.data["cause"] == "TimeoutError"
    told = error("api_timeout", cause="the cable")
    told.__cause__ = TimeoutError()
    assert told.data["cause"] == "the cable"


def test_data_is_the_errors_own() -> None:
    """Neither the giver's dict nor a dict handed out changes with it."""
    facts: dict[str, Any] = {"path": "a"}
    built = TinkexError("x", kind="conflict", category="user", data=facts)
    facts["path"] = "b"
    built.to_dict()["data"]["path"] = "c"
    copy.copy(built).data["path"] = "d"
    assert built.data == {"path": "a"}


@pytest.mark.parametrize("key", ["tml-abcdefgh12345678", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIi.c2ln"])
def test_what_looks_like_an_api_key_never_gets_into_an_error(key: str) -> None:
    leaky = TinkexError(f"key {key} refused", kind="api_status", category="user", status=401)
    leaky.__cause__ = ValueError(f"header x-api-key: {key}")
    assert key not in f"{leaky} {leaky!r} {leaky.args} {leaky.to_dict()}"
    assert "***" in str(leaky)


def test_unknown_keys_of_a_newer_writer_are_passed_over() -> None:
    fields = {**validation("x").to_dict(), "severity": 3}
    assert TinkexError.from_dict(fields) == validation("x")


def test_optional_keys_may_be_missing() -> None:
    read = TinkexError.from_dict({"message": "x", "kind": "protocol", "category": "server"})
    assert (read.status, read.retry_after, read.data) == (None, None, {})


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "newer"},
        {"kind": None},
        {"kind": ["validation"]},
        {"category": "them"},
        {"message": None},
        {"message": 3},
        {"status": "503"},
        {"retry_after": "soon"},
        {"data": ["path"]},
    ],
)
def test_what_describes_no_error_of_this_version_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(TinkexError, match="no error of this version") as caught:
        TinkexError.from_dict({**validation("x").to_dict(), **change})
    assert caught.value.kind == "protocol"


# (kind, category, status, outcome) -> (retryable, user_error)
TABLE: list[tuple[ErrorKind, ErrorCategory, int | None, str | None, bool, bool]] = [
    ("validation", "user", None, None, False, True),
    ("api_connection", "server", None, None, True, False),
    ("api_connection", "unknown", None, None, True, False),
    ("api_connection", "server", None, "not_sent", True, False),
    ("api_connection", "server", None, "running", False, False),
    ("api_connection", "server", None, "unknown", False, False),
    ("api_timeout", "server", None, None, True, False),
    ("api_timeout", "unknown", None, "unknown", False, False),
    ("api_status", "server", None, None, True, False),
    ("api_status", "server", 500, None, True, False),
    ("api_status", "server", 503, None, True, False),
    ("api_status", "server", 503, "unknown", False, False),
    ("api_status", "server", 599, None, True, False),
    ("api_status", "server", 408, None, True, False),
    ("api_status", "server", 425, None, True, False),
    ("api_status", "server", 429, None, True, False),
    ("api_status", "user", 429, None, False, True),
    ("api_status", "server", 410, None, False, False),
    ("api_status", "server", 302, None, False, False),
    ("api_status", "unknown", 400, None, False, True),
    ("api_status", "user", 401, None, False, True),
    ("api_status", "user", 402, None, False, True),
    ("api_status", "user", 403, None, False, True),
    ("api_status", "unknown", 404, None, False, True),
    ("api_status", "unknown", 409, None, False, True),
    ("api_status", "server", 422, None, False, True),
    ("api_status", "server", 499, None, False, True),
    ("request_failed", "user", None, None, False, True),
    ("request_failed", "server", None, None, True, False),
    ("request_failed", "unknown", None, None, True, False),
    ("request_failed", "server", None, "running", False, False),
    ("request_failed", "server", None, "unknown", False, False),
    ("await_timeout", "unknown", None, None, False, False),
    ("await_timeout", "unknown", None, "not_sent", True, False),
    ("await_timeout", "unknown", None, "running", False, False),
    ("await_timeout", "unknown", None, "unknown", False, False),
    ("client_suspect", "unknown", None, None, False, False),
    ("client_suspect", "server", None, "not_sent", False, False),
    ("session_lost", "server", None, None, False, False),
    ("session_lost", "server", 410, None, False, False),
    ("actor_dead", "unknown", None, None, False, False),
    ("actor_dead", "user", None, "not_sent", False, True),
    ("actor_crashed", "unknown", None, None, False, False),
    ("conflict", "user", None, None, False, True),
    ("conflict", "user", 409, None, False, True),
    ("conflict", "unknown", None, "not_sent", False, False),
    ("protocol", "server", None, None, False, False),
    ("cancelled", "user", None, None, False, True),
    ("cancelled", "unknown", None, "not_sent", False, False),
    ("fenced", "unknown", None, None, False, False),
    ("fenced", "unknown", None, "not_sent", False, False),
    ("fenced", "server", 503, None, False, False),
    ("resume_refused", "user", None, None, False, True),
    ("resume_refused", "unknown", None, "not_sent", False, False),
    ("program_failed", "user", None, None, False, True),
    ("program_failed", "unknown", None, "not_sent", False, False),
    ("run_failed", "unknown", None, None, False, False),
    ("run_failed", "server", 503, "not_sent", False, False),
]


@pytest.mark.parametrize(("kind", "category", "status", "outcome", "retryable", "user_error"), TABLE)
def test_truth_table(
    kind: ErrorKind,
    category: ErrorCategory,
    status: int | None,
    outcome: str | None,
    retryable: bool,
    user_error: bool,
) -> None:
    row = TinkexError("x", kind=kind, category=category, status=status, data={"outcome": outcome} if outcome else None)
    assert (row.retryable, row.user_error) == (retryable, user_error)


def test_the_truth_table_has_a_row_for_every_kind() -> None:
    assert {row[0] for row in TABLE} == set(KINDS)


@given(errors)
def test_nothing_is_both_the_users_fault_and_worth_repeating(any_error: TinkexError) -> None:
    assert not (any_error.retryable and any_error.user_error)
