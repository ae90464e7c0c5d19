"""The core's times, value by value, without a change of what it counts."""

from __future__ import annotations

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.histogram import Tally
from pgwire.pool.slots import Slot
from pgwire.pool.times import MOST, NotingTally, Taker, Times
from pgwire.pool.waiters import Waiter


def opened(core: PoolCore[str], now: float) -> Slot[str]:
    """A leased slot, for a request that waited two seconds."""
    waiter = core.acquire(now, None)
    assert isinstance(waiter, Waiter)
    opening = next(effect for effect in core.take_effects() if isinstance(effect, OpenConnection))
    core.opened(opening.slot, "connection", now + 2.0)
    assert waiter.slot is not None
    return waiter.slot


def test_they_are_those_of_the_statistics() -> None:
    core: PoolCore[str] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.5)
    core.release(opened(core, 0.0), 3.0, reusable=True, reset=False)
    times = Times(core, core.stats().granted)
    assert times.take(core.stats().granted) == ([], [], [])
    for now in (10.0, 20.0):
        slot = core.acquire(now, None)
        assert isinstance(slot, Slot)
        core.release(slot, now + 4.0, reusable=now < 20.0, reset=False)
    core.take_effects()
    assert isinstance(slot, Slot)
    core.closed(slot, 25.0)
    core.release(opened(core, 30.0), 31.0 + 2.0, reusable=True, reset=False)
    assert times.take(core.stats().granted) == ([2.0, 0.0, 0.0], [4.0, 4.0, 1.0], [2.0])
    assert times.take(core.stats().granted) == ([], [], [])
    before = core.stats()
    times.stop()
    slot = core.acquire(40.0, None)
    assert isinstance(slot, Slot)
    core.release(slot, 41.0, reusable=True, reset=False)
    after = core.stats()
    assert after.use_time.count == before.use_time.count + 1 == 5
    assert after.use_time.sum == before.use_time.sum + 1.0
    assert after.wait_time.count == before.wait_time.count + 1
    assert times.take(after.granted).use == []


def test_of_several_who_take_them_each_has_all() -> None:
    core: PoolCore[str] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.5)
    first = Times(core, core.stats().granted)
    core.release(opened(core, 0.0), 3.0, reusable=True, reset=False)
    second = Times(core, core.stats().granted)
    slot = core.acquire(10.0, None)
    assert isinstance(slot, Slot)
    core.release(slot, 14.0, reusable=True, reset=False)
    granted = core.stats().granted
    assert second.take(granted) == ([0.0], [4.0], [])
    second.stop()
    second.stop()
    slot = core.acquire(20.0, None)
    assert isinstance(slot, Slot)
    core.release(slot, 25.0, reusable=True, reset=False)
    assert first.take(core.stats().granted) == ([2.0, 0.0, 0.0], [1.0, 4.0, 5.0], [2.0])
    assert second.take(core.stats().granted).use == []
    first.stop()
    assert core.stats().use_time.count == 3


def test_the_oldest_go_first() -> None:
    tally = NotingTally(Tally())
    taker = Taker(tally)
    for value in range(MOST + 5):
        tally.add(float(value))
    assert tally.count == MOST + 5
    values = taker.take()
    assert (values[0], len(values)) == (5.0, MOST)
