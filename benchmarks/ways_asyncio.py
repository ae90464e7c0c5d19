"""Choices in an event loop: whose loop it is, and how a hundred queries are asked for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import uvloop
from ways_blocking import SQL, Choice

import pgwire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import ExitStack

    from turns import Run, Watch

    from pgwire.embedded import Server

_QUERIES = 100


def _runner(scope: ExitStack, loop_factory: Any = asyncio.new_event_loop) -> asyncio.Runner:
    return scope.enter_context(asyncio.Runner(loop_factory=loop_factory))


def _kept(scope: ExitStack, runner: asyncio.Runner, opening: Any) -> Any:
    """What an `async with` gives, until the end of the scope."""

    async def enter() -> Any:
        return await opening.__aenter__()

    entered = runner.run(enter())
    scope.callback(lambda: runner.run(opening.__aexit__(None, None, None)))
    return entered


def _awaited(runner: asyncio.Runner, call: Callable[[], Awaitable[object]]) -> Run:
    """A run of nothing but these calls, each awaited, in one task."""

    def run(count: int, watch: Watch) -> Any:
        async def all_of_them() -> Any:
            with watch:
                for _ in range(count):
                    found = await call()
            return found

        return runner.run(all_of_them())

    return run


def _loops(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    def opened(factory: Any) -> tuple[asyncio.Runner, Callable[..., Any]]:
        runner = _runner(scope, factory)
        return runner, _kept(scope, runner, pgwire.connect_async(server.url)).query

    plain, query = opened(asyncio.new_event_loop)
    quick, quick_query = opened(uvloop.new_event_loop)

    async def around() -> None:
        async with asyncio.timeout(5):
            await query(SQL, [7])

    async def plainly() -> None:
        await query(SQL, [7])

    return {
        "asyncio's loop": _awaited(plain, lambda: query(SQL, [7])),
        "with `timeout=5`": _awaited(plain, lambda: query(SQL, [7], timeout=5)),
        "in `asyncio.timeout(5)`": _awaited(plain, around),
        "in a task for it": _awaited(plain, lambda: asyncio.create_task(plainly())),
        "uvloop": _awaited(quick, lambda: quick_query(SQL, [7])),
    }


def _hundred(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    runner = _runner(scope)
    conn = _kept(scope, runner, pgwire.connect_async(server.url))

    def pool(size: int, **options: Any) -> Any:
        made = pgwire.AsyncPool(server.url, min_size=size, max_size=size, **options)
        return _kept(scope, runner, made)

    async def one_by_one() -> None:
        for n in range(_QUERIES):
            await conn.query(SQL, [n + 1])

    def together(query: Callable[..., Any]) -> Run:
        async def gathered() -> None:
            await asyncio.gather(*[query(SQL, [n + 1]) for n in range(_QUERIES)])

        return _awaited(runner, gathered)

    return {
        "one after another, on one connection": _awaited(runner, one_by_one),
        "`gather`, on one connection": together(conn.query),
        "`gather`, on a pool of 10": together(pool(10).query),
        "`gather`, on a pool of 10 with `max_pipeline=32`": together(
            pool(10, max_pipeline=32).query
        ),
        "`gather`, on a pool of 2 with `max_pipeline=32`": together(pool(2, max_pipeline=32).query),
    }


CHOICES = (
    Choice("a row by key, awaited", "query", 1, "cpu", _loops),
    Choice("100 rows by key in a loop", "query", _QUERIES, "wall", _hundred),
)
