"""``tinkex train``: begin runs, and train them to their end."""

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import msgspec

from tinkex.actors._runs._rows import RunRow
from tinkex.actors._trainer._pulse import PULSE_FILE
from tinkex.cli._base._config_sections import SERVERS_TOKENIZER
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._base._logs import log_to_stderr
from tinkex.cli._config._kept import Kept, trainer_config
from tinkex.cli._config._roots import open_store, resume_command, told_root
from tinkex.cli._config._train_config import TrainConfig, load_config
from tinkex.cli._jobs._owners import refuse_living
from tinkex.cli._jobs._run_jobs import Job, run_jobs
from tinkex.cli._servers._server import ENGINE_FOLDER, ask_tokenizer, check_weights, probe, serving, told_url
from tinkex.cli._shown._display import choose_style
from tinkex.protocol import TinkexError


class TrainOptions(NamedTuple):
    """What the command line says beside the configuration files."""

    overrides: Sequence[str] = ()
    base_url: str | None = None
    engine: bool = False
    from_weights: str | None = None
    name: str | None = None
    root: Path | None = None
    json: bool = False
    grace_seconds: float = 30.0
    take_over: bool = False
    log_level: str = "error"


def run_train(files: Sequence[Path], options: TrainOptions) -> int:
    """Begin a run for each file and train all of them; return the exit status.

    A run that is there already is refused, unless it was begun by this command under the same `tinkex supervise`: then
    it is gone on with. With ``take_over`` any is, under the configuration of the file, and whoever has it.

    Raises:
        Failure: something of the input is wrong, or the server cannot be used; no run was begun then.
    """
    log_to_stderr(options.log_level)
    configs = [_load(file, options) for file in files]
    _check_together(configs, options)
    for config in configs:
        _refuse_there(config, options)
    with ExitStack() as stack:
        engine = stack.enter_context(serving(None, True, configs[0].run_root)) if options.engine else None
        jobs = [_prepare(stack, config, engine, options) for config in configs]
        for job in jobs:
            _write_down(job, options)
        return run_jobs(jobs, style=choose_style(json=options.json), grace_seconds=options.grace_seconds)


def prepare_kept(
    config: TrainConfig, url: str, *, engine: bool, from_weights: str | None, tokenizer_id: str | None = None
) -> Kept:
    """Look whether the server is there, ask what the configuration does not say, and return what is to be kept.

    ``tokenizer_id`` is what the server called its model's, where that is known from before.

    Raises:
        Failure: the server cannot be used, or names no model or tokenizer.
    """
    insecure = config.server.allow_insecure
    known = probe(url, allow_insecure=insecure)
    base_model = config.model.base_model
    if base_model is None:
        names = [] if known is None else [model.model_name for model in known.supported_models]
        if not names:
            raise Failure(f"the server at {url} names no base model: set base_model below [model]", BAD_INPUT)
        base_model = names[0]
    if config.data.tokenizer == SERVERS_TOKENIZER and tokenizer_id is None:
        tokenizer_id = ask_tokenizer(url, base_model, config.model.lora, allow_insecure=insecure)
    model = msgspec.structs.replace(config.model, base_model=base_model)
    return Kept(
        train=msgspec.structs.replace(config, model=model).to_dict(),
        engine=engine,
        base_url=None if engine else url,
        tokenizer_id=tokenizer_id,
        from_weights=from_weights,
        supervision=os.environ.get(PULSE_FILE),
    )


def _load(file: Path, options: TrainOptions) -> TrainConfig:
    overrides = list(options.overrides)
    root = told_root(options.root)
    if root is not None:
        overrides.append(f"run.root={json.dumps(str(root))}")
    if options.name is not None:
        overrides.append(f"run.name={json.dumps(options.name)}")
    try:
        config = load_config(file, overrides)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error
    try:
        config.data_path.open("rb").close()
    except OSError as error:
        raise Failure(f"data.path: {config.data_path} cannot be read: {error.strerror or error}", BAD_INPUT) from error
    return config


def _check_together(configs: Sequence[TrainConfig], options: TrainOptions) -> None:
    names = [(config.run_root, config.run_name.lower()) for config in configs]
    if len(set(names)) < len(names):
        raise Failure("two of the configurations name the same run: set another name below [run]", BAD_INPUT)
    if not options.engine:
        return
    if options.base_url is not None:
        raise Failure("--engine and --base-url each say which server trains: take one of them out", BAD_INPUT)
    if len({root for root, _ in names}) > 1:
        raise Failure("with --engine all runs must have one root: pass --root", BAD_INPUT)
    if any(name == ENGINE_FOLDER for _, name in names):
        raise Failure(
            f"with --engine no run can be named {ENGINE_FOLDER!r}: the engine's folder is named so", BAD_INPUT
        )


def _refuse_there(config: TrainConfig, options: TrainOptions) -> None:
    if options.take_over or not config.run_root.is_dir():
        return
    with open_store(config.run_root, create=True) as store:
        name = config.run_name.lower()
        row = next((row for row in store.runs() if row.name.lower() == name), None)
    if row is not None:
        refuse_living(row, config.run_root)
        if _is_ours(row):
            return
        raise Failure(_there(row, config.run_root), BAD_INPUT)


def _is_ours(row: RunRow) -> bool:
    """Say whether the supervision that started this process started the one that began the run, too."""
    supervision = os.environ.get(PULSE_FILE)
    return supervision is not None and row.config.get("supervision") == supervision


def _there(row: RunRow, root: Path) -> str:
    state = f", {row.status.state} at update {row.status.update}" if row.status is not None else ""
    return (
        f"there is a run {row.name!r} in {root} already{state}: go on with it by `{resume_command(row.name, root)}`, "
        "or begin another one with --name"
    )


def _prepare(stack: ExitStack, config: TrainConfig, engine: str | None, options: TrainOptions) -> Job:
    url = engine
    if url is None:
        named = told_url(options.base_url, config.server.base_url)
        url = stack.enter_context(serving(named, False, config.run_root))
    if options.from_weights is not None:
        check_weights(url, options.from_weights, allow_insecure=config.server.allow_insecure)
    kept = prepare_kept(config, url, engine=engine is not None, from_weights=options.from_weights)
    root = config.run_root
    return Job(root, trainer_config(config, kept, root, url))


def _write_down(job: Job, options: TrainOptions) -> None:
    """Write the run down: of two processes that begin one at once, one is told that it is there."""
    with open_store(job.root, create=True) as store:
        row = store.run(job.config.run)
        if row is not None and (options.take_over or _is_ours(row)):
            store.configure(job.config.run, job.config.settings)
            return
        try:
            store.add(job.config.run, job.config.settings)
        except TinkexError as error:
            if error.kind != "conflict" or "run" not in error.data:
                raise
            hint = resume_command(str(error.data["run"]), job.root)
            raise Failure(f"{error.message}: `{hint}`", BAD_INPUT) from error
