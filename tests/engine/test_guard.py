"""Who may speak to the engine: decided from the head alone."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from support_engine import logged, serving
from tinkex.engine import EngineConfig, EngineError
from tinkex.engine._base._config import owner_of
from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._guard import check_head
from tinkex.protocol import ApiKey

KEY = ApiKey("tml-correct-horse")
JSON = {"content-type": "application/json"}


def judge(headers: dict[str, str], method: str = "GET", path: str = "/api/v1/healthz", **config: Any) -> int:
    """Return the status of the refusal, 200 for none."""
    try:
        check_head(EngineConfig(Path("unused"), **config), method, path, {"host": "localhost:8080", **headers})
    except Refusal as refusal:
        return 500 if KEY.reveal() in refusal.detail else refusal.status
    return 200


def judge_bound(host: str, headers: dict[str, str]) -> int:
    """Judge for an engine that listens on ``host``, with a key."""
    try:
        check_head(EngineConfig(Path("unused"), host=host, api_key=KEY), "GET", "/api/v1/healthz", headers)
    except Refusal as refusal:
        return refusal.status
    return 200


def files(root: Path) -> list[Path]:
    return [file for file in root.rglob("*") if file.is_file()]


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1", 200),
        ("127.0.0.1:8080", 200),
        ("localhost:1", 200),
        ("LocalHost", 200),
        ("[::1]:8080", 200),
        ("", 403),
        ("evil.example", 403),
        ("evil.example:8080", 403),
        ("127.0.0.1.evil.example", 403),
        ("10.0.0.1", 403),
        ("localhost@evil.example", 403),
        ("[::1", 403),
    ],
)
def test_only_own_names_are_served(host: str, status: int) -> None:
    """So that no foreign page can reach it by a name that resolves to this machine."""
    assert judge({"host": host}) == status


def test_more_names_can_be_allowed() -> None:
    """And a server on all addresses takes any address, but no name."""
    key = {"x-api-key": KEY.reveal()}
    assert judge({"host": "box.lan", **key}, allowed_hosts=("Box.LAN",)) == 200
    assert judge_bound("0.0.0.0", {"host": "10.0.0.1:8080", **key}) == 200
    assert judge_bound("0.0.0.0", {"host": "evil.example", **key}) == 403


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:8080", 200),
        ("http://localhost:9999", 403),
        ("https://evil.example", 403),
        ("null", 403),
        ("", 403),
    ],
)
def test_foreign_origins_are_refused(origin: str, status: int) -> None:
    """A browser says where its page came from; programs say nothing."""
    assert judge({"origin": origin}) == status


@pytest.mark.parametrize(
    ("sent", "status"),
    [({}, 401), ({"x-api-key": ""}, 401), ({"x-api-key": "tml-wrong"}, 401), ({"x-api-key": KEY.reveal()}, 200)],
)
def test_a_key_that_is_set_must_be_sent(sent: dict[str, str], status: int) -> None:
    """Below /api/v1, health included."""
    assert judge(sent, api_key=KEY) == status
    assert judge(sent) == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (JSON, 200),
        ({"content-type": "application/json; charset=utf-8"}, 200),
        ({}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-protobuf"}, 415),
        ({**JSON, "content-encoding": "zstd"}, 200),
        ({**JSON, "content-encoding": "gzip"}, 415),
        ({**JSON, "content-encoding": "identity"}, 200),
        ({**JSON, "content-length": "100"}, 200),
        ({**JSON, "content-length": "101"}, 413),
        ({**JSON, "content-length": "x"}, 413),
    ],
)
def test_bodies_are_json_and_not_too_large(headers: dict[str, str], status: int) -> None:
    """Known from the head, before a byte of them is read."""
    assert judge(headers, "POST", max_body_bytes=100) == status
    assert judge(headers, "GET", max_body_bytes=100) == 200


async def test_the_guard_stands_before_everything(tmp_path: Path) -> None:
    """Unknown paths too; the answer is JSON."""
    async with serving(tmp_path, api_key=KEY) as client:
        response = await client.http.get("/api/v1/nope")
        assert (response.status_code, response.headers["content-type"]) == (401, "application/json")
        assert "X-API-Key" in response.json()["detail"]
        response = await client.http.get("/api/v1/healthz", headers={"host": "evil.example"})
        assert response.status_code == 403
        response = await client.http.get("/api/v1/healthz", headers={"x-api-key": KEY.reveal()})
        assert response.status_code == 200


async def test_a_body_that_hides_its_length_is_measured(tmp_path: Path) -> None:
    """Sent in pieces, it is cut off at the limit."""

    async def pieces() -> AsyncGenerator[bytes]:
        for _ in range(100):
            yield b" " * 100

    async with serving(tmp_path, max_body_bytes=1000) as client:
        response = await client.http.post("/api/v1/create_session", content=pieces(), headers=JSON)
        assert response.status_code == 413
        assert isinstance(response.json()["detail"], str)


async def test_keys_are_written_down_nowhere(tmp_path: Path) -> None:
    """Neither in the root nor in the log; runs carry the owner's hash."""
    with logged() as log:
        async with serving(tmp_path, api_key=KEY) as client:
            client.http.headers["x-api-key"] = KEY.reveal()
            model = await client.model()
            await model.save("x")
            run = await client.get(f"training_runs/{model.model_id}")
            assert run["model_owner"] == owner_of(KEY.reveal()) != owner_of("tml-other")
            assert KEY.reveal() not in repr(client.engine.config)
    assert not [file for file in files(tmp_path) if KEY.reveal().encode() in file.read_bytes()]
    assert log
    assert KEY.reveal() not in repr(log)


CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"host": "0.0.0.0"}, "API key"),
    ({"host": "example.org"}, "API key"),
    ({"port": -1}, "port"),
    ({"port": 65536}, "port"),
    ({"threads": 0}, "threads"),
    ({"max_body_bytes": 0}, "max_body_bytes"),
    ({"max_samplers": 0}, "max_samplers"),
    ({"download_time": 0.0}, "download_time"),
    ({"long_poll": 0.0}, "long_poll"),
    ({"session_timeout": float("nan")}, "session_timeout"),
    ({"gap_timeout": float("inf")}, "gap_timeout"),
]


@pytest.mark.parametrize(("settings", "word"), CONFIGS, ids=[str(settings) for settings, _ in CONFIGS])
def test_senseless_settings_are_refused(settings: dict[str, Any], word: str) -> None:
    """In one sentence that names the setting."""
    with pytest.raises(EngineError, match=word):
        EngineConfig(Path("unused"), **settings)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_loopback_needs_no_key(host: str) -> None:
    """Nobody else can reach it."""
    assert EngineConfig(Path("unused"), host=host).api_key is None
