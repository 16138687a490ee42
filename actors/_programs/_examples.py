"""Rows of supervised learning, and how a batch of them becomes data that a step's loss is comparable by."""

import sys
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import force_setattr

from tinkex.protocol import Datum, ModelInput, TensorData, TinkexError, validation

if TYPE_CHECKING:
    from tinkex.protocol._tensor import TensorInput


class Example(msgspec.Struct, frozen=True):
    """One row: its tokens, and how much each of them is to be learned.

    ``tokens`` and ``weights`` may be given as lists, arrays or ``TensorData``; each is a ``TensorData`` afterwards.

    Raises:
        TinkexError: kind ``validation``: no tokens, weights that are too many, too few, negative or not finite.
    """

    tokens: TensorData
    """Ids, int64."""
    weights: TensorData | None = None
    """One for each token, float32 of at least 0: 0 is read only, 1 is learned; None is 1 for all. That of the first
    token counts for nothing, since nothing stands before it that could foretell it."""

    if TYPE_CHECKING:

        def __init__(self, tokens: TensorInput, weights: TensorInput | None = None) -> None: ...

    def __post_init__(self) -> None:
        tokens = _row("tokens", self.tokens, "int64")
        if not len(tokens):
            raise validation("tokens is empty: a row needs at least one", field="tokens")
        force_setattr(self, "tokens", tokens)
        if self.weights is None:
            return
        weights = _row("weights", self.weights, "float32")
        if len(weights) != len(tokens):
            raise validation(f"weights has {len(weights)} numbers for {len(tokens)} tokens", field="weights")
        low, high = float(weights.to_numpy().min()), float(weights.to_numpy().max())
        if not (low >= 0.0 and high < float("inf")):
            raise validation("weights must be finite numbers of at least 0", field="weights")
        force_setattr(self, "weights", weights)

    def __len__(self) -> int:
        return len(self.tokens)


def make_micro_batches(
    examples: Sequence[Example], micro_batch_size: int, max_tokens: int | None = None
) -> list[list[Datum]]:
    """Return the data of one update: ``micro_batch_size`` rows for each pass, the last may be shorter.

    Each row predicts its next tokens: it reads all tokens but the last, and is measured on all but the first. Tokens
    beyond ``max_tokens`` of a row are cut off. The weights are divided by their sum over *all* rows of the update, so
    the sums of losses of its passes add up to the mean loss of a learned token, in nats: the learning rate depends
    neither on how long rows are nor on how many there are, and gradients of several passes add up to that of one large
    batch. Where nothing of any row is learned, all weights are 0; so is the loss, and the gradient.
    """
    kept = [_cut(example, max_tokens) for example in examples]
    total = sum(float(weights.sum(dtype="float64")) for _, weights in kept) or 1.0
    data = [_datum(tokens, weights, total) for tokens, weights in kept]
    return [data[at : at + micro_batch_size] for at in range(0, len(data), micro_batch_size)]


def digest_examples(examples: Iterable[Example]) -> str:
    """Return a digest of all rows, in their order: it differs where a token or a weight does."""
    total = blake2b(digest_size=16, person=b"tinkex-examples")
    for example in examples:
        tokens, weights = _arrays(example)
        total.update(len(tokens).to_bytes(8, "little"))
        for values in (tokens, weights[1:]):
            total.update((values if sys.byteorder == "little" else values.byteswap()).tobytes())
    return total.hexdigest()


def _row(name: str, value: Any, dtype: Any) -> TensorData:
    try:
        tensor = TensorData(value, dtype)
    except TinkexError as error:
        raise validation(f"{name}: {error.message}", field=name) from error
    if len(tensor.shape) != 1:
        raise validation(f"{name} must be one list of numbers, not of shape {list(tensor.shape)}", field=name)
    return tensor


def _arrays(example: Example) -> tuple[Any, Any]:
    import numpy as np  # noqa: PLC0415 - only when first needed

    tokens = example.tokens.to_numpy()
    return tokens, np.ones(len(tokens), "float32") if example.weights is None else example.weights.to_numpy()


def _cut(example: Example, max_tokens: int | None) -> tuple[memoryview, Any]:
    """Return the tokens of a row, as bytes, and the weights of those that are predicted."""
    _, weights = _arrays(example)
    return example.tokens.buffer[: None if max_tokens is None else max_tokens * _TOKEN_BYTES], weights[1:max_tokens]


def _datum(tokens: memoryview, weights: Any, total: float) -> Datum:
    if len(tokens) == _TOKEN_BYTES:
        # Nothing can be predicted, but the row has its place in the batch; no server takes a row without tokens.
        only = TensorData.from_buffer(tokens, "int64")
        return Datum(ModelInput.from_ints(only), {"target_tokens": only, "weights": [0.0]})
    read = TensorData.from_buffer(tokens[:-_TOKEN_BYTES], "int64")
    scaled = (weights.astype("float64") / total).astype("float32")
    return Datum(
        ModelInput.from_ints(read),
        {
            "target_tokens": TensorData.from_buffer(tokens[_TOKEN_BYTES:], "int64"),
            "weights": TensorData.from_buffer(memoryview(scaled), "float32"),
        },
    )


_TOKEN_BYTES: Final = 8
