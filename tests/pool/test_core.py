"""The rules of the pool, one by one: requests, order and deadlines.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-5 are those of the list of invariants.
"""

from __future__ import annotations

import pytest

from pgwire.errors import PoolFull
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import SlotState
from pgwire.pool.waiters import Waiter, WaiterState
from tests.pool.stories import idle, in_state, lease, pool, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# Requests, and who is first


def test_a_request_on_an_empty_pool_waits_for_an_opening() -> None:
    core: PoolCore[str] = PoolCore(PoolConfig(), jitter=lambda: 0.0)
    core.start(10.0)
    assert core.take_effects() == []
    waiter = core.acquire(10.0, 40.0)
    assert isinstance(waiter, Waiter)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    assert core.next_deadline() == 40.0
    core.opened(effect.slot, "the connection", 11.0)
    assert core.take_effects() == [waiter]
    assert waiter.state is GRANTED
    assert waiter.slot is effect.slot
    assert waiter.error is None
    assert effect.slot.connection == "the connection"
    assert core.next_deadline() is None


def test_a_request_takes_an_idle_connection_at_once_and_without_effects() -> None:
    sim = pool()
    [slot] = idle(sim)
    assert sim.core.acquire(sim.now, None) is slot
    assert sim.core.take_effects() == []


def test_waiters_are_served_in_the_order_of_their_arrival() -> None:
    """I-5."""
    sim = pool(max_size=1)
    slot = lease(sim)
    waiters = [wait(sim, timeout) for timeout in (None, 5.0, 1.0)]
    for waiter in waiters:
        sim.release(slot)
        assert waiter.state is GRANTED
        assert sim.take(waiter) is slot


def test_a_newcomer_does_not_overtake() -> None:
    """I-5: the connection belongs to the first waiter before anyone else can ask for it."""
    sim = pool(max_size=1)
    slot = lease(sim)
    first = wait(sim)
    sim.release(slot)
    newcomer = wait(sim)
    assert first.slot is slot
    assert newcomer.state is WAITING


def test_whatever_becomes_free_first_serves_the_first_waiter() -> None:
    """A waiter is not tied to the opening that it caused."""
    sim = pool(max_size=2)
    slot = lease(sim)
    first, second = wait(sim), wait(sim)
    [opening] = in_state(sim, OPENING)
    sim.release(slot)
    assert first.slot is slot
    sim.opened(opening)
    assert second.slot is opening


def test_an_opening_outlives_the_waiter_that_caused_it() -> None:
    """I-11."""
    sim = pool()
    waiter = wait(sim)
    sim.abandon(waiter)
    [slot] = in_state(sim, OPENING)
    sim.opened(slot)
    assert slot.state is IDLE
    assert sim.acquire(0.0) is slot


def test_an_abandoned_grant_goes_to_the_next_in_line() -> None:
    """I-20: nobody has used it, so it is not a use either."""
    sim = pool(max_size=1, max_uses=2)
    slot = lease(sim)
    first, second = wait(sim), wait(sim)
    sim.release(slot)
    sim.abandon(first)
    assert first.state is ABANDONED
    assert first.slot is None
    assert second.slot is slot
    assert slot.uses == 2


def test_abandoning_what_has_ended_otherwise_changes_nothing() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    waiter = wait(sim, 1.0)
    sim.advance(1.0)
    sim.tick()
    sim.abandon(waiter)
    assert waiter.state is TIMED_OUT
    assert slot.state is LEASED
    granted = wait(sim)
    sim.release(slot)
    sim.release(sim.take(granted))
    sim.core.abandon(granted, sim.now)  # too late: it has been used and given back
    assert granted.state is GRANTED
    assert slot.state is IDLE


def test_idle_connections_are_used_last_in_first_out() -> None:
    sim = pool(max_opening=3)
    first, second, third = idle(sim, 3)
    assert [sim.acquire(0.0) for _ in range(3)] == [third, second, first]


def test_a_full_queue_refuses_and_changes_nothing_else() -> None:
    """I-16."""
    sim = pool(max_size=1, max_waiting=2)
    lease(sim)
    waiters = [wait(sim), wait(sim)]
    with pytest.raises(PoolFull, match="2 requests wait for a connection already"):
        sim.core.acquire(sim.now, None)
    assert [waiter.state for waiter in waiters] == [WAITING, WAITING]
    sim.count["requests"] += 1
    sim.count["rejected"] += 1
    sim.abandon(waiters[0])
    assert wait(sim).state is WAITING


def test_waiters_that_are_due_make_room_in_a_full_queue() -> None:
    sim = pool(max_size=1, max_waiting=1)
    lease(sim)
    first = wait(sim, 1.0)
    sim.advance(1.0)
    assert wait(sim).state is WAITING
    assert first.state is TIMED_OUT


# Deadlines


def test_a_waiter_times_out_at_its_deadline_and_not_before() -> None:
    """I-14."""
    sim = pool(max_size=1)
    lease(sim)
    waiter = wait(sim, 2.0)
    assert sim.core.next_deadline() == sim.now + 2.0
    sim.advance(1.999)
    sim.tick()
    assert waiter.state is WAITING
    sim.advance(0.001)
    sim.tick()
    assert waiter.state is TIMED_OUT
    assert waiter.error is None
    assert waiter.slot is None


def test_nothing_is_granted_at_or_after_a_deadline() -> None:
    """I-14: even if the timer is late, the deadline is looked at before the grant."""
    sim = pool(max_size=1)
    slot = lease(sim)
    late, patient = wait(sim, 1.0), wait(sim)
    sim.advance(1.0)
    sim.release(slot)
    assert late.state is TIMED_OUT
    assert patient.slot is slot


def test_now_or_never_takes_what_is_idle() -> None:
    """I-15."""
    sim = pool()
    [slot] = idle(sim)
    assert sim.acquire(0.0) is slot


def test_now_or_never_on_an_empty_pool_fails_and_starts_an_opening() -> None:
    """I-15: once, however many ask; that nothing is open yet is no failure."""
    sim = pool()
    assert wait(sim, 0.0).error is None
    assert wait(sim, -1.0).state is TIMED_OUT
    [slot] = in_state(sim, OPENING)
    assert sim.core.waiting_count == 0
    sim.opened(slot)
    assert sim.acquire(0.0) is slot


def test_now_or_never_starts_the_check_that_it_would_need() -> None:
    sim = pool(check_after=30.0)
    [slot] = idle(sim)
    sim.advance(31.0)
    assert wait(sim, 0.0).state is TIMED_OUT
    assert slot.state is CHECKING
    assert in_state(sim, OPENING) == []
    sim.checked(slot, ok=True)
    assert sim.acquire(0.0) is slot


def test_now_or_never_does_not_pass_a_waiter() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    first = wait(sim)
    assert wait(sim, 0.0).state is TIMED_OUT
    sim.release(slot)
    assert first.slot is slot


def test_what_an_owner_has_of_a_request_that_was_interrupted() -> None:
    core: PoolCore[str] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.0)
    me = object()
    assert core.interrupted(me, 0.0) is None
    waiter = core.acquire(0.0, None, me)
    core.acquire(0.0, None, object())
    assert core.interrupted(me, 0.0) is waiter
    effect = core.take_effects()[0]
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, "the connection", 1.0)
    assert core.interrupted(me, 0.0) is waiter  # whose news nobody has yet
    core.take_effects()
    assert core.interrupted(me, 1.0) is effect.slot
    assert core.interrupted(me, 0.0) is effect.slot  # which has been granted in the meantime
    assert core.interrupted(me, 0.0, {effect.slot}) is None
    assert core.interrupted(me, 1.5) is None  # what was lent before is no part of it
    assert core.interrupted(object(), 1.0) is None


def test_a_lease_that_was_lost_is_claimed_once() -> None:
    """Who was struck in a release puts it aside, and so may whoever called him."""
    sim = pool(max_size=1)
    slot = lease(sim)
    uses = slot.uses
    assert not sim.core.claim(slot, uses - 1)
    assert sim.core.claim(slot, uses)
    assert not sim.core.claim(slot, uses)
    assert not sim.core.claim(slot, uses - 1)  # nor by somebody who comes late with an earlier one
    sim.release(slot, reusable=False)
    assert not sim.core.claim(slot, slot.uses)
