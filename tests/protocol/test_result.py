import copy
import pickle
from typing import assert_type

import pytest

from tinkex.protocol import Err, Ok, Result, TinkexError, validation


def half(number: int) -> Result[int]:
    return Err(validation(f"{number} is odd")) if number % 2 else Ok(number // 2)


def test_ok_carries_its_value_through_every_way_out() -> None:
    result = half(4)
    assert isinstance(result, Ok)
    assert result.value == result.unwrap() == result.unwrap_or(0) == 2
    assert result.is_ok
    assert result.map(str) == Ok("2")


def test_err_raises_its_own_error_and_gives_the_default() -> None:
    result = half(3)
    assert isinstance(result, Err)
    assert not result.is_ok
    assert result.unwrap_or(7) == 7
    with pytest.raises(TinkexError, match="3 is odd") as caught:
        result.unwrap()
    assert caught.value is result.error


def test_err_does_not_call_what_is_mapped() -> None:
    result: Result[int] = Err(validation("no"))
    assert result.map(lambda _: pytest.fail("called")) is result


def test_both_match_by_position_and_exhaust_the_result() -> None:
    def describe(result: Result[int]) -> str:
        match result:
            case Ok(value):
                assert_type(value, int)
                return f"ok {value}"
            case Err(error):
                assert_type(error, TinkexError)
                return error.kind

    assert describe(half(2)) == "ok 1"
    assert describe(half(1)) == "validation"


def test_types_of_the_ways_out() -> None:
    result = half(2)
    assert_type(result, Ok[int] | Err)
    assert_type(result.unwrap(), int)
    assert_type(half(2).map(str), Ok[str] | Err)


@pytest.mark.parametrize("result", [Ok(1), Err(validation("no", path="x"))])
def test_results_are_values(result: Result[int]) -> None:
    """Equal after copies and pickles, hashable, and not to be changed."""
    for twin in (copy.copy(result), copy.deepcopy(result), pickle.loads(pickle.dumps(result))):
        assert twin == result
        assert hash(twin) == hash(result)
    with pytest.raises(AttributeError):
        result.value = 2  # type: ignore[misc,union-attr] # pyright: ignore[reportAttributeAccessIssue]
