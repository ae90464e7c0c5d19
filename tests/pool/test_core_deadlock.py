"""The rules of the pool, one by one: callers who wait for one another, and how long things take.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-36 are those of the list of invariants.
"""

from __future__ import annotations

import gc
import weakref
from itertools import permutations

import pytest

from pgwire.errors import PoolClosed, PoolDeadlock
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import SlotState
from pgwire.pool.waiters import Waiter, WaiterState
from tests.pool.stories import idle, in_state, lease, pool, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# Deadlocks


def test_who_waits_for_itself_fails_at_once() -> None:
    """I-36: the only connection is the caller's own."""
    sim = pool(max_size=1)
    slot = lease(sim, "ann")
    waiter = wait(sim, None, "ann")
    assert waiter.state is FAILED
    assert isinstance(waiter.error, PoolDeadlock)
    assert slot.state is LEASED
    sim.release(slot)
    assert sim.acquire(None, "ann") is slot


def test_the_error_says_how_many_hold_and_how_many_wait() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    lease(sim, "bob")
    wait(sim, None, "ann")
    wait(sim, 5.0, "cid")
    assert str(wait(sim, None, "bob").error) == (
        "whoever holds one of the 2 leases waits for another connection, without a deadline;"
        " 3 requests wait, and none would ever be served"
    )


def test_the_youngest_fails_and_the_others_wait_on() -> None:
    """I-36: its failure lets it give its own connection back."""
    sim = pool(max_size=3)
    slots = {name: lease(sim, name) for name in ("ann", "bob", "cid")}
    ann, cid = wait(sim, None, "ann"), wait(sim, None, "cid")
    bob = wait(sim, None, "bob")
    assert [w.state for w in (ann, cid, bob)] == [WAITING, WAITING, FAILED]
    sim.release(slots["bob"])
    assert ann.slot is slots["bob"]


def test_a_failure_by_deadlock_is_counted() -> None:
    sim = pool(max_size=1)
    lease(sim, "ann")
    wait(sim, None, "ann")
    stats = sim.core.stats()
    assert (stats.failed, stats.waiting, stats.requests, stats.leased) == (1, 0, 2, 1)


def test_it_may_fail_again() -> None:
    sim = pool(max_size=1)
    lease(sim, "ann")
    for _ in range(3):
        assert isinstance(wait(sim, None, "ann").error, PoolDeadlock)


@pytest.mark.parametrize("name", ["ann", "bob"])
def test_a_deadline_is_hope(name: str) -> None:
    """Who gives up one day will give its connection back as well."""
    sim = pool(max_size=2)
    lease(sim, "ann")
    lease(sim, "bob")
    waiters = [wait(sim, 5.0 if who == name else None, who) for who in ("ann", "bob")]
    assert [waiter.state for waiter in waiters] == [WAITING, WAITING]


def test_a_holder_that_does_not_wait_is_hope() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    slot = lease(sim, "bob")
    waiter = wait(sim, None, "ann")
    assert waiter.state is WAITING
    sim.release(slot)
    assert waiter.slot is slot


def test_a_lease_without_an_owner_is_hope() -> None:
    """Two requests of which nobody knows whose they are need not be the same caller's."""
    sim = pool(max_size=2)
    lease(sim)
    lease(sim, "ann")
    assert wait(sim).state is WAITING
    assert wait(sim, None, "ann").state is WAITING


def test_room_for_another_connection_is_hope_even_during_back_off() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    waiter = wait(sim, None, "ann")
    sim.open_failed(in_state(sim, OPENING)[0])
    assert in_state(sim, OPENING) == []
    assert waiter.state is WAITING


@pytest.mark.parametrize("state", [OPENING, CHECKING, RESETTING, CLOSING])
def test_a_connection_on_its_way_is_hope(state: SlotState) -> None:
    sim = pool(max_size=2, check_after=0.0)
    lease(sim, "ann")
    if state is not OPENING:
        other = lease(sim, "bob")
        sim.release(other, reusable=state is not CLOSING, reset=state is RESETTING)
        sim.advance(1.0)
    waiter = wait(sim, None, "ann")
    assert len(in_state(sim, state)) == 1
    assert waiter.state is WAITING


def test_a_caller_that_holds_nothing_does_not_set_it_off() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    lease(sim, "bob")
    wait(sim, None, "ann")
    assert wait(sim, None, "cid").state is WAITING
    assert wait(sim, None, "bob").state is FAILED


def test_who_has_not_yet_been_told_of_its_grant_is_no_waiter_any_more() -> None:
    sim = pool(max_size=2)
    slot = lease(sim, "ann")
    lease(sim, "bob")
    granted = wait(sim, None, "cid")
    sim.release(slot)
    assert granted.slot is slot
    assert slot.owner == "cid"
    assert wait(sim, None, "bob").state is WAITING


def test_shrinking_the_pool_may_complete_a_deadlock() -> None:
    """A connection was to be opened for the waiter; now there will be none."""
    sim = pool(max_size=2)
    lease(sim, "ann")
    waiter = wait(sim, None, "ann")
    sim.open_failed(in_state(sim, OPENING)[0])
    sim.resize(0, 1)
    assert isinstance(waiter.error, PoolDeadlock)


def test_so_may_the_failure_of_an_opening_that_has_become_too_many() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    waiter = wait(sim, None, "ann")
    sim.resize(0, 1)
    assert waiter.state is WAITING
    sim.open_failed(in_state(sim, OPENING)[0])
    assert isinstance(waiter.error, PoolDeadlock)


def test_so_may_the_end_of_a_connection_that_has_become_too_many() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    surplus = lease(sim, "bob")
    waiter = wait(sim, None, "ann")
    sim.resize(0, 1)
    sim.release(surplus)
    assert (surplus.state, waiter.state) == (CLOSING, WAITING)
    sim.closed(surplus)
    assert isinstance(waiter.error, PoolDeadlock)


def test_a_deadlock_is_seen_while_the_pool_is_larger_than_it_should_be() -> None:
    sim = pool(max_size=2)
    lease(sim, "ann")
    lease(sim, "bob")
    sim.resize(0, 1)
    wait(sim, None, "ann")
    assert wait(sim, None, "bob").state is FAILED


def test_a_pool_that_is_closing_is_no_exception() -> None:
    sim = pool(max_size=2)
    slots = [lease(sim, "ann"), lease(sim, "bob")]
    waiter = wait(sim, None, "ann")
    sim.close()
    sim.resize(0, 1)
    sim.release(slots[1])
    sim.closed(slots[1])
    assert isinstance(waiter.error, PoolDeadlock)
    sim.release(slots[0])
    sim.closed(slots[0])
    assert sim.core.ended


@pytest.mark.parametrize("order", list(permutations(["ann", "bob", "cid"])))
def test_whatever_the_order_the_last_to_come_fails(order: tuple[str, ...]) -> None:
    sim = pool(max_size=3)
    for name in ("ann", "bob", "cid"):
        lease(sim, name)
    states = [wait(sim, None, name).state for name in order]
    assert states == [WAITING, WAITING, FAILED]


def test_what_is_idle_keeps_no_owner_alive() -> None:
    class Task:
        pass

    core: PoolCore[int] = PoolCore(PoolConfig(), jitter=lambda: 0.0)
    task = Task()
    gone = weakref.ref(task)
    waiter = core.acquire(0.0, None, task)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, 1, 0.0)
    core.take_effects()
    core.release(effect.slot, 1.0)
    del task, waiter
    gc.collect()
    assert effect.slot.state is IDLE
    assert gone() is None


def test_a_holder_that_is_gone_waits_for_nobody() -> None:
    """Its lease was lost, and nobody has found that yet. What is gone has no hash."""

    class Task:
        pass

    core: PoolCore[int] = PoolCore(PoolConfig(max_size=2), jitter=lambda: 0.0)
    task = Task()
    for owner in (gone := weakref.ref(task), "bob"):
        core.acquire(0.0, None, owner)
        [effect] = core.take_effects()
        assert isinstance(effect, OpenConnection)
        core.opened(effect.slot, 1, 0.0)
        core.take_effects()
        task = Task()  # so that before the pool is full the first is gone
    gc.collect()
    assert gone() is None
    waiter = core.acquire(1.0, None, "bob")
    assert isinstance(waiter, Waiter)
    assert waiter.state is WAITING


# How long things take


def test_waiting_is_measured_from_the_request_to_the_hand_over() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    wait(sim)
    sim.advance(3.0)
    sim.release(slot)
    histogram = sim.core.stats().wait_time
    assert (histogram.count, histogram.sum) == (2, 3.0)
    assert (histogram.quantile(0.5), histogram.quantile(1.0)) == (0.0001, 5.0)


def test_who_is_served_at_once_has_waited_no_time() -> None:
    sim = pool()
    idle(sim)
    for _ in range(4):
        sim.release(lease(sim))
    histogram = sim.core.stats().wait_time
    assert (histogram.count, histogram.sum, histogram.counts[0]) == (5, 0.0, 5)


@pytest.mark.parametrize("leaving", ["times out", "is cancelled", "is refused"])
def test_who_gets_nothing_has_no_waiting_time(leaving: str) -> None:
    sim = pool(max_size=1)
    lease(sim)
    waiter = wait(sim, 1.0)
    sim.advance(1.0)
    if leaving == "times out":
        sim.tick()
    elif leaving == "is cancelled":
        sim.abandon(waiter)
    else:
        sim.abort()
    assert sim.core.stats().wait_time.count == 1


def test_use_is_measured_from_the_hand_over_to_the_release() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    waiter = wait(sim)
    sim.advance(2.0)
    sim.release(slot)
    sim.advance(1.0)
    assert sim.core.stats().use_time.sum == 2.0
    sim.release(sim.take(waiter))
    sim.acquire(None)
    sim.advance(0.5)
    sim.release(slot)
    histogram = sim.core.stats().use_time
    assert (histogram.count, histogram.sum) == (3, 3.5)


def test_a_grant_that_nobody_took_was_a_use_all_the_same() -> None:
    sim = pool()
    waiter = wait(sim)
    sim.opened(in_state(sim, OPENING)[0])
    sim.advance(1.0)
    sim.abandon(waiter)
    stats = sim.core.stats()
    assert (stats.granted, stats.released, stats.use_time.sum) == (1, 1, 1.0)


def test_leases_that_abort_ends_are_measured_up_to_then() -> None:
    sim = pool()
    slot = lease(sim)
    sim.advance(7.0)
    sim.abort()
    sim.advance(1.0)
    sim.release(slot)
    histogram = sim.core.stats().use_time
    assert (histogram.count, histogram.sum) == (1, 7.0)


def test_connecting_is_measured_from_the_attempt_and_only_if_it_succeeds() -> None:
    sim = pool()
    wait(sim)
    [slot] = in_state(sim, OPENING)
    sim.advance(9.0)
    sim.open_failed(slot)
    sim.advance(1.0)
    sim.tick()
    [slot] = in_state(sim, OPENING)
    sim.advance(0.25)
    sim.opened(slot)
    stats = sim.core.stats()
    assert (stats.connect_time.count, stats.connect_time.sum, stats.opened) == (1, 0.25, 1)


def test_an_opening_that_comes_too_late_for_a_closed_pool_is_measured_too() -> None:
    sim = pool()
    waiter = wait(sim)
    sim.abort()
    assert isinstance(waiter, Waiter)
    assert isinstance(waiter.error, PoolClosed)
    sim.opened(in_state(sim, OPENING)[0])
    assert sim.core.stats().connect_time.count == 1


def test_a_lease_tells_since_when_and_whose_it_is() -> None:
    sim = pool()
    slot = lease(sim, "ann")
    sim.release(slot)
    sim.advance(2.0)
    assert sim.acquire(None, "bob") is slot
    assert (slot.owner, slot.leased_at) == ("bob", sim.now)
