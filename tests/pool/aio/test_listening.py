"""Subscriptions of tasks: what is cancelled, dropped, awaited, entered, or done by coroutines."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool.subscribing import NEVER_CLOSED
from tests.pool.support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.loops import Runner

Event = Any


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def notify(pool: pgwire.AsyncPool, *payloads: object) -> None:
    for payload in payloads:
        await pool.query("select pg_notify('news', $1)", [str(payload)])


async def test_it_begins_when_it_is_awaited_entered_or_asked(dsn: str, runner: Runner) -> None:
    async with pgwire.AsyncPool(dsn) as pool:
        waiting = pool.listen("news")
        assert pool.total_count == 0
        awaited = await waiting
        assert awaited is waiting
        async with pool.listen("news") as entered:
            asked = pool.listen("news")
            task = asyncio.ensure_future(anext(asked))
            await until(lambda: "live" in repr(asked))
            await notify(pool, "a")
            for event in (await task, await anext(awaited), await anext(entered)):
                assert isinstance(event, pgwire.Notification)
                assert event.payload == "a"
        await asked.close()
        await awaited.close()


async def test_cancelling_a_step_loses_nothing(dsn: str, runner: Runner) -> None:
    count = 200
    async with pgwire.AsyncPool(dsn) as pool, pool.listen("news") as subscription:
        sender = asyncio.create_task(notify(pool, *range(count)))
        found: list[str] = []
        cancelled = 0
        while len(found) < count:
            task: asyncio.Task[Event] = asyncio.ensure_future(anext(subscription))
            for _ in range(cancelled % 4):
                await asyncio.sleep(0)
            task.cancel()
            try:
                found.append((await task).payload)
            except asyncio.CancelledError:
                cancelled += 1
                await asyncio.sleep(0)
        await sender
        assert cancelled
        assert found == [str(n) for n in range(count)]


async def test_cancelling_its_beginning_leaves_nothing(dsn: str, runner: Runner) -> None:
    async with pgwire.AsyncPool(dsn) as pool:
        for turns in range(12):
            subscription = pool.listen("news")
            task = asyncio.ensure_future(anext(subscription))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if "live" in repr(subscription):  # it was the step behind it
                await subscription.close()
            await until(lambda: pool.stats().leased == 0 and pool.waiting_count == 0)
            if turns:
                with pytest.raises(StopAsyncIteration):
                    await anext(subscription)
        assert (await pool.query("select 1")).scalar() == 1


async def test_several_tasks_may_begin_it_together(dsn: str, runner: Runner) -> None:
    async with pgwire.AsyncPool(dsn) as pool:
        subscription = pool.listen("news")
        tasks = [asyncio.ensure_future(anext(subscription)) for _ in range(3)]
        await until(lambda: "live" in repr(subscription))
        await notify(pool, 1, 2, 3)
        found: list[Event] = await asyncio.gather(*tasks)
        assert sorted(event.payload for event in found) == ["1", "2", "3"]
        await subscription.close()


async def test_coroutines_as_callbacks(
    dsn: str, runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    async def callback(event: Event) -> None:
        heard.append("begin")
        await asyncio.sleep(0)
        heard.append((await pool.query("select $1::text", [event.payload])).scalar())
        if event.payload == "2":
            raise LookupError("two")

    async with pgwire.AsyncPool(dsn, name="mine") as pool:
        async with pool.listen("news", callback=callback) as subscription:
            await notify(pool, 1, 2, 3)
            await until(lambda: len(heard) == 6)
            with pytest.raises(pgwire.InterfaceError, match="goes to its callback"):
                await anext(subscription)
    assert heard == ["begin", "1", "begin", "2", "begin", "3"]
    assert [r.getMessage() for r in caplog.records] == ["mine: a callback for notifications raised"]


async def test_a_callback_that_would_wait_for_itself_is_told_so(dsn: str, runner: Runner) -> None:
    caught: list[BaseException] = []

    async def callback(_event: Event) -> None:
        with pytest.raises(pgwire.InterfaceError, match="would wait for the callback") as info:
            await pool.end()
        caught.append(info.value)

    async with pgwire.AsyncPool(dsn) as pool, pool.listen("news", callback=callback):
        await notify(pool, 1)
        await until(lambda: caught)


async def test_one_that_is_dropped_is_closed_with_a_warning(dsn: str, runner: Runner) -> None:
    async with pgwire.AsyncPool(dsn) as pool:
        held = [await pool.listen("news")]
        with pytest.warns(ResourceWarning, match=NEVER_CLOSED % "news"):
            held.clear()
        await until(lambda: pool.stats().leased == 0)
        pool.listen("news")  # has not begun
        gc.collect()


async def test_its_connection_is_opened_by_a_task_that_is_cancelled(
    dsn: str, runner: Runner
) -> None:
    """By whoever cancels all tasks of the loop, say."""
    async with pgwire.AsyncPool(dsn) as pool:
        subscription = pool.listen("news")
        task = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        for other in asyncio.all_tasks() - {task, asyncio.current_task()}:
            if "_connect" in repr(other.get_coro()):
                other.cancel()
        with pytest.raises(pgwire.InterfaceError, match="was cancelled"):
            await task


@pytest.mark.parametrize(
    "use", [pgwire.AsyncSubscription.__anext__, pgwire.AsyncSubscription.close]
)
async def test_another_loop_is_told_so(
    dsn: str, runner: Runner, use: Callable[[pgwire.AsyncSubscription], Coroutine[Any, Any, object]]
) -> None:
    async with pgwire.AsyncPool(dsn) as pool, pool.listen("news") as subscription:

        def elsewhere() -> None:
            with pytest.raises(pgwire.InterfaceError, match="another event loop"):
                asyncio.run(use(subscription))

        await asyncio.to_thread(elsewhere)
        await pool.query("notify news")
        assert isinstance(await anext(subscription), pgwire.Notification)


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # nobody has closed it
@pytest.mark.filterwarnings("ignore:a subscription:ResourceWarning")
def test_once_its_loop_is_closed(dsn: str) -> None:
    async def begin() -> pgwire.AsyncSubscription:
        return await pgwire.AsyncPool(dsn).listen("news")

    subscription = asyncio.run(begin())
    with pytest.raises(pgwire.InterfaceError, match=r"another event loop.*closed"):
        asyncio.run(subscription.close())
    del subscription
    gc.collect()
