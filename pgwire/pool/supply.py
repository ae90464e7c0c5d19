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
from pgwire.pool.waiters import ABANDONED, Waiter, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Hashable

    from pgwire.pool.histogram import Tally

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
        self._idle, self._newest = self._slots.idle, self._slots.newest
        self._waiting: WaitQueue[C] = WaitQueue()
        self.pending: list[effects.Effect[C]] = []  # see take_effects()

        self.ending = False
        self._restless = False  # a release may be more than a change of state
        self._backoff = Backoff(jitter)
        self._retry_wanted = False  # an opening waits for the back-off to end
        self._count = Counters()
        # Who has begun to share while `acquire` was not done yet: see interrupted().
        self._joined: dict[Hashable, Slot[C]] = {}

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

    def requests(self) -> list[Waiter[C]]:
        """Who waits, in order."""
        return [*self._waiting]

    def in_use(self) -> list[Slot[C]]:
        """Those that are LEASED or SHARED."""
        return [*self._slots.leased, *self._slots.shared]

    def under_way(self) -> list[Slot[C]]:
        """Those that are being opened, checked, reset or closed, which the shell reports of."""
        slots = self._slots
        return [*slots.opening, *slots.checking, *slots.resetting, *slots.closing]

    def interrupted(
        self, owner: Hashable, since: float, known: Container[Slot[C]] = ()
    ) -> Slot[C] | Waiter[C] | None:
        """What this owner has of an `acquire` at `since` that did not return: Ctrl-C struck in it.

        His request, or the connection that he was lent, which is none of those `known` to be his;
        None if it had not come so far. If it was to be shared, that is to be asked before anybody
        else makes an input.
        """
        if owner in self._joined:
            slot = self._joined[owner]
            del self._joined[owner]
            return slot
        for effect in self.pending:
            if isinstance(effect, Waiter) and effect.owner is owner and effect.since == since:
                return effect
        for waiter in reversed(self._waiting):
            if waiter.owner is owner and waiter.since == since:
                return waiter
        for slot in reversed(self._slots.leased):
            if slot.owner is owner and slot.leased_at >= since and slot not in known:
                return slot
        return None

    def claim(self, slot: Slot[C], uses: int) -> bool:
        """Whether the lease with this number is still out: then it is the caller's, to release.

        It has another number from now on (one more), so that nobody else releases it as well.
        """
        is_out = slot.state is LEASED and slot.uses == uses
        slot.uses += is_out
        return is_out

    # What is fit

    def _newest_fit(self, now: float) -> Slot[C] | None:
        """The idle connection used last; those that are dead or past their time are closed."""
        idle, newest = self._idle, self._newest
        while idle:
            slot = next(newest)
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

    # What comes back

    def _leave(self, slot: Slot[C], now: float, reusable: bool, reset: bool) -> None:
        """The head of a shared connection has ended, and the next query becomes the head.

        A step, which begins with the time's being counted.
        """
        self._count.use_time.add(now - slot.busy_since)
        slot.busy_since = now
        slot.users -= 1
        if not reusable:
            slot.becomes = CLOSING
        elif reset and slot.becomes is IDLE:
            slot.becomes = RESETTING

    def _end_use(
        self,
        slot: Slot[C],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        waiter: Waiter[C] | None = None,
    ) -> None:
        """The lease, or the last of those who share, is over; `waiter` has never taken it over."""
        if slot.state is SHARED:
            reusable = reusable and slot.becomes is not CLOSING
            reset = reset or slot.becomes is RESETTING
        uses = slot.uses - (waiter is not None)
        # What is to be reset is never idle before that: it is closed here if it is one too many.
        is_over = now >= slot.expires_at or uses >= self._max_uses
        retired = reusable and (is_over or (reset and self._has_surplus()))
        effect: effects.Effect[C] | None = None
        becomes = IDLE
        if retired or not reusable:
            becomes, effect = CLOSING, effects.CloseConnection(slot)
        elif reset:
            becomes, effect = RESETTING, effects.ResetConnection(slot)
        self._slots.give_back(slot, becomes, now, self._count.use_time)
        self._count.retired += retired
        if waiter is not None:
            waiter.slot, waiter.state, slot.uses = None, ABANDONED, uses
        if effect is not None:
            self._restless = self._restless or becomes is CLOSING
            self.pending.append(effect)

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

    def _grow(self, demand: int, now: float) -> bool:
        """Open what is missing: for requests that have nothing on its way, and for the floor.

        Whether more is to be opened, once the back-off ends.
        """
        slots, config = self._slots, self.config
        # What is being checked or reset will be free sooner than a new one could be open.
        demand -= len(slots.checking) + len(slots.resetting)
        floor = 0 if self.ending else config.min_size
        while len(slots.opening) < demand or slots.live_count < floor:
            if len(slots.opening) >= config.max_opening or slots.size >= config.max_size:
                break
            if now < self._backoff.retry_at:
                return True
            slot: Slot[C] = Slot(now)
            effect = effects.OpenConnection(slot)
            slots.move(slot, OPENING)
            self.pending.append(effect)
        return False

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
        if not slot.uses and now - slot.idle_since < NEWBORN:
            self._backoff.died_unused(slot.started_at, now)
        self._close(slot, lost=1)

    def _retire(self, slot: Slot[C]) -> None:
        self._close(slot, retired=1)

    def _close(self, slot: Slot[C], lost: int = 0, retired: int = 0) -> None:
        """One that nobody uses."""
        effect = effects.CloseConnection(slot)
        self._slots.move(slot, CLOSING)
        self._count.lost += lost
        self._count.retired += retired
        self._restless = True
        self.pending.append(effect)
