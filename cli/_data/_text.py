"""A text as training data: bytes are tokens, each predicting the next."""

import math
from collections import Counter
from importlib.resources import files
from pathlib import Path
from typing import Final

from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.protocol import Datum, ModelInput

ROW: Final = 128
"""Predictions in one datum."""

MOST_BYTES: Final = 8192
"""What of a longer text is used: the demo shows a resume, it does not teach a language."""


def read_text(path: Path | None) -> bytes:
    """Return the text at ``path``, or the one that comes with the command; at most ``MOST_BYTES`` of it.

    Raises:
        Failure: it cannot be read or is too short to learn from.
    """
    if path is None:
        return files("tinkex.cli").joinpath("data/gettysburg.txt").read_bytes()
    try:
        text = path.read_bytes()
    except OSError as error:
        raise Failure(f"--data {path} cannot be read: {error.strerror or error}", BAD_INPUT) from error
    if len(text) < 2 * ROW:
        raise Failure(f"--data {path} holds {len(text)} bytes; at least {2 * ROW} are needed", BAD_INPUT)
    return text[:MOST_BYTES]


def make_data(text: bytes) -> list[Datum]:
    """Return the rows of ``text``, weighted so that the summed loss is nats per byte."""
    rows = [(text[at : at + ROW], text[at + 1 : at + ROW + 1]) for at in range(0, len(text) - 1, ROW)]
    total = sum(len(targets) for _, targets in rows)
    return [
        Datum(
            ModelInput.from_ints(list(inputs[: len(targets)])),
            {"target_tokens": list(targets), "weights": [1.0 / total] * len(targets)},
        )
        for inputs, targets in rows
    ]


def unigram_entropy(text: bytes) -> float:
    """Return the entropy of the bytes that are predicted, in nats per byte: what knowing only frequencies costs."""
    predicted = text[1:]
    return -sum(count / len(predicted) * math.log(count / len(predicted)) for count in Counter(predicted).values())
