"""AsyncPool's "query": contexts, coroutine functions, tasks that are cancelled, streams."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

import pgwire
from tests.pool.aio.support import SLEEP, pool, start, until

Reports = list[pgwire.QueryReport]

request_id: ContextVar[str] = ContextVar("request_id", default="")


async def test_each_in_the_context_of_its_task(dsn: str) -> None:
    """Whichever connection becomes free, and whoever reads the answer before it."""
    told: list[tuple[Any, str]] = []

    def callback(report: pgwire.QueryReport) -> None:
        told.append((report.reveal_parameters(), request_id.get()))

    async def ask(number: int) -> None:
        request_id.set(f"request {number}")
        await p.query("select $1::int", [number])
        assert ((number,), f"request {number}") in told  # before its caller goes on

    async with pool(dsn, max_size=2, max_pipeline=4) as p:
        p.on("query", callback)
        await asyncio.gather(*map(ask, range(50)))
    assert sorted(told) == sorted(((n,), f"request {n}") for n in range(50))


async def test_coroutine_functions(dsn: str) -> None:
    seen: list[str] = []

    async def callback(report: pgwire.QueryReport) -> None:
        assert (await p.query("select 2")).scalar() == 2  # which is not reported
        seen.append(f"{report.sql} of {request_id.get()}")

    async with pool(dsn, max_size=2) as p:
        p.on("query", callback)
        request_id.set("one")
        await p.query("select 1")
        await until(lambda: seen)
    assert seen == ["select 1 of one"]


async def test_cancelled_while_it_waits_and_while_it_runs(dsn: str) -> None:
    seen: Reports = []
    async with pool(dsn, max_size=1) as p:
        p.on("query", seen.append)
        running = p.query(SLEEP, [1])
        await until(lambda: p.stats().leased == 1)
        waiting = start(p.query("select 2"))
        await asyncio.sleep(0)
        waiting.cancel()
        running.cancel()
        await asyncio.wait((waiting, running))
        await p.query("select 3")
    told = {report.sql: type(report.error) for report in seen}
    assert len(seen) == 3
    assert told == {
        "select 2": asyncio.CancelledError,
        SLEEP: asyncio.CancelledError,
        "select 3": type(None),
    }


async def test_streams(dsn: str) -> None:
    seen: Reports = []
    async with pool(dsn, max_size=1) as p:
        p.on("query", seen.append)
        async with p.stream("select generate_series(1, 100)", fetch_size=2) as rows:
            await anext(rows)
            with pytest.raises(pgwire.PoolTimeout):
                await anext(p.stream("select 2", timeout=0.02))
            assert len([row async for row in rows]) == 99
        async with p.stream("select generate_series(1, 100000)", fetch_size=2) as rows:
            await anext(rows)
        with pytest.raises(pgwire.DivisionByZero):
            await anext(p.stream("select 1 / 0"))
        async with p.copy_out("copy (select 1) to stdout") as pieces:
            assert b"".join([piece async for piece in pieces]) == b"1\n"
        await until(lambda: len(seen) == 5)
    assert [(r.operation, type(r.error), r.waited is None) for r in seen] == [
        ("stream", pgwire.PoolTimeout, False),
        ("stream", type(None), False),
        ("stream", type(None), False),
        ("stream", pgwire.DivisionByZero, False),
        ("copy_out", type(None), False),
    ]


async def test_a_query_whose_time_is_up_when_it_gets_its_connection(dsn: str) -> None:
    """Nothing of it is sent, and no connection has seen it."""
    seen: Reports = []
    async with pool(dsn, max_size=1) as p:
        p.on("query", seen.append)
        await p.query("select 1")
        with pytest.raises((pgwire.QueryTimeout, pgwire.PoolTimeout)):
            await p.query("select 2", timeout=0)
    assert [(report.sql, report.error is None) for report in seen] == [
        ("select 1", True), ("select 2", False),
    ]  # fmt: skip


async def test_the_pool_is_ended_by_force(dsn: str) -> None:
    seen: Reports = []
    async with pool(dsn, max_size=1) as p:
        p.on("query", seen.append)
        running = p.query(SLEEP, [1])
        waiting = p.query("select 2")
        await until(lambda: p.stats().leased == 1)
        with pytest.raises(pgwire.PoolTimeout):
            await p.end(timeout=0.05)
        await asyncio.wait((waiting, running))
    assert sorted(report.sql for report in seen) == sorted((SLEEP, "select 2"))
    assert all(report.error for report in seen)
    for future in (running, waiting):
        assert future.exception() is not None


async def test_connections_that_were_open_before(dsn: str) -> None:
    seen: Reports = []
    async with pool(dsn, max_size=2) as p:
        await p.query("select 0")
        p.on("query", seen.append)
        await p.query("select 1")
        p.off("query", seen.append)
        await p.query("select 2")
    assert [report.sql for report in seen] == ["select 1"]
