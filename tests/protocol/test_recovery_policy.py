"""A policy of recovery is checked field by field when it is made; nothing wrong is passed over."""

import copy
import math
from typing import Any

import msgspec
import pytest

from tinkex.protocol import Recovered, RecoveryFailed, RecoveryPolicy, TinkexError

PATH = "tinker://run/weights/x"


def test_the_defaults_are_off_and_as_documented() -> None:
    policy = RecoveryPolicy()
    assert not policy.enabled
    assert (policy.checkpoint, policy.restore_optimizer, policy.recover_suspect) == ("latest", True, False)
    assert (policy.max_attempts, policy.max_concurrent) == (3, 1)
    assert (policy.backoff_seconds, policy.max_backoff_seconds) == (5.0, 60.0)
    assert (policy.attempt_timeout_seconds, policy.poll_seconds) == (600.0, 30.0)


WRONG: list[tuple[str, Any]] = [
    *((name, value) for name in ("enabled", "restore_optimizer", "recover_suspect") for value in (1, "yes", None)),
    *((name, value) for name in ("max_attempts", "max_concurrent") for value in (0, -1, 1.5, True, "3", None)),
    *((name, value) for name in ("attempt_timeout_seconds", "poll_seconds") for value in (0, -1.0, math.inf, "1")),
    *((name, value) for name in ("backoff_seconds", "max_backoff_seconds") for value in (-1, math.nan, True, None)),
    ("max_backoff_seconds", 4.0),
    *(("checkpoint", value) for value in (None, "", ":latest", "best", "tinker://run/sampler_weights/x", 3)),
]


@pytest.mark.parametrize(("field", "value"), WRONG)
def test_a_wrong_field_is_refused_by_its_name(field: str, value: Any) -> None:
    with pytest.raises(TinkexError, match=field) as refused:
        RecoveryPolicy(**{field: value})
    assert (refused.value.kind, refused.value.data["field"]) == ("validation", field)


def test_a_configuration_is_read_and_an_unknown_field_is_refused() -> None:
    fields = {"enabled": True, "checkpoint": PATH, "backoff_seconds": 0, "max_backoff_seconds": 0}
    assert RecoveryPolicy.from_dict(fields) == RecoveryPolicy(
        enabled=True, checkpoint=PATH, backoff_seconds=0, max_backoff_seconds=0
    )
    with pytest.raises(TinkexError, match="no 'backoff_ms'; its fields are enabled, checkpoint") as refused:
        RecoveryPolicy.from_dict({"backoff_ms": 5000})
    assert refused.value.kind == "validation"


def test_what_callbacks_are_given_is_a_frozen_value() -> None:
    error = TinkexError("no", kind="request_failed", category="server")
    events: list[msgspec.Struct] = [
        Recovered("urn", "session_lost", "old", "new", PATH, True, 1, 2.5),
        RecoveryFailed("urn", "corrupted", "old", 3, error),
        RecoveryPolicy(enabled=True),
    ]
    for event in events:
        assert copy.deepcopy(event) == event
        with pytest.raises(AttributeError):
            setattr(event, event.__struct_fields__[0], None)
