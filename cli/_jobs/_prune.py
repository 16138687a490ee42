"""``tinkex prune`` and ``tinkex pin``: which checkpoints of a run are kept."""

import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from tinkex.actors import RunStore
from tinkex.actors._runs._command import presence_of
from tinkex.actors._runs._retention import RetentionPlan
from tinkex.actors._runs._rows import RunRow
from tinkex.actors._runs._shelving import Shelved, find_checkpoint, plan_shelf, read_shelf
from tinkex.actors._trainer._prune import prune_run, seen_on_server
from tinkex.cli._base._fail import BAD_INPUT, NO_SERVER, Failure
from tinkex.cli._base._words import plural, span
from tinkex.cli._config._kept import read_kept, train_config
from tinkex.cli._config._roots import open_store, root_of, row_of
from tinkex.cli._jobs._owners import refuse_living
from tinkex.cli._servers._server import open_service, probe, serving
from tinkex.protocol import RetentionPolicy, TinkexError


class Rules(NamedTuple):
    """What the command line says of the policy; None is what the run's configuration says."""

    keep_last: int | None = None
    keep_best: int | None = None
    keep_every: int | None = None
    metric: str | None = None

    def over(self, policy: RetentionPolicy) -> RetentionPolicy:
        """Return the policy with these rules in place of its own.

        Raises:
            Failure: a rule is wrong.
        """
        told = {name: value for name, value in self._asdict().items() if value is not None}
        try:
            return msgspec.structs.replace(policy, **told)
        except TinkexError as error:
            raise Failure(error.message, BAD_INPUT) from error


def run_prune(name: str, root: Path | None, rules: Rules, *, base_url: str | None, really: bool) -> None:
    """Print what the policy keeps, deletes and renews of a run; with ``really``, do it.

    Raises:
        Failure: there is no such run, the server cannot be used, or, with ``really``, a process may train it.
    """
    folder = root_of(root)
    with open_store(folder) as store:
        row = row_of(store, name)
        kept = read_kept(row)
        config = train_config(row, kept)
        policy = rules.over(config.retention)
        ttl = config.checkpoints.ttl_seconds
        if really:
            refuse_living(row, folder)
        elif kept.engine and base_url is None and presence_of(row) == "alive":
            raise Failure(
                f"the run {name!r} is being trained, and its engine is busy with it: stop it first", BAD_INPUT
            )
        shelved = read_shelf(store, row)
        if not shelved.manifests and not shelved.retired:
            print(f"{name}: there are no checkpoints")
            return
        insecure = config.server.allow_insecure
        with serving(base_url or kept.base_url, kept.engine and base_url is None, folder) as url:
            probe(url, allow_insecure=insecure)
            with open_service(url, allow_insecure=insecure) as service:
                try:
                    verified = seen_on_server(service, shelved.manifests)
                except TinkexError as error:
                    raise Failure(
                        f"the server at {url} does not list checkpoints: {error.message}", NO_SERVER
                    ) from error
                plan = plan_shelf(store, row, shelved, policy, verified=verified, now=time.time(), ttl_seconds=ttl)
                _show(shelved, plan, verified)
                if not really:
                    print("nothing was done; the same with --yes does it")
                    return
                failed: list[str] = []
                done = prune_run(
                    store,
                    row,
                    shelved,
                    plan,
                    service,
                    ttl_seconds=ttl,
                    told=lambda which, why: _told(which, why, failed),
                )
    print(f"{name}: {plural(len(done), 'checkpoint')} deleted, {len(plan.renew)} renewed")
    if failed:
        raise Failure(f"{plural(len(failed), 'checkpoint')} could not be dealt with; say it again later")


def run_pin(name: str, word: str, root: Path | None, *, remove: bool) -> None:
    """Keep a checkpoint whatever the policy says, or no longer.

    Raises:
        Failure: there is no such run or checkpoint, or it is being deleted.
    """
    with open_store(root_of(root)) as store:
        row = row_of(store, name)
        manifest = _find(store, row, word)
        store.pin(name, manifest, not remove)
        pins = sorted(store.pins(name))
    kept = "is no longer pinned" if remove else "is pinned: no policy deletes it"
    print(f"{name}: {manifest} {kept}; pinned are: {', '.join(pins) or 'none'}")


def _find(store: RunStore, row: RunRow, word: str) -> str:
    shelved = read_shelf(store, row)
    found = find_checkpoint(shelved, word)
    if found is not None:
        return found
    known = ", ".join(shelved.resumable[:_MOST]) or "none"
    raise Failure(f"the run {row.name!r} has no checkpoint {word!r}; its newest are {known}", BAD_INPUT)


def _show(shelved: Shelved, plan: RetentionPlan, verified: set[str]) -> None:
    now = time.time()
    for name, why in plan.keep:
        expires = shelved.manifests[name].expires
        notes = [why] if name in verified else [why, "the server does not list it"]
        if name in plan.renew:
            notes.append("to be renewed")
        elif expires is not None and expires > now:
            notes.append(f"expires in {span(expires - now)}")
        print(f"keep    {name}  update {shelved.manifests[name].update}: {', '.join(notes)}")
    for name in plan.delete:
        print(f"delete  {name}  update {shelved.manifests[name].update}: {shelved.manifests[name].path}")
    for name, path in shelved.retired.items():
        print(f"delete  {name}  was begun: {path}")
    for name, why in shelved.broken.items():
        print(f"skip    {name}  {why}")


def _told(name: str, error: TinkexError | None, failed: list[str]) -> None:
    if error is not None:
        failed.append(name)
        print(f"left    {name}  {error.message}")


_MOST = 8
