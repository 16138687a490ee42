"""What the stub answers: a Tinker-compatible server that computes nothing, and checks the order of what comes."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec

from fast_path.scenarios import STUB_MODEL
from fast_path.stub_wire import (
    Buffer,
    json_digest,
    json_result,
    protobuf_digest,
    protobuf_result,
    read_json,
    read_protobuf,
)
from fast_path.values import RANK, norm_of

JSON: Final = b"application/json"
PROTOBUF: Final = b"application/x-protobuf"
HOLD_SECONDS: Final = 30.0
"""How long a poll is held before it is told to come again."""
EARLY_SECONDS: Final = 0.002
"""A result may be told that much early: the loop's timers are no finer."""


class Answer(NamedTuple):
    """What goes back, at once or at a time."""

    body: bytes
    kind: bytes = JSON
    status: bytes = b"200 OK"
    parked: str = ""
    """Of a poll that is to be held: the request whose result is asked for."""
    at: float = 0.0
    """Up to when: monotonic seconds of the loop."""


class _Body(msgspec.Struct):
    model_id: str | None = None
    seq_id: int | None = None
    session_id: str | None = None
    model_seq_id: int | None = None
    request_id: str = ""
    path: str = ""
    tinker_path: str = ""
    optimizer: bool = False


class _Begin(msgspec.Struct):
    delay: float = 0.0
    digest: bool = False


_read: Final = msgspec.json.Decoder(_Body).decode


class Future(NamedTuple):
    """A result that waits for its asker."""

    at: float
    kind: str
    seq_id: int
    told: Any


class Order:
    """The numbers of one model: 1, 2, 3 …, each once."""

    __slots__ = ("ahead", "next")

    def __init__(self) -> None:
        self.next = 1
        self.ahead = set[int]()

    def take(self, seq_id: int) -> str | None:
        """Take a number; return what is wrong with it. One that comes early is none, if the gap closes."""
        if seq_id < self.next or seq_id in self.ahead:
            return f"{seq_id} came twice"
        self.ahead.add(seq_id)
        while self.next in self.ahead:
            self.ahead.remove(self.next)
            self.next += 1
        return None


class Service:
    """All sessions, models and results, and the counts that a driver asks for. On the loop only."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._made = 0
        self._futures = dict[str, Future]()
        self._orders = dict[str, Order]()
        self._sessions = 0
        self.open_connections = 0
        self._begin(_Begin())
        self._routes: Final[dict[bytes, Callable[[_Body], bytes | Answer]]] = {
            b"/api/v1/retrieve_future": self._poll_json,
            b"/api/v1/optim_step": self._optim_step,
            b"/api/v1/save_weights": self._save,
            b"/api/v1/load_weights": self._load,
            b"/api/v1/create_session": self._create_session,
            b"/api/v1/create_model": self._create_model,
            b"/api/v1/unload_model": self._unload,
            b"/api/v1/get_info": self._get_info,
            b"/api/v1/weights_info": lambda _: (
                b'{"base_model":"%b","is_lora":true,"lora_rank":%d}' % (STUB_MODEL.encode(), RANK)
            ),
            b"/api/v1/session_heartbeat": lambda _: b'{"type":"session_heartbeat"}',
            b"/api/v1/client/config": lambda _: b"{}",
            b"/api/v1/client/dynamic_config": lambda _: b"{}",
            b"/api/v1/telemetry": lambda _: b'{"status":"accepted"}',
            b"/api/v1/get_server_capabilities": lambda _: (
                b'{"supported_models":[{"model_name":"%b"}]}' % STUB_MODEL.encode()
            ),
        }

    def answer(self, path: bytes, content_type: bytes, accept: bytes, body: Buffer) -> Answer:
        """Answer one request. ``content_type`` and ``accept`` are the values of those headers."""
        counts = self.requests
        counts[path] = counts.get(path, 0) + 1
        if path == b"/api/v1/forward_backward":
            return Answer(self._pass(content_type, body))
        route = self._routes.get(path)
        if route is None:
            return self._rare(path)
        given = _read(body) if body else _Body()
        if route == self._poll_json:
            return self.poll(given.request_id, accept)
        found = route(given)
        return found if isinstance(found, Answer) else Answer(found)

    def private(self, path: bytes, body: Buffer) -> Answer:
        """Answer a driver's question about the stub itself; it is not counted."""
        if path == b"/stub/begin":
            self._begin(msgspec.json.decode(body, type=_Begin))
            return Answer(b"{}")
        return Answer(msgspec.json.encode(self.report()))

    def report(self) -> dict[str, Any]:
        """Return what was counted since the last begin; what came out of order, since the stub's start."""
        gaps = [f"{model} waits for {order.next}" for model, order in self._orders.items() if order.ahead]
        requests = {path.decode(): count for path, count in self.requests.items()}
        return {
            "requests": sum(requests.values()),
            "by_path": requests,
            "polls": requests.get("/api/v1/retrieve_future", 0),
            "try_again": self.try_again,
            "numbered": self.numbered,
            "early": self.early,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "connections": self.connections,
            "open_connections": self.open_connections,
            "digests": dict(self.digests),
            "forms": dict(self.forms),
            "unread": sum(future.kind != "unload" for future in self._futures.values()),
            "unloads_unread": sum(future.kind == "unload" for future in self._futures.values()),
            "disorder": [*self.disorder, *gaps],
            "cpu": time.process_time() - self._cpu,
            "wall": self._now() - self._began,
        }

    def _begin(self, given: _Begin) -> None:
        self.delay, self._digest = given.delay, given.digest
        self.requests = dict[bytes, int]()
        self.digests = Counter[str]()
        self.forms = Counter[str]()
        self.disorder = list[str]()
        self.try_again = self.numbered = self.early = self.bytes_in = self.bytes_out = 0
        self.connections = self.open_connections
        """The most that were open at a time."""
        self._cpu = time.process_time()
        self._began = self._now()

    def opened(self) -> None:
        """A connection brought its first request that is none of a driver's own."""
        self.open_connections += 1
        self.connections = max(self.connections, self.open_connections)

    # What is numbered

    def _take(self, model_id: str | None, seq_id: int | None) -> None:
        self.numbered += 1
        order = self._orders.get(model_id or "")
        if order is None or seq_id is None:
            self.disorder.append(f"{model_id} with number {seq_id}: there is no such model")
            return
        self.early += seq_id > order.next
        wrong = order.take(seq_id)
        if wrong is not None:
            self.disorder.append(f"{model_id}: {wrong}")

    def _receipt(self, kind: str, seq_id: int, told: Any, model_id: str | None = None) -> bytes:
        self._made += 1
        request_id = f"req-{self._made}"
        self._futures[request_id] = Future(self._now() + self.delay if self.delay else 0.0, kind, seq_id, told)
        if model_id is None:
            return b'{"request_id":"%b"}' % request_id.encode()
        return b'{"request_id":"%b","model_id":"%b"}' % (request_id.encode(), model_id.encode())

    def _pass(self, content_type: bytes, body: Buffer) -> bytes:
        protobuf = PROTOBUF in content_type
        if self._digest:
            self.digests[protobuf_digest(body) if protobuf else json_digest(body)] += 1
        self.forms["protobuf" if protobuf else "json"] += 1
        found = read_protobuf(body) if protobuf else read_json(body)
        self._take(found.model_id, found.seq_id)
        return self._receipt("pass", found.seq_id, found.lengths)

    def _optim_step(self, body: _Body) -> bytes:
        self._take(body.model_id, body.seq_id)
        return self._receipt("step", body.seq_id or 0, None)

    def _save(self, body: _Body) -> bytes:
        self._take(body.model_id, body.seq_id)
        path = f"tinker://{body.model_id}/weights/{body.path}"
        return self._receipt("ready", 0, b'{"path":"%b","type":"save_weights"}' % path.encode())

    def _load(self, body: _Body) -> bytes:
        model_id = body.model_id
        if model_id is None:
            model_id = f"{body.session_id}:train:{body.model_seq_id}"
            self._orders[model_id] = Order()
        else:
            self._take(model_id, body.seq_id)
        told = b'{"path":"%b","model_id":"%b","type":"load_weights"}' % (body.path.encode(), model_id.encode())
        return self._receipt("ready", 0, told)

    # What is not

    def _create_session(self, _: _Body) -> bytes:
        self._sessions += 1
        return b'{"session_id":"session-%d","type":"create_session"}' % self._sessions

    def _create_model(self, body: _Body) -> bytes:
        model_id = f"{body.session_id}:train:{body.model_seq_id}"
        self._orders[model_id] = Order()
        told = b'{"model_id":"%b","type":"create_model"}' % model_id.encode()
        return self._receipt("ready", 0, told, model_id)

    def _unload(self, body: _Body) -> bytes:
        return self._receipt("unload", 0, b'{"model_id":"%b","type":"unload_model"}' % (body.model_id or "").encode())

    def _get_info(self, body: _Body) -> bytes:
        about = {
            "model_id": body.model_id,
            "model_data": {"arch": "stub", "model_name": STUB_MODEL, "tokenizer_id": STUB_MODEL},
            "is_lora": True,
            "lora_rank": RANK,
            "model_name": STUB_MODEL,
            "type": "get_info",
        }
        return msgspec.json.encode(about)

    def _rare(self, path: bytes) -> Answer:
        if path.startswith(b"/api/v1/sessions/") and path.endswith(b"/finish"):
            return Answer(b"{}")
        self.disorder.append(f"{path.decode()} is not known here")
        return Answer(b'{"detail":"Not Found"}', status=b"404 Not Found")

    # Results

    def _poll_json(self, body: _Body) -> Answer:
        return self.poll(body.request_id, JSON)

    def poll(self, request_id: str, accept: bytes, *, held: bool = False) -> Answer:
        """Answer with a result, or say until when the poll is to be held, unless it was."""
        future = self._futures.get(request_id)
        if future is None:
            self.disorder.append(f"{request_id!r} has no result")
            return Answer(b'{"detail":"there is no such request"}', status=b"404 Not Found")
        left = future.at - self._now() if future.at else 0.0
        if left > EARLY_SECONDS:
            if not held:
                return Answer(b"", parked=request_id, at=min(future.at, self._now() + HOLD_SECONDS))
            self.try_again += 1
            return Answer(b'{"type":"try_again","request_id":"%b","queue_state":"active"}' % request_id.encode())
        return self._result(request_id, future, accept)

    def _result(self, request_id: str, future: Future, accept: bytes) -> Answer:
        del self._futures[request_id]
        if future.kind == "step":
            return Answer(b'{"metrics":{"grad_norm:mean":%a},"type":"optim_step"}' % norm_of(future.seq_id))
        if future.kind == "pass":
            if PROTOBUF in accept:
                return Answer(protobuf_result(future.seq_id, future.told), PROTOBUF)
            return Answer(json_result(future.seq_id, future.told))
        return Answer(future.told)
