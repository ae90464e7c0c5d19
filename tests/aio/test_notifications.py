"""Waiting for notifications among tasks: cancelled, closed, released, lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import pgwire

if TYPE_CHECKING:
    from tests.aio.conftest import Connect
    from tests.support.loops import Runner

PATIENCE = 20.0


async def notify(conn: pgwire.AsyncConnection, *payloads: object) -> None:
    for payload in payloads:
        await conn.query("select pg_notify('news', $1)", [str(payload)])


async def sleeper(notifications: pgwire.AsyncNotifications) -> asyncio.Task[pgwire.Notification]:
    """A task that waits for the next, once it really does."""

    async def take() -> pgwire.Notification:
        return await anext(notifications)

    task = asyncio.create_task(take())
    await asyncio.sleep(0)
    assert notifications._inbox.watchers
    return task


async def test_who_waits_keeps_no_other_task(conn: pgwire.AsyncConnection) -> None:
    await conn.listen("news")
    task = await sleeper(conn.notifications())
    assert (await conn.query("select 7")).scalar() == 7
    await notify(conn, "own")
    assert (await task).payload == "own"


async def test_cancelling_a_step_loses_nothing(
    dsn: str, conn: pgwire.AsyncConnection, connect: Connect
) -> None:
    count = 300
    await conn.listen("news")
    other = await connect(dsn)
    notifications = conn.notifications(timeout=PATIENCE)
    sender = asyncio.create_task(notify(other, *range(count)))
    found: list[str] = []
    cancelled = 0
    while len(found) < count:
        task = asyncio.ensure_future(anext(notifications))
        for _ in range(cancelled % 4):
            await asyncio.sleep(0)
        task.cancel()
        try:
            found.append((await task).payload)
        except asyncio.CancelledError:
            cancelled += 1
            await asyncio.sleep(0)
    await sender
    assert cancelled
    assert found == [str(n) for n in range(count)]


async def test_one_that_is_cancelled_when_it_is_woken_leaves_it_to_the_next(
    conn: pgwire.AsyncConnection,
) -> None:
    await conn.listen("news")
    first, second = await sleeper(conn.notifications()), await sleeper(conn.notifications())
    conn._session.events.hear().put(pgwire.Notification("news", "a", 1))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert (await second).payload == "a"


async def test_several_tasks_share_them(
    dsn: str, conn: pgwire.AsyncConnection, connect: Connect
) -> None:
    await conn.listen("news")
    tasks = [await sleeper(conn.notifications()) for _ in range(3)]
    await notify(await connect(dsn), 1, 2, 3)
    found = await asyncio.gather(*tasks)
    assert sorted(notification.payload for notification in found) == ["1", "2", "3"]


async def test_closing_ends_it(conn: pgwire.AsyncConnection) -> None:
    await conn.listen("news")
    task = await sleeper(conn.notifications())
    await conn.close()
    with pytest.raises(pgwire.InterfaceError, match="closed"):
        await task


async def test_a_connection_that_is_lost_wakes(
    dsn: str, conn: pgwire.AsyncConnection, connect: Connect
) -> None:
    await conn.listen("news")
    task = await sleeper(conn.notifications())
    other = await connect(dsn)
    await other.query("select pg_terminate_backend($1)", [conn.backend_pid])
    with pytest.raises(pgwire.ConnectionLost, match="terminating"):
        await task


async def test_releasing_the_lease_ends_it(dsn: str, runner: Runner) -> None:
    async with pgwire.AsyncPool(dsn, max_size=1) as pool:
        lease = await pool.connect()
        await lease.listen("news")
        notifications = lease.notifications()
        task = await sleeper(notifications)
        lease.release()
        with pytest.raises(pgwire.InterfaceError, match="has been released"):
            await task
        with pytest.raises(pgwire.InterfaceError, match="has been released"):
            await anext(notifications)
        async with pool.connect() as again:
            found = await again.query("select count(*) from pg_listening_channels()")
            assert found.scalar() == 0


async def test_another_loop_is_told_so(conn: pgwire.AsyncConnection) -> None:
    notifications = conn.notifications()

    def elsewhere() -> None:
        with pytest.raises(pgwire.InterfaceError, match="another event loop"):
            asyncio.run(_step(notifications))

    await asyncio.to_thread(elsewhere)


async def _step(notifications: pgwire.AsyncNotifications) -> None:
    await anext(notifications)
