"""AsyncLease: a connection of an event loop, as long as the pool lends it."""

from __future__ import annotations

import warnings
from asyncio import CancelledError, _get_running_loop
from typing import TYPE_CHECKING, Any, Self

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.loops import check_loop
from pgwire.errors import Error, InterfaceError
from pgwire.handle import NOBODY, point_to_outcome
from pgwire.pool import telling
from pgwire.pool.ledger import caller, frame_above, told
from pgwire.pool.released import RELEASED
from pgwire.pool.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from pgwire.aio.driver import AsyncDriver
    from pgwire.pool.aio_engine import AsyncEngine
    from pgwire.pool.ledger import Place


class AsyncLease(AsyncConnection):
    """An `AsyncConnection` from `pool.connect()`, until `release()` or its block's end.

    Afterwards it is dead: every use, and a second release, raises `InterfaceError` and
    touches nothing. Leaving a block whose lease was released already does nothing.
    """

    def __init__(self, engine: AsyncEngine, slot: Slot[AsyncDriver], place: Place) -> None:
        self._callbacks = NOBODY
        self._driver = slot.connection
        self._driver.session.unordered = False  # as it may be while queries of many share it
        self._engine = engine
        self._default_timeout = engine.query_timeout
        self._slot = slot
        self._uses = slot.uses
        self._place = place
        engine.lent(slot, place)

    @property
    def closed(self) -> bool:
        return self._driver is RELEASED or super().closed

    def release(self, *, discard: bool = False) -> None:
        """Give the connection back; `discard=True` has it closed instead.

        A plain call: returns at once and never fails because the connection did. What is
        still under way comes to its end first. A transaction that was left open is rolled
        back, and what its statements changed in the session is reset, before the connection
        is used again.
        """
        driver = self._driver
        if driver is RELEASED:
            raise InterfaceError("this lease has been released already")
        if _get_running_loop() is not self._engine.loop and not driver.is_inherited:
            check_loop(driver.loop, "lease")
        if self._callbacks:
            driver.listener = self._listener_before
            driver.session.events.leave()
            self._fall_silent(driver)
        self._driver = RELEASED
        try:
            self._engine.release(self._slot, discard)
        except BaseException:  # Ctrl-C
            self._engine.interrupted(self._slot, self._uses)
            raise

    def _attend(self) -> None:
        if not self._callbacks:
            self._listener_before = self._driver.listener
        super()._attend()

    async def close(self) -> None:
        """The same as `release(discard=True)`."""
        if self._driver is not RELEASED:
            self.release(discard=True)

    def __del__(self) -> None:
        try:
            driver = self._driver
        except AttributeError:  # Ctrl-C: it had not even begun
            return
        if driver is RELEASED or driver.is_inherited:
            return
        self._driver = RELEASED
        self._engine.orphan(self._slot, self._uses)
        warnings.warn(
            telling.never_released(told(self._place)), ResourceWarning, stacklevel=2, source=self
        )

    async def __aenter__(self) -> Self:
        if self._driver is RELEASED:
            raise InterfaceError("this lease has been released already")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._driver is not RELEASED:
            self.release()


class Checkout:
    """What `pool.connect()` gives: `await` it, or enter it with `async with`.

    It takes its place in the queue when that is done, and each time that it is.
    """

    def __init__(self, engine: AsyncEngine, timeout: float | None) -> None:
        self._engine = engine
        self._timeout = timeout
        self._place = caller(frame_above(2))
        self._is_entered = False
        self._lease: AsyncLease | None = None

    def __await__(self) -> Generator[Any, None, AsyncLease]:
        engine, answer = self._engine, None
        try:
            answer = slot = engine.ask(self._timeout)
            if not isinstance(slot, Slot):
                slot = yield from engine.wait_for(slot).__await__()
            return AsyncLease(engine, slot, self._place)
        except (Error, CancelledError):
            raise
        except BaseException:  # Ctrl-C
            engine.disown(answer)
            raise

    async def __aenter__(self) -> AsyncLease:
        if self._is_entered:
            raise InterfaceError("this checkout has been entered already: call connect() for each")
        self._is_entered = True
        try:
            self._lease = await self
        except BaseException:
            self._is_entered = False
            raise
        return self._lease

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        lease, self._lease = self._lease, None
        self._is_entered = False
        if lease is not None:
            await lease.__aexit__(kind, value, traceback)


point_to_outcome(Checkout, AsyncLease, "(await …)")
