"""What an input costs does not depend on how many wait, nor on how much has been before.

Counted in function calls, which are the same on every machine and every day.
"""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable

Core = PoolCore[int]


def calls(work: Callable[[], Any]) -> int:
    """How many functions are called, those written in C included, while this is done."""
    number = 0

    def count(frame: object, event: str, argument: object) -> None:
        nonlocal number
        number += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # a collection may call whatever others have hooked to it
    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return number


def busy_pool(
    size: int, waiting: int, timeout: float | None = 60.0, *, shared: bool = False
) -> tuple[Core, list[Slot[int]]]:
    """A pool with all its connections leased and so many waiters, of which all would share."""
    config = PoolConfig(max_size=size, max_opening=size, max_pipeline=8)
    core = Core(config, jitter=lambda: 0.0)
    core.start(0.0)
    waiters = [core.acquire(0.0, None) for _ in range(size)]
    for number, effect in enumerate(core.take_effects()):
        assert isinstance(effect, OpenConnection)
        core.opened(effect.slot, number, 0.0)
    core.take_effects()
    for _ in range(waiting):
        core.acquire(0.0, timeout, shared=shared)
    slots = [waiter.slot for waiter in waiters if isinstance(waiter, Waiter)]
    return core, [slot for slot in slots if slot is not None]


def grant_one(core: Core, slot: Slot[int]) -> None:
    core.release(slot, 1.0)
    core.next_deadline()
    core.take_effects()


@pytest.mark.parametrize("timeout", [None, 60.0])
@pytest.mark.parametrize("shared", [False, True])
def test_a_grant_costs_the_same_with_ten_waiters_and_with_ten_thousand(
    timeout: float | None, shared: bool
) -> None:
    costs = []
    for waiting in (30, 10_000):
        core, slots = busy_pool(2, waiting, timeout, shared=shared)
        costs.append([calls(lambda: grant_one(core, slots[0])) for _ in range(5)])  # noqa: B023
    assert costs[0] == costs[1]


@pytest.mark.parametrize("shared", [False, True])
def test_joining_and_leaving_cost_the_same_however_long_the_queue_is(shared: bool) -> None:
    costs = []
    for waiting in (16, 10_000):  # as many as fill a connection, so all are on a par
        core, _ = busy_pool(2, waiting, shared=shared)
        waiter = core.acquire(1.0, 61.0)
        assert isinstance(waiter, Waiter)
        join = calls(lambda: core.acquire(1.0, 62.0, shared=shared))  # noqa: B023
        costs.append((join, calls(lambda: core.abandon(waiter, 1.0))))  # noqa: B023
    assert costs[0] == costs[1]


class Caller:
    """An owner that cannot be looked for in a queue without a call for each waiter."""

    def __hash__(self) -> int:
        return 1

    def __eq__(self, other: object) -> bool:
        return self is other


@pytest.mark.parametrize("owner", [None, Caller()])
def test_looking_for_a_deadlock_costs_the_same_however_long_the_queue_is(
    owner: Caller | None,
) -> None:
    """Unless the caller holds a lease, and of those there are as few as there are leases."""
    costs = []
    for waiting in (10, 1000):
        core, slots = busy_pool(2, 0)
        for slot in slots:
            slot.owner = Caller()
        for _ in range(waiting):
            core.acquire(0.0, None, Caller())
        costs.append(calls(lambda: core.acquire(1.0, None, owner)))  # noqa: B023
    assert costs[0] == costs[1]


def test_a_checkout_costs_the_same_in_a_small_pool_and_in_a_large_one() -> None:
    costs = []
    for size in (2, 1000):
        core, slots = busy_pool(size, 0)
        for slot in slots:
            core.release(slot, 1.0)
        used: list[Slot[int]] = []

        def check_out(core: Core = core, used: list[Slot[int]] = used) -> None:
            slot = core.acquire(1.0, 2.0)
            assert isinstance(slot, Slot)
            used.append(slot)

        out = [calls(check_out), calls(check_out)]
        costs.append((out, calls(lambda: core.release(used[0], 1.0))))  # noqa: B023
    assert costs[0] == costs[1]


def test_sharing_costs_the_same_however_many_idle_connections_there_are() -> None:
    costs = []
    for size in (2, 1000):
        core, slots = busy_pool(size, 0)
        for slot in slots:
            core.release(slot, 1.0)

        def share(core: Core = core) -> None:
            slot = core.acquire(1.0, 2.0, shared=True)
            assert isinstance(slot, Slot)

        costs.append([calls(share) for _ in range(8)])
        assert [slot.users for slot in slots if slot.users] == [8]
        costs[-1].append(calls(lambda: core.release(slots[-1], 1.0)))  # noqa: B023
    assert costs[0] == costs[1]


@pytest.mark.parametrize("first", [1000.0, 3000.0])
def test_what_has_left_the_queue_is_not_kept(first: float) -> None:
    """The deadlines follow the number of waiters, in whatever way they leave."""
    core, slots = busy_pool(1, 0)
    held = core.acquire(0.0, first)  # it hides all that are later than it, or is later than all
    assert isinstance(held, Waiter)
    for _ in range(1000):
        waiter = core.acquire(0.0, 2000.0)
        assert isinstance(waiter, Waiter)
        core.abandon(waiter, 0.0)
    assert deadlines_kept(core) < 50
    for _ in range(1000):
        core.acquire(0.0, 2000.0)
    for _ in range(1000):
        core.release(slots[0], 0.0)
    assert core.waiting_count == 1
    assert deadlines_kept(core) < 50
    core.release(slots[0], 0.0)
    assert core.waiting_count == deadlines_kept(core) == 0


def deadlines_kept(core: Core) -> int:
    waiting = core._waiting
    return len(waiting._in_order) + len(waiting._others)


def test_ten_thousand_deadlines_pass_in_proportion() -> None:
    """Nothing is quadratic when all time out at once."""
    costs = []
    for waiting in (100, 10_000):
        core, _ = busy_pool(1, waiting)
        costs.append(calls(lambda: core.tick(60.0)) / waiting)  # noqa: B023
        assert core.waiting_count == 0
    assert costs[1] <= costs[0]
