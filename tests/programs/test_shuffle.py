"""Each pass has its own order, the same on every machine, and no row is in it twice."""

from collections import Counter
from itertools import permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tinkex.actors._programs._shuffle import Shuffle


def order(rows: int, seed: int, number: int) -> list[int]:
    shuffle = Shuffle(rows, seed, number)
    return [shuffle[place] for place in range(len(shuffle))]


@given(st.integers(0, 400), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
@example(0, 0, 0)
@example(1, 0, 0)
@example(2, 0, 0)
def test_every_row_is_in_a_pass_exactly_once(rows: int, seed: int, number: int) -> None:
    assert sorted(order(rows, seed, number)) == list(range(rows))


@given(st.integers(1, 2**63), st.data())
def test_places_of_data_of_any_size_lead_to_rows_and_no_two_to_one(rows: int, data: st.DataObject) -> None:
    shuffle = Shuffle(rows, 7, 1)
    places = data.draw(st.sets(st.integers(0, rows - 1), min_size=1, max_size=5))
    found = {shuffle[place] for place in places}
    assert len(found) == len(places)
    assert all(0 <= row < rows for row in found)


def test_the_order_is_the_one_it_has_always_been() -> None:
    assert order(10, 7, 0) == [5, 9, 3, 6, 8, 4, 7, 1, 0, 2]
    assert [Shuffle(10**12, 7, 3)[place] for place in range(3)] == [869199646517, 575314190416, 452056953100]


def test_seeds_and_passes_have_orders_of_their_own() -> None:
    orders = {tuple(order(50, seed, number)) for seed in range(12) for number in range(12)}
    assert len(orders) == 144, "1 with 12 and 11 with 2 must not be taken for the same either"


def test_every_order_of_a_few_rows_comes_up_about_as_often_as_any_other() -> None:
    count = Counter(tuple(order(4, seed, 0)) for seed in range(2400))
    assert set(count) == set(permutations(range(4)))
    assert min(count.values()) >= 50, count
    assert max(count.values()) <= 160, count


def test_every_row_comes_first_about_as_often_as_any_other() -> None:
    first = Counter(Shuffle(11, 3, number)[0] for number in range(2200))
    assert set(first) == set(range(11))
    assert min(first.values()) >= 140, first
    assert max(first.values()) <= 260, first


@pytest.mark.parametrize("place", [-1, 3])
def test_a_place_that_is_none_is_said(place: int) -> None:
    with pytest.raises(IndexError, match="an order of 3 rows"):
        Shuffle(3, 0, 0)[place]
