"""An order of rows that any machine finds alike, without keeping it."""

import math
from hashlib import blake2b
from typing import Final

_ROUNDS: Final = 8
_PERSON: Final = b"tinkex-shuffle1"
"""Names the construction: another one would have to be named otherwise, so that no run mixes two."""


class Shuffle:
    """A permutation of the rows 0 to ``rows - 1``, drawn by ``seed`` and the number of the pass.

    It is defined by BLAKE2b and whole numbers alone, so it is the same on every machine, Python and NumPy. A row is
    computed when its place is asked for, in about 10 µs, and nothing is kept of the rows, however many they are.

    The rows lie in a grid of about as many columns as lines. A Feistel network adds to the line a hash of the column,
    and to the column a hash of the line, in turns: each turn can be undone, so the whole is a permutation of the grid.
    Where it leads to a cell of the grid that is no row (the grid has hardly more cells than there are rows), the walk
    goes on from there; it ends on a row, and no two walks end on the same one.
    """

    __slots__ = ("_columns", "_lines", "_rounds", "rows")

    def __init__(self, rows: int, seed: int, pass_number: int) -> None:
        self.rows: Final = rows
        self._lines: Final = math.isqrt(max(rows, 1) - 1) + 1  # the least whole number whose square is rows or more
        self._columns: Final = -(-rows // self._lines)
        key = f"{seed} {pass_number} {rows}".encode()
        self._rounds: Final = tuple(
            blake2b(b"%d " % number + key + b" ", digest_size=8, person=_PERSON) for number in range(_ROUNDS)
        )

    def __len__(self) -> int:
        return self.rows

    def __getitem__(self, place: int) -> int:
        """Return the row at ``place`` of the order, from 0.

        Raises:
            IndexError: there is no such place.
        """
        if not 0 <= place < self.rows:
            raise IndexError(f"place {place} of an order of {self.rows} rows")
        cell = self._step(place)
        while cell >= self.rows:
            cell = self._step(cell)
        return cell

    def _step(self, cell: int) -> int:
        column, line = divmod(cell, self._lines)
        for number, hashed in enumerate(self._rounds):
            mixer = hashed.copy()
            if number % 2:
                mixer.update(line.to_bytes(8, "little"))
                column = (column + int.from_bytes(mixer.digest(), "little")) % self._columns
            else:
                mixer.update(column.to_bytes(8, "little"))
                line = (line + int.from_bytes(mixer.digest(), "little")) % self._lines
        return column * self._lines + line
