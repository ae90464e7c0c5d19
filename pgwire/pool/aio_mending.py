"""Mending: what Ctrl-C in the event loop's thread has left undone in a pool is done after all.

The core is whole wherever Ctrl-C strikes. Its shell may not be: an effect that was taken was not
carried out, a query that was granted a connection was not begun, a task that was lent one is gone.
All of that follows from what the core says, and from who is there between two turns of the loop,
when nothing of the pool is under way in any frame: so nothing need be noted while all is well.

Ctrl-C is noticed by the frames of the pool that it goes through. A callback that it strikes as it
begins has none of them above it, but asyncio: what remains of that is in the decision documents.

Other exceptions come from a clock that raises, or for want of memory. They may come again at once:
so what they prevent is tried again after a while, and not in every turn of the loop.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from pgwire.aio.future import QueryFuture
from pgwire.pool.aio_chores import begin, give_up
from pgwire.pool.reclaiming import reclaim
from pgwire.pool.waiters import WaiterState

if TYPE_CHECKING:
    from pgwire.aio.driver import AsyncDriver
    from pgwire.pool.aio_engine import AsyncEngine
    from pgwire.pool.slots import Slot
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.operation import Operation

_WAITING, _GRANTED = WaiterState.WAITING, WaiterState.GRANTED


def mend(engine: AsyncEngine) -> None:
    """Called by the loop alone. More than once does no harm, nor where there is nothing to mend."""
    try:
        _give_up_what_is_over(engine)
        engine.recover_orphans()
        for waiter in tuple(engine.wakers):
            if waiter.state is not _WAITING:
                _tell(engine, waiter)
        users = _users(engine)
        now = engine.options.clock()
        for slot in reclaim(engine.core, now, engine.wakers, users):
            slot.connection.given_up = True
        for slot in engine.core.under_way():
            _see_to(engine, slot)
        engine.core.tick(now)
        engine.go_on()
        engine.keeper.mended()
    except Exception:
        engine.keeper.mend_later(mend)
    except BaseException:  # it has struck again
        engine.keeper.mended()  # or nothing would be done soon
        engine.mend_soon()
        raise


def _give_up_what_is_over(engine: AsyncEngine) -> None:
    """Chores that have ended, and could not tell."""
    for slot, state in [key for key, task in engine.chores.items() if task is None]:
        engine.chores.pop((slot, state), None)
        give_up(engine, slot, state)


def _tell(engine: AsyncEngine, waiter: Waiter[AsyncDriver]) -> None:
    """Its waiting has ended, which it may not have heard."""
    waker = engine.wakers[waiter]
    if not isinstance(waker, QueryFuture):
        if not waker.done():
            waker.set_result(None)
        return
    operation = waker.operation
    if waiter.slot is None or not (operation.done or operation in _operations(waiter.slot)):
        engine.queries.waiting_ended(waiter, waker)
    engine.wakers.pop(waiter, None)


def _users(engine: AsyncEngine) -> Counter[Slot[AsyncDriver]]:
    """How many are there for each connection that has been lent."""
    users = Counter([*engine.leases, *engine.coming_back])
    if engine.hub is not None:
        users.update(engine.hub.slots)
    users.update(w.slot for w in engine.wakers if w.state is _GRANTED and w.slot is not None)
    for slot in engine.core.in_use():
        for operation in _operations(slot):
            users[slot] += getattr(operation.waiter, "place", None) is slot
    return users


def _operations(slot: Slot[AsyncDriver]) -> list[Operation]:
    """What is under way on a connection, or has ended and not been told."""
    session = slot.connection.session
    return [*session.pending, *session.completed]


def _see_to(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    """Have the work begun that its state asks for, unless it has been."""
    key = (slot, slot.state)
    if (task := engine.chores.get(key)) is None or task.done():
        engine.chores.pop(key, None)
        begin(engine, slot)
