"""Lease: a connection as long as the pool lends it."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any, Self

from pgwire.blocking.connection import Connection
from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.slots import Slot


class _Released:
    """Stands where the driver was: whoever still uses the lease is told so."""

    closed = True

    def __getattr__(self, name: str) -> Any:
        raise InterfaceError("this lease has been released; its connection may be in other hands")

    def __setattr__(self, name: str, value: object) -> None:
        self.__getattr__(name)


_RELEASED: Any = _Released()


class Lease(Connection):
    """A `Connection` from `pool.connect()`, until `release()` or the end of its `with` block.

    Afterwards it is dead: every use, and a second release, raises `InterfaceError` and
    touches nothing. Leaving a block whose lease was released already does nothing.
    """

    _driver: Driver = _RELEASED  # as long as there is no other

    def __init__(self, engine: Engine, slot: Slot[Driver], timeout: float | None) -> None:
        super().__init__(slot.connection)
        self._engine = engine
        self._slot = slot
        self._default_timeout = timeout
        self._place = _caller()
        engine.note_lease(slot, self._place)

    def __repr__(self) -> str:
        if self._driver is _RELEASED:
            return "<Lease released>"
        return super().__repr__()

    @property
    def closed(self) -> bool:
        return self._driver is _RELEASED or super().closed

    def release(self, *, discard: bool = False) -> None:
        """Give the connection back; `discard=True` has it closed instead.

        Returns at once and never fails because the connection did. A transaction that was
        left open is rolled back, and what its statements changed in the session is reset,
        before the connection is used again.
        """
        self._take_driver()
        self._engine.release(self._slot, discard=discard)

    def close(self) -> None:
        """The same as `release(discard=True)`."""
        if self._driver is not _RELEASED:
            self.release(discard=True)

    def _take_driver(self) -> None:
        driver, self._driver = self._driver, _RELEASED
        if driver is _RELEASED:
            raise InterfaceError("this lease has been released already")
        if self._callbacks:
            driver.listener = None

    def __del__(self) -> None:
        if self._driver is not _RELEASED:
            self._driver = _RELEASED
            self._engine.orphan(self._slot)
            warnings.warn(
                f"a lease taken at {self._place} was never released; its connection is closed",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    def __enter__(self) -> Self:
        if self._driver is _RELEASED:
            raise InterfaceError("this lease has been released already")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._driver is not _RELEASED:
            self.release()


def _is_plumbing(module: str) -> bool:
    return module.startswith("pgwire.") or module == "contextlib"


def _caller() -> str:
    """The line outside of pgwire that asked, as "file:line in function"."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and _is_plumbing(frame.f_globals.get("__name__", "")):
        frame = frame.f_back
    if frame is None:
        return "unknown"
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_name}"
