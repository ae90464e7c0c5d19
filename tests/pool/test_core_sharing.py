"""The rules of the pool, one by one: requests that may share a connection.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-2 are those of the list of invariants; the
state SHARED is part of I-2.
"""

from __future__ import annotations

import pytest

from pgwire.errors import PoolFull
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import SlotState
from pgwire.pool.supply import HEAD_LIMIT, NEWBORN
from pgwire.pool.waiters import WaiterState
from tests.pool.stories import idle, in_state, lease, pool, share, shared_by, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# One connection, several users


def test_the_first_makes_it_shared_and_the_last_makes_it_idle() -> None:
    """I-2."""
    sim = pool(max_pipeline=3)
    [slot] = idle(sim)
    assert share(sim) is slot
    assert (slot.state, slot.users, slot.owner) == (SHARED, 1, None)
    assert share(sim) is slot
    assert (slot.state, slot.users) == (SHARED, 2)
    sim.release(slot)
    assert (slot.state, slot.users) == (SHARED, 1)
    sim.release(slot)
    assert (slot.state, slot.users) == (IDLE, 0)
    assert slot.idle_since == sim.now


def test_joining_takes_no_effects() -> None:
    sim = pool(max_pipeline=2)
    [slot] = idle(sim)
    assert [sim.core.acquire(sim.now, None, shared=True) for _ in range(2)] == [slot, slot]
    assert sim.core.take_effects() == []


def test_with_a_pipeline_of_one_nothing_is_shared() -> None:
    sim = pool(max_pipeline=1, max_size=1)
    [slot] = idle(sim)
    assert sim.acquire(None, "ann", shared=True) is slot
    assert (slot.state, slot.users, slot.owner) == (LEASED, 0, "ann")
    waiter = wait(sim, shared=True)
    assert waiter.shared is False
    sim.release(slot)
    assert waiter.slot is slot
    assert slot.state is LEASED


def test_by_default_a_request_shares_with_nobody() -> None:
    """I-2: neither as the first nor as another."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = lease(sim)
    assert slot.state is LEASED
    assert wait(sim).shared is False
    assert wait(sim, shared=True).shared is True


def test_no_more_share_than_allowed() -> None:
    """I-2."""
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    third = wait(sim, shared=True)
    assert (third.state, slot.users) == (WAITING, 2)
    sim.release(slot)
    assert third.slot is slot
    assert (third.state, slot.state, slot.users) == (GRANTED, SHARED, 2)


def test_a_shared_connection_is_lent_to_nobody_alone() -> None:
    """I-2."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = share(sim)
    waiter = wait(sim)
    assert waiter.state is WAITING
    sim.release(slot)
    assert waiter.slot is slot
    assert (slot.state, slot.users) == (LEASED, 0)


def test_a_leased_connection_is_shared_with_nobody() -> None:
    """I-2."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = lease(sim)
    waiters = [wait(sim, shared=True) for _ in range(2)]
    assert slot.state is LEASED
    sim.release(slot)
    assert [waiter.slot for waiter in waiters] == [slot, slot]
    assert (slot.state, slot.users) == (SHARED, 2)


def test_an_opening_serves_as_many_as_may_share_it() -> None:
    sim = pool(max_pipeline=2)
    waiters = [wait(sim, shared=True) for _ in range(3)]
    first, second = in_state(sim, OPENING)
    sim.opened(first)
    assert [waiter.slot for waiter in waiters] == [first, first, None]
    sim.opened(second)
    assert waiters[2].slot is second


# Where a request goes


def test_a_shared_connection_is_filled_before_an_idle_one_is_touched() -> None:
    sim = pool(max_pipeline=2)
    older, newer = idle(sim, 2)
    assert [share(sim) for _ in range(4)] == [newer, newer, older, older]


def test_the_fullest_with_room_is_filled_first() -> None:
    """And of two that are alike the one that was shared first: the same story, the same end."""
    sim = pool(max_pipeline=3)
    idle(sim, 2)
    first, second = [share(sim) for _ in range(6)][::3]
    for slot in (first, first, second, second):
        sim.release(slot)
    assert share(sim) is first
    sim.release(first)
    sim.release(first)
    assert [share(sim) for _ in range(2)] == [second, second]
    assert share(sim) is first


def test_an_idle_one_is_taken_last_in_first_out_and_if_it_is_fit() -> None:
    sim = pool(max_pipeline=2)
    good, dead = idle(sim, 2)
    sim.kill(dead)
    assert share(sim) is good
    assert dead.state is CLOSING
    assert sim.core.total_count == 2


def test_the_floor_is_refilled_when_a_dead_one_was_met_on_the_way() -> None:
    """I-27."""
    sim = pool(max_pipeline=2, min_size=2, max_size=3)
    for slot in in_state(sim, OPENING):
        sim.opened(slot)
    good, dead = sim.slots
    sim.advance(NEWBORN)
    sim.kill(dead)
    assert share(sim) is good
    assert len(in_state(sim, OPENING)) == 1


def test_one_that_has_idled_for_long_is_checked_for_those_who_would_share_it() -> None:
    """I-7."""
    sim = pool(max_pipeline=2, check_after=30.0)
    older, newer = idle(sim, 2)
    sim.advance(31.0)
    first, second = wait(sim, shared=True), wait(sim, shared=True)
    assert (older.state, newer.state) == (IDLE, CHECKING)
    third = wait(sim, shared=True)
    assert older.state is CHECKING
    sim.checked(newer, ok=True)
    assert [first.slot, second.slot, third.slot] == [newer, newer, None]


def test_exactly_check_after_is_not_yet_for_long() -> None:
    sim = pool(max_pipeline=2, check_after=30.0)
    [slot] = idle(sim)
    sim.advance(30.0)
    assert share(sim) is slot


def test_what_is_in_use_is_not_looked_at_when_another_joins() -> None:
    """Bytes that wait to be read there are an answer; whoever reads them will notice an end."""
    sim = pool(max_pipeline=2)
    slot = share(sim)
    sim.kill(slot)
    assert sim.acquire(None, shared=True) is slot
    sim.release(slot)
    sim.release(slot)
    assert sim.acquire(None, shared=True) is not slot
    assert slot.state is CLOSING


# The head


def test_nobody_joins_behind_a_head_that_has_been_running_for_long() -> None:
    sim = pool(max_pipeline=3, max_size=1)
    slot = share(sim)
    sim.advance(HEAD_LIMIT * 1.01)
    assert wait(sim, shared=True).state is WAITING
    assert slot.users == 1


def test_up_to_the_limit_others_join() -> None:
    core: PoolCore[str] = PoolCore(PoolConfig(max_size=1, max_pipeline=2), jitter=lambda: 0.0)
    core.acquire(0.0, None, shared=True)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, "the connection", 0.0)
    assert core.acquire(0.050, None, shared=True) is effect.slot
    assert effect.slot.busy_since == 0.0


def test_with_the_head_its_time_ends() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    sim.advance(1.0)
    waiter = wait(sim, shared=True)
    assert slot.busy_since == sim.now - 1.0
    sim.release(slot)
    assert slot.busy_since == sim.now
    assert waiter.slot is slot


def test_another_connection_is_opened_beside_a_long_head() -> None:
    sim = pool(max_pipeline=8, max_size=2)
    slot = share(sim)
    sim.advance(1.0)
    waiter = wait(sim, shared=True)
    [other] = in_state(sim, OPENING)
    sim.opened(other)
    assert waiter.slot is other
    assert slot.users == 1
    assert share(sim) is other


def test_who_joins_later_does_not_renew_the_head() -> None:
    sim = pool(max_pipeline=4, max_size=1)
    share(sim)
    sim.advance(0.03)
    share(sim)
    sim.advance(0.03)
    assert wait(sim, shared=True).state is WAITING


# Who is first


def test_a_newcomer_does_not_join_past_one_who_wants_a_connection_alone() -> None:
    """I-5: the shared connection runs dry for it."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = shared_by(sim, 2)
    alone, newcomer = wait(sim), wait(sim, shared=True)
    sim.release(slot)
    assert (slot.users, newcomer.state) == (1, WAITING)
    sim.release(slot)
    assert alone.slot is slot
    assert newcomer.state is WAITING
    sim.release(sim.take(alone))
    assert newcomer.slot is slot


def test_those_at_the_head_join_up_to_the_first_who_wants_one_alone() -> None:
    """I-5."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = lease(sim)
    first, second = wait(sim, shared=True), wait(sim, shared=True)
    alone, last = wait(sim), wait(sim, shared=True)
    sim.release(slot)
    assert [waiter.state for waiter in (first, second, alone, last)] == [
        *(GRANTED, GRANTED, WAITING, WAITING)
    ]


def test_who_leaves_the_head_lets_the_others_join() -> None:
    """I-20."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = share(sim)
    alone, other = wait(sim), wait(sim, shared=True)
    sim.abandon(alone)
    assert other.slot is slot


def test_who_times_out_at_the_head_lets_the_others_join() -> None:
    """I-14."""
    sim = pool(max_pipeline=4, max_size=1)
    share(sim)
    wait(sim, 0.01)
    other = wait(sim, shared=True)
    sim.advance(0.01)
    sim.tick()
    assert other.state is GRANTED


@pytest.mark.parametrize("timeout", [None, 0.0])
def test_who_is_due_stands_in_nobodys_way(timeout: float | None) -> None:
    """I-15: even if the timer is late, and even for now or never."""
    sim = pool(max_pipeline=4, max_size=1)
    slot = share(sim)
    alone = wait(sim, 0.01)
    sim.advance(0.01)
    assert sim.acquire(timeout, shared=True) is slot
    assert alone.state is TIMED_OUT


def test_now_or_never_joins_or_fails_and_starts_an_opening() -> None:
    """I-15: one for as many as may share it."""
    sim = pool(max_pipeline=2)
    assert wait(sim, 0.0, shared=True).state is TIMED_OUT
    assert len(in_state(sim, OPENING)) == 1
    wait(sim, 1.0, shared=True)
    assert wait(sim, 0.0, shared=True).state is TIMED_OUT
    assert len(in_state(sim, OPENING)) == 1
    assert wait(sim, 0.0).state is TIMED_OUT
    assert len(in_state(sim, OPENING)) == 2


def test_one_queue_has_one_limit() -> None:
    """I-16."""
    sim = pool(max_pipeline=2, max_size=1, max_waiting=1)
    shared_by(sim, 2)
    wait(sim)
    assert sim.acquire(None, shared=True) is None
    with pytest.raises(PoolFull):
        sim.core.acquire(sim.now, None, shared=True)
    sim.count["requests"] += 1
    sim.count["rejected"] += 1


# Openings


def test_those_who_may_share_need_fewer_connections() -> None:
    """I-9, I-10."""
    sim = pool(max_pipeline=3, max_opening=10)
    opening = []
    for _ in range(7):
        wait(sim, shared=True)
        opening.append(len(in_state(sim, OPENING)))
    assert opening == [1, 1, 1, 2, 2, 2, 3]
    wait(sim)
    assert len(in_state(sim, OPENING)) == 4


# Cancelled after the grant


def test_an_abandoned_grant_ends_one_use() -> None:
    """I-20: nothing was sent, so the head is another's; and it is no use."""
    sim = pool(max_pipeline=3, max_size=1)
    slot = shared_by(sim, 3)
    waiter, next_one = wait(sim, shared=True), wait(sim, shared=True)
    sim.advance(0.02)
    sim.release(slot)
    since = slot.busy_since
    sim.advance(0.01)
    sim.abandon(waiter)
    assert (waiter.state, waiter.slot) == (ABANDONED, None)
    assert next_one.slot is slot
    assert (slot.users, slot.uses, slot.busy_since) == (3, 4, since)


def test_cancelling_does_not_let_others_in_behind_a_long_head() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    granted, waiting = wait(sim, shared=True), wait(sim, shared=True)
    sim.release(slot)
    sim.advance(1.0)
    sim.abandon(granted)
    assert (waiting.state, slot.users) == (WAITING, 1)
    sim.release(slot)
    assert waiting.slot is slot


def test_an_abandoned_grant_of_the_only_user_frees_the_connection() -> None:
    sim = pool(max_pipeline=2)
    waiter = wait(sim, shared=True)
    [slot] = in_state(sim, OPENING)
    sim.opened(slot)
    sim.abandon(waiter)
    assert (slot.state, slot.users, slot.uses) == (IDLE, 0, 0)


def test_a_grant_that_has_been_used_cannot_be_abandoned_whoever_has_it_now() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    waiter = wait(sim, shared=True)
    [slot] = sim.slots
    sim.opened(slot)
    sim.release(sim.take(waiter))
    assert lease(sim) is slot
    sim.core.abandon(waiter, sim.now)
    assert (slot.state, waiter.state) == (LEASED, GRANTED)
