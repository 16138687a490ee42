"""``tinkex serve``: the engine in this process."""

import os
import signal
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._base._logs import log_to_stderr
from tinkex.engine import EngineConfig, EngineError, FaultPlan, serve
from tinkex.protocol import ApiKey, TinkexError


@dataclass(frozen=True)
class Place:
    """Where the engine listens, keeps its data and computes."""

    host: str
    port: int
    root: Path
    models: Path | None
    device: Literal["auto", "cpu", "cuda"]
    threads: int


def run_serve(
    place: Place,
    *,
    key_file: Path | None,
    log_level: str,
    faults: tuple[str, ...] = (),
    fault_seed: int = 0,
    until_eof: bool = False,
) -> None:
    """Serve until a signal ends it, or with ``until_eof`` the end of standard input; print the address once bound."""
    log_to_stderr(log_level)
    key = _key(key_file)
    try:
        plan = FaultPlan.parse(faults, fault_seed) if faults else None
        config = EngineConfig(**vars(place), api_key=key, faults=plan)
        serve(config, on_ready=_announce_until_eof if until_eof else _announce)
    except EngineError as error:
        raise Failure(str(error), BAD_INPUT) from error


def _announce_until_eof(url: str) -> None:
    _announce(url)
    threading.Thread(target=_end_with_input, name="tinkex-input", daemon=True).start()


def _end_with_input() -> None:
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _announce(url: str) -> None:
    print(f"tinkex engine: {url}", flush=True)


def _key(key_file: Path | None) -> ApiKey | None:
    if key_file is None:
        text = os.environ.get("TINKEX_ENGINE_KEY") or None
        source = "TINKEX_ENGINE_KEY"
    else:
        source = f"--key-file {key_file}"
        try:
            text = key_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Failure(f"{source} cannot be read: {error}", BAD_INPUT) from error
    try:
        return ApiKey(text) if text is not None else None
    except TinkexError as error:
        raise Failure(f"{source}: {error}", BAD_INPUT) from error
