"""Coroutines that are told of a new connection: they are done with it before anybody has it."""

from __future__ import annotations

import asyncio

import pytest

import pgwire
from tests.pool.aio.support import pool
from tests.pool.support import messages


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
    dsn: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And what it does with the connection then disturbs nobody: it ran in the midst of a lease."""
    monkeypatch.setattr("pgwire.pool.aio_chores.CALLBACK_TIMEOUT", 0.05)
    go_on, ends = asyncio.Event(), asyncio.Queue[object]()

    async def watch(conn: pgwire.AsyncConnection) -> None:
        await go_on.wait()
        try:
            ends.put_nowait(await conn.query("set work_mem = '77MB'"))
        except pgwire.Error as error:
            ends.put_nowait(error)

    async with pool(dsn, max_size=1, name="host") as p:
        p.on("connect", watch)
        async with p.connect() as lease:
            go_on.set()
            assert isinstance(await ends.get(), pgwire.InterfaceError)
            assert (await lease.query("show work_mem")).scalar() != "77MB"
    (warning,) = messages(caplog.records)
    assert warning.startswith("host: a callback for 'connect' has not ended within 0.05 s")
