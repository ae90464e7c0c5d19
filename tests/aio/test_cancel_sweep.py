"""Cancelled wherever it can be: nothing is left, and the connection serves whoever comes next.

See `tests.support.sweep`. The server is well, so that no cancellation is a reason to close.
"""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol.messages import TransactionStatus
from tests.support.sweep import Cut, sweep

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.aio.conftest import Connect

Work = Callable[[pgwire.AsyncConnection], Awaitable[object]]

INSERT = "insert into swept values ($1)"
DROP = """
    drop table if exists swept;
    drop type if exists swept_pair;
    drop type if exists swept_mood;
"""
CREATE = """
    create table swept (n int);
    create type swept_mood as enum ('sad', 'fine');
    create type swept_pair as (a int, moods swept_mood[]);
"""
PAIR = (1, ["sad"])


async def commit(conn: pgwire.AsyncConnection) -> None:
    async with conn.transaction():
        await conn.query(INSERT, [1])


async def commit_by_hand(conn: pgwire.AsyncConnection) -> None:
    async with conn.transaction() as transaction:
        await conn.query(INSERT, [1])
        await transaction.commit()


async def roll_back(conn: pgwire.AsyncConnection) -> None:
    with suppress(LookupError):
        async with conn.transaction():
            await conn.query(INSERT, [1])
            raise LookupError


async def nest(conn: pgwire.AsyncConnection) -> None:
    async with conn.transaction():
        await conn.query(INSERT, [1])
        with suppress(pgwire.DataError):
            async with conn.transaction():
                await conn.query("select 1 / $1::int", [0])
        async with conn.transaction() as inner:
            await conn.query(INSERT, [2])
            await inner.rollback()


async def prepare(conn: pgwire.AsyncConnection) -> None:
    async with await conn.prepare("select $1::int") as statement:
        assert (await statement.query([7])).scalar() == 7
        await statement.query_many([(1,), (2,)])


async def pipeline(conn: pgwire.AsyncConnection) -> None:
    async with conn.transaction():
        await asyncio.gather(*(conn.query(INSERT, [n]) for n in range(1, 4)))


async def in_a_group(conn: pgwire.AsyncConnection) -> None:
    async def one(number: int) -> None:
        await conn.query("select pg_sleep(0.001), $1::int", [number])

    async with asyncio.TaskGroup() as group:
        for number in range(3):
            group.create_task(one(number))


async def look_up(conn: pgwire.AsyncConnection) -> None:
    assert (await conn.query("select $1::swept_pair", [PAIR])).scalar() == PAIR


async def look_up_for_many(conn: pgwire.AsyncConnection) -> None:
    sql = f"with row as ({INSERT.replace('$1', '1')}) select $1::swept_pair[]"
    found = await conn.query_many(sql, [([PAIR],), ([],)])
    assert found.scalars() == [[PAIR], []]


async def look_up_fields(conn: pgwire.AsyncConnection) -> None:
    """Of records, when all else is said."""
    async with conn.transaction():
        await conn.query(INSERT, [1])
        row = (await conn.query("select row($1::swept_pair::text::swept_pair, 1)", [PAIR])).one()
        assert row == ((PAIR, 1),)


async def look_up_after_a_script(conn: pgwire.AsyncConnection) -> None:
    sql = f"{INSERT.replace('$1', '1')}; select '(1,{{sad}})'::swept_pair; select 5"
    _, pairs, fives = await conn.script(sql)
    assert (pairs.scalar(), fives.scalar()) == (PAIR, 5)


async def look_up_to_prepare(conn: pgwire.AsyncConnection) -> None:
    async with await conn.prepare("select $1::swept_pair") as statement:
        assert (await statement.query([PAIR])).scalar() == PAIR


async def look_up_in_a_group(conn: pgwire.AsyncConnection) -> None:
    async with asyncio.TaskGroup() as group:
        for work in (look_up, look_up_to_prepare, look_up, look_up_for_many):
            group.create_task(work(conn))


async def lines() -> AsyncIterator[bytes]:
    for n in range(3_000):
        if n % 1_000 == 0:
            await asyncio.sleep(0)
        yield b"%d\n" % n


async def records() -> AsyncIterator[tuple[int]]:
    async for line in lines():
        yield (int(line),)


async def copy_with_others(conn: pgwire.AsyncConnection) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(conn.copy_in("copy swept from stdin", lines()))
        for number in range(3):
            group.create_task(in_step(conn, number))


async def in_step(conn: pgwire.AsyncConnection, number: int) -> None:
    assert (await conn.query("select $1::int", [number])).scalar() == number


async def copy_out(conn: pgwire.AsyncConnection) -> None:
    sql = "copy (select n from generate_series(1, 30000) n) to stdout"
    assert await conn.copy_out(sql, io.BytesIO()) == 30_000
    async with conn.copy_out(sql) as output:
        assert [data async for data in output]
    async for _ in conn.copy_out(sql):
        break


async def stream(conn: pgwire.AsyncConnection) -> None:
    sql = "select n from generate_series(1, $1::int) n"
    assert len([row async for row in conn.stream(sql, [30], fetch_size=7)]) == 30
    async with conn.stream(sql, [30], fetch_size=7) as rows:
        assert (await anext(rows)).n == 1
    async for _ in conn.stream(sql, [30], fetch_size=7):
        break


async def stream_inside(conn: pgwire.AsyncConnection) -> None:
    sql = f"{INSERT} returning n"
    async with conn.transaction():
        await conn.query("insert into swept select generate_series(1, $1::int)", [30])
        async with conn.stream("select n from swept", fetch_size=11) as rows:
            await anext(rows)
            assert [row.n async for row in conn.stream(sql, [7], fetch_size=1)] == [7]
            assert len([row async for row in rows]) == 29


WORK: list[Work] = [
    stream,
    stream_inside,
    lambda conn: conn.copy_in("copy swept from stdin", lines()),
    lambda conn: conn.copy_in("copy swept from stdin", (b"%d\n" % n for n in range(30_000))),
    lambda conn: conn.copy_records("swept", ((n,) for n in range(30_000))),
    lambda conn: conn.copy_records("swept", records()),
    lambda conn: conn.copy_records("swept", [(1,), ("2",), (3,)]),
    copy_with_others,
    copy_out,
    lambda conn: conn.query("select pg_sleep(0.002)"),
    lambda conn: conn.query("select pg_sleep(0.05)"),  # longer than nobody's query is waited for
    lambda conn: conn.query(INSERT, [1]),
    lambda conn: conn.query_many(INSERT, ((n,) for n in range(5_000))),
    lambda conn: conn.script(f"{INSERT.replace('$1', '1')}; select 1; select pg_sleep(0.002)"),
    lambda conn: conn.ping(),
    lambda conn: conn.cancel(),
    prepare,
    commit,
    commit_by_hand,
    roll_back,
    nest,
    pipeline,
    in_a_group,
    look_up,
    look_up_for_many,
    look_up_fields,
    look_up_after_a_script,
    look_up_to_prepare,
    look_up_in_a_group,
]


async def begun_by_its_task(work: Work, conn: pgwire.AsyncConnection) -> None:
    """A query that was written before its task begins might be answered by then."""
    await work(conn)


@pytest.mark.parametrize("work", WORK, ids=lambda work: work.__name__.strip("<>"))
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
async def test_a_connection_in_use(
    conn: pgwire.AsyncConnection, connect: Connect, dsn: str, work: Work, warm: bool
) -> None:
    """On a fresh connection, and on one that knows the statements already."""
    await conn.script(DROP + CREATE)

    async def scenario(cut: Cut) -> None:
        await conn.query("truncate swept")
        async with pgwire.connect_async(dsn) as swept:
            if warm:
                await work(swept)
                await swept.query("truncate swept")
            await cut(begun_by_its_task(work, swept))
            await swept.query(INSERT, [-1])  # seen by others, unless a transaction is open
            seen = (await conn.query("select n from swept")).scalars()
            assert -1 in seen
            assert len(seen) - 1 in (0, whole)  # all or nothing
            assert swept.transaction_status is TransactionStatus.IDLE
            assert (await swept.query("select $1::int", [5])).scalar() == 5

    async with pgwire.connect_async(dsn) as other:
        await work(other)
    whole = (await conn.query("select count(*) from swept")).scalar()
    try:
        assert await sweep(scenario) > 0
    finally:
        await conn.script(DROP)


async def test_closing(dsn: str, conn: pgwire.AsyncConnection) -> None:
    """It goes on, and the server sees the end."""

    async def scenario(cut: Cut) -> None:
        swept = await pgwire.connect_async(dsn)
        query = swept.query("select pg_sleep(0.002), 7")
        await cut(swept.close())
        assert (await query).one()[1] == 7
        await swept.close()
        assert swept.closed
        assert swept._driver.gone.done()
        sql = "select count(*) from pg_stat_activity where pid = $1"
        assert (await conn.query(sql, [swept.backend_pid])).scalar() == 0

    assert await sweep(scenario) >= 3


async def open_files_are(number: int) -> None:
    """Return once so many files are open: sockets are closed in a later turn of the loop."""
    async with asyncio.timeout(20):
        while len(os.listdir("/proc/self/fd")) != number:  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("way", ["scram", "cleartext", "unix", "tls"])
async def test_connecting(
    conn: pgwire.AsyncConnection,
    embedded_server: embedded.Server,
    tls_server: embedded.Server,
    way: str,
) -> None:
    """No socket is left, here or there."""
    parameters: dict[str, Any] = {"application_name": "swept"}
    url = {
        "scram": embedded_server.url,
        "cleartext": embedded_server.url_for("cleartext"),
        "unix": embedded_server.socket_url,
        "tls": tls_server.tls_url,
    }[way]
    if way in ("scram", "cleartext"):
        parameters["hostaddr"] = embedded_server.host  # a look-up would open files of its own
    server = tls_server if way == "tls" else embedded_server
    await (await pgwire.connect_async(url, **parameters)).close()

    async def scenario(cut: Cut) -> None:
        before = len(os.listdir("/proc/self/fd"))
        swept = await cut(pgwire.connect_async(url, **parameters))
        assert (swept is None) is cut.reached
        if swept is not None:
            assert (await swept.query("select 5")).scalar() == 5
            await swept.close()
        await open_files_are(before)

    assert await sweep(scenario) >= 3
    async with pgwire.connect_async(server.url) as admin:
        await nobody_is_left(admin)


async def nobody_is_left(admin: pgwire.AsyncConnection) -> None:
    sql = "select count(*) from pg_stat_activity where application_name = 'swept'"
    async with asyncio.timeout(20):
        while (await admin.query(sql)).scalar():  # noqa: ASYNC110 (nobody tells)
            await asyncio.sleep(0.005)
