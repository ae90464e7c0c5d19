"""COPY in an event loop: async sources and sinks, neighbours, and what waits for whom."""

from __future__ import annotations

import asyncio
import io
import tracemalloc
from itertools import count, repeat
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

import pgwire
from pgwire.aio.holding import Reader
from pgwire.protocol import frontend
from pgwire.protocol.copying import DONE, FAIL
from pgwire.protocol.copying_out import ENOUGH, CopyOut
from tests.support import backend
from tests.support.sweep import Cut, sweep
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, turns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.gate import Gate

IN = "copy copied (id, name) from stdin"
MANY = "copy (select n from generate_series(1, 3000000) n) to stdout"
STARTED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
COPYING_IN = STARTED + backend.copy_in(0)
COPYING_OUT = STARTED + backend.copy_out(0)


async def made(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table copied (id int primary key, name text)")


async def size(conn: pgwire.AsyncConnection) -> int:
    number: int = (await conn.query("select count(*) from copied")).scalar()
    return number


async def settle(wire: Wire) -> None:
    """Answer every Sync of fences and pings, until nothing is under way."""
    while wire.session.pending:
        await asyncio.sleep(0.02)
        if wire.session.pending and wire.session.pending[0].phase.name == "WAITING":
            wire.say(backend.ready())


class Source:
    """An async iterable of numbered lines or records; `closed` once it has been left."""

    def __init__(self, number: int | None = None, *, pause: int = 100, bad: int = -1) -> None:
        self.number = number
        self.pause = pause
        self.bad = bad
        self.given = 0
        self.closed = False

    async def lines(self) -> AsyncIterator[bytes]:
        async for id_, name in self.records():
            yield f"{id_}\t{name}\n".encode()

    async def records(self) -> AsyncIterator[tuple[Any, str]]:
        try:
            for n in count() if self.number is None else range(self.number):
                if n % self.pause == 0:
                    await asyncio.sleep(0)
                self.given += 1
                yield ("bad" if n == self.bad else n), f"name {n}"
        finally:
            self.closed = True


async def test_an_async_source(conn: pgwire.AsyncConnection) -> None:
    await made(conn)
    assert await conn.copy_in(IN, Source(30_000).lines()) == 30_000
    await conn.query("truncate copied")
    assert await conn.copy_records("copied", Source(30_000).records()) == 30_000
    assert await size(conn) == 30_000
    assert await conn.copy_records("copied", Source(0).records()) == 0
    assert await conn.copy_in(IN, Source(0).lines()) == 0


async def test_one_that_never_waits(conn: pgwire.AsyncConnection) -> None:
    await made(conn)
    assert await conn.copy_in(IN, Source(30_000, pause=10**9).lines()) == 30_000


async def test_one_that_waits_long_for_each_piece(conn: pgwire.AsyncConnection) -> None:
    """What is there is sent: nobody waits for a chunk to be full."""
    await made(conn)
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    async def lines() -> AsyncIterator[bytes]:
        while line := await queue.get():
            yield line

    copying = asyncio.create_task(conn.copy_in(IN, lines()))
    queue.put_nowait(b"1\ta\n")
    await turns(20)
    queue.put_nowait(b"x\tb\n")
    with pytest.raises(pgwire.DataError):  # and an error is heard while the source waits
        await asyncio.wait_for(copying, 20)


@pytest.mark.parametrize("kind", ["lines", "records"])
async def test_an_error_of_the_server_ends_it(conn: pgwire.AsyncConnection, kind: str) -> None:
    await made(conn)
    source = Source(bad=2_000)
    if kind == "lines":
        copying = conn.copy_in(IN, source.lines())
    else:
        copying = conn.copy_records("copied", source.records())
    with pytest.raises(pgwire.DataError):
        await copying
    assert source.closed
    assert await size(conn) == 0


@pytest.mark.parametrize("after", [0, 1, 30_000])
@pytest.mark.parametrize("error", [ZeroDivisionError, pgwire.DataError])
async def test_a_raising_one(
    conn: pgwire.AsyncConnection, after: int, error: type[Exception]
) -> None:
    await made(conn)

    async def records() -> AsyncIterator[tuple[int, str]]:
        for n in range(after):
            yield n, "x"
        raise error

    with pytest.raises(error) as caught:
        await conn.copy_records("copied", records())
    assert caught.value.__notes__ == [f"in record {after}"]
    assert await size(conn) == 0


async def test_what_it_gives_is_looked_at(conn: pgwire.AsyncConnection) -> None:
    await made(conn)

    async def numbers() -> AsyncIterator[Any]:
        yield 7

    with pytest.raises(pgwire.ProgrammingError, match="bytes or str, not int"):
        await conn.copy_in(IN, numbers())
    with pytest.raises(pgwire.ProgrammingError, match="a record must be"):
        await conn.copy_records("copied", numbers())
    assert await size(conn) == 0


async def test_time_runs_out(conn: pgwire.AsyncConnection) -> None:
    await made(conn)
    source = Source()
    with pytest.raises(pgwire.QueryTimeout):
        await conn.copy_in(IN, source.lines(), timeout=0.2)
    assert source.closed or not source.given  # where the server had not asked for it yet

    async def nothing() -> AsyncIterator[bytes]:
        await asyncio.sleep(60)
        yield b""

    with pytest.raises(pgwire.QueryTimeout):
        await conn.copy_in(IN, nothing(), timeout=0.05)
    assert await size(conn) == 0


async def test_its_memory_is_bounded(conn: pgwire.AsyncConnection) -> None:
    await made(conn)
    tracemalloc.start()
    try:
        await conn.copy_records("copied", Source(100_000).records())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3_000_000


async def test_neighbours_have_their_answers(conn: pgwire.AsyncConnection) -> None:
    """Those before it and those behind it, in order, whatever comes of it."""
    await made(conn)
    for source, expected in ((Source(5_000), 5_000), (Source(5_000, bad=50), None)):
        before = conn.query("select 1")
        copying = asyncio.create_task(conn.copy_in(IN, source.lines()))
        await asyncio.sleep(0)
        behind = [conn.query("select $1::int", [n]) for n in range(5)]
        out = asyncio.create_task(conn.copy_out("copy (select 1) to stdout", io.BytesIO()))
        assert (await before).scalar() == 1
        assert [(await query).scalar() for query in behind] == [0, 1, 2, 3, 4]
        assert await out == 1
        if expected is None:
            with pytest.raises(pgwire.DataError):
                await copying
        else:
            assert await copying == expected
        await conn.query("truncate copied")


async def test_a_cancelled_one_costs_its_neighbours_nothing(conn: pgwire.AsyncConnection) -> None:
    await made(conn)
    lines = (b"%d\tx\n" % n for n in count())
    for work in (
        conn.copy_in(IN, Source().lines()),
        conn.copy_in(IN, lines),
        conn.copy_records("copied", Source().records()),
        conn.copy_out(MANY, io.BytesIO()),
    ):
        task = asyncio.create_task(work)
        await asyncio.sleep(0.05)
        behind = conn.query("select 5")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await behind).scalar() == 5
    assert await size(conn) == 0


async def test_a_sink_may_be_a_coroutine_function(conn: pgwire.AsyncConnection) -> None:
    class Sink:
        size = 0

        async def write(self, data: bytes) -> None:
            await asyncio.sleep(0)
            self.size += len(data)

    sink = Sink()
    await conn.copy_out("copy (select n from generate_series(1, 300000) n) to stdout", sink)
    assert sink.size == len("".join(f"{n}\n" for n in range(1, 300_001)))


async def test_another_task_is_refused_while_one_iterates(conn: pgwire.AsyncConnection) -> None:
    async with conn.copy_out(MANY) as output:
        async for data in output:
            assert data
            with pytest.raises(pgwire.InterfaceError, match="held by an open iteration"):
                await conn.query("select 1")
            break
    assert (await conn.query("select 1")).scalar() == 1


async def test_only_one_task_may_wait_for_the_next_piece(
    conn: pgwire.AsyncConnection, gate: Gate
) -> None:
    output = conn.copy_out(f"copy (select 1 from {gate.waiting}) to stdout")
    waiting = asyncio.ensure_future(anext(output))
    await turns()
    with pytest.raises(pgwire.InterfaceError, match="another task is waiting"):
        await anext(output)
    gate.open()
    assert await waiting == b"1\n"
    with pytest.raises(StopAsyncIteration):
        await anext(output)


async def test_a_consumer_that_is_cancelled_has_left(conn: pgwire.AsyncConnection) -> None:
    async def consume() -> None:
        async for _ in conn.copy_out(
            "copy (select pg_sleep(1) from generate_series(1, 9)) to stdout"
        ):
            pass

    task = asyncio.create_task(consume())
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await conn.query("select 1")).scalar() == 1


@in_virtual_time
async def test_reading_stops_while_nobody_takes_what_has_come() -> None:
    with Wire() as wire:
        output = wire.conn.copy_out("copy t to stdout")
        entering = asyncio.create_task(output.__aenter__())
        await turns()
        wire.say(COPYING_OUT)
        block = backend.copy_data(b"x" * 60_000)
        for _ in range(ENOUGH // 60_000 + 1):
            wire.say(block)
        paused = [wire.paused]
        assert output._operation._received_size >= ENOUGH
        await entering
        assert len(await anext(output)) >= ENOUGH
        paused.append(wire.paused)
        assert paused == [True, False]
        wire.say(backend.copy_data(b"y") + backend.COPY_DONE + backend.complete("COPY 7"))
        assert await anext(output) == b"y"
        ending = asyncio.create_task(output.close())
        await turns()
        wire.say(backend.ready())
        await ending
        await settle(wire)
        assert wire.session.in_step


@in_virtual_time
async def test_left_while_reading_had_stopped_it_goes_on() -> None:
    with Wire() as wire:
        output = wire.conn.copy_out("copy t to stdout")
        entering = asyncio.create_task(output.__aenter__())
        await turns()
        wire.say(COPYING_OUT)
        for _ in range(ENOUGH // 60_000 + 1):
            wire.say(backend.copy_data(b"x" * 60_000))
        paused = [wire.paused]
        await entering
        await output.close()
        paused.append(wire.paused)
        assert paused == [True, False]
        wire.say(backend.error("57014") + backend.ready())
        await settle(wire)
        assert wire.session.in_step


@in_virtual_time
async def test_nothing_of_a_source_is_taken_before_the_server_asks() -> None:
    source = Source()
    with Wire() as wire:
        copying = asyncio.create_task(wire.conn.copy_in(IN, source.lines()))
        await turns()
        assert wire.take() == "PBEH"
        assert source.given == 0
        wire.say(COPYING_IN)
        await turns(10)
        assert source.given > 0
        given = source.given
        wire.driver.pause_writing()
        await turns(2000)
        stopped = source.given
        await turns(2000)
        assert source.given == stopped < given + 20_000  # the transport takes no more
        wire.driver.resume_writing()
        await turns(500)
        assert source.given > stopped
        wire.say(backend.error("22P02") + backend.ready())
        with pytest.raises(pgwire.DataError):
            await copying
        assert source.closed


@in_virtual_time
async def test_one_that_gives_up_says_so_and_its_neighbour_follows() -> None:
    with Wire() as wire:
        copying = asyncio.create_task(wire.conn.copy_in(IN, repeat(b"x" * 1000)))
        await turns()
        wire.say(COPYING_IN)
        await turns()
        behind = asyncio.create_task(wire.conn.ping())
        await turns()
        copying.cancel()
        await turns()
        assert FAIL in wire.said
        assert DONE not in wire.said
        assert wire.said.endswith(FAIL + frontend.SYNC)
        wire.say(backend.error("57014") + backend.ready())
        await settle(wire)
        await behind
        with pytest.raises(asyncio.CancelledError):
            await copying
        assert not wire.cancels  # it ended by itself


@pytest.mark.usefixtures("runner")
class TestPool:
    async def test_each_call_takes_a_connection_and_gives_it_back(self, dsn: str) -> None:
        async with pgwire.AsyncPool(dsn, max_size=1) as pool:
            await pool.query("drop table if exists copied_async")
            await pool.query("create table copied_async (id int, name text)")
            try:
                line = "copy copied_async from stdin"
                assert await pool.copy_in(line, "1\ta\n") == 1
                assert await pool.copy_in(line, Source(10).lines()) == 10
                assert await pool.copy_records("copied_async", Source(10).records()) == 10
                assert await pool.copy_records("copied_async", [(1, "x")]) == 1
                file = io.BytesIO()
                assert await pool.copy_out("copy copied_async to stdout", file) == 22
                output = pool.copy_out("copy copied_async to stdout")
                assert b"".join([data async for data in output]) == file.getvalue()
                assert output.row_count == 22
            finally:
                await pool.query("drop table copied_async")
            assert pool.idle_count == pool.total_count == 1

    async def test_while_it_lasts_others_wait(self, dsn: str) -> None:
        async with pgwire.AsyncPool(dsn, max_size=1) as pool:
            async with pool.copy_out(MANY) as output:
                await anext(output)
                waiting = pool.query("select 5")
                await turns()
                assert pool.waiting_count == 1
            assert (await waiting).scalar() == 5
            async for _ in pool.copy_out(MANY):
                break
            assert (await pool.query("select 6")).scalar() == 6
            with pytest.raises(pgwire.UndefinedTable):
                await pool.copy_in("copy nowhere from stdin", Source().lines())

    async def test_a_lease_that_is_given_back_has_ended_it(self, dsn: str) -> None:
        async with pgwire.AsyncPool(dsn, max_size=1) as pool:
            async with pool.connect() as lease:
                output = lease.copy_out(MANY)
                await anext(output)
            with pytest.raises(pgwire.InterfaceError, match=r"released|canceled"):
                async for _ in output:
                    pass
            assert (await pool.query("select 6")).scalar() == 6

    async def test_its_time_is_for_waiting_and_running(self, dsn: str) -> None:
        async with pgwire.AsyncPool(dsn, max_size=1) as pool:
            async with pool.connect():
                with pytest.raises(pgwire.PoolTimeout):
                    await pool.copy_in("copy x from stdin", Source().lines(), timeout=0.05)
                with pytest.raises(pgwire.PoolTimeout):
                    await anext(pool.copy_out(MANY, timeout=0.05))
            sql = "copy (select pg_sleep(0.02) from generate_series(1, 1000)) to stdout"
            with pytest.raises(pgwire.QueryTimeout):
                await pool.copy_out(sql, io.BytesIO(), timeout=0.1)
            assert (await pool.query("select 6")).scalar() == 6

    async def test_cancelled_wherever_it_can_be(
        self, dsn: str, conn: pgwire.AsyncConnection
    ) -> None:
        """All or nothing, and the pool is whole afterwards."""
        await conn.script("drop table if exists copied_swept; create table copied_swept (n int)")

        async def records() -> AsyncIterator[tuple[int]]:
            for n in range(2_000):
                if n % 1_000 == 0:
                    await asyncio.sleep(0)
                yield (n,)

        async def work(pool: pgwire.AsyncPool) -> None:
            await pool.copy_records("copied_swept", records())
            await pool.copy_out("copy copied_swept to stdout", io.BytesIO())
            async with pool.copy_out("copy copied_swept to stdout") as output:
                assert [data async for data in output]
            async for _ in pool.copy_out("copy copied_swept to stdout"):
                break

        async def scenario(cut: Cut) -> None:
            await conn.query("truncate copied_swept")
            async with pgwire.AsyncPool(dsn, max_size=1) as pool:
                await cut(work(pool))
                seen = (await pool.query("select count(*) from copied_swept")).scalar()
                assert seen in (0, 2_000)
                assert pool.total_count == 1

        try:
            assert await sweep(scenario) > 10
        finally:
            await conn.query("drop table copied_swept")


async def test_what_is_done_and_not_taken_does_not_keep_the_connection_from_reading(
    conn: pgwire.AsyncConnection,
) -> None:
    """All that was asked for has come, and is more than is taken at once."""
    loop = asyncio.get_running_loop()
    reader = Reader(operation := CopyOut("copy t to stdout"), loop)
    paused: list[bool] = []
    runner: Any = SimpleNamespace(pause_reading=paused.append)
    reader.future = cast("Any", SimpleNamespace(runner=runner))
    operation.listener = reader._heard
    operation.keep(bytes(ENOUGH))
    operation.done = True
    reader._ended(loop.create_future())
    assert paused == [True, False]
    assert (await conn.query("select 7")).scalar() == 7
