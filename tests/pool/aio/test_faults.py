"""An asyncio pool whose network, server or loop misbehaves, on both event loops.

Most of what can go wrong is played on both pools by `test_faults_server` and `test_faults_frozen`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.aio import driver, giving_up
from pgwire.pool import aio_chores
from tests.pool.aio.support import (
    SLEEP,
    ask,
    burst,
    ended_with,
    in_thread,
    open_connections,
    pid_of,
    pool,
    start,
    until,
    until_running,
)
from tests.pool.support import kill
from tests.pool.watching import within
from tests.support.guards import go_on
from tests.support.proxy import Link, Proxy
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire import embedded

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(embedded_server: embedded.Server) -> Iterator[Proxy]:
    with Proxy(embedded_server.host, embedded_server.port) as made:
        yield made


def through(server: embedded.Server, proxy: Proxy) -> str:
    return proxy.dsn(server.url)


# ------------------------------------------------------------------ while idle


@pytest.mark.parametrize("busy", [False, True], ids=["loop runs", "loop is kept busy"])
async def test_backends_killed_while_idle_cost_no_error(
    embedded_server: embedded.Server, busy: bool
) -> None:
    """Also where the loop could not hear of it, as a program kept it busy until the burst."""
    dsn = embedded_server.url
    async with pool(dsn, max_size=20, max_opening=20) as p:
        pids = await open_connections(p, 20)
        if busy:
            kill(embedded_server.socket_url, pids)
        else:
            await in_thread(kill, embedded_server.socket_url, pids)
        await burst(p, 20)
        assert p.stats().lost == 20


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.reset])
async def test_connections_cut_while_idle_cost_no_error(
    embedded_server: embedded.Server, proxy: Proxy, how: Callable[[Proxy], None]
) -> None:
    async with pool(through(embedded_server, proxy), max_size=20, max_opening=20) as p:
        await open_connections(p, 20)
        how(proxy)
        for link in proxy.links:
            for thread in link.threads:  # until the cut has gone through
                thread.join(LATE)
        await burst(p, 20)


async def test_a_killed_connection_is_never_shared(embedded_server: embedded.Server) -> None:
    async with pool(embedded_server.url, max_size=2, max_pipeline=8) as p:
        for _ in range(3):
            await ask(p, 1)
        kill(embedded_server.socket_url, [c.session.backend_key.pid for c in connections(p)])
        await burst(p, 8)


def connections(p: pgwire.AsyncPool) -> list[Any]:
    return list(p._engine.core.connections())


# ------------------------------------------------------------------ under load


async def test_backends_killed_under_load(embedded_server: embedded.Server) -> None:
    """Each query that was running fails once, clearly; nothing else does."""
    async with pool(embedded_server.url, max_size=5, max_opening=5) as p:
        victims = [p.query(SLEEP, [n]) for n in range(5)]
        pids = await until_running(embedded_server.socket_url, 5)
        waiting = [start(ask(p, n)) for n in range(20)]
        await in_thread(kill, embedded_server.socket_url, pids)
        for victim in victims:
            error = await ended_with(victim)
            assert isinstance(error, pgwire.ConnectionLost)
            assert isinstance(error, pgwire.errors.AdminShutdown)
        assert await asyncio.gather(*waiting) == list(range(20))
        await burst(p, 20)
        stats = p.stats()
        assert (stats.leased, stats.waiting, stats.open_failures) == (0, 0, 0)


async def test_a_transaction_whose_backend_dies(embedded_server: embedded.Server) -> None:
    async with pool(embedded_server.url, max_size=1) as p:
        with pytest.raises(pgwire.ConnectionLost):
            async with p.transaction() as conn:
                await conn.query("select pg_terminate_backend(pg_backend_pid())")
        assert await ask(p, 7) == 7


# ------------------------------------------------------------------ peers that say nothing


async def test_a_cleaning_that_is_never_answered_keeps_nobody_waiting(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits behind it has his time, and the connection is given up."""
    monkeypatch.setattr(giving_up, "PATIENCE", 0.1)
    async with pool(through(embedded_server, proxy), max_size=1) as p:
        lease = await p.connect()
        await lease.query("begin")
        proxy.swallow()
        lease.release()
        with within(LATE), pytest.raises(pgwire.QueryTimeout):
            await p.query("select 1", timeout=0.05)
        with within(LATE):
            assert await ask(p, 1) == 1


async def test_a_cleaning_that_is_never_answered_does_not_hold_up_the_end(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-12: it has its time, and a lease that was given back behind it too."""
    monkeypatch.setattr(driver, "CLEANING_PATIENCE", 0.1)
    monkeypatch.setattr(giving_up, "PATIENCE", 0.1)
    async with pool(through(embedded_server, proxy), max_size=1) as p:
        lease = await p.connect()
        await lease.query("begin")
        proxy.swallow()
        lease.release()
        (await p.connect()).release()
        with within(LATE):
            await p.end()


async def test_what_is_being_cleaned_is_closed_without_a_cancel_request(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """Which would have been one connection more, and a process of the server."""
    async with pool(through(embedded_server, proxy), max_size=1) as p:
        async with p.connect() as conn:
            await conn.query("begin")
    assert proxy.accepted == 1


async def test_half_open_peers(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells that they are. A query ends in time; the check finds the others."""
    monkeypatch.setattr(giving_up, "PATIENCE", 0.1)
    monkeypatch.setattr(aio_chores, "CHECK_TIMEOUT", 0.1)
    async with pool(through(embedded_server, proxy), max_size=2, check_after=0) as p:
        await open_connections(p, 2)
        proxy.swallow()
        with within(LATE):
            await burst(p, 6)
        assert p.stats().lost >= 2  # more, where the machine is busy for so long
        await until(lambda: not p.stats().opening)  # or that would be half-open as well
        proxy.swallow()
        lease = await p.connect()
        assert (await lease.query("select 1")).scalar() == 1
        proxy.swallow()
        with within(LATE), pytest.raises(pgwire.QueryTimeout):
            await lease.query("select 1", timeout=0.05)
        lease.release()
        with within(LATE):
            await burst(p, 4)


async def test_a_backend_that_is_frozen(
    embedded_server: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be cancelled; its connection is given up, and the pool goes on."""
    monkeypatch.setattr(giving_up, "PATIENCE", 0.1)
    async with pool(embedded_server.url, max_size=1) as p:
        pid = await pid_of(p)
        os.kill(pid, signal.SIGSTOP)
        try:
            with within(LATE):
                with pytest.raises(pgwire.QueryTimeout):
                    await p.query("select 1", timeout=0.05)
                assert await pid_of(p) != pid
        finally:
            os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("cancel", ["query", "lease", "transaction"])
async def test_a_cancelled_task_on_a_frozen_backend(
    embedded_server: embedded.Server, monkeypatch: pytest.MonkeyPatch, cancel: str
) -> None:
    """The task ends at once, or as soon as the connection has been given up."""
    monkeypatch.setattr(giving_up, "PATIENCE", 0.1)

    async def lease() -> None:
        async with p.connect() as conn:
            await conn.query("select 1")

    async def transaction() -> None:
        async with p.transaction() as conn:
            await conn.query("select 1")

    async with pool(embedded_server.url, max_size=1) as p:
        pid = await pid_of(p)
        os.kill(pid, signal.SIGSTOP)
        try:
            work = {
                "query": lambda: p.query("select 1"),
                "lease": lease,
                "transaction": transaction,
            }
            task = start(work[cancel]())
            await asyncio.sleep(0.02)
            task.cancel()
            with within(LATE):
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await pid_of(p) != pid
        finally:
            os.kill(pid, signal.SIGCONT)


# ------------------------------------------------------------------ the server


async def test_a_restart_under_load(fresh_server: embedded.Server) -> None:
    """Who waits is served, in time; who was running hears of it, once for each connection."""
    lost: list[BaseException] = []
    done = 0

    async def work(number: int) -> None:
        nonlocal done
        for i in range(number, number + 200):
            try:
                assert await ask(p, i) == i
            except pgwire.ConnectionLost as error:
                lost.append(error)
            done += 1

    async with pool(fresh_server.url, max_size=4) as p:
        tasks = [start(work(n)) for n in range(8)]
        await until(lambda: done > 200)
        await in_thread(fresh_server.stop, "fast")
        waits = start(ask(p, 7))
        await until(lambda: p.waiting_count)
        await in_thread(fresh_server.start)
        assert await waits == 7
        await asyncio.gather(*tasks)
        assert len(lost) <= 4


# ------------------------------------------------------------------ at any byte


async def conversation(p: pgwire.AsyncPool) -> None:
    """What a pooled connection goes through, until the line breaks."""
    with suppress(pgwire.ConnectionLost):
        async with p.connect() as conn:
            assert (await conn.query("select 'first'")).scalar() == "first"
            await conn.query("begin")
            await conn.query("set application_name = 'changed'")
    shared = [p.query("select $1::int", [n]) for n in range(3)]
    for number, found in enumerate(await asyncio.gather(*shared, return_exceptions=True)):
        if isinstance(found, BaseException):
            assert isinstance(found, pgwire.ConnectionLost)
        else:
            assert found.scalar() == number
    with suppress(pgwire.ConnectionLost):
        assert (await p.query("show application_name")).scalar() == "sweep"


@pytest.mark.parametrize(("how", "step", "most"), [(Link.cut, 11, 1), (Link.reset, 13, 8)])
async def test_a_line_that_breaks_anywhere_in_a_conversation(
    embedded_server: embedded.Server,
    proxy: Proxy,
    how: Callable[[Link], None],
    step: int,
    most: int,
) -> None:
    """Afterwards, and meanwhile, every answer is that of its own query, shared or not."""
    dsn = proxy.dsn(embedded_server.url_for("trusted"))
    async with pool(dsn, max_size=1, application_name="sweep", max_pipeline=most) as p:
        await p.wait()
        begun = proxy.links[0].received
        await conversation(p)
        for size in range(begun, proxy.links[0].received, step):
            go_on()
            proxy.break_after(size, how)
            p.expire()
            await conversation(p)
            assert (await p.query("select 'marker'")).scalar() == "marker"
        assert proxy.accepted > 200 / step


# ------------------------------------------------------------------ loops that are kept busy


async def test_a_loop_that_is_kept_busy_loses_no_time_out(dsn: str) -> None:
    """Timers come late then, but nobody is granted anything after its deadline. I-14."""
    async with pool(dsn, max_size=1) as p:
        held = await p.connect()
        late = start(p.connect(timeout=0.02))
        await asyncio.sleep(0)
        time.sleep(0.05)  # noqa: ASYNC251 (a program that holds up its loop)
        held.release()
        with pytest.raises(pgwire.PoolTimeout):
            await late
        assert await ask(p, 1) == 1
