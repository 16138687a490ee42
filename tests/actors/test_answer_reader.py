"""Whatever pieces the bytes of a connection come in, the answers in them are the same."""

import contextlib
import gzip
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinkex.actors._transport._answer_reader import MOST_HEAD_BYTES, AnswerReader, MalformedAnswer
from tinkex.actors._transport._attempt import HttpReply


class Told(NamedTuple):
    """An answer, and the bytes that say it."""

    raw: bytes
    status: int
    body: bytes


NAMES = st.from_regex(r"x-[a-z]{1,8}", fullmatch=True)
VALUES = st.from_regex(r"[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)


@st.composite
def answers(draw: st.DrawFn) -> Told:
    status = draw(st.sampled_from([200, 201, 202, 400, 404, 409, 425, 429, 500, 503]))
    body = draw(st.binary(max_size=200))
    headers = [f"{name}: {value}" for name, value in draw(st.dictionaries(NAMES, VALUES, max_size=4)).items()]
    if draw(st.booleans()):
        sent = body
        headers.append(f"Content-Length: {len(body)}")
    else:
        cut = draw(st.integers(0, len(body)))
        parts = [part for part in (body[:cut], body[cut:]) if part]
        sent = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        headers.append("Transfer-Encoding: chunked")
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    head = "\r\n".join([f"HTTP/1.1 {status} Said", *headers]).encode() + b"\r\n\r\n"
    return Told(interim + head + sent, status, body)


def read(reader: AnswerReader, raw: bytes, cuts: Sequence[int]) -> list[HttpReply]:
    ends = sorted({min(cut, len(raw)) for cut in cuts} | {len(raw)})
    begins = [0, *ends[:-1]]
    found = [reader.feed(raw[begin:end]) for begin, end in zip(begins, ends, strict=True) if end > begin]
    return [reply for reply in found if reply is not None]


@given(st.lists(answers(), min_size=1, max_size=4), st.lists(st.integers(0, 600), max_size=8))
def test_answers_are_read_one_after_the_other_in_any_pieces(told: list[Told], cuts: list[int]) -> None:
    reader = AnswerReader()
    for one in told:
        (reply,) = read(reader, one.raw, cuts)
        assert (reply.status, reply.body) == (one.status, one.body)
    assert reader.keeps_alive


@given(answers(), st.integers(0, 600))
def test_an_answer_broken_off_is_none(told: Told, cut: int) -> None:
    reader = AnswerReader()
    raw = told.raw[: min(cut, len(told.raw) - 1)]
    assert read(reader, raw, []) == []
    assert reader.end() is None


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=4))
def test_noise_is_malformed_or_waits_for_more(noise: bytes, cuts: list[int]) -> None:
    reader = AnswerReader()
    with contextlib.suppress(MalformedAnswer):
        read(reader, noise, cuts)
        reader.end()


def test_two_answers_at_once_end_the_connection_for_more() -> None:
    reader = AnswerReader()
    reply = reader.feed(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 500 No\r\nContent-Length: 1\r\n\r\nb")
    assert reply is not None
    assert (reply.status, reply.body) == (200, b"a")
    assert not reader.keeps_alive


@pytest.mark.parametrize(
    ("head", "stays"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_the_server_says_whether_the_connection_stays(head: bytes, stays: bool) -> None:
    reader = AnswerReader()
    assert reader.feed(head + b"\r\n") is not None
    assert reader.keeps_alive is stays


def test_a_body_without_a_length_ends_with_its_connection() -> None:
    reader = AnswerReader()
    assert reader.feed(b"HTTP/1.1 200 OK\r\n\r\nab") is None
    assert reader.feed(b"cd") is None
    assert reader.end() == HttpReply(200, {}, b"abcd")


def test_an_answer_without_a_body() -> None:
    reply = AnswerReader().feed(b"HTTP/1.1 204 No Content\r\nDate: now\r\n\r\n")
    assert reply == HttpReply(204, {"date": "now"}, b"")


def test_a_header_that_comes_twice_is_joined() -> None:
    reply = AnswerReader().feed(b"HTTP/1.1 200 OK\r\nVary: a\r\nvary: b\r\nContent-Length: 0\r\n\r\n")
    assert reply is not None
    assert reply.headers["vary"] == "a, b"


BARE = zlib.compressobj(wbits=-zlib.MAX_WBITS)
PACKED = {
    "gzip": gzip.compress(b"ab"),
    "GZIP": gzip.compress(b"ab"),
    "deflate": zlib.compress(b"ab"),
    "deflate without its frame": BARE.compress(b"ab") + BARE.flush(),
    "identity": b"ab",
}


@pytest.mark.parametrize("packed", PACKED)
def test_what_is_packed_is_unpacked(packed: str) -> None:
    body = PACKED[packed]
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {packed.split(maxsplit=1)[0]}\r\nContent-Length: {len(body)}\r\n\r\n"
    reply = AnswerReader().feed(head.encode() + body)
    assert reply is not None
    assert reply.body == b"ab"


def test_what_is_packed_twice_is_unpacked_twice() -> None:
    body = gzip.compress(zlib.compress(b"ab"))
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: deflate, gzip\r\nContent-Length: {len(body)}\r\n\r\n"
    reply = AnswerReader().feed(head.encode() + body)
    assert reply is not None
    assert reply.body == b"ab"


@pytest.mark.parametrize("head", [b"204 No Content\r\n", b"429 Slow Down\r\nContent-Length: 0\r\n"])
@pytest.mark.parametrize("packed", [b"gzip", b"deflate"])
def test_where_there_is_no_body_nothing_is_unpacked(head: bytes, packed: bytes) -> None:
    reply = AnswerReader().feed(b"HTTP/1.1 " + head + b"Content-Encoding: " + packed + b"\r\n\r\n")
    assert reply is not None
    assert reply.body == b""


@pytest.mark.parametrize(
    "noise", [b"more", b"0\r\n\r\n", b"HTTP/1.1 101 No\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"]
)
@pytest.mark.parametrize(
    "head",
    [
        b"204 No Content\r\nTransfer-Encoding: chunked\r\n",
        b"200 OK\r\nContent-Length: 0\r\n",
        b"200 OK\r\nContent-Length: 0\r\nConnection: close\r\n",
    ],
)
def test_noise_behind_an_answer_takes_nothing_from_it_and_ends_the_connection(head: bytes, noise: bytes) -> None:
    reader = AnswerReader()
    reply = reader.feed(b"HTTP/1.1 " + head + b"\r\n" + noise)
    assert reply is not None
    assert (reply.status, reply.body) == (int(head[:3]), b"")
    assert not reader.keeps_alive


def test_what_follows_a_body_is_no_header_of_this_answer_nor_of_the_next() -> None:
    reader = AnswerReader()
    head = b"HTTP/1.1 200 OK\r\nDate: now\r\nTransfer-Encoding: chunked\r\n\r\n"
    for _ in range(2):
        reply = reader.feed(head + b"2\r\n{}\r\n0\r\nDate: later\r\nContent-Encoding: gzip\r\n\r\n")
        assert reply == HttpReply(200, {"date": "now", "transfer-encoding": "chunked"}, b"{}")
    assert reader.keeps_alive


def test_a_protocol_that_nobody_asked_for() -> None:
    with pytest.raises(MalformedAnswer):
        AnswerReader().feed(b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")


def test_a_head_that_never_ends() -> None:
    reader = AnswerReader()
    line = b"x-a: " + b"a" * 1000 + b"\r\n"
    reader.feed(b"HTTP/1.1 200 OK\r\n")
    for _ in range(MOST_HEAD_BYTES // len(line)):
        reader.feed(line)
    with pytest.raises(MalformedAnswer, match="never ends"):
        reader.feed(line)
