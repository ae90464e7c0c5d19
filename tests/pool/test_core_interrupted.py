"""Ctrl-C at every moment within the pool's core: an input is done, or not done, or goes on later.

Each story ends in an input that is struck, at each of the moments at which Python looks for a
signal, one after the other. What a shell does then follows, and a tick. Afterwards the core must
be, to the last counter, as one that nobody has struck: as if the input had been, or as if not.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import ConnectionFailed, PoolClosed, PoolFull
from pgwire.pool import (
    backoff,
    core as core_module,
    deadlock,
    histogram,
    slots,
    supply,
    times,
    waiters,
)
from pgwire.pool.slots import (
    CHECKING,
    CLOSING,
    IDLE,
    LEASED,
    OPENING,
    RESETTING,
    Slot,
    SlotState,
)
from tests.pool.worlds import (
    World,
    all_dead_and_shared,
    backing_off,
    being_checked,
    being_closed,
    being_opened,
    being_opened_in_vain,
    deadlocked_but_for_me,
    empty,
    ending,
    full,
    granted_and_worn_out,
    granted_to_me,
    long_idle,
    many_have_left,
    noted,
    one_idle,
    one_of_them_dead,
    others_wait,
    share_granted_to_me,
    shared_by_three,
    shared_with_room,
    some_past_their_time,
    too_many,
)
from tests.support.striking import Interrupted, strike_anywhere

if TYPE_CHECKING:
    from collections.abc import Callable

CORE = frozenset(
    str(module.__file__)
    for module in (backoff, core_module, deadlock, histogram, slots, supply, times, waiters)
)


@dataclass
class Story:
    """`act` is what is struck; `then` follows if it returns, and `struck` if it does not."""

    build: Callable[[], World]
    act: Callable[[World], Any]
    struck: Callable[[World], object]
    then: Callable[[World, Any], object] = lambda world, answer: None
    is_request: bool = False


STORIES: dict[str, Story] = {}

# Where it strikes in a generator that nobody wants any more, Python itself drops it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def tell(start: Callable[[], World], name: str, story: Story) -> None:
    STORIES[f"{start.__name__}: {name}"] = story


# What is struck


def tell_request(
    start: Callable[[], World],
    name: str,
    timeout: float | None = None,
    *,
    owner: object = "the one who is struck",
    shared: bool = False,
) -> None:
    """Whoever was struck wants nothing of what he has got."""

    def act(world: World) -> Any:
        deadline = None if timeout is None else world.now + timeout
        try:
            return world.core.acquire(world.now, deadline, owner, shared)
        except (PoolClosed, PoolFull):
            return None

    def struck(world: World) -> None:
        world.undo(world.core.interrupted(owner, world.now))

    tell(start, name, Story(start, act, struck, World.undo, is_request=True))


def tell_release(start: Callable[[], World], name: str, **facts: Any) -> None:
    def build() -> World:
        world = start()
        world.mine = world.leases.pop(0)
        return world

    def act(world: World) -> None:
        world.core.release(world.mine, world.now, **facts)

    def struck(world: World) -> None:
        """Whoever cannot be sure has it closed, if it is still out."""
        if world.mine.state is LEASED and world.mine.uses == 1:
            world.core.release(world.mine, world.now, reusable=False)

    tell(start, name, Story(build, act, struck))


def tell_leaving(start: Callable[[], World], number: int) -> None:
    def act(world: World) -> None:
        world.core.abandon(world.waiters[number], world.now)

    tell_order(start, f"leaving ({number})", act)


def tell_order(start: Callable[[], World], name: str, act: Callable[[World], Any]) -> None:
    """Whoever is struck asks for it again: to leave the queue, the pool's end, the time."""
    tell(start, name, Story(start, act, act))


def tell_report(
    start: Callable[[], World],
    name: str,
    state: SlotState,
    report: Callable[[World, Slot[int]], None],
) -> None:
    """What has become of a connection; told again as long as it has not been heard."""
    for number, slot in enumerate(start().slots):
        if slot.state is state:

            def act(world: World, number: int = number) -> None:
                if world.slots[number].state is state:
                    report(world, world.slots[number])

            tell_order(start, f"{name} ({number})", act)


for start in (
    *(empty, one_idle, one_of_them_dead, some_past_their_time, long_idle, others_wait, noted),
    *(many_have_left, shared_by_three, deadlocked_but_for_me, too_many, backing_off, ending, full),
):
    tell_request(start, "a request")
    tell_request(start, "a request with a deadline", 2.0)
    tell_request(start, "now or never", 0.0)
for start in (empty, all_dead_and_shared, shared_by_three, shared_with_room, ending):
    tell_request(start, "a request that shares", owner=object(), shared=True)

for start in (others_wait, noted, deadlocked_but_for_me, too_many, ending, many_have_left):
    tell_release(start, "a release")
    tell_release(start, "a release that closes", reusable=False)
    tell_release(start, "a release that resets", reset=True, alive=True)

for start, number in (
    *((granted_to_me, 1), (granted_to_me, 2), (granted_and_worn_out, 1), (share_granted_to_me, 1)),
    *((others_wait, 4), (noted, 3), (many_have_left, 4), (shared_by_three, 4), (ending, 5)),
):
    tell_leaving(start, number)


for start in (
    *(being_opened, being_opened_in_vain, being_checked, one_idle, ending, empty, being_closed),
):
    for name, state, report in (
        ("opened", OPENING, lambda w, slot: w.core.opened(slot, 9, w.now)),
        ("checked", CHECKING, lambda w, slot: w.core.checked(slot, w.now, ok=True)),
        ("check failed", CHECKING, lambda w, slot: w.core.checked(slot, w.now, ok=False)),
        ("reset", RESETTING, lambda w, slot: w.core.reset_done(slot, w.now, ok=True)),
        ("reset failed", RESETTING, lambda w, slot: w.core.reset_done(slot, w.now, ok=False)),
        ("lost", IDLE, lambda w, slot: w.core.lost(slot, w.now)),
        ("closed", CLOSING, lambda w, slot: w.core.closed(slot, w.now)),
    ):
        tell_report(start, name, state, report)
    tell_report(
        start,
        "open failed",
        OPENING,
        lambda w, slot: w.core.open_failed(slot, ConnectionFailed("no"), w.now, mendable=False),
    )
    tell_report(
        start,
        "open failed, for a while",
        OPENING,
        lambda w, slot: w.core.open_failed(slot, ConnectionFailed("no"), w.now, mendable=True),
    )

for start in (
    *(one_of_them_dead, some_past_their_time, long_idle, others_wait, noted, many_have_left),
    *(shared_by_three, granted_to_me, being_opened, being_checked, deadlocked_but_for_me),
    *(too_many, backing_off, ending, full, all_dead_and_shared, being_closed),
):
    tell_order(start, "the time", lambda w: w.core.tick(w.now))
    tell_order(start, "the end", lambda w: w.core.close(w.now))
    tell_order(start, "the end by force", lambda w: w.core.abort(w.now))
    tell_order(start, "expire", lambda w: w.core.expire(w.now))
    tell_order(start, "one at most", lambda w: w.core.resize(0, 1, w.now))
    tell_order(start, "four at least", lambda w: w.core.resize(4, 4, w.now))


def how_it_ends(story: Story, nth: int) -> tuple[str, World]:
    """Where it was struck, if it was, and what the world is like afterwards."""
    world, answers = story.build(), []
    moment = strike_anywhere(nth, lambda: answers.append(story.act(world)), CORE)
    if moment:
        story.struck(world)
    else:
        story.then(world, answers[0])
    return moment, later(world)


def later(world: World) -> World:
    world.take()
    world.tick()
    return world


def never_begun(story: Story) -> World:
    world = story.build()
    story.struck(world)
    return later(world)


@pytest.mark.parametrize("name", STORIES)
def test_an_input_is_done_or_not_done_wherever_it_is_struck(name: str) -> None:
    story = STORIES[name]
    nth, moment = 0, "somewhere"
    pictures = [never_begun(story).picture(), how_it_ends(story, 10**6)[1].picture()]
    while moment:
        moment, world = how_it_ends(story, nth)
        print("struck at", moment)  # the last is the culprit
        world.check(story.is_request)
        if not story.is_request:
            check_picture(world.picture(), pictures)
        world.end()
        nth += 1
    assert nth > 1, "there are more such moments"


@pytest.mark.parametrize("name", [name for name in STORIES if not STORIES[name].is_request])
def test_an_input_that_was_struck_need_not_be_repeated(name: str) -> None:
    """But for reports, of which each is about a connection, and the releases of leases."""
    story = STORIES[name]
    nth, moment = 0, "somewhere"
    while moment:
        world = story.build()
        moment = strike_anywhere(nth, lambda: story.act(world), CORE)  # noqa: B023
        print("struck at", moment)  # the last is the culprit
        later(world).check(0)
        nth += 1


def test_nobody_gets_a_connection_that_was_to_be_reset() -> None:
    """Where there were too many it became idle first, to be closed at once; Ctrl-C came between."""
    nth, moment = 0, "somewhere"
    while moment:
        world = World(max_size=2, max_opening=2)
        world.lease(1)
        world.lease(1)
        world.core.resize(0, 1, world.now)
        slot = world.leases.pop(0)
        release = world.core.release
        moment = strike_anywhere(nth, lambda: release(slot, world.now, reset=True), CORE)  # noqa: B023
        was_lent = slot.state is LEASED
        answer = world.core.acquire(world.now, world.now + 1)
        print("struck at", moment)
        assert was_lent or answer is not slot
        nth += 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="Windows has no such timers")
def test_signals_strike_where_this_python_looks_for_them() -> None:
    """The same with a timer in the place of a tracer, at random: it knows the moments best."""
    armed = False

    def strike(_signal: int, _frame: object) -> None:
        if armed:
            raise Interrupted

    dice, stories, hits = Random(7), [*STORIES.values()], 0
    before = signal.signal(signal.SIGALRM, strike)
    try:
        for _ in range(3000):
            story = dice.choice(stories)
            world, delay = story.build(), dice.uniform(1e-6, 60e-6)
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, delay)
                answer = story.act(world)
                armed = False
            except Interrupted:
                armed = False
                hits += 1
                story.struck(world)
            else:
                story.then(world, answer)
            later(world).check(story.is_request)
            world.end()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits > 100


def check_picture(picture: dict[str, Any], possible: list[dict[str, Any]]) -> None:
    """It is one of these; if not, in what it differs from the one that is most like it."""
    if picture not in possible:
        ought = min(possible, key=lambda other: sum(other[k] != picture[k] for k in picture))
        wrong = {key: (picture[key], ought[key]) for key in picture if picture[key] != ought[key]}
        pytest.fail(f"neither done nor not done: {wrong}")


def test_there_are_stories_of_every_state() -> None:
    states = {slot.state for story in STORIES.values() for slot in story.build().slots}
    assert states == {*SlotState}
