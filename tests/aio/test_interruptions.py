"""A storm of interruptions in asyncio: cancelled tasks, time-outs, cancel requests at any moment.

Every connection is in step afterwards, and open; what was written is there as a whole or not at
all; and neighbours hear their own answers, on the same connection and on a pool's shared ones, too.
PGWIRE_INTERRUPTIONS=1000 for the whole of it, PGWIRE_INTERRUPTIONS_SEED for other moments.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import pgwire
from pgwire.protocol.messages import TransactionStatus
from tests.support import interrupting as storm
from tests.support.guards import go_on

Work = Callable[[Any, int, float | None], Awaitable[object]]


class Sink:
    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


async def query(who: Any, number: int, timeout: float | None) -> None:
    found = await who.query(storm.SLEEP, [number], timeout=timeout)
    assert found.one()[1] == number


async def rows(who: Any, number: int, timeout: float | None) -> None:
    found = await who.query(storm.ROWS, [number], timeout=timeout)
    assert sum(row.n for row in found) == storm.sums_of(number)


async def stream(who: Any, number: int, timeout: float | None) -> None:
    found = who.stream(storm.ROWS, [number], fetch_size=100, timeout=timeout)
    assert sum([row.n async for row in found]) == storm.sums_of(number)


async def left_stream(who: Any, number: int, timeout: float | None) -> None:
    async with who.stream(storm.ROWS, [number], fetch_size=10, timeout=timeout) as found:
        assert (await anext(found)).n == number + 1


async def records(number: int, count: int) -> AsyncIterator[tuple[int, int]]:
    for n in range(count):
        if n % 1000 == 0:
            await asyncio.sleep(0)
        yield number, n


async def copy_in(who: Any, number: int, timeout: float | None) -> None:
    source = (f"{number}\t{n}\n" async for _, n in records(number, storm.BATCH))
    assert await who.copy_in(storm.COPY_IN, source, timeout=timeout) == storm.BATCH


async def copy_records(who: Any, number: int, timeout: float | None) -> None:
    source = records(number, storm.BATCH)
    assert await who.copy_records(storm.TABLE, source, timeout=timeout) == storm.BATCH


async def copy_out(who: Any, number: int, timeout: float | None) -> None:
    sink = Sink()
    assert await who.copy_out(storm.COPY_OUT.format(number), sink, timeout=timeout) == 50_000
    assert sink.size == storm.size_of(number)


async def query_many(who: Any, number: int, timeout: float | None) -> None:
    source = ((number, n) for n in range(storm.MANY))
    found = await who.query_many(storm.INSERT, source, timeout=timeout)
    assert found.row_count == storm.MANY


async def script(who: Any, number: int, timeout: float | None) -> None:
    assert (await who.script(storm.script_of(number), timeout=timeout))[-1].scalar() == number


async def prepare(who: Any, number: int, timeout: float | None) -> None:
    async with await who.prepare(f"select $1::int8 + {number}", timeout=timeout) as statement:
        for n in range(10):
            assert (await statement.query([n], timeout=timeout)).scalar() == number + n


async def transaction(who: Any, number: int, timeout: float | None) -> None:
    async with who.transaction():
        await query_many(who, number, timeout)
        found = await who.query(storm.FOUND, [number], timeout=timeout)
        assert found.scalar() == storm.MANY


# What does not hold its connection, so that others may ask for something behind it.
ALONGSIDE: tuple[Work, ...] = (query, rows, copy_in, copy_records, query_many)
OF_POOLS: tuple[Work, ...] = (*ALONGSIDE, stream, left_stream, copy_out)
WORK: tuple[Work, ...] = (*OF_POOLS, script, prepare, transaction)


class Storm:
    def __init__(self, conn: pgwire.AsyncConnection, pool: pgwire.AsyncPool) -> None:
        self.moments = storm.Moments()
        self.conn = conn
        self.pool = pool
        self.number = 0
        self.answers = 0
        self.is_over = False

    async def neighbour(self, who: Any, number: int) -> int:
        """Asks for what only it can know, until all is over."""
        answers = 0
        while not self.is_over:
            number += 7
            await self.ask(who, number)
            answers += 1
            await asyncio.sleep(0.001)
        return answers

    async def ask(self, who: Any, number: int) -> None:
        found = await who.query(storm.NEIGHBOUR, [number])
        assert tuple(found.one()) == storm.neighbours_answer(number)

    async def measure(self) -> None:
        """How long everything takes, when it is known to the connection."""
        time = asyncio.get_running_loop().time
        for work in WORK:
            for _ in range(2):
                self.number += 1
                began = time()
                await work(self.conn, self.number, None)
                self.moments.life[work.__name__] = time() - began

    async def strike(self, admin: pgwire.AsyncConnection) -> None:
        """One interruption, and what must hold behind it."""
        self.number += 1
        dice = self.moments.dice
        where = dice.choice(["connection", "lease", "pool"])
        work = dice.choice(OF_POOLS if where == "pool" else WORK)
        moment = self.moments.draw(work.__name__)
        if where == "connection":
            await self.interrupt(work, self.conn, moment, dice.choice("ttoccc"))
            await self.check(self.conn)
        elif where == "pool":
            await self.interrupt(work, self.pool, moment, dice.choice("to"))
        else:
            async with self.pool.connect() as lease:
                await self.interrupt(work, lease, moment, dice.choice("ttoccc"))
                await self.check(lease)
        await self.ask(self.pool, self.number)
        whole = storm.BATCH if work in (copy_in, copy_records) else storm.MANY
        assert (await admin.query(storm.FOUND, [self.number])).scalar() in (0, whole)

    async def interrupt(self, work: Work, who: Any, moment: float, how: str) -> None:
        """`how`: t cancels the task, o is a time-out, c a cancel request."""
        task = asyncio.ensure_future(work(who, self.number, moment if how == "o" else None))
        beside = None
        if work in ALONGSIDE and how != "c":
            await asyncio.sleep(0)
            beside = asyncio.ensure_future(self.ask(who, self.number + 10**9))
        if how != "o":
            await asyncio.wait((task,), timeout=moment)
        if how == "t":
            wanted = task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled() == wanted, f"a cancellation was lost: {task!r}"
            self.moments.struck["cancelled"] += wanted
        elif how == "c":
            await who.cancel()
        try:
            await task
        except asyncio.CancelledError:
            assert how == "t"
        except pgwire.QueryCanceled:
            assert how == "c"
            self.moments.struck["canceled"] += 1
        except (pgwire.QueryTimeout, pgwire.PoolTimeout):
            assert how == "o"
            self.moments.struck["timed out"] += 1
        if beside is not None:
            await beside
            self.answers += 1

    async def check(self, who: pgwire.AsyncConnection) -> None:
        """It is in step."""
        assert not who.closed
        await who.ping()
        await self.ask(who, self.number)
        assert who.transaction_status is TransactionStatus.IDLE


@pytest.mark.slow
async def test_a_storm_of_interruptions(
    conn: pgwire.AsyncConnection, dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgwire.aio.giving_up.PATIENCE", storm.PATIENCE)  # on a busy machine
    go_on(storm.PATIENCE)  # in place of `watch`
    reports: list[Any] = []
    asyncio.get_running_loop().set_debug(False)  # it keeps a stack for every record
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    async with (
        asyncio.timeout(storm.PATIENCE - 20),  # it says where it was
        pgwire.connect_async(dsn) as own,
        pgwire.connect_async(dsn) as struck_one,
        pgwire.AsyncPool(dsn, max_size=3, max_pipeline=4) as pool,
    ):
        await conn.script(storm.CREATE)
        blowing = Storm(struck_one, pool)
        try:
            async with asyncio.TaskGroup() as group:
                whos = (own, pool, pool)
                tasks = [
                    group.create_task(blowing.neighbour(who, 10 ** (6 + n)))
                    for n, who in enumerate(whos)
                ]
                await blowing.measure()
                while not blowing.moments.are_enough:
                    await blowing.strike(conn)
                blowing.is_over = True
        finally:
            await conn.query(f"drop table {storm.TABLE}")
        stats = pool.stats()
    answers = [task.result() for task in tasks]
    struck = dict(blowing.moments.struck)
    print(f"{blowing.number} calls, {struck}, answers beside: {answers}, behind: {blowing.answers}")
    assert not reports
    assert min(*answers, blowing.answers) > storm.INTERRUPTIONS // 5
    assert stats.opened <= 3  # none was lost
    assert struck.keys() == {"cancelled", "canceled", "timed out"}
