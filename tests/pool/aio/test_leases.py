"""Leases of the asyncio pool: lost, kept for too long, wanted twice, given back from anywhere."""

from __future__ import annotations

import asyncio
import gc
import re
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.aio.support import (
    SLEEP,
    in_thread,
    pid_of,
    pool,
    start,
    step,
    until,
    until_running,
)
from tests.pool.support import PATIENCE, messages
from tests.support.breaking import LAST_WORDS, breaks_off
from tests.support.scripted import ScriptedServer
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

HERE = r"test_leases\.py:\d+ in "


# ------------------------------------------------------------------ given back


async def test_a_connection_in_the_middle_of_something_is_not_handed_on(dsn: str) -> None:
    """What was still wanted on it comes to its end first, and the next lease is clean."""
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        slow = lease.query("select pg_sleep(0.05), set_config('work_mem', '77MB', false)")
        lease.release()
        assert p.stats().leased == 1
        assert (await p.query("show work_mem")).scalar() != "77MB"
        assert (await slow).row_count == 1


async def test_a_discarded_lease_does_not_wait_for_what_runs_there(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        slow = lease.query(SLEEP, [1])
        await until_running(dsn, 1)
        lease.release(discard=True)
        async with asyncio.timeout(LATE):
            assert (await p.query("select 1")).scalar() == 1
        with pytest.raises((pgwire.errors.QueryCanceled, pgwire.InterfaceError)):
            await slow


@pytest.mark.parametrize("discard", [False, True])
async def test_a_lease_is_given_back_in_its_own_loop_only(dsn: str, discard: bool) -> None:
    """I-35: the pool is not locked; another thread is told so, and nothing has changed."""
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        with pytest.raises(pgwire.InterfaceError, match="belongs to"):
            await in_thread(lambda: lease.release(discard=discard))
        assert p.stats().leased == 1
        assert (await lease.query("select 1")).scalar() == 1
        lease.release()


async def test_a_checkout_is_entered_once_at_a_time(dsn: str) -> None:
    """The first lease would have been nobody's."""
    async with pool(dsn, max_size=2) as p:
        checkout = p.connect()
        async with checkout:
            with pytest.raises(pgwire.InterfaceError, match="entered"):
                await checkout.__aenter__()
            assert p.stats().leased == 1
        async with checkout as again:
            assert (await again.query("select 1")).scalar() == 1
        assert p.stats().leased == 0


async def test_a_checkout_may_be_awaited_by_several_tasks(dsn: str) -> None:
    """Each has a lease of its own, and is told of its own."""
    async with pool(dsn, max_size=2) as p:
        checkout = p.connect()
        mine = await checkout
        hers = await start(checkout)
        with pytest.raises(pgwire.PoolTimeout, match=f"this task itself holds .*{HERE}"):
            await p.connect(timeout=0.01)
        with pytest.raises(pgwire.InterfaceError, match="lease of the task"):
            await p.end()
        mine.release()
        hers.release()


async def test_a_killed_lease_is_replaced(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        async with p.connect() as conn:
            with pytest.raises(pgwire.ConnectionLost) as caught:
                await conn.query("select pg_terminate_backend(pg_backend_pid())")
            assert caught.value.sqlstate == "57P01"  # type: ignore[attr-defined]
            with pytest.raises(pgwire.ConnectionLost, match="terminating connection"):
                await conn.query("select 1")
        assert (await p.query("select 1")).scalar() == 1


async def test_what_a_query_that_times_out_leaves_behind(dsn: str) -> None:
    """The caller goes on at once; the server is asked to cancel, and the connection is kept."""
    async with pool(dsn, max_size=1) as p:
        pid = await pid_of(p)
        with pytest.raises(pgwire.QueryTimeout):
            await p.query(SLEEP, [1], timeout=0.1)
        assert await pid_of(p) == pid


# ------------------------------------------------------------------ lost


async def test_a_lost_lease_is_closed_and_its_place_named(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        pid = lease.backend_pid
        with pytest.warns(ResourceWarning, match=f"taken at .*{HERE}test_a_lost_lease"):
            del lease
        assert await pid_of(p) != pid


async def test_a_lost_lease_serves_who_waits_without_a_deadline(dsn: str) -> None:
    async with pool(dsn, max_size=1, checkout_timeout=None) as p:
        lease = await p.connect()
        waiting = p.query("select 1")
        with pytest.warns(ResourceWarning):
            del lease
        assert (await waiting).scalar() == 1


async def test_a_lease_that_is_collected_in_another_thread(dsn: str) -> None:
    async with pool(dsn, max_size=1, checkout_timeout=None) as p:
        held = [await p.connect()]
        waiting = p.query("select 1")
        warned: list[Any] = []

        def lose() -> None:
            with pytest.warns(ResourceWarning) as caught:
                held.clear()
            warned.extend(caught)

        await in_thread(lose)
        assert (await waiting).scalar() == 1
        assert len(warned) == 1


async def test_a_lease_lost_in_a_cycle_is_found_by_the_collector(dsn: str) -> None:
    async with pool(dsn, max_size=1, checkout_timeout=None) as p:
        cycle: list[Any] = [await p.connect()]
        cycle.append(cycle)
        del cycle
        waiting = p.query("select 1")
        with pytest.warns(ResourceWarning, match="never released"):
            gc.collect()
        assert (await waiting).scalar() == 1


async def listen_to_the_end(conn: pgwire.AsyncConnection) -> None:
    await conn.listen("news")
    assert not [each async for each in conn.notifications(timeout=PATIENCE)]


async def use_and_lose(
    p: pgwire.AsyncPool, use: Callable[[pgwire.AsyncConnection], Awaitable[object]]
) -> None:
    async def raise_it() -> None:
        lease = await p.connect()
        await use(lease)

    with pytest.raises(pgwire.Error):
        await raise_it()
    await step()
    gc.collect()


@LAST_WORDS
@pytest.mark.parametrize(
    "use",
    [
        lambda conn: conn.query("select 1"),
        lambda conn: conn.prepare("select 1"),
        pgwire.AsyncConnection.ping,
        listen_to_the_end,
    ],
)
async def test_a_lease_that_is_lost_with_its_connection_comes_back(
    last_words: bytes, use: Callable[[pgwire.AsyncConnection], Awaitable[object]]
) -> None:
    """The session kept the error that it had ended by, and the traceback of that the lease."""
    with ScriptedServer(breaks_off(last_words)) as server:
        async with pool(server.dsn, max_size=1) as p:
            with pytest.warns(ResourceWarning, match="in raise_it was never released"):
                await use_and_lose(p, use)
            await until(lambda: p.total_count == 0)


async def test_a_lease_of_a_task_that_has_failed(dsn: str) -> None:
    """The pool kept the task, that its traceback, and that the lease."""

    async def fail() -> None:
        lease = await p.connect()
        raise ValueError(lease)

    async with pool(dsn, max_size=1, checkout_timeout=None) as p:
        tasks = [asyncio.create_task(fail())]
        await asyncio.wait(tasks)
        assert isinstance(tasks[0].exception(), ValueError)
        waiting = p.query("select 1")
        with pytest.warns(ResourceWarning, match="never released"):
            tasks.clear()
        assert (await waiting).scalar() == 1


async def test_who_has_lost_a_lease_may_end_the_pool_at_once(dsn: str) -> None:
    """It holds nothing any more, and `end` waits for no lease that nobody has."""
    p = pgwire.AsyncPool(dsn, max_size=1)
    lease = await p.connect()
    with pytest.warns(ResourceWarning):
        del lease
    await p.end()
    assert p.total_count == 0


async def test_a_lease_that_is_lost_while_the_end_waits(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn, max_size=1)
    held = [await p.connect()]
    ending = start(p.end())
    await step()
    with pytest.warns(ResourceWarning):
        held.clear()
    await ending


async def test_a_lease_is_lost_with_the_task_that_had_it(dsn: str) -> None:
    async def lose() -> None:
        await p.connect()

    async with pool(dsn, max_size=1) as p:
        with pytest.warns(ResourceWarning):
            await start(lose())
        assert (await p.query("select 1")).scalar() == 1


# ------------------------------------------------------------------ kept for long


async def test_a_long_lease_is_reported_once_with_who_has_it_and_where(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """I-38, also where it is the only thing that the pool has to do."""
    leaks: list[int] = []
    async with pool(dsn, max_size=2, leak_after=0.05, name="leaky") as p:
        p.on("leak", lambda conn: leaks.append(conn.backend_pid))
        done = asyncio.Event()

        async def keep() -> None:
            async with p.connect():
                await done.wait()

        keeping = start(keep())
        keeping.set_name("keeper of leases")
        await until(lambda: len(leaks) == 1)
        async with p.connect() as lease:  # by the time this one is, the other would be again
            await until(lambda: len(leaks) == 2)
            assert leaks[1] == lease.backend_pid
        done.set()
        await keeping
        await p.query("select 1")
    first, second = messages(caplog.records)
    assert re.search(f"leaky.*'keeper of leases', taken at .*{HERE}keep$", first)
    assert re.search(f"taken at .*{HERE}test_a_long_lease", second)


# ------------------------------------------------------------------ errors that explain


@pytest.mark.parametrize("what", ["connect", "query"])
async def test_a_time_out_says_what_the_caller_itself_holds(dsn: str, what: str) -> None:
    """I-40, B-23."""
    use: dict[str, Callable[[], Any]] = {
        "connect": lambda: p.connect(timeout=0.02),
        "query": lambda: p.query("select 1", timeout=0.02),
    }
    async with pool(dsn, max_size=1) as p, p.connect() as _lease:
        with pytest.raises(pgwire.PoolTimeout) as caught:
            await use[what]()
        assert re.search(f"this task itself holds leases, taken at .*{HERE}", str(caught.value))
        stats = caught.value.stats
        assert (stats.leased, stats.max_size, stats.waiting) == (1, 1, 0)
        with pytest.raises(pgwire.PoolTimeout) as caught:
            await start(p.connect(timeout=0.02))
        assert "itself holds" not in str(caught.value)


async def test_a_time_out_has_the_last_failure_to_connect_as_its_cause() -> None:
    """I-40, B-19."""
    async with pool("host=127.0.0.1 port=1 user=x") as p:
        asking = start(p.connect(timeout=PATIENCE))
        await until(lambda: p.stats().open_failures)
        for request in (p.connect(timeout=0.05), p.query("select 1", timeout=0.05)):
            with pytest.raises(pgwire.PoolTimeout, match="last attempt to connect") as caught:
                await request
            assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)
        asking.cancel()
        await asyncio.wait((asking,))


async def test_who_would_wait_for_itself_for_ever_gets_a_deadlock(dsn: str) -> None:
    """I-36."""
    async with pool(dsn, max_size=1, checkout_timeout=None) as p:
        async with p.connect() as lease:
            with pytest.raises(pgwire.PoolDeadlock):
                await p.connect()
            assert (await lease.query("select 1")).scalar() == 1
        assert (await p.query("select 1")).scalar() == 1


async def test_of_those_who_wait_for_one_another_the_youngest_gets_the_deadlock(dsn: str) -> None:
    """I-36: and the others go on."""
    order: list[str] = []
    both = asyncio.Event()

    async def hold(name: str) -> Any:
        async with p.connect():
            order.append(name)
            if len(order) == 2:
                both.set()
            await both.wait()
            if name != order[0]:
                await until(lambda: p.waiting_count == 1)
            async with p.connect() as another:
                return (await another.query("select 'served'")).scalar()

    async with pool(dsn, max_size=2, checkout_timeout=None) as p:
        tasks = {name: start(hold(name)) for name in ("a", "b")}
        await asyncio.wait(tasks.values())
        assert tasks[order[0]].result() == "served"
        assert isinstance(tasks[order[1]].exception(), pgwire.PoolDeadlock)


async def test_a_dead_lease_is_dead_for_every_use(dsn: str) -> None:
    """I-24."""
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        lease.release()
        uses: list[Callable[[], Any]] = [
            lambda: lease.query("select 1"),
            lambda: lease.script("select 1"),
            lambda: lease.query_many("select $1::int", [[1]]),
            lambda: lease.prepare("select 1"),
            lambda: lease.ping(),
            lambda: lease.cancel(),
            lambda: lease.transaction().__aenter__(),
            lambda: lease.__aenter__(),
        ]
        async with p.connect() as successor:
            for use in uses:
                with pytest.raises(pgwire.InterfaceError, match="released"):
                    await use()
            with pytest.raises(pgwire.InterfaceError, match="released"):
                lease.release()
            with pytest.raises(pgwire.InterfaceError, match="released"):
                lease.on("notice", print)
            await lease.close()
            assert lease.closed
            assert (await successor.query("select 1")).scalar() == 1
            assert p.stats().leased == 1
