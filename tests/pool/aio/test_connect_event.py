"""Coroutines that are told of a new connection: they are done with it before anybody has it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.pool.aio.support import pool

if TYPE_CHECKING:
    import pgwire


@pytest.mark.parametrize("delay", [0, 0.02])
async def test_a_coroutine_for_connect_ends_before_the_first_lease(dsn: str, delay: float) -> None:
    """It was not waited for: requests failed, or its statements ran in the midst of a lease."""

    async def prepare(conn: pgwire.AsyncConnection) -> None:
        await asyncio.sleep(delay)
        await conn.query("set work_mem = '77MB'")

    async with pool(dsn, max_size=1) as p:
        p.on("connect", prepare)
        async with p.connect() as conn:
            assert (await conn.query("show work_mem")).scalar() == "77MB"
        async with p.connect() as conn:
            assert (await conn.query("show work_mem")).scalar() != "77MB"


async def test_one_that_does_not_end_holds_it_up_for_so_long_only(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgwire.pool.aio_chores.OPEN_TIMEOUT", 0.05)
    done = asyncio.Event()

    async def watch(_conn: object) -> None:
        await done.wait()

    async with pool(dsn, max_size=1) as p:
        p.on("connect", watch)
        assert (await p.query("select 1")).scalar() == 1
        done.set()
