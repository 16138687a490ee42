"""Hostile bodies: whatever comes, the answer is a result or a 4xx in words, and the engine goes on."""

import json
import random
from collections.abc import Callable, Iterator
from copy import copy
from functools import partial
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support_engine import DATA, Body, pass_input
from support_recorder import recording_engine
from tinkex.protocol import wire
from tinkex.protocol.wire.protobuf import encode_pass

JSON, PROTOBUF = "application/json", "application/x-protobuf"
HOSTILE: list[Any] = [
    None,
    True,
    -1,
    0,
    2**31,
    2**63,
    2**64,
    10**400,
    -0.0,
    1e308,
    1e-320,
    "",
    "\0",
    "../..",
    "tinker://a/weights/b",
    "tinker://../weights/..",
    "\ud800",
    "NaN",
    "x" * 70_000,
    [],
    [[]],
    {},
    {"": None},
    [None] * 3,
]
SLOW = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
SETTINGS = settings(deadline=None, derandomize=True, database=None, suppress_health_check=SLOW, max_examples=150)


class Target:
    """An engine with a model, a sampler and a checkpoint, so that hostile bodies get far."""

    def __init__(self, url: str, broken: list[str]) -> None:
        self.http = httpx.Client(base_url=f"{url}/api/v1/", timeout=60)
        self.broken = broken
        session: Body = {"tags": [], "user_metadata": {}, "sdk_version": "x"}
        self.session_id: str = self.post("create_session", session)["session_id"]
        create = {"session_id": self.session_id, "model_seq_id": 0, "base_model": "tinkex/byte-tiny"}
        self.model_id: str = self.post("create_model", create)["model_id"]
        sampler = {"session_id": self.session_id, "sampling_session_seq_id": 0, "base_model": "tinkex/byte-tiny"}
        self.sampler_id: str = self.post("create_sampling_session", sampler)["sampling_session_id"]
        future = self.post("save_weights", {"model_id": self.model_id, "seq_id": 1, "path": "x"})
        self.path: str = self.post("retrieve_future", future)["path"]
        self.number = 1

    def post(self, place: str, body: Body) -> Body:
        response = self.http.post(place, json=body)
        assert response.status_code == 200, response.text
        answer: Body = response.json()
        return answer

    def bodies(self) -> dict[str, Body]:
        """One good body for each endpoint."""
        self.number += 1
        numbered: Body = {"model_id": self.model_id, "seq_id": self.number}
        policy = pass_input(DATA[:1], "ppo", {"clip_low_threshold": 0.5})
        prompt: Body = {"chunks": [{"tokens": [1, 2, 3], "type": "encoded_text"}]}
        return {
            "client/config": {"sdk_version": "x"},
            "create_session": {"tags": ["t"], "user_metadata": {"k": "v"}, "sdk_version": "x", "project_id": "p"},
            "create_model": {
                "session_id": self.session_id,
                "model_seq_id": self.number,
                "base_model": "tinkex/byte-tiny",
                "lora_config": {"rank": 1, "seed": 1, "train_mlp": True},
                "optimizer_config": {"type": "adamw"},
            },
            "get_info": {"model_id": self.model_id},
            "forward": {"forward_input": pass_input(DATA[:1]), **numbered},
            "forward_backward": {"forward_backward_input": policy, **numbered},
            "optim_step": {"adam_params": {"learning_rate": 1e-4, "grad_clip_norm": 1.0}, **numbered},
            "save_weights": {"path": f"x-{self.number}", "overwrite": True, "user_metadata": {"k": "v"}, **numbered},
            "save_weights_for_sampler": {"sampling_session_seq_id": self.number, **numbered},
            "save_weights_external": {"path": "x", "ttl_seconds": 5, **numbered},
            "load_weights": {"session_id": self.session_id, "model_seq_id": self.number, "path": self.path},
            "weights_info": {"tinker_path": self.path},
            "copy_weights": {"source_path": self.path, "destination_project_id": "p"},
            "retrieve_future": {"request_id": "req-x", "allow_metadata_only": True},
            "create_sampling_session": {
                "session_id": self.session_id,
                "sampling_session_seq_id": self.number,
                "model_path": self.path,
            },
            "asample": {
                "sampling_session_id": self.sampler_id,
                "seq_id": self.number,
                "prompt": prompt,
                "num_samples": 1,
                "sampling_params": {"max_tokens": 2, "stop": ["a"], "temperature": 1.0, "top_k": 5, "top_p": 0.5},
                "prompt_logprobs": True,
                "target_prompt_logprobs": {"data": [1, 2], "dtype": "int64", "shape": [2, 1]},
            },
            "sessions/search": {"user_metadata": {"k": "v"}, "statuses": [{"type": "active"}], "limit": 3},
            "telemetry": {"events": [{"event": "SESSION_START"}]},
        }

    def send(self, place: str, raw: bytes, media: str, **headers: str) -> None:
        """Send; expect an answer, and where it is a future one that ends."""
        response = self.http.post(place, content=raw, headers={"content-type": media, **headers})
        assert response.status_code < 500, (place, response.text)
        if response.status_code >= 400:
            assert isinstance(response.json()["detail"], str), response.text
            return
        answer = cast("Body", response.json() if response.headers["content-type"] == JSON else {})
        if "request_id" in answer and place != "retrieve_future":
            ended = self.http.post("retrieve_future", json={"request_id": str(answer["request_id"])})
            assert ended.status_code == 200, ended.text
            assert "broke in the engine" not in ended.text, (place, raw[:500], ended.text)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    root: Path = tmp_path_factory.mktemp("engine")
    with recording_engine(root, gap_timeout=0.2, sweep_interval=0.05, max_body_bytes=1 << 20) as (url, recorder):
        found = Target(url, recorder.broken)
        yield found
        found.http.close()
        assert recorder.broken == []


PLACES = sorted(
    {
        "client/config",
        "create_session",
        "create_model",
        "get_info",
        "forward",
        "forward_backward",
        "optim_step",
        "save_weights",
        "save_weights_for_sampler",
        "save_weights_external",
        "load_weights",
        "weights_info",
        "copy_weights",
        "retrieve_future",
        "create_sampling_session",
        "asample",
        "sessions/search",
        "telemetry",
    }
)


def places_in(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the ways to every value inside a body."""
    found = [path] if path else []
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(cast("dict[str, Any]", value).items())
    elif isinstance(value, list):
        inner = list(enumerate(cast("list[Any]", value)))[:3]  # type: ignore[redundant-cast]
    return found + [way for key, item in inner for way in places_in(item, (*path, key))]


def put(value: Any, path: tuple[Any, ...], change: Callable[[Any], Any]) -> Any:
    """Return a body with the value at ``path`` changed."""
    if not path:
        return change(value)
    copied = copy(value)
    copied[path[0]] = put(copied[path[0]], path[1:], change)
    return copied


@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_value_anywhere_in_a_body_is_refused_or_works(target: Target, place: str) -> None:
    """Each value of a good body in turn is replaced by hostile ones, drawn with a seed."""
    draw = random.Random(place)
    for way in places_in(target.bodies()[place]):
        for hostile in draw.sample(HOSTILE, 8):
            body = put(target.bodies()[place], way, partial(instead, hostile))
            target.send(place, json.dumps(body).encode(), JSON)
        without = put(target.bodies()[place], way[:-1], partial(lacking, way[-1]))
        target.send(place, json.dumps(without).encode(), JSON)
    # The engine is as well as before.
    assert target.http.get("healthz").status_code == 200


def instead(new: Any, _value: Any) -> Any:
    return new


def lacking(key: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return {name: item for name, item in cast("dict[str, Any]", value).items() if name != key}
    return [item for index, item in enumerate(value) if index != key]


@SETTINGS
@given(place=st.sampled_from(PLACES), seed=st.integers(0, 2**32))
def test_torn_bodies_are_refused(target: Target, place: str, seed: int) -> None:
    """Cut off, with bytes changed, doubled, or not UTF-8."""
    raw = json.dumps(target.bodies()[place]).encode()
    target.send(place, damaged(raw, seed), JSON)


@SETTINGS
@given(seed=st.integers(0, 2**32), packed=st.booleans())
def test_torn_protobuf_is_refused_or_means_something(target: Target, seed: int, packed: bool) -> None:
    body = target.bodies()["forward_backward"]
    request = wire.decode(json.dumps(body).encode(), wire.ForwardBackwardRequest)
    raw = damaged(encode_pass(request), seed)
    headers = {"content-encoding": "zstd"} if packed else {}
    if packed:
        raw = zstandard.compress(raw)
        raw = damaged(raw, seed) if seed % 2 else raw
    target.send("forward_backward", raw, PROTOBUF, **headers)


def damaged(raw: bytes, seed: int) -> bytes:
    draw = random.Random(seed)
    kind = draw.randrange(5)
    if kind == 0:
        return raw[: draw.randrange(len(raw))]
    if kind == 1:
        return raw + raw[draw.randrange(len(raw)) :]
    if kind == 2:
        return draw.randbytes(draw.randrange(200))
    changed = bytearray(raw)
    for _ in range(draw.randrange(1, 6)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b'{"tags":[' + b"1," * 200_000 + b"1]}",
        b'{"sdk_version":"' + b"x" * 900_000 + b'"}',
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"NaN",
        b"1e999999",
        b'{"user_metadata":{"a":1e999999}}',
        b'{"\\ud800":1}',
        b"",
    ],
)
def test_monsters_are_answered(target: Target, raw: bytes) -> None:
    for place in ("create_session", "forward_backward", "asample", "telemetry", "sessions/search"):
        target.send(place, raw, JSON)


def test_bombs_and_giants_are_refused_before_they_are_held(target: Target) -> None:
    bomb = zstandard.compress(bytes(50 << 20))
    for media in (JSON, PROTOBUF):
        response = target.http.post(
            "forward_backward", content=bomb, headers={"content-type": media, "content-encoding": "zstd"}
        )
        assert response.status_code == 413
    assert target.http.post("telemetry", content=b" " * (2 << 20), headers={"content-type": JSON}).status_code == 413


@SETTINGS
@given(
    st.sampled_from(["training_runs", "sessions", "samplers", "training_runs/x/checkpoints"]),
    st.text(min_size=1, max_size=40),
)
def test_any_text_in_a_path_or_a_query_is_answered(target: Target, place: str, text: str) -> None:
    quoted = httpx.URL("http://x", params={"q": text}).query.decode()[2:]
    for url in (f"{place}/{quoted}", f"{place}?limit={quoted}", f"{place}/{quoted}/archive?offset={quoted}"):
        for method in ("GET", "DELETE"):
            assert target.http.request(method, url).status_code < 500, (method, url)
