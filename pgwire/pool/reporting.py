"""What a blocking pool tells of itself: its figures, and callbacks for what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, overload

from pgwire.pool.observed import watch_all
from pgwire.pool.options import check_event, check_plain_function

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal

    from pgwire.blocking.connection import Connection
    from pgwire.pool.blocking import Pool
    from pgwire.pool.config import PoolStats
    from pgwire.pool.engine import Engine
    from pgwire.pool.options import ConnectionEvent, PoolEvent
    from pgwire.protocol.observing import QueryReport


class Reports:
    """What a pool has for it."""

    _engine: Engine

    @property
    def total_count(self) -> int:
        """Connections at the server, or on their way there or back."""
        with self._engine.lock:
            return self._engine.core.total_count

    @property
    def idle_count(self) -> int:
        """Connections that nobody uses."""
        with self._engine.lock:
            return self._engine.core.idle_count

    @property
    def waiting_count(self) -> int:
        """Requests in the queue."""
        with self._engine.lock:
            return self._engine.core.waiting_count

    def stats(self) -> PoolStats:
        """All figures of one instant."""
        with self._engine.lock:
            return self._engine.core.stats()

    @overload
    def on(self, event: ConnectionEvent, callback: Callable[[Connection], object]) -> None: ...
    @overload
    def on(
        self, event: Literal["error"], callback: Callable[[Exception, Connection], object]
    ) -> None: ...
    @overload
    def on(self, event: Literal["query"], callback: Callable[[QueryReport], object]) -> None: ...
    @overload
    def on(self, event: PoolEvent, callback: Callable[..., object]) -> None: ...
    def on(self, event: PoolEvent, callback: Callable[..., object]) -> None:
        """Call `callback` with the connection at every such event.

        "connect": a new physical connection, before its first lease; "acquire", "release":
        a lease begins or ends; "remove": a connection has been closed; "error": an idle
        connection was lost (the callback gets the exception, then the connection); "leak": a
        lease has been held for longer than `leak_after`. Callbacks run outside of the pool's
        lock; what they raise is logged and goes no further.

        "query": something that was asked of the pool, or of one of its leases, has ended, however
        it did; the callback gets a `QueryReport` instead, in the context (`contextvars`) of who
        asked and before he goes on. What callbacks ask for themselves is not reported.
        """
        check_event(event)
        check_plain_function("callback", callback)
        with self._engine.lock:  # of two threads one may end what the other begins
            self._engine.listeners.on(event, callback)
            if event == "query":
                watch_all(cast("Pool", self))

    def off(self, event: PoolEvent, callback: Callable[..., object]) -> None:
        """Undo `on`; nothing happens if the callback is not there."""
        with self._engine.lock:
            self._engine.listeners.off(event, callback)
            if event == "query":
                watch_all(cast("Pool", self))
