"""Hypothesis plays with the pool: any input in any order, and a shrunk story when it breaks.

The oracle and the invariants are `Simulation`'s; this machine only chooses. Where the random
walk is long and blind, this is short and, when something breaks, minimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from pgwire.pool.config import PoolConfig
from pgwire.pool.slots import SlotState
from tests.pool.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgwire.pool.slots import Slot

T = TypeVar("T")

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState

which = st.integers(min_value=0, max_value=5)
seconds = st.sampled_from([0.0, 0.05, 0.1, 1.0, 2.5, 40.0])


@st.composite
def configs(draw: st.DrawFn) -> PoolConfig:
    max_size = draw(st.integers(1, 4))
    return PoolConfig(
        min_size=draw(st.integers(0, max_size)),
        max_size=max_size,
        max_waiting=draw(st.sampled_from([None, 1, 2])),
        idle_timeout=draw(st.sampled_from([None, 2.0])),
        max_lifetime=draw(st.sampled_from([None, 3.0])),
        max_uses=draw(st.sampled_from([None, 1, 2])),
        max_opening=draw(st.integers(1, 3)),
        check_after=draw(st.sampled_from([None, 0.0, 1.0])),
        max_pipeline=draw(st.integers(1, 4)),
    )


def pick(things: Sequence[T], number: int) -> T:
    return things[number % len(things)]


class PoolMachine(RuleBasedStateMachine):
    """The rules are the core's inputs."""

    sim: Simulation

    @initialize(config=configs(), jitter=st.sampled_from([0.0, 0.5, 0.99]))
    def begin(self, config: PoolConfig, jitter: float) -> None:
        self.sim = Simulation(config)
        self.sim.jitter = jitter

    def slots(self, *states: SlotState) -> list[Slot[int]]:
        return [slot for slot in self.sim.slots if slot.state in states]

    @rule(
        timeout=st.none() | seconds,
        owner=st.sampled_from([None, "ann", "bob"]),
        shared=st.booleans(),
    )
    def acquire(self, timeout: float | None, owner: str | None, shared: bool) -> None:
        if owner not in self.sim.who_waits():
            self.sim.acquire(timeout, owner, shared=shared)

    @precondition(lambda self: self.sim.granted)
    @rule(number=which)
    def take(self, number: int) -> None:
        self.sim.take(pick(self.sim.granted, number))

    @precondition(lambda self: self.sim.queue or self.sim.granted or self.sim.gone)
    @rule(number=which)
    def abandon(self, number: int) -> None:
        self.sim.abandon(pick(self.sim.queue + self.sim.granted + self.sim.gone, number))

    @precondition(lambda self: self.sim.leases or self.sim.late)
    @rule(number=which, reusable=st.booleans(), reset=st.booleans(), alive=st.booleans())
    def release(self, number: int, reusable: bool, reset: bool, alive: bool) -> None:
        slot = pick(self.sim.leases + self.sim.late, number)
        self.sim.release(slot, reusable=reusable, reset=reset, alive=alive)

    @precondition(lambda self: self.slots(OPENING))
    @rule(number=which)
    def opened(self, number: int) -> None:
        self.sim.opened(pick(self.slots(OPENING), number))

    @precondition(lambda self: self.slots(OPENING))
    @rule(number=which, mendable=st.booleans())
    def open_failed(self, number: int, mendable: bool) -> None:
        self.sim.open_failed(pick(self.slots(OPENING), number), mendable=mendable)

    @precondition(lambda self: self.slots(CHECKING))
    @rule(number=which, ok=st.booleans())
    def checked(self, number: int, ok: bool) -> None:
        self.sim.checked(pick(self.slots(CHECKING), number), ok=ok)

    @precondition(lambda self: self.slots(RESETTING))
    @rule(number=which, ok=st.booleans())
    def reset_done(self, number: int, ok: bool) -> None:
        self.sim.reset_done(pick(self.slots(RESETTING), number), ok=ok)

    @precondition(lambda self: self.slots(CLOSING))
    @rule(number=which)
    def closed(self, number: int) -> None:
        self.sim.closed(pick(self.slots(CLOSING), number))

    @precondition(lambda self: self.sim.slots)
    @rule(number=which)
    def lost(self, number: int) -> None:
        self.sim.lost(pick(self.sim.slots, number))

    @precondition(lambda self: self.slots(IDLE, LEASED, SHARED))
    @rule(number=which)
    def die_in_silence(self, number: int) -> None:
        self.sim.kill(pick(self.slots(IDLE, LEASED, SHARED), number))

    @rule(duration=seconds)
    def pass_time(self, duration: float) -> None:
        self.sim.advance(duration)

    @rule()
    def tick(self) -> None:
        self.sim.tick()

    @precondition(lambda self: self.sim.core.next_deadline() is not None)
    @rule()
    def wait_for_the_timer(self) -> None:
        due = self.sim.core.next_deadline()
        assert due is not None
        self.sim.advance(max(0.0, due - self.sim.now))
        self.sim.tick()

    @rule(sizes=st.tuples(st.integers(0, 4), st.integers(1, 4)))
    def resize(self, sizes: tuple[int, int]) -> None:
        self.sim.resize(min(sizes), max(sizes))

    @rule()
    def expire(self) -> None:
        self.sim.expire()

    @rule(chance=which)
    def close(self, chance: int) -> None:
        if chance == 3:  # seldom, or there would be little to see
            self.sim.close()

    @rule(chance=which)
    def abort(self, chance: int) -> None:
        if chance == 4:
            self.sim.abort()


TestPoolMachine = PoolMachine.TestCase
TestPoolMachine.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
