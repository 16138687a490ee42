"""Where a service client connects to, and with what: resolved and checked before anything is sent."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypedDict
from urllib.parse import urlsplit, urlunsplit

import msgspec

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._leases._acquire import HEARTBEAT_SECONDS
from tinkex.actors._supervision._supervisor_proxy import SupervisorProxy
from tinkex.actors._transport._courtesy import MAX_BYTES_IN_FLIGHT, MAX_IN_FLIGHT
from tinkex.actors._transport._loopback import is_loopback
from tinkex.protocol import ApiKey, QueueStateChange, Recovered, RecoveryFailed, RecoveryPolicy, TinkexError

HOSTED_BASE_URL: Final = "https://tinker.thinkingmachines.dev/services/tinker-prod"
SEND_SECONDS: Final = 300.0
LOCAL_API_KEY: Final = "tml-local"
"""Sent to a server on this machine when no key is given: it asks for none."""

_TYPES: Final[Mapping[str, Any]] = {
    "base_url": str,
    "api_key": str | ApiKey,
    "supervisor": GenRef,
    "user_metadata": Mapping,
    "tags": (list, tuple),
    "allow_insecure": bool,
    "on_queue_state_change": Callable,
    "state_dir": (str, os.PathLike),
    "recovery": RecoveryPolicy,
    "on_recovery": Callable,
    "on_failure": Callable,
}
_WORDS: Final[Mapping[str, str]] = {
    "base_url": "text",
    "api_key": "text or an ApiKey",
    "supervisor": "the reference of a Supervisor",
    "user_metadata": "a mapping of text to text",
    "tags": "a list of text",
    "allow_insecure": "True or False",
    "on_queue_state_change": "something that can be called",
    "state_dir": "the path of a folder",
    "recovery": "a RecoveryPolicy",
    "on_recovery": "something that can be called",
    "on_failure": "something that can be called",
}


class ServiceOptions(TypedDict, total=False):
    """The options of ``ServiceClient.start`` and ``ServiceClient.open``."""

    base_url: str | None
    """The server; default ``TINKER_BASE_URL``, else the hosted one."""

    api_key: str | ApiKey | None
    """Default ``TINKER_API_KEY``; a server on this machine may need none."""

    supervisor: GenRef[SupervisorProxy] | None
    """Who owns the training clients; default a supervisor of the client's own."""

    send_timeout: float | None
    """Seconds for which a request is repeated while its fate is open; None for ever; default 300."""

    max_in_flight: int
    """Requests that are being sent at once, the rest wait in order; default 64. Polls and heartbeats do not count."""

    max_bytes_in_flight: int
    """Bytes of their bodies, a larger one goes alone; default 50,000,000. Of two clients with one server and one key in
    one process, the smaller limits hold for both."""

    heartbeat_seconds: float
    """Between the heartbeats of a session; default 10."""

    user_metadata: Mapping[str, str] | None
    """Kept with the session."""

    tags: Sequence[str]
    """Kept with the session."""

    allow_insecure: bool
    """Let the key travel over plain http beyond this machine; default False."""

    on_queue_state_change: Callable[[QueueStateChange], Any] | None
    """Called, in order and on a thread of its own, when the server pauses a training client's request or goes on."""

    state_dir: str | os.PathLike[str] | None
    """A folder of this user's own, made where there is none, in which clients write down what they hold on the server:
    if this process is killed, the next start with the folder releases it. Default ``TINKEX_STATE_DIR``, else nothing
    is written; ``""`` is nothing whatever the variable says."""

    recovery: RecoveryPolicy | None
    """How lost runs of the clients made here are noticed and recovered; default None, not at all."""

    on_recovery: Callable[[Recovered], Any] | None
    """Called on a thread of its own when a run goes on from a checkpoint."""

    on_failure: Callable[[RecoveryFailed], Any] | None
    """Called on a thread of its own when a lost run was given up."""


class Settings(msgspec.Struct, frozen=True):
    """The resolved options of one service client."""

    base_url: str
    api_key: ApiKey
    send_timeout: float | None
    max_in_flight: int
    max_bytes_in_flight: int
    heartbeat_seconds: float
    user_metadata: dict[str, str]
    tags: list[str]
    state_dir: str | None
    """An absolute path."""
    on_queue_state_change: Callable[[QueueStateChange], Any] | None = None
    recovery: RecoveryPolicy | None = None
    on_recovery: Callable[[Recovered], Any] | None = None
    on_failure: Callable[[RecoveryFailed], Any] | None = None


def resolve(options: ServiceOptions, environ: Mapping[str, str] | None = None) -> Settings:
    """Return the settings: options first, then the variables of ``environ``, then the defaults.

    Raises:
        TinkexError: kind ``validation``: what is wrong and what to do.
    """
    _check(options)
    variables = os.environ if environ is None else environ
    given = options.get("base_url") or variables.get("TINKER_BASE_URL") or HOSTED_BASE_URL
    url = check_base_url(given, allow_insecure=options.get("allow_insecure", False))
    send_timeout = options.get("send_timeout", SEND_SECONDS)
    return Settings(
        base_url=url,
        api_key=_resolve_key(options.get("api_key") or variables.get("TINKER_API_KEY") or None, url),
        send_timeout=_seconds("send_timeout", send_timeout) if send_timeout is not None else None,
        max_in_flight=_count("max_in_flight", options.get("max_in_flight", MAX_IN_FLIGHT)),
        max_bytes_in_flight=_count("max_bytes_in_flight", options.get("max_bytes_in_flight", MAX_BYTES_IN_FLIGHT)),
        heartbeat_seconds=_seconds("heartbeat_seconds", options.get("heartbeat_seconds", HEARTBEAT_SECONDS)),
        user_metadata=dict(options.get("user_metadata") or {}),
        tags=list(options.get("tags", ())),
        on_queue_state_change=options.get("on_queue_state_change"),
        state_dir=_resolve_folder(options.get("state_dir"), variables.get("TINKEX_STATE_DIR")),
        recovery=options.get("recovery"),
        on_recovery=options.get("on_recovery"),
        on_failure=options.get("on_failure"),
    )


def _check(options: ServiceOptions) -> None:
    given = dict[str, Any](options)
    known = ServiceOptions.__annotations__
    for name, value in given.items():
        if name not in known:
            raise _invalid(f"there is no option {name!r}; the options are {', '.join(known)}")
        if value is not None and name in _TYPES and not isinstance(value, _TYPES[name]):
            raise _invalid(f"{name} must be {_WORDS[name]}, not {type(value).__name__}")
    _check_texts("tags", given.get("tags") or ())
    metadata: Mapping[Any, Any] = given.get("user_metadata") or {}
    _check_texts("user_metadata", [*metadata.keys(), *metadata.values()])
    supervisor = given.get("supervisor")
    if supervisor is not None and not supervisor.is_alive():
        raise _invalid("supervisor= has ended; start another")
    if given.get("recovery") is None and (given.get("on_recovery") or given.get("on_failure")):
        raise _invalid("on_recovery= and on_failure= need a recovery= policy: nothing is recovered without one")


def _check_texts(name: str, items: Any) -> None:
    if not all(isinstance(item, str) for item in items):
        raise _invalid(f"{name} must hold text only")


def check_base_url(base_url: str, *, allow_insecure: bool = False) -> str:
    """Return ``base_url`` without a trailing slash.

    Raises:
        TinkexError: kind ``validation``, where it is no http(s) URL, carries a user, query or fragment, or would send
            the key over plain http beyond this machine.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, port = parts.hostname or "", parts.port
    except (ValueError, AttributeError) as error:
        raise _invalid(f"base_url {base_url!r} is no URL: {error}") from error
    if parts.scheme not in ("http", "https") or not host or port == 0 or any(map(str.isspace, base_url.strip())):
        raise _invalid(f"base_url {base_url!r} must look like https://host/path or http://127.0.0.1:8080")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise _invalid("base_url must not carry a user, password, query or fragment")
    if parts.scheme == "http" and not is_loopback(host) and not allow_insecure:
        raise _invalid(
            f"base_url {base_url!r} would send the API key unencrypted; use https, or pass allow_insecure=True"
        )
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path.rstrip("/"), "", ""))


def _resolve_key(api_key: str | ApiKey | None, base_url: str) -> ApiKey:
    if isinstance(api_key, ApiKey):
        return api_key
    if api_key is not None:
        return ApiKey(api_key)
    if is_loopback(urlsplit(base_url).hostname or ""):
        return ApiKey(LOCAL_API_KEY)
    raise _invalid("no API key: pass api_key= or set TINKER_API_KEY (it begins with tml-)")


def _resolve_folder(option: str | os.PathLike[str] | None, variable: str | None) -> str | None:
    given = variable if option is None else os.fspath(option)
    if not given:
        return None
    from pathlib import Path  # noqa: PLC0415 - for those who have a folder

    try:
        path = Path(given).expanduser().absolute()
    except (RuntimeError, TypeError) as error:
        raise _invalid(f"state_dir {given!r} is no path: {error}") from error
    if "\0" in given:
        raise _invalid(f"state_dir {given!r} is no path")
    return str(path)


def _seconds(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise _invalid(f"{name} must be a finite number of seconds above 0, not {value!r}")
    return float(value)


def _count(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _invalid(f"{name} must be a whole number above 0, not {value!r}")
    return value


def _invalid(message: str) -> TinkexError:
    return TinkexError(message, kind="validation", category="user")
