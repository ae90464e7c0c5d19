"""Ctrl-C, or what a signal handler raises, in the event loop's thread: nobody waits for ever.

Each query has its answer or an error, and the connection is good or closed.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.striking import Interrupted, Strike
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, answer, turns

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(pgwire.__file__).parent
FILES = frozenset(str(path) for part in ("aio", "protocol") for path in (PACKAGE / part).glob("*"))
MOMENTS = 1000


def struck(work: Callable[[], object], nth: int) -> bool:
    """Whether Ctrl-C came at that moment of it."""
    strike = Strike(nth, FILES)
    before = sys.getprofile()
    sys.setprofile(strike)
    try:
        work()
    except Interrupted:
        assert strike.at
    finally:
        sys.setprofile(before)
    return bool(strike.at)


async def see_to_the_end(wire: Wire, queries: list[asyncio.Future[Any]]) -> None:
    """Nothing more comes: who has no answer must have heard so."""
    await turns()
    for query in queries:
        assert query.done()
        if query.exception() is None:
            assert query.result().scalar() == "a"
        else:
            assert wire.conn.closed
    if not wire.conn.closed:
        query = wire.conn.query("a")
        wire.say(answer("a"))
        assert (await query).scalar() == "a"


@in_virtual_time
async def test_while_answers_are_read() -> None:
    for moment in range(1, MOMENTS):  # at the very first one nobody knows of what was read
        with Wire() as wire:
            await wire.cache("a")
            queries = [wire.conn.query("a") for _ in range(3)]
            await turns()
            if not struck(lambda: wire.say(answer("a") * 3), moment):
                break
            await see_to_the_end(wire, queries)
    assert 10 < moment < MOMENTS - 1


@in_virtual_time
@pytest.mark.parametrize(("others", "timeout"), [(0, None), (0, 1), (2, None), (2, 1)])
async def test_while_a_query_is_asked_for(others: int, timeout: float | None) -> None:
    """The connection can be closed afterwards, which waits for what is under way."""
    for moment in range(MOMENTS):
        with Wire() as wire:
            await wire.cache("a")
            queries = [wire.conn.query("a") for _ in range(others)]
            if not struck(lambda: wire.conn.query("a", timeout=timeout), moment):
                break
            closing = asyncio.ensure_future(wire.conn.close())
            await turns()
            if (written := wire.take().count("S")) and not wire.is_closing():
                wire.say(answer("a") * written)
            await asyncio.wait_for(closing, 20)
            await see_to_the_end(wire, queries)
    assert 10 < moment < MOMENTS - 1


@in_virtual_time
async def test_while_the_loop_writes() -> None:
    with Wire() as wire:
        await wire.cache("a")
        queries = [wire.conn.query("a") for _ in range(3)]

        def send(data: bytes) -> None:
            assert data
            raise KeyboardInterrupt

        wire.driver.send = send
        with pytest.raises(KeyboardInterrupt):
            wire.driver._flush()
        await see_to_the_end(wire, queries)
