"""Deadlocks: leases whose holders all wait for another one, and will never give any back.

Whoever waits with a deadline gives up one day, and so does not count as stuck. Nor does a request
or a lease without an owner: nobody knows what becomes of it. As long as there is room for another
connection, or one is on its way or coming back, there is hope; and so it is while one is SHARED,
because the queries on it end by themselves.

An owner does nothing while it waits, so it waits for one thing at a time. That is why only two
things can complete a deadlock: a request that joins the queue, if its owner holds a lease; and the
loss of room, by `resize` and by the end of each connection that was then too many. A grant cannot:
whoever gets it is free to go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import PoolDeadlock

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pgwire.pool.slots import C, SlotTable
    from pgwire.pool.waiters import Waiter, WaitQueue


def holds_lease(owner: Hashable, slots: SlotTable[C]) -> bool:
    """Whether one of the leases is this owner's. Costs a look at each lease."""
    return owner is not None and any(slot.owner == owner for slot in slots.leased)


def youngest_in_deadlock(
    slots: SlotTable[C], waiting: WaitQueue[C], max_size: int
) -> Waiter[C] | None:
    """The last to come of those who wait for one another; None if somebody is left who does not.

    Costs a look at each lease and each waiter, and next to nothing while something is not leased.
    """
    if not max_size <= slots.size == len(slots.leased):
        return None
    try:
        holders = {slot.owner for slot in slots.leased}
    except TypeError:
        return None  # one is a weak reference to what is gone, and so waits for nobody
    stuck = [w for w in waiting if w.deadline is None and w.owner in holders]
    if None in holders or holders != {waiter.owner for waiter in stuck}:
        return None
    return stuck[-1]


def deadlock_error(slots: SlotTable[C], waiting: WaitQueue[C]) -> PoolDeadlock:
    """What its victim is told."""
    return PoolDeadlock(
        f"whoever holds one of the {len(slots.leased)} leases waits for another connection,"
        f" without a deadline; {len(waiting)} requests wait, and none would ever be served"
    )
