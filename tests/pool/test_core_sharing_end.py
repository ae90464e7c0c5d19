"""The rules of the pool, one by one: how the sharing of a connection ends, and its figures.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-2 are those of the list of invariants.
"""

from __future__ import annotations

import pytest

from pgwire.errors import InterfaceError, PoolClosed, PoolDeadlock
from pgwire.pool.slots import SlotState
from pgwire.pool.waiters import WaiterState
from tests.pool.stories import has_ended, in_state, lease, pool, share, shared_by, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# Unfit


def test_a_broken_connection_is_closed_when_its_last_user_leaves() -> None:
    """I-25: no query is interrupted; and nobody joins any more."""
    sim = pool(max_pipeline=3, max_size=1)
    slot = shared_by(sim, 3)
    sim.release(slot, reusable=False)
    waiter = wait(sim, shared=True)
    sim.release(slot)
    assert (slot.state, slot.users) == (SHARED, 1)
    sim.release(slot)
    assert (slot.state, waiter.state) == (CLOSING, WAITING)
    assert sim.core.stats().discarded == 1
    sim.closed(slot)
    sim.opened(in_state(sim, OPENING)[0])
    assert waiter.state is GRANTED


def test_a_connection_is_reset_when_its_last_user_leaves() -> None:
    """I-23: nobody joins a session that is to be cleaned."""
    sim = pool(max_pipeline=3, max_size=1)
    slot = shared_by(sim, 2)
    sim.release(slot, reset=True)
    waiter = wait(sim, shared=True)
    assert slot.users == 1
    sim.release(slot)
    assert slot.state is RESETTING
    sim.reset_done(slot, ok=True)
    assert waiter.slot is slot


@pytest.mark.parametrize("broken_first", [False, True])
def test_broken_is_more_than_to_be_reset(broken_first: bool) -> None:
    sim = pool(max_pipeline=2)
    slot = shared_by(sim, 2)
    sim.release(slot, reusable=not broken_first, reset=not broken_first)
    sim.release(slot, reusable=broken_first, reset=broken_first)
    assert slot.state is CLOSING
    assert sim.core.stats().discarded == 1


def test_what_was_said_of_a_connection_is_forgotten_with_its_users() -> None:
    sim = pool(max_pipeline=2)
    slot = share(sim)
    sim.release(slot, reset=True)
    sim.reset_done(slot, ok=True)
    assert shared_by(sim, 2) is slot
    sim.release(slot)
    sim.release(slot)
    assert slot.state is IDLE


def test_nobody_joins_past_the_lifetime() -> None:
    """I-25: it ends no query, and the last one's end is the connection's."""
    sim = pool(max_pipeline=3, max_size=1, max_lifetime=0.02, lifetime_spread=0.0)
    slot = shared_by(sim, 2)
    sim.advance(0.02)
    waiter = wait(sim, shared=True)
    sim.release(slot)
    assert (slot.state, waiter.state) == (SHARED, WAITING)
    sim.release(slot)
    assert slot.state is CLOSING
    assert sim.core.stats().retired == 1


def test_each_user_is_a_use() -> None:
    sim = pool(max_pipeline=4, max_uses=3, max_size=1)
    slot = shared_by(sim, 3)
    assert slot.uses == 3
    waiter = wait(sim, shared=True)
    sim.release(slot)
    assert waiter.state is WAITING
    sim.release(slot)
    sim.release(slot)
    assert slot.state is CLOSING


def test_expire_lets_the_queries_end() -> None:
    """I-30."""
    sim = pool(max_pipeline=3)
    slot = shared_by(sim, 2)
    sim.advance(0.01)
    sim.expire()
    assert slot.state is SHARED
    wait(sim, shared=True)
    assert slot.users == 2
    sim.release(slot)
    sim.release(slot)
    assert slot.state is CLOSING


def test_a_loss_is_noticed_by_those_who_use_it() -> None:
    sim = pool(max_pipeline=2)
    slot = share(sim)
    sim.lost(slot)
    assert (slot.state, slot.users) == (SHARED, 1)


def test_in_a_pool_that_has_become_too_large_shared_connections_run_dry() -> None:
    """I-1: what is free first is closed, and then the others are joined again."""
    sim = pool(max_pipeline=2, max_size=2)
    first, second = shared_by(sim, 2), shared_by(sim, 2)
    sim.release(second)
    sim.resize(0, 1)
    waiter = wait(sim, shared=True)
    assert waiter.state is WAITING
    sim.release(first)
    assert (first.users, waiter.state) == (1, WAITING)
    sim.release(second)
    assert second.state is CLOSING
    assert waiter.slot is first


# Deadlocks


def test_users_of_a_shared_connection_wait_for_nobody() -> None:
    """I-36: while there is one, whoever waits will be served."""
    sim = pool(max_pipeline=2, max_size=2)
    lease(sim, "ann")
    slot = share(sim)
    waiter = wait(sim, None, "ann")
    assert waiter.state is WAITING
    sim.release(slot)
    assert waiter.slot is slot


def test_who_holds_all_there_is_cannot_share_either() -> None:
    """I-36."""
    sim = pool(max_pipeline=2, max_size=1)
    lease(sim, "ann")
    waiter = wait(sim, None, "ann", shared=True)
    assert isinstance(waiter.error, PoolDeadlock)


def test_the_end_of_a_shared_connection_may_complete_a_deadlock() -> None:
    sim = pool(max_pipeline=2, max_size=2)
    lease(sim, "ann")
    slot = share(sim)
    waiter = wait(sim, None, "ann")
    sim.resize(0, 1)
    sim.release(slot)
    assert (slot.state, waiter.state) == (CLOSING, WAITING)
    sim.closed(slot)
    assert isinstance(waiter.error, PoolDeadlock)


# The end


def test_close_lets_the_queries_end_and_serves_those_who_wait() -> None:
    """I-28."""
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    waiter = wait(sim, shared=True)
    sim.close()
    assert sim.acquire(None, shared=True) is None
    sim.release(slot)
    assert waiter.slot is slot
    sim.release(sim.take(waiter))
    assert slot.state is SHARED
    sim.release(slot, reset=True)
    assert slot.state is CLOSING
    sim.closed(slot)
    assert has_ended(sim)


def test_nobody_joins_in_a_pool_that_is_closed() -> None:
    """I-28."""
    sim = pool(max_pipeline=4)
    slot = share(sim)
    sim.close()
    with pytest.raises(PoolClosed):
        sim.core.acquire(sim.now, None, shared=True)
    assert slot.users == 1


def test_a_closed_pool_refuses_before_anything_else() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    shared_by(sim, 2)
    due = wait(sim, 1.0, shared=True)
    sim.close()
    sim.advance(1.0)
    assert sim.acquire(None, shared=True) is None
    assert due.state is WAITING
    sim.tick()
    assert due.state is TIMED_OUT


def test_abort_closes_shared_connections_under_their_users() -> None:
    sim = pool(max_pipeline=3)
    slot = shared_by(sim, 3)
    sim.advance(2.0)
    sim.abort()
    assert (slot.state, slot.users) == (CLOSING, 0)
    stats = sim.core.stats()
    assert (stats.released, stats.sharing, stats.retired) == (3, 0, 1)
    assert stats.use_time.sum == 2.0
    for _ in range(3):
        sim.release(slot)
    sim.closed(slot)
    assert has_ended(sim)
    sim.core.release(slot, sim.now, reusable=False)
    assert sim.core.stats().released == 3


def test_a_shared_grant_that_abort_overtook_can_be_abandoned() -> None:
    sim = pool(max_pipeline=2)
    waiter = wait(sim, shared=True)
    sim.opened(in_state(sim, OPENING)[0])
    sim.abort()
    sim.abandon(waiter)
    assert waiter.state is GRANTED


# Mistakes of the shell, and figures


def test_more_releases_than_users_are_refused() -> None:
    """I-24."""
    sim = pool(max_pipeline=2)
    slot = share(sim)
    sim.release(slot)
    with pytest.raises(InterfaceError, match="the connection is idle"):
        sim.core.release(slot, sim.now)


def test_reports_about_a_shared_connection_are_refused() -> None:
    """I-24."""
    sim = pool(max_pipeline=2)
    slot = share(sim)
    for report in (sim.core.checked, sim.core.reset_done):
        with pytest.raises(InterfaceError, match="the connection is shared"):
            report(slot, sim.now, ok=True)
    with pytest.raises(InterfaceError, match="the connection is shared"):
        sim.core.closed(slot, sim.now)


def test_the_figures_count_connections_and_users() -> None:
    """I-32."""
    sim = pool(max_pipeline=2, max_opening=3)
    lease(sim)
    for _ in range(3):
        share(sim)
    stats = sim.core.stats()
    assert (stats.size, stats.leased, stats.shared, stats.sharing) == (3, 1, 2, 3)
    assert (stats.granted, stats.released, stats.requests) == (4, 0, 4)
    assert stats.wait_time.count == 4


def test_the_time_of_use_is_that_of_the_connection_however_many_use_it() -> None:
    """I-32: each query's time begins when it is the next to be answered."""
    sim = pool(max_pipeline=3)
    slot = shared_by(sim, 2)
    sim.advance(0.25)
    sim.release(slot)
    sim.advance(0.5)
    sim.release(slot)
    histogram = sim.core.stats().use_time
    assert (histogram.count, histogram.sum) == (2, 0.75)


def test_who_never_was_the_head_has_used_no_time() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    waiter = wait(sim, shared=True)
    sim.release(slot)
    sim.advance(0.5)
    sim.abandon(waiter)
    histogram = sim.core.stats().use_time
    assert (histogram.count, histogram.sum, histogram.counts[0]) == (2, 0.0, 2)


def test_waiting_is_measured_from_the_request_to_the_hand_over() -> None:
    sim = pool(max_pipeline=2, max_size=1)
    slot = shared_by(sim, 2)
    wait(sim, shared=True)
    sim.advance(3.0)
    sim.release(slot)
    histogram = sim.core.stats().wait_time
    assert (histogram.count, histogram.sum) == (3, 3.0)
