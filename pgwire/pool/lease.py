"""Lease: a connection as long as the pool lends it."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Self

from pgwire.blocking.connection import Connection
from pgwire.errors import InterfaceError
from pgwire.handle import NOBODY
from pgwire.pool import telling
from pgwire.pool.ledger import caller, frame_above, told
from pgwire.pool.released import RELEASED

if TYPE_CHECKING:
    from types import TracebackType

    from pgwire.pool.engine import Engine


class Lease(Connection):
    """A `Connection` from `pool.connect()`, until `release()` or the end of its `with` block.

    Afterwards it is dead: every use, and a second release, raises `InterfaceError` and
    touches nothing. Leaving a block whose lease was released already does nothing.
    """

    def __init__(
        self, engine: Engine, checkout_timeout: float | None, query_timeout: float | None
    ) -> None:
        # The lease exists before its slot: whatever strikes once it has that, a destructor
        # is there to give it back.
        self._driver = RELEASED
        self._engine = engine
        self._default_timeout = query_timeout
        self._callbacks = NOBODY
        slot = engine.acquire(checkout_timeout, None)
        self._slot = slot
        self._uses = slot.uses
        self._driver = slot.connection
        engine.leases[slot] = caller(frame_above(2))

    @property
    def closed(self) -> bool:
        return self._driver is RELEASED or super().closed

    def release(self, *, discard: bool = False) -> None:
        """Give the connection back; `discard=True` has it closed instead.

        Returns at once and never fails because the connection did. A transaction that was
        left open is rolled back, and what its statements changed in the session is reset,
        before the connection is used again.
        """
        driver = self._driver
        if driver is RELEASED:
            raise InterfaceError("this lease has been released already")
        if self._callbacks:
            driver.listener = self._listener_before
            driver.session.events.leave()
            self._fall_silent(driver)
        self._driver = RELEASED
        try:
            self._engine.release(self._slot, discard)
        except BaseException:  # Ctrl-C, or what a callback raised
            self._engine.orphan(self._slot, self._uses)
            raise

    def _attend(self) -> None:
        if not self._callbacks:
            self._listener_before = self._driver.listener
        super()._attend()

    def close(self) -> None:
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
        place = self._engine.leases.get(self._slot)
        self._engine.orphan(self._slot, self._uses)
        warnings.warn(
            telling.never_released(told(place)), ResourceWarning, stacklevel=2, source=self
        )

    def __enter__(self) -> Self:
        if self._driver is RELEASED:
            raise InterfaceError("this lease has been released already")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._driver is not RELEASED:
            self.release()
