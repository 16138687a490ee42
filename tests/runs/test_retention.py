"""Retention: what the run needs is never deleted, whatever the policy, and nothing is while nothing is verified."""

import math
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from support_run_store import a_manifest
from tinkex.actors._runs._retention import RetentionPlan, plan_retention
from tinkex.protocol import Manifest, RetentionPolicy, manifest_name

name = manifest_name

MANIFESTS = st.dictionaries(
    st.tuples(st.integers(1, 3), st.integers(0, 12)),
    st.tuples(
        st.dictionaries(st.sampled_from(["loss", "acc"]), st.floats(), max_size=2), st.none() | st.floats(0, 200)
    ),
    max_size=10,
).map(
    lambda found: [
        a_manifest(epoch, update, metrics=metrics, expires=expires)
        for (epoch, update), (metrics, expires) in found.items()
    ]
)
POLICIES = st.builds(
    RetentionPolicy,
    keep_last=st.none() | st.integers(1, 4),
    keep_best=st.integers(0, 3),
    metric=st.sampled_from(["loss", "acc"]),
    keep_every=st.none() | st.integers(1, 5),
)


def plan(manifests: list[Manifest], policy: RetentionPolicy | None = None, **given_: Any) -> RetentionPlan:
    fields: dict[str, Any] = {
        "latest": None,
        "restoring": None,
        "pinned": set(),
        "verified": {manifest.name for manifest in manifests},
        "now": 0.0,
        "ttl_seconds": None,
        **given_,
    }
    return plan_retention(manifests, policy or RetentionPolicy(keep_last=1), **fields)


def kept(result: RetentionPlan) -> list[str]:
    return [item for item, _ in result.keep]


@given(st.data(), MANIFESTS, POLICIES)
def test_the_laws_hold_for_every_policy_and_every_state(
    data: st.DataObject, manifests: list[Manifest], policy: RetentionPolicy
) -> None:
    names = [manifest.name for manifest in manifests]
    some = st.sets(st.sampled_from(names)) if names else st.just(set[str]())
    one = st.sampled_from([None, *names, name(9, 9)])
    now = data.draw(st.floats(0, 200))
    ttl = data.draw(st.none() | st.integers(1, 200))
    state: dict[str, Any] = {
        "latest": data.draw(one),
        "restoring": data.draw(one),
        "pinned": data.draw(some),
        "verified": data.draw(some),
        "now": now,
        "ttl_seconds": ttl,
        "expiries": {item: data.draw(st.none() | st.floats(0, 200)) for item in data.draw(some)},
        "resumable": data.draw(st.none() | some),
    }
    result = plan_retention(manifests, policy, **state)
    by_name = {manifest.name: manifest for manifest in manifests}
    expires = {item: state["expiries"].get(item, by_name[item].expires) for item in names}
    alive = {item for item in names if expires[item] is None or expires[item] > now}
    if not state["verified"] <= alive:
        alive = set(names)  # the clock is wrong
    assert sorted(kept(result) + result.delete) == sorted(names)
    assert not {state["latest"], state["restoring"], *state["pinned"]} & set(result.delete)
    resumable = set(names) if state["resumable"] is None else state["resumable"]
    if result.delete:
        assert set(kept(result)) & alive & state["verified"] & resumable
        assert policy.keep_last is not None
    assert set(result.renew) == {
        item
        for item in kept(result)
        if item in alive
        and expires[item] is not None
        and (ttl is None or not ttl / 2 <= expires[item] - now <= ttl * 9 / 8)
    }
    assert all(why for _, why in result.keep)
    again = plan_retention([by_name[item] for item in kept(result)], policy, **state)
    assert again.delete == []  # a plan that was carried out asks for nothing more
    assert plan_retention(manifests[::-1], policy, **state) == result


@given(MANIFESTS)
def test_the_default_keeps_all(manifests: list[Manifest]) -> None:
    result = plan(manifests, RetentionPolicy(keep_best=1, keep_every=2), now=500.0)
    assert result.delete == []
    assert {why for _, why in result.keep} <= {"the policy keeps all"}


def test_each_rule_keeps_its_own_and_says_so() -> None:
    losses = {10: 3.0, 20: 0.5, 30: 2.0, 40: 1.5, 50: 1.0}
    manifests = [a_manifest(1, update, metrics={"loss": loss}) for update, loss in losses.items()]
    result = plan(manifests, RetentionPolicy(keep_last=1, keep_best=1, keep_every=30))
    assert result.keep == [
        (name(1, 20), "it is one of the best 1 by loss"),
        (name(1, 30), "its update is a multiple of 30"),
        (name(1, 50), "it is one of the last 1"),
    ]
    assert result.delete == [name(1, 10), name(1, 40)]
    result = plan(manifests, latest=name(1, 10), restoring=name(1, 20), pinned={name(1, 30)})
    assert result.keep == [
        (name(1, 10), "the run goes on from it"),
        (name(1, 20), "it is being restored"),
        (name(1, 30), "it is pinned"),
        (name(1, 50), "it is one of the last 1"),
    ]


def test_a_metric_that_is_missing_or_no_number_is_the_worst_and_of_equals_the_newest_is_kept() -> None:
    metrics = [{"loss": math.nan}, {}, {"loss": math.inf}, {"loss": 2.0}, {"loss": 2.0}, {"acc": 0.0}]
    manifests = [a_manifest(1, update, metrics=values) for update, values in enumerate(metrics)]
    manifests.append(a_manifest(2, 0))
    for count, best in [(1, [4]), (2, [3, 4]), (3, [2, 3, 4]), (4, [2, 3, 4]), (5, [2, 3, 4, 5])]:
        result = plan(manifests, RetentionPolicy(keep_last=1, keep_best=count))
        assert kept(result) == [name(1, update) for update in best] + [name(2, 0)]


def test_nothing_is_deleted_while_nothing_is_verified() -> None:
    manifests = [a_manifest(1, update) for update in (1, 2, 3)]
    result = plan(manifests, verified=set())
    assert result.delete == []
    assert result.keep[0] == (name(1, 1), "no other one is verified")


def test_the_newest_verified_one_is_kept_where_the_rules_keep_none() -> None:
    manifests = [a_manifest(1, update) for update in (1, 2, 3, 4)]
    result = plan(manifests, verified={name(1, 1), name(1, 2)})
    assert result.keep == [
        (name(1, 2), "it is the newest one that is verified"),
        (name(1, 4), "it is one of the last 1"),
    ]
    assert result.delete == [name(1, 1), name(1, 3)]


def test_a_checkpoint_of_a_branch_that_was_left_does_not_count_as_a_way_back() -> None:
    manifests = [a_manifest(1, 1), a_manifest(1, 9), a_manifest(2, 2)]
    result = plan(manifests, verified={name(1, 1), name(1, 9)}, resumable={name(1, 1), name(2, 2)}, pinned={name(1, 9)})
    assert kept(result) == [name(1, 1), name(1, 9), name(2, 2)]


def test_what_the_server_has_deleted_takes_no_place_of_what_is_there() -> None:
    manifests = [a_manifest(1, update, expires=expires) for update, expires in [(1, None), (2, 50.0), (3, 60.0)]]
    result = plan(manifests, RetentionPolicy(keep_last=1), now=100.0, verified={name(1, 1)})
    assert kept(result) == [name(1, 1)]
    assert result.delete == [name(1, 2), name(1, 3)]
    renewed: dict[str, Any] = {"expiries": {name(1, 3): 300.0}, "verified": {name(1, 3)}}
    result = plan(manifests, RetentionPolicy(keep_last=1), now=100.0, ttl_seconds=500, **renewed)
    assert kept(result) == result.renew == [name(1, 3)]


def test_kept_ones_are_renewed_when_half_of_their_time_has_passed() -> None:
    manifests = [a_manifest(1, update, expires=expires) for update, expires in [(1, 149.0), (2, 150.0), (3, None)]]
    policy = RetentionPolicy()
    assert plan(manifests, policy, now=100.0, ttl_seconds=100).renew == [name(1, 1)]
    assert plan(manifests, policy, now=100.0).renew == [name(1, 1), name(1, 2)]  # they are kept for ever now
    there = {name(1, 2), name(1, 3)}
    assert plan(manifests, policy, now=149.0, ttl_seconds=100, verified=there).renew == [name(1, 2)]


@given(MANIFESTS)
@example([])
def test_a_plan_travels_as_json(manifests: list[Manifest]) -> None:
    result = plan(manifests)
    assert msgspec.json.decode(msgspec.json.encode(result), type=RetentionPlan) == result
