"""Point 6: an await of a reply blocks no event loop, whichever and however many they are."""

import asyncio
import contextvars
import gc
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from support_genserver import SECONDS, Block, Later, Ping, Probe, error_of, no_actor_left
from tinkex.actors import Deferred, GenRef, Pending
from tinkex.actors._genserver._here import WAKE_BATCH, Bridge
from tinkex.protocol import Ok, Result


@pytest.fixture
def probe() -> Iterator[GenRef]:
    with no_actor_left():
        ref = Probe.start()
        yield ref
        ref.kill()


async def test_loop_goes_on_while_a_reply_is_awaited(probe: GenRef) -> None:
    deferred = Deferred[int]()
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while turns < 50:
            turns += 1
            await asyncio.sleep(0)
        deferred.settle(Ok(turns))

    ticking = asyncio.create_task(tick())
    assert await asyncio.wait_for(_await(probe.ask(Later(deferred), block=False)), SECONDS) == Ok(50)
    await ticking


async def _await(reply: Pending[Any]) -> Any:
    return await reply


async def test_await_of_a_running_handler_leaves_the_loop_free(probe: GenRef) -> None:
    gate = threading.Event()
    reply = probe.ask(Block(gate), block=False)
    waiting = asyncio.create_task(_await(reply))
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.set()  # a blocking await would never come here
    assert await waiting == Ok(0)


async def test_settled_reply_is_awaited_at_once_and_again(probe: GenRef) -> None:
    reply = probe.ask(Ping(2), block=False)
    assert await reply == Ok(2)
    assert await reply == Ok(2)
    assert reply.get() == Ok(2)


async def test_proxied_call_and_gather_and_wait_for_work(probe: GenRef) -> None:
    client = probe.proxy()
    assert await client.add(1, second=2) == 3
    assert await asyncio.gather(*(client.add(n) for n in range(20))) == list(range(1, 21))
    assert await asyncio.wait_for(client.add(1), SECONDS) == 2


async def test_derived_replies_are_awaited_without_blocking(probe: GenRef) -> None:
    deferreds = [Deferred[int](), Deferred[int]()]
    first, second = (probe.ask(Later(deferred), block=False) for deferred in deferreds)
    joined = first.map(_number).join(second.map(_number))
    task = asyncio.create_task(_await(joined))
    await asyncio.sleep(0)
    assert not task.done()
    for number, deferred in enumerate(deferreds):
        deferred.settle(Ok(number))
    assert await task == [0, 1]


def _number(result: Result[int]) -> int:
    return result.unwrap()


def test_one_reply_is_awaited_on_many_loops_at_once(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    results: list[Any] = []
    started = threading.Barrier(5)

    def run() -> None:
        async def main() -> None:
            async with asyncio.TaskGroup() as group:
                for _ in range(100):
                    group.create_task(_await(reply)).add_done_callback(lambda task: results.append(task.result()))
                await asyncio.sleep(0)
                started.wait(SECONDS)

        asyncio.run(main())

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    started.wait(SECONDS)
    deferred.settle(Ok(1))
    for thread in threads:
        thread.join(SECONDS)
    assert results == [Ok(1)] * 400


async def test_cancelled_await_withdraws_a_request_that_was_not_taken_up(probe: GenRef) -> None:
    gate = threading.Event()
    probe.ask(Block(gate), block=False)
    reply = probe.ask(Ping(1), block=False)
    task = asyncio.create_task(_await(reply))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gate.set()
    error = error_of(await reply)
    assert (error.kind, error.data["outcome"]) == ("cancelled", "not_sent")


async def test_wait_for_that_runs_out_cancels(probe: GenRef) -> None:
    deferred = Deferred[int]()
    told: list[str] = []
    deferred.on_abandon(told.append)
    reply = probe.ask(Later(deferred), block=False)
    probe.ask(Ping(), block=False).add_done_callback(lambda _result: None)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(_await(reply), 0.01)
    assert told == ["cancelled"]


async def test_cancelled_await_leaves_the_request_alone_while_somebody_else_awaits_it(probe: GenRef) -> None:
    deferred = Deferred[int]()
    told: list[str] = []
    deferred.on_abandon(told.append)
    reply = probe.ask(Later(deferred), block=False)
    tasks = [asyncio.create_task(_await(reply)) for _ in range(1000)]
    assert await probe.ask(Ping(1), block=False) == Ok(1)
    for task in tasks[::2]:
        task.cancel()
    await asyncio.gather(*tasks[::2], return_exceptions=True)
    assert not told
    deferred.settle(Ok(5))
    assert await asyncio.gather(*tasks[1::2]) == [Ok(5)] * 500


async def test_cancelled_await_of_a_derived_reply_reaches_the_source_unless_that_is_awaited(probe: GenRef) -> None:
    for shared in (False, True):
        deferred = Deferred[int]()
        told: list[str] = []
        deferred.on_abandon(told.append)
        reply = probe.ask(Later(deferred), block=False)
        await probe.ask(Ping(), block=False)
        task = asyncio.create_task(_await(reply.map(_number)))
        other = asyncio.create_task(_await(reply)) if shared else None
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert told == ([] if shared else ["cancelled"])
        deferred.settle(Ok(1))
        assert other is None or await other == Ok(1)


async def test_races_of_timeout_and_reply_lose_nothing(probe: GenRef) -> None:
    done = timed_out = 0
    for turn in range(400):
        deferred = Deferred[int]()
        reply = probe.ask(Later(deferred), block=False)
        timer = threading.Timer(turn % 5 / 2000, deferred.settle, (Ok(turn),))
        timer.start()
        try:
            assert await asyncio.wait_for(_await(reply), 0.001) == Ok(turn)
            done += 1
        except TimeoutError:
            timed_out += 1
        timer.join()
    assert done + timed_out == 400


async def test_context_of_the_awaiting_task_is_its_own(probe: GenRef) -> None:
    variable = contextvars.ContextVar("variable", default=0)
    variable.set(1)
    deferred = Deferred[int]()
    threading.Timer(0.01, lambda: deferred.settle(Ok(variable.get()))).start()
    assert await probe.ask(Later(deferred), block=False) == Ok(0)
    assert variable.get() == 1


def test_reply_that_comes_after_its_loop_closed_harms_nobody(probe: GenRef) -> None:
    deferred = Deferred[int]()
    reply = probe.ask(Later(deferred), block=False)
    loop = asyncio.new_event_loop()
    task = loop.create_task(_await(reply))
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    assert deferred.settle(Ok(3))
    assert reply.get() == Ok(3)
    task.get_coro().close()
    setattr(task, "_log_destroy_pending", False)  # noqa: B010 - no checker knows it


def test_reply_that_comes_after_its_loop_is_gone_harms_nobody() -> None:
    loop = asyncio.new_event_loop()
    bridge = Bridge(loop)
    assert bridge.leads_to(loop)
    loop.close()
    del loop
    gc.collect()
    bridge.wake(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_wake_ups_come_many_at_a_time_but_leave_turns_to_others() -> None:
    loop = asyncio.get_running_loop()
    bridge = Bridge(loop)
    futures = [loop.create_future() for _ in range(3 * WAKE_BATCH)]
    futures[1].cancel()

    def wake() -> None:
        for future in futures:
            bridge.wake(future)

    thread = threading.Thread(target=wake)
    thread.start()
    thread.join(SECONDS)
    counts: list[int] = []
    while not all(future.done() for future in futures):
        await asyncio.sleep(0)
        counts.append(sum(future.done() for future in futures))
    assert max(after - before for before, after in zip([1, *counts], counts, strict=False)) <= WAKE_BATCH
    assert counts[-1] == 3 * WAKE_BATCH


async def test_many_awaits_are_settled_without_a_long_pause(probe: GenRef) -> None:
    deferreds = [Deferred[int]() for _ in range(2000)]
    waiting = [asyncio.ensure_future(_await(probe.ask(Later(deferred), block=False))) for deferred in deferreds]
    await probe.ask(Ping(), block=False)
    pauses: list[float] = []
    settling = threading.Thread(target=lambda: [deferred.settle(Ok(0)) for deferred in deferreds])
    settling.start()
    while not all(future.done() for future in waiting):
        before = time.perf_counter()
        await asyncio.sleep(0)
        pauses.append(time.perf_counter() - before)
    settling.join(SECONDS)
    assert max(pauses) < 1.0  # a blocking await of one reply would stop the loop for as long as that one takes
    assert {future.result() for future in waiting} == {Ok(0)}


def test_await_outside_of_a_loop_says_so(probe: GenRef) -> None:
    reply = probe.ask(Later(Deferred[int]()), block=False)
    with pytest.raises(RuntimeError, match="no running event loop"):
        next(iter(reply.__await__()))
