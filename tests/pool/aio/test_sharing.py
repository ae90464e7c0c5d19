"""Queries of an asyncio pool that share connections (`max_pipeline`), on a real server."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.aio.support import (
    SLEEP,
    assert_ended,
    ended_with,
    pool,
    start,
    step,
    until,
    until_running,
)
from tests.pool.support import Clock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SHORT = "select $1::int"
# What others wait behind, as long as a test has locked the table.
WAITS = "select $1::int from share_gate"


async def learn(p: pgwire.AsyncPool, sql: str = SHORT, params: Any = (0,)) -> None:
    """Have the pool know how long it takes; then it may share."""
    for _ in range(3):
        await p.query(sql, params)
    assert p._engine.queries.pace is not None
    assert p._engine.queries.pace.may_share(sql)


@asynccontextmanager
async def sharing(dsn: str, **options: Any) -> AsyncIterator[pgwire.AsyncPool]:
    options = {"max_size": 4, "max_pipeline": 8, "clock": Clock(), **options}
    async with pool(dsn, **options) as p:
        await learn(p)
        yield p


class Gate:
    """A table that queries wait for while it is `closed`."""

    def __init__(self, conn: pgwire.AsyncConnection) -> None:
        self._conn = conn
        self.query = conn.query

    async def close(self) -> None:
        await self._conn.script("begin; lock table share_gate")

    async def open(self) -> None:
        await self._conn.query("rollback")


@asynccontextmanager
async def gate(dsn: str) -> AsyncIterator[Gate]:
    async with pgwire.connect_async(dsn) as conn:
        await conn.script(
            "drop table if exists share_gate; create table share_gate as select 1 as one"
        )
        yield Gate(conn)
        await conn.query("drop table share_gate")


def busy(p: pgwire.AsyncPool, number: int) -> list[asyncio.Future[Any]]:
    return [p.query(SHORT, [n]) for n in range(number)]


async def answers(futures: list[asyncio.Future[Any]]) -> list[Any]:
    return [result.scalar() for result in await asyncio.gather(*futures)]


# ------------------------------------------------------------------ who shares


async def test_short_statements_fill_few_connections(dsn: str) -> None:
    async with sharing(dsn) as p:
        futures = busy(p, 8)
        stats = p.stats()
        assert (stats.shared, stats.sharing, stats.leased, stats.waiting) == (1, 8, 0, 0)
        assert await answers(futures) == list(range(8))
        assert (p.stats().shared, p.stats().sharing, p.stats().opened) == (0, 0, 1)


async def test_more_are_opened_only_when_those_are_full(dsn: str) -> None:
    async with sharing(dsn, max_opening=1) as p:
        futures = busy(p, 20)
        stats = p.stats()
        assert (stats.sharing, stats.waiting, stats.opening) == (8, 12, 1)
        assert await answers(futures) == list(range(20))
        assert p.stats().opened <= 2


async def test_unknown_statements_have_a_connection_each(dsn: str) -> None:
    async with sharing(dsn) as p:
        futures = [p.query(f"select {n}, $1::int", [n]) for n in range(3)]
        stats = p.stats()
        assert (stats.leased, stats.sharing, stats.waiting) == (1, 0, 2)
        await asyncio.gather(*futures)


async def test_long_statements_have_a_connection_each(dsn: str) -> None:
    clock = Clock()
    async with sharing(dsn, clock=clock) as p:
        for _ in range(2):
            future = p.query("select 2")
            clock.now += 0.003
            await future
        futures = [p.query("select 2") for _ in range(2)]
        stats = p.stats()
        assert (stats.leased, stats.sharing, stats.waiting) == (1, 0, 1)
        await asyncio.gather(*futures)


@pytest.mark.parametrize(
    ("change", "look", "clean"),
    [
        ("begin isolation level serializable", "show transaction_isolation", "read committed"),
        ("set work_mem = '77MB'", "show work_mem", "4MB"),
        ("select set_config('work_mem', '77MB', false)", "show work_mem", "4MB"),
        ("select U&\"set\\005Fconfig\"('work_mem', '77MB', false)", "show work_mem", "4MB"),
        ("create temp table share_t (a int)", "select to_regclass('share_t')::text", None),
        ("listen here", "select count(*) from pg_listening_channels()", 0),
    ],
)
async def test_statements_that_change_the_session_never_share(
    dsn: str, change: str, look: str, clean: object
) -> None:
    """Nor do those behind them see anything of it, although these share with one another."""
    async with sharing(dsn, max_size=1) as p:
        await learn(p, look, ())
        for _ in range(3):
            await p.query(change)
        assert p._engine.queries.pace is not None
        assert not p._engine.queries.pace.may_share(change)
        for _ in range(3):
            futures = [*busy(p, 3), p.query(change), *[p.query(look) for _ in range(3)]]
            assert p.stats().waiting == 4
            found = await answers(futures)
            assert found[4:] == [clean] * 3


async def test_a_misfit_tells_nothing_of_how_long_a_statement_takes(dsn: str) -> None:
    """Nothing was sent; had it counted as short, others would have waited behind the next."""
    async with sharing(dsn) as p:
        for _ in range(3):
            with pytest.raises(pgwire.DataError):
                await p.query("select pg_sleep($1)", [object()])
        assert p._engine.queries.pace is not None
        assert not p._engine.queries.pace.may_share("select pg_sleep($1)")


async def test_an_error_tells_nothing_of_how_long_a_statement_takes(dsn: str) -> None:
    sql = "select case when $1::int = 0 then 1 / $1::int else 1 end"
    async with sharing(dsn) as p:
        for _ in range(3):
            with pytest.raises(pgwire.errors.DivisionByZero):
                await p.query(sql, [0])
        assert p._engine.queries.pace is not None
        assert not p._engine.queries.pace.may_share(sql)


async def test_a_cancelled_query_tells_nothing_of_how_long_a_statement_takes(dsn: str) -> None:
    """It waited for its turn on a connection, and was never written."""
    sql = "select pg_sleep($1)"
    async with sharing(dsn) as p:
        for _ in range(3):
            future = p.query(sql, [60])
            await asyncio.sleep(0)
            future.cancel()
            await until(lambda: not p.stats().leased)
        assert p._engine.queries.pace is not None
        assert not p._engine.queries.pace.may_share(sql)


async def test_without_max_pipeline_nobody_shares(dsn: str) -> None:
    async with pool(dsn, max_size=2) as p:
        for _ in range(3):
            await p.query(SHORT, [1])
        futures = busy(p, 6)
        assert (p.stats().leased, p.stats().sharing, p.stats().waiting) == (1, 0, 5)
        assert await answers(futures) == list(range(6))


async def test_query_many_has_a_connection_of_its_own(dsn: str) -> None:
    async with gate(dsn) as lock, sharing(dsn, max_size=1) as p:
        await learn(p, WAITS)
        await lock.close()
        futures = [p.query(WAITS, [n]) for n in range(4)]
        many = start(p.query_many(SHORT, [[n] for n in range(5)]))
        await step()
        assert p.waiting_count == 1
        behind = p.query(SHORT, [7])
        assert p.waiting_count == 2
        await lock.open()
        assert await answers(futures) == list(range(4))
        assert (await many).scalars() == list(range(5))
        assert (await behind).scalar() == 7


# ------------------------------------------------------------------ order, and who waits


async def test_a_lease_waits_for_those_that_share_and_nobody_overtakes_it(dsn: str) -> None:
    order: list[str] = []

    async def lease() -> None:
        async with p.connect() as conn:
            order.append("lease")
            await conn.query("select 1")

    async with gate(dsn) as lock, sharing(dsn, max_size=1) as p:
        await learn(p, WAITS)
        await lock.close()
        before = [p.query(WAITS, [n]) for n in range(4)]
        leasing = start(lease())
        await step()
        after = busy(p, 4)
        assert (p.stats().sharing, p.waiting_count) == (4, 5)
        for future in before:
            future.add_done_callback(lambda _: order.append("before"))
        for future in after:
            future.add_done_callback(lambda _: order.append("after"))
        await lock.open()
        await asyncio.gather(*before, *after, leasing)
    assert order == [*["before"] * 4, "lease", *["after"] * 4]


async def test_no_lease_starves_behind_a_stream_of_shared_queries(dsn: str) -> None:
    done = asyncio.Event()

    async def stream(number: int) -> int:
        count = 0
        while not done.is_set():
            assert (await p.query(SHORT, [number])).scalar() == number
            count += 1
        return count

    async with sharing(dsn, max_size=1) as p:
        streams = [start(stream(n)) for n in range(8)]
        for _ in range(20):
            async with p.connect(timeout=20) as conn:
                assert conn.transaction_status is pgwire.TransactionStatus.IDLE
                await conn.query("select 1")
        done.set()
        assert all(await asyncio.gather(*streams))


async def test_nobody_joins_behind_what_has_been_running_for_long(dsn: str) -> None:
    clock = Clock()
    async with gate(dsn) as lock, sharing(dsn, max_size=2, clock=clock) as p:
        await learn(p, WAITS)
        await lock.close()
        stuck = p.query(WAITS, [1])
        behind = p.query(SHORT, [2])
        assert p.stats().sharing == 2
        clock.now += 0.06
        assert await answers([p.query(SHORT, [n]) for n in range(3)]) == [0, 1, 2]
        assert not behind.done()
        await lock.open()
        assert await answers([stuck, behind]) == [1, 2]


# ------------------------------------------------------------------ each has its own


async def test_errors_stay_apart(dsn: str) -> None:
    sql = "select 6 / $1::int"
    async with sharing(dsn) as p:
        await learn(p, sql, [1])
        futures = [p.query(sql, [n % 3]) for n in range(8)]
        assert p.stats().sharing == 8
        found = await asyncio.gather(*futures, return_exceptions=True)
        for number, answer in enumerate(found):
            if number % 3:
                assert isinstance(answer, pgwire.Result)
                assert answer.scalar() == 6 // (number % 3)
            else:
                assert isinstance(answer, pgwire.errors.DivisionByZero)
        assert p.stats().opened == 1


@pytest.mark.parametrize("victim", [0, 1, 3, 7])
async def test_a_cancelled_query_harms_no_neighbour(dsn: str, victim: int) -> None:
    """Whether it runs, or waits behind others for its answer."""
    async with gate(dsn) as lock, sharing(dsn, max_size=1) as p:
        await learn(p, WAITS)
        await lock.close()
        futures = [p.query(WAITS, [n]) for n in range(8)]
        assert p.stats().sharing == 8
        await until_running(dsn, 1, WAITS)
        futures[victim].cancel()
        await asyncio.sleep(0.03)  # the grace, and the time of a cancel request
        await lock.open()
        found = await asyncio.gather(*futures, return_exceptions=True)
        for number, answer in enumerate(found):
            if number == victim:
                assert isinstance(answer, asyncio.CancelledError)
            else:
                assert isinstance(answer, pgwire.Result), (number, answer)
                assert answer.scalar() == number
        await until(lambda: p.idle_count == 1)
        assert p.stats().opened == 1
        assert p.stats().sharing == 0


async def test_a_query_that_runs_out_of_time_harms_no_neighbour(dsn: str) -> None:
    async with gate(dsn) as lock, sharing(dsn, max_size=1) as p:
        await learn(p, WAITS)
        await lock.close()
        futures = [p.query(WAITS, [n], timeout=0.05 if n == 2 else None) for n in range(4)]
        with pytest.raises(pgwire.QueryTimeout):
            await futures[2]
        await lock.open()
        assert await answers(futures[:2] + futures[3:]) == [0, 1, 3]
        await until(lambda: p.idle_count == 1)
        assert p.stats().opened == 1


async def test_all_of_them_cancelled(dsn: str) -> None:
    async with gate(dsn) as lock, sharing(dsn, max_size=1) as p:
        await learn(p, WAITS)
        await lock.close()
        futures = [p.query(WAITS, [n]) for n in range(8)]
        await until_running(dsn, 1, WAITS)
        for future in futures:
            future.cancel()
        await until(lambda: p.stats().sharing == 0)
        await lock.open()
        assert await answers(busy(p, 8)) == list(range(8))


async def test_a_server_that_dies_fails_what_was_in_flight_and_nothing_else(dsn: str) -> None:
    """The one that ran is told why; nothing of the others was carried out."""
    async with gate(dsn) as other, sharing(dsn, max_size=2) as p:
        await learn(p, WAITS)
        await other.close()
        flying = [p.query(WAITS, [n]) for n in range(8)]
        (pid,) = await until_running(dsn, 1, WAITS)
        queued = busy(p, 12)
        await other.query("select pg_terminate_backend($1)", [pid])
        errors = [await ended_with(future) for future in flying]
        assert all(isinstance(error, pgwire.ConnectionLost) for error in errors)
        assert isinstance(errors[0], pgwire.errors.AdminShutdown)
        assert await answers(queued) == list(range(12))
        await other.open()


# ------------------------------------------------------------------ events, resets, the end


async def test_events_are_balanced(dsn: str) -> None:
    seen: list[str] = []
    async with sharing(dsn) as p:
        p.on("acquire", lambda _conn: seen.append("acquire"))
        p.on("release", lambda _conn: seen.append("release"))
        await asyncio.gather(*busy(p, 20))
        future = busy(p, 3)[1]
        future.cancel()
        await until(lambda: p.stats().sharing == 0)
    assert seen.count("acquire") == seen.count("release") == 23


@pytest.mark.parametrize("reset", ["always", "function"])
async def test_resets_come_after_the_last_of_those_that_share(dsn: str, reset: str) -> None:
    calls: list[int] = []

    async def function(conn: pgwire.AsyncConnection) -> None:
        calls.append(p.stats().sharing)
        await conn.query("select 1")

    option: Any = function if reset == "function" else reset
    async with sharing(dsn, max_size=1, reset=option) as p:
        await until(lambda: p.idle_count == 1)
        calls.clear()
        assert await answers(busy(p, 8)) == list(range(8))
        await until(lambda: p.idle_count == 1)
        assert calls == ([0] if reset == "function" else [])


async def test_expire_and_resize_let_those_that_share_run_dry(dsn: str) -> None:
    clock = Clock()
    async with sharing(dsn, max_size=1, clock=clock) as p:
        futures = busy(p, 6)
        clock.now += 0.01
        p.expire()
        later = busy(p, 6)
        assert p.waiting_count == 6
        assert await answers([*futures, *later]) == [*range(6), *range(6)]
        assert p.stats().opened == 2
    async with sharing(dsn, max_size=2) as p:
        futures = busy(p, 12)
        p.resize(0, 1)
        assert await answers(futures) == list(range(12))
        await until(lambda: p.total_count <= 1)


@pytest.mark.parametrize("timeout", [None, 0])
async def test_the_end_while_connections_are_shared(dsn: str, timeout: float | None) -> None:
    p = pgwire.AsyncPool(dsn, max_size=1, max_pipeline=8, clock=Clock())
    await learn(p)
    async with gate(dsn) as lock:
        await learn(p, WAITS)
        await lock.close()
        futures = [p.query(WAITS, [n]) for n in range(20)]
        await until_running(dsn, 1, WAITS)
        await end_it(p, timeout, futures, lock)
    assert_ended(p)


async def end_it(
    p: pgwire.AsyncPool, timeout: float | None, futures: list[asyncio.Future[Any]], lock: Gate
) -> None:
    if timeout is None:
        ending = start(p.end())
        await step()
        await lock.open()
        await ending
        assert await answers(futures) == list(range(20))
    else:
        with pytest.raises(pgwire.PoolTimeout):
            await p.end(timeout)
        for future in futures:
            assert isinstance(await ended_with(future), pgwire.Error)
        await lock.open()


async def test_long_ones_by_force(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn, max_size=1, max_pipeline=8)
    future = p.query(SLEEP, [1])
    await until_running(dsn, 1)
    with pytest.raises(pgwire.PoolTimeout):
        await p.end(0.01)
    assert isinstance(await ended_with(future), pgwire.errors.QueryCanceled | pgwire.InterfaceError)
    assert_ended(p)
