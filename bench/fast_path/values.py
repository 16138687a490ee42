"""What is sent and what comes back, as numbers that both sides can work out: NumPy and the standard library alone."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from fast_path.scenarios import Scenario

Array = np.ndarray[Any, Any]

RANK: Final = 8
SEED: Final = 7
KEPT_WHOLE: Final = 64
_PERIOD: Final = 8191
_TABLE: Final[Array] = -np.random.default_rng(7).exponential(2.0, _PERIOD).astype(np.float32)
"""Logprobs as a model gives them, with all digits of a float32."""


def tokens_of(datum: int, case: Scenario) -> Array:
    """Return the token ids of a datum, the last of which is only a target: int64, from all of the vocabulary."""
    return (np.arange(case.tokens + 1, dtype=np.int64) * 7919 + datum * 104_729) % case.vocabulary


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


def digest_of(datums: Iterable[tuple[Any, Any, Any]]) -> str:
    """Return a short name for the data of a pass, tokens, targets and weights, whatever form they travelled in."""
    found = hashlib.sha256()
    for tokens, targets, weights in datums:
        found.update(np.asarray(tokens, dtype=np.int64).tobytes())
        found.update(np.asarray(targets, dtype=np.int64).tobytes())
        found.update(np.asarray(weights, dtype=np.float32).tobytes())
    return found.hexdigest()[:16]


def expected_digest(case: Scenario) -> str:
    """Return the digest of the data that every driver sends."""
    rows = (tokens_of(datum, case) for datum in range(case.datums))
    return digest_of((ids[:-1], ids[1:], np.ones(case.tokens)) for ids in rows)


class Answers:
    """What a driver was answered, kept until it is checked: outside of what is measured.

    The stub's answers are known before. What the engine answers is not, but both sides must be told the same: their
    digests are compared by whoever started the drivers.
    """

    def __init__(self, case: Scenario) -> None:
        self._case = case
        self._steps = list[tuple[Mapping[str, float], int]]()
        self._passes = list[tuple[float, list[Array] | None, int]]()
        self._saved = list[tuple[str, str]]()
        self._digests = list[str]()

    def step(self, metrics: Mapping[str, float], number: int) -> None:
        """Keep the answer of the optimizer step with that number of its model."""
        self._steps.append((metrics, number))

    def passed(self, found: tuple[float, list[Array]], number: int) -> None:
        """Keep ``loss:sum`` and the logprobs of each datum of the pass with that number of its model.

        Of many passes only the first are kept whole: what is kept here counts as the client's memory.
        """
        loss, arrays = found
        self._passes.append((loss, arrays if len(self._passes) < KEPT_WHOLE else None, number))

    def saved(self, path: str, name: str) -> None:
        """Keep the path of the checkpoint that was to be called ``name``."""
        self._saved.append((path, name))

    def check(self) -> None:
        """Check everything since the last check.

        Raises:
            AssertionError: something else was answered.
        """
        if self._case.server == "stub":
            self._compare()
        else:
            self._digests += [_short(number, sorted(metrics.items())) for metrics, number in self._steps]
            for loss, arrays, number in self._passes:
                self._digests.append(_short(number, loss, *(array.tobytes() for array in arrays or [])))
        for path, name in self._saved:
            check(path.rpartition("/")[2], name)
        self._steps.clear()
        self._passes.clear()
        self._saved.clear()

    def digest(self) -> str:
        """Return a short name of all answers of an engine that were checked, whatever their order was."""
        return _short(*sorted(self._digests))

    def _compare(self) -> None:
        for metrics, number in self._steps:
            check(metrics, {"grad_norm:mean": norm_of(number)})
        wanted = [logprobs_of(datum, self._case.tokens) for datum in range(self._case.datums)]
        for loss, found, number in self._passes:
            check(loss, loss_of(number))
            if found is None:
                continue
            check(len(found), len(wanted))
            for one, other in zip(found, wanted, strict=True):
                check(one.dtype, other.dtype)
                check(bool(np.array_equal(one, other)), True)


def check(found: object, wanted: object) -> None:
    """Compare, whatever the interpreter's flags are.

    Raises:
        AssertionError: they differ.
    """
    if found != wanted:
        raise AssertionError(f"answered {found!r} where {wanted!r} was due")


def _short(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
