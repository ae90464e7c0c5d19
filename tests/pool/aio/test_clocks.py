"""A clock of the program's own that raises, in asyncio: what happens then is told again."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.pool.aio.support import pool, start, until
from tests.pool.support import messages

if TYPE_CHECKING:
    import pgwire

FAILED = "host: what was done with a connection has failed"
LATER = "host: no time was given, and will be"


class Trap:
    """It raises `left` times, beginning where user code is called."""

    def __init__(self) -> None:
        self.left = self.struck = 0
        self.seen: Counter[str] = Counter()

    def __call__(self) -> float:
        if self.left:
            self.left -= 1
            self.struck += 1
            raise ZeroDivisionError("no")
        return 1000.0

    def once(self, where: str, times: int) -> Any:
        def arm(_conn: object) -> None:
            self.seen[where] += 1
            if self.seen[where] == 1:
                self.left = times

        return arm


@pytest.mark.parametrize("times", [1, 2, 3, 4, sys.maxsize])
@pytest.mark.parametrize("where", ["on_connect", "reset", "remove"])
async def test_what_cannot_be_told_at_once_is_told_later(
    dsn: str, caplog: pytest.LogCaptureFixture, where: Any, times: int
) -> None:
    """The loop did nothing else meanwhile, and told of an error in each of its turns.

    A connection that was lost as it was opened raised on its own; one that was closed was told
    as removed again and again.
    """
    clock = Trap()
    hook = clock.once(where, times)
    options: dict[str, Any] = {} if where == "remove" else {where: hook}
    async with pool(dsn, max_size=1, name="host", clock=clock, **options) as p:
        p.on("remove", hook if where == "remove" else lambda _: None)
        first = start(use(p, discard=where == "remove"))
        await until(lambda: clock.struck > 6 if times == sys.maxsize else clock.struck == times)
        clock.left = 0
        with suppress(ZeroDivisionError):
            await first
        await use(p)
        assert (await p.query("select 1")).scalar() == 1
        stats = p.stats()
        assert (stats.size, stats.granted) == (1, stats.released)
        assert clock.seen["remove"] <= 1
    told = messages(caplog.records)
    assert FAILED in told
    assert told.count(LATER) <= 1


async def use(p: pgwire.AsyncPool, discard: bool = False) -> None:
    conn = await p.connect()
    conn.release(discard=discard)
