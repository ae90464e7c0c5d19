"""The beginnings of stories about a pool: helpers for the tests of its core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.pool.config import PoolConfig
from pgwire.pool.slots import Slot, SlotState
from pgwire.pool.waiters import Waiter
from tests.pool.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Hashable

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState


def pool(**options: Any) -> Simulation:
    """A pool that has just been made."""
    return Simulation(PoolConfig(**options))


def wait(
    sim: Simulation, timeout: float | None = None, owner: Hashable = None, *, shared: bool = False
) -> Waiter[int]:
    """A request that is expected to wait."""
    answer = sim.acquire(timeout, owner, shared=shared)
    assert isinstance(answer, Waiter)
    return answer


def lease(sim: Simulation, owner: Hashable = None) -> Slot[int]:
    """A connection in use, opened for the purpose if need be."""
    answer = sim.acquire(None, owner)
    if isinstance(answer, Waiter):
        opening = [slot for slot in sim.slots if slot.state is OPENING]
        sim.opened(opening[0])
        return sim.take(answer)
    assert answer is not None
    return answer


def share(sim: Simulation) -> Slot[int]:
    """A connection that may be used by others as well; one that waits must be opened for it."""
    answer = sim.acquire(None, shared=True)
    if isinstance(answer, Waiter):
        sim.opened(in_state(sim, OPENING)[0])
        return sim.take(answer)
    assert answer is not None
    return answer


def shared_by(sim: Simulation, users: int) -> Slot[int]:
    """A connection with so many users."""
    slots = {share(sim) for _ in range(users)}
    assert len(slots) == 1
    return slots.pop()


def leases(sim: Simulation, number: int) -> list[Slot[int]]:
    return [lease(sim) for _ in range(number)]


def idle(sim: Simulation, number: int = 1) -> list[Slot[int]]:
    """So many idle connections, the one used last at the end."""
    slots = leases(sim, number)
    for slot in slots:
        sim.release(slot)
    return slots


def in_state(sim: Simulation, state: SlotState) -> list[Slot[int]]:
    return [slot for slot in sim.slots if slot.state is state]


def has_ended(sim: Simulation) -> bool:
    return sim.core.ended
