"""`async with conn.pipeline()`: what cancellation does to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from tests.aio.conftest import Connect


async def marker(conn: pgwire.AsyncConnection, value: int = 7) -> bool:
    return bool((await conn.query("select $1::int", [value])).scalar() == value)


async def test_awaiting_a_query_is_awaiting_its_result(conn: pgwire.AsyncConnection) -> None:
    async with conn.pipeline() as p:
        one, two = p.query("select 1"), p.query("select 1/0")
        assert (await one).scalar() == (await one.result()).scalar() == 1
        with pytest.raises(pgwire.DivisionByZero):
            await two


@pytest.mark.parametrize("where", ["body", "end"])
async def test_a_cancelled_task_cancels_what_is_under_way(
    conn: pgwire.AsyncConnection, where: str
) -> None:
    asked: list[pgwire.AsyncPipelineQuery[Any]] = []

    async def work() -> None:
        async with conn.pipeline() as p:
            asked.append(p.query("select 1"))
            asked.append(p.query("select pg_sleep(60)"))
            asked.append(p.query("select pg_sleep(60)"))
            if where == "body":
                await asked[2].result()

    async with asyncio.timeout(20):
        task = asyncio.create_task(work())
        while not (asked and asked[0].done):  # noqa: ASYNC110 (it sleeps not even once)
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await asked[0].result()).scalar() == 1
        for each in asked[1:]:
            assert each.done
            with pytest.raises(asyncio.CancelledError):
                await each.result()
        assert await marker(conn)


async def test_a_cancelled_wait_costs_only_its_own_query(conn: pgwire.AsyncConnection) -> None:
    async with conn.pipeline() as p:
        slow, two = p.query("select pg_sleep(60)"), p.query("select 2")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await slow.result()
    assert (await two.result()).scalar() == 2
    assert await marker(conn)


async def test_a_lease_released_inside_of_the_block(dsn: str, connect: Connect) -> None:
    async with pgwire.AsyncPool(dsn, max_size=1, max_pipeline=4) as pool:
        await pool.query("select 0")
        lease = await pool.connect()
        assert not lease._session.unordered
        async with lease.pipeline() as p:
            p.query("select 1")
            lease.release()
            with pytest.raises(pgwire.InterfaceError, match="released"):
                p.query("select 2")
        assert (await pool.query("select 3")).scalar() == 3
