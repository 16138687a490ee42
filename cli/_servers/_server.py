"""The server that a command talks to: which one it is, whether it is there, and what it calls its tokenizer."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tinkex.actors import ServiceClient
from tinkex.actors._service._service_ref import ServiceClientRef
from tinkex.actors._service._settings import HOSTED_BASE_URL
from tinkex.cli._base._fail import BAD_INPUT, NO_SERVER, Failure
from tinkex.cli._servers._engine_process import engine_process
from tinkex.protocol import Err, LoraConfig, TinkexError, messages
from tinkex.protocol.replies import ServerCapabilities

PROBE_SECONDS: Final = 5.0
ENGINE_FOLDER: Final = "engine"
"""Of the embedded engine, below the folder of all runs."""

_MODEL_SECONDS: Final = 120.0


@contextmanager
def serving(base_url: str | None, engine: bool, root: Path) -> Generator[str]:
    """Give the address of the server for a block: the one that was named, or an embedded engine below ``root``.

    Raises:
        Failure: none was named, or the engine did not start.
    """
    if engine:
        (root / ENGINE_FOLDER).mkdir(parents=True, exist_ok=True)
        with engine_process(root / ENGINE_FOLDER) as url:
            yield url
        return
    if base_url is None:
        raise Failure(
            "it is not said which server trains: pass --engine for an embedded one on this machine, or name one with "
            f"--base-url, [server] base_url or the variable TINKER_BASE_URL (the hosted service is {HOSTED_BASE_URL})",
            BAD_INPUT,
        )
    yield base_url


def told_url(option: str | None, configured: str | None) -> str | None:
    """Return the server's address: the option, else the configuration, else the variable; None where none says it."""
    return option or configured or os.environ.get("TINKER_BASE_URL") or None


def probe(url: str, *, allow_insecure: bool = False) -> ServerCapabilities | None:
    """Ask the server what it can do; None where it is there and does not tell.

    Raises:
        Failure: it cannot be used.
    """
    with open_service(url, allow_insecure=allow_insecure) as service:
        known = service.ask(messages.GetServerCapabilities())
    if not isinstance(known, Err):
        return known.value
    if known.error.user_error and known.error.status == _NOT_FOUND:
        return None
    raise Failure(f"the server at {url} cannot be used: {known.error}", NO_SERVER)


def ask_tokenizer(url: str, base_model: str, lora: LoraConfig, *, allow_insecure: bool = False) -> str | None:
    """Ask the server what it calls the tokenizer of a model; a model is made for that, and given back.

    Raises:
        Failure: it does not answer, or has no such model.
    """
    create = messages.CreateLoraTrainingClient(
        base_model,
        lora.rank,
        lora.seed,
        lora.train_mlp,
        lora.train_attn,
        lora.train_unembed,
        await_timeout=_MODEL_SECONDS,
    )
    with open_service(url, allow_insecure=allow_insecure) as service:
        made = service.ask(create)
        if isinstance(made, Err):
            raise Failure(f"the model {base_model!r} cannot be made: {made.error}", _status_of(made.error))
        info = made.value.ask(messages.GetInfo())
    if isinstance(info, Err):
        raise Failure(f"the server does not say what the model {base_model!r} is: {info.error}", _status_of(info.error))
    return info.value.tokenizer_id


def check_weights(url: str, path: str, *, allow_insecure: bool = False) -> None:
    """Ask the server for a checkpoint that a run is to begin from.

    Raises:
        Failure: it has none, or does not answer.
    """
    with open_service(url, allow_insecure=allow_insecure) as service:
        known = service.ask(messages.GetCheckpointInfo(path))
    if isinstance(known, Err):
        raise Failure(f"--from-weights: {known.error}", _status_of(known.error))


@contextmanager
def open_service(
    url: str, *, allow_insecure: bool = False, send_seconds: float = PROBE_SECONDS
) -> Generator[ServiceClientRef]:
    """Give a service client for a block, which gives up after ``send_seconds`` where the server is not there.

    Raises:
        Failure: the address or the key is wrong.
    """
    try:
        opened = ServiceClient.start(
            base_url=url, allow_insecure=allow_insecure, send_timeout=send_seconds, state_dir=""
        )
    except TinkexError as wrong:
        raise Failure(wrong.message, BAD_INPUT) from wrong
    try:
        yield opened
    finally:
        opened.stop()


def _status_of(error: TinkexError) -> int:
    return BAD_INPUT if error.user_error else NO_SERVER


_NOT_FOUND: Final = 404
