"""Who may speak to the engine at all: decided from a request's head, before anything reads its body."""

import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from litestar.types import Send

from tinkex.engine._base._config import EngineConfig
from tinkex.engine._base._errors import Refusal
from tinkex.engine._http._bodies import ENCODINGS, JSON, PROTOBUF, media_type
from tinkex.protocol import wire

_WRITES: Final = frozenset({"POST", "PUT", "PATCH"})
_PROTOBUF_PATHS: Final = frozenset({"/api/v1/forward_backward"})


def check_head(config: EngineConfig, method: str, path: str, headers: Mapping[str, str]) -> None:
    """Refuse what this engine does not serve: pure.

    Raises:
        Refusal: 400 and 403 for foreign hosts and origins, 401 without the key, 413 and 415 for bodies.
    """
    host = headers.get("host", "")
    if not _own_host(config, host):
        raise Refusal(403, "this server is not known by the name in the Host header; use its own address")
    origin = headers.get("origin")
    if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
        raise Refusal(403, "requests from other origins are not served")
    if path.startswith("/api/v1") and not _has_key(config, headers.get("x-api-key", "")):
        raise Refusal(401, "the X-API-Key header is missing or wrong")
    if method in _WRITES:
        _check_body(config, path, headers)


def _check_body(config: EngineConfig, path: str, headers: Mapping[str, str]) -> None:
    media = media_type(headers.get("content-type", ""))
    if media != JSON and not (media == PROTOBUF and path in _PROTOBUF_PATHS):
        raise Refusal(415, f"the body must be application/json, not {media or 'untyped'}")
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ENCODINGS:
        raise Refusal(415, f"the body may be compressed by zstd only, not by {encoding[:32]!r}")
    length = headers.get("content-length", "0")
    if not length.isdigit() or int(length) > config.max_body_bytes:
        raise Refusal(413, f"the body is larger than {config.max_body_bytes} bytes; send fewer data at once")


def _own_host(config: EngineConfig, host: str) -> bool:
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if name is None:
        return False
    if name in config.hosts:
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return config.any_address


def _has_key(config: EngineConfig, key: str) -> bool:
    return config.api_key is None or hmac.compare_digest(config.api_key.reveal().encode(), key.encode())


def headers_of(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of an ASGI scope by their lower-case names."""
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


async def answer(send: Send, refusal: Refusal, more: Mapping[str, str] = MappingProxyType({})) -> None:
    """Send a refusal as a whole response, with ``more`` headers."""
    body = wire.encode(wire.ErrorReply(refusal.detail))
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    headers += [(name.encode(), value.encode()) for name, value in more.items()]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
