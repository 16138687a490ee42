"""A file of rows: looked through once, then read row by row, whatever its size."""

import codecs
import os
from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, overload

from tinkex.cli._base._config_sections import DataSection
from tinkex.cli._data._rows import Chat, Row, Text, parse_row
from tinkex.protocol import TinkexError, validation

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
_READ: Final = 1 << 20
_CONTINUES: Final = range(0x80, 0xC0)
"""Bytes of UTF-8 that no character begins with."""
_LEAST_CHUNK: Final = 4
"""Bytes that hold at least one character."""


class _Stamp(NamedTuple):
    """What tells that a file was changed, without reading it."""

    device: int
    inode: int
    size: int
    changed: int

    @classmethod
    def of(cls, file: BinaryIO) -> "_Stamp":
        found = os.fstat(file.fileno())
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)


class RowFile(Sequence[Row]):
    """The rows of a JSONL or text file, each read from the disk when it is asked for.

    The file is read once from end to end when this is made: every row is checked, and a digest is taken. What stays in
    memory is 8 bytes for each line of JSONL, and nothing for each row of a text that is cut into chunks. A file that is
    changed later is noticed when the next row is read.

    A text file is one long text, cut about every ``chunk_bytes`` bytes between two characters; or one text for each
    line that is not blank.

    Raises:
        TinkexError: kind ``validation``: the file cannot be read or has no rows; or a row is wrong, with its line.
    """

    def __init__(self, path: Path, data: DataSection) -> None:
        self.path: Final = path
        self._data: Final = data
        self._json: Final = data.file_format == "jsonl"
        self._chunks: Final = 0 if self._json or data.split == "lines" else data.chunk_bytes
        self._begins: Final = array("Q")
        """Where the line of each row begins."""
        self._lines: Final = array("Q")
        """Their numbers, where blank lines come before; else empty."""
        self.turns: Final[dict[tuple[str, ...], int]] = {}
        """Who speaks after whom in the conversations among the rows, and the first row of each such order."""
        try:
            with path.open("rb") as file:
                self._stamp = _Stamp.of(file)
                self.digest: Final = self._look_through(file)
                """Of the whole file: it differs where a byte does."""
        except OSError as error:
            raise _unreadable(path, error) from error
        self._count: Final = _count_chunks(self._stamp.size, self._chunks) if self._chunks else len(self._begins)
        if not self._count:
            raise validation(f"{path} has no rows")

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Row]: ...
    def __getitem__(self, index: int | slice) -> Any:
        """Return a row, or rows.

        Raises:
            IndexError: there is no such row.
            TinkexError: kind ``validation``: the file has changed since it was looked through.
        """
        if isinstance(index, slice):
            return [self[row] for row in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(f"row {index} of {self._count}")
        try:
            with self.path.open("rb") as file:
                self._check_unchanged(file)
                return self._read(file, index % self._count)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def __iter__(self) -> Iterator[Row]:
        return (self[row] for row in range(self._count))

    def where(self, index: int) -> str:
        """Return where a row stands, in words."""
        if self._chunks:
            return f"{self.path}, byte {index * self._chunks}"
        return f"{self.path}, line {self._lines[index] if self._lines else index + 1}"

    def _read(self, file: BinaryIO, index: int) -> Row:
        if self._chunks:
            return self._read_chunk(file, index)
        file.seek(self._begins[index])
        line = file.readline()
        return parse_row(line, self._data, self.where(index)) if self._json else _as_line(line, self.where(index))

    def _read_chunk(self, file: BinaryIO, index: int) -> Text:
        last = index + 1 == self._count
        begin = index * self._chunks
        file.seek(begin)
        raw = file.read() if last else file.read(self._chunks + _LEAST_CHUNK - 1)
        # A character that begins before a cut belongs to the row before it.
        first = _next_character(raw, 0) if begin else 0
        end = len(raw) if last else _next_character(raw, self._chunks)
        return Text(raw[first:end].decode(), ends=last)

    def _check_unchanged(self, file: BinaryIO) -> None:
        stamp = _Stamp.of(file)
        if stamp == self._stamp:
            return
        if digest_file(file) != self.digest:
            raise validation(f"{self.path} was changed since the training began; put it back as it was, and resume")
        self._stamp = stamp

    def _look_through(self, file: BinaryIO) -> str:
        if self._chunks:
            return _digest_text(file, self.path)
        total = blake2b(digest_size=16, person=_PERSON)
        at = 0
        for number, line in enumerate(_lines_of(file, self.path), 1):
            total.update(line)
            mark = len(codecs.BOM_UTF8) if number == 1 and line.startswith(codecs.BOM_UTF8) else 0
            if line[mark:].strip():
                self._add(line[mark:], number, at + mark)
            at += len(line)
        return total.hexdigest()

    def _add(self, line: bytes, number: int, at: int) -> None:
        where = f"{self.path}, line {number}"
        row = parse_row(line, self._data, where) if self._json else _as_line(line, where)
        if isinstance(row, Chat):
            self.turns.setdefault(tuple(message.role for message in row.messages), len(self._begins))
        if not self._lines and number != len(self._begins) + 1:
            self._lines.extend(range(1, len(self._begins) + 1))
        if self._lines or number != len(self._begins) + 1:
            self._lines.append(number)
        self._begins.append(at)


def digest_file(file: BinaryIO) -> str:
    """Return the digest of a file's bytes, from its beginning."""
    file.seek(0)
    total = blake2b(digest_size=16, person=_PERSON)
    while block := file.read(_READ):
        total.update(block)
    return total.hexdigest()


def _digest_text(file: BinaryIO, path: Path) -> str:
    total = blake2b(digest_size=16, person=_PERSON)
    decoder = codecs.getincrementaldecoder("utf-8")()
    at = 0
    while True:
        block = file.read(_READ)
        held = len(decoder.getstate()[0])
        try:
            decoder.decode(block, final=not block)
        except UnicodeDecodeError as error:
            raise validation(f"{path} is no text: it is not UTF-8 at byte {at - held + error.start}") from error
        if not block:
            return total.hexdigest()
        total.update(block)
        at += len(block)


def _lines_of(file: BinaryIO, path: Path) -> Iterator[bytes]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise validation(f"{path}, line {number}: is longer than {MAX_LINE_BYTES} bytes")
        yield line


def _as_line(line: bytes, where: str) -> Text:
    try:
        return Text(line.decode().rstrip("\r\n"))
    except UnicodeDecodeError as error:
        raise validation(f"{where}: is not UTF-8 at byte {error.start}", place=where) from error


def _count_chunks(size: int, chunk: int) -> int:
    whole, rest = divmod(size, chunk)
    return max(whole, int(size > 0)) if rest < _LEAST_CHUNK else whole + 1


def _next_character(raw: bytes, at: int) -> int:
    while at < len(raw) and raw[at] in _CONTINUES:
        at += 1
    return at


def _unreadable(path: Path, error: OSError) -> TinkexError:
    return validation(f"{path} cannot be read: {error.strerror or error}")


_PERSON: Final = b"tinkex-rows"
