"""Slots: places for connections, and the table that knows what state each is in.

Nothing here knows what a connection is. Only the pool's core changes slots; a shell reads them.

The core changes what it knows in *steps*, and each is done or not done, wherever Ctrl-C strikes (or
whatever a signal's handler raises). Python looks for signals when a function begins, when a call
that is not of such a function has returned, and when a loop jumps back: so from the start of a
function that calls nothing to the next call after its return, nothing can come between. A step is
such a stretch. Here it begins, in the methods that change a slot's state; their callers go on with
what belongs to it, as long as that takes no call, and end it with the call that adds an effect.
"""

from __future__ import annotations

from enum import Enum
from itertools import chain, starmap
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar

from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pgwire.pool.histogram import Tally
    from pgwire.pool.waiters import Waiter

C = TypeVar("C")


class SlotState(Enum):
    """What is being done with a connection."""

    OPENING = "opening"
    IDLE = "idle"
    CHECKING = "checking"
    LEASED = "leased"
    SHARED = "shared"
    RESETTING = "resetting"
    CLOSING = "closing"
    CLOSED = "closed"

    __hash__ = object.__hash__  # Enum's own is written in Python, and these are keys


class Slot(Generic[C]):
    """A place for one connection, from the decision to open it until it is gone."""

    __slots__ = (
        *("becomes", "busy_since", "connection", "expires_at", "idle_since", "leased_at"),
        *("looked_at", "owner", "started_at", "state", "users", "uses"),
    )

    connection: C  # set when it has been opened
    idle_since: float  # set whenever it becomes idle
    leased_at: float  # set whenever it is lent
    busy_since: float  # while SHARED: when the query that is answered next became the head
    becomes: SlotState  # while SHARED: what it is to be when the last user has left

    def __init__(self, started_at: float) -> None:
        self.state = SlotState.CLOSED
        self.started_at = started_at  # when its opening began
        self.expires_at = inf
        self.looked_at = -inf  # when it was seen to be alive
        self.owner: Hashable = None  # who has it, while LEASED; None if nobody knows
        self.users = 0  # queries in flight on it, while SHARED
        self.uses = 0  # leases so far; each user of a shared one counts

    def __repr__(self) -> str:
        return f"<Slot {self.state.value}, uses={self.uses}>"


# An enumeration's attribute costs ten times as much to read as a name of the module.
OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState


class SlotTable(Generic[C]):
    """Every slot of a pool, by state; within a state in the order in which they came to be in it.

    The gauges are the sizes of these dicts: there is no second count that could go astray.

    `next(newest)` is the idle slot used last; there must be one. (reversed() would cross the holes
    behind the last entry every time, and a hundred leases in a row leave a hundred holes; popitem()
    crosses each of them once. That it is put back within the same call, where nothing can come
    between, is why each slot is its own value.)
    """

    __slots__ = (
        *("by_state", "checking", "closing", "idle", "leased", "opening", "resetting", "shared"),
        *("_all", "newest"),
    )

    def __init__(self) -> None:
        self.by_state: dict[SlotState, dict[Slot[C], Slot[C]]] = {
            state: {} for state in SlotState if state is not CLOSED
        }
        self.opening, self.idle = self.by_state[OPENING], self.by_state[IDLE]
        self.checking, self.leased = self.by_state[CHECKING], self.by_state[LEASED]
        self.shared = self.by_state[SHARED]
        self.resetting, self.closing = self.by_state[RESETTING], self.by_state[CLOSING]
        self._all: dict[Slot[C], None] = {}  # but for those that are closed
        self.newest: Iterator[Slot[C]] = starmap(
            self.idle.setdefault, iter(self.idle.popitem, None)
        )

    def __iter__(self) -> Iterator[Slot[C]]:
        return chain.from_iterable(self.by_state.values())

    def move(self, slot: Slot[C], state: SlotState) -> None:
        """Change a slot's state, while nobody uses it; a new slot comes from CLOSED."""
        if slot.state is not CLOSED:
            del self.by_state[slot.state][slot]
        else:
            self._all[slot] = None
        if state is not CLOSED:
            self.by_state[state][slot] = slot
        else:
            del self._all[slot]
        slot.state = state

    def rest(self, slot: Slot[C], now: float) -> None:
        """What `move` would do to IDLE; note since when."""
        del self.by_state[slot.state][slot]
        self.idle[slot] = slot
        slot.state, slot.idle_since = IDLE, now

    def open(self, slot: Slot[C], now: float, connect_time: Tally) -> None:
        """From OPENING to IDLE; count how long it took."""
        connect_time.add(now - slot.started_at)
        del self.opening[slot]
        self.idle[slot] = slot
        slot.state, slot.idle_since = IDLE, now

    def lend(self, slot: Slot[C], owner: Hashable, now: float) -> None:
        """From IDLE to LEASED; note who has it since when."""
        del self.idle[slot]
        self.leased[slot] = slot
        slot.state = LEASED
        slot.owner = owner
        slot.leased_at = now
        slot.uses += 1

    def join(self, slot: Slot[C], now: float) -> None:
        """Let one more share a connection, which is idle or SHARED already."""
        if slot.state is IDLE:
            del self.idle[slot]
            self.shared[slot] = slot
            slot.state, slot.becomes = SHARED, IDLE
            slot.busy_since = now
        slot.users += 1
        slot.uses += 1

    def grant(self, slot: Slot[C], waiter: Waiter[C], now: float, wait_time: Tally) -> None:
        """What `lend` or `join` would do, for one who has waited; count for how long.

        It is written out, as these would begin a step of their own.
        """
        wait_time.add(now - waiter.since)
        if not waiter.shared:
            del self.idle[slot]
            self.leased[slot] = slot
            slot.state = LEASED
            slot.owner = waiter.owner
            slot.leased_at = now
        else:
            if slot.state is IDLE:
                del self.idle[slot]
                self.shared[slot] = slot
                slot.state, slot.becomes = SHARED, IDLE
                slot.busy_since = now
            slot.users += 1
        slot.uses += 1
        waiter.slot = slot

    def give_back(self, slot: Slot[C], state: SlotState, now: float, use_time: Tally) -> None:
        """The lease, or the last of those who share, is over; count how long it was.

        What comes next is one of IDLE, RESETTING and CLOSING.
        """
        if slot.state is LEASED:
            use_time.add(now - slot.leased_at)
            del self.leased[slot]
            slot.owner = None  # what is idle keeps nobody alive
        else:
            use_time.add(now - slot.busy_since)
            del self.shared[slot]
            slot.users = 0
        self.by_state[state][slot] = slot
        slot.state, slot.idle_since = state, now

    @property
    def open_count(self) -> int:
        """Connections that are open and to stay so."""
        used = len(self.leased) + len(self.shared)
        return len(self.idle) + len(self.checking) + used + len(self.resetting)

    @property
    def live_count(self) -> int:
        """Those, and the ones that are on their way."""
        return self.open_count + len(self.opening)

    @property
    def size(self) -> int:
        """All that the server may know of, closing ones included."""
        return len(self._all)


def require(slot: Slot[C], state: SlotState) -> None:
    """Raise InterfaceError if the slot is in another state."""
    if slot.state is not state:
        raise InterfaceError(
            f"this can be said only of a connection that is {state.value};"
            f" the connection is {slot.state.value}"
        )
