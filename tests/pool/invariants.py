"""What must be true of a pool after every input, whatever came before.

`check` looks at a `Simulation`: at what it has seen from outside, and at what the core says of
itself. The numbers are those of the project's list of invariants; the message says what each
means. `check_after_tick` adds what must be true when all that was due has been done.
"""

from __future__ import annotations

from collections import Counter
from math import ceil, isclose
from typing import TYPE_CHECKING

from pgwire.pool.core import LOOK_INTERVAL
from pgwire.pool.slots import SlotState
from pgwire.pool.supply import HEAD_LIMIT
from pgwire.pool.waiters import WaiterState

if TYPE_CHECKING:
    from pgwire.pool.slots import Slot
    from tests.pool.simulation import Simulation

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState

COUNTED = (
    *("requests", "granted", "timed_out", "failed", "abandoned", "rejected", "released"),
    *("opened", "open_failures", "closed", "lost", "discarded"),
)


def check(sim: Simulation) -> None:
    """Everything that holds between two inputs."""
    states = [slot.state for slot in sim.slots]
    check_capacity(sim, states)
    check_holders(sim, states)
    check_sharing(sim)
    check_deadlock(sim, states)
    check_demand(sim, states)
    check_figures(sim, states)
    check_timer(sim, states)
    check_end(sim, states)


def check_capacity(sim: Simulation, states: list[SlotState]) -> None:
    size, config = len(states), sim.config
    assert size <= max(config.max_size, sim.last_size), "I-1: more than max_size, and growing"
    assert CLOSED not in states
    assert states.count(OPENING) <= config.max_opening, "I-3: too many openings at once"
    if config.max_waiting is not None:
        assert len(sim.queue) <= config.max_waiting, "I-16: the queue is too long"


def check_holders(sim: Simulation, states: list[SlotState]) -> None:
    held = sim.leases + [w.slot for w in sim.granted if w.slot is not None]
    if sim.aborted:
        assert LEASED not in states, "a lease outlived abort()"
        assert SHARED not in states, "a shared connection outlived abort()"
    else:
        holders = Counter(held)
        ought = {slot: 1 for slot in sim.slots if slot.state is LEASED}
        ought |= {slot: slot.users for slot in sim.slots if slot.state is SHARED}
        assert holders == ought, "I-2: leases and their holders do not match"


def check_sharing(sim: Simulation) -> None:
    """Who shares, with how many, behind which head; and whether room was left unused."""
    room = []
    for slot in sim.slots:
        assert slot.users == sim.users[slot], "I-2: users that nobody knows of, or too few"
        assert slot.users <= sim.config.max_pipeline, "I-2: too many share a connection"
        if slot.state is SHARED:
            assert slot.users > 0, "I-2: shared by nobody"
            assert slot.busy_since == sim.since[slot], "the head's time is wrong"
            if may_be_joined(sim, slot):
                room.append(slot)
        else:
            assert slot.users == 0, "I-2: users on what is not shared"
    if sim.queue and sim.queue[0].shared:
        assert not room, "I-6: a request waits that may share, and a shared connection has room"


def may_be_joined(sim: Simulation, slot: Slot[int]) -> bool:
    """Whether a request that may share could go there now, if it is its turn."""
    config, live = sim.config, sum(s.state is not CLOSING for s in sim.slots)
    return (
        slot.users < config.max_pipeline
        and sim.now - sim.since[slot] <= HEAD_LIMIT
        and slot not in sim.spoiled | sim.soiled
        and sim.now < slot.expires_at
        and (config.max_uses is None or slot.uses < config.max_uses)
        and live <= config.max_size
    )


def check_deadlock(sim: Simulation, states: list[SlotState]) -> None:
    for slot in sim.slots:
        if slot.state is LEASED:
            assert slot.owner == sim.owners[slot], "I-36: the lease is another's"
        elif not sim.aborted:
            assert slot.owner is None, "I-36: a lease has ended, and its owner is kept"
    if sim.queue and len(states) >= sim.config.max_size and set(states) == {LEASED}:
        stuck = {sim.owners[waiter] for waiter in sim.queue if waiter.deadline is None} - {None}
        holders = {sim.owners[slot] for slot in sim.slots}
        assert not holders <= stuck, "I-36: all holders wait for one another"


def demand(sim: Simulation) -> int:
    """How many connections would serve all who wait."""
    sharing = sum(waiter.shared for waiter in sim.queue)
    return len(sim.queue) - sharing + ceil(sharing / sim.config.max_pipeline)


def check_demand(sim: Simulation, states: list[SlotState]) -> None:
    config, waiting = sim.config, demand(sim)
    opening, checking = states.count(OPENING), states.count(CHECKING)
    soon = checking + states.count(RESETTING)
    live = len(states) - states.count(CLOSING)
    paused = sim.now < sim.retry_at
    if waiting:
        assert all(w.state is WaiterState.WAITING for w in sim.queue)
        if IDLE in states:
            assert checking >= waiting, "I-6: somebody waits, something fit is idle"
    due = sim.core.next_deadline()
    if not paused and (due is None or due > sim.now):  # if the timer is late, so are openings
        possible = min(config.max_opening, config.max_size - len(states) + opening)
        assert opening >= min(waiting - soon, possible), "I-9: demand, but nothing is opened"
        if live < config.min_size and not sim.ending:
            assert opening >= possible, "I-27: below min_size, but nothing is opened"
    if sim.opened_now:
        assert not paused, "I-13: opened during back-off"
        wanted = opening <= waiting + sim.passing - soon
        floor = live <= config.min_size and not sim.ending
        assert wanted or floor, "I-10: nothing justifies this opening"


def check_figures(sim: Simulation, states: list[SlotState]) -> None:
    stats, count = sim.core.stats(), sim.count
    for state in SlotState:
        if state is not CLOSED:
            assert getattr(stats, state.value) == states.count(state), f"I-32: {state}"
    assert stats.size == sim.core.total_count == len(states), "I-32: size"
    assert stats.idle == sim.core.idle_count, "I-32: idle"
    assert stats.waiting == sim.core.waiting_count == len(sim.queue), "I-32: waiting"
    for name in COUNTED:
        assert getattr(stats, name) == count[name], f"I-32: {name}"
    for name, times in sim.times.items():
        histogram = getattr(stats, name)
        assert histogram.counts == tuple(times.counts), f"I-32: {name}"
        assert isclose(histogram.sum, times.sum), f"I-32: the sum of {name}"
    assert stats.wait_time.count == stats.granted, "I-32: hand-overs and their times"
    assert stats.use_time.count == stats.released, "I-32: releases and their times"
    assert stats.connect_time.count == stats.opened, "I-32: openings and their times"
    gone = states.count(CLOSING) + count["closed"]
    assert stats.retired == gone - count["lost"] - count["discarded"], "I-32: retired"
    assert stats.sharing == sum(slot.users for slot in sim.slots), "I-32: sharing"
    assert stats.granted == stats.leased + stats.sharing + stats.released, "I-4: leases"
    ended = stats.granted + stats.timed_out + stats.failed + stats.abandoned + stats.rejected
    assert stats.requests == stats.waiting + ended, "I-4: requests"
    assert (stats.min_size, stats.max_size) == (sim.config.min_size, sim.config.max_size)


def check_timer(sim: Simulation, states: list[SlotState]) -> None:
    due = sim.core.next_deadline()
    deadlines = [w.deadline for w in sim.queue if w.deadline is not None]
    if deadlines:
        assert due is not None, "I-14: a deadline that no timer will keep"
        assert due <= min(deadlines), "I-14: the timer is late for a deadline"
    if IDLE in states:
        assert due is not None, "something is idle, and nobody will look at it"
        assert due <= sim.now + LOOK_INTERVAL, "I-27: the next look is too late"
    if sim.queue and all(state is IDLE for state in states):
        # Neither a lease nor anything on its way: then it is back-off that they wait for.
        assert due is not None, "I-17: nothing will help who waits, and no timer is set"
        assert due <= sim.retry_at, "I-17: the timer is late for the next attempt"


def check_end(sim: Simulation, states: list[SlotState]) -> None:
    assert sim.core.ended == (sim.ending and not states and not sim.queue)
    if sim.ending and not sim.queue:
        assert IDLE not in states, "I-28: idle in a pool that has ended"
        assert not sim.opened_now, "I-29: opened after the end"


def check_after_tick(sim: Simulation) -> None:
    """Everything that holds right after a tick."""
    due = sim.core.next_deadline()
    assert due is None or due > sim.now, "the timer spins"
    for waiter in sim.queue:
        assert waiter.deadline is None or waiter.deadline > sim.now, "I-14: not timed out"
    if not sim.model.looked:
        return  # it was too early for another look
    limit = sim.config.idle_timeout
    for slot in sim.slots:
        if slot.state is IDLE:
            assert slot.connection not in sim.dead, "dead, and still idle after a look"
            assert slot.expires_at > sim.now, "I-25: past its lifetime, and still idle"
    live = sum(slot.state is not CLOSING for slot in sim.slots)
    idle = [slot for slot in sim.slots if slot.state is IDLE]
    if limit is not None and live > sim.config.min_size:
        assert all(sim.now - sim.idle_since[slot] <= limit for slot in idle), "I-27: idle too long"
