"""A server in a few lines that keeps the wire's promises and writes down what it did. No I/O, no clock of its own.

Numbers of a model run strictly in order and once; a repeat gets the same answer and another body under the same number
an explicit 4xx. "Weights" are a checksum over what was executed, so that two views of a training run can be compared.
"""

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

import msgspec

from faults.plan import FUTURES

EXPIRES_SECONDS: Final = 300.0
"""After how long without a heartbeat a session is swept."""

RUN: Final = "earlier"
"""A training run from before: its checkpoints ``base`` (sound) and ``broken`` (cannot be loaded) are there."""

Doom = Literal["failed_user", "failed_server"]
Json = dict[str, Any]


class Answer(NamedTuple):
    """What the server says."""

    status: int
    body: Json


class RefusalError(Exception):
    """The server says no; nothing was changed."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.answer = Answer(status, {"detail": detail})


class Execution(NamedTuple):
    """A numbered request that ran."""

    model_id: str
    seq_id: int
    kind: str
    tag: int
    """Which call of the program it belongs to; 0 where the body does not say."""
    ok: bool


@dataclass(eq=False)
class Session:
    session_id: str
    beat: float
    state: Literal["live", "finished", "expired"] = "live"


@dataclass(eq=False)
class Model:
    model_id: str
    session: Session
    create: str
    receipt: str
    live: bool = True
    poisoned: bool = False
    chain: int = 0
    pending: int = 0
    done: int = 0
    unload: str | None = None


@dataclass(eq=False)
class Future:
    origin: str
    result: Json
    ready: float


@dataclass(eq=False)
class Server:
    """All state, and one method that changes it.

    Args:
        latency: seconds from a request's receipt to its result.
        direct: whether results come with the answer instead of a receipt.
        careful: whether it fails what is asked behind failed gradients, as the embedded engine does.
    """

    latency: float = 0.0
    direct: bool = False
    careful: bool = True
    sessions: dict[str, Session] = field(default_factory=dict[str, Session])
    models: dict[str, Model] = field(default_factory=dict[str, Model])
    checkpoints: dict[str, Json] = field(default_factory=dict[str, Json])
    futures: dict[str, Future] = field(default_factory=dict[str, Future])
    executions: list[Execution] = field(default_factory=list[Execution])
    breaches: list[str] = field(default_factory=list[str])
    """Broken promises of the client that the server saw for itself."""

    def __post_init__(self) -> None:
        self._keys: dict[str, str] = {}
        self._bodies: dict[tuple[str, int], tuple[str, str]] = {}
        for name in ("base", "broken"):
            self.checkpoints[f"tinker://{RUN}/weights/{name}"] = {
                "chain": 1,
                "metadata": None,
                "broken": name != "base",
            }

    def label(self, path: str, body: Json) -> str:
        """Name the step that a request belongs to; a poll is ``result:<what it asks for>``."""
        if path == "/retrieve_future":
            future = self.futures.get(str(body.get("request_id")))
            return f"result:{future.origin if future is not None else 'unknown'}"
        if path.endswith("/finish"):
            return "finish"
        return "checkpoints" if path.endswith("/checkpoints") else path.removeprefix("/")

    def answer(self, path: str, body: Json, key: str | None, now: float, doom: Doom | None = None) -> Answer:
        """Handle one request; ``doom`` lets what it starts fail."""
        self.sweep(now)
        try:
            return Answer(200, self._answer(path, body, key, now, doom))
        except RefusalError as refusal:
            return refusal.answer

    def sweep(self, now: float) -> None:
        """End the sessions whose heartbeat has stopped."""
        for session in self.sessions.values():
            if session.state == "live" and now - session.beat > EXPIRES_SECONDS:
                self._end(session, "expired")

    def expire(self) -> None:
        """End all sessions now."""
        for session in self.sessions.values():
            if session.state == "live":
                self._end(session, "expired")

    def alive(self) -> tuple[list[str], list[str]]:
        """Return the ids of the sessions and of the models that live."""
        return (
            [session.session_id for session in self.sessions.values() if session.state == "live"],
            [model.model_id for model in self.models.values() if model.live],
        )

    def pending(self, request_id: str, now: float) -> float:
        """Return for how many seconds a result is not there yet."""
        future = self.futures.get(request_id)
        return 0.0 if future is None else max(0.0, future.ready - now)

    def _answer(self, path: str, body: Json, key: str | None, now: float, doom: Doom | None) -> Json:
        what = path.removeprefix("/")
        if what in FUTURES:
            return self._begin(what, body, now, doom)
        if what == "create_session":
            return self._create_session(str(key), now)
        if what == "session_heartbeat":
            self._session(body["session_id"]).beat = now
            return {"type": "session_heartbeat"}
        if path.endswith("/finish"):
            return self._finish(path.split("/")[2])
        return self._ask(path, body, now)

    def _begin(self, what: str, body: Json, now: float, doom: Doom | None) -> Json:
        if what == "create_model":
            return self._create_model(body, now, doom)
        if what == "unload_model":
            return self._unload(body["model_id"], now, doom)
        return self._train(what, body, now, doom)

    def _ask(self, path: str, body: Json, now: float) -> Json:
        if path == "/retrieve_future":
            return self._retrieve(body["request_id"], now)
        if path == "/get_info":
            model = self._model(body["model_id"])
            return {"model_id": model.model_id, "model_data": {"model_name": "m"}, "is_lora": True, "lora_rank": 4}
        if path == "/weights_info":
            if body["tinker_path"] not in self.checkpoints:
                raise RefusalError(404, "there is no such checkpoint")
            return {"base_model": "m", "is_lora": True, "lora_rank": 4}
        if path.endswith("/checkpoints"):
            return self._list(path.split("/")[2])
        raise RefusalError(404, "there is no such endpoint")

    # Sessions and models

    def _create_session(self, key: str, now: float) -> Json:
        if key not in self._keys:
            session_id = f"s{len(self._keys) + 1}"
            self._keys[key] = session_id
            self.sessions[session_id] = Session(session_id, now)
        return {"session_id": self._keys[key]}

    def _session(self, session_id: str) -> Session:
        session = self.sessions.get(session_id)
        if session is None or session.state != "live":
            raise RefusalError(410, "this session has ended")
        return session

    def _finish(self, session_id: str) -> Json:
        session = self.sessions.get(session_id)
        if session is None or session.state == "expired":
            raise RefusalError(410, "this session has ended")
        self._end(session, "finished")
        return {}

    def _end(self, session: Session, state: Literal["finished", "expired"]) -> None:
        session.state = state
        for model in self.models.values():
            model.live = model.live and model.session is not session

    def _create_model(self, body: Json, now: float, doom: Doom | None) -> Json:
        session = self._session(body["session_id"])
        model_id = f"{session.session_id}:train:{body['model_seq_id']}"
        model = self.models.get(model_id)
        create = digest(body)
        if model is None:
            live = doom is None
            result = {"model_id": model_id, "type": "create_model"} if doom is None else failure(doom)
            model = Model(model_id, session, create, self._open("create_model", result, now), live=live)
            self.models[model_id] = model
        elif model.create != create:
            self.breaches.append(f"{model_id} was created with two bodies")
            raise RefusalError(409, "another body under this model_seq_id")
        return self._receipt(model.receipt, model_id)

    def _model(self, model_id: str) -> Model:
        model = self.models.get(model_id)
        if model is None or not model.live:
            raise RefusalError(410 if model is not None else 404, "there is no such model")
        return model

    def _unload(self, model_id: str, now: float, doom: Doom | None) -> Json:
        model = self.models.get(model_id)
        if model is None or model.unload is None:
            model = self._model(model_id)
            result = {"model_id": model_id, "type": "unload_model"} if doom is None else failure(doom)
            request_id = self._open("unload_model", result, now)
            if doom is not None:
                return self._receipt(request_id)
            model.live, model.unload = False, request_id
        return self._receipt(model.unload or "")

    # Numbered requests

    def _train(self, kind: str, body: Json, now: float, doom: Doom | None) -> Json:
        if "model_id" not in body:  # a load that makes its model, which this server does not know
            raise RefusalError(422, "model_id is required")
        model_id, seq_id = body["model_id"], body["seq_id"]
        found = digest(body)
        known = self._bodies.get((model_id, seq_id))
        if known is not None:
            if known[0] != found:
                self.breaches.append(f"{model_id} #{seq_id} carries two bodies")
                raise RefusalError(400, "another body under this seq_id")
            return self._receipt(known[1])
        model = self._model(model_id)
        if seq_id != model.done + 1:
            self.breaches.append(f"{model_id} #{seq_id} came after #{model.done}: a gap")
            raise RefusalError(400, f"seq_id {seq_id} came where {model.done + 1} was due")
        if kind == "load_weights" and seq_id != 1:
            raise RefusalError(400, "a load is a model's first request")
        if kind.startswith("save") and not body.get("overwrite") and self._path(kind, body) in self.checkpoints:
            raise RefusalError(409, "a checkpoint of this name exists")
        model.done = seq_id
        result = self._execute(model, kind, body) if doom is None else failure(doom)
        ok = "error" not in result
        model.poisoned = model.poisoned or (kind == "forward_backward" and not ok)
        self.executions.append(Execution(model_id, seq_id, kind, tag_of(kind, body), ok))
        request_id = self._open(kind, result, now)
        self._bodies[model_id, seq_id] = found, request_id
        return self._receipt(request_id)

    def _execute(self, model: Model, kind: str, body: Json) -> Json:
        tag = tag_of(kind, body)
        passes = kind in {"forward", "forward_backward"}
        if model.poisoned and self.careful and not passes:
            return failure("failed_server")
        if passes:
            data = body[f"{kind}_input"]["data"]
            if kind == "forward_backward":
                model.pending = zlib.crc32(f"{model.pending} {tag} {len(data)}".encode())
            return {"loss_fn_output_type": "t", "loss_fn_outputs": [{}] * len(data), "metrics": {"tag:unique": tag}}
        if kind == "optim_step":
            model.chain, model.pending = zlib.crc32(f"{model.chain} {model.pending} {tag}".encode()), 0
            return {"metrics": {"tag": tag, "chain": model.chain}}
        if kind == "load_weights":
            checkpoint = self.checkpoints.get(body["path"])
            if checkpoint is None or checkpoint["broken"]:
                return failure("failed_user")
            model.chain = checkpoint["chain"]
            return {"path": body["path"], "type": "load_weights"}
        path = self._path(kind, body)
        metadata = body.get("user_metadata")
        self.checkpoints[path] = {"chain": model.chain, "metadata": metadata, "broken": False}
        return {"path": path}

    def _path(self, kind: str, body: Json) -> str:
        folder = "weights" if kind == "save_weights" else "sampler_weights"
        return f"tinker://{body['model_id']}/{folder}/{body['path']}"

    def _list(self, run: str) -> Json:
        listed = [
            {
                "checkpoint_id": path.removeprefix(f"tinker://{run}/"),
                "checkpoint_type": "training",
                "time": "2023-11-14T22:13:20+00:00",
                "tinker_path": path,
                "user_metadata": checkpoint["metadata"],
            }
            for path, checkpoint in self.checkpoints.items()
            if path.startswith(f"tinker://{run}/")
        ]
        return {"checkpoints": listed}

    # Futures

    def _open(self, origin: str, result: Json, now: float) -> str:
        request_id = f"r{len(self.futures) + 1}"
        self.futures[request_id] = Future(origin, result, now + self.latency)
        return request_id

    def _receipt(self, request_id: str, model_id: str | None = None) -> Json:
        future = self.futures[request_id]
        if self.direct and "error" not in future.result:
            return future.result
        return {"request_id": request_id} if model_id is None else {"request_id": request_id, "model_id": model_id}

    def _retrieve(self, request_id: str, now: float) -> Json:
        future = self.futures.get(request_id)
        if future is None:
            raise RefusalError(404, "there is no such request")
        if future.ready > now:
            return {"type": "try_again", "request_id": request_id, "queue_state": "active"}
        return future.result


def failure(doom: Doom) -> Json:
    """Build the result that says that a request failed."""
    return {"error": "it was to fail", "category": doom.removeprefix("failed_"), "status": "failed"}


def digest(body: Json) -> str:
    """Return what two equal bodies have in common."""
    return hashlib.md5(msgspec.json.encode(body), usedforsecurity=False).hexdigest()


def tag_of(kind: str, body: Json) -> int:
    """Return which call of the program a body belongs to."""
    match kind:
        case "forward" | "forward_backward":
            return int(body[f"{kind}_input"]["data"][0]["model_input"]["chunks"][0]["tokens"][0])
        case "optim_step":
            return round(float(body["adam_params"]["learning_rate"]) * 1e6)
        case "save_weights":
            return int(body["user_metadata"]["tag"])
        case "save_weights_for_sampler":
            return int(body["path"].removeprefix("p"))
        case _:
            return 0
