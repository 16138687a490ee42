"""The least that the wire costs, ``python -m fast_path.drive_floor``: the same bodies on a plain socket, one by one.

It builds no objects and checks nothing on its way; no client can be as cheap as that.
"""

import asyncio
import json
import socket
import time
from itertools import pairwise
from struct import unpack
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from fast_path.driving import chosen, drive, options, tell
from fast_path.meter import Meter
from fast_path.scenarios import Scenario
from fast_path.stub_wire import field, fields_of
from fast_path.values import RANK, Answers, rate_of, tokens_of

PROTOBUF = b"application/x-protobuf"
JSON = b"application/json"


class Line:
    """One connection."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = bytearray(1 << 16)

    def post(self, path: bytes, body: bytes, kind: bytes = JSON, accept: bytes = JSON) -> bytes:
        """Send one request and return the body of its answer."""
        head = b"POST /api/v1/%b HTTP/1.1\r\nhost: stub\r\ncontent-type: %b\r\naccept: %b\r\ncontent-length: %d\r\n\r\n"
        told = head % (path, kind, accept, len(body))
        self._socket.sendall(told + body if len(body) < 65536 else told)
        if len(body) >= 65536:
            self._socket.sendall(body)
        return self._answer()

    def _answer(self) -> bytes:
        filled = self._socket.recv_into(self._buffer)
        while (end := self._buffer.find(b"\r\n\r\n", 0, filled)) < 0:
            filled += self._socket.recv_into(memoryview(self._buffer)[filled:])
        at = self._buffer.find(b"content-length: ", 0, end) + 16
        size = end + 4 + int(self._buffer[at : self._buffer.find(b"\r\n", at)])
        if size > len(self._buffer):
            self._buffer = self._buffer + bytearray(size - len(self._buffer))
        while filled < size:
            filled += self._socket.recv_into(memoryview(self._buffer)[filled:])
        return bytes(memoryview(self._buffer)[end + 4 : size])

    def close(self) -> None:
        self._socket.close()


class Floor:
    """One scenario."""

    def __init__(self, url: str, case: Scenario) -> None:
        self._url = url
        self._case = case
        self.answers = Answers(case)
        self._models = list[bytes]()
        self._data = b""
        self._number = 0
        self._made = 0

    async def prepare(self) -> None:
        self._line = Line(self._url)
        self._session = json.loads(self._line.post(b"create_session", b"{}"))["session_id"]
        for _ in range(self._case.clients):
            body = json.dumps({**self._next_model(), "base_model": self._case.model, "lora_config": {"rank": RANK}})
            self._models.append(json.loads(self._fetch(b"create_model", body.encode()))["model_id"].encode())
        for datum in range(self._case.datums):
            self._data += field(3, _datum(tokens_of(datum, self._case)))
        self._data += field(4, b"cross_entropy")

    async def run(self, count: int, meter: Meter | None) -> None:
        getattr(self, self._case.kind)(count, meter)

    def sequential(self, count: int, meter: Meter | None) -> None:
        for _ in range(count):
            begun = time.perf_counter()
            answer = self._fetch(b"optim_step", self._step(self._models[0], self._next()))
            self.answers.step(json.loads(answer)["metrics"], self._number)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    def pipelined(self, count: int, meter: Meter | None) -> None:
        del meter
        first = self._number + 1
        receipts = [self._line.post(b"optim_step", self._step(self._models[0], self._next())) for _ in range(count)]
        for place, receipt in enumerate(receipts):
            self.answers.step(json.loads(self._result(receipt))["metrics"], first + place)

    def passes(self, count: int, meter: Meter | None) -> None:
        for _ in range(count):
            begun = time.perf_counter()
            self.answers.passed(self._pass(self._models[0], self._next()), self._number)
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    def saves(self, count: int, meter: Meter | None) -> None:
        for _ in range(count):
            begun = time.perf_counter()
            save = b'{"model_id":"%b","seq_id":%d,"path":"step-%d"}'
            body = save % (self._models[0], self._next(), self._number)
            path = json.loads(self._fetch(b"save_weights", body))["path"]
            load = json.dumps({**self._next_model(), "path": path, "optimizer": True})
            self._fetch(b"load_weights", load.encode())
            if meter is not None:
                meter.latencies.append(time.perf_counter() - begun)

    def clients(self, count: int, meter: Meter | None) -> None:
        del meter
        for _ in range(count):
            number = self._next()
            for model in self._models:
                self.answers.passed(self._pass(model, number), number)
                answer = self._fetch(b"optim_step", self._step(model, number + 1))
                self.answers.step(json.loads(answer)["metrics"], number + 1)
            self._next()

    async def close(self) -> None:
        self._line.post(b"sessions/%b/finish" % self._session.encode(), b"{}")
        self._line.close()

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _next_model(self) -> dict[str, Any]:
        self._made += 1
        return {"session_id": self._session, "model_seq_id": self._made}

    def _step(self, model: bytes, number: int) -> bytes:
        body = b'{"adam_params":{"learning_rate":%a},"model_id":"%b","seq_id":%d,"type":"optim_step"}'
        return body % (rate_of(number), model, number)

    def _pass(self, model: bytes, number: int) -> Any:
        body = field(1, model) + b"\x10" + _varint(number) + self._data
        receipt = self._line.post(b"forward_backward", body, PROTOBUF)
        return _read(self._result(receipt, PROTOBUF))

    def _fetch(self, path: bytes, body: bytes) -> bytes:
        return self._result(self._line.post(path, body))

    def _result(self, receipt: bytes, accept: bytes = JSON) -> bytes:
        return self._line.post(b"retrieve_future", b"{%b}" % receipt.strip(b"{}").split(b",")[0], JSON, accept)


def _read(result: bytes) -> Any:
    parts = dict(fields_of(result))
    record = dict(fields_of(parts[2]))
    batched = dict(fields_of(dict(fields_of(record[2]))[2]))
    data, ends = batched[1], np.frombuffer(batched[2], np.int64).tolist()
    arrays = [np.frombuffer(data[begin:end], np.float32) for begin, end in pairwise(ends)]
    return unpack("<d", dict(fields_of(parts[3]))[2])[0], arrays


def _datum(ids: "np.ndarray[Any, Any]") -> bytes:
    tokens = field(1, field(1, field(1, ids[:-1].astype(np.int32).tobytes())))
    shape = field(4, _varint(len(ids) - 1))
    targets = field(2, field(1, b"target_tokens") + field(2, field(1, ids[1:].tobytes()) + b"\x18\x02" + shape))
    ones = np.ones(len(ids) - 1, np.float32).tobytes()
    return tokens + targets + field(2, field(1, b"weights") + field(2, field(1, ones) + b"\x18\x01" + shape))


def _varint(number: int) -> bytes:
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def main() -> None:
    """Run one scenario."""
    given = options(__doc__)
    case = chosen(given)
    tell(asyncio.run(drive(Floor(given.url, case), case, given.url)))


if __name__ == "__main__":
    main()
