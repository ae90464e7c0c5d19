"""The rules of the pool, one by one: what is handed over, and what is retired.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-5 are those of the list of invariants.
"""

from __future__ import annotations

import pytest

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import SlotState
from pgwire.pool.supply import LOOK_AFTER
from pgwire.pool.waiters import Waiter, WaiterState
from tests.pool.stories import idle, in_state, lease, leases, pool, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# Fit to be handed over


def test_a_dead_idle_connection_is_closed_and_the_next_one_tried() -> None:
    sim = pool()
    good, dead = idle(sim, 2)
    sim.kill(dead)
    assert sim.acquire(None) is good
    assert dead.state is CLOSING


def test_all_idle_ones_dead_is_like_an_empty_pool() -> None:
    sim = pool()
    for slot in idle(sim, 2):
        sim.kill(slot)
    waiter = wait(sim)
    sim.opened(in_state(sim, OPENING)[0])
    assert waiter.state is GRANTED
    assert sim.core.stats().lost == 2


def test_what_dies_before_it_reaches_the_waiter_is_not_granted() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    waiter = wait(sim)
    sim.kill(slot)
    sim.release(slot)
    assert slot.state is CLOSING
    assert waiter.state is WAITING


@pytest.mark.parametrize("answered", [False, True])
def test_a_look_or_an_answer_is_good_for_less_than_a_round_trip(answered: bool) -> None:
    looks: list[int] = []

    def look(connection: int) -> bool:
        looks.append(connection)
        return True

    core: PoolCore[int] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.0, is_alive=look)
    core.acquire(0.0, None)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, 1, 0.0)
    assert len(looks) == 1
    core.release(effect.slot, 1.0, alive=answered)
    assert core.acquire(1.0 + LOOK_AFTER / 2, None) is effect.slot
    assert len(looks) == 1 + (not answered)
    core.release(effect.slot, 1.0 + LOOK_AFTER / 2)
    assert core.acquire(1.0 + 2 * LOOK_AFTER, None) is effect.slot
    assert len(looks) == 2 + (not answered)


def test_a_release_is_no_answer_unless_it_says_so() -> None:
    alive: set[int] = {1}
    core: PoolCore[int] = PoolCore(
        PoolConfig(max_size=1), jitter=lambda: 0.0, is_alive=alive.__contains__
    )
    core.acquire(0.0, None)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, 1, 0.0)
    alive.clear()
    core.release(effect.slot, 1.0)
    assert isinstance(core.acquire(1.0, None), Waiter)
    assert effect.slot.state is CLOSING


def test_an_idle_connection_that_is_lost_is_closed() -> None:
    sim = pool()
    [slot] = idle(sim)
    sim.lost(slot)
    assert slot.state is CLOSING


def test_a_loss_in_any_other_state_is_left_to_whoever_has_the_connection() -> None:
    sim = pool()
    slot = lease(sim)
    sim.lost(slot)
    assert slot.state is LEASED


def test_a_connection_idle_for_long_is_checked_before_it_is_granted() -> None:
    """I-7: the request keeps its place and its deadline."""
    sim = pool(check_after=30.0)
    [slot] = idle(sim)
    sim.advance(30.1)
    first = wait(sim, 5.0)
    assert slot.state is CHECKING
    assert in_state(sim, OPENING) == []
    second = wait(sim)
    assert sim.core.next_deadline() == sim.now + 5.0
    sim.checked(slot, ok=True)
    assert first.slot is slot
    assert second.state is WAITING


def test_exactly_check_after_is_not_yet_for_long() -> None:
    sim = pool(check_after=30.0)
    [slot] = idle(sim)
    sim.advance(30.0)
    assert sim.acquire(None) is slot


def test_a_failed_check_closes_and_the_next_idle_one_is_checked() -> None:
    sim = pool(check_after=30.0)
    older, newer = idle(sim, 2)
    sim.advance(31.0)
    waiter = wait(sim)
    assert (older.state, newer.state) == (IDLE, CHECKING)
    sim.checked(newer, ok=False)
    assert (older.state, newer.state) == (CHECKING, CLOSING)
    sim.checked(older, ok=True)
    assert waiter.slot is older


def test_a_connection_returned_meanwhile_serves_sooner_than_the_check() -> None:
    sim = pool(check_after=30.0)
    busy, slot = leases(sim, 2)
    sim.release(slot)
    sim.advance(31.0)
    waiter = wait(sim)
    sim.release(busy)
    assert waiter.slot is busy
    sim.checked(slot, ok=True)
    assert slot.state is IDLE


def test_a_reset_comes_before_the_connection_is_idle() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    sim.release(slot, reset=True)
    assert slot.state is RESETTING
    waiter = wait(sim)
    sim.reset_done(slot, ok=True)
    assert waiter.slot is slot


def test_a_failed_reset_closes() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    sim.release(slot, reset=True)
    sim.reset_done(slot, ok=False)
    assert slot.state is CLOSING
    assert sim.core.stats().discarded == 1


# Growing old


def test_a_lifetime_is_drawn_once_and_ends_no_lease() -> None:
    """I-25."""
    sim = pool(max_lifetime=100.0, lifetime_spread=0.1)
    sim.jitter = 0.5
    slot = lease(sim)
    assert slot.expires_at == sim.now + 95.0
    sim.advance(200.0)
    sim.tick()
    assert slot.state is LEASED
    sim.release(slot)
    assert slot.state is CLOSING
    assert sim.core.stats().retired == 1


def test_an_idle_connection_past_its_lifetime_is_closed_by_a_tick() -> None:
    sim = pool(max_lifetime=10.0, idle_timeout=None)
    [slot] = idle(sim)
    sim.advance(10.0)
    sim.tick()
    assert slot.state is CLOSING


def test_what_expired_between_two_ticks_is_not_granted() -> None:
    """I-25."""
    sim = pool(max_lifetime=10.0)
    [slot] = idle(sim)
    sim.advance(10.0)
    wait(sim)
    assert slot.state is CLOSING


def test_a_lifetime_that_ends_during_the_check_ends_with_it() -> None:
    sim = pool(max_lifetime=40.0, lifetime_spread=0.0, check_after=30.0)
    [slot] = idle(sim)
    sim.advance(35.0)
    waiter = wait(sim)
    sim.advance(5.0)
    sim.checked(slot, ok=True)
    assert slot.state is CLOSING
    assert waiter.state is WAITING


def test_a_lifetime_that_ends_during_the_check_needs_no_waiter_to_be_noticed() -> None:
    sim = pool(max_lifetime=40.0, check_after=30.0)
    [slot] = idle(sim)
    sim.advance(35.0)
    assert wait(sim, 0.0).state is TIMED_OUT
    sim.advance(5.0)
    sim.checked(slot, ok=True)
    assert slot.state is CLOSING


def test_without_a_lifetime_connections_stay() -> None:
    sim = pool(max_lifetime=None, idle_timeout=None)
    [slot] = idle(sim)
    sim.advance(1e9)
    sim.tick()
    assert slot.state is IDLE


def test_a_connection_is_retired_after_so_many_leases() -> None:
    sim = pool(max_uses=2)
    slot = lease(sim)
    sim.release(slot)
    assert sim.acquire(None) is slot
    sim.release(slot, reset=True)
    assert slot.state is CLOSING


def test_idle_connections_above_the_floor_are_closed_oldest_first() -> None:
    """I-27."""
    sim = pool(min_size=1, max_size=3, idle_timeout=10.0)
    sim.opened(in_state(sim, OPENING)[0])
    oldest, middle, newest = idle(sim, 3)
    sim.advance(10.0)
    sim.tick()
    assert sim.core.idle_count == 3
    sim.advance(1.0)
    sim.tick()
    assert [slot.state for slot in (newest, middle, oldest)] == [IDLE, CLOSING, CLOSING]


def test_idle_sockets_are_looked_at_once_a_second() -> None:
    sim = pool()
    slot, dead = idle(sim, 2)
    sim.tick()
    due = sim.core.next_deadline()
    assert due is not None
    assert sim.now < due <= sim.now + 1.0
    sim.kill(dead)
    sim.tick()
    assert dead.state is IDLE
    sim.advance(due - sim.now)
    sim.tick()
    assert dead.state is CLOSING
    assert slot.state is IDLE
    assert sim.core.next_deadline() == sim.now + 1.0


def test_expire_retires_what_began_before() -> None:
    """I-30: idle ones at once, leased ones on return, openings when they arrive."""
    sim = pool(max_opening=1)
    leased, idling = leases(sim, 2)
    sim.release(idling)
    sim.acquire(None)
    waiter = wait(sim)
    [opening] = in_state(sim, OPENING)
    sim.release(idling)  # serves the waiter; the opening goes on
    sim.release(sim.take(waiter))
    sim.advance(1.0)
    sim.expire()
    assert [slot.state for slot in (leased, idling, opening)] == [LEASED, CLOSING, OPENING]
    sim.release(leased)
    sim.opened(opening)
    assert [slot.state for slot in (leased, idling, opening)] == [CLOSING, CLOSING, CLOSING]
    fresh = lease(sim)
    sim.release(fresh)
    assert fresh.state is IDLE


def test_expire_spares_what_begins_at_that_moment() -> None:
    sim = pool()
    [slot] = idle(sim)
    sim.expire()
    assert slot.state is IDLE


def test_a_lease_that_ends_at_the_very_end_of_the_lifetime_is_the_last() -> None:
    """I-25."""
    sim = pool(max_lifetime=10.0, lifetime_spread=0.0)
    slot = lease(sim)
    sim.advance(slot.expires_at - sim.now)
    sim.release(slot)
    assert slot.state is CLOSING
