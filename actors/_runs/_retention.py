"""Which checkpoints of a run are kept, deleted and renewed. Pure."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import msgspec

from tinkex.protocol import Manifest, RetentionPolicy

_SKEW: Final = 1.0 / 8.0
"""Of a checkpoint's life, by how much the server's clock may differ from this one."""


class RetentionPlan(msgspec.Struct, frozen=True):
    """What a policy makes of the checkpoints of a run, by the names of their manifests, oldest first."""

    keep: list[tuple[str, str]]
    """Those that are kept, and why, in words."""
    delete: list[str]
    renew: list[str]
    """Kept ones that the server would delete too soon: they are to get the whole ``ttl_seconds`` anew."""


def plan_retention(
    manifests: Sequence[Manifest],
    policy: RetentionPolicy,
    *,
    latest: str | None,
    restoring: str | None,
    pinned: Collection[str],
    verified: Collection[str],
    now: float,
    ttl_seconds: int | None,
    expiries: Mapping[str, float | None] | None = None,
    resumable: Collection[str] | None = None,
) -> RetentionPlan:
    """Say what is kept, deleted and renewed.

    Never deleted are ``latest``, ``restoring`` and what is pinned; and nothing is deleted unless a checkpoint is kept
    that is verified, can be resumed from, and has not expired. Where the rules keep none of these, the newest is kept.
    Where one that is verified should have expired, the clocks disagree, and none counts as expired.

    Args:
        manifests: all of the run that are whole and not being deleted, in any order.
        policy: the rules.
        latest: the manifest that the run goes on from.
        restoring: the one that is being restored.
        pinned: names that are kept whatever the rules say.
        verified: names of which it was seen that the server still has them.
        now: epoch seconds.
        ttl_seconds: of each checkpoint from its renewal; None is never, and then those are renewed that would expire.
        expiries: when renewed checkpoints expire, in the place of what their manifests say.
        resumable: names that the run descends from; None counts all.
    """
    known = {manifest.name: manifest for manifest in manifests}
    order = sorted(known, key=lambda name: (known[name].epoch, known[name].update))
    expires = {name: (expiries or {}).get(name, known[name].expires) for name in order}
    late = {name for name in order if _expired(expires[name], now)}
    # What was just seen and should be gone says that this clock, or the server's, is wrong: by it nothing is late.
    alive = order if late.intersection(verified) else [name for name in order if name not in late]
    why: dict[str, str] = {}
    for name, reason in [
        *((name, "the run goes on from it") for name in order if name == latest),
        *((name, "it is being restored") for name in order if name == restoring),
        *((name, "it is pinned") for name in order if name in pinned),
        *_ruled([known[name] for name in (order if policy.keep_last is None else alive)], policy),
    ]:
        why.setdefault(name, reason)
    good = [name for name in alive if name in verified and (resumable is None or name in resumable)]
    if good and not any(name in why for name in good):
        why[good[-1]] = "it is the newest one that is verified"
    if not good:
        for name in order:
            why.setdefault(name, "no other one is verified")
    keep = [(name, why[name]) for name in order if name in why]
    renew = [name for name, _ in keep if name in set(alive) and _runs_short(expires[name], now, ttl_seconds)]
    return RetentionPlan(keep, [name for name in order if name not in why], renew)


def _ruled(manifests: Sequence[Manifest], policy: RetentionPolicy) -> list[tuple[str, str]]:
    """Return what the rules keep of ``manifests``, which are sorted by age, oldest first."""
    if policy.keep_last is None:
        return [(manifest.name, "the policy keeps all") for manifest in manifests]
    kept = [(manifest.name, f"it is one of the last {policy.keep_last}") for manifest in manifests[-policy.keep_last :]]
    best = sorted(manifests, key=lambda manifest: _badness(manifest, policy.metric))[: policy.keep_best]
    kept += [(manifest.name, f"it is one of the best {policy.keep_best} by {policy.metric}") for manifest in best]
    every = policy.keep_every
    if every is not None:
        reason = f"its update is a multiple of {every}"
        kept += [(manifest.name, reason) for manifest in manifests if manifest.update % every == 0]
    return kept


def _badness(manifest: Manifest, metric: str) -> tuple[bool, float, int, int]:
    """Return what sorts the best first, and the newest of equals."""
    value = manifest.metrics.get(metric, math.nan)
    worst = math.isnan(value)
    return worst, 0.0 if worst else value, -manifest.epoch, -manifest.update


def _expired(expires: float | None, now: float) -> bool:
    return expires is not None and expires <= now


def _runs_short(expires: float | None, now: float, ttl_seconds: int | None) -> bool:
    if expires is None or ttl_seconds is None:
        return expires is not None
    # More than all of it is left by clocks that disagree only: how much there is in truth cannot be told.
    return not ttl_seconds / 2 <= expires - now <= ttl_seconds * (1.0 + _SKEW)
