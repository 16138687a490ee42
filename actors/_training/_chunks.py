"""Splitting a call's data into requests, and joining their results: pure."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from tinkex.protocol import Datum
from tinkex.protocol.replies import ForwardBackwardOutput

MAX_DATUMS: Final = 1024
MAX_BYTES: Final = 5_000_000
BYTES_PER_NUMBER: Final = 10
"""A token or tensor element as JSON text, as the JSON clients of the Tinker API estimate it."""

LARGE_BYTES: Final = 16_000
"""A pass of so much JSON is better written in protobuf, where a server takes both."""

HASH_MODULUS: Final = 2**64


def chunk_data(data: Sequence[Datum]) -> list[list[Datum]]:
    """Split ``data`` in order into chunks of at most 1024 datums and about 5,000,000 bytes.

    A datum that alone is larger goes alone; no chunk is empty.
    """
    chunks: list[list[Datum]] = []
    current: list[Datum] = []
    size = 0
    for datum in data:
        cost = estimate_bytes(datum)
        if current and (size + cost > MAX_BYTES or len(current) >= MAX_DATUMS):
            chunks.append(current)
            current, size = [], 0
        current.append(datum)
        size += cost
    if current:
        chunks.append(current)
    return chunks


def is_large(chunk: Sequence[Datum]) -> bool:
    """Whether ``chunk`` is better written in protobuf."""
    size = 0
    for datum in chunk:
        size += estimate_bytes(datum)
        if size >= LARGE_BYTES:
            return True
    return False


def estimate_bytes(datum: Datum) -> int:
    """Return about how many bytes ``datum`` takes as JSON."""
    numbers = datum.model_input.length
    for tensor in datum.loss_fn_inputs.values():
        numbers += len(tensor)
    return numbers * BYTES_PER_NUMBER


def combine(results: Sequence[ForwardBackwardOutput]) -> ForwardBackwardOutput:
    """Join the results of one call's chunks, in chunk order, as if one request had been made.

    Metrics are reduced by the word behind the colon (the Tinker API's rule): ``sum``, ``min``, ``max``, ``mean``
    (weighted by datums), ``slack`` (max less mean), ``unique`` (all kept, the later ones as ``key_1``, ``key_2``),
    ``hash2`` (sum modulo 2**64). A metric that a chunk lacks, or whose rule is unknown, is left out.
    """
    if len(results) == 1:
        return results[0]
    first = results[0]
    weights = [float(len(result.loss_fn_outputs)) for result in results]
    metrics: dict[str, float] = {}
    for key in first.metrics:
        if all(key in result.metrics for result in results):
            metrics.update(_reduce(key, [result.metrics[key] for result in results], weights))
    outputs = [output for result in results for output in result.loss_fn_outputs]
    return ForwardBackwardOutput(first.loss_fn_output_type, outputs, metrics)


def _reduce(key: str, values: Sequence[float], weights: Sequence[float]) -> Mapping[str, float]:
    rule = key.rpartition(":")[2]
    if rule == "unique":
        return {key if index == 0 else f"{key}_{index}": value for index, value in enumerate(values)}
    reducer = _REDUCERS.get(rule)
    if reducer is None or (rule == "hash2" and not all(map(math.isfinite, values))):
        return {}
    return {key: reducer(values, weights)}


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
    total = sum(weights)
    if total == 0.0:
        return 0.0
    return sum(value * weight for value, weight in zip(values, weights, strict=True)) / total


_REDUCERS: Final[Mapping[str, Callable[[Sequence[float], Sequence[float]], float]]] = {
    "sum": lambda values, _: sum(values),
    "min": lambda values, _: min(values),
    "max": lambda values, _: max(values),
    "mean": _mean,
    "slack": lambda values, weights: max(values) - _mean(values, weights),
    "hash2": lambda values, _: float(sum(int(value) for value in values) % HASH_MODULUS),
}
