"""``tinkex verify-resume``: whether a server resumes as if nothing had happened."""

import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from tinkex.actors import DatasetProgram, Example, Schedule
from tinkex.actors._trainer._verify_resume import verify_resume
from tinkex.cli._base._config_sections import SERVERS_TOKENIZER
from tinkex.cli._base._fail import BAD_INPUT, NO_SERVER, Failure
from tinkex.cli._base._logs import log_to_stderr
from tinkex.cli._config._train_config import TrainConfig, load_config
from tinkex.cli._config._train_program import build_program
from tinkex.cli._data._text import ROW, read_text
from tinkex.cli._servers._engine_process import engine_process
from tinkex.cli._servers._server import ask_tokenizer, open_service, probe, serving, told_url
from tinkex.cli._shown._display_json import print_json
from tinkex.protocol import Err, LoraConfig, TinkexError

_LORA: Final = LoraConfig(rank=8, seed=0)
_BATCH: Final = 4
_SCHEDULE: Final = Schedule(learning_rate=1e-2)
_SEND_SECONDS: Final = 60.0


class Check(NamedTuple):
    """What the command was asked for."""

    config: Path | None
    base_url: str | None
    engine: bool
    before: int
    after: int
    tolerance: float | None


def run_verify(check: Check, *, json: bool) -> int:
    """Do the check, print its losses and its verdict; return the exit status.

    Raises:
        Failure: the check could not be done.
    """
    log_to_stderr("error")
    config = _load(check.config)
    if check.engine and check.base_url is not None:
        raise Failure("--engine and --base-url each say which server is meant: take one of them out", BAD_INPUT)
    insecure = config is not None and config.server.allow_insecure
    with _server(check, config) as url:
        base_model, lora = _model(url, config, allow_insecure=insecure)
        program = _program(url, config, base_model, lora, allow_insecure=insecure)
        with open_service(url, allow_insecure=insecure, send_seconds=_SEND_SECONDS) as service:
            result = verify_resume(
                service,
                program,
                base_model=base_model,
                rank=lora.rank,
                seed=lora.seed or 0,
                before=check.before,
                after=check.after,
                tolerance=check.tolerance,
            )
    if isinstance(result, Err):
        error = result.error
        status = NO_SERVER if error.kind == "api_connection" else BAD_INPUT if error.user_error else 1
        raise Failure(f"the check could not be done: {error.message}", status)
    verdict = result.value
    if json:
        print_json({"kind": "verdict", "server": url, "base_model": base_model, **msgspec.to_builtins(verdict)})
    else:
        print(f"server: {url}  base model: {base_model}")
        print(f"uninterrupted:          {_losses(verdict.uninterrupted)}")
        print(f"resumed with optimizer: {_losses(verdict.resumed)}")
        print(f"from weights alone:     {_losses(verdict.cold)}")
    # The verdict is the result where it is good, and what is wrong where it is not.
    print(f"tinkex: {verdict.sentence}", file=sys.stderr if json or not verdict.passed else sys.stdout)
    return 0 if verdict.passed else 1


def _load(path: Path | None) -> TrainConfig | None:
    if path is None:
        return None
    try:
        return load_config(path)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error


@contextmanager
def _server(check: Check, config: TrainConfig | None) -> Generator[str]:
    if not check.engine:
        with serving(told_url(check.base_url, config.server.base_url if config else None), False, Path()) as url:
            yield url
        return
    with tempfile.TemporaryDirectory(prefix="tinkex-verify-") as folder, engine_process(Path(folder)) as url:
        yield url


def _model(url: str, config: TrainConfig | None, *, allow_insecure: bool) -> tuple[str, LoraConfig]:
    known = probe(url, allow_insecure=allow_insecure)
    lora = _LORA if config is None else config.model.lora
    if config is not None and config.model.base_model is not None:
        return config.model.base_model, lora
    if known is None or not known.supported_models:
        raise Failure(f"the server at {url} names no base model: set base_model below [model] of a CONFIG", BAD_INPUT)
    return known.supported_models[0].model_name, lora


def _program(
    url: str, config: TrainConfig | None, base_model: str, lora: LoraConfig, *, allow_insecure: bool
) -> DatasetProgram:
    if config is None:
        text = read_text(None)
        rows = [text[at : at + ROW] for at in range(0, len(text) - 1, ROW)]
        return DatasetProgram(
            [Example(list(row)) for row in rows],
            batch_size=_BATCH,
            tokenizer="bytes",
            schedule=_SCHEDULE,
            passes=1000,
        )
    tokenizer = None
    if config.data.tokenizer == SERVERS_TOKENIZER:
        tokenizer = ask_tokenizer(url, base_model, lora, allow_insecure=allow_insecure)
    try:
        return build_program(config, tokenizer)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error


def _losses(losses: Sequence[float]) -> str:
    return "  ".join(f"{loss:.6f}" for loss in losses)
