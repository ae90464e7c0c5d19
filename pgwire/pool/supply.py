"""Supply: the connections of a pool, and which of them may be handed over.

Who asks for them, and who comes first, is the business of `core`; here is what depends on the
connections alone: which is fit for use, which has room for one more, which is dead, too old or
one too many, and whether another is to be opened. What is to be done about it is left as effects.

Nothing is looked at while it is used, be it LEASED or SHARED: bytes that have arrived there are
answers, and whoever waits for them will notice an end. So a connection is judged when it is idle,
and joining a shared one is a matter of counts and times.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Generic

from pgwire.pool import effects
from pgwire.pool.backoff import Backoff
from pgwire.pool.config import Counters, PoolConfig
from pgwire.pool.slots import C, Slot, SlotState, SlotTable
from pgwire.pool.waiters import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pgwire.pool.histogram import Tally
    from pgwire.pool.waiters import Waiter

# A query that has run for longer than this may run for much longer: nobody queues up behind it.
HEAD_LIMIT = 0.050  # seconds

# A connection that is lost so soon after it was opened, before anybody had it, was a failure.
NEWBORN = 1.0  # seconds

# A look is as good as new for so long, which is less than a round trip. Where connections go from
# hand to hand without a pause it would be what a checkout costs most.
LOOK_AFTER = 0.0001  # seconds

_NO_LIMIT = 2**60

# An enumeration's attribute costs ten times as much to read as a name of the module.
OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState


class Supply(Generic[C]):
    """What PoolCore is on the side of the connections; of the queue it asks only how long it is."""

    def __init__(
        self,
        config: PoolConfig,
        *,
        jitter: Callable[[], float],
        is_alive: Callable[[C], bool] = lambda connection: True,
    ) -> None:
        self.config = config
        self._jitter = jitter
        self._is_alive = is_alive
        # Compared with numbers of their own kind, which is quicker.
        self._max_uses = _NO_LIMIT if config.max_uses is None else config.max_uses
        self._check_after = inf if config.check_after is None else float(config.check_after)
        self._max_pipeline = config.max_pipeline

        self._slots: SlotTable[C] = SlotTable()
        self._idle = self._slots.idle
        self._waiting: WaitQueue[C] = WaitQueue()
        self.pending: list[effects.Effect[C]] = []  # see take_effects()

        self.ending = False
        self._restless = False  # a release may be more than a change of state
        self._backoff = Backoff(jitter)
        self._retry_wanted = False  # an opening waits for the back-off to end
        self._count = Counters()

    def tally_with(self, make: Callable[[Tally], Tally]) -> None:
        """Have times counted by other tallies: by what `make` makes of each that there is."""
        count = self._count
        count.wait_time, count.use_time = make(count.wait_time), make(count.use_time)
        count.connect_time = make(count.connect_time)

    # What the shell reads

    @property
    def total_count(self) -> int:
        """Connections at the server or on their way there, closing ones included."""
        return self._slots.size

    @property
    def idle_count(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    def connections(self) -> list[C]:
        """Every connection that has been opened and not been closed."""
        return [slot.connection for slot in self._slots if slot.state is not OPENING]

    def interrupted(self, owner: Hashable, since: float) -> Slot[C] | Waiter[C] | None:
        """What this owner has of an `acquire` at `since` that did not return: Ctrl-C struck in it.

        The request in the queue that he made last, or the connection that he was lent; None if it
        had not come so far.
        """
        self._slots.mend()
        for waiter in reversed(self._waiting):
            if waiter.owner is owner:
                return waiter
        for slot in reversed(self._slots.leased):
            if slot.owner is owner and slot.leased_at == since:
                return slot
        return None

    # What is fit

    def _newest_fit(self, now: float) -> Slot[C] | None:
        """The idle connection used last; those that are dead or past their time are closed."""
        idle = self._idle
        while idle:
            # reversed() would cross the holes behind the last entry every time, and a hundred
            # leases in a row leave a hundred holes; popitem() crosses each of them once.
            slot = idle.popitem()[0]
            idle[slot] = None
            if now >= slot.expires_at:
                self._retire(slot)
            elif now - slot.looked_at < LOOK_AFTER:
                return slot
            elif self._is_alive(slot.connection):
                slot.looked_at = now
                return slot
            else:
                self._bury(slot, now)
        return None

    def _with_room(self, now: float) -> Slot[C] | None:
        """The shared connection with the most users that another one may join."""
        if self._restless and self._has_surplus():
            return None  # it is to run dry, so that it can be closed
        fullest, most, limit = None, 0, self._max_pipeline
        for slot in self._slots.shared:
            users = slot.users
            if users < limit and users > most:
                fullest, most = slot, users
        if fullest is None or self._is_joinable(fullest, now):
            return fullest
        others = [s for s in self._slots.shared if s.users < limit and self._is_joinable(s, now)]
        return max(others, key=lambda slot: slot.users, default=None)

    def _is_joinable(self, slot: Slot[C], now: float) -> bool:
        """Whether what is in flight there will soon be done, and the connection stays."""
        return (
            now - slot.busy_since <= HEAD_LIMIT
            and slot.becomes is IDLE
            and now < slot.expires_at
            and slot.uses < self._max_uses
        )

    # What is too many, and what is missing

    def _has_surplus(self) -> bool:
        """Whether a connection is to be closed as soon as nobody uses it."""
        if self.ending and not self._waiting:
            return True
        return self._slots.live_count > self.config.max_size

    def _shed(self) -> None:
        for slot in list(self._idle):
            if not self._has_surplus():
                break
            self._retire(slot)

    def _grow(self, demand: int, now: float) -> None:
        """Open what is missing: for requests that have nothing on its way, and for the floor."""
        slots, config = self._slots, self.config
        # What is being checked or reset will be free sooner than a new one could be open.
        demand -= len(slots.checking) + len(slots.resetting)
        floor = 0 if self.ending else config.min_size
        while len(slots.opening) < demand or slots.live_count < floor:
            if len(slots.opening) >= config.max_opening or slots.size >= config.max_size:
                break
            if now < self._backoff.retry_at:
                self._retry_wanted = True
                break
            slot: Slot[C] = Slot(now)
            effect = effects.OpenConnection(slot)
            self._slots.move(slot, OPENING)
            self.pending.append(effect)

    # What has had its time

    def _look(self, now: float) -> None:
        """Close what has died, what is past its lifetime, and what has idled for too long."""
        self._retire_expired(now)
        for slot in list(self._idle):
            if not self._is_alive(slot.connection):
                self._bury(slot, now)
        limit = inf if self.config.idle_timeout is None else self.config.idle_timeout
        for slot in list(self._idle):  # the oldest first
            if now - slot.idle_since <= limit or self._slots.live_count <= self.config.min_size:
                break
            self._retire(slot)

    def _retire_expired(self, now: float) -> None:
        for slot in list(self._idle):
            if now >= slot.expires_at:
                self._retire(slot)

    def _bury(self, slot: Slot[C], now: float) -> None:
        self._count.lost += 1
        if not slot.uses and now - slot.idle_since < NEWBORN:
            self._backoff.died_unused(slot.started_at, now)
        self._close(slot)

    def _retire(self, slot: Slot[C]) -> None:
        self._count.retired += 1
        self._close(slot)

    def _close(self, slot: Slot[C]) -> None:
        effect = effects.CloseConnection(slot)
        self._slots.move(slot, CLOSING)
        self.pending.append(effect)  # no moment for Ctrl-C in between
        self._restless = True
