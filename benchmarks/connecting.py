"""The workloads of new connections: opening one, and the first query on it.

Knows how each driver connects. What comes behind a connection (closing it) is not measured. "In
a pool" is any connection but a pool's first. What nobody can go below is `bare`.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import bare
import peers
from sitting import Context, Workload
from workloads import KEYS

import pgwire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from turns import Run, Watch

    Open = Callable[[], Any]

SQL = "select id, name from item where id = $1"


def workloads() -> Iterator[Workload]:
    yield Workload("first query on a new connection", "wall", _first_queries, kind="row")
    yield Workload("connect, SCRAM", "wall", _with_scram)
    yield Workload("connect, SCRAM, as it comes", "wall", _as_it_comes)
    yield Workload("connect, SCRAM + TLS", "wall", _over_tls)


# ---------------------------------------------------------------- how each connects


def _blocking(context: Context, url: str) -> dict[str, Open]:
    """By name, what opens a connection, to be closed by its `close`."""
    found: dict[str, Open] = {"pgwire": partial(pgwire.connect, url)}
    if context.has("psycopg", "psycopg"):
        found["psycopg"] = partial(peers.load("psycopg").connect, url, autocommit=True)
    if context.has("psycopg2", "psycopg2"):
        found["psycopg2"] = partial(peers.load("psycopg2").connect, url)
    if context.has("pg8000", "pg8000.native"):
        keywords = peers.keywords(url)
        found["pg8000"] = partial(peers.load("pg8000.native").Connection, **keywords)
    return found


def _asyncio(context: Context, url: str) -> dict[str, Open]:
    found: dict[str, Open] = {"pgwire, asyncio": partial(pgwire.connect_async, url)}
    if context.has("asyncpg", "asyncpg"):
        found["asyncpg"] = partial(peers.load("asyncpg").connect, url)
    if context.has("psycopg", "psycopg"):
        connect = peers.load("psycopg").AsyncConnection.connect
        found["psycopg, asyncio"] = partial(connect, url, autocommit=True)
    return found


# ---------------------------------------------------------------- connect


def _with_scram(context: Context) -> Mapping[str, Run]:
    url = context.scram_url
    runs = {"bare socket, keys ready": partial(_connect, bare.Login(url).connect)}
    return {**_connects(context, url), **runs}


def _as_it_comes(context: Context) -> Mapping[str, Run]:
    """With no word about TLS: all ask for it first then, and are told that there is none."""
    return _connects(context, context.silent_url)


def _over_tls(context: Context) -> Mapping[str, Run]:
    return _connects(context, context.tls_url) if context.tls_url else {}


def _connects(context: Context, url: str) -> Mapping[str, Run]:
    runs: dict[str, Run] = {}
    for name, opening in _blocking(context, url).items():
        runs[name] = partial(_connect, opening)
    for name, opening in _asyncio(context, url).items():
        runs[name] = _awaiting(context, partial(_connect_async, opening))
    runs["pgwire, in a pool"] = _pooled(context, url)
    runs["pgwire, asyncio, in a pool"] = _pooled_async(context, url)
    return runs


def _connect(opening: Open, count: int, watch: Watch) -> None:
    for _ in range(count):
        with watch:
            conn = opening()
        conn.close()


async def _connect_async(opening: Open, count: int, watch: Watch) -> None:
    for _ in range(count):
        with watch:
            conn = await opening()
        await conn.close()


def _pooled(context: Context, url: str) -> Run:
    """A lease from a pool whose idle connection is held by another, so that one is opened."""
    pool = context.scope.enter_context(pgwire.Pool(url, max_size=2))
    context.scope.enter_context(pool.connect())

    def run(count: int, watch: Watch) -> None:
        for _ in range(count):
            with watch:
                lease = pool.connect()
            lease.close()  # and not back into the pool
            while pool.total_count > 1:
                time.sleep(0.0005)

    return run


def _pooled_async(context: Context, url: str) -> Run:
    async def opened() -> Any:
        pool = pgwire.AsyncPool(url, max_size=2)
        return pool, await pool.connect()

    async def ended() -> None:
        held.release()
        await pool.end()

    pool, held = context.runner.run(opened())
    context.scope.callback(lambda: context.runner.run(ended()))

    async def run(count: int, watch: Watch) -> None:
        for _ in range(count):
            with watch:
                lease = await pool.connect()
            await lease.close()
            while pool.total_count > 1:  # noqa: ASYNC110 - no event tells that it is closed
                await asyncio.sleep(0.0005)

    return _awaiting(context, run)


def _awaiting(context: Context, run: Callable[[int, Watch], Awaitable[Any]]) -> Run:
    async def awaited(count: int, watch: Watch) -> Any:
        return await run(count, watch)

    return lambda count, watch: context.runner.run(awaited(count, watch))


# ---------------------------------------------------------------- the first query


def _first_queries(context: Context) -> Mapping[str, Run]:
    url = context.url
    runs: dict[str, Run] = {
        name: partial(_first, opening, _ASK[name])
        for name, opening in _blocking(context, url).items()
    }
    for name, opening in _asyncio(context, url).items():
        runs[name] = _awaiting(context, partial(_first_async, opening, _ASK_ASYNC[name]))
    return runs


def _first(opening: Open, ask: Callable[[Any, int], Any], count: int, watch: Watch) -> Any:
    for number in range(count):
        conn = opening()
        with watch:
            found = ask(conn, number % KEYS + 1)
        conn.close()
    return found


async def _first_async(
    opening: Open, ask: Callable[[Any, int], Awaitable[Any]], count: int, watch: Watch
) -> Any:
    for number in range(count):
        conn = await opening()
        with watch:
            found = await ask(conn, number % KEYS + 1)
        await conn.close()
    return found


def _ask_psycopg2(conn: Any, key: int) -> Any:
    with conn.cursor() as cursor:
        cursor.execute(peers.formatted(SQL), (key,))
        return cursor.fetchone()


async def _ask_pgwire(conn: Any, key: int) -> Any:
    return (await conn.query(SQL, [key])).one()


async def _ask_psycopg(conn: Any, key: int) -> Any:
    cursor = await conn.execute(peers.formatted(SQL), (key,))
    return await cursor.fetchone()


_ASK: dict[str, Callable[[Any, int], Any]] = {
    "pgwire": lambda conn, key: conn.query(SQL, [key]).one(),
    "psycopg": lambda conn, key: conn.execute(peers.formatted(SQL), (key,)).fetchone(),
    "psycopg2": _ask_psycopg2,
    "pg8000": lambda conn, key: conn.run(SQL.replace("$1", ":key"), key=key)[0],
}
_ASK_ASYNC: dict[str, Callable[[Any, int], Awaitable[Any]]] = {
    "pgwire, asyncio": _ask_pgwire,
    "asyncpg": lambda conn, key: conn.fetchrow(SQL, key),
    "psycopg, asyncio": _ask_psycopg,
}
