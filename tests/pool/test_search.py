"""Every story of a small pool: all inputs in all orders, to a depth that takes a few seconds.

Breadth first, so the first story that breaks an invariant is among the shortest. Two stories that
lead to the same state are continued once: the state is everything that the future depends on,
with times counted from now.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.slots import SlotState
from tests.pool.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    from pgwire.pool.slots import Slot

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState

MOST_REQUESTS = 3
LONG = 60.0  # seconds: longer than any time in the pools below, so longer makes no difference

# One input: its name, which of the slots or waiters it is about, and how.
Input = tuple[str, int, Any]


def possible(sim: Simulation) -> Iterator[Input]:
    """All inputs that make sense now."""
    if sim.count["requests"] < MOST_REQUESTS:
        yield "acquire", 0, (0.0, None)
        yield "acquire", 0, (1.0, None)
        for owner in ("ann", "bob"):
            if owner not in sim.who_waits():
                yield "acquire", 0, (None, owner)
            if owner not in sim.owners.values():
                break  # until now it makes no difference which of them it is
        if sim.config.max_pipeline > 1:
            yield "share", 0, 0.0
            yield "share", 0, 1.0
            yield "share", 0, None
    for index in range(len(sim.queue) + len(sim.granted)):
        yield "abandon", index, None
    for index, slot in enumerate(sim.slots):
        for outcome in OUTCOMES.get(slot.state, ()):
            yield outcome[0], index, outcome[1]
    if sim.late:
        yield "release late", 0, None
    yield "wait", 0, None
    yield "wait a minute", 0, None
    yield "expire", 0, None
    if sim.config.max_size > 1:
        yield "shrink", 0, None
    if not sim.ending:
        yield "close", 0, None
    if not sim.aborted:
        yield "abort", 0, None


OUTCOMES: dict[SlotState, tuple[tuple[str, object], ...]] = {
    OPENING: (("opened", None), ("open_failed", True), ("open_failed", False)),
    CHECKING: (("checked", True), ("checked", False)),
    RESETTING: (("reset_done", True), ("reset_done", False)),
    CLOSING: (("closed", None),),
    LEASED: (("release", "good"), ("release", "reset"), ("release", "broken")),
    SHARED: (("release", "good"), ("release", "reset"), ("release", "broken")),
    IDLE: (("lost", None), ("kill", None)),
}


def apply(sim: Simulation, step: Input) -> None:
    """Give the pool one input."""
    name, index, how = step
    if name == "acquire":
        sim.acquire(*how)
    elif name == "share":
        sim.acquire(how, shared=True)
    elif name == "abandon":
        sim.abandon((sim.queue + sim.granted)[index])
    elif name.startswith("wait"):
        due = sim.core.next_deadline()
        sim.advance(LONG if name == "wait a minute" or due is None else max(0.0, due - sim.now))
        sim.tick()
    elif name in ("expire", "close", "abort"):
        getattr(sim, name)()
    elif name == "shrink":
        sim.resize(0, sim.config.max_size - 1)
    elif name == "release late":
        sim.release(sim.late[0])
    else:
        apply_to_slot(sim, sim.slots[index], name, how)


def apply_to_slot(sim: Simulation, slot: Slot[int], name: str, how: object) -> None:
    if name == "release":
        for waiter in sim.granted:
            if waiter.slot is slot:
                sim.take(waiter)
                break
        sim.release(slot, reusable=how != "broken", reset=how == "reset")
    elif name in ("opened", "closed", "lost", "kill"):
        getattr(sim, name)(slot)
    elif name == "open_failed":
        sim.open_failed(slot, mendable=how is True)
    else:
        getattr(sim, name)(slot, ok=how)


def fingerprint(sim: Simulation) -> Hashable:
    """Two pools with the same fingerprint behave the same from now on.

    Who owns what matters, but not what they are called.
    """
    model, now = sim.model, sim.now
    new_names = count()
    names: defaultdict[Hashable, int | None] = defaultdict(lambda: next(new_names), {None: None})
    connections = tuple(
        (
            *(
                names[c.owner if c.state == "leased" else None],
                c.state,
                c.started < now,
                c.expires - now,
                c.uses,
                c.number in sim.dead,
            ),
            min(now - c.idle_since, LONG) if c.state == "idle" else None,
            (len(c.users), min(now - c.busy_since, LONG), c.broken, c.soiled) if c.users else None,
        )
        for c in model.connections
    )
    places = {c.number: place for place, c in enumerate(model.connections)}
    return (
        connections,
        tuple(places[c.number] for c in model.idle),
        tuple(places[c.number] for c in model.shared),
        tuple(
            (names[w.owner], w.shared, None if w.deadline is None else w.deadline - now)
            for w in sim.queue
        ),
        tuple(places.get(sim.numbers[w.slot]) for w in sim.granted if w.slot is not None),
        len(sim.late),
        (sim.config.max_size, sim.ending, sim.aborted, sim.count["requests"]),
        (model.pause, max(model.retry_at - now, 0.0), max(model.next_look - now, 0.0)),
        (sim.core._restless, sim.core._retry_wanted, sim.core._backoff.last_error is None),
        sim.core.next_deadline() is None,
    )


def search(config: PoolConfig, depth: int, core: type[PoolCore[int]] = PoolCore) -> int:
    """Look at every story of at most `depth` inputs; the number of different states seen."""
    seen: set[Hashable] = set()
    stories: list[tuple[tuple[Input, ...], tuple[Input, ...]]] = [
        ((), tuple(possible(Simulation(config, core))))
    ]
    for _ in range(depth):
        longer = []
        for story, steps in stories:
            for step in steps:
                sim = retell(config, story, core)
                sim.watched = True
                try:
                    apply(sim, step)
                except AssertionError as broken:
                    raise AssertionError(f"{broken}, after {[*story, step]}") from broken
                state = fingerprint(sim)
                if state not in seen:
                    seen.add(state)
                    longer.append(((*story, step), tuple(possible(sim))))
        stories = longer
    return len(seen)


def retell(config: PoolConfig, story: tuple[Input, ...], core: type[PoolCore[int]]) -> Simulation:
    """A pool to which all of this has happened; it has been watched before."""
    sim = Simulation(config, core)
    sim.watched = False
    for step in story:
        apply(sim, step)
    return sim


SMALL_POOLS = {
    "one connection": (PoolConfig(max_size=1, max_lifetime=None), 6),
    "two connections": (PoolConfig(max_size=2, max_lifetime=None), 5),
    "a floor, and one opening at a time": (
        PoolConfig(min_size=1, max_size=2, max_opening=1, max_lifetime=100.0, idle_timeout=1.0),
        5,
    ),
    "always checked, used twice": (PoolConfig(max_size=1, check_after=0.0, max_uses=2), 5),
    "two share": (PoolConfig(max_size=1, max_pipeline=2, max_lifetime=None), 5),
    "two share each of two, three times in all": (
        PoolConfig(max_size=2, max_pipeline=2, max_lifetime=None, max_uses=3),
        4,
    ),
    "one waits, used once": (PoolConfig(max_size=1, max_waiting=1, max_uses=1), 6),
}


@pytest.mark.slow
@pytest.mark.parametrize(("config", "depth"), SMALL_POOLS.values(), ids=SMALL_POOLS.keys())
def test_every_story_of_a_small_pool_keeps_the_invariants(config: PoolConfig, depth: int) -> None:
    assert search(config, depth) > 500


def test_the_search_finds_a_short_story_for_a_fault() -> None:
    class Forgetful(PoolCore[int]):
        def closed(self, slot: Slot[int], now: float) -> None:
            self._slots.move(slot, CLOSED)
            self._count.closed += 1

    # Two requests, one opening, one broken return, one close: no shorter story shows it.
    with pytest.raises(AssertionError, match="after") as failure:
        search(PoolConfig(max_size=1), 5, Forgetful)
    assert str(failure.value).count("('") == 5


def test_the_search_finds_a_deadlock_that_a_failed_opening_completes() -> None:
    class Trusting(PoolCore[int]):
        def open_failed(
            self, slot: Slot[int], error: Exception, now: float, *, mendable: bool
        ) -> None:
            self._break_deadlock = lambda: None  # type: ignore[method-assign]
            super().open_failed(slot, error, now, mendable=mendable)
            del self._break_deadlock

    # Ann has a connection and waits for another, which is being opened; there is to be one only;
    # the opening fails.
    with pytest.raises(AssertionError, match=r"deadlock|I-36|queue is wrong") as failure:
        search(PoolConfig(max_size=2), 5, Trusting)
    assert str(failure.value).count("'shrink'") == 1
    assert str(failure.value).count("'open_failed'") == 1
