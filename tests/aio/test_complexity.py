"""What becomes of a query costs the same, however many others are under way on its connection.

Counted in calls of functions, which are the same on every machine and every day. One that moves
what is in a list, or looks through it, counts for as many as there are.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.protocol.observing import Endpoint, observe
from tests.support import backend
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, answer, turns

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOW = {(list, "insert"), (list, "pop"), (list, "remove"), (deque, "insert"), (deque, "remove")}
ENDPOINT = Endpoint("localhost", 5432, "db", "me")


class Steps:
    """What has been done while they were counted."""

    number = 0

    def count(self, _frame: object, event: str, function: Any) -> None:
        if event in ("call", "c_call"):
            self.number += 1
        if event == "c_call":
            container = function.__self__
            if (type(container), function.__name__) in SLOW:
                self.number += len(container)


@contextmanager
def counted() -> Iterator[Steps]:
    steps = Steps()
    before = sys.getprofile()
    gc.disable()  # a collection may call whatever others have hooked to it
    sys.setprofile(steps.count)
    try:
        yield steps
    finally:
        sys.setprofile(before)
        gc.enable()


async def outcomes(*queries: asyncio.Future[Any]) -> set[str]:
    found = await asyncio.gather(*queries, return_exceptions=True)
    return {type(outcome).__name__ for outcome in found}


@in_virtual_time
async def test_whose_connection_is_lost() -> None:
    costs = []
    for many in (100, 1000):
        with Wire() as wire:
            await wire.cache("a")
            queries = [wire.conn.query("a") for _ in range(many)]
            await turns()
            with counted() as steps:
                wire.driver.connection_lost(ConnectionResetError(104, "reset"))
            assert await outcomes(*queries) == {"ConnectionLost"}
            costs.append(steps.number / many)
    assert costs[1] <= costs[0]


@in_virtual_time
async def test_that_does_not_fit_its_type() -> None:
    costs = []
    for many in (100, 100, 1000):  # the first time, there is more to do
        with Wire() as wire:
            query = wire.conn.query("a", ["1"])
            wire.say(backend.described([23], [backend.column("v", 25)]), answer("cached"))
            await query
            queries = [wire.conn.query("a", ["1"]) for _ in range(many)]
            with counted() as steps:
                misfit = wire.conn.query("a", [{}])
            wire.say(answer("a") * many)
            assert await outcomes(misfit) == {"DataError"}
            assert await outcomes(*queries) == {"Result"}
            costs.append(steps.number)
    assert costs[2] <= costs[1]


@in_virtual_time
@pytest.mark.parametrize("observed", [False, True])
async def test_that_nobody_wants_before_it_is_written(observed: bool) -> None:
    """Behind others, and a fence in front of all of them."""
    costs = []
    for many in (100, 100, 1000):
        with Wire() as wire:
            await wire.cache("a")
            if observed:
                observe(wire.session, lambda: 0.0, ENDPOINT, None)
            wire.conn.query("a").cancel()
            wanted = [wire.conn.query("a") for _ in range(many)]
            unwanted = [wire.conn.query("a") for _ in range(many)]
            for query in unwanted:
                query.cancel()
            wire.say(answer("first"))
            await turns()
            with counted() as steps:
                wire.say(backend.ready())
            wire.say(answer("wanted") * many)
            assert await outcomes(*wanted) == {"Result"}
            assert await outcomes(*unwanted) == {"CancelledError"}
            costs.append(steps.number / many)
    assert costs[2] <= costs[1]
