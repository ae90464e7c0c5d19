"""Many queries at once on one connection: in order, each with its own answer or error. PP-57."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.support import backend
from tests.support.guards import SEES_THAT_WE_ARE_GONE
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, answer, turns

if TYPE_CHECKING:
    from tests.aio.conftest import Connect


async def scalar(query: asyncio.Future[Any]) -> Any:
    return (await query).scalar()


async def test_query_gives_a_future(conn: pgwire.AsyncConnection) -> None:
    assert not inspect.iscoroutinefunction(conn.query)
    query = conn.query("select 1")
    assert isinstance(query, asyncio.Future)
    assert not query.done()
    assert await scalar(query) == 1


async def test_it_takes_its_place_when_called(conn: pgwire.AsyncConnection) -> None:
    """And not when it is awaited."""
    await conn.query("create temp table t (n serial, who text)")
    inserts = [conn.query("insert into t (who) values ($1)", [who]) for who in "abc"]
    for insert in reversed(inserts):
        await insert
    assert (await conn.query("select who from t order by n")).scalars() == ["a", "b", "c"]


async def test_nobody_needs_to_await_it(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (a int)")
    conn.query("insert into t values (1)")
    assert await scalar(conn.query("select count(*) from t")) == 1


async def test_hundreds_at_once(conn: pgwire.AsyncConnection) -> None:
    queries = [conn.query("select $1::int", [n]) for n in range(500)]
    assert [await scalar(query) for query in queries] == list(range(500))


async def test_cached_and_uncached_mixed(dsn: str, connect: Connect) -> None:
    for size in (0, 1, 5, 256):
        conn = await connect(dsn, statement_cache_size=size)
        statement = await conn.prepare("select $1::int + 1000")
        queries: list[asyncio.Future[Any]] = []
        expected: list[int] = []
        for n in range(100):
            queries += [
                conn.query(f"select {n % 20}, $1::int", [n], row=lambda row: row[1]),
                statement.query([n], row=lambda row: row[0]),
            ]
            expected += [n, n + 1000]
        assert [(await query)[0] for query in queries] == expected


async def test_errors_are_kept_apart(conn: pgwire.AsyncConnection) -> None:
    queries = []
    for n in range(50):
        queries += [
            conn.query("select 100 / $1::int", [n % 5]),
            conn.query("select $1::int", ["x" if n % 7 == 0 else 2**40 if n % 7 == 1 else n]),
            conn.query(f"select {n} frm nowhere" if n % 3 == 0 else f"select {n}"),
        ]
    results = await asyncio.gather(*queries, return_exceptions=True)
    for n in range(50):
        divided, typed, parsed = results[3 * n : 3 * n + 3]
        expect(divided, errors.DivisionByZero if n % 5 == 0 else 100 // (n % 5))
        kinds: dict[int, Any] = {0: errors.InvalidTextRepresentation, 1: pgwire.DataError}
        expect(typed, kinds.get(n % 7, n))
        expect(parsed, errors.PostgresSyntaxError if n % 3 == 0 else n)


def expect(result: Any, expected: Any) -> None:
    if isinstance(expected, type):
        assert isinstance(result, expected)
    else:
        assert result.scalar() == expected


async def test_in_a_transaction_what_follows_an_error_fails(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (a int)")
    with pytest.raises(errors.DivisionByZero):  # noqa: PT012 (the block is what this is about)
        async with conn.transaction():
            queries = [
                conn.query("insert into t values (1)"),
                conn.query("select 1 / $1::int", [0]),
                conn.query("insert into t values (2)"),
                conn.query("select 3"),
            ]
            results = await asyncio.gather(*queries, return_exceptions=True)
            states = [getattr(result, "sqlstate", None) for result in results]
            assert states == [None, "22012", "25P02", "25P02"]
            await queries[1]
    assert await scalar(conn.query("select count(*) from t")) == 0


async def test_everything_that_can_be_asked_for_at_once(conn: pgwire.AsyncConnection) -> None:
    await conn.query("create temp table t (a int)")
    one, many, script, statement, ping = await asyncio.gather(
        conn.query("select 1"),
        conn.query_many("insert into t values ($1)", ((n,) for n in range(1000))),
        conn.script("select 2; select 3"),
        conn.prepare("select $1::int"),
        conn.ping(),
    )
    assert ping is None
    assert one.scalar() == 1
    assert many.row_count == 1000
    assert [result.scalar() for result in script] == [2, 3]
    assert (await statement.query([4])).scalar() == 4


async def test_tasks_share_a_connection(conn: pgwire.AsyncConnection) -> None:
    async def work(number: int) -> None:
        for n in range(20):
            assert await scalar(conn.query("select $1::int", [number * 100 + n])) == (
                number * 100 + n
            )

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(work(number))


class TestMisfits:
    async def test_they_raise_out_of_the_future(self, conn: pgwire.AsyncConnection) -> None:
        misfits: list[tuple[Any, ...]] = [
            ("select 1\0",),
            ("select $1::int", [2**40]),
            ("select $1::int", []),
            ("select $1::int", [object()]),
        ]
        for arguments in misfits * 2:  # not cached, and cached
            query = conn.query(*arguments)
            with pytest.raises((pgwire.ProgrammingError, pgwire.DataError)):
                await query
        assert await scalar(conn.query("select 1")) == 1

    @pytest.mark.parametrize("sql", ["select $1::int", "select 1\0"])
    async def test_thousands_at_once_do_not_overflow_the_stack(
        self, conn: pgwire.AsyncConnection, sql: str
    ) -> None:
        conn.query("select $1::int", [1])
        before = conn.query("select pg_sleep(0.01)")
        misfits = [conn.query(sql, ["x" * 3, 1]) for _ in range(3000)]
        after = conn.query("select 7")
        results = await asyncio.gather(*misfits, return_exceptions=True)
        assert {type(result) for result in results} == {pgwire.ProgrammingError}
        assert len(await before) == 1
        assert await scalar(after) == 7

    @in_virtual_time
    async def test_ten_thousand_that_wait_for_the_floor(self) -> None:
        with Wire() as wire:
            first = wire.conn.query("first")
            misfits = [wire.conn.query("x\0") for _ in range(10_000)]
            last = wire.conn.query("last")
            wire.say(backend.described(columns=[backend.column("v", 25)]))
            await turns()
            results = await asyncio.gather(*misfits, return_exceptions=True)
            assert {type(result) for result in results} == {pgwire.ProgrammingError}
            described = backend.described(columns=[backend.column("v", 25)])
            wire.say(answer("1"), described, backend.ready())
            await turns()
            wire.say(answer("2"))
            assert [await scalar(first), await scalar(last)] == ["1", "2"]


class TestWriting:
    @in_virtual_time
    async def test_what_is_asked_for_in_one_turn_is_written_in_one_piece(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            writes: list[int] = []
            wire.driver.send = lambda data: writes.append(len(data))
            for _ in range(10):
                wire.conn.query("a")
            await turns()
            assert len(writes) == 2  # the first at once, as nothing was under way
            assert writes[1] == 9 * writes[0]
            wire.say(answer("x") * 10)

    @in_virtual_time
    async def test_nothing_is_written_while_the_transport_is_full(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            wire.driver.pause_writing()
            queries = [wire.conn.query("a") for _ in range(3)]
            many = asyncio.ensure_future(wire.conn.query_many("a", [()] * 3))
            await turns()
            assert wire.take() == ""
            wire.driver.resume_writing()
            await turns()
            assert wire.take().startswith("BESBESBES")
            wire.say(*(answer(str(n)) for n in range(3)))
            assert [await scalar(query) for query in queries] == ["0", "1", "2"]
            many.cancel()
            wire.driver.abort()


# ------------------------------------------------------------------ transactions of several tasks


async def test_transactions_that_begin_at_once_are_one(conn: pgwire.AsyncConnection) -> None:
    """The second is a savepoint in the first: what it does is committed with that, or undone."""
    await conn.query("create temp table t (a int)")
    first, second = conn.transaction(), conn.transaction()
    await asyncio.gather(first.__aenter__(), second.__aenter__())
    await conn.query("insert into t values (1)")
    await second.__aexit__(None, None, None)
    await first.__aexit__(ValueError, ValueError(), None)
    assert conn.transaction_status is pgwire.TransactionStatus.IDLE
    assert (await conn.query("select * from t")).rows == []


@pytest.mark.parametrize("how", ["commit", "rollback"])
async def test_a_transaction_behind_the_end_of_another(
    conn: pgwire.AsyncConnection, how: str
) -> None:
    """Its BEGIN is sent before the end is answered; it was a savepoint, and outside of all."""
    await conn.query("create temp table t (a int)")
    first = await conn.transaction().__aenter__()
    ending = asyncio.ensure_future(getattr(first, how)())
    await asyncio.sleep(0)
    async with conn.transaction(isolation="serializable"):
        await conn.query("insert into t values (1)")
    await ending
    assert (await conn.query("select * from t")).scalars() == [1]


async def test_a_transaction_behind_a_commit_that_is_not_waited_for(
    conn: pgwire.AsyncConnection,
) -> None:
    """Once asked for it is carried out, though its task is cancelled."""
    await conn.query("create temp table t (a int)")
    for number in range(20):

        async def work(number: int = number) -> None:
            async with conn.transaction():
                await conn.query("insert into t values ($1)", [number])

        task = asyncio.ensure_future(work())
        for _ in range(number):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        async with conn.transaction():
            assert conn.transaction_status is pgwire.TransactionStatus.IN_TRANSACTION
    assert conn.transaction_status is pgwire.TransactionStatus.IDLE


@pytest.mark.parametrize("what", ["BEGIN", "COMMIT"])
async def test_by_hand_behind_one_that_is_not_waited_for(
    conn: pgwire.AsyncConnection, what: str
) -> None:
    """Its BEGIN is cancelled, or its COMMIT; a block inside of the next BEGIN is a savepoint."""
    await conn.query("create temp table t (a int)")

    block = conn.transaction()
    if what == "COMMIT":
        await block.__aenter__()
    task = asyncio.ensure_future(block.commit() if what == "COMMIT" else block.__aenter__())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await conn.query("begin")
    async with conn.transaction():
        await conn.query("insert into t values (1)")
    assert conn.transaction_status is pgwire.TransactionStatus.IN_TRANSACTION
    await conn.query("rollback")
    assert (await conn.query("select * from t")).rows == []


async def test_a_transaction_behind_a_commit_that_has_run_out_of_time(
    conn: pgwire.AsyncConnection,
) -> None:
    await conn.script("""
        create temp table t (a int);
        create function pg_temp.slow() returns trigger language plpgsql
            as 'begin perform pg_sleep(1); return null; end';
        create constraint trigger slow after insert on t initially deferred
            for each row when (new.a = 1) execute function pg_temp.slow()
    """)
    first = await conn.transaction().__aenter__()
    await conn.query("insert into t values (1)")
    conn._default_timeout = 0.05  # as a pool's `query_timeout`
    with pytest.raises(pgwire.QueryTimeout):
        await first.commit()
    conn._default_timeout = None
    async with conn.transaction(isolation="serializable"):
        await conn.query("insert into t values (2)")
    assert (await conn.query("select * from t")).scalars() == [1, 2]


async def test_nothing_goes_on_inside_of_a_transaction_that_was_given_up(
    dsn: str, connect: Connect, conn: pgwire.AsyncConnection
) -> None:
    """It did, outside of any, and each statement was committed by itself."""
    other = await connect(dsn)
    await conn.query("create table given_up (a int)")
    try:

        async def work() -> None:
            async with conn.transaction():
                await conn.query("insert into given_up values (1)")

        outer, inner = asyncio.ensure_future(work()), asyncio.ensure_future(work())
        await asyncio.sleep(0)
        outer.cancel()
        await asyncio.wait([outer, inner])
        assert outer.cancelled()
        lost = inner.exception()
        assert isinstance(lost, pgwire.ConnectionLost)
        assert "was given up before it had begun" in str(lost.__cause__)
        assert conn.closed
        assert (await other.query("select * from given_up")).rows == []
    finally:
        await other.query("drop table given_up")


async def test_what_ran_before_one_that_was_given_up_may_have_been_carried_out(
    dsn: str, connect: Connect
) -> None:
    """It may be a COMMIT, say: its error must not seem to know."""
    conn = await connect(dsn, settings=SEES_THAT_WE_ARE_GONE)
    running = asyncio.ensure_future(conn.script("select 1 into t from pg_sleep(60)"))
    outer, inner = (asyncio.ensure_future(conn.transaction().__aenter__()) for _ in range(2))
    await asyncio.sleep(0)
    outer.cancel()
    told, *_ = await asyncio.gather(running, outer, inner, return_exceptions=True)
    assert str(told).endswith("whether the server has carried it out is not known")
