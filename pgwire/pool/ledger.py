"""Ledger: who holds which lease, since when, and from where in the program.

Written at every checkout, read only when something went wrong: so it keeps what is at hand,
and makes text of it when asked. Who holds a lease, and since when, its slot knows.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ref

from pgwire.pool.slots import LEASED

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType, FrameType

    from pgwire.pool.slots import Slot

    # A function, and where in it: to find the line takes longer than to keep this.
    Place = tuple[CodeType, int] | None

_PACKAGE = str(Path(__file__).parent.parent)


# Whether a file is of this package, or calls on behalf of others; looked at once each.
_own_files: dict[str, bool] = {}
frame_above = sys._getframe


def caller(frame: FrameType | None) -> Place:
    """Where the program, and not pgwire, is: this frame, or the next above it that is not ours."""
    while frame is not None:
        code = frame.f_code
        try:
            is_own = _own_files[code.co_filename]
        except KeyError:
            is_own = _look_at(code.co_filename)
        if not is_own:
            return code, frame.f_lasti
        frame = frame.f_back
    return None


def _look_at(filename: str) -> bool:
    own = filename.startswith(_PACKAGE) or filename == contextlib.__file__
    _own_files[filename] = own
    return own


def told(place: Place) -> str:
    """A place as "file:line in function"."""
    if place is None:
        return "an unknown place"
    code, instruction = place
    # An instruction of no line belongs to the one before it.
    lines = [line for start, _, line in code.co_lines() if start <= instruction and line]
    return f"{code.co_filename}:{lines[-1] if lines else 0} in {code.co_name}"


def name_of(holder: Any) -> str:
    """What the program calls a thread, or the task that a weak reference is to.

    None is one that nobody knows.
    """
    if isinstance(holder, ref):
        holder = holder()
    if holder is None:
        return "unknown"
    return str(holder.get_name() if hasattr(holder, "get_name") else holder.name)


class Ledger(dict["Slot[Any]", "Place"]):
    """The leases that are out, and where they were taken; single queries are not in it."""

    def __init__(self) -> None:
        super().__init__()
        self._reported: dict[Slot[Any], int] = {}  # as leaks; a slot's `uses` tell its leases apart

    def places_of(self, holder: object) -> list[str]:
        """Where it took the leases that it holds."""
        return [told(place) for slot, place in tuple(self.items()) if slot.owner == holder]

    def holders(self) -> list[str]:
        """Where each lease was taken, and by whom.

        What `end` has closed by force is nobody's any more, and stays here until it is released.
        """
        found = []
        for slot, place in tuple(self.items()):
            owner = slot.owner
            found.append(f"taken at {told(place)}" + (f" by {name_of(owner)}" if owner else ""))
        return found

    def leaks(self, limit: float, now: float) -> Iterator[tuple[Slot[Any], float, str, str]]:
        """Leases that are older than the limit: for how long, whose, where they were taken.

        Each is named once. They may be given back at any moment, by other threads: so what is told
        of one is read before it is seen to be out.
        """
        for slot, place in tuple(self.items()):
            uses, owner, held = slot.uses, slot.owner, now - slot.leased_at
            is_out = slot.state is LEASED and slot.uses == uses
            if is_out and held > limit and self._reported.get(slot) != uses:
                self._reported[slot] = uses
                yield slot, held, name_of(owner), told(place)
        for slot in self._reported.keys() - self.keys():
            del self._reported[slot]
