"""``tinkex resume``: go on with a run, from what the store keeps of it."""

import sys

from tinkex.actors._runs._rows import RunRow
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._base._logs import log_to_stderr
from tinkex.cli._base._words import plural
from tinkex.cli._config._kept import read_kept, train_config, trainer_config
from tinkex.cli._config._roots import open_store, resume_command, root_of, row_of
from tinkex.cli._config._train_config import TrainConfig
from tinkex.cli._jobs._owners import refuse_living
from tinkex.cli._jobs._run_jobs import Job, run_jobs
from tinkex.cli._jobs._train import TrainOptions, prepare_kept
from tinkex.cli._servers._server import serving
from tinkex.cli._shown._display import choose_style
from tinkex.protocol import TinkexError


def run_resume(name: str, options: TrainOptions) -> int:
    """Go on with a run, and train it to its end; return the exit status.

    What ``options.overrides`` change stays changed. The server is the one that trained it, unless another is named.

    Raises:
        Failure: there is no such run, or another process has it, or something is wrong with it or with the server.
    """
    log_to_stderr(options.log_level)
    root = root_of(options.root)
    with open_store(root) as store:
        row = row_of(store, name)
    kept = read_kept(row)
    config = _overridden(train_config(row, kept), row, options)
    if not options.take_over:
        refuse_living(row, root)
    if row.status is not None and row.status.state == "finished" and not options.overrides:
        longer = "updates" if config.training.updates is not None else "passes"
        length = 2 * (getattr(config.training, longer) or 1)
        print(
            f"tinkex: the run {name} is finished after {plural(row.status.update, 'update')}; to train on, let it be "
            f"longer: {resume_command(name, root)} --set training.{longer}={length}",
            file=sys.stderr if options.json else sys.stdout,
        )
        return 0
    engine = (kept.engine or options.engine) and options.base_url is None
    with serving(options.base_url or kept.base_url, engine, root) as url:
        kept = prepare_kept(config, url, engine=engine, from_weights=kept.from_weights, tokenizer_id=kept.tokenizer_id)
        job = Job(root, trainer_config(config, kept, root, url))
        with open_store(root) as store:
            store.configure(name, job.config.settings)
        return run_jobs([job], style=choose_style(json=options.json), grace_seconds=options.grace_seconds)


def _overridden(config: TrainConfig, row: RunRow, options: TrainOptions) -> TrainConfig:
    try:
        changed = config.overridden(options.overrides)
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error
    if changed.run_name != row.name:
        raise Failure(f"a run keeps its name: take run.name out of --set, or begin another one than {row.name!r}", 2)
    return changed
