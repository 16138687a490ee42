"""The gate of requests in flight: first come, first served, and nobody starves."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given

from tinkex.actors._transport._fair_gate import FairGate, Place

STEPS = st.lists(st.one_of(st.integers(0, 15), st.none()), max_size=80)
"""A number asks for a place of that size; None gives one back."""


@given(st.integers(1, 5), st.one_of(st.none(), st.integers(1, 10)), STEPS, st.randoms(use_true_random=False))
def test_the_limits_hold_the_order_is_that_of_asking_and_all_get_in(
    places: int, size: int | None, steps: list[int | None], rng: Any
) -> None:
    gate = FairGate(places, size)
    asked, entered, here = list[Place](), list[Place](), list[Place]()

    def check() -> None:
        inside = [place for place in here if place.entered]
        assert len(inside) == gate.inside <= places
        assert sum(place.size for place in inside) == gate.bytes_inside
        assert size is None or gate.bytes_inside <= size or len(inside) == 1, "too large a body goes alone"
        assert gate.waiting == len(here) - len(inside)
        assert not gate.waiting or inside, "where nobody is inside, nobody waits"

    def give_back(place: Place) -> None:
        here.remove(place)
        if not place.entered:
            asked.remove(place)
        gate.give_back(place)

    for step in steps:
        if step is not None:
            place = gate.ask(step)
            asked.append(place)
            here.append(place)
            if place.entered:
                entered.append(place)
            else:
                place.wake = lambda place=place: entered.append(place)
        elif here:
            give_back(rng.choice(here))
        check()
    while here:
        give_back(next(place for place in here if place.entered))
        check()
    assert entered == asked, "in order of asking, whoever did not leave the queue"
    assert (gate.inside, gate.bytes_inside, gate.waiting) == (0, 0, 0)


def test_a_large_body_is_not_overtaken_by_small_ones() -> None:
    gate = FairGate(10, 100)
    first, large, small = gate.ask(60), gate.ask(60), gate.ask(1)
    assert (first.entered, large.entered, small.entered) == (True, False, False)
    gate.give_back(first)
    assert (large.entered, small.entered) == (True, True)


def test_a_body_larger_than_the_whole_budget_goes_alone() -> None:
    gate = FairGate(10, 100)
    small, huge, behind = gate.ask(1), gate.ask(1000), gate.ask(1)
    assert not huge.entered
    gate.give_back(small)
    assert huge.entered
    assert not behind.entered
    gate.give_back(huge)
    assert behind.entered


def test_whoever_leaves_the_queue_holds_nobody_up() -> None:
    gate = FairGate(1)
    inside, leaves, stays = gate.ask(), gate.ask(), gate.ask()
    gate.give_back(leaves)
    gate.give_back(inside)
    assert stays.entered
    assert not leaves.entered


def test_narrower_limits_hold_for_those_who_come_later() -> None:
    gate = FairGate(3)
    inside = [gate.ask() for _ in range(3)]
    gate.places = 1
    waits = gate.ask()
    gate.give_back(inside[0])
    gate.give_back(inside[1])
    assert not waits.entered
    gate.give_back(inside[2])
    assert waits.entered
