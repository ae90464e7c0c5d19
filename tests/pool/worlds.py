"""Pools' cores in every state that an input may meet, and what holds of each at any time.

For `test_core_interrupted`. A world's requests and connections are known by their numbers.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

from pgwire.errors import ConnectionFailed
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import OpenConnection
from pgwire.pool.slots import (
    CHECKING,
    CLOSED,
    CLOSING,
    IDLE,
    LEASED,
    OPENING,
    RESETTING,
    SHARED,
    Slot,
)
from pgwire.pool.times import Times
from pgwire.pool.waiters import ABANDONED, FAILED, GRANTED, TIMED_OUT, WAITING, Waiter
from tests.pool import invariants


class World:
    """A core, and who has what of it; requests and connections are known by their numbers."""

    mine: Slot[int]

    def __init__(self, **options: Any) -> None:
        self.now = 1000.0
        self.dead: set[object] = set()
        self.core: PoolCore[int] = PoolCore(
            PoolConfig(**options),
            jitter=lambda: 0.0,
            is_alive=lambda connection: connection not in self.dead,
        )
        self.slots: list[Slot[int]] = []
        self.waiters: list[Waiter[int]] = []
        self.effects: list[Any] = []
        self.done = 0  # so many of these have been carried out
        self.leases: list[Slot[int]] = []
        self.asked = self.served_at_once = 0
        self.core.start(self.now)
        self.take()

    def take(self) -> None:
        for effect in self.core.take_effects():
            self.effects.append(effect)
            if isinstance(effect, OpenConnection):
                self.slots.append(effect.slot)

    def tick(self) -> None:
        self.core.tick(self.now)
        self.take()

    def ask(self, timeout: float | None = None, owner: object = None, shared: bool = False) -> Any:
        """Somebody else's request, of which the story knows from now on."""
        deadline = None if timeout is None else self.now + timeout
        answer = self.core.acquire(self.now, deadline, owner, shared)
        self.take()
        self.asked += 1
        if isinstance(answer, Waiter):
            self.waiters.append(answer)
        else:
            self.served_at_once += 1
            self.leases.append(answer)
        return answer

    def lease(self, number: int, **facts: Any) -> None:
        """So many leases, of connections that are opened for them if need be."""
        for _ in range(number):
            self.ask(**facts)
        self.carry_out()

    def carry_out(self) -> None:
        """What the core wants done is done, and succeeds."""
        while self.done < len(self.effects):
            effect = self.effects[self.done]
            self.done += 1
            if not isinstance(effect, Waiter):
                self.carry_out_one(effect.slot)
            elif effect in self.waiters and effect.slot is not None:
                self.leases.append(effect.slot)
            self.take()

    def carry_out_one(self, slot: Slot[int]) -> None:
        core, now = self.core, self.now
        if slot.state is OPENING:
            core.opened(slot, self.slots.index(slot), now)
        elif slot.state is CHECKING:
            core.checked(slot, now, ok=True)
        elif slot.state is RESETTING:
            core.reset_done(slot, now, ok=True)
        elif slot.state is CLOSING:
            core.closed(slot, now)

    def undo(self, answer: Slot[int] | Waiter[int] | None) -> None:
        """Whoever was struck wants nothing of what he has got."""
        if isinstance(answer, Waiter):
            self.core.abandon(answer, self.now)
        elif answer is not None:
            self.core.release(answer, self.now)

    # How it is

    def picture(self) -> dict[str, Any]:
        """Everything that anybody could see, and the table of slots."""
        core, number = self.core, {slot: n for n, slot in enumerate(self.slots)}
        due = core.next_deadline()
        given_out = Counter(
            (type(e).__name__, self.waiters.index(e) if isinstance(e, Waiter) else number[e.slot])
            for e in self.effects
            if not isinstance(e, Waiter) or e in self.waiters
        )
        return {
            "slots": [(slot.state, slot.users, slot.owner) for slot in self.slots],
            "table": {
                state: [number[slot] for slot in places]
                for state, places in core._slots.by_state.items()
            },
            "all": [number[slot] for slot in core._slots._all],
            "queue": [
                self.waiters.index(w) if w in self.waiters else "mine" for w in core._waiting
            ],
            "sharing": core._waiting.shared,
            "waiters": [(w.state, w.slot and number[w.slot], type(w.error)) for w in self.waiters],
            "effects": dict(sorted(given_out.items())),
            "stats": core.stats(),
            "due": due,
            "ended": (core.ending, core.ended, core.aborted),
        }

    def check(self, mine: int) -> None:
        """What holds, however far the one request came that was struck, if it was one (`mine`)."""
        core, table = self.core, self.core._slots
        stats, states = core.stats(), Counter(slot.state for slot in self.slots)
        assert all(slot in places for slot in table._all for places in [table.by_state[slot.state]])
        assert sum(map(len, table.by_state.values())) == len(table._all) == len(core._slots._all)
        assert {slot for slot in self.slots if slot.state is not CLOSED} == {*table._all}
        waits = [waiter for waiter in self.waiters if waiter.state is WAITING]
        assert [*core._waiting] == waits, "first in, first out"
        assert core._waiting.shared == sum(waiter.shared for waiter in waits)
        # Whose news has been given out: once, and unless it left the queue by itself.
        told = Counter(effect for effect in self.effects if isinstance(effect, Waiter))
        left = [waiter for waiter in self.waiters if waiter not in told]
        assert {waiter.state for waiter in left} <= {WAITING, ABANDONED}
        assert {*told.values()} <= {1}
        count = Counter(waiter.state for waiter in self.waiters if waiter in told)
        granted = count[GRANTED] + count[ABANDONED]
        over = {
            "granted": stats.granted - granted - self.served_at_once,
            "timed out": stats.timed_out - count[TIMED_OUT],
            "failed": stats.failed - count[FAILED],
            "abandoned": stats.abandoned - (len(left) - len(waits)),
            "rejected": stats.rejected,
        }
        assert set(over.values()) <= {0, mine}, over
        assert stats.requests - self.asked == sum(over.values()) <= mine
        assert 0 <= core._count.wait_time.count - granted <= over["granted"]
        assert stats.opened + stats.open_failures == len(self.slots) - states[OPENING]
        assert stats.closed == states[CLOSED] - stats.open_failures
        if not (waits or states[IDLE] or core._retry_wanted):
            assert core.next_deadline() is None, "a timer is set for nobody"
        seen: Any = SimpleNamespace(
            core=core,
            config=core.config,
            last_size=len(self.slots),
            now=self.now,
            slots=[*table],
            queue=[*core._waiting],
            retry_at=core._backoff.retry_at,
            opened_now=False,
            ending=core.ending,
            aborted=core.aborted,
        )
        for check in (
            invariants.check_capacity,
            invariants.check_demand,
            invariants.check_timer,
            invariants.check_end,
        ):
            check(seen, [slot.state for slot in table])

    def end(self) -> None:
        """The rest of the story: everyone is served, in order, and the pool comes to its end."""
        order = [w for w in self.waiters if w.state is WAITING]
        granted = len(self.effects)
        self.core.close(self.now)
        self.take()
        for _ in range(100):
            self.carry_out()
            while self.leases:
                slot = self.leases.pop()
                if slot.state in (LEASED, SHARED):  # else the pool has ended it
                    self.core.release(slot, self.now)
                self.take()
                self.carry_out()
            if self.core.ended:
                break
            self.now += 1.0
            self.tick()
        assert self.core.ended
        assert all(waiter.state is not WAITING for waiter in self.waiters)
        served = [e for e in self.effects[granted:] if isinstance(e, Waiter) and e.state is GRANTED]
        assert served == [w for w in order if w.state is GRANTED], "first in, first out"
        stats = self.core.stats()
        assert stats.size == stats.waiting == stats.sharing == 0
        assert stats.granted == stats.released
        ended = stats.granted + stats.timed_out + stats.failed + stats.abandoned + stats.rejected
        assert stats.requests == ended
        assert stats.opened == stats.closed == stats.lost + stats.retired + stats.discarded


def empty() -> World:
    return World(max_size=2)


def one_idle() -> World:
    return some_idle(1)


def some_idle(number: int = 3, **options: Any) -> World:
    world = World(**{"max_size": number, "max_opening": 9} | options)
    world.lease(number)
    for slot in world.leases:
        world.core.release(slot, world.now)
    world.leases.clear()
    world.take()
    return world


def one_of_them_dead() -> World:
    world = some_idle(min_size=2)
    world.dead.add(2)
    world.now += 0.01
    return world


def all_dead_and_shared() -> World:
    world = some_idle(min_size=2, max_pipeline=4)
    world.dead |= {2, 1}
    world.now += 0.01
    return world


def some_past_their_time() -> World:
    world = some_idle(min_size=1, max_lifetime=60.0)
    world.now += 61.0
    return world


def long_idle() -> World:
    world = some_idle()
    world.now += 31.0
    return world


def noted() -> World:
    """Somebody takes each value of the histograms."""
    world = others_wait()
    Times(world.core, world.core.stats().granted)
    return world


def others_wait() -> World:
    """Two leases, and five in the queue, of whom one is out of time already."""
    world = World(max_size=2)
    world.lease(2)
    world.now += 1.0
    for timeout in (None, 5.0, 1.0, 3.0, None):
        world.ask(timeout)
    world.now += 2.0
    return world


def many_have_left() -> World:
    """So many that their deadlines are about to be forgotten; some of these are in no order."""
    world = World(max_size=1)
    world.lease(1)
    for number in range(60):
        world.ask(100.0 - number * 7 % 31)
    for waiter in world.waiters[5:]:
        if len(world.core._waiting._in_order) + len(world.core._waiting._others) == 18 + 2 * len(
            world.core._waiting
        ):
            break
        world.core.abandon(waiter, world.now)
    return world


def shared_by_three() -> World:
    """One connection, three on it; one in the queue would be alone, two would share."""
    world = World(max_size=1, max_pipeline=3)
    for _ in range(3):
        world.ask(shared=True)
    world.carry_out()
    world.ask()
    world.ask(shared=True)
    world.ask(3.0, shared=True)
    world.now += 0.01
    return world


def shared_with_room() -> World:
    world = World(max_size=1, max_pipeline=3)
    world.ask(shared=True)
    world.carry_out()
    world.now += 0.01
    return world


def granted_to_me() -> World:
    """I have been granted a connection, and do not know of it yet; others wait."""
    world = World(max_size=1)
    world.lease(1)
    world.ask()
    world.ask()
    world.core.release(world.leases.pop(), world.now)
    world.now += 1.0
    return world


def granted_and_worn_out() -> World:
    world = World(max_size=1, max_uses=2)
    world.lease(1)
    world.ask()
    world.core.release(world.leases.pop(), world.now)
    world.now += 100.0
    world.core.expire(world.now)
    return world


def share_granted_to_me() -> World:
    world = World(max_size=1, max_pipeline=3)
    for _ in range(3):
        world.ask(shared=True)
    world.take()
    effect = world.effects[0]
    world.core.opened(effect.slot, 0, world.now)
    world.ask()
    world.now += 0.01
    return world


def being_opened() -> World:
    """Two of them, and one that had to be checked, for whoever waits."""
    world = World(max_size=3, max_lifetime=60.0)
    world.ask()
    world.carry_out()
    world.core.release(world.leases.pop(), world.now, reset=True)
    world.take()
    world.ask(owner="another")
    world.ask(5.0)
    world.ask(5.0)
    world.now += 6.0
    return world


def being_opened_in_vain() -> World:
    world = being_opened()
    world.core.expire(world.now)
    return world


def being_checked() -> World:
    world = long_idle()
    world.ask()
    world.ask()
    return world


def deadlocked_but_for_me() -> World:
    world = World(max_size=2)
    world.lease(1, owner="another")
    world.lease(1, owner="the one who is struck")
    world.ask(owner="another")
    return world


def too_many() -> World:
    """Three leases where two are allowed now; their holders wait for one another."""
    world = World(max_size=3, max_opening=9)
    for owner in ("one", "two", "three"):
        world.lease(1, owner=owner)
    world.core.resize(0, 2, world.now)
    for owner in ("one", "two"):
        world.ask(owner=owner)
    return world


def backing_off() -> World:
    world = World(min_size=1, max_size=2)
    world.core.open_failed(world.slots[0], ConnectionFailed("no"), world.now, mendable=True)
    world.take()
    world.done = len(world.effects)
    return world


def ending() -> World:
    world = others_wait()
    world.core.close(world.now)
    world.take()
    return world


def being_closed() -> World:
    """One of two, and another one is gone; somebody waits for room, and somebody for a lease."""
    world = World(max_size=2, max_opening=1)
    world.lease(1)
    world.core.release(world.leases.pop(), world.now, reusable=False)
    world.take()
    world.carry_out()
    world.lease(2)
    world.core.release(world.leases.pop(), world.now, reusable=False)
    world.ask()
    world.ask(3.0)
    return world


def full() -> World:
    world = World(max_size=1, max_waiting=1)
    world.lease(1)
    world.ask(1.0)
    return world
