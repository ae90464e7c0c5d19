"""The workload of a stream: a million rows that are looked at one by one, 1,000 of them in memory.

Knows how each driver does that, by a cursor of the server where it has no other way; pg8000 has
none. A stream has a transaction of its own.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from sitting import Context, Workload

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Mapping

    from turns import Run, Watch

ROWS, BATCH = 1_000_000, 1000
SQL = (
    "select n as id, 'item number ' || n as name, n / 7.0::float8 as ratio "
    f"from generate_series(1, {ROWS}) n"
)


def workloads() -> Iterator[Workload]:
    yield Workload("1,000,000 rows streamed", "wall", _streams)


def _streams(context: Context) -> Mapping[str, Run]:
    runs: dict[str, Run] = {}
    for name, stream in STREAMS.items():
        if (peer := context.peer(name)) is not None:
            runs[name] = partial(_run, partial(stream, peer, context.runner))
    return runs


def _run(stream: Callable[[], int], count: int, watch: Watch) -> int:
    with watch:
        for _ in range(count):
            found = stream()
    assert found == ROWS
    return found


def _pgwire(peer: Any, _runner: asyncio.Runner) -> int:
    count = 0
    for _ in peer.conn.stream(SQL, fetch_size=BATCH):
        count += 1
    return count


def _pgwire_async(peer: Any, runner: asyncio.Runner) -> int:
    async def stream() -> int:
        count = 0
        async for _ in peer.conn.stream(SQL, fetch_size=BATCH):
            count += 1
        return count

    return runner.run(stream())


def _asyncpg(peer: Any, runner: asyncio.Runner) -> int:
    async def stream() -> int:
        count = 0
        async with peer.conn.transaction():
            async for _ in peer.conn.cursor(SQL, prefetch=BATCH):
                count += 1
        return count

    return runner.run(stream())


def _psycopg(peer: Any, _runner: asyncio.Runner) -> int:
    count = 0
    with peer.conn.transaction(), peer.conn.cursor("streamed", binary=True) as cursor:
        cursor.itersize = BATCH
        cursor.execute(SQL)
        for _ in cursor:
            count += 1
    return count


def _psycopg2(peer: Any, _runner: asyncio.Runner) -> int:
    count = 0
    with peer.conn.cursor("streamed", withhold=True) as cursor:
        cursor.itersize = BATCH
        cursor.execute(SQL)
        for _ in cursor:
            count += 1
    return count


STREAMS: dict[str, Callable[[Any, asyncio.Runner], int]] = {
    "pgwire": _pgwire,
    "pgwire, asyncio": _pgwire_async,
    "asyncpg": _asyncpg,
    "psycopg": _psycopg,
    "psycopg2": _psycopg2,
}
