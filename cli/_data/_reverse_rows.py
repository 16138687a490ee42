"""A task that the built-in model learns within a minute or two: to write a string backwards."""

import json
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tinkex.protocol import validation
from tinkex.protocol._checks import check_whole
from tinkex.protocol._policy import first_error

ALPHABET: Final = "abcdefgh"
LEAST: Final = 3
MOST: Final = 6


def make_reverse_rows(
    count: int, seed: int = 0, *, alphabet: str = ALPHABET, least: int = LEAST, most: int = MOST
) -> Iterator[dict[str, str]]:
    """Make ``count`` rows such as ``{"prompt": "badge>", "completion": "egdab"}``.

    The letters follow from the seed and the row's number alone, so more rows begin with the same ones.

    Args:
        count: rows.
        seed: another one makes other rows.
        alphabet: letters to draw from.
        least: letters of the shortest string.
        most: letters of the longest string.

    Raises:
        TinkexError: kind ``validation``.
    """
    error = first_error(
        check_whole("count", count, 1),
        check_whole("seed", seed, 0),
        check_whole("least", least, 1),
        check_whole("most", most, least),
        None if alphabet and ">" not in alphabet else validation("alphabet must have letters, and no '>'"),
    )
    if error is not None:
        raise error
    return (_row(number, seed, alphabet, least, most) for number in range(count))


def write_reverse_rows(path: Path, count: int, seed: int = 0) -> None:
    """Write rows of ``make_reverse_rows`` into a JSONL file; one that is there is not overwritten.

    Raises:
        TinkexError: kind ``validation``: the numbers are wrong, or the file is there or cannot be written.
    """
    rows = make_reverse_rows(count, seed)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
    except FileExistsError as error:
        raise validation(f"{path} is there already; remove it, or name another file") from error
    except OSError as error:
        raise validation(f"{path} cannot be written: {error.strerror or error}") from error


def _row(number: int, seed: int, alphabet: str, least: int, most: int) -> dict[str, str]:
    drawn = blake2b(f"{seed} {number}".encode(), person=b"tinkex-reverse", digest_size=64).digest()
    value = int.from_bytes(drawn, "little")
    value, length = divmod(value, most - least + 1)
    letters: list[str] = []
    for _ in range(least + length):
        value, letter = divmod(value, len(alphabet))
        letters.append(alphabet[letter])
    text = "".join(letters)
    return {"prompt": f"{text}>", "completion": text[::-1]}
