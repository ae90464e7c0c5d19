"""Reclaiming: what has been lent, or waited for, by somebody who is not there any more.

For a shell that knows, between two inputs, who is there: an event loop's, after Ctrl-C.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from pgwire.pool.core import PoolCore
    from pgwire.pool.slots import C, Slot
    from pgwire.pool.waiters import Waiter


def reclaim(
    core: PoolCore[C], now: float, heard: Container[Waiter[C]], users: Mapping[Slot[C], int]
) -> list[Slot[C]]:
    """Have who waits and is not among the `heard` leave the queue, and take back what nobody has.

    That are the connections that more have been lent than there are `users`. They are closed, as
    nobody knows what was done there, and returned.
    """
    forsaken = [waiter for waiter in core.requests() if waiter not in heard]
    astray = [(slot, max(1, slot.users) - users.get(slot, 0)) for slot in core.in_use()]
    for waiter in forsaken:
        core.abandon(waiter, now)
    for slot, number in astray:
        for _ in range(number):
            core.release(slot, now, reusable=False)
    return [slot for slot, number in astray if number > 0]
