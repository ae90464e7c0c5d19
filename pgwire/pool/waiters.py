"""Waiters: requests that could not be served at once, and the queue they stand in.

The queue knows order and deadlines, and nothing of connections. Only the pool's core changes
waiters; a shell reads them.
"""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pgwire.pool.slots import Slot

C = TypeVar("C")


class WaiterState(Enum):
    """How a request stands that could not be served at once."""

    WAITING = "waiting"
    GRANTED = "granted"
    TIMED_OUT = "timed out"
    FAILED = "failed"
    ABANDONED = "abandoned"


class Waiter(Generic[C]):
    """A request in the queue, made at `since`. `slot` is set once GRANTED.

    `error` is set once FAILED, and with TIMED_OUT is the last failure to open, if any.
    `owner` does nothing until the request has ended; None if nobody knows. `shared`: others of
    its kind may use the connection at the same time.
    """

    __slots__ = ("deadline", "error", "owner", "shared", "since", "slot", "state")

    def __init__(
        self, since: float, deadline: float | None, owner: Hashable, *, shared: bool = False
    ) -> None:
        self.since = since
        self.deadline = deadline
        self.owner = owner
        self.shared = shared
        self.state = WaiterState.WAITING
        self.slot: Slot[C] | None = None
        self.error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Waiter {self.state.value}, deadline={self.deadline}>"


WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


class WaitQueue(OrderedDict[Waiter[C], None], Generic[C]):
    """Waiters in order of arrival, any of which may leave at any time.

    They leave by `leave`, the head by `pop_head`, and in no other way, or `shared`, which is how
    many of them would share, goes astray. All of it takes constant time, but for the heap of
    deadlines. Who left stays in the heap until it is met there, or until such entries are the
    greater part: so the memory follows the number of waiters.
    """

    def __init__(self) -> None:
        super().__init__()
        self.shared = 0
        self._deadlines: list[tuple[float, int, Waiter[C]]] = []
        self._joined = 0  # equal deadlines keep their order

    def join(self, waiter: Waiter[C]) -> None:
        """Put a waiter at the end."""
        self[waiter] = None
        self.shared += waiter.shared
        if waiter.deadline is not None:
            self._joined += 1
            heappush(self._deadlines, (waiter.deadline, self._joined, waiter))

    def leave(self, waiter: Waiter[C]) -> None:
        """Take out this one, which must be in the queue."""
        del self[waiter]
        self.shared -= waiter.shared

    def pop_head(self) -> Waiter[C]:
        """Take out who has waited longest; there must be one."""
        waiter = self.popitem(last=False)[0]
        self.shared -= waiter.shared
        return waiter

    def pop_due(self, now: float) -> Waiter[C] | None:
        """Take out one whose deadline is not after `now`, the earliest deadline first."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][0] <= now:
            waiter = heappop(deadlines)[2]
            if waiter in self:
                self.leave(waiter)
                return waiter
        if len(deadlines) > 2 * len(self) + 16:
            self._deadlines = [entry for entry in deadlines if entry[2] in self]
            heapify(self._deadlines)
        return None

    def next_deadline(self) -> float:
        """The earliest deadline of those who wait; infinity if there is none."""
        deadlines = self._deadlines
        while deadlines and deadlines[0][2] not in self:
            heappop(deadlines)
        return deadlines[0][0] if deadlines else inf
