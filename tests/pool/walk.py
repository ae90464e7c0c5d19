"""Random walks over the pool's core: all inputs, all faults, a clock that jumps.

    python -m tests.pool.walk --steps 1000000 [--seed N]

A walk is a function of its seed: the pool's options, the temper of the walk (how often opens
fail, how patient callers are), and each step. A failure prints the seed and the step, and
`--seed N` walks it again.
"""

from __future__ import annotations

import argparse
import sys
import time
from random import Random
from typing import TYPE_CHECKING

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.slots import SlotState
from tests.pool.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS_PER_WALK = 400

# Who asks: the fewer they are, the more often all of them wait for one another.
CALLERS = ((None,), ("ann",), ("ann", "bob"), ("ann", "bob", "cid", None))

# How time passes: in leaps, or in steps in which queries that share a connection live.
PACES = ((0.0, 0.01, 0.3, 1.0, 4.0, 20.0), (0.0, 0.001, 0.01, 0.04, 0.3))

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState


class WalkFailed(AssertionError):
    """An invariant did not hold; the text says in which walk and where."""


class Walk:
    """One walk. `step()` does one thing that may happen to a pool."""

    def __init__(self, seed: int, core: type[PoolCore[int]] = PoolCore) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.sim = Simulation(self._config(), core)
        self.actions: list[Callable[[], None]] = []
        chance = self.random.random
        # Each walk has a temper of its own, or all would be of the same middling weather.
        self.failing = chance() ** 2
        self.impatience = chance()
        self.sociable = 1 - chance() ** 2
        self.pace = self.random.choice(PACES)
        self.callers = self.random.choice(CALLERS)
        self.actions += [self.request] * self.random.randint(1, 8)
        self.actions += [self.work] * self.random.randint(2, 12)
        self.actions += [self.give_back] * self.random.randint(1, 8)
        self.actions += [self.leave] * self.random.randint(0, 3)
        self.actions += [self.pass_time] * self.random.randint(1, 4)
        self.actions += [self.die] * self.random.randint(0, 1)
        self.actions += [self.command]

    def _config(self) -> PoolConfig:
        choice = self.random.choice
        max_size = choice((1, 1, 2, 2, 3, 5))
        return PoolConfig(
            min_size=self.random.randint(0, max_size),
            max_size=max_size,
            max_waiting=choice((None, None, 1, 3)),
            idle_timeout=choice((None, 2.0, 10.0)),
            max_lifetime=choice((None, 5.0, 30.0)),
            lifetime_spread=choice((0.0, 0.1, 1.0)),
            max_uses=choice((None, None, 1, 3)),
            max_opening=choice((1, 2, 3)),
            check_after=choice((None, 0.0, 1.0, 5.0)),
            max_pipeline=choice((1, 2, 3, 4)),
        )

    def step(self) -> None:
        self.sim.jitter = self.random.random()
        self.random.choice(self.actions)()

    def request(self) -> None:
        patience = self.random.random()
        if patience < self.impatience / 3:
            timeout: float | None = 0.0
        elif patience < 0.8:
            timeout = self.random.choice((0.05, 0.1, 1.0, 3.0, 10.0))
        else:
            timeout = None
        owner = self.random.choice(self.callers)
        if owner not in self.sim.who_waits():
            self.sim.acquire(timeout, owner, shared=self.random.random() < self.sociable)

    def work(self) -> None:
        """Something that the core asked for has been done, or has failed."""
        busy = [s for s in self.sim.slots if s.state in (OPENING, CHECKING, RESETTING, CLOSING)]
        if not busy:
            return self.pass_time()
        slot = self.random.choice(busy)
        ok = self.random.random() >= self.failing
        if slot.state is CLOSING:
            self.sim.closed(slot)
        elif slot.state is CHECKING:
            self.sim.checked(slot, ok=ok)
        elif slot.state is RESETTING:
            self.sim.reset_done(slot, ok=ok)
        elif ok:
            self.sim.opened(slot)
        else:
            self.sim.open_failed(slot, mendable=self.random.random() < 0.7)
        return None

    def give_back(self) -> None:
        for waiter in list(self.sim.granted):
            if self.random.random() < 0.8:
                self.sim.take(waiter)
        held = self.sim.leases + self.sim.late
        if held:
            self.sim.release(
                self.random.choice(held),
                reusable=self.random.random() >= self.failing / 2,
                reset=self.random.random() < 0.3,
                alive=self.random.random() < 0.5,
            )

    def leave(self) -> None:
        """Someone is cancelled: while waiting, or when the answer is already on its way."""
        callers = self.sim.queue + self.sim.granted + self.sim.gone[-1:]
        if callers:
            self.sim.abandon(self.random.choice(callers))

    def pass_time(self) -> None:
        due = self.sim.core.next_deadline()
        if due is not None and self.random.random() < 0.5:
            self.sim.advance(max(0.0, due - self.sim.now))
        else:
            self.sim.advance(self.random.choice(self.pace))
        if self.random.random() < 0.7:
            self.sim.tick()

    def die(self) -> None:
        if self.sim.slots:
            slot = self.random.choice(self.sim.slots)
            if self.random.random() < 0.5 and slot.state is not OPENING:
                self.sim.kill(slot)
            else:
                self.sim.lost(slot)

    def command(self) -> None:
        """The rare orders, and the end, after which only little can happen."""
        dice = self.random.random()
        if dice < 0.6:
            max_size = self.random.randint(1, 5)
            self.sim.resize(self.random.randint(0, max_size), max_size)
        elif dice < 0.98:
            self.sim.expire()
        elif dice < 0.99:
            self.sim.close()
        else:
            self.sim.abort()

    def finish(self) -> None:
        """Close the pool and do all that is asked: it must come to its end (I-4, I-28, I-29)."""
        sim = self.sim
        sim.close()
        for _ in range(1000):
            if sim.core.ended:
                break
            self._do_everything()
            for waiter in list(sim.granted):
                sim.release(sim.take(waiter))
            for slot in sim.leases + sim.late:
                sim.release(slot)
            due = sim.core.next_deadline()
            if due is not None:
                sim.advance(max(0.0, due - sim.now))
                sim.tick()
        assert sim.core.ended, "I-28: the pool does not end"
        assert not sim.queue
        assert sim.core.next_deadline() is None, "I-29: a timer outlived the pool"
        stats = sim.core.stats()
        assert stats.opened == stats.closed
        assert stats.granted == stats.released

    def _do_everything(self) -> None:
        sim = self.sim
        for slot in list(sim.slots):
            if slot.state is OPENING:
                sim.opened(slot)
            elif slot.state is CHECKING:
                sim.checked(slot, ok=True)
            elif slot.state is RESETTING:
                sim.reset_done(slot, ok=True)
            elif slot.state is CLOSING:
                sim.closed(slot)


def walk(seed: int, steps: int = STEPS_PER_WALK, core: type[PoolCore[int]] = PoolCore) -> int:
    """Walk once, to the end of the pool, and return the number of steps that it took.

    Raises WalkFailed with the seed and the step.
    """
    done = 0
    try:
        one = Walk(seed, core)
        while done < steps and not one.sim.core.ended:
            one.step()
            done += 1
        one.finish()
    except Exception as error:
        raise WalkFailed(f"seed {seed}, step {done}: {type(error).__name__}: {error}") from error
    return done


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Random walks over the pool's core.")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--seed", type=int, help="walk this one only")
    options = parser.parse_args(arguments)
    started = time.perf_counter()
    seed = first = options.seed or 0
    done = 0
    try:
        while done < (1 if options.seed is not None else options.steps):
            done += walk(seed)
            seed += 1
    except WalkFailed as failure:
        print(failure, f"again: python -m tests.pool.walk --seed {seed}", sep="\n")
        return 1
    seconds = time.perf_counter() - started
    print(
        f"{done:,} steps in {seed - first:,} walks (seeds {first} to {seed - 1}),"
        f" {seconds:.1f} s: every invariant holds"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
