"""What each failure comes to."""

from typing import Any

import pytest

from tinkex.actors._trainer._verdicts import is_resumable, loading_of, meaning_of
from tinkex.protocol import TinkexError


def failure(
    kind: Any, category: Any = "unknown", status: int | None = None, text: str = "no", **data: Any
) -> TinkexError:
    return TinkexError(text, kind=kind, category=category, status=status, data=data)


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (failure("session_lost", "server", 404), "rebuild"),
        (failure("client_suspect"), "rebuild"),
        (failure("actor_dead"), "rebuild"),
        (failure("actor_crashed"), "rebuild"),
        (failure("api_connection"), "rebuild"),
        (failure("api_timeout"), "rebuild"),
        (failure("api_status", "server", 503), "rebuild"),
        (failure("api_status", "user", 404), "rebuild"),
        (failure("api_status", "user", 410), "rebuild"),
        (failure("api_status", "user", 429), "rebuild"),
        (failure("request_failed", "server"), "rebuild"),
        (failure("request_failed", "user"), "fail"),
        (failure("api_status", "user", 400), "fail"),
        (failure("api_status", "user", 401), "fail"),
        (failure("validation", "user"), "fail"),
        (failure("fenced"), "fail"),
        (failure("program_failed", "user"), "fail"),
        (failure("resume_refused", "user"), "fail"),
        (failure("run_failed", "user"), "fail"),
    ],
)
def test_a_failed_request_rebuilds_the_run_unless_it_would_come_again(error: TinkexError, meaning: str) -> None:
    assert meaning_of(error) == meaning


@pytest.mark.parametrize(
    ("error", "failures", "meaning"),
    [
        (failure("api_status", "user", 404, step="checkpoint_info"), 1, "broken"),
        (failure("api_status", "user", 410, step="checkpoint_info"), 1, "broken"),
        (failure("api_status", "user", 404, step="load_weights"), 1, "again"),
        (failure("api_status", "user", 404, step="load_weights"), 2, "doubtful"),
        (failure("api_status", "user", 404), 2, "doubtful"),
        (failure("request_failed", "user"), 1, "broken"),
        (failure("request_failed", "server"), 1, "again"),
        (failure("request_failed", "server"), 2, "doubtful"),
        (failure("api_connection"), 9, "again"),
        (failure("api_status", "server", 503), 9, "again"),
        (failure("api_status", "user", 429), 9, "again"),
        (failure("await_timeout"), 1, "again"),
        (failure("session_lost", "server", 404), 1, "again"),
        (failure("api_status", "user", 401), 1, "fail"),
        (failure("api_status", "user", 403), 1, "fail"),
        (failure("api_status", "user", 400), 1, "fail"),
        (failure("validation", "user"), 1, "fail"),
        (failure("request_failed", "user", None, "the checkpoint has no optimizer state"), 1, "refuse"),
    ],
)
def test_a_failed_restore_is_tried_again_falls_back_or_is_refused(
    error: TinkexError, failures: int, meaning: str
) -> None:
    assert loading_of(error, failures) == meaning


def test_only_what_its_user_must_mend_is_not_resumable() -> None:
    assert is_resumable(None)
    assert is_resumable(failure("fenced"))
    assert is_resumable(failure("run_failed"))
    for kind in ("resume_refused", "program_failed", "validation"):
        assert not is_resumable(failure(kind, "user"))
