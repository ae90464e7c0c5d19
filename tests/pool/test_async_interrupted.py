"""Ctrl-C at every moment in the event loop's thread: an asyncio pool goes on serving.

Each story is struck at each of the moments at which Python looks for a signal within pgwire's own
code, one after the other, and goes on in the same loop. Afterwards all who had asked have an
answer or an error, nothing is out that nobody has, and the pool serves, and ends.
"""

from __future__ import annotations

import asyncio
import gc
import logging
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.answering import SLOW, World
from tests.support import heap
from tests.support.striking import Interrupted, StrikeAnywhere, strike_with
from tests.support.virtual_loop import VirtualLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from types import FrameType

    Work = Callable[["Story"], Coroutine[Any, Any, None]]

PACKAGE = Path(pgwire.__file__).parent
FILES = {
    part: frozenset(str(path) for path in (PACKAGE / part).glob("*.py")) for part in ("pool", "aio")
}
# Where Ctrl-C strikes what asyncio calls before it has done anything, nobody above it is ours. What
# is left undone then is a connection's: what came is not read, or what is to be written is not.
UNHEARD = {"data_received", "eof_received", "connection_lost", "resume_writing", "_flush", "_due"}
OURS = str(PACKAGE)
TIMES = 2  # that a story comes by a place
PATIENCE = 500.0  # seconds, which cost nothing

pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
]


class Story:
    """What is told in a loop of its own; `asked` are tasks and futures that are to have an end."""

    def __init__(self, patches: pytest.MonkeyPatch, **options: Any) -> None:
        self.loop = VirtualLoop()
        self.world = World()
        self.asked: list[asyncio.Future[Any]] = []
        self.served: list[int] = []

        async def make() -> pgwire.AsyncPool:
            return self.world.pool(patches, **options)

        self.pool = self.run(make())

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = self.loop.create_task(work)
        while True:
            with suppress(Interrupted):  # whoever waits for what was struck is told of it as well
                return self.loop.run_until_complete(task)

    def finish(self, main: asyncio.Task[None]) -> None:
        """Go on with what Ctrl-C has interrupted."""
        self.loop.call_soon(self.loop.stop)
        with suppress(Interrupted):
            self.loop.run_forever()  # what was to stop the loop before does so now
        if not main.done():
            self.run(asyncio.wait((main,), timeout=PATIENCE))

    def ask(self, asked: Awaitable[Any]) -> None:
        self.asked.append(asyncio.ensure_future(asked))

    async def lease(self, number: int, timeout: float | None = None) -> None:
        async with self.pool.connect(timeout=timeout) as lease:
            self.served.append(number)
            await lease.query("a")

    async def turns(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0)

    async def settle(self) -> None:
        """Everybody has an answer, or an error, and is gone; nobody has overtaken."""
        if self.asked:
            _, late = await asyncio.wait(self.asked, timeout=PATIENCE)
            assert not late, f"has heard nothing: {late}"
        for asked in self.asked:
            if not asked.cancelled():
                asked.exception()
        self.asked.clear()
        # News of grants may come late, and so those of several connections in another order.
        if self.pool.stats().max_size == 1:
            assert self.served == sorted(self.served), "somebody overtook"

    async def check(self) -> None:
        p = self.pool
        await self.turns()
        await asyncio.sleep(20)
        stats = p.stats()
        assert (stats.leased, stats.shared, stats.waiting) == (0, 0, 0), stats
        assert stats.size == stats.idle == len(self.world.wires), (stats, self.world.wires)
        assert stats.granted == stats.released, stats
        if not p._engine.core.ending:
            leases = [await p.connect(timeout=60) for _ in range(stats.max_size)]
            waiting = asyncio.ensure_future(self.lease(10**6, 60))
            await self.turns()
            for lease in leases:
                await lease.query("a")
                lease.release()
            await waiting
            await asyncio.gather(*[p.query("a") for _ in range(5)])
        await p.end(timeout=60)
        assert not p.total_count
        assert not self.world.wires
        assert not p._engine.wakers
        assert not p._engine.leases
        assert not p._engine.chores
        left = asyncio.all_tasks() - {asyncio.current_task()}
        assert not left

    def end(self) -> None:
        for wire in tuple(self.world.wires):
            wire.hang_up()
        self.loop.close()


class Strike(StrikeAnywhere):
    """At the next moment that was not `struck` yet, but for where nobody can hear of it.

    A place in the code is struck when a story comes by for the first time and for the second.
    """

    def __init__(self, files: frozenset[str], struck: Counter[tuple[int, int]]) -> None:
        super().__init__(0, files)
        self._struck = struck
        self._visits: Counter[tuple[int, int]] = Counter()

    def count(self, frame: FrameType) -> None:
        place = (id(frame.f_code), frame.f_lasti)
        self._visits[place] += 1
        if not self.at and self._struck[place] < min(self._visits[place], TIMES):
            self._struck[place] += 1
            super().count(frame)

    def enter(self, frame: FrameType) -> None:
        caller = frame.f_back
        by_us = caller is not None and caller.f_code.co_filename.startswith(OURS)
        if by_us or frame.f_code.co_name not in UNHEARD:
            super().enter(frame)


@pytest.fixture(autouse=True, scope="module")
def _young_garbage_only() -> None:
    """The collector has nothing to look for in what was there before."""
    heap.set_aside()


STORIES: dict[str, tuple[Work, dict[str, Any], Work | None]] = {}


def story(before: Work | None = None, **options: Any) -> Callable[[Work], Work]:
    def note(work: Work) -> Work:
        STORIES[work.__name__] = work, {"max_size": 1, **options}, before
        return work

    return note


async def warm(story: Story) -> None:
    p = story.pool
    leases = [await p.connect() for _ in range(p.stats().max_size)]
    for lease in leases:
        lease.release()


@story(warm)
async def a_lease_at_once(story: Story) -> None:
    await story.lease(0)


@story()
async def a_lease_that_has_one_opened(story: Story) -> None:
    await story.lease(0)


@story(warm)
async def leases_in_turn(story: Story) -> None:
    for number in range(4):
        story.ask(story.lease(number))
    await asyncio.wait(story.asked)


@story(warm)
async def released_by_hand(story: Story) -> None:
    async with story.pool.connect() as lease:
        story.ask(story.lease(0))
        await story.turns()
        lease.release()
        await asyncio.wait(story.asked)


@story(warm)
async def released_while_something_is_under_way(story: Story) -> None:
    async with story.pool.connect() as lease:
        story.ask(lease.query(SLOW))
        story.ask(story.lease(0))
        await story.turns()
    await asyncio.wait(story.asked)


@story(warm)
async def released_with_something_to_clean(story: Story) -> None:
    for number in range(2):
        async with story.pool.connect() as lease:
            await lease.query("set a to b")
        await story.lease(number)


@story(warm, max_size=2)
async def queries_in_turn(story: Story) -> None:
    for _ in range(6):
        story.ask(story.pool.query("a"))
    await asyncio.wait(story.asked)


@story(warm, max_size=2)
async def queries_that_run_out_of_time(story: Story) -> None:
    for number in range(4):
        story.ask(story.pool.query(SLOW, timeout=0.5 + number / 4))
    await asyncio.wait(story.asked)


@story(warm, max_size=2, max_pipeline=4)
async def shared_queries(story: Story) -> None:
    for _ in range(2):
        await story.pool.query("select 1")
    for _ in range(10):
        story.ask(story.pool.query("select 1"))
    await asyncio.wait(story.asked)


@story(warm)
async def leases_that_time_out(story: Story) -> None:
    async with story.pool.connect():
        for number in range(3):
            story.ask(story.lease(number, timeout=1.0 + number))
        await asyncio.sleep(2.5)
    with suppress(pgwire.PoolTimeout):
        await story.lease(3, timeout=0)
    await asyncio.wait(story.asked)


@story(warm)
async def who_waits_is_cancelled(story: Story) -> None:
    async with story.pool.connect():
        for number in range(3):
            story.ask(story.lease(number))
            story.ask(story.pool.query("a"))
        await story.turns()
        for asked in (*story.asked[:2], story.asked[-1]):
            asked.cancel()
        await story.turns()
    await asyncio.wait(story.asked)


@story(warm, max_size=2)
async def queries_that_are_cancelled(story: Story) -> None:
    for _ in range(4):
        story.ask(story.pool.query(SLOW))
    await story.turns()
    for asked in story.asked[::2]:
        asked.cancel()
    await asyncio.wait(story.asked)


@story(max_size=3, min_size=1, idle_timeout=1.5, max_lifetime=3.0)
async def time_passes(story: Story) -> None:
    await story.pool.wait()
    leases = [await story.pool.connect() for _ in range(3)]
    for lease in leases:
        lease.release()
    await asyncio.sleep(4)


@story(warm, check_after=1.0)
async def one_that_has_idled_is_checked(story: Story) -> None:
    await asyncio.sleep(10)
    await story.lease(0)


@story(warm, max_size=2)
async def all_is_made_anew(story: Story) -> None:
    story.pool.expire()
    story.pool.resize(1, 3)
    for number in range(4):
        story.ask(story.lease(number))
    await asyncio.wait(story.asked)


@story(warm, max_size=2)
async def connections_are_lost(story: Story) -> None:
    async with story.pool.connect() as lease:
        story.ask(lease.query(SLOW))
        await story.turns()
        for wire in tuple(story.world.wires):
            wire.hang_up()
        await asyncio.wait(story.asked)
    await story.lease(1)


@story(warm, max_size=2)
async def the_end(story: Story) -> None:
    for number in range(4):
        story.ask(story.lease(number))
    await story.turns()
    await story.pool.end()


@story(warm, max_size=2)
async def the_end_by_force(story: Story) -> None:
    async with story.pool.connect() as lease:
        story.ask(story.pool.query(SLOW))
        for number in range(2):
            story.ask(story.lease(number))
        await story.turns()
        with suppress(pgwire.PoolTimeout):
            await story.pool.end(timeout=0.1)
        with suppress(pgwire.Error):
            await lease.query("a")


async def hook(conn: pgwire.AsyncConnection) -> None:
    await conn.query("a")


@story(on_connect=hook)
async def connections_are_introduced(story: Story) -> None:
    await story.lease(0)


@story(warm, reset=hook)
async def connections_are_reset(story: Story) -> None:
    for number in range(2):
        story.ask(story.lease(number))
    await asyncio.wait(story.asked)


@story(warm)
async def somebody_listens_to_the_pool(story: Story) -> None:
    heard: list[object] = []

    async def hear(*what: object) -> None:
        heard.append(what)

    for event in ("connect", "acquire", "release", "remove", "query"):
        story.pool.on(event, heard.append)
    story.pool.on("release", hear)
    for number in range(2):
        story.ask(story.lease(number))
        story.ask(story.pool.query("a"))
    await asyncio.wait(story.asked)


def tell(
    name: str,
    files: frozenset[str],
    struck: Counter[tuple[int, int]],
    patches: pytest.MonkeyPatch,
) -> tuple[str, list[str]]:
    """Where it was struck, if it was; what went wrong then."""
    work, options, before = STORIES[name]
    told = Story(patches, **options)
    try:
        if before is not None:
            told.run(before(told))
        main = told.loop.create_task(work(told))
        strike = Strike(files, struck)
        with suppress(pgwire.Error):
            strike_with(strike, partial(told.loop.run_until_complete, main))
        where = strike.at
        try:
            told.finish(main)
            told.run(told.settle())
            del main, strike
            gc.collect()
            told.run(told.check())
        except (AssertionError, Exception) as error:
            return where, [f"{type(error).__name__}: {error}"]
        return where, []
    finally:
        with suppress(Exception):
            told.end()


@pytest.mark.parametrize("part", FILES)
@pytest.mark.parametrize("name", STORIES)
def test_a_pool_goes_on_wherever_it_is_struck(
    name: str, part: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    where, wrong = "somewhere", []
    struck: Counter[tuple[int, int]] = Counter()
    while where:
        where, found = tell(name, FILES[part], struck, monkeypatch)
        wrong += [f"{where}: {each}" for each in found]
    assert not wrong, f"{len(wrong)} of {struck.total()}:\n" + "\n".join(wrong)
    assert struck.total() > 20, "there are more such moments"
