"""What follows from all the rest together: how long anybody waits, and when lifetimes end."""

from __future__ import annotations

import random
from itertools import pairwise
from math import ceil

import pytest

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import CloseConnection, OpenConnection
from tests.pool.stories import OPENING, in_state, leases, pool, wait

HOLD = 0.002
CONNECT = 0.05


@pytest.mark.parametrize("size", [1, 3, 4])
@pytest.mark.parametrize("ahead", [0, 1, 7, 40])
def test_nobody_waits_for_longer_than_those_before_him_need(size: int, ahead: int) -> None:
    """I-8: with p ahead and leases of at most H, at most ceil((p + 1) / max_size) * H."""
    sim = pool(max_size=size, max_opening=size)
    began = sim.now
    due = [(began + HOLD, slot) for slot in leases(sim, size)]
    last = [wait(sim) for _ in range(ahead + 1)][-1]
    while last.slot is None:
        when, slot = due.pop(0)
        sim.now = when
        sim.release(slot)
        due += [(when + HOLD, sim.take(waiter)) for waiter in list(sim.granted)]
    assert sim.now - began <= ceil((ahead + 1) / size) * HOLD + 1e-9


def test_the_wait_for_an_opening_comes_once_on_top() -> None:
    """I-8: and C more where connections have to be opened, however many wait."""
    sim = pool(max_size=2, max_opening=2)
    began = sim.now
    waiting = [wait(sim) for _ in range(6)]
    sim.now += CONNECT
    for slot in in_state(sim, OPENING):
        sim.opened(slot)
    while waiting[-1].slot is None:
        held = [sim.take(waiter) for waiter in list(sim.granted)]
        sim.now += HOLD
        for slot in held:
            sim.release(slot)
    assert sim.now - began <= CONNECT + ceil(6 / 2) * HOLD + 1e-9


def test_connections_opened_at_once_do_not_end_at_once() -> None:
    """I-26, B-22: each lifetime is drawn once, from its last tenth, and not with every look."""
    number, lifetime = 100, 3600.0
    config = PoolConfig(
        min_size=number,
        max_size=number,
        max_opening=number,
        max_lifetime=lifetime,
        idle_timeout=None,
    )
    core: PoolCore[int] = PoolCore(config, jitter=random.Random(22).random)
    core.start(0.0)
    for effect in core.take_effects():
        assert isinstance(effect, OpenConnection)
        core.opened(effect.slot, 1, 0.0)
    core.resize(0, number, 0.0)  # nothing is opened in their place
    ends: list[float] = []
    for second in range(int(lifetime) + 2):
        core.tick(float(second))
        for effect in core.take_effects():
            assert isinstance(effect, CloseConnection)
            ends.append(second)
    assert len(ends) == number
    assert 0.9 * lifetime <= ends[0] <= ends[-1] <= lifetime + 1
    gaps = [later - earlier for earlier, later in pairwise(ends)]
    assert sum(gaps) / len(gaps) >= 0.9 * 0.1 * lifetime / number
    assert max(ends.count(end) for end in ends) < 10
