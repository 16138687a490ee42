"""The configuration of ``tinkex train``: one TOML file, checked before anything is sent, kept with the run as JSON."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast

import msgspec

from tinkex.actors._programs._schedule import Schedule
from tinkex.cli._base._config_sections import (
    BYTES_TOKENIZER,
    SERVERS_TOKENIZER,
    DataSection,
    ModelSection,
    RunSection,
    ServerSection,
    TrainingSection,
)
from tinkex.cli._config._config_file import OVERRIDE, Source, Tables, check_tables, parse_override, read_tables
from tinkex.protocol import (
    CheckpointPolicy,
    LossGuard,
    RebuildPolicy,
    RetentionPolicy,
    TinkexError,
    WatchdogPolicy,
    validation,
)
from tinkex.protocol._policy import Policy

DEFAULT_ROOT: Final = "runs"
"""The folder of all runs, below the current one."""


class TrainConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What a run is told; every path in it is absolute, and its name and root are settled."""

    run: RunSection
    server: ServerSection
    model: ModelSection
    data: DataSection
    training: TrainingSection
    schedule: Schedule
    checkpoints: CheckpointPolicy
    retention: RetentionPolicy
    watchdog: WatchdogPolicy
    loss_guard: LossGuard
    rebuild: RebuildPolicy

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain JSON values, from which ``from_dict`` makes an equal one."""
        return cast("dict[str, Any]", msgspec.to_builtins(self))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any], *, source: str = "the configuration of the run") -> Self:
        """Build the configuration that ``to_dict`` described.

        Raises:
            TinkexError: kind ``validation``: naming ``source``, section and key.
        """
        check_tables(fields, KNOWN, source)
        return cls(**_sections({section: dict(table) for section, table in fields.items()}, Source(source)))

    def overridden(self, overrides: Sequence[str], *, folder: Path | None = None) -> Self:
        """Return this configuration with ``section.key=value`` in place of what it said; see ``load_config``.

        Raises:
            TinkexError: kind ``validation``.
        """
        tables: Tables = self.to_dict()
        changed = _override(tables, overrides, folder or Path.cwd())
        return type(self)(**_sections(tables, Source("the configuration of the run", changed=changed)))

    @property
    def run_name(self) -> str:
        """The run's name."""
        return self.run.name or "run"

    @property
    def run_root(self) -> Path:
        """The folder of all runs."""
        return Path(self.run.root or DEFAULT_ROOT).absolute()

    @property
    def data_path(self) -> Path:
        """The file to train on."""
        return Path(self.data.path or "")


_TYPES: Final[Mapping[str, type[Policy]]] = {
    "run": RunSection,
    "server": ServerSection,
    "model": ModelSection,
    "data": DataSection,
    "training": TrainingSection,
    "schedule": Schedule,
    "checkpoints": CheckpointPolicy,
    "retention": RetentionPolicy,
    "watchdog": WatchdogPolicy,
    "loss_guard": LossGuard,
    "rebuild": RebuildPolicy,
}
KNOWN: Final[Mapping[str, tuple[str, ...]]] = {name: kind.__struct_fields__ for name, kind in _TYPES.items()}
"""The keys of each section."""

_PATHS: Final = (("run", "root"), ("data", "path"), ("data", "tokenizer"))


def load_config(path: Path, overrides: Sequence[str] = (), *, folder: Path | None = None) -> TrainConfig:
    """Read a configuration file, put ``overrides`` in place of what it says, and check all of it.

    An override is ``section.key=value``, the value in TOML's syntax or a bare word; ``section.key=`` takes the key out.
    Paths in the file are relative to the file's folder, those of overrides to ``folder`` (default: the current one).

    Raises:
        TinkexError: kind ``validation``: one sentence that names the file, the line where it can be told, section and
            key; an unknown one comes with the nearest that is known.
    """
    raw, text = read_tables(path)
    source = str(path)
    check_tables(raw, KNOWN, source, text)
    tables: Tables = {section: dict(table) for section, table in raw.items()}
    for section, key in _PATHS:
        _make_absolute(tables, section, key, path.absolute().parent, source)
    changed = _override(tables, overrides, folder or Path.cwd())
    run = tables.setdefault("run", {})
    run.setdefault("name", _name_of(path))
    run.setdefault("root", str((folder or Path.cwd()).absolute() / DEFAULT_ROOT))
    return TrainConfig(**_sections(tables, Source(source, text, changed)))


def _override(tables: Tables, overrides: Sequence[str], folder: Path) -> frozenset[str]:
    """Put the overrides into the tables; return what they name, as ``section.key``."""
    changed: set[str] = set()
    for override in overrides:
        section, key, value = parse_override(override)
        check_tables({section: {key: value}}, KNOWN, OVERRIDE)
        table = tables.setdefault(section, {})
        changed.add(f"{section}.{key}")
        if value is None:
            table.pop(key, None)
            continue
        table[key] = value
        if (section, key) in _PATHS:
            _make_absolute(tables, section, key, folder, OVERRIDE)
    return frozenset(changed)


def _sections(tables: Tables, source: Source) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for section, kind in _TYPES.items():
        try:
            made[section] = kind.from_dict(tables.get(section, {}))
        except TinkexError as error:
            raise source.located(error, section) from error
    schedule: Schedule = made["schedule"]
    training: TrainingSection = made["training"]
    misfit = schedule.check_for(training.updates) if training.updates is not None else None
    if misfit is not None:
        raise source.located(misfit, "schedule")
    return made


def _make_absolute(tables: Tables, section: str, key: str, folder: Path, source: str) -> None:
    value = tables.get(section, {}).get(key)
    if not isinstance(value, str) or not value.strip() or value in _NAMES.get(key, ()):
        return
    try:
        tables[section][key] = str(folder.absolute() / Path(value).expanduser())
    except RuntimeError as error:
        raise validation(f"{source}: {section}.{key}: {error}", field=f"{section}.{key}") from error


def _name_of(path: Path) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).lstrip(".")[:_MAX_NAME] or "run"


_NAMES: Final[Mapping[str, tuple[str, ...]]] = {"tokenizer": (SERVERS_TOKENIZER, BYTES_TOKENIZER)}
_MAX_NAME: Final = 100
