"""Does the walk see what can go wrong where connections are shared? As in `test_faults`.

Each class is the core with one mistake; the walk must catch it within 200 seeds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgwire.pool.core import PoolCore
from pgwire.pool.slots import IDLE, SHARED, Slot
from pgwire.pool.supply import HEAD_LIMIT
from pgwire.pool.waiters import ABANDONED, Waiter
from tests.pool.walk import WalkFailed, walk

if TYPE_CHECKING:
    from collections.abc import Hashable

Core = PoolCore[int]


class JoinedBeyondTheCap(Core):
    """One more than may be in flight is let in."""

    def _with_room(self, now: float) -> Slot[int] | None:
        self._max_pipeline += 1
        slot = super()._with_room(now)
        self._max_pipeline -= 1
        return slot


class JoinedBehindALongHead(Core):
    """However long the head has been running, others queue up behind it."""

    def _is_joinable(self, slot: Slot[int], now: float) -> bool:
        return super()._is_joinable(slot, min(now, slot.busy_since + HEAD_LIMIT / 2))


class NewcomerJoinsPastTheHead(Core):
    """An exclusive request waits, and whoever comes along joins what is to run dry for it."""

    def _acquire_shared(
        self, now: float, deadline: float | None, owner: Hashable
    ) -> Slot[int] | Waiter[int]:
        slot = None if self.ending else self._with_room(now)
        if slot is None:
            return super()._acquire_shared(now, deadline, owner)
        self._slots.join(slot, now)
        return slot


class WaiterJoinsPastTheHead(Core):
    """Whoever may share is served first, wherever it stands in the queue."""

    def _hand_out(self, now: float, passing: Waiter[int] | None) -> None:
        for waiter in [each for each in self._waiting if each.shared]:
            if self._with_room(now):
                self._waiting.move_to_end(waiter, last=False)
                super()._hand_out(now, None)
        super()._hand_out(now, passing)


class NobodyJoinsFromTheQueue(Core):
    """A user leaves, and its place stays empty though someone waits for one."""

    def release(
        self,
        slot: Slot[int],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        if slot.users > 1:
            self._leave(slot, now, reusable=reusable, reset=reset)
        else:
            super().release(slot, now, reusable=reusable, reset=reset, alive=alive)


class BrokenBecomesIdle(Core):
    """One user has found the connection broken; the last one returns it in good faith."""

    def _leave(
        self, slot: Slot[int], now: float, reusable: bool = True, reset: bool = False
    ) -> None:
        super()._leave(slot, now, reusable=reusable or slot.users > 1, reset=reset)


class SoiledBecomesIdle(Core):
    """One user wants the connection reset; the last one does not."""

    def _leave(
        self, slot: Slot[int], now: float, reusable: bool = True, reset: bool = False
    ) -> None:
        super()._leave(slot, now, reusable=reusable, reset=reset and slot.users == 1)


class BrokenIsJoined(Core):
    """What is to be closed when it is free takes others in, and so is never free."""

    def _is_joinable(self, slot: Slot[int], now: float) -> bool:
        becomes, slot.becomes = slot.becomes, IDLE
        joinable = super()._is_joinable(slot, now)
        slot.becomes = becomes
        return joinable


class ExpiredIsJoined(Core):
    """A connection past its lifetime is kept alive by those who join it."""

    def _is_joinable(self, slot: Slot[int], now: float) -> bool:
        expires_at, slot.expires_at = slot.expires_at, now + 1
        joinable = super()._is_joinable(slot, now)
        slot.expires_at = expires_at
        return joinable


class WornOutIsJoined(Core):
    """A connection is used more often than max_uses allows."""

    def _is_joinable(self, slot: Slot[int], now: float) -> bool:
        uses, slot.uses = slot.uses, 0
        joinable = super()._is_joinable(slot, now)
        slot.uses = uses
        return joinable


class SurplusIsJoined(Core):
    """A pool that has been made smaller stays as large as it was."""

    def _with_room(self, now: float) -> Slot[int] | None:
        restless, self._restless = self._restless, False
        slot = super()._with_room(now)
        self._restless = restless
        return slot


class OneClosesForAll(Core):
    """The first who finds the connection broken has it closed under the others."""

    def release(
        self,
        slot: Slot[int],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        if slot.state is SHARED and not reusable:
            while slot.users > 1:
                self._leave(slot, now, reusable=True, reset=False)
        super().release(slot, now, reusable=reusable, reset=reset, alive=alive)


class HeadNeverChanges(Core):
    """The time of the first query goes on when it has ended."""

    def _leave(
        self, slot: Slot[int], now: float, reusable: bool = True, reset: bool = False
    ) -> None:
        since = slot.busy_since
        super()._leave(slot, now, reusable=reusable, reset=reset)
        slot.busy_since = since


class CancellationRenewsTheHead(Core):
    """Somebody who has not even begun is cancelled, and the head counts as new."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        slot = waiter.slot
        super().abandon(waiter, now)
        if slot is not None and slot.users:
            slot.busy_since = now


class AbandonedUserStays(Core):
    """The cancellation meets the grant: the place on the connection is nobody's."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        if waiter.slot is not None and waiter.shared:
            waiter.slot, waiter.state = None, ABANDONED
        else:
            super().abandon(waiter, now)


class AbandonedUseCounts(Core):
    """Who was cancelled before it began has used the connection nevertheless."""

    def abandon(self, waiter: Waiter[int], now: float) -> None:
        slot = waiter.slot
        super().abandon(waiter, now)
        if slot is not None and slot.state is SHARED:
            slot.uses += 1


class EmptiestFirst(Core):
    """Queries are spread over the connections, none of which ever becomes free."""

    def _with_room(self, now: float) -> Slot[int] | None:
        slot = super()._with_room(now)
        others = [s for s in self._slots.shared if slot and self._is_joinable(s, now)]
        return min(others, key=lambda each: each.users) if others else None


class IdleFirst(Core):
    """An idle connection is touched while a shared one has room."""

    def _with_room(self, now: float) -> Slot[int] | None:
        return None if self._newest_fit(now) else super()._with_room(now)


class EachOpensItsOwn(Core):
    """Those who could share are counted as if they could not."""

    def _demand(self, passing: Waiter[int] | None) -> int:
        return len(self._waiting) + bool(passing)


class AllShareOne(Core):
    """A single connection is opened for all who could share, however many they are."""

    def _demand(self, passing: Waiter[int] | None) -> int:
        alone = len(self._waiting) - self._waiting.shared
        return min(super()._demand(passing), alone + 1)


class AbortForgetsUsers(Core):
    """The end comes for all at once, and only one of them is counted."""

    def abort(self, now: float) -> None:
        for slot in self._slots.shared:
            slot.users = 1
        super().abort(now)


FAULTS = [
    value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, PoolCore) and value is not PoolCore
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_the_walk_catches(fault: type[Core]) -> None:
    for seed in range(200):
        try:
            walk(seed, core=fault)
        except WalkFailed:
            return
    pytest.fail(f"200 walks did not notice: {fault.__doc__}")


def test_there_are_faults_to_catch() -> None:
    assert len(FAULTS) > 15
