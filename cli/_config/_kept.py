"""What the store keeps of a run's configuration, so that any process can go on with it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from tinkex.actors import TrainerConfig
from tinkex.actors._runs._rows import RunRow
from tinkex.cli._base._fail import BAD_INPUT, Failure
from tinkex.cli._config._train_config import TrainConfig
from tinkex.cli._config._train_program import build_program
from tinkex.protocol import TinkexError


class Kept(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a run that ``tinkex train`` began. No secrets: the key is never a part of it."""

    train: dict[str, Any]
    """``TrainConfig.to_dict()``."""
    engine: bool = False
    """Whether an embedded engine of the run's own trains it."""
    base_url: str | None = None
    """The server, where it is not the embedded engine."""
    tokenizer_id: str | None = None
    """What the server calls its model's tokenizer, where the configuration asks for that one."""
    from_weights: str | None = None
    """The checkpoint that the run begins from."""
    supervision: str | None = None
    """Which `tinkex supervise` began it: the same one starts the same command again."""

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain JSON values."""
        return cast("dict[str, Any]", msgspec.to_builtins(self))


def read_kept(row: RunRow) -> Kept:
    """Return the settings of a run.

    Raises:
        Failure: it was not begun by ``tinkex train``.
    """
    try:
        return msgspec.convert(row.config, Kept)
    except msgspec.ValidationError as error:
        raise Failure(
            f"the run {row.name!r} was not begun by `tinkex train` of this version ({error}): go on with it from the "
            "program that began it",
            BAD_INPUT,
        ) from error


def train_config(row: RunRow, kept: Kept) -> TrainConfig:
    """Return the configuration of a run.

    Raises:
        Failure: it is wrong, for this version.
    """
    try:
        return TrainConfig.from_dict(kept.train, source=f"the configuration of the run {row.name!r}")
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error


def trainer_config(config: TrainConfig, kept: Kept, root: Path, url: str) -> TrainerConfig:
    """Look through the data, and return what a trainer is made of.

    Raises:
        Failure: data or settings are wrong.
    """
    service: Mapping[str, Any] = {"base_url": url, "allow_insecure": config.server.allow_insecure}
    try:
        return TrainerConfig(
            run=config.run_name,
            root=root,
            program=build_program(config, kept.tokenizer_id),
            base_model=config.model.base_model or kept.train["model"]["base_model"],
            lora=config.model.lora,
            service=service,
            checkpoints=config.checkpoints,
            retention=config.retention,
            watchdog=config.watchdog,
            rebuild=config.rebuild,
            loss_guard=config.loss_guard,
            from_weights=kept.from_weights,
            settings=kept.to_dict(),
        )
    except TinkexError as error:
        raise Failure(error.message, BAD_INPUT) from error
