"""The workloads of pools: checkouts, many tasks, many threads, on few connections.

Knows the pools' interfaces. Each pool is open, with all its connections, before it is measured.
asyncpg's pool runs a reset statement at every release; "no reset" is what it does without.
"""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import peers
from sitting import Context, Workload
from workloads import KEYS

import pgwire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from turns import Run, Watch

    AsyncQuery = Callable[[int], Awaitable[Any]]

SQL = "select id, name from item where id = $1"
TASKS = (1, 10, 100, 1000)
THREADS = (1, 8, 32)
ASYNC_SIZE, SIZE = 10, 8
SIZES = (1, 3, 30)  # of pools for 100 tasks, beside the usual one
_ASYNCIO = "pgwire, asyncio"
_PSYCOPG = {"autocommit": True, "prepare_threshold": 0}


def workloads() -> Iterator[Workload]:
    reference = "psycopg_pool"
    yield Workload("checkout and release", "wall", _checkout, reference=reference)
    yield Workload("checkout by a block", "wall", _block, reference=reference)
    yield Workload(
        "checkout and release, asyncio", "wall", _async_checkout, reference=reference, own=_ASYNCIO
    )
    yield Workload(
        "checkout by a block, asyncio", "wall", _async_block, reference=reference, own=_ASYNCIO
    )
    for tasks in TASKS:
        name = f"{tasks:,} task{'s' * (tasks > 1)} on a pool of {ASYNC_SIZE}"
        yield Workload(name, "wall", partial(_in_tasks, tasks, ASYNC_SIZE), own=_ASYNCIO)
    for size in SIZES:
        name = f"100 tasks on a pool of {size}"
        yield Workload(name, "wall", partial(_in_tasks, 100, size), own=_ASYNCIO)
    for threads in THREADS:
        name = f"{threads} thread{'s' * (threads > 1)} on a pool of {SIZE}"
        build = partial(_in_threads, threads)
        yield Workload(name, "wall", build, reference=reference)


# ---------------------------------------------------------------- opening them


def _pool(context: Context, size: int, **options: Any) -> Any:
    pool = context.scope.enter_context(
        pgwire.Pool(context.url, min_size=size, max_size=size, **options)
    )
    pool.wait()
    return pool


def _async_pool(context: Context, size: int, **options: Any) -> Any:
    async def opened() -> Any:
        pool = pgwire.AsyncPool(context.url, min_size=size, max_size=size, **options)
        await pool.wait()
        return pool

    pool = context.runner.run(opened())
    context.scope.callback(lambda: context.runner.run(pool.end()))
    return pool


def _psycopg_pool(context: Context, size: int, options: Mapping[str, Any] = _PSYCOPG) -> Any:
    pool = peers.load("psycopg_pool").ConnectionPool(
        context.url, min_size=size, max_size=size, kwargs=dict(options), open=True
    )
    context.scope.callback(pool.close)
    pool.wait()
    return pool


def _psycopg_async_pool(context: Context, size: int) -> Any:
    async def opened() -> Any:
        pool = peers.load("psycopg_pool").AsyncConnectionPool(
            context.url, min_size=size, max_size=size, kwargs=_PSYCOPG, open=False
        )
        await pool.open(wait=True)
        return pool

    pool = context.runner.run(opened())
    context.scope.callback(lambda: context.runner.run(pool.close()))
    return pool


def _asyncpg_pool(context: Context, size: int, **options: Any) -> Any:
    async def opened() -> Any:
        return await peers.load("asyncpg").create_pool(
            context.url, min_size=size, max_size=size, **options
        )

    pool = context.runner.run(opened())
    context.scope.callback(lambda: context.runner.run(pool.close()))
    return pool


async def _keep(_connection: object) -> None:
    """Resets nothing."""


# ---------------------------------------------------------------- checkout and release


def _checkout(context: Context) -> Mapping[str, Run]:
    ours = _pool(context, 1)

    def own(count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                ours.connect().release()

    runs: dict[str, Run] = {"pgwire": own}
    if context.has("psycopg_pool", "psycopg_pool"):
        theirs = _psycopg_pool(context, 1)

        def psycopg(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    theirs.putconn(theirs.getconn())

        runs["psycopg_pool"] = psycopg
    return runs


def _block(context: Context) -> Mapping[str, Run]:
    ours = _pool(context, 1)
    calls: dict[str, Callable[[], Any]] = {"pgwire": ours.connect}
    if context.has("psycopg_pool", "psycopg_pool"):
        calls["psycopg_pool"] = _psycopg_pool(context, 1).connection

    def run(connect: Callable[[], Any], count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                with connect():
                    pass

    return {name: partial(run, connect) for name, connect in calls.items()}


def _async_block(context: Context) -> Mapping[str, Run]:
    ours = _async_pool(context, 1)
    calls: dict[str, Callable[[], Any]] = {_ASYNCIO: ours.connect}
    if context.has("psycopg_pool", "psycopg_pool"):
        calls["psycopg_pool"] = _psycopg_async_pool(context, 1).connection
    if context.has("asyncpg", "asyncpg"):
        calls["asyncpg, no reset"] = _asyncpg_pool(context, 1, reset=_keep).acquire

    async def run(connect: Callable[[], Any], count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                async with connect():
                    pass

    return {name: _run(context, partial(run, connect)) for name, connect in calls.items()}


def _async_checkout(context: Context) -> Mapping[str, Run]:
    ours = _async_pool(context, 1)

    async def own(count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                (await ours.connect()).release()

    runs: dict[str, Run] = {_ASYNCIO: _run(context, own)}
    if context.has("psycopg_pool", "psycopg_pool"):
        psycopg = _psycopg_async_pool(context, 1)

        async def with_psycopg(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await psycopg.putconn(await psycopg.getconn())

        runs["psycopg_pool"] = _run(context, with_psycopg)
    if context.has("asyncpg", "asyncpg"):
        bare = _asyncpg_pool(context, 1, reset=_keep)

        async def with_asyncpg(count: int, watch: Watch) -> None:
            with watch:
                for _ in range(count):
                    await bare.release(await bare.acquire())

        runs["asyncpg, no reset"] = _run(context, with_asyncpg)
    return runs


def _run(context: Context, run: Callable[[int, Watch], Awaitable[Any]]) -> Run:
    async def awaited(count: int, watch: Watch) -> Any:
        return await run(count, watch)

    return lambda count, watch: context.runner.run(awaited(count, watch))


# ---------------------------------------------------------------- many tasks


def _in_tasks(tasks: int, size: int, context: Context) -> Mapping[str, Run]:
    queries: dict[str, AsyncQuery] = {}
    own = _async_pool(context, size)
    queries[_ASYNCIO] = lambda key: own.query(SQL, [key])
    shared = _async_pool(context, size, max_pipeline=32)
    queries["pgwire, asyncio, max_pipeline=32"] = lambda key: shared.query(SQL, [key])
    if context.has("asyncpg", "asyncpg"):
        peer = _asyncpg_pool(context, size)
        bare = _asyncpg_pool(context, size, reset=_keep)
        queries["asyncpg"] = lambda key: peer.fetch(SQL, key)
        queries["asyncpg, no reset"] = lambda key: bare.fetch(SQL, key)
    if context.has("psycopg_pool", "psycopg_pool"):
        psycopg = _psycopg_async_pool(context, size)

        async def query(key: int) -> Any:
            async with psycopg.connection() as conn:
                cursor = await conn.execute(peers.formatted(SQL), (key,))
                return await cursor.fetchall()

        queries["psycopg_pool"] = query
    return {name: _run(context, partial(_tasks, query, tasks)) for name, query in queries.items()}


async def _tasks(query: AsyncQuery, tasks: int, count: int, watch: Watch) -> Any:
    """One call is a query of each task; the tasks are the same over all calls."""

    async def work() -> Any:
        for number in range(count):
            found = await query(number % KEYS + 1)
        return found

    with watch:
        return (await asyncio.gather(*[work() for _ in range(tasks)]))[0]


# ---------------------------------------------------------------- many threads


def _in_threads(threads: int, context: Context) -> Mapping[str, Run]:
    own, shared = _pool(context, SIZE), _pool(context, SIZE, max_pipeline=32)
    queries: dict[str, Callable[[int], Any]] = {
        "pgwire": lambda key: own.query(SQL, [key]),
        "pgwire, max_pipeline=32": lambda key: shared.query(SQL, [key]),
    }
    if context.has("psycopg_pool", "psycopg_pool"):
        sql = peers.formatted(SQL)
        # As it comes, each block is a transaction: BEGIN and COMMIT around the query.
        for name, options in {"psycopg_pool": _PSYCOPG, "psycopg_pool, as it comes": {}}.items():
            psycopg = _psycopg_pool(context, SIZE, options)

            def query(key: int, psycopg: Any = psycopg) -> Any:
                with psycopg.connection() as conn:
                    return conn.execute(sql, (key,)).fetchall()

            queries[name] = query
    return {name: partial(_threads, query, threads) for name, query in queries.items()}


def _threads(query: Callable[[int], Any], threads: int, count: int, watch: Watch) -> None:
    """One call is a query of each thread; the threads are the same over all calls."""
    failures: list[BaseException] = []
    ready = threading.Barrier(threads + 1)

    def work() -> None:
        ready.wait()
        try:
            for number in range(count):
                query(number % KEYS + 1)
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    with watch:
        ready.wait()
        for worker in workers:
            worker.join()
    if failures:
        raise failures[0]
