"""Cancelling and timeouts on a real server, which is watched from another connection."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus
from tests.support.guards import go_on
from tests.support.shells import COARSE, LATE

if TYPE_CHECKING:
    from tests.aio.conftest import Connect
    from tests.support.gate import Gate

IDLE = TransactionStatus.IDLE


class Watcher:
    """Sees what the server does for another connection."""

    def __init__(self, conn: pgwire.AsyncConnection, pid: int) -> None:
        self._conn = conn
        self._pid = pid

    async def wait_until(self, what: str) -> None:
        """Poll until that is its state, or what it waits for.

        Not until it is "active": a query that is only being prepared is that too, and whoever
        cancels it then may hit nothing.
        """
        sql = "select $2 in (state, wait_event) from pg_stat_activity where pid = $1"
        async with asyncio.timeout(LATE):
            while not (await self._conn.query(sql, [self._pid, what])).scalar():  # noqa: ASYNC110
                await asyncio.sleep(0.005)


async def watcher(connect: Connect, dsn: str, conn: pgwire.AsyncConnection) -> Watcher:
    return Watcher(await connect(dsn), conn.backend_pid)


async def marker(conn: pgwire.AsyncConnection, value: int = 7) -> bool:
    return bool((await conn.query("select $1::int", [value])).scalar() == value)


async def test_a_cancelled_query_ends_on_the_server(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    watch = await watcher(connect, dsn, conn)
    for _ in range(3):  # not cached, then cached
        query = conn.query("select pg_sleep(60) as long")
        await watch.wait_until("PgSleep")
        began = time.monotonic()
        query.cancel()
        with pytest.raises(asyncio.CancelledError):
            await query
        assert time.monotonic() - began < LATE
        await watch.wait_until("idle")
        assert await marker(conn)
    assert not conn.closed


@pytest.mark.parametrize(
    "work",
    [
        lambda conn: conn.script("select 1; select pg_sleep(60)"),
        lambda conn: conn.query_many("select pg_sleep($1)", [(60,)] * 3),
        lambda conn: asyncio.wait_for(conn.query("select pg_sleep(60)"), 60),
    ],
)
async def test_so_does_whatever_a_cancelled_task_awaited(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection, work: Any
) -> None:
    watch = await watcher(connect, dsn, conn)
    task = asyncio.ensure_future(work(conn))
    await watch.wait_until("PgSleep")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await watch.wait_until("idle")
    assert await marker(conn)


async def test_what_is_shielded_goes_on(conn: pgwire.AsyncConnection, gate: Gate) -> None:
    query = conn.query(f"select 1, 7 from {gate.waiting}")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(query), 0.02)
    gate.open()
    assert (await query).one()[1] == 7


async def test_a_task_group_that_fails_cancels_its_queries(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    watch = await watcher(connect, dsn, conn)

    async def sleep() -> None:
        await conn.query("select pg_sleep(60)")

    async def fail() -> None:
        await watch.wait_until("PgSleep")
        raise LookupError

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(5):
                tasks.create_task(sleep())
            tasks.create_task(fail())

    with pytest.raises(ExceptionGroup):
        await group()
    assert await marker(conn)


async def test_a_timeout_is_kept_while_others_run(conn: pgwire.AsyncConnection, gate: Gate) -> None:
    began = time.monotonic()
    with pytest.raises(pgwire.QueryTimeout):
        await conn.query("select pg_sleep(60)", timeout=0.1)
    assert 0.1 - COARSE <= time.monotonic() - began < LATE
    assert await marker(conn)
    # One that waits behind another has its time as well, and costs the other nothing.
    first = conn.query(f"select 1 as n from {gate.waiting}")
    with pytest.raises(pgwire.QueryTimeout):
        await conn.query("select 2", timeout=0.1)
    assert not first.done()
    gate.open()
    assert (await first).one().n == 1
    assert await marker(conn)


async def test_neighbours_of_a_cancelled_query_get_their_answers(
    conn: pgwire.AsyncConnection,
) -> None:
    assert await marker(conn)
    sleep = "select $1::int, pg_sleep(0.003)"
    await conn.query(sleep, [0])
    for number in range(50):
        go_on()
        queries = [conn.query(sleep, [n]) for n in range(4)]
        await asyncio.sleep(0.0004 * number)
        queries[number % 4].cancel()
        results = await asyncio.gather(*queries, return_exceptions=True)
        for n, result in enumerate(results):
            if isinstance(result, asyncio.CancelledError):
                assert n == number % 4
            elif isinstance(result, errors.QueryCanceled):
                assert result.stray  # on a busy machine the request may come when that has ended
                assert (await conn.query(sleep, [n])).one()[0] == n
            else:
                assert not isinstance(result, BaseException)
                assert result.one()[0] == n
    assert not conn.closed


async def test_cancel_hits_what_runs(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    watch = await watcher(connect, dsn, conn)
    running = conn.query("select pg_sleep(60)")
    behind = conn.query("select 8")
    await watch.wait_until("PgSleep")
    await conn.cancel()
    with pytest.raises(errors.QueryCanceled):
        await running
    assert (await behind).scalar() == 8


async def test_cancel_of_nothing_does_nothing(conn: pgwire.AsyncConnection) -> None:
    for number in range(30):
        await conn.cancel()
        assert await marker(conn, number)
    await asyncio.gather(*(conn.cancel() for _ in range(10)))
    assert await marker(conn)


async def test_inside_a_block_a_cancelled_query_rolls_it_back(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    watch = await watcher(connect, dsn, conn)
    await conn.query("create temp table t (a int)")

    async def work() -> None:
        async with conn.transaction():
            await conn.query("insert into t values (1)")
            await conn.query("select pg_sleep(60)")

    task = asyncio.ensure_future(work())
    await watch.wait_until("PgSleep")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await conn.query("select count(*) from t")).scalar() == 0
    assert conn.transaction_status is IDLE


async def test_a_timeout_of_a_block(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (a int)")

    async def work() -> None:
        async with asyncio.timeout(0.1), conn.transaction():
            await conn.query("insert into t values (1)")
            await conn.query("select pg_sleep(60)")

    with pytest.raises(TimeoutError):
        await work()
    assert (await conn.query("select count(*) from t")).scalar() == 0
    assert conn.transaction_status is IDLE


async def test_a_task_that_waits_for_many_cancels_them_all(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    """A hundred that nobody wants cost a cancel request at most for each that runs."""
    watch = await watcher(connect, dsn, conn)
    await conn.query("create temp table t (a int)")
    await conn.query("insert into t values (0)")
    queries = [conn.query("select pg_sleep(60)")]
    queries += [conn.query("insert into t values ($1)", [n]) for n in range(100)]
    everything = asyncio.gather(*queries)
    await watch.wait_until("PgSleep")
    everything.cancel()
    with pytest.raises(asyncio.CancelledError):
        await everything
    assert (await conn.query("select max(a) from t")).scalar() == 0
