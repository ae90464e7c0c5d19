"""An asyncio pool on a loop with virtual time, whose connections are made up.

`World` is what opens them: an opening takes as long as `opening` says, a query as long as its text
says, in seconds; one query after the other is answered on each connection. `pool` gives a pool on
such a world, in a loop of `tests.support.virtual_loop`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pgwire
from pgwire.aio.driver import AsyncDriver
from pgwire.driving import DriverBase
from pgwire.errors import InterfaceError
from pgwire.pool import aio, aio_engine
from pgwire.protocol.messages import TransactionStatus
from tests.pool.scripts import CLOSING, START, Opening

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pgwire.aio.future import QueryFuture
    from pgwire.protocol.query import Query

# How long it takes to cancel what runs.
CANCELLING = 0.004


class FakeSession:
    """What a pool looks at."""

    failure: Exception | None = None
    changed = unordered = False
    transaction_status = TransactionStatus.IDLE

    def __init__(self) -> None:
        self.pending: deque[Any] = deque()

    def is_spotless(self) -> bool:
        return not self.pending and self.failure is None


class FakeDriver(AsyncDriver):
    """A connection that answers one query after the other."""

    def __init__(self, world: World, number: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.world = world
        self.number = number
        self.session = cast("Any", FakeSession())
        self.closed = self.given_up = False
        self.lost_listener = self.listener = None
        self.reads = 0
        self.timed_read = -1
        self._when_idle: list[Callable[[], object]] = []
        self.generation = DriverBase.forks
        self._hangup = lambda _timeout: []
        self._timer: asyncio.TimerHandle | None = None

    def start(self, future: QueryFuture, timeout: float | None = None) -> None:
        assert timeout is None
        operation = cast("Query", future.operation)
        if self.closed:
            self._settle_fake(future, InterfaceError("the connection is closed"))
            return
        self.session.pending.append(operation)
        if len(self.session.pending) == 1:
            self._next()

    def _next(self) -> None:
        pending = self.session.pending
        while pending and pending[0].abandoned:
            self._settle_fake(pending.popleft().waiter, None)
        if pending:
            self._timer = self.loop.call_later(float(cast("Query", pending[0]).sql), self._answer)
        else:
            waiting, self._when_idle = self._when_idle, []
            for callback in waiting:
                callback()

    def _answer(self) -> None:
        self.reads += 1
        self._timer = None
        operation = self.session.pending.popleft()
        operation.result = self.number
        self._settle_fake(operation.waiter, None)
        if self._timer is None:  # else the pool has had the next one started already
            self._next()

    @staticmethod
    def _settle_fake(future: QueryFuture, error: Exception | None) -> None:
        future.operation.error, future.operation.done = error, True
        future.settle()
        assert future.finished is not None
        future.finished(future)

    def abandon(self, future: QueryFuture) -> None:
        future.operation.abandon()
        if self.session.pending[0] is future.operation:
            assert self._timer is not None
            self._timer.cancel()
            self._timer = self.loop.call_later(CANCELLING, self._answer)

    def clean(self, reset: bool | None = None) -> bool:
        return not self.closed

    async def say_why_lost(self) -> Any:
        return None

    async def interrupt(self, *, always: bool = False) -> None:
        pending, self.session.pending = self.session.pending, deque()
        if self._timer is not None:
            self._timer.cancel()
        for operation in pending:
            self._settle_fake(operation.waiter, InterfaceError("the connection is closed"))

    async def close(self) -> None:
        assert not self.closed, "closed twice"
        self.closed = True
        await asyncio.sleep(CLOSING)
        self.world.connections -= 1

    def abort(self, why: str = "") -> None:
        assert self.closed, "aborted, and not closed"

    def drop(self) -> None:
        raise AssertionError("nobody forks here")


class World:
    """Opens made-up connections, and counts them. `opening` tells of the n-th, from 0."""

    watches_role = False

    def __init__(self, opening: Callable[[int], Opening] = lambda _: Opening(0.15, None)) -> None:
        self.opening = opening
        self.attempts = self.connections = self.most = 0

    async def open(self, timeout: float | None = None) -> FakeDriver:
        opening = self.opening(self.attempts)
        self.attempts += 1
        number = self.attempts
        self.connections += 1
        self.most = max(self.most, self.connections)
        try:
            await asyncio.sleep(opening.takes)
            if opening.error is not None:
                raise opening.error
        except BaseException:
            self.connections -= 1
            raise
        return FakeDriver(self, number)


def clock() -> float:
    """The time of the running loop, as scripts have it."""
    return START + asyncio.get_running_loop().time()


def pool(world: World, patches: pytest.MonkeyPatch, **options: Any) -> pgwire.AsyncPool:
    """To be called in a virtual loop, and ended there."""
    patches.setattr(aio, "AsyncOpener", lambda _settings, **_: world)
    patches.setattr(aio, "settings", lambda *_: SimpleNamespace(replication=None))
    patches.setattr(aio_engine, "random", SimpleNamespace(random=lambda: 0.5))
    return pgwire.AsyncPool(clock=clock, **options)
