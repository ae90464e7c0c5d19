"""Effects: what the pool's core wants done, and which report it expects in return.

A waiter is one as well: its state has changed (it has been granted a slot, timed out or failed),
and whose it is must hear of it. There is one for each in the queue, so nothing else is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeAlias

from pgwire.pool.slots import C, Slot
from pgwire.pool.waiters import Waiter


@dataclass(frozen=True, slots=True)
class OpenConnection(Generic[C]):
    """Open a connection, within a time of the shell's choice; then `opened` or `open_failed`."""

    slot: Slot[C]


@dataclass(frozen=True, slots=True)
class CheckConnection(Generic[C]):
    """See whether the server answers, within a time of the shell's choice; then `checked`."""

    slot: Slot[C]


@dataclass(frozen=True, slots=True)
class ResetConnection(Generic[C]):
    """Bring the session back to its beginning; then `reset_done`."""

    slot: Slot[C]


@dataclass(frozen=True, slots=True)
class CloseConnection(Generic[C]):
    """Close the connection, whatever it is doing; `closed`, once the server's end is gone."""

    slot: Slot[C]


Effect: TypeAlias = (
    OpenConnection[C] | CheckConnection[C] | ResetConnection[C] | CloseConnection[C] | Waiter[C]
)
