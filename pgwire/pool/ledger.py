"""Ledger: who holds which lease, since when, and from where in the program.

Written at every checkout, read only when something went wrong: so it keeps what is at hand,
and makes text of it when asked.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from pgwire.pool.slots import Slot


class LeaseRecord:
    """Who took a lease, and at which line; the slot knows when. A holder is a thread or a task."""

    __slots__ = ("_code", "_line", "holder", "reported")

    def __init__(self, holder: Any, frame: FrameType | None) -> None:
        self.holder = holder
        self._code = None if frame is None else frame.f_code
        self._line = 0 if frame is None else frame.f_lineno
        self.reported = False  # as a leak

    def of(self, holder: Any) -> LeaseRecord:
        """This one with its holder; another of the same place, where it has one already."""
        if self.holder is None:
            self.holder = holder
            return self
        other = LeaseRecord(holder, None)
        other._code, other._line = self._code, self._line
        return other

    @property
    def place(self) -> str:
        """Where it was taken, as "file:line in function"."""
        if self._code is None:
            return "an unknown place"
        return f"{self._code.co_filename}:{self._line} in {self._code.co_name}"

    @property
    def holder_name(self) -> str:
        """What the program calls the thread or the task that took it."""
        holder = self.holder
        return str(holder.get_name() if hasattr(holder, "get_name") else holder.name)


class Ledger(dict["Slot[Any]", LeaseRecord]):
    """The leases that are out; single queries are not in it."""

    def places_of(self, holder: object) -> list[str]:
        """Where it took the leases that it holds."""
        return [record.place for record in tuple(self.values()) if record.holder is holder]

    def leaks(self, limit: float, now: float) -> Iterator[tuple[Slot[Any], LeaseRecord]]:
        """Leases that are older than the limit; each is named once."""
        for slot, record in tuple(self.items()):
            if now - slot.leased_at > limit and not record.reported:
                record.reported = True
                yield slot, record


def caller(depth: int) -> FrameType | None:
    """Where the program, and not pgwire, is at the moment; `depth` frames of ours are known."""
    frame: FrameType | None = sys._getframe(depth + 1)
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if not (module.startswith("pgwire.") or module == "contextlib"):
            break
        frame = frame.f_back
    return frame
