"""The rules of the pool, one by one: the end, mistakes of a shell, and figures.

Every input goes through `Simulation`, so each story is also watched by all invariants and by the
oracle; the tests say what is special. Numbers like I-5 are those of the list of invariants.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import InterfaceError, PoolClosed
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import CloseConnection, OpenConnection
from pgwire.pool.slots import Slot, SlotState
from pgwire.pool.waiters import WaiterState
from tests.pool.stories import has_ended, idle, in_state, lease, leases, pool, wait

if TYPE_CHECKING:
    from tests.pool.simulation import Simulation

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


# The end


def test_close_takes_no_requests_and_serves_those_before_it() -> None:
    """I-28: in order, opening what that needs."""
    sim = pool(max_size=1)
    slot = lease(sim)
    first, second = wait(sim), wait(sim)
    sim.close()
    assert sim.acquire(None) is None
    sim.release(slot, reusable=False)
    sim.closed(slot)
    [fresh] = in_state(sim, OPENING)
    sim.opened(fresh)
    sim.release(sim.take(first))
    sim.release(sim.take(second))
    assert fresh.state is CLOSING
    assert not has_ended(sim)
    sim.closed(fresh)
    assert has_ended(sim)
    assert sim.core.next_deadline() is None
    with pytest.raises(PoolClosed, match=r"^the pool is closed and takes no new requests$"):
        sim.core.acquire(sim.now, None)


def test_close_closes_what_is_idle_and_what_arrives_later() -> None:
    """I-29; the floor is not refilled either."""
    sim = pool(min_size=2)
    first, second = in_state(sim, OPENING)
    sim.opened(first)
    sim.close()
    assert first.state is CLOSING
    sim.opened(second)
    assert second.state is CLOSING
    sim.closed(first)
    sim.closed(second)
    assert has_ended(sim)


def test_what_is_returned_to_a_closed_pool_is_not_reset_first() -> None:
    sim = pool()
    slot = lease(sim)
    sim.close()
    sim.release(slot, reset=True)
    assert slot.state is CLOSING


def test_a_closed_pool_whose_server_is_down_ends_with_its_waiters() -> None:
    sim = pool()
    waiter = wait(sim, 1.0)
    sim.close()
    while waiter.state is WAITING:
        for slot in in_state(sim, OPENING):
            sim.open_failed(slot)
        due = sim.core.next_deadline()
        assert due is not None
        sim.advance(due - sim.now)
        sim.tick()
    assert waiter.state is TIMED_OUT
    for slot in in_state(sim, OPENING):
        sim.open_failed(slot)
    assert has_ended(sim)


def test_closing_an_empty_pool_ends_it_at_once_and_twice_is_once() -> None:
    sim = pool()
    assert not has_ended(sim)
    sim.close()
    sim.close()
    assert has_ended(sim)


def test_a_leftover_idle_connection_goes_when_the_last_waiter_is_served() -> None:
    sim = pool(check_after=0.0)
    older, newer = idle(sim, 2)
    sim.advance(1.0)
    waiter = wait(sim)
    sim.close()
    assert (older.state, newer.state) == (IDLE, CHECKING)
    sim.checked(newer, ok=True)
    assert waiter.slot is newer
    assert older.state is CLOSING


def test_abort_ends_everything_at_once() -> None:
    sim = pool(max_size=4, check_after=0.0)
    _, idling, checking, resetting = leases(sim, 4)
    sim.release(idling)
    sim.release(checking)
    sim.advance(1.0)
    waiting = wait(sim)
    sim.release(resetting, reset=True)
    assert {slot.state for slot in sim.slots} == {LEASED, IDLE, CHECKING, RESETTING}
    assert sim.core.aborted is False
    sim.abort()
    assert all(slot.state is CLOSING for slot in sim.slots)
    assert waiting.state is FAILED
    assert isinstance(waiting.error, PoolClosed)
    assert str(waiting.error) == "the pool was closed before a connection was free"
    assert sim.core.aborted is True


def test_who_is_due_when_the_pool_is_aborted_has_timed_out() -> None:
    """I-14: the deadline came first."""
    sim = pool()
    due, patient = wait(sim, 1.0), wait(sim)
    sim.advance(1.0)
    sim.abort()
    assert due.state is TIMED_OUT
    assert patient.state is FAILED


def test_no_timer_outlives_abort() -> None:
    """I-29: nobody waits for the next attempt any more."""
    sim = pool()
    wait(sim)
    sim.open_failed(in_state(sim, OPENING)[0])
    assert sim.core.next_deadline() is not None
    sim.abort()
    assert has_ended(sim)
    assert sim.core.next_deadline() is None


def test_after_abort_late_reports_are_accepted_and_do_nothing() -> None:
    sim = pool(max_size=3, check_after=0.0)
    leased, resetting, checking = leases(sim, 3)
    sim.release(checking)
    sim.advance(1.0)
    wait(sim)
    sim.release(resetting, reset=True)
    sim.abort()
    sim.release(leased)
    sim.reset_done(resetting, ok=True)
    sim.checked(checking, ok=False)
    assert all(slot.state is CLOSING for slot in (leased, resetting, checking))
    for slot in (leased, resetting, checking):
        sim.closed(slot)
    assert has_ended(sim)
    sim.core.release(leased, sim.now)
    assert sim.core.stats().released == sim.core.stats().granted


def test_after_abort_a_report_must_still_make_sense() -> None:
    sim = pool()
    wait(sim)
    sim.abort()
    [opening] = sim.slots
    with pytest.raises(InterfaceError, match="the connection is opening"):
        sim.core.checked(opening, sim.now, ok=True)


def test_an_opening_that_arrives_after_abort_is_closed() -> None:
    sim = pool()
    wait(sim)
    sim.abort()
    [slot] = in_state(sim, OPENING)
    assert not has_ended(sim)
    sim.opened(slot)
    assert slot.state is CLOSING


def test_a_grant_that_abort_overtook_can_be_abandoned() -> None:
    sim = pool()
    waiter = wait(sim)
    sim.opened(in_state(sim, OPENING)[0])
    sim.abort()
    sim.abandon(waiter)
    assert waiter.slot is not None
    assert waiter.slot.state is CLOSING


# Mistakes of the shell


@pytest.mark.parametrize("state", [OPENING, IDLE, CHECKING, LEASED, RESETTING, CLOSING, CLOSED])
@pytest.mark.parametrize(
    "report", ["release", "opened", "open_failed", "checked", "reset_done", "closed"]
)
def test_a_report_that_does_not_fit_is_refused_and_changes_nothing(
    state: SlotState, report: str
) -> None:
    """I-24."""
    sim = pool(max_size=1, check_after=0.0)
    slot = bring_to(sim, state)
    reports: dict[str, tuple[SlotState, Any]] = {
        "release": (LEASED, lambda: sim.core.release(slot, sim.now)),
        "opened": (OPENING, lambda: sim.core.opened(slot, 7, sim.now)),
        "open_failed": (
            OPENING,
            lambda: sim.core.open_failed(slot, OSError(), sim.now, mendable=True),
        ),
        "checked": (CHECKING, lambda: sim.core.checked(slot, sim.now, ok=True)),
        "reset_done": (RESETTING, lambda: sim.core.reset_done(slot, sim.now, ok=True)),
        "closed": (CLOSING, lambda: sim.core.closed(slot, sim.now)),
    }
    wanted, call = reports[report]
    before = sim.core.stats()
    if state is wanted:
        call()
        assert slot.state is not state
    else:
        with pytest.raises(InterfaceError, match=f"the connection is {state.value}"):
            call()
        assert slot.state is state
        assert sim.core.stats() == before
        assert sim.core.take_effects() == []


def bring_to(sim: Simulation, state: SlotState) -> Slot[int]:
    """The pool's only connection, in that state."""
    waiter = wait(sim)
    [slot] = sim.slots
    if state is OPENING:
        return slot
    sim.opened(slot)
    sim.take(waiter)
    if state is not LEASED:
        sim.release(slot, reusable=state not in (CLOSING, CLOSED), reset=state is RESETTING)
    if state is CHECKING:
        sim.advance(1.0)
        wait(sim)
    if state is CLOSED:
        sim.closed(slot)
    return slot


# What can be read


def test_the_figures_tell_what_was_and_what_is() -> None:
    """I-32."""
    sim = pool(max_size=2)
    first, _ = leases(sim, 2)
    wait(sim, 1.0)
    sim.release(first, reusable=False)
    sim.advance(1.0)
    sim.tick()
    stats = sim.core.stats()
    assert (stats.size, stats.leased, stats.closing, stats.idle, stats.waiting) == (2, 1, 1, 0, 0)
    assert (stats.requests, stats.granted, stats.timed_out, stats.released) == (3, 2, 1, 1)
    assert (stats.opened, stats.closed, stats.discarded, stats.retired) == (2, 0, 1, 0)
    assert (stats.min_size, stats.max_size) == (0, 2)


def test_the_connections_are_those_that_are_open_or_closing() -> None:
    sim = pool(max_size=4)
    _, closing, idling = leases(sim, 3)
    sim.release(closing, reusable=False)
    sim.release(idling)
    lease(sim)
    wait(sim)
    assert len(in_state(sim, OPENING)) == 1
    assert sorted(sim.core.connections()) == [0, 1, 2]


def test_nothing_is_due_before_the_start() -> None:
    core: PoolCore[int] = PoolCore(PoolConfig(min_size=1), jitter=lambda: 0.0)
    assert core.next_deadline() is None
    assert core.take_effects() == []


def test_a_pool_that_was_never_started_looks_at_its_idle_connections_all_the_same() -> None:
    alive = True
    core: PoolCore[int] = PoolCore(
        PoolConfig(), jitter=lambda: 0.0, is_alive=lambda connection: alive
    )
    core.acquire(5.0, 5.0)
    [effect] = core.take_effects()
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, 1, 6.0)
    alive = False
    core.tick(6.0)
    assert core.take_effects() == [CloseConnection(effect.slot)]


def test_effects_are_given_out_once() -> None:
    core: PoolCore[int] = PoolCore(PoolConfig(min_size=1), jitter=lambda: 0.0)
    core.start(0.0)
    [effect] = core.take_effects()
    assert core.take_effects() == []
    core.close(0.0)
    assert isinstance(effect, OpenConnection)
    core.opened(effect.slot, 1, 0.0)
    assert core.take_effects() == [CloseConnection(effect.slot)]


def test_slots_and_waiters_show_their_state() -> None:
    sim = pool(max_size=1)
    slot = lease(sim)
    assert repr(slot) == "<Slot leased, uses=1>"
    assert repr(wait(sim, 1.0)) == "<Waiter waiting, deadline=1001.0>"
