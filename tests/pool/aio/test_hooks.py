"""Hooks and events of the asyncio pool: coroutines, what they may do, what if they fail. I-31."""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import ref

import pytest

import pgwire
from pgwire.pool import aio_chores
from tests.pool.aio.support import SLEEP, ended_with, pid_of, pool, step, until, until_running
from tests.pool.support import PATIENCE, messages

if TYPE_CHECKING:
    from tests.support.loops import Runner

EVENTS: tuple[Any, ...] = ("connect", "acquire", "release", "remove")


class Stop(BaseException):
    """What no program catches."""


# ------------------------------------------------------------------ hooks


async def test_a_coroutine_function_is_awaited_before_the_first_lease(dsn: str) -> None:
    async def hook(conn: pgwire.AsyncConnection) -> None:
        await conn.query("set work_mem = '77MB'")
        await asyncio.sleep(0.01)
        await conn.query("set statement_timeout = 7000")

    async with pool(dsn, max_size=1, on_connect=hook) as p:
        async with p.connect() as conn:
            assert (await conn.query("show work_mem")).scalar() == "77MB"
            await conn.query("set statement_timeout = 1")
        assert (await p.query("show statement_timeout")).scalar() == "7s"


async def test_a_plain_function_may_give_something_to_wait_for(dsn: str) -> None:
    async with pool(dsn, on_connect=lambda c: c.query("set work_mem = '77MB'")) as p:
        assert (await p.query("show work_mem")).scalar() == "77MB"


async def test_a_pool_keeps_no_frames_of_a_hook_or_of_who_is_told(dsn: str) -> None:
    """Until an opening succeeded, which may be never."""
    kept: list[ref[Stop]] = []

    def keep() -> Stop:
        treasure = Stop()
        kept.append(ref(treasure))
        return treasure

    async def hook(_conn: object) -> None:
        treasure = keep()
        await asyncio.sleep(0)
        raise ValueError(f"no {treasure}")

    async def ask() -> None:
        treasure = keep()
        with suppress(ValueError):
            raise TypeError(f"no error for {treasure}: {await p.query('select 1')}")

    async with pool(dsn, max_size=1, on_connect=hook) as p:
        await ask()
        assert len(kept) == 2
        await until(lambda: gc.collect() >= 0 and [found() for found in kept] == [None, None])


@pytest.mark.parametrize("option", ["on_connect", "reset"])
async def test_a_coroutine_that_hangs_is_cancelled_and_costs_its_connection(
    dsn: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-12: on its connection, elsewhere, or where it does not want to be cancelled."""
    monkeypatch.setattr(aio_chores, "OPEN_TIMEOUT", 0.1)
    monkeypatch.setattr(aio_chores, "RESET_TIMEOUT", 0.1)
    cancelled: list[str] = []

    async def on_connection(conn: pgwire.AsyncConnection) -> None:
        await conn.query("select pg_sleep(600)")

    async def elsewhere(_conn: object) -> None:
        await asyncio.get_running_loop().create_future()

    async def stubborn(_conn: object) -> None:
        try:
            await asyncio.sleep(600)
        except asyncio.CancelledError:
            cancelled.append("stubborn")

    hangs: list[Any] = [on_connection, elsewhere, stubborn]

    async def hook(conn: pgwire.AsyncConnection) -> None:
        if hangs:
            await hangs.pop()(conn)

    async with pool(dsn, max_size=1, **{option: hook}) as p:
        pids: set[int] = set()
        while hangs:
            error = await ended_with(p.query("select pg_backend_pid()"))
            if option == "on_connect":
                assert isinstance(error, pgwire.OperationalError)
                assert "on_connect took longer" in str(error)
            else:
                assert error is None
            await until(lambda: p.total_count == 0)
        monkeypatch.setattr(aio_chores, "OPEN_TIMEOUT", PATIENCE)
        monkeypatch.setattr(aio_chores, "RESET_TIMEOUT", PATIENCE)
        pids.add(await pid_of(p))
        assert await pid_of(p) in pids
    assert cancelled == ["stubborn"]


@pytest.mark.parametrize(
    "failure", [ValueError("no"), SystemExit(3), Stop(), asyncio.CancelledError()]
)
async def test_what_on_connect_raises_is_for_the_caller_at_once(
    dsn: str, failure: BaseException
) -> None:
    async def hook(_conn: object) -> None:
        if failures:
            raise failures.pop()

    failures = [failure]
    async with pool(dsn, checkout_timeout=None, on_connect=hook) as p:
        with pytest.raises((ValueError, pgwire.OperationalError)) as caught:
            await p.query("select 1")
        assert failure in (caught.value, caught.value.__cause__)
        assert p.total_count == 0
        assert (await p.query("select 1")).scalar() == 1


async def test_what_a_hook_leaves_open_is_closed(dsn: str) -> None:
    """A transaction is rolled back; what it does not wait for is its connection's end."""

    async def begins(conn: pgwire.AsyncConnection) -> None:
        await conn.query("begin")
        await conn.query("create temp table hooked (a int)")

    async with pool(dsn, on_connect=begins) as p, p.connect() as conn:
        assert conn.transaction_status is pgwire.TransactionStatus.IDLE
        assert (await conn.query("select to_regclass('pg_temp.hooked')::text")).scalar() is None

    forgotten: list[Any] = []

    async def forgets(conn: pgwire.AsyncConnection) -> None:
        forgotten.append(conn.query("select pg_sleep(60)"))

    async with pool(dsn, on_connect=forgets) as p:
        with pytest.raises(pgwire.OperationalError, match="left its connection closed or in use"):
            await p.query("select 1")
    await asyncio.gather(*forgotten, return_exceptions=True)


async def test_whatever_a_coroutine_function_raises_is_logged(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def callback(_conn: object) -> None:
        raise Stop

    async with pool(dsn) as p:
        p.on("connect", callback)
        p.on("acquire", callback)
        assert (await p.query("select 1")).scalar() == 1
    told = [record.getMessage().split(": ")[1] for record in caplog.records]
    assert told == [f"a callback for {event!r} raised" for event in ("connect", "acquire")]


@pytest.mark.parametrize("option", ["on_connect", "reset"])
async def test_hooks_may_use_the_pool(dsn: str, option: str) -> None:
    answers: list[Any] = []

    async def hook(_conn: object) -> None:
        if not answers:  # what it does brings it about again
            answers.append(None)
            answers.append((await p.query("select 7")).scalar())

    async with pool(dsn, max_size=3, **{option: hook}) as p:
        async with p.connect():  # one to be reset, one to be used meanwhile
            assert (await p.query("select 1")).scalar() == 1
        await until(lambda: len(answers) == 2)
    assert answers[1] == 7


@pytest.mark.parametrize("stop", [asyncio.CancelledError, Stop])
async def test_a_row_factory_costs_no_connection(dsn: str, stop: type[BaseException]) -> None:
    """Whatever it raises, or if it has its own query cancelled."""

    def factory(row: Any) -> Any:
        raise stop

    async with pool(dsn, max_size=1) as p:
        with pytest.raises(stop):
            await p.query("select 1", row=factory)
        queries: list[asyncio.Future[Any]] = []
        queries.append(p.query("select 2", row=lambda row: queries[0].cancel()))
        with pytest.raises(asyncio.CancelledError):
            await queries[0]
        assert (await p.query("select 3")).scalar() == 3
        stats = p.stats()
        assert (stats.opened, stats.idle) == (1, 1)


# ------------------------------------------------------------------ events


async def test_every_event_with_plain_functions_and_with_coroutine_functions(dsn: str) -> None:
    """I-33. "connect" comes before "acquire"; what coroutines still do is waited for by `end`."""
    plain: list[str] = []
    slow: Counter[str] = Counter()

    async def finish(event: str) -> None:
        await asyncio.sleep(0.01)
        slow[event] += 1

    async with pool(dsn, max_size=1) as p:
        for event in EVENTS:
            p.on(event, lambda _conn, event=event: plain.append(event))
            p.on(event, lambda _conn, event=event: finish(event))
        async with p.connect():
            pass
        await p.query("select 1")
        await p.query_many("select $1::int", [[1], [2]])
    assert plain == ["connect", *["acquire", "release"] * 3, "remove"]
    assert slow == Counter(plain)


async def test_the_loss_of_an_idle_connection_is_told_with_its_reason(dsn: str) -> None:
    told: list[Any] = []

    async def callback(error: Exception, conn: pgwire.AsyncConnection) -> None:
        told.append((type(error).__mro__, conn.closed))

    async with pool(dsn, max_size=1) as p, pool(dsn, max_size=1) as other:
        p.on("error", callback)
        pid = await pid_of(p)
        await other.query("select pg_terminate_backend($1)", [pid])
        await until(lambda: told)
        assert p.total_count == 0
    ((mro, closed),) = told
    assert pgwire.errors.AdminShutdown in mro
    assert pgwire.ConnectionLost in mro
    assert closed


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
async def test_a_callback_that_raises_is_logged_and_goes_no_further(
    dsn: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    def plain(_conn: object) -> None:
        raise ZeroDivisionError

    async def coroutine(_conn: object) -> None:
        raise ZeroDivisionError

    async with pool(dsn, max_size=1) as p:
        for event in EVENTS:
            p.on(event, plain if kind == "plain" else coroutine)
        async with p.connect() as conn:
            assert (await conn.query("select 1")).scalar() == 1
        assert (await p.query("select 1")).scalar() == 1
    logged = Counter(messages(caplog.records))
    assert logged == {
        f"{p.name}: a callback for {event!r} raised": number
        for event, number in (("connect", 1), ("acquire", 2), ("release", 2), ("remove", 1))
    }


@pytest.mark.parametrize("event", EVENTS)
def test_the_end_of_the_program_gets_out_of_a_callback_and_leaves_the_pool_whole(
    dsn: str, event: Any, runner: Runner
) -> None:
    """The loop stops; whoever closes the pool in a `finally` must be able to."""
    p = pgwire.AsyncPool(dsn, max_size=1)
    calls: list[int] = []

    def leave(_conn: object) -> None:
        calls.append(1)
        if len(calls) == 1:  # a program ends once
            raise SystemExit(3)

    async def main() -> None:
        async with p.connect() as conn:
            await conn.query("select 1")
        await p.query("select 1")
        p.expire()
        await until(lambda: p.total_count == 0)
        await asyncio.get_running_loop().create_future()

    p.on(event, leave)
    task = runner.loop.create_task(main())
    with pytest.raises(SystemExit):
        runner.run(asyncio.wait((task,), timeout=20))  # which does not raise it once more
    assert calls
    p.off(event, leave)
    task.cancel()

    async def end() -> None:
        await asyncio.gather(task, return_exceptions=True)
        await p.end(5)

    runner.run(end())
    assert p.total_count == 0
    assert p.stats().granted == p.stats().released


async def test_a_callback_that_raises_anything_else_leaves_the_pool_whole(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(_conn: object) -> None:
        raise Stop

    async with pool(dsn, max_size=1) as p:
        for event in EVENTS:
            p.on(event, stop)
        for _ in range(2):
            assert (await p.query("select 1")).scalar() == 1
            async with p.connect() as conn:
                assert (await conn.query("select 1")).scalar() == 1
    assert len(messages(caplog.records)) == 10


async def test_what_a_callback_leaves_behind_is_gone_with_the_lease(dsn: str) -> None:
    """I-23: callbacks for "release" come before the cleaning, and what they began ends first."""
    futures: list[Any] = []

    def leave_behind(conn: pgwire.AsyncConnection) -> None:
        futures.append(conn.query("set search_path to elsewhere"))
        futures.append(conn.query("begin"))

    async with pool(dsn, max_size=1) as p:
        p.on("release", leave_behind)
        pids = set()
        for _ in range(3):
            async with p.connect() as conn:
                pids.add(conn.backend_pid)
                assert conn.transaction_status is pgwire.TransactionStatus.IDLE
                assert (await conn.query("show search_path")).scalar() != "elsewhere"
            assert (await p.query("show search_path")).scalar() != "elsewhere"
        assert len(pids) == 1
        p.off("release", leave_behind)
    await asyncio.gather(*futures)


async def test_what_a_callback_begins_on_a_new_connection_ends_before_its_first_lease(
    dsn: str,
) -> None:
    """I-23."""
    futures: list[Any] = []
    async with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: futures.append(conn.query("begin")))
        async with p.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE
    await asyncio.gather(*futures)


async def test_a_callback_that_closes_new_connections_is_told_of(dsn: str) -> None:
    """They were opened and thrown away as fast as the server would, until the deadline."""
    async with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: conn._driver.abort())
        with pytest.raises(pgwire.OperationalError, match='a callback for "connect" left its conn'):
            await p.query("select 1")
        stats = p.stats()
        assert (stats.opened, stats.open_failures) == (0, 1)


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("kind", ["coroutine", "task"])
async def test_callbacks_may_use_the_pool(dsn: str, event: Any, kind: str) -> None:
    """What a callback does itself, or in tasks of its own, does not call it again."""
    calls: list[int] = []
    answers: list[Any] = []
    tasks: list[asyncio.Task[None]] = []

    async def use() -> None:
        answers.append((await p.query("select 7")).scalar())
        async with p.connect() as conn:
            answers.append((await conn.query("select 7")).scalar())

    def callback(_conn: object) -> Any:
        calls.append(1)
        if event == "connect" and len(calls) > 1:
            answers.extend([7, 7])  # opened for the first one's sake, which waits for it
            return None
        if kind == "coroutine":
            return use()
        tasks.append(asyncio.get_running_loop().create_task(use()))
        return None

    async with pool(dsn, max_size=2) as p:
        p.on(event, callback)
        await p.query("select 1")
        if event == "remove":
            p.expire()
        await until(lambda: len(answers) >= 2 and len(answers) == 2 * len(calls))
        p.off(event, callback)
        await asyncio.gather(*tasks)
    assert set(answers) == {7}
    # A second connection may have been opened for the first one's sake.
    assert len(calls) <= (2 if event == "connect" else 1)


async def test_a_release_function_runs_nobody_elses_code(dsn: str) -> None:
    """I-31: who waited goes on in its own task, not inside of somebody's `release`."""
    order: list[str] = []
    async with pool(dsn, max_size=1) as p:
        lease = await p.connect()
        future = p.query("select 1")
        future.add_done_callback(lambda _: order.append("callback"))
        lease.release()
        order.append("released")
        await future
        await step()
    assert order == ["released", "callback"]


async def test_a_hook_that_is_under_way_when_the_pool_ends_is_waited_for(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    done: list[int] = []

    async def hook(conn: pgwire.AsyncConnection) -> None:
        await conn.query("select pg_sleep(0.05)")
        done.append(1)

    async with pool(dsn, on_connect=hook) as p:
        future = p.query("select 1")
        await step()
    assert (await future).scalar() == 1
    assert done == [1]


async def test_reset_sees_a_clean_session_and_may_be_a_coroutine(dsn: str) -> None:
    seen: list[Any] = []

    async def reset(conn: pgwire.AsyncConnection) -> None:
        seen.append(conn.transaction_status)
        await conn.query("set statement_timeout = 111")

    async with pool(dsn, max_size=1, reset=reset) as p:
        async with p.connect() as conn:
            pid = conn.backend_pid
            await conn.query("begin")
        async with p.connect() as conn:
            assert conn.backend_pid == pid
            assert (await conn.query("show statement_timeout")).scalar() == "111ms"
    assert seen == [pgwire.TransactionStatus.IDLE] * 2


@pytest.mark.parametrize("failure", [ValueError("cannot"), SystemExit(3), Stop()])
async def test_a_reset_that_raises_costs_its_connection(
    dsn: str, caplog: pytest.LogCaptureFixture, failure: BaseException
) -> None:
    async def reset(_conn: object) -> None:
        raise failure

    async with pool(dsn, max_size=1, reset=reset) as p:
        assert await pid_of(p) != await pid_of(p)
        await until(lambda: p.total_count == 0)
    assert len(messages(caplog.records)) == 2
    assert "resetting a connection failed" in messages(caplog.records)[0]


async def test_a_discard_asks_no_reset_function(dsn: str) -> None:
    calls: list[object] = []
    async with pool(dsn, max_size=1, reset=calls.append) as p:
        lease = await p.connect()
        using = lease.query(SLEEP, [1])
        await until_running(dsn, 1)
        lease.release(discard=True)
        await until(lambda: p.total_count == 0)
        assert await ended_with(using) is not None
    assert not calls
