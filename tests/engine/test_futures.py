"""Results that come later."""

import asyncio

import pytest

from support_engine import Clock
from tinkex.engine._base._errors import OperationFailed
from tinkex.engine._service._futures import Futures
from tinkex.protocol import wire

RESULT = wire.OptimStepResult({"x:sum": 1.0})


async def test_a_wait_ends_with_the_result_or_with_its_time() -> None:
    """Reading is repeatable, overlapping waits all get it, and open waits are counted."""
    futures = Futures(Clock(), 60.0)
    request_id = futures.open("o")
    assert await futures.wait(request_id, 0.001) is None
    waits = [asyncio.create_task(futures.wait(request_id, 20.0)) for _ in range(2)]
    await asyncio.sleep(0)
    assert futures.polls == 2
    futures.settle(request_id, RESULT)
    assert await asyncio.gather(*waits) == [RESULT, RESULT]
    assert futures.polls == 0
    assert await futures.wait(request_id, 0.001) == RESULT


async def test_the_first_outcome_stays() -> None:
    """Whatever is told later."""
    futures = Futures(Clock(), 60.0)
    request_id = futures.open("o")
    futures.settle(request_id, RESULT)
    futures.settle(request_id, OperationFailed("late"))
    assert await futures.wait(request_id, 1.0) == RESULT


@pytest.mark.parametrize(("code", "extra"), [(None, {}), ("exists", {"code": "exists"})])
async def test_a_failure_is_readable_both_ways(code: str | None, extra: dict[str, str]) -> None:
    """With the category inside and outside, for all known clients."""
    futures = Futures(Clock(), 60.0)
    request_id = futures.open("o")
    futures.settle(request_id, OperationFailed("boom", "user", code))
    answer = await futures.wait(request_id, 1.0)
    assert isinstance(answer, wire.FailedFuture)
    assert answer == wire.FailedFuture({"message": "boom", "category": "user", **extra}, "user", "failed")


async def test_time_forgets_what_was_read_and_at_last_what_was_not() -> None:
    """A result can be asked for again for a while; an unread one is kept for a day, a pending one for ever."""
    clock = Clock()
    futures = Futures(clock, 60.0)
    read, unread, pending = futures.open("o"), futures.open("o"), futures.open("o")
    futures.settle(read, RESULT)
    futures.settle(unread, RESULT)
    await futures.wait(read, 1.0)
    clock.now += 59.0
    await futures.wait(read, 1.0)
    futures.sweep()
    assert futures.known(read, "o")
    clock.now += 1.0
    futures.sweep()
    assert not futures.known(read, "o")
    assert futures.known(unread, "o")
    clock.now += 24 * 3600.0
    futures.sweep()
    assert not futures.known(unread, "o")
    assert futures.known(pending, "o")


async def test_release_ends_all_waits_without_a_result() -> None:
    """The engine's end holds nobody up, and later waits return at once."""
    futures = Futures(Clock(), 60.0)
    request_id = futures.open("o")
    waiting = asyncio.create_task(futures.wait(request_id, 20.0))
    await asyncio.sleep(0)
    futures.release()
    assert await waiting is None
    assert await futures.wait(request_id, 20.0) is None
