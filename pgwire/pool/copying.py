"""PoolCopyOutput: COPY TO STDOUT on a connection of the pool, which is taken and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.blocking.copying import CopyOutput, copy_to
from pgwire.blocking.net import deadline_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.slots import Slot


class PoolCopyOutput(CopyOutput):
    """See `CopyOutput`. Takes its connection when it begins, and gives it back when it is over.

    Collected before that, its connection is closed.
    """

    _slot: Slot[Driver] | None = None

    def __init__(self, engine: Engine, sql: str, timeout: float | None) -> None:
        super().__init__(None, sql, timeout)
        self._engine = engine
        self._clock: Callable[[], float] = engine.options.clock

    def _take(self) -> Driver:
        options = self._engine.options
        until = None if self._timeout is None else self._clock() + self._timeout
        self._slot = slot = self._engine.acquire(options.checkout_timeout, until)
        self._uses = slot.uses
        self._left = None if until is None else max(0.0, until - self._clock())
        return slot.connection

    def _deadline(self) -> float | None:
        return None if self._left is None else deadline_in(self._left)

    def _ended(self) -> None:
        slot, self._slot = self._slot, None
        if slot is not None:
            try:
                self._engine.release(slot)
            except BaseException:  # Ctrl-C, or what a callback raised
                self._engine.orphan(slot, self._uses)
                raise

    def _collected(self) -> None:
        if self._slot is not None:
            self._engine.orphan(self._slot, self._uses)

    def write_to(self, sink: Any) -> int:
        """Write all of it to a file, in one turn; the number of rows."""
        driver = self._take()
        try:
            return copy_to(driver, self._operation.sql, sink, self._left)
        finally:
            self._ended()
