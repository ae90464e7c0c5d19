"""Does the walk see anything at all? The core is broken on purpose, in one way at a time.

Each class below is a mistake that a pool somewhere has made, or one that a change might bring.
The walk must catch every one of them within 200 seeds; most take fewer than ten.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import PoolDeadlock
from pgwire.pool import effects
from pgwire.pool.core import PoolCore
from pgwire.pool.slots import CHECKING, CLOSED, IDLE, LEASED, Slot, SlotTable
from pgwire.pool.waiters import (
    ABANDONED,
    TIMED_OUT,
    WAITING,
    Waiter,
    WaitQueue,
)
from tests.pool.walk import WalkFailed, walk

if TYPE_CHECKING:
    from collections.abc import Hashable

Core = PoolCore[int]


class GrantNotRecorded(Core):
    """A connection leaves for a waiter, and the waiter does not have it."""

    def _grant(self, slot: Slot[int], now: float) -> None:
        super()._grant(slot, now)
        granted = self.pending[-1]
        assert isinstance(granted, Waiter)
        granted.slot = None


class GrantNotDelivered(Core):
    """A waiter has its connection, and nobody wakes it."""

    def _grant(self, slot: Slot[int], now: float) -> None:
        super()._grant(slot, now)
        self.pending.pop()


class AbandonedGrantDropped(Core):
    """The cancellation meets the grant: the connection belongs to nobody."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        if waiter.state is WAITING:
            super().abandon(waiter, now)
        else:
            waiter.state = ABANDONED


class CancelledWaiterServed(Core):
    """Who was cancelled stays in the queue."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        if waiter.state is WAITING:
            self._count.abandoned += 1
            waiter.state = ABANDONED
        else:
            super().abandon(waiter, now)


class NoRefillAfterClose(Core):
    """There is room again, and nobody is told."""

    def closed(self, slot: Slot[int], now: float) -> None:
        self._slots.move(slot, CLOSED)
        self._count.closed += 1


class NoRetryAfterFailure(Core):
    """An opening failed; who waited for it is forgotten."""

    def next_deadline(self) -> float | None:
        self._retry_wanted = False
        return super().next_deadline()


class ReleaseServesNobody(Core):
    """The connection is idle again, while others wait."""

    def release(
        self,
        slot: Slot[int],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        if reusable and not reset and slot.state is LEASED:
            self._slots.give_back(slot, IDLE, now, self._count.use_time)
        else:
            super().release(slot, now, reusable=reusable, reset=reset, alive=alive)


class LifoWaiters(Core):
    """Last come, first served."""

    def _grant(self, slot: Slot[int], now: float) -> None:
        self._waiting.move_to_end(next(reversed(self._waiting)), last=False)
        super()._grant(slot, now)


class PushyQueue(WaitQueue[int]):
    def join(self, waiter: Waiter[int]) -> None:
        super().join(waiter)
        self.move_to_end(waiter, last=False)


class NewcomerOvertakes(Core):
    """A request goes before those that wait."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting = PushyQueue()


class DeadlineIgnored(Core):
    """Waiters wait until they are served."""

    def _expire_waiters(self, now: float) -> None:
        pass


class GrantedTooLate(Core):
    """A connection is handed over first, and deadlines are looked at afterwards."""

    blind = False

    def _expire_waiters(self, now: float) -> None:
        if not self.blind:
            super()._expire_waiters(now)

    def _serve(self, now: float, passing: Waiter[int] | None = None) -> None:
        self.blind = True
        super()._serve(now, passing)
        self.blind = False
        self._expire_waiters(now)


class NowOrNeverOpensNothing(Core):
    """A request that does not wait leaves no trace: an empty pool stays empty."""

    def _serve(self, now: float, passing: Waiter[int] | None = None) -> None:
        super()._serve(now)


class CarelessTable(SlotTable[int]):
    __slots__ = ()

    @property
    def size(self) -> int:
        return self.live_count


class ClosingNotCounted(Core):
    """A connection is gone as soon as it has been told to go."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._slots.__class__ = CarelessTable


class DeadHandedOver(Core):
    """Nobody looks at an idle connection before it is used."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_alive = lambda connection: True


class NeverChecked(Core):
    """A connection that has idled for long is handed over as it is."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._check_after = inf


class FailedCheckForgotten(Core):
    """A check failed, and the connection is closed; who waited for it is not thought of."""

    def checked(self, slot: Slot[int], now: float, *, ok: bool) -> None:
        if ok or slot.state is not CHECKING:
            super().checked(slot, now, ok=ok)
        else:
            self._bury(slot, now)


class WaiterTiedToItsOpening(Core):
    """A new connection serves nobody but the one it was opened for, who may have left."""

    def opened(self, slot: Slot[int], connection: int, now: float) -> None:
        waiting, self._waiting = self._waiting, WaitQueue()
        super().opened(slot, connection, now)
        self._waiting = waiting


class NoBackoff(Core):
    """Failed openings are repeated at once."""

    def open_failed(self, slot: Slot[int], error: Exception, now: float, *, mendable: bool) -> None:
        super().open_failed(slot, error, now, mendable=mendable)
        self._backoff.succeeded()
        self._serve(now)


class UsedPastItsLifetime(Core):
    """Nothing is ever too old."""

    def opened(self, slot: Slot[int], connection: int, now: float) -> None:
        super().opened(slot, connection, now)
        slot.expires_at = inf


class LeaseInterrupted(Core):
    """What has been retired is closed under its holder's hands."""

    def expire(self, now: float) -> None:
        super().expire(now)
        for slot in list(self._slots.leased):
            slot.owner = None
            self._retire(slot)


class ExpireForgetsOpenings(Core):
    """A connection whose opening began before expire() is used as if it were new."""

    def expire(self, now: float) -> None:
        opening = {slot: slot.expires_at for slot in self._slots.opening}
        super().expire(now)
        for slot, expires_at in opening.items():
            slot.expires_at = expires_at


class ClosedPoolKeepsIdle(Core):
    """The last lease comes back after close(), and stays."""

    def _has_surplus(self) -> bool:
        return self._slots.live_count > self.config.max_size


class CloseForgetsWaiters(Core):
    """close() ends the opening of connections, though some still wait for them."""

    def _grow(self, demand: int, now: float) -> bool:
        return not self.ending and super()._grow(demand, now)


class ErrorNotForTheHead(Core):
    """What waiting cannot mend fails the last in the queue."""

    def _fail(self, waiter: Waiter[int], error: Exception) -> None:
        super()._fail(next(reversed(self._waiting)), error)


class TimedOutTwice(Core):
    """A counter that is kept apart from what it counts."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        super().abandon(waiter, now)
        self._count.timed_out += waiter.state is TIMED_OUT


class ClosesWithoutSaying(Core):
    """A connection is to be closed, and nobody does it."""

    def _retire(self, slot: Slot[int]) -> None:
        super()._retire(slot)
        self.pending.pop()


class ClosesTwice(Core):
    """An effect that is given out twice."""

    def _close(self, slot: Slot[int], lost: int = 0, retired: int = 0) -> None:
        super()._close(slot, lost, retired)
        self.pending.append(effects.CloseConnection(slot))


class DeadlockUnseen(Core):
    """All wait for one another, for ever."""

    def _break_deadlock(self) -> None:
        pass


class DeadlockSeenByNewcomersOnly(Core):
    """A deadlock that comes about when room is lost is not seen."""

    def closed(self, slot: Slot[int], now: float) -> None:
        self._break_deadlock = lambda: None  # type: ignore[method-assign]
        super().closed(slot, now)
        del self._break_deadlock


class EldestFails(Core):
    """In a deadlock the one fails that has waited longest."""

    def _fail(self, waiter: Waiter[int], error: Exception) -> None:
        if isinstance(error, PoolDeadlock):
            waiter = next(iter(self._waiting))
        super()._fail(waiter, error)


class DeadlineNotTrusted(Core):
    """Who waits with a deadline is taken for one who waits for ever."""

    def _break_deadlock(self) -> None:
        deadlines = {waiter: waiter.deadline for waiter in self._waiting}
        for waiter in deadlines:
            waiter.deadline = None
        super()._break_deadlock()
        for waiter, deadline in deadlines.items():
            waiter.deadline = deadline


class HopeUnseen(Core):
    """A deadlock is declared though a connection is on its way."""

    def _break_deadlock(self) -> None:
        size, self.config = self.config, replace(self.config, min_size=0, max_size=1)
        others = [slot for slot in self._slots if slot.state is not LEASED]
        places = {slot: slot.state for slot in others}
        for slot in others:
            self._slots.move(slot, CLOSED)
        super()._break_deadlock()
        self.config = size
        for slot, state in places.items():
            self._slots.move(slot, state)


class NobodyIsAnOwner(Core):
    """Two requests of which nobody knows whose they are, are taken for one caller's."""

    def acquire(
        self, now: float, deadline: float | None, owner: Hashable = None, shared: bool = False
    ) -> Slot[int] | Waiter[int]:
        owner = "nobody" if owner is None else owner
        return super().acquire(now, deadline, owner, shared=shared)


class OwnerForgotten(Core):
    """Who waited for a connection is not noted as its owner."""

    def _grant(self, slot: Slot[int], now: float) -> None:
        super()._grant(slot, now)
        slot.owner = None


class OwnerKept(Core):
    """What has been returned is still somebody's."""

    def release(
        self,
        slot: Slot[int],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        owner = slot.owner
        super().release(slot, now, reusable=reusable, reset=reset, alive=alive)
        if slot.state is not LEASED:
            slot.owner = owner


class WaitMeasuredFromTheGrant(Core):
    """The time in the queue is not part of the waiting time."""

    def _serve(self, now: float, passing: Waiter[int] | None = None) -> None:
        for waiter in self._waiting:
            waiter.since = now
        super()._serve(now, passing)


class UseMeasuredFromTheOpening(Core):
    """The first lease is measured from when the connection began to be opened."""

    def _grant(self, slot: Slot[int], now: float) -> None:
        super()._grant(slot, now)
        slot.leased_at = slot.busy_since = slot.started_at


class OneLookIsEnough(Core):
    """What was seen to be alive once is not looked at again."""

    def _newest_fit(self, now: float) -> Slot[int] | None:
        for slot in self._idle:
            slot.looked_at = max(slot.looked_at, now if slot.uses else slot.looked_at)
        return super()._newest_fit(now)


class AbortForgetsLeases(Core):
    """Leases that the pool ends itself are not measured."""

    def abort(self, now: float) -> None:
        for slot in self._slots.leased:
            slot.leased_at = now
        super().abort(now)


FAULTS = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, PoolCore) and value is not PoolCore
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_walk_catches(fault: type[Core]) -> None:
    """Each fault, within 200 seeds."""
    for seed in range(200):
        try:
            walk(seed, core=fault)
        except WalkFailed:
            return
    pytest.fail(f"200 walks did not notice: {fault.__doc__}")


def test_there_are_faults_to_catch() -> None:
    assert len(FAULTS) > 20
