"""What is sent and what comes back, as numbers that both sides can work out: NumPy and the standard library alone."""

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final

import numpy as np

Array = np.ndarray[Any, Any]

BASE_MODEL: Final = "fast/path"
RANK: Final = 8
_PERIOD: Final = 8191
_TABLE: Final[Array] = -np.random.default_rng(7).exponential(2.0, _PERIOD).astype(np.float32)
"""Logprobs as a model gives them, with all digits of a float32."""


def tokens_of(datum: int, count: int) -> Array:
    """Return the token ids of a datum, the last of which is only a target: int64, of a large vocabulary."""
    return (np.arange(count + 1, dtype=np.int64) * 7919 + datum * 104729) % 151_643


def logprobs_of(datum: int, count: int) -> Array:
    """Return the logprobs that the stub answers for the datum at that place of a pass: float32."""
    begin = datum * 977 % _PERIOD
    return np.resize(np.roll(_TABLE, -begin), count)


def loss_of(seq_id: int) -> float:
    """Return ``loss:sum`` of the pass with that number, so that no answer reaches another's asker."""
    return 1000.0 + seq_id + 1 / 3


def norm_of(seq_id: int) -> float:
    """Return ``grad_norm:mean`` of the optimizer step with that number."""
    return seq_id + 0.1


def rate_of(step: int) -> float:
    """Return the learning rate of a step, another for each as with a schedule."""
    return 1e-4 / (1 + step)


def digest_of(datums: Iterable[tuple[Sequence[int], Sequence[int], Sequence[float]]]) -> str:
    """Return a short name for the data of a pass, whatever form they travelled in."""
    found = hashlib.sha256()
    for tokens, targets, weights in datums:
        found.update(np.asarray(tokens, dtype=np.int64).tobytes())
        found.update(np.asarray(targets, dtype=np.int64).tobytes())
        found.update(np.asarray(weights, dtype=np.float32).tobytes())
    return found.hexdigest()[:16]


def expected_digest(datums: int, tokens: int) -> str:
    """Return the digest of the data that every driver sends."""
    return digest_of(
        (ids[:-1], ids[1:], np.ones(tokens)) for ids in (tokens_of(datum, tokens) for datum in range(datums))
    )


def check_passes(results: Sequence[tuple[float, Sequence[Array]]], datums: int, tokens: int, first_seq: int) -> None:
    """Check what passes answered, ``(loss:sum, logprobs of each datum)``, against what the stub must have said.

    Raises:
        AssertionError: something else was answered.
    """
    wanted = [logprobs_of(datum, tokens) for datum in range(datums)]
    for place, (loss, found) in enumerate(results):
        check(loss, loss_of(first_seq + place))
        check(len(found), datums)
        for one, other in zip(found, wanted, strict=True):
            check(bool(np.array_equal(one, other)), True)  # noqa: FBT003 - a value to compare with


def check(found: object, wanted: object) -> None:
    """Compare, whatever the interpreter's flags are."""
    if found != wanted:
        raise AssertionError(f"answered {found!r} where {wanted!r} was due")
