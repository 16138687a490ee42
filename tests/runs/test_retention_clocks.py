"""Clocks that disagree, or jump: what the server still has is renewed in time, and never deleted for being late."""

from typing import Any

import pytest

from support_run_store import a_manifest
from tinkex.actors._runs._retention import plan_retention
from tinkex.protocol import Manifest, RetentionPolicy, manifest_name

TTL = 3600
KEEP = RetentionPolicy(keep_last=3)


def saved(server: float, *updates: int) -> list[Manifest]:
    """Manifests of checkpoints that the server keeps for an hour from ``server``, by its clock."""
    return [a_manifest(1, update, expires=server + TTL) for update in updates]


def plan(manifests: list[Manifest], now: float, **more: Any) -> tuple[list[str], list[str]]:
    newest = manifests[-1].name
    fields: dict[str, Any] = {"latest": newest, "restoring": None, "pinned": (), "verified": {newest}, **more}
    made = plan_retention(manifests, KEEP, now=now, ttl_seconds=TTL, **fields)
    return made.delete, made.renew


@pytest.mark.parametrize("ahead", [TTL + 1.0, 10.0 * TTL, 1e9])
def test_a_clock_that_is_far_ahead_deletes_nothing_that_the_policy_keeps_and_renews_all(ahead: float) -> None:
    delete, renew = plan(saved(1e9, 10, 20, 30), now=1e9 + ahead)
    assert delete == []
    assert renew == [manifest_name(1, update) for update in (10, 20, 30)]


@pytest.mark.parametrize("behind", [TTL / 4, TTL, 1e9])
def test_a_clock_that_is_behind_renews_before_it_is_too_late(behind: float) -> None:
    _, renew = plan(saved(1e9, 10), now=1e9 - behind)
    assert renew == [manifest_name(1, 10)]


@pytest.mark.parametrize("skew", [-60.0, 0.0, 60.0])
def test_clocks_that_agree_well_enough_renew_nothing_that_is_new(skew: float) -> None:
    assert plan(saved(1e9, 10, 20), now=1e9 + skew) == ([], [])


def test_what_was_not_seen_on_the_server_and_is_late_is_gone() -> None:
    late, new = saved(1e9, 10), saved(1e9 + 2 * TTL, 20)
    assert plan([*late, *new], now=1e9 + 2 * TTL) == ([manifest_name(1, 10)], [])
