"""A connection belongs to one event loop: elsewhere every use says so at once (I-35)."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.guards import SEES_THAT_WE_ARE_GONE
from tests.support.shells import LOOPS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.loops import Runner

USES = [
    lambda conn: conn.query("select 1"),
    lambda conn: conn.query_many("select $1::int", [(1,)]),
    lambda conn: conn.script("select 1"),
    lambda conn: conn.prepare("select 1"),
    lambda conn: conn.ping(),
    lambda conn: conn.cancel(),
    lambda conn: conn.close(),
    lambda conn: conn.transaction().__aenter__(),
]


def in_a_thread(work: Callable[[], object]) -> None:
    """Run it in a thread; what it raises is raised here."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def step(awaitable: Any) -> None:
    """Begin a coroutine where no loop runs."""
    try:
        awaitable.send(None)
    finally:
        awaitable.close()


@pytest.mark.parametrize("use", USES)
def test_where_no_loop_runs(
    runner: Runner, conn: pgwire.AsyncConnection, use: Callable[[Any], Any]
) -> None:
    with pytest.raises(pgwire.InterfaceError, match=r"no event loop is running.*belongs to"):
        step(use(conn))
    assert runner.run(answers(conn))


@pytest.mark.parametrize("use", USES)
def test_in_another_loop_in_another_thread(
    runner: Runner, conn: pgwire.AsyncConnection, use: Callable[[Any], Any]
) -> None:
    async def elsewhere() -> None:
        await use(conn)

    with pytest.raises(pgwire.InterfaceError, match="another event loop"):
        in_a_thread(lambda: asyncio.run(elsewhere()))
    assert runner.run(answers(conn))


@pytest.mark.parametrize("use", USES[:7])
def test_once_its_loop_is_closed(dsn: str, use: Callable[[Any], Any]) -> None:
    async def open_one() -> pgwire.AsyncConnection:
        conn = await pgwire.connect_async(dsn)
        await conn.query("select 1")
        conn._driver.abort()  # else the transport would be left open
        await conn._driver.gone
        return conn

    async def elsewhere() -> None:
        await use(conn)

    conn = asyncio.run(open_one())
    with pytest.raises(pgwire.InterfaceError, match=r"another event loop.*closed"):
        asyncio.run(elsewhere())


async def answers(conn: pgwire.AsyncConnection) -> bool:
    async with conn.transaction(isolation="serializable"):  # it is no savepoint
        return bool((await conn.query("select 5")).scalar() == 5)


def test_connecting_needs_a_loop_when_it_is_awaited(dsn: str) -> None:
    connecting = pgwire.connect_async(dsn)
    with pytest.raises(pgwire.InterfaceError, match="inside a coroutine"):
        connecting.__await__().send(None)


async def test_statements_and_blocks_belong_to_it_too(
    runner: Runner, conn: pgwire.AsyncConnection
) -> None:
    statement = await conn.prepare("select 1")

    async def elsewhere() -> None:
        await statement.query()

    with pytest.raises(pgwire.InterfaceError, match="another event loop"):
        await asyncio.to_thread(lambda: asyncio.run(elsewhere()))
    assert (await statement.query()).scalar() == 1


async def test_connections_of_a_loop_get_each_its_own(
    dsn: str, connect: Callable[..., Any]
) -> None:
    first, second = await connect(), await connect()
    sql = "select repeat($1, 3) from generate_series(1, 100000)"
    answers = await asyncio.gather(
        *(conn.query(sql, [text]) for conn in (first, second) for text in ("a", "b"))
    )
    assert [set(answer.scalars()) for answer in answers] == [{"aaa"}, {"bbb"}] * 2


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # nobody has closed it
@pytest.mark.parametrize("kind", [pgwire.connect_async, partial(pgwire.AsyncPool, max_size=1)])
def test_a_program_that_ends_in_the_middle_of_queries_ends_without_a_word(
    dsn: str,
    kind: Callable[..., Any],
    name: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`asyncio.run` cancels all tasks, and theirs leave behind what it knows nothing of."""
    ignored: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", ignored.append)

    async def query(opened: Any) -> None:
        await opened.query("select pg_sleep(60)")

    async def main() -> object:
        opened = kind(dsn, settings=SEES_THAT_WE_ARE_GONE)
        if isinstance(opened, pgwire.AsyncPool):
            await opened.query("select 1")
        else:
            opened = await opened
        queries = [asyncio.create_task(query(opened)) for _ in range(2)]
        await asyncio.sleep(0)  # they have begun
        return queries

    with asyncio.Runner(loop_factory=LOOPS[name]) as program:
        left = program.run(main())
    del left, program
    gc.collect()
    assert not [record.getMessage() for record in caplog.records]
    assert not ignored


async def test_asyncio_does_not_map_memory_for_each_read(conn: pgwire.AsyncConnection) -> None:
    """Where this fails, asyncio has another name for it, or needs none any more."""
    transport = conn._driver._transport
    if isinstance(asyncio.get_running_loop(), asyncio.SelectorEventLoop):
        assert 0 < transport.max_size < type(transport).max_size  # type: ignore[attr-defined]
    else:
        assert not hasattr(transport, "max_size")
