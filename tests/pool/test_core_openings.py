"""The rules of the pool, one by one: openings, back-off and sizes.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-5 are those of the list of invariants.
"""

from __future__ import annotations

import pytest

from pgwire.errors import ConnectionLost, ProgrammingError
from pgwire.pool.slots import Slot, SlotState
from pgwire.pool.supply import NEWBORN
from pgwire.pool.waiters import WaiterState
from tests.pool.stories import in_state, lease, leases, pool, wait

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# Openings


def test_no_more_are_opened_at_once_than_allowed() -> None:
    """I-3, I-9."""
    sim = pool(max_size=10, max_opening=3)
    for _ in range(5):
        wait(sim)
    assert len(in_state(sim, OPENING)) == 3
    sim.opened(in_state(sim, OPENING)[0])
    assert len(in_state(sim, OPENING)) == 3
    sim.opened(in_state(sim, OPENING)[0])
    assert len(in_state(sim, OPENING)) == 3
    sim.opened(in_state(sim, OPENING)[0])
    assert len(in_state(sim, OPENING)) == 2


def test_nothing_is_opened_for_demand_that_has_gone() -> None:
    """I-10."""
    sim = pool(max_opening=1)
    first, second = wait(sim), wait(sim)
    sim.abandon(second)
    sim.opened(in_state(sim, OPENING)[0])
    assert first.state is GRANTED
    assert sim.core.total_count == 1


def test_the_floor_is_opened_in_the_background_and_kept() -> None:
    """I-27."""
    sim = pool(min_size=2, max_size=3)
    assert len(in_state(sim, OPENING)) == 2
    for slot in in_state(sim, OPENING):
        sim.opened(slot)
    assert sim.core.idle_count == 2
    sim.advance(NEWBORN)
    sim.lost(sim.slots[0])
    assert len(in_state(sim, OPENING)) == 1


def test_a_closing_connection_counts_until_it_is_closed() -> None:
    """I-1: the server may still know of it."""
    sim = pool(max_size=1)
    slot = lease(sim)
    waiter = wait(sim)
    sim.release(slot, reusable=False)
    assert slot.state is CLOSING
    assert sim.core.total_count == 1
    assert in_state(sim, OPENING) == []
    sim.closed(slot)
    sim.opened(in_state(sim, OPENING)[0])
    assert waiter.state is GRANTED


def test_failing_opens_back_off_and_the_waiter_keeps_waiting() -> None:
    """I-13: 0.1 s, doubling to 5 s, shortened by up to a half; one success forgets it all."""
    sim = pool(max_size=1)
    waiter = wait(sim)
    pauses = []
    for _ in range(8):
        sim.open_failed(in_state(sim, OPENING)[0])
        due = sim.core.next_deadline()
        assert due is not None
        pauses.append(round(due - sim.now, 6))
        sim.advance(due - sim.now)
        sim.tick()
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    sim.jitter = 0.5
    sim.open_failed(in_state(sim, OPENING)[0])
    assert sim.core.next_deadline() == sim.now + 3.75
    sim.advance(3.75)
    sim.tick()
    assert waiter.state is WAITING
    [slot] = in_state(sim, OPENING)
    sim.opened(slot)
    sim.release(sim.take(waiter), reusable=False)
    sim.closed(slot)
    wait(sim)
    sim.jitter = 0.0
    sim.open_failed(in_state(sim, OPENING)[0])
    assert sim.core.next_deadline() == pytest.approx(sim.now + 0.1)


def test_openings_that_fail_together_are_one_failure() -> None:
    sim = pool(max_opening=3)
    for _ in range(3):
        wait(sim)
    for slot in in_state(sim, OPENING):
        sim.open_failed(slot)
    assert sim.core.next_deadline() == pytest.approx(sim.now + 0.1)


def test_a_new_request_does_not_shorten_the_back_off() -> None:
    sim = pool()
    wait(sim)
    sim.open_failed(in_state(sim, OPENING)[0])
    wait(sim)
    assert wait(sim, 0.0).state is TIMED_OUT
    assert in_state(sim, OPENING) == []


def test_the_back_off_sets_no_timer_when_nobody_wants_anything() -> None:
    sim = pool()
    waiter = wait(sim)
    sim.open_failed(in_state(sim, OPENING)[0])
    assert sim.core.next_deadline() is not None
    sim.abandon(waiter)
    assert sim.core.next_deadline() is None


def test_a_timeout_carries_the_last_failure_to_open() -> None:
    """I-40; a success since then clears it."""
    sim = pool(max_size=1)
    waiter = wait(sim, 1.0)
    error = sim.open_failed(in_state(sim, OPENING)[0])
    sim.advance(1.0)
    sim.tick()
    assert waiter.state is TIMED_OUT
    for told in (waiter.error, wait(sim, 0.0).error):
        assert (type(told), str(told)) == (type(error), str(error))
    sim.opened(in_state(sim, OPENING)[0])
    assert isinstance(sim.acquire(0.0), Slot)
    assert wait(sim, 0.0).error is None


def test_what_waiting_cannot_mend_fails_the_head_at_once() -> None:
    """And only the head: the next gets an attempt of its own."""
    sim = pool(max_opening=1)
    first, second = wait(sim), wait(sim)
    error = sim.open_failed(in_state(sim, OPENING)[0], mendable=False)
    assert first.state is FAILED
    assert first.error is error
    assert second.state is WAITING
    [attempt] = in_state(sim, OPENING)
    sim.open_failed(attempt, mendable=False)
    assert second.state is FAILED


def test_with_a_connection_open_nothing_is_beyond_mending() -> None:
    sim = pool(max_size=2)
    slot = lease(sim)
    waiter = wait(sim)
    sim.open_failed(in_state(sim, OPENING)[0], mendable=False)
    assert waiter.state is WAITING
    assert in_state(sim, OPENING) == []
    sim.release(slot)
    assert waiter.slot is slot


def test_with_nobody_waiting_what_cannot_be_mended_is_tried_again_later() -> None:
    sim = pool(min_size=1)
    sim.open_failed(in_state(sim, OPENING)[0], mendable=False)
    assert in_state(sim, OPENING) == []
    sim.advance(0.1)
    sim.tick()
    assert len(in_state(sim, OPENING)) == 1


def test_who_is_due_times_out_and_the_next_one_fails() -> None:
    sim = pool(max_opening=1)
    due, head = wait(sim, 1.0), wait(sim)
    sim.advance(1.0)
    error = sim.open_failed(in_state(sim, OPENING)[0], mendable=False)
    assert due.state is TIMED_OUT
    assert str(due.error) == str(error)
    assert head.state is FAILED


# Sizes


def test_resizing_down_closes_idle_ones_at_once_and_leases_on_return() -> None:
    """I-1: the oldest idle ones go first; leases go on."""
    sim = pool(max_size=5)
    slots = leases(sim, 5)
    for slot in slots[2:]:
        sim.release(slot)
    sim.resize(0, 4)
    assert [slot.state for slot in slots] == [LEASED, LEASED, CLOSING, IDLE, IDLE]
    sim.resize(0, 1)
    assert [slot.state for slot in slots] == [LEASED, LEASED, CLOSING, CLOSING, CLOSING]
    waiter = wait(sim)
    sim.release(slots[0], reset=True)
    assert slots[0].state is CLOSING
    sim.release(slots[1])
    assert waiter.slot is slots[1]
    assert sim.core.stats().max_size == 1


def test_resizing_up_serves_those_who_wait() -> None:
    sim = pool(max_size=1)
    lease(sim)
    waiter = wait(sim)
    sim.resize(0, 2)
    sim.opened(in_state(sim, OPENING)[0])
    assert waiter.state is GRANTED


def test_sizes_that_make_no_sense_are_refused_and_change_nothing() -> None:
    sim = pool(min_size=1, max_size=2)
    with pytest.raises(ProgrammingError, match="min_size is 3"):
        sim.core.resize(3, 2, sim.now)
    assert (sim.core.config.min_size, sim.core.config.max_size) == (1, 2)


def test_a_server_that_lets_in_and_hangs_up_is_not_asked_without_a_pause() -> None:
    """I-13: what is lost as soon as it is open, and was of use to nobody, has failed."""
    sim = pool(max_size=1)
    wait(sim)
    pauses = []
    for _ in range(4):
        [slot] = in_state(sim, OPENING)
        sim.kill(slot)
        sim.opened(slot)
        pauses.append(sim.retry_at - sim.now)
        sim.closed(slot)
        sim.advance(pauses[-1])
        sim.tick()
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8])
    reason = sim.core._backoff.last_error
    assert isinstance(reason, ConnectionLost)
    assert str(reason) == "the server closed a new connection before it was used"
    [slot] = in_state(sim, OPENING)
    sim.opened(slot)
    assert slot.state is LEASED


def test_a_connection_that_has_lived_for_a_while_is_replaced_at_once() -> None:
    sim = pool(min_size=1)
    [slot] = in_state(sim, OPENING)
    sim.opened(slot)
    sim.advance(NEWBORN)
    sim.lost(slot)
    assert len(in_state(sim, OPENING)) == 1
