"""Waiters: requests that could not be served at once, and the queue they stand in.

The queue knows order and deadlines, and nothing of connections. Only the pool's core changes
waiters; a shell reads them.
"""

from __future__ import annotations

from collections import OrderedDict, deque
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


# An enumeration's attribute costs ten times as much to read as a name of the module.
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


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
        self.state = WAITING
        self.slot: Slot[C] | None = None
        self.error: Exception | None = None

    def __repr__(self) -> str:
        return f"<Waiter {self.state.value}, deadline={self.deadline}>"


class WaitQueue(OrderedDict[Waiter[C], None], Generic[C]):
    """Waiters in order of arrival, any of which may leave at any time.

    They leave by `leave` and in no other way, or `shared`, which is how many of them would share,
    goes astray. It is part of a step (see `slots`) in which the waiter learns why; `forget` comes
    behind that. All of it takes constant time, but for deadlines that are before one that joined
    earlier: these are in a heap. All others are in order, as long as all have the same patience.
    Who left stays among the deadlines until it is met there, or until such entries are the greater
    part: so the memory follows the number of waiters, and nobody is kept by a queue that is empty.

    No deadline is before `earliest`; to know more, ask `next_deadline`.
    """

    __slots__ = ("_in_order", "_joined", "_others", "earliest", "shared")

    def __init__(self) -> None:
        super().__init__()
        self.shared = 0
        self.earliest = inf
        self._in_order: deque[tuple[float, int, Waiter[C]]] = deque()
        self._others: list[tuple[float, int, Waiter[C]]] = []
        self._joined = 0  # equal deadlines keep their order

    def join(self, waiter: Waiter[C]) -> None:
        """Put a waiter at the end."""
        self[waiter] = None
        self.shared += waiter.shared
        deadline, in_order = waiter.deadline, self._in_order
        if deadline is None:
            return
        if deadline < self.earliest:
            self.earliest = deadline
        self._joined += 1
        entry = (deadline, self._joined, waiter)
        if not in_order or in_order[-1][0] <= deadline:
            in_order.append(entry)
        else:
            heappush(self._others, entry)

    def leave(self, waiter: Waiter[C]) -> None:
        """Take out this one, which must be in the queue."""
        del self[waiter]
        self.shared -= waiter.shared
        if not self:
            self.earliest = inf

    def forget(self, waiter: Waiter[C]) -> None:
        """This one has left: its deadline is of no more interest."""
        if self and self._in_order and self._in_order[0][2] is waiter:
            self._in_order.popleft()
        elif not self:
            self._in_order.clear()
            self._others.clear()
        elif len(self._in_order) + len(self._others) > 2 * len(self) + 16:
            self._in_order = deque(entry for entry in self._in_order if entry[2] in self)
            others = [entry for entry in self._others if entry[2] in self]
            heapify(others)
            self._others = others

    def due(self, now: float) -> Waiter[C] | None:
        """One whose deadline is not after `now`, the earliest deadline first."""
        self.earliest = self.next_deadline()
        if self.earliest > now:
            return None
        in_order, others = self._in_order, self._others
        first = others if others and not (in_order and in_order[0] < others[0]) else in_order
        return first[0][2]

    def next_deadline(self) -> float:
        """The earliest deadline of those who wait; infinity if there is none."""
        in_order, others = self._in_order, self._others
        while in_order and in_order[0][2] not in self:
            in_order.popleft()
        while others and others[0][2] not in self:
            heappop(others)
        if others and not (in_order and in_order[0] < others[0]):
            return others[0][0]
        return in_order[0][0] if in_order else inf
