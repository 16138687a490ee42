"""Deleting the checkpoints of a run that nobody trains."""

import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from tinkex.actors._genserver._ref import GenRef
from tinkex.actors._runs._folder import RunFolder
from tinkex.actors._runs._retention import RetentionPlan
from tinkex.actors._runs._rows import RunRow
from tinkex.actors._runs._shelving import Shelved
from tinkex.actors._runs._store import RunStore, fenced
from tinkex.protocol import Err, Manifest, Result, TinkerPath, TinkexError, messages

_GONE: Final = frozenset({404, 410})


def seen_on_server(service: GenRef[Any], manifests: Mapping[str, Manifest]) -> set[str]:
    """Return the names of those manifests whose checkpoints the server lists. Blocking.

    Raises:
        TinkexError: the server does not answer.
    """
    paths: set[str] = set()
    for run_id in sorted({TinkerPath.parse(manifest.path).run_id for manifest in manifests.values()}):
        listed: Result[Any] = service.ask(messages.ListCheckpoints(run_id))
        if isinstance(listed, Err) and listed.error.status in _GONE:
            continue  # all of it is gone
        paths |= {item.tinker_path for item in listed.unwrap().checkpoints}
    return {name for name, manifest in manifests.items() if manifest.path in paths}


def prune_run(
    store: RunStore,
    row: RunRow,
    shelved: Shelved,
    plan: RetentionPlan,
    service: GenRef[Any],
    *,
    ttl_seconds: int | None,
    now: Callable[[], float] = time.time,
    told: Callable[[str, TinkexError | None], object] | None = None,
) -> list[str]:
    """Do what ``plan`` says: renew, and delete in two phases, from the server and from the run's folder. Blocking.

    Nothing is taken over: all of it is done in the name of the epoch that had the run last, so that it ends as soon as
    a trainer takes the run. A delete that was written down and not done is done by the next prune, or trainer.

    Args:
        store: that the run is in.
        row: the run, as it was when ``plan`` was made.
        shelved: its checkpoints then.
        plan: of ``plan_shelf``.
        service: a service client of the server that has the checkpoints.
        ttl_seconds: of a renewed checkpoint; None is never.
        now: epoch seconds.
        told: told of each checkpoint that was deleted or renewed, and why where it was not.

    Returns:
        The names of the manifests that are deleted.

    Raises:
        TinkexError: kind ``fenced``: a trainer has taken the run meanwhile; what is not done yet is left to it.
    """
    tell = told if told is not None else _silent
    for name in plan.renew:
        error = _error_of(service.ask(messages.SetCheckpointTtl(shelved.manifests[name].path, ttl_seconds)))
        if error is None and not store.renew(
            row.name, row.epoch, name, None if ttl_seconds is None else now() + ttl_seconds
        ):
            raise _fenced(store, row)
        tell(name, error)
    paths = {**shelved.retired, **{name: shelved.manifests[name].path for name in plan.delete}}
    return _delete(store, row, paths, plan.delete, service, tell)


def _delete(
    store: RunStore,
    row: RunRow,
    paths: Mapping[str, str],
    planned: Collection[str],
    service: GenRef[Any],
    tell: Callable[[str, TinkexError | None], object],
) -> list[str]:
    folder = RunFolder(store.root, row.name)
    done: list[str] = []
    for name, path in paths.items():
        if name in planned and not store.retire(row.name, row.epoch, name, path):
            current = store.run(row.name)
            if current is None or current.epoch != row.epoch:
                raise _fenced(store, row)
            tell(name, _kept_after_all(row.name, name))
            continue
        error = _error_of(service.ask(messages.DeleteCheckpoint(path)))
        if error is None:
            folder.remove_manifest(name)
            store.deleted(row.name, name)
            done.append(name)
        tell(name, error)
    return done


def _error_of(result: Result[Any]) -> TinkexError | None:
    return result.error if isinstance(result, Err) and result.error.status not in _GONE else None


def _fenced(store: RunStore, row: RunRow) -> TinkexError:
    current = store.run(row.name)
    return fenced(row.name, row.epoch, row.epoch if current is None else current.epoch)


def _kept_after_all(run: str, name: str) -> TinkexError:
    return TinkexError(
        f"the checkpoint {name} of run {run!r} was pinned meanwhile, or the run goes on from it",
        kind="conflict",
        category="user",
        data={"run": run, "manifest": name},
    )


def _silent(_name: str, _error: TinkexError | None) -> None:
    """Tell nobody."""
