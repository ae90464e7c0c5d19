"""What is taken bit by bit from an asyncio pool; the blocking twin is `tests.pool.test_outputs`."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pytest

import pgwire
from tests.pool.aio.support import pool, until

NUMBERS = "select n from generate_series(1, 100000) n"
COPY = f"copy ({NUMBERS}) to stdout"
OUTPUTS = pytest.mark.parametrize(
    "begin",
    [lambda p: p.stream(NUMBERS), lambda p: p.copy_out(COPY)],
    ids=["stream", "copy_out"],
)


async def serves(p: pgwire.AsyncPool) -> bool:
    return bool((await p.query("select 7", timeout=10)).scalar() == 7)


@OUTPUTS
async def test_it_has_its_connection_as_long_as_it_lasts(dsn: str, begin: Any) -> None:
    async with pool(dsn, max_size=1) as p:
        output = begin(p)
        assert p.stats().leased == 0
        await anext(output)
        assert p.stats().leased == 1
        with pytest.raises(pgwire.PoolTimeout):
            await p.connect(timeout=0)
        async for _ in output:
            pass
        await until(lambda: p.stats().leased == 0)
        assert [piece async for piece in output] == []
        assert await serves(p)


@OUTPUTS
async def test_leaving_early_gives_it_back(dsn: str, begin: Any) -> None:
    async with pool(dsn, max_size=1) as p:
        async with begin(p) as output:
            await anext(output)
        assert await serves(p)
        assert p.stats().opened == 1


@OUTPUTS
async def test_what_is_dropped_is_ended(dsn: str, begin: Any) -> None:
    async with pool(dsn, max_size=1) as p:
        output = begin(p)
        await anext(output)
        del output
        assert await serves(p)


@OUTPUTS
async def test_who_is_cancelled_gives_it_back(dsn: str, begin: Any) -> None:
    async with pool(dsn, max_size=1) as p:

        async def take() -> None:
            async with begin(p) as output:
                async for _ in output:
                    await asyncio.sleep(0)

        task = asyncio.create_task(take())
        await until(lambda: p.stats().leased == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await serves(p)


async def test_what_fails_gives_it_back(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        failing = "select 1 / (3 - n) from generate_series(1, 9) n"
        with pytest.raises(pgwire.UndefinedTable):
            await anext(p.stream("select * from nowhere"))
        with pytest.raises(pgwire.DivisionByZero):
            [row async for row in p.stream(failing, fetch_size=1)]
        with pytest.raises(pgwire.UndefinedTable):
            await anext(p.copy_out("copy nowhere to stdout"))
        with pytest.raises(pgwire.UndefinedTable):
            await p.copy_out("copy nowhere to stdout", io.BytesIO())
        with pytest.raises(pgwire.UndefinedTable):
            await p.copy_in("copy nowhere from stdin", b"")
        with pytest.raises(pgwire.UndefinedTable):
            await p.copy_records("nowhere", [(1,)])
        assert await serves(p)


async def test_there_is_no_connection_in_time(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p, p.connect():
        with pytest.raises(pgwire.PoolTimeout):
            await anext(p.stream(NUMBERS, timeout=0.05))
        with pytest.raises(pgwire.PoolTimeout):
            await anext(p.copy_out(COPY, timeout=0.05))
        with pytest.raises(pgwire.PoolTimeout):
            await p.copy_in("copy nowhere from stdin", b"", timeout=0.05)


async def test_copying_in_and_out(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        await p.query("create table async_pool_copied (n int, name text)")
        try:
            assert await p.copy_in("copy async_pool_copied from stdin", "1\ta\n") == 1
            assert await p.copy_records("async_pool_copied", [(2, "b"), (3, None)]) == 2
            file = io.StringIO()
            assert await p.copy_out("copy async_pool_copied to stdout", file) == 3
            assert file.getvalue() == "1\ta\n2\tb\n3\t\\N\n"
            rows = [tuple(r) async for r in p.stream("table async_pool_copied", fetch_size=2)]
            assert rows == [(1, "a"), (2, "b"), (3, None)]
        finally:
            await p.query("drop table async_pool_copied")


async def test_progress(dsn: str) -> None:
    told: list[pgwire.Progress] = []
    tell = told.append

    async def all_of(output: Any) -> None:
        async for _ in output:
            pass

    numbers = range(100_000)
    async with pool(dsn, max_size=1) as p:
        await p.query("create table pool_progressed (n int)")
        try:
            for run in (
                lambda: all_of(p.stream(NUMBERS, progress=tell)),
                lambda: all_of(p.copy_out(COPY, progress=tell)),
                lambda: p.copy_out(COPY, io.BytesIO(), progress=tell),
                lambda: p.copy_in(
                    "copy pool_progressed from stdin", map("{}\n".format, numbers), progress=tell
                ),
                lambda: p.copy_records("pool_progressed", ((n,) for n in numbers), progress=tell),
                lambda: p.query_many(
                    "insert into pool_progressed values ($1)",
                    ((n,) for n in numbers),
                    progress=tell,
                ),
            ):
                told.clear()
                await run()
                assert len(told) > 2
                assert told[-1].rows == 100_000
        finally:
            await p.query("drop table pool_progressed")


@pytest.mark.parametrize("at_the_end", [False, True])
@pytest.mark.parametrize("call", ["stream", "copy_out"])
async def test_progress_that_raises_gives_it_back(dsn: str, call: str, at_the_end: bool) -> None:
    def tell(progress: pgwire.Progress) -> None:
        if not at_the_end or progress.rows == 100_000:
            raise ZeroDivisionError

    async with pool(dsn, max_size=1) as p:
        begin = getattr(p, call)
        with pytest.raises(ZeroDivisionError):
            async for _ in begin(COPY if call == "copy_out" else NUMBERS, progress=tell):
                pass
        assert await serves(p)
        assert p.stats().opened == 1
