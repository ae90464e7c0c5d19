"""An asyncio pool belongs to one event loop: everywhere else it says so, at once. I-35."""

from __future__ import annotations

import asyncio
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool.released import RELEASED
from tests.pool.aio.support import in_thread, pool, start, until
from tests.pool.support import PATIENCE, Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from tests.support.loops import Runner

USES: dict[str, Callable[[pgwire.AsyncPool], Any]] = {
    "query": lambda p: p.query("select 1"),
    "query_many": lambda p: p.query_many("select $1::int", [[1]]),
    "connect": lambda p: p.connect(),
    "enter": lambda p: p.connect().__aenter__(),
    "transaction": lambda p: p.transaction().__aenter__(),
    "run_transaction": lambda p: p.run_transaction(lambda conn: conn.ping()),
    "wait": lambda p: p.wait(),
    "end": lambda p: p.end(),
    "aenter": lambda p: p.__aenter__(),
    "resize": lambda p: p.resize(0, 1),
    "expire": lambda p: p.expire(),
}


async def use(name: str, p: pgwire.AsyncPool) -> None:
    """Whether it raises at the call or when it is awaited is another matter (see below)."""
    result = USES[name](p)
    if result is not None:
        await result


def in_other_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    return in_thread(lambda: asyncio.run(work()))


@pytest.mark.parametrize("name", list(USES))
async def test_another_loop_is_told_whose_it_is(dsn: str, name: str) -> None:
    async with pool(dsn, max_size=1) as p:
        await p.query("select 1")
        before = p.stats()
        with pytest.raises(pgwire.InterfaceError, match="pool belongs to another event loop"):
            await in_other_loop(lambda: use(name, p))
        assert p.stats() == before
        assert (await p.query("select 1")).scalar() == 1


async def test_another_loop_cannot_join_the_queue_either(dsn: str) -> None:
    """Nor while nothing has been opened yet, and somebody waits."""
    async with pool(dsn, max_size=1) as p:
        waiting = p.query("select 1")
        with pytest.raises(pgwire.InterfaceError, match="another event loop"):
            await in_other_loop(lambda: use("query", p))
        assert (await waiting).scalar() == 1


async def test_a_thread_without_a_loop_is_told_so(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        await p.query("select 1")
        for name in ("query", "resize", "expire"):
            with pytest.raises(pgwire.InterfaceError, match="no event loop is running"):
                await in_thread(USES[name], p)


def test_query_without_a_loop_raises_at_the_call() -> None:
    p = pgwire.AsyncPool("host=127.0.0.1 port=1 user=x", min_size=1)
    with pytest.raises(pgwire.InterfaceError, match="no event loop is running"):
        p.query("select 1")
    assert p.stats().requests == 0


def test_a_pool_of_a_closed_loop_says_that_it_is_closed(dsn: str, runner: Runner) -> None:
    loop = asyncio.new_event_loop()
    p = pgwire.AsyncPool(dsn, max_size=1)
    lease = loop.run_until_complete(start_in(loop, p.connect()))
    (driver,) = p._engine.core.connections()

    async def look() -> None:
        for name in USES:
            with pytest.raises(pgwire.InterfaceError, match="which is closed"):
                await use(name, p)
        with pytest.raises(pgwire.InterfaceError, match="which is closed"):
            lease.release()

    # What a careless program leaves to the collector; here nothing may be left.
    driver._transport.abort()
    loop.run_until_complete(driver.gone)
    loop.close()
    runner.run(look())
    lease._driver = RELEASED  # it would be reported as lost


def start_in(loop: asyncio.AbstractEventLoop, work: Any) -> asyncio.Task[Any]:
    async def await_it() -> Any:
        return await work

    return loop.create_task(await_it())


def test_an_empty_pool_may_move_to_another_loop(dsn: str, runner: Runner) -> None:
    p = pgwire.AsyncPool(dsn, max_size=1, max_uses=1)

    async def once() -> Any:
        answer = (await p.query("select 1")).scalar()
        await until(lambda: p.total_count == 0)
        return answer

    assert [runner.run(once()), asyncio.run(once()), runner.run(once())] == [1, 1, 1]
    runner.run(p.end())


def test_what_the_last_loop_had_to_do_is_done_in_the_next(runner: Runner) -> None:
    """A timer of the loop that is gone counted as set, and nobody gave the pool the time."""
    clock = Clock()
    p = pgwire.AsyncPool("host=127.0.0.1 port=1 user=x", min_size=1, max_size=1, clock=clock)

    async def fail() -> None:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(pgwire.PoolTimeout):
                await p.query("select 1", timeout=0.05)
            failures = p.stats().open_failures
            await until(lambda: p.stats().open_failures > failures)

    asyncio.run(fail())  # what is left is an opening, which waits for the back-off to end
    clock.now += 10
    runner.run(fail())
    runner.run(p.end())


@pytest.mark.parametrize("chore", ["opening", "closing", "checking", "resetting"])
async def test_a_chore_that_is_cancelled_before_it_has_begun_reports_all_the_same(
    dsn: str, chore: str
) -> None:
    """As a loop does that is being shut down; its slot was lost."""
    options: dict[str, Any] = {"check_after": 0, "reset": lambda conn: conn.ping()}
    begin: dict[str, Callable[[pgwire.AsyncPool], Any]] = {
        "opening": lambda p: p.query("select 1"),
        "closing": lambda p: p.expire(),
        "checking": lambda p: p.query("select 1"),
        "resetting": lambda p: lease.release(),
    }
    async with pool(dsn, max_size=1, clock=(clock := Clock()), **options) as p:
        if chore != "opening":
            lease = await p.connect()
            if chore != "resetting":
                lease.release()
                await until(lambda: p.idle_count == 1)
        clock.now += 1
        future = begin[chore](p)
        assert getattr(p.stats(), chore) == 1
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        assert (await p.query("select 1")).scalar() == 1
        if future is not None:
            assert (await future).scalar() == 1


# ------------------------------------------------------------------ before there is a loop


def test_a_pool_made_outside_of_a_loop_opens_its_floor_with_the_first_use(
    dsn: str, runner: Runner
) -> None:
    p = pgwire.AsyncPool(dsn, min_size=2)
    assert p.total_count == 0

    async def main() -> None:
        async with p:
            await p.wait(PATIENCE)
            assert p.idle_count == 2

    runner.run(main())


async def test_a_pool_made_inside_of_a_loop_opens_its_floor_at_once(dsn: str) -> None:
    async with pool(dsn, min_size=2) as p:
        assert p.stats().opening == 2
        await p.wait(PATIENCE)
        assert p.idle_count == 2


async def test_the_queue_has_one_order(dsn: str) -> None:
    """`query()` takes its place when called, `connect()` when awaited."""
    served: list[str] = []

    async def lease(name: str) -> None:
        async with p.connect():
            served.append(name)

    def note(name: str, _future: object) -> None:
        served.append(name)

    async with pool(dsn, max_size=1) as p:
        held = await p.connect()
        early = p.connect()  # has no place yet
        tasks: list[asyncio.Future[Any]] = []
        for number in range(6):
            if number % 2:
                tasks.append(start(lease(f"lease {number}")))
                await asyncio.sleep(0)
            else:
                future = p.query("select 1")
                future.add_done_callback(partial(note, f"query {number}"))
                tasks.append(future)
            assert p.waiting_count == number + 1
        held.release()
        async with early:
            served.append("early")
        await asyncio.gather(*tasks)
    expected = ["query 0", "lease 1", "query 2", "lease 3", "query 4", "lease 5", "early"]
    assert served == expected


@pytest.mark.skipif(sys.version_info < (3, 12), reason="asyncio begins tasks at once since 3.12")
async def test_a_loop_that_begins_tasks_at_once(dsn: str, runner: Runner) -> None:
    """An opening may have failed before anybody has its task."""

    def begin(loop: Any, work: Any, **options: Any) -> Any:  # uvloop and asyncio's own do not agree
        return asyncio.Task(work, loop=loop, **options | {"eager_start": True})

    runner.loop.set_task_factory(begin)
    async with pool("host=/nonexistent user=u dbname=d", checkout_timeout=0.05) as p:
        with pytest.raises(pgwire.PoolTimeout, match="nonexistent"):
            await p.query("select 1")
        assert not p._engine.chores
    async with pool(dsn, max_size=2) as p:
        queries = [asyncio.create_task(ask(p, n)) for n in range(20)]
        for query in queries[::3]:
            query.cancel()
        answers = await asyncio.gather(*queries, return_exceptions=True)
        assert [answer for answer in answers if not isinstance(answer, BaseException)] == [
            n for n in range(20) if n % 3
        ]
    assert p.total_count == 0


async def ask(p: pgwire.AsyncPool, number: int) -> Any:
    return (await p.query("select $1::int", [number])).scalar()
