"""What a retention policy would make of a run, without doing it."""

from collections.abc import Collection
from typing import NamedTuple

from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._retention import RetentionPlan, plan_retention
from tinkex.actors._runs._rows import RunRow
from tinkex.actors._runs._store import RunStore
from tinkex.protocol import Manifest, Ok, RetentionPolicy, TinkexError


class Shelved(NamedTuple):
    """The checkpoints of a run."""

    manifests: dict[str, Manifest]
    """All that are whole and not being deleted, by name; those of branches that were left among them."""
    resumable: list[str]
    """Names that the run descends from, newest first."""
    broken: dict[str, str]
    """Names of manifests that cannot be read, and why."""
    retired: dict[str, str]
    """Names of those that are being deleted, and the paths of their checkpoints."""


def read_shelf(store: RunStore, row: RunRow) -> Shelved:
    """Read which checkpoints a run has. Blocking; from any thread or process.

    Raises:
        TinkexError: kind ``run_failed``: the disk refuses.
    """
    folder = RunFolder(store.root, row.name)
    retired = store.retired(row.name)
    lineage = folder.lineage(row.latest, store.began(row.name), retired)
    resumable = [name for name, found in lineage if isinstance(found, Ok)]
    manifests: dict[str, Manifest] = {}
    broken: dict[str, str] = {}
    for name in folder.manifest_names():
        if name in retired:
            continue
        try:
            manifests[name] = folder.read_manifest(name)
        except TinkexError as error:
            broken[name] = error.message
    return Shelved(manifests, resumable, broken, retired)


def plan_shelf(
    store: RunStore,
    row: RunRow,
    shelved: Shelved,
    policy: RetentionPolicy,
    *,
    verified: Collection[str],
    now: float,
    ttl_seconds: int | None,
) -> RetentionPlan:
    """Say what ``policy`` keeps, deletes and renews of a run; see ``plan_retention``. Changes nothing.

    Raises:
        TinkexError: the store cannot be read.
    """
    return plan_retention(
        list(shelved.manifests.values()),
        policy,
        latest=row.latest,
        restoring=row.restoring,
        pinned=store.pins(row.name),
        verified=verified,
        now=now,
        ttl_seconds=ttl_seconds,
        expiries=store.expiries(row.name),
        resumable=shelved.resumable,
    )


def find_checkpoint(shelved: Shelved, word: str) -> str | None:
    """Return the manifest that ``word`` means: its name, or an update, of which the newest that the run descends from.

    None where there is none.
    """
    if word in shelved.manifests:
        return word
    update = int(word) if word.isdecimal() and word.isascii() else None
    others = sorted(set(shelved.manifests) - set(shelved.resumable), reverse=True)
    return next((name for name in [*shelved.resumable, *others] if shelved.manifests[name].update == update), None)
