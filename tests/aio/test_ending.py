"""Closing, losing the connection, callbacks that raise, and what may be left of it: nothing."""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.aio.deadlines import Deadlines
from tests.support import backend
from tests.support.guards import SEES_THAT_WE_ARE_GONE, go_on
from tests.support.scripted import Line, ScriptedServer, serve
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, answer, canceled, turns

if TYPE_CHECKING:
    from tests.aio.conftest import Connect
    from tests.support.loops import Runner

NOTICE = "do $$ begin raise notice 'one'; raise warning 'two'; end $$"


class Stop(BaseException):
    """What no program catches."""


class TestClosing:
    async def test_what_was_asked_for_before_is_waited_for(
        self, conn: pgwire.AsyncConnection
    ) -> None:
        queries = [conn.query("select $1::int, pg_sleep(0.01)", [n]) for n in range(5)]
        closing = asyncio.ensure_future(conn.close())
        await asyncio.sleep(0)
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            await conn.query("select 1")
        assert [(await query).one()[0] for query in queries] == list(range(5))
        await closing
        assert conn.closed

    async def test_what_is_taken_bit_by_bit_is_canceled_and_says_why(
        self, dsn: str, connect: Connect
    ) -> None:
        conn, reports = await connect(dsn), list[pgwire.QueryReport]()
        conn.on("query", reports.append)
        stream = conn.stream("select * from generate_series(1, 1000000)")
        assert (await anext(stream))[0] == 1
        await conn.close()
        with pytest.raises(pgwire.InterfaceError, match="was canceled, as its connection") as told:
            async for _ in stream:
                pass
        (report,) = reports
        assert repr(report.error) == repr(told.value)

    async def test_it_goes_on_when_its_caller_is_cancelled(
        self, dsn: str, connect: Connect, conn: pgwire.AsyncConnection
    ) -> None:
        other = await connect(dsn)
        query = other.query("select pg_sleep(0.1), 7")
        closing = asyncio.ensure_future(other.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert (await query).one()[1] == 7
        await other.close()
        sql = "select count(*) from pg_stat_activity where pid = $1"
        assert (await conn.query(sql, [other.backend_pid])).scalar() == 0

    async def test_when_all_tasks_are_cancelled_it_is_cut(self, dsn: str, connect: Connect) -> None:
        """As `asyncio.run` does at the end of a program."""
        conn = await connect(dsn, settings=SEES_THAT_WE_ARE_GONE)
        query = conn.query("select pg_sleep(60)")
        closing = asyncio.ensure_future(conn.close())
        await turns()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, query, return_exceptions=True)
        assert {type(error) for error in outcomes} == {
            asyncio.CancelledError,
            pgwire.InterfaceError,
        }
        assert closing in tasks
        await asyncio.wait_for(conn._driver.gone, 20)

    async def test_twice_and_at_once(self, dsn: str, connect: Connect) -> None:
        conn = await connect(dsn)
        await asyncio.gather(*(conn.close() for _ in range(5)))
        await conn.close()
        for use in (conn.ping, conn.cancel, lambda: conn.script("select 1")):
            with pytest.raises(pgwire.InterfaceError, match="closed"):
                await use()

    async def test_the_block_closes(self, dsn: str, runner: Runner) -> None:
        async with pgwire.connect_async(dsn) as conn:
            assert (await conn.query("select 1")).scalar() == 1
        assert conn.closed
        with pytest.raises(LookupError):
            async with pgwire.connect_async(dsn) as conn:
                raise LookupError
        assert conn.closed

    @in_virtual_time
    async def test_a_query_that_nobody_wants_is_canceled_first(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            wire.conn.query("a").cancel()
            closing = asyncio.ensure_future(wire.conn.close())
            await asyncio.sleep(0.1)
            assert len(wire.cancels) == 1
            wire.say(canceled())
            await turns()
            wire.say(backend.ready())
            await turns()
            assert wire.take() == "BESSX"
            wire.driver.connection_lost(None)
            await closing

    @in_virtual_time
    async def test_a_server_that_does_not_close_its_end_is_left(self) -> None:
        with Wire() as wire:
            await wire.conn.close()
            assert wire.take() == "X"
            assert wire.aborted
            assert asyncio.get_running_loop().time() == 2

    @in_virtual_time
    async def test_a_loss_while_it_waits(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            query = wire.conn.query("a")
            closing = asyncio.ensure_future(wire.conn.close())
            await turns()
            wire.driver.connection_lost(ConnectionResetError(104, "reset"))
            await closing
            with pytest.raises(pgwire.ConnectionLost, match="reset"):
                await query


class TestLoss:
    async def test_of_a_connection_that_is_idle(
        self, dsn: str, connect: Connect, conn: pgwire.AsyncConnection
    ) -> None:
        """The loop hears of it by itself."""
        other = await connect(dsn)
        await conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
        await asyncio.wait_for(other._driver.gone, 20)
        assert other.closed
        with pytest.raises(pgwire.ConnectionLost, match="terminating connection") as caught:
            await other.query("select 1")
        assert isinstance(caught.value.__cause__, errors.AdminShutdown)

    @in_virtual_time
    @pytest.mark.parametrize("ends_after", [0.5, None])
    async def test_a_server_that_said_why_is_waited_for(self, ends_after: float | None) -> None:
        """It took a moment to end, and might have been counted twice with who came next."""
        with Wire() as wire:
            await wire.cache("a")
            query = wire.conn.query("a")
            wire.say(backend.fatal("57P01"))
            with pytest.raises(errors.AdminShutdown):
                await query
            assert wire.conn.closed
            closing = asyncio.ensure_future(wire.conn.close())
            await turns()
            assert not closing.done()
            loop = asyncio.get_running_loop()
            if ends_after is not None:
                loop.call_later(ends_after, wire.driver.connection_lost, None)
            await closing
            assert loop.time() == (ends_after or 2)
            assert wire.aborted
            assert wire.take() == "BES"

    async def test_of_one_with_many_queries_under_way(
        self, dsn: str, connect: Connect, conn: pgwire.AsyncConnection
    ) -> None:
        other = await connect(dsn)
        done = other.query("select 1")
        queries = [other.query("select pg_sleep(60)")]
        queries += [other.query("select $1::int", [n]) for n in range(50)]
        many = asyncio.ensure_future(other.query_many("select $1::int", [(1,)]))
        assert (await done).scalar() == 1
        await conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
        results = await asyncio.gather(*queries, many, return_exceptions=True)
        assert isinstance(results[0], errors.AdminShutdown)
        assert all(isinstance(result, pgwire.ConnectionLost) for result in results)

    @pytest.mark.parametrize("how", [Line.cut, Line.reset])
    async def test_at_any_byte_with_others_behind(self, runner: Runner, how: Any) -> None:
        """Each query has its own answer, or the loss."""
        column = backend.column("v", 25)
        sqls = ["a", "b", "c"]
        answers = {sql: (column, [sql.encode()]) for sql in sqls}
        replies = [
            backend.described(columns=[column]),
            backend.executed(backend.row(b"a")),
        ]
        for stop in range(0, 3 * sum(map(len, replies)), 3):
            go_on()

            def script(line: Line, stop: int = stop) -> None:
                line.let_in()
                left = stop

                def say(data: bytes) -> None:
                    nonlocal left
                    line.send(data[: max(left, 0)])
                    left -= len(data)
                    if left < 0:
                        how(line)

                serve(line, answers, say)

            with ScriptedServer(script) as server:
                async with pgwire.connect_async(server.dsn) as conn:
                    results = await asyncio.gather(
                        *(conn.query(sql) for sql in sqls), return_exceptions=True
                    )
                    for sql, result in zip(sqls, results, strict=True):
                        if isinstance(result, BaseException):
                            assert isinstance(result, pgwire.ConnectionLost)
                        else:
                            assert result.scalar() == sql
                    assert isinstance(results[-1], BaseException)
                    assert conn.closed

    @in_virtual_time
    async def test_the_end_of_an_idle_line_is_seen_without_reading(self) -> None:
        with Wire() as wire:
            assert wire.driver.is_alive()
            wire._ends[1].close()
            assert not wire.driver.is_alive()
            wire.driver.connection_lost(None)
            assert isinstance(await wire.driver.say_why_lost(), pgwire.ConnectionLost)


class TestCallbacks:
    async def test_what_they_raise_is_reported_and_does_no_harm(
        self, runner: Runner, conn: pgwire.AsyncConnection
    ) -> None:
        seen: list[str] = []

        def callback(notice: Any) -> None:
            seen.append(notice.message)
            raise LookupError(notice.message)

        conn.on("notice", callback)
        await conn.query(NOTICE)
        assert seen == ["one", "two"]
        reports = runner.take_reports()
        assert [str(report["exception"]) for report in reports] == ["one", "two"]
        conn.off("notice", callback)
        assert (await conn.query("select 2")).scalar() == 2

    @pytest.mark.parametrize("error", [LookupError, asyncio.CancelledError, GeneratorExit])
    async def test_however_many_come_at_once_and_whatever_they_raise(
        self, runner: Runner, conn: pgwire.AsyncConnection, error: type[BaseException]
    ) -> None:
        """More than there may be calls inside of each other, and what is no Exception."""
        count = 3 * sys.getrecursionlimit()
        seen: list[str] = []

        def callback(notification: pgwire.Notification) -> None:
            seen.append(notification.payload)
            raise error(notification.payload)

        conn.on("notification", callback)
        await conn.query("listen news")
        sql = "select count(pg_notify('news', n::text)) from generate_series(1, $1) n"
        assert (await conn.query(sql, [count])).scalar() == count
        assert (await conn.query("select 2")).scalar() == 2
        assert seen == [str(n + 1) for n in range(count)]
        reports = runner.take_reports()
        assert [str(report["exception"]) for report in reports] == seen

    async def test_they_may_ask_for_more(self, conn: pgwire.AsyncConnection) -> None:
        asked: list[asyncio.Future[Any]] = []
        conn.on("notice", lambda notice: asked.append(conn.query("select 3")))
        await conn.query(NOTICE)
        assert [(await query).scalar() for query in asked] == [3, 3]

    async def test_they_may_close(self, dsn: str, connect: Connect) -> None:
        conn = await connect(dsn)
        closing: list[asyncio.Task[None]] = []
        conn.on("notice", lambda notice: closing.append(asyncio.create_task(conn.close())))
        await conn.query(NOTICE)
        await asyncio.gather(*closing)
        assert conn.closed

    async def test_an_idle_connection_hears_notifications(
        self, dsn: str, connect: Connect, conn: pgwire.AsyncConnection
    ) -> None:
        heard = asyncio.get_running_loop().create_future()
        conn.on("notification", heard.set_result)
        await conn.query("listen news")
        other = await connect(dsn)
        await other.query("notify news, 'flash'")
        notification = await asyncio.wait_for(heard, 20)
        assert notification.payload == "flash"

    async def test_a_row_factory_that_raises(self, conn: pgwire.AsyncConnection) -> None:
        def stop(row: Any) -> Any:
            raise StopIteration

        with pytest.raises(RuntimeError, match="StopIteration"):
            await conn.query("select 1", row=stop)
        assert (await conn.query("select 1")).scalar() == 1

    @pytest.mark.parametrize("error", [asyncio.CancelledError, GeneratorExit, Stop])
    async def test_a_row_factory_that_raises_what_no_program_catches(
        self, conn: pgwire.AsyncConnection, error: type[BaseException]
    ) -> None:
        """It is raised to who asked, as if he had called it himself, and to nobody else."""

        def factory(row: Any) -> Any:
            raise error

        queries = [conn.query("select 1", row=factory), conn.query("select 2")]
        outcomes = await asyncio.gather(*queries, return_exceptions=True)
        assert type(outcomes[0]) is error
        assert outcomes[1].scalar() == 2  # type: ignore[union-attr]
        assert (await conn.query("select 3")).scalar() == 3

    async def test_a_row_factory_that_cancels_its_own_query(
        self, conn: pgwire.AsyncConnection
    ) -> None:
        queries: list[asyncio.Future[Any]] = []
        queries.append(conn.query("select 1", row=lambda row: queries[0].cancel()))
        with pytest.raises(asyncio.CancelledError):
            await queries[0]
        assert (await conn.query("select 2")).scalar() == 2

    async def test_ctrl_c_in_the_middle_of_a_value(self, dsn: str, connect: Connect) -> None:
        """Nobody knows how much of the query was written: nobody else must wait behind that."""
        strikes = False

        def dumps(value: Any) -> str:
            if strikes:
                raise KeyboardInterrupt
            return json.dumps(value)

        conn = await connect(dsn, json_dumps=dumps)
        assert (await conn.query("select $1::json", [{}])).scalar() == {}
        assert (await conn.query("select 1")).scalar() == 1
        before = conn.query("select 1")
        strikes = True
        with pytest.raises(KeyboardInterrupt):
            conn.query("select $1::json", [{}])
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            await before
        assert conn.closed
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            await conn.query("select 1")


@in_virtual_time
async def test_a_callback_of_a_future_that_uses_the_connection() -> None:
    """From inside of the loop that hands answers on."""
    with Wire() as wire:
        await wire.cache("a", "b")
        more: list[asyncio.Future[Any]] = []
        query = wire.conn.query("a")
        query.add_done_callback(lambda _: more.append(wire.conn.query("b")))
        wire.say(answer("a"))
        await turns()
        assert wire.take() == "BESBES"
        wire.say(answer("b"))
        assert (await more[0]).scalar() == "b"


async def test_a_connection_does_not_wait_for_the_garbage_collector(
    dsn: str, runner: Runner
) -> None:
    """Nothing of it is held in a cycle once it is closed and forgotten, but for the loop's own."""
    gc.collect()
    gc.disable()
    try:
        conn = await pgwire.connect_async(dsn)
        results = [await conn.query("select $1::int", [n]) for n in range(10)]
        assert [result.scalar() for result in results] == list(range(10))
        began = len(gc.get_objects())
        for n in range(1000):
            await conn.query("select $1::int", [n])
        assert len(gc.get_objects()) - began < 500
        await conn.close()
    finally:
        gc.enable()


async def test_no_timer_comes_for_a_connection_that_is_closed(dsn: str, runner: Runner) -> None:
    def waiting() -> int:
        gc.collect()
        return sum(isinstance(one, Deadlines) for one in gc.get_objects())

    before = waiting()
    conn = await pgwire.connect_async(dsn)
    await conn.query("select 1", timeout=1000)
    assert waiting() == before + 1
    await conn.close()
    del conn
    await asyncio.sleep(0)  # the transport lets go of it
    assert waiting() == before


async def test_idle_connections_cost_no_time(dsn: str, connect: Connect) -> None:
    for _ in range(5):
        await connect(dsn)
    began = time.process_time()
    await asyncio.sleep(0.3)
    assert time.process_time() - began < 0.1
