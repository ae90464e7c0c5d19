"""Ledger: who holds which lease, since when, and from where in the program.

Written at every checkout, read only when something went wrong: so it keeps what is at hand,
and makes text of it when asked.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pgwire.blocking.driver import Driver
    from pgwire.pool.slots import Slot


class LeaseRecord:
    """Who took a lease, and at which line; the slot knows when."""

    __slots__ = ("_code", "_line", "reported", "thread")

    def __init__(self, thread: threading.Thread, frame: FrameType | None) -> None:
        self.thread = thread
        self._code = None if frame is None else frame.f_code
        self._line = 0 if frame is None else frame.f_lineno
        self.reported = False  # as a leak

    @property
    def place(self) -> str:
        """Where it was taken, as "file:line in function"."""
        if self._code is None:
            return "an unknown place"
        return f"{self._code.co_filename}:{self._line} in {self._code.co_name}"


class Ledger(dict["Slot[Driver]", LeaseRecord]):
    """The leases that are out; single queries are not in it."""

    def places_of_this_thread(self) -> list[str]:
        """Where the calling thread took the leases that it holds."""
        me = threading.current_thread()
        return [record.place for record in tuple(self.values()) if record.thread is me]

    def leaks(self, limit: float, now: float) -> Iterator[tuple[Slot[Driver], LeaseRecord]]:
        """Leases that are older than the limit; each is named once."""
        for slot, record in tuple(self.items()):
            if now - slot.leased_at > limit and not record.reported:
                record.reported = True
                yield slot, record
