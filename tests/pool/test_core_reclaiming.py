"""What is taken back from who is not there any more, and what is left to who is."""

from __future__ import annotations

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.reclaiming import reclaim
from pgwire.pool.slots import CLOSING, LEASED, OPENING, SHARED
from pgwire.pool.waiters import WaiterState
from tests.pool.worlds import others_wait, shared_by_three


def test_nothing_is_taken_from_who_is_there() -> None:
    world = others_wait()
    core = world.core
    before = core.stats()
    users = dict.fromkeys(core.in_use(), 1)
    assert reclaim(core, world.now, core.requests(), users) == []
    assert core.stats() == before
    world.end()


def test_who_waits_and_cannot_hear_of_it_leaves() -> None:
    world = others_wait()
    core = world.core
    gone, *others = core.requests()
    assert reclaim(core, world.now, others, dict.fromkeys(core.in_use(), 1)) == []
    assert gone.state is WaiterState.ABANDONED
    late = [waiter for waiter in others if waiter.state is WaiterState.TIMED_OUT]
    assert core.requests() == [waiter for waiter in others if waiter not in late]


def test_a_connection_that_nobody_has_is_closed() -> None:
    world = others_wait()
    core = world.core
    gone, *others = core.in_use()
    waiting = core.requests()
    assert reclaim(core, world.now, waiting, dict.fromkeys(others, 1)) == [gone]
    assert gone.state is CLOSING
    assert all(slot.state is LEASED for slot in others)
    assert core.requests()[0] is waiting[0]


def test_of_those_who_share_one_only_who_is_gone_leaves() -> None:
    world = shared_by_three()
    core = world.core
    (slot,) = [slot for slot in core.in_use() if slot.state is SHARED]
    users = dict.fromkeys(core.in_use(), 1) | {slot: slot.users - 1}
    left = slot.users - 1
    assert reclaim(core, world.now, core.requests(), users) == [slot]
    assert (slot.state, slot.users) == (SHARED, left)
    assert reclaim(core, world.now, core.requests(), users | {slot: 0}) == [slot]
    assert slot.state is CLOSING


def test_what_the_shell_is_to_report_of_is_under_way() -> None:
    core: PoolCore[int] = PoolCore(PoolConfig(), jitter=lambda: 0.0)
    core.acquire(0.0, None, "ann")
    [opening] = core.take_effects()
    assert isinstance(opening, OpenConnection)
    slot = opening.slot
    assert (slot.state, core.under_way()) == (OPENING, [slot])
    core.opened(slot, 1, 0.0)
    assert core.under_way() == []
    core.release(slot, 1.0, reusable=False)
    assert (slot.state, core.under_way()) == (CLOSING, [slot])
