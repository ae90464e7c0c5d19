"""AsyncNotifications: what the asyncio shell gives to whoever waits for NOTIFY."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self

from pgwire.aio.loops import check_loop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

    from pgwire.handle import Handle
    from pgwire.protocol.events import Inbox
    from pgwire.protocol.messages import Notification


class AsyncNotifications:
    """The notifications of a connection, as they come: an iterator.

    It takes what has come since `listen`, then waits for more: as long as `timeout` says
    (seconds) for each, for ever without one; 0 takes what has come already. Several of these on
    one connection share what comes. Of those that wait to be taken the last 10,000 are kept; an
    `OperationalError` stands in the place of others, and the next step goes on behind it. A step
    that is cancelled loses none.

    Ends with `InterfaceError` when the connection is closed, or its lease released; with
    `ConnectionLost`, after what came before, when it was lost. While a stream or a COPY holds the
    connection: `InterfaceError`. Manual: "NOTIFY", "Asynchronous Operations".
    """

    def __init__(self, connection: Handle, inbox: Inbox, timeout: float | None) -> None:
        self._connection = connection
        self._inbox = inbox
        self._timeout = timeout

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Notification:
        loop: AbstractEventLoop = self._driver.loop
        check_loop(loop, "connection")
        deadline = None if self._timeout is None else loop.time() + self._timeout
        is_late = False
        while True:
            # From here to the return nothing is awaited: who is cancelled has taken none.
            notification: Notification | None = self._driver.take_notification(self._inbox)
            if notification is not None:
                return notification
            if is_late:
                raise StopAsyncIteration
            await self._wait(loop, None if deadline is None else deadline - loop.time())
            is_late = deadline is not None and loop.time() >= deadline

    @property
    def _driver(self) -> Any:
        return self._connection._driver  # of a lease that was released: it says so

    async def _wait(self, loop: AbstractEventLoop, seconds: float | None) -> None:
        """Wait until there may be something to be taken, or time is up."""
        woken: Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        self._inbox.watchers.add(wake)
        try:
            await asyncio.wait((woken,), timeout=None if seconds is None else max(seconds, 0.0))
        finally:
            self._inbox.watchers.discard(wake)
