"""The end of an asyncio pool, in all its forms. I-22, I-28, I-29."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import aio_chores, aio_ending
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
from tests.pool.support import PATIENCE, alive, until as until_now

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = r"test_end\.py:\d+ in "


async def test_what_was_asked_before_is_served_in_order_and_nothing_after(dsn: str) -> None:
    served: list[Any] = []
    p = pgwire.AsyncPool(dsn, max_size=1)
    held = await p.connect()
    before = [p.query("select $1::int", [n]) for n in range(5)]
    for future in before:
        future.add_done_callback(lambda done: served.append(done.result().scalar()))
    ending = start(p.end())
    await step()
    after = p.query("select 1")
    assert isinstance(after.exception(), pgwire.PoolClosed)
    for request in (p.connect(), p.query_many("select $1::int", [[1]])):
        with pytest.raises(pgwire.PoolClosed):
            await request
    held.release()
    await ending
    assert [future.result().scalar() for future in before] == served == list(range(5))
    assert_ended(p)


async def test_it_opens_what_earlier_requests_need(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn)
    future = p.query("select 1")
    await p.end()
    assert future.result().scalar() == 1
    assert_ended(p)


async def test_twice_one_after_the_other_at_once_and_before_anything(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn)
    await p.end()
    await p.end()
    await p.close()
    p = pgwire.AsyncPool(dsn, max_size=1)
    held = await p.connect()
    ends = [start(p.end()), start(p.end(PATIENCE)), start(p.close())]
    await step()
    assert not any(end.done() for end in ends)
    held.release()
    await asyncio.gather(*ends)
    assert_ended(p)


async def test_a_cancelled_end_is_not_undone(dsn: str) -> None:
    """I-22."""
    p = pgwire.AsyncPool(dsn, max_size=1)
    held = await p.connect()
    ending = start(p.end())
    await step()
    ending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert isinstance(p.query("select 1").exception(), pgwire.PoolClosed)
    held.release()
    await until(lambda: p.total_count == 0)
    await p.end()
    assert_ended(p)


async def test_by_the_holder_of_a_lease_is_an_error_that_names_the_place(dsn: str) -> None:
    async with pool(dsn) as p, p.connect() as lease:
        with pytest.raises(pgwire.InterfaceError, match=f"taken at .*{HERE}test_by_the_holder"):
            await p.end()
        assert (await p.query("select 1")).scalar() == 1  # the pool goes on
        assert (await lease.query("select 1")).scalar() == 1


async def test_with_a_timeout_the_holder_of_a_lease_may_end_the_pool(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn)
    lease = await p.connect()
    with pytest.raises(pgwire.PoolTimeout, match=f"1 lease still out.*{HERE}"):
        await p.end(timeout=0.02)
    with pytest.raises(pgwire.InterfaceError):
        await lease.query("select 1")
    lease.release()
    assert_ended(p)


@pytest.mark.parametrize("timeout", [0, 0.05])
async def test_by_force_cancels_cuts_and_names_the_leases(dsn: str, timeout: float) -> None:
    p = pgwire.AsyncPool(dsn, max_size=2)

    async def keep() -> None:
        async with p.connect() as conn:
            await conn.query(SLEEP, [1])

    keeping = start(keep())
    keeping.set_name("keeper of leases")
    alone = p.query(SLEEP, [2])
    await until_running(dsn, 2)
    waiting = [p.query("select 1"), start(p.connect())]
    await step()
    with pytest.raises(pgwire.PoolTimeout) as caught:
        await p.end(timeout=timeout)
    text = str(caught.value)
    assert re.search(rf"1 lease still out, 1 query .*taken at .*{HERE}keep by keeper of l", text)
    assert caught.value.stats.leased == 2
    for who in waiting:
        assert isinstance(await ended_with(who), pgwire.PoolClosed)
    for victim in (keeping, alone):
        error = await ended_with(victim)
        assert isinstance(error, pgwire.errors.QueryCanceled | pgwire.InterfaceError)
    await until_running(dsn, 0)
    assert_ended(p)


async def test_by_force_twice_at_once(dsn: str) -> None:
    """For the second, the leases are closed already, and nobody's: there was an AttributeError."""
    p = pgwire.AsyncPool(dsn)
    lease = await p.connect()
    ends = [start(p.end(timeout=0)) for _ in range(2)]
    for error in [await ended_with(end) for end in ends]:
        assert isinstance(error, pgwire.PoolTimeout)
        assert re.search(f"1 lease still out.*taken at .*{HERE}", str(error))
    lease.release()
    assert_ended(p)


async def test_by_force_ends_the_watch_over_long_leases_too(dsn: str) -> None:
    """They have been closed: the timer went on for as long as the program kept one, and raised."""
    p = pgwire.AsyncPool(dsn, leak_after=0.05)
    lease = await p.connect()
    with pytest.raises(pgwire.PoolTimeout):
        await p.end(timeout=0)
    assert p._engine.keeper._timer is None
    lease.release()
    assert_ended(p)


async def test_by_force_while_another_end_waits_without_a_limit(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn)
    lease = await p.connect()
    patient = start(p.end())
    await step()
    with pytest.raises(pgwire.PoolTimeout):
        await p.end(timeout=0)
    await patient
    assert p.total_count == 0
    lease.release()
    assert_ended(p)


async def test_by_force_ends_openings_that_would_take_for_ever() -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        p = pgwire.AsyncPool(f"host=127.0.0.1 port={port} user=x sslmode=disable")
        future = p.query("select 1")
        await until(lambda: p.stats().opening)
        await asyncio.sleep(0.01)
        with pytest.raises(pgwire.PoolTimeout, match="0 leases still out"):
            await p.end(timeout=0.01)
        assert isinstance(future.exception(), pgwire.PoolClosed)
        assert_ended(p)


class Guest:
    """A hook or callback that hangs where it is called first, until the test is over."""

    def __init__(self, how: str) -> None:
        self.how = how
        self.is_let_go = asyncio.Event()
        self.pids: list[int] = []
        self.tasks: list[asyncio.Task[Any] | None] = []

    async def __call__(self, conn: pgwire.AsyncConnection) -> None:
        self.pids.append(conn.backend_pid)
        self.tasks.append(asyncio.current_task())
        if self.how == "on its connection":
            await conn.query(SLEEP, [1])
        while not self.is_let_go.is_set():
            try:
                await self.is_let_go.wait()
            except asyncio.CancelledError:
                if self.how != "stubborn":
                    raise

    async def leave(self) -> None:
        self.is_let_go.set()
        await until(lambda: all(task is None or task.done() for task in self.tasks))


def until_gone(dsn: str, pid: int) -> None:
    with pgwire.connect(dsn) as witness:
        until_now(lambda: not alive(witness, [pid]))


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be waited for takes longer than any test may."""
    monkeypatch.setattr(aio_ending, "ABORT_TIMEOUT", 3600.0)
    for name in ("OPEN_TIMEOUT", "RESET_TIMEOUT", "CALLBACK_TIMEOUT"):
        monkeypatch.setattr(aio_chores, name, 3600.0)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("how", ["on its connection", "elsewhere", "stubborn"])
@pytest.mark.parametrize("where", ["on_connect", "reset", "connect"])
async def test_by_force_waits_for_no_guest_and_leaves_no_connection(
    dsn: str, where: Any, how: str
) -> None:
    """It took five seconds more where a coroutine for `reset` or "connect" hung."""
    guest = Guest(how)
    hooks: dict[str, Any] = {} if where == "connect" else {where: guest}
    p = pgwire.AsyncPool(dsn, max_size=1, **hooks)
    if not hooks:
        p.on(where, guest)

    async def use() -> None:
        (await p.connect()).release()

    user = start(use())
    await until(lambda: guest.pids)
    if how == "on its connection":
        await until_running(dsn, 1)
    async with asyncio.timeout(PATIENCE):
        with pytest.raises(pgwire.PoolTimeout, match=r"end\(0.05\)"):
            await p.end(timeout=0.05)
    await ended_with(user)
    await asyncio.to_thread(until_gone, dsn, guest.pids[0])
    await guest.leave()
    assert_ended(p)


@pytest.mark.usefixtures("no_patience")
async def test_a_callback_that_hangs_is_waited_for_within_the_timeout_only(dsn: str) -> None:
    guest = Guest("elsewhere")
    p = pgwire.AsyncPool(dsn)
    p.on("remove", guest)
    await p.query("select 1")
    async with asyncio.timeout(PATIENCE):
        await p.end(timeout=0.2)  # nothing else is left of it
    assert guest.pids
    await guest.leave()
    assert_ended(p)


@pytest.mark.usefixtures("no_patience")
@pytest.mark.parametrize("where", ["on_connect", "reset", "connect"])
async def test_what_was_left_to_itself_is_not_waited_for(
    dsn: str, where: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPEN_TIMEOUT", "RESET_TIMEOUT", "CALLBACK_TIMEOUT"):
        monkeypatch.setattr(aio_chores, name, 0.5)
    guest = Guest("stubborn")
    hooks: dict[str, Any] = {} if where == "connect" else {where: guest}
    async with asyncio.timeout(PATIENCE):
        async with pgwire.AsyncPool(dsn, max_size=1, **hooks) as p:
            if not hooks:
                p.on(where, guest)
            await ended_with(p.query("select 1"))
            await until(lambda: guest.pids)
    await guest.leave()
    assert_ended(p)


async def test_a_block_left_by_an_exception_keeps_it(dsn: str) -> None:
    p = pgwire.AsyncPool(dsn)

    async def use() -> None:
        async with p:
            await p.query("select 1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await use()
    assert_ended(p)


async def test_a_block_that_is_cancelled_ends_the_pool_all_the_same(dsn: str) -> None:
    pools: list[pgwire.AsyncPool] = []

    async def use() -> None:
        async with pgwire.AsyncPool(dsn) as p:
            pools.append(p)
            await p.query(SLEEP, [1])

    task = start(use())
    await until_running(dsn, 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert_ended(pools[0])


# ------------------------------------------------------------------ from callbacks and hooks

WHERE: dict[str, Callable[[pgwire.AsyncPool], Any]] = {
    "connect": lambda p: p.query("select 1"),
    "acquire": lambda p: p.query("select 1"),
    "release": lambda p: p.query("select 1"),
    "remove": lambda p: p.expire(),
}


@pytest.mark.parametrize("event", list(WHERE))
async def test_a_callback_that_would_wait_for_itself_is_told_so(dsn: str, event: Any) -> None:
    told: list[BaseException | None] = []

    async def callback(_conn: object) -> None:
        told.append(await ended_with(p.end()))

    async with pool(dsn) as p:
        await p.wait()
        p.on(event, callback)
        if event == "connect":
            p.expire()
        WHERE[event](p)
        await until(lambda: told)
        p.off(event, callback)
        assert (await p.query("select 1")).scalar() == 1  # the pool goes on
    assert isinstance(told[0], pgwire.InterfaceError)
    assert "callback or hook that calls it" in str(told[0])


@pytest.mark.parametrize("event", list(WHERE))
async def test_a_callback_may_have_another_task_end_the_pool(dsn: str, event: Any) -> None:
    tasks: list[asyncio.Task[None]] = []
    p = pgwire.AsyncPool(dsn)

    def callback(_conn: object) -> None:
        tasks.append(start(p.end()))

    await p.wait()
    p.on(event, callback)
    if event == "connect":
        p.expire()
    WHERE[event](p)
    await until(lambda: tasks)
    await asyncio.gather(*tasks)
    assert_ended(p)


async def test_a_hook_that_would_wait_for_itself_is_told_so(dsn: str) -> None:
    async def hook(_conn: object) -> None:
        await p.end()

    async with pool(dsn, on_connect=hook) as p:
        with pytest.raises(pgwire.InterfaceError, match="hook that calls it"):
            await p.connect()


async def test_with_a_timeout_a_callback_may_end_the_pool(dsn: str) -> None:
    caught: list[BaseException | None] = []
    p = pgwire.AsyncPool(dsn)

    async def callback(_conn: object) -> None:
        async with asyncio.timeout(PATIENCE):
            caught.append(await ended_with(p.end(timeout=0.01)))

    held = await p.connect()
    p.on("acquire", callback)
    future = p.query("select 1")
    assert (await future).scalar() == 1
    await until(lambda: caught)
    held.release()
    await p.end()
    assert isinstance(caught[0], pgwire.PoolTimeout)
    assert_ended(p)


async def test_events_come_before_it_returns(dsn: str) -> None:
    removed: list[int] = []
    async with pool(dsn, max_size=3) as p:
        p.on("remove", lambda conn: removed.append(conn.backend_pid))
        leases = [await p.connect() for _ in range(3)]
        pids = [lease.backend_pid for lease in leases]
        for lease in leases:
            lease.release()
    assert sorted(removed) == sorted(pids)
