"""Compressed sparse rows, as some clients send target tokens and weights."""

from typing import Final

from tinkex.protocol._tensor import TensorData

MAX_DENSE_VALUES: Final = 1 << 24
"""How many values a sparse tensor may stand for; a few bytes could otherwise ask for any amount of memory."""


def densify(values: TensorData, rows: TensorData, columns: TensorData, shape: list[int]) -> TensorData:
    """Return the dense tensor; what is not listed is 0.

    Args:
        values: the listed values, row by row.
        rows: int64, where each row begins in ``values``; one more than there are rows.
        columns: int64, the column of each value.
        shape: of the dense tensor, two dimensions.

    Raises:
        ValueError: the parts do not belong together, or stand for too much.
    """
    import numpy as np  # noqa: PLC0415 - only when first needed

    if len(shape) != 2 or min(shape) < 0:  # noqa: PLR2004 - rows and columns
        raise ValueError(f"a sparse tensor has a shape of two dimensions, not {shape}")
    height, width = shape
    if height * width > MAX_DENSE_VALUES:
        raise ValueError(f"a sparse tensor may stand for {MAX_DENSE_VALUES} values at most, not {height * width}")
    begins, places = rows.to_numpy(), columns.to_numpy()
    counts = np.diff(begins)
    count = len(values)
    if len(begins) != height + 1 or begins[0] != 0 or begins[-1] != count or (counts < 0).any():
        raise ValueError("a sparse tensor's row indices do not fit its shape and values")
    if len(places) != count or (count and (places.min() < 0 or places.max() >= width)):
        raise ValueError("a sparse tensor's column indices do not fit its shape and values")
    dense = np.zeros((height, width), dtype=values.dtype)
    dense[np.repeat(np.arange(height), counts), places] = values.to_numpy()
    return TensorData(dense)
