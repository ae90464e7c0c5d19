"""Large amounts of data: bounded memory, and a loop that goes on meanwhile."""

from __future__ import annotations

import asyncio
import tracemalloc
from itertools import count, pairwise
from typing import TYPE_CHECKING

import pytest

from pgwire.protocol.many import CHUNK
from tests.support import backend
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import TEXT, Wire, turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pgwire
    from tests.aio.conftest import Connect


class Ticks:
    """A task that ticks in every turn of the loop, and calls somebody each time."""

    def __init__(self, on_tick: Callable[[], object] = int) -> None:
        self.number = 0
        self._on_tick = on_tick
        self._task = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(0)
            self._on_tick()
            self.number += 1

    async def stop(self) -> None:
        self._task.cancel()
        await asyncio.wait((self._task,))


async def test_a_large_query_many_lets_others_have_their_turn(
    conn: pgwire.AsyncConnection,
) -> None:
    """No more than one chunk of records in each turn of the loop."""
    records = 200_000
    taken = [0]
    turns: list[int] = []

    def source() -> Iterator[tuple[int, str]]:
        for n in range(records):
            taken[0] = n
            yield n, "x" * 100

    await conn.query("create temp table t (id int, name text)")
    ticks = Ticks(lambda: turns.append(taken[0]))
    result = await conn.query_many("insert into t values ($1, $2)", source())
    await ticks.stop()
    assert result.row_count == records
    assert max(after - before for before, after in pairwise(turns)) <= CHUNK / 100


async def test_its_memory_is_bounded(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (id int, name text)")
    tracemalloc.start()
    try:
        await conn.query_many(
            "insert into t values ($1, $2)", ((n, "x" * 100) for n in range(50_000))
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


async def test_more_comes_back_than_fits_the_buffers(conn: pgwire.AsyncConnection) -> None:
    """Both sides write at the same time; neither may wait for the other."""
    many, query = await asyncio.gather(
        conn.query_many(
            "select repeat('x', 20000), $1::text", ((str(n) * 2000,) for n in range(1000))
        ),
        conn.query("select 1"),
    )
    assert len(many) == 1000
    assert query.scalar() == 1


async def test_an_endless_source_can_be_cancelled(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (id int)")
    task = asyncio.ensure_future(
        conn.query_many("insert into t values ($1)", ((n,) for n in count()))
    )
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await conn.query("select count(*) from t")).scalar() == 0


async def test_a_source_that_raises_stop_iteration(conn: pgwire.AsyncConnection) -> None:
    class Source:
        def __iter__(self) -> Iterator[tuple[int]]:
            return self

        def __next__(self) -> tuple[int]:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        await conn.query_many("select $1::int", Source())
    assert (await conn.query("select 1")).scalar() == 1


@in_virtual_time
async def test_a_source_is_asked_only_when_the_transport_takes_more() -> None:
    with Wire() as wire:
        taken = 0

        def source() -> Iterator[tuple[str]]:
            nonlocal taken
            for _ in range(100_000):
                taken += 1
                yield ("x" * 100,)

        many = asyncio.ensure_future(wire.conn.query_many("a", source()))
        await turns()
        wire.say(backend.described([25], TEXT))
        wire.driver.pause_writing()
        await turns()
        before = taken
        await turns(50)
        assert taken == before < 5_000
        wire.driver.resume_writing()
        await turns(3)
        assert before < taken < 20_000
        many.cancel()
        wire.driver.abort()
        await asyncio.wait((many,))


async def test_megabytes_both_ways(dsn: str, connect: Connect) -> None:
    conn = await connect(dsn)
    data = bytes(range(256)) * 40_960
    queries = [conn.query("select $1::bytea", [data]) for _ in range(4)]
    for query in queries:
        assert (await query).scalar() == data


async def test_many_queries_that_nobody_reads(conn: pgwire.AsyncConnection) -> None:
    """Thousands of large parameters at once: written as the server takes them."""
    queries = [conn.query("select length($1::text)", ["x" * 10_000]) for _ in range(2_000)]
    assert {(await query).scalar() for query in queries} == {10_000}
