"""The asyncio pool in virtual time, on made-up connections: what takes how long, exactly. I-39.

And the same scripts through the core alone, the blocking shell and the asyncio shell: who gets
what, when, and on which connection, is the same in all three.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from itertools import zip_longest
from math import isclose
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.errors import ConnectionFailed, ProgrammingError
from tests.pool import interleavings
from tests.pool.made_up import World, clock, pool
from tests.pool.scripts import CLOSING, START, Opening, Outcome, Play, Request, Script, outcome
from tests.support import scheduler
from tests.support.virtual_loop import run

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from pgwire.protocol.operation import Operation


@pytest.fixture
def world() -> World:
    """Connects take 150 ms."""
    return World()


def now() -> float:
    """Milliseconds since the loop was made, to the nanosecond."""
    return round(asyncio.get_running_loop().time() * 1000, 6)


async def warm(p: pgwire.AsyncPool, number: int) -> None:
    leases = [await p.connect() for _ in range(number)]
    for lease in leases:
        lease.release()


# ------------------------------------------------------------------ how long it takes


def test_a_spike_opens_few_connections_and_loses_no_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """50 requests, 5 warm connections, 2 ms each: 20 ms, and none of the new ones is needed."""

    async def spike() -> tuple[float, int]:
        async with pool(world, monkeypatch, max_size=50, max_opening=3) as p:
            await warm(p, 5)
            begun, opened = now(), world.attempts
            await asyncio.gather(*[p.query("0.002") for _ in range(50)])
            return round(now() - begun, 6), world.attempts - opened

    assert run(spike()) == (20.0, 3)


@pytest.mark.parametrize("kind", ["lease", "query"])
def test_time_outs_are_exact(world: World, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """I-14: whatever happens meanwhile, failed openings and releases to others among it."""

    async def ask(timeout: float) -> float:
        p = pools[0]
        asking = p.connect(timeout=timeout) if kind == "lease" else p.query("0", timeout=timeout)
        with pytest.raises(pgwire.PoolTimeout):
            await asking
        return now()

    async def main() -> list[float]:
        p = pool(world, monkeypatch, max_size=1)
        pools.append(p)
        held = await p.connect()
        begun = now()
        asked = [asyncio.ensure_future(ask(t / 1000)) for t in (50, 30, 40, 0, 10)]
        ended = await asyncio.gather(*asked)
        held.release()
        await p.end()
        return [round(end - begun, 6) for end in ended]

    pools: list[pgwire.AsyncPool] = []
    assert run(main()) == [50, 30, 40, 0, 10]


def test_a_time_out_comes_before_a_release_of_the_same_instant(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-14: never granted at the deadline or after it."""

    async def main() -> None:
        async with pool(world, monkeypatch, max_size=1) as p:
            held = await p.connect()
            asyncio.get_running_loop().call_later(0.05, held.release)
            with pytest.raises(pgwire.PoolTimeout):
                await p.connect(timeout=0.05)

    run(main())


def test_what_waits_is_bounded_by_who_is_ahead(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-8: 100 tasks on 10 connections, 5 ms each: nobody waits for longer than his turn."""

    async def main() -> list[float]:
        async with pool(world, monkeypatch, max_size=10, max_opening=10) as p:
            await warm(p, 10)
            begun = now()

            async def ask() -> float:
                await p.query("0.005")
                return round(now() - begun, 6)

            return await asyncio.gather(*[asyncio.ensure_future(ask()) for _ in range(100)])

    assert run(main()) == [5.0 * (1 + number // 10) for number in range(100)]


def test_back_off_grows_and_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """I-13: so many attempts in five seconds, however many wait."""

    async def main(waiting: int) -> int:
        world = World(lambda _: Opening(0.001, ConnectionFailed("nobody is there")))
        p = pool(world, monkeypatch, max_size=10, max_opening=1, checkout_timeout=5.0)
        futures = [p.query("0") for _ in range(waiting)]
        found = await asyncio.gather(*futures, return_exceptions=True)
        assert {type(error) for error in found} == {pgwire.PoolTimeout}
        attempts = world.attempts
        await p.end()
        return attempts

    assert run(main(1)) == run(main(50))
    assert 5 < run(main(1)) < 20


def test_idle_connections_go_in_time_and_the_floor_stays(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-27."""

    async def main() -> None:
        async with pool(world, monkeypatch, max_size=5, min_size=2, idle_timeout=60) as p:
            await warm(p, 5)
            await asyncio.sleep(59)
            assert p.idle_count == 5
            await asyncio.sleep(3)
            assert p.idle_count == 2
            await asyncio.sleep(86_400)
            assert p.idle_count == 2

    run(main())


def test_a_pool_that_is_idle_has_nothing_to_do(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One look a second at idle connections, and nothing where there are none."""

    async def main() -> None:
        async with pool(world, monkeypatch, max_size=1, max_uses=1) as p:
            await p.query("0")
            await asyncio.sleep(CLOSING * 2)
            assert p.total_count == 0
            assert p._engine.keeper._timer is None

    run(main())


def test_checkouts_leave_the_timer_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was set anew for each, which took longer than all the rest."""

    async def main() -> None:
        async with pool(world, monkeypatch, max_size=1) as p:
            await p.query("0")
            timer = p._engine.keeper._timer
            assert timer is not None
            for _ in range(3):
                (await p.connect()).release()
            assert p._engine.keeper._timer is timer

    run(main())


def test_leaks_are_reported_in_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """I-38: within a second of the limit."""

    async def main() -> list[float]:
        told: list[float] = []
        async with pool(world, monkeypatch, max_size=1, leak_after=10) as p:
            p.on("leak", lambda _conn: told.append(now()))
            async with p.connect():
                begun = now()
                await asyncio.sleep(60)
        return [round(when - begun) for when in told]

    (told,) = run(main())
    assert 10_000 <= told <= 11_000


# ------------------------------------------------------------------ the same script in both shells


def on_asyncio(script: Script) -> list[Outcome]:
    world = World(script.opening)
    with pytest.MonkeyPatch.context() as patches:
        return run(_on_asyncio(script, world, patches))


async def _on_asyncio(script: Script, world: World, patches: pytest.MonkeyPatch) -> list[Outcome]:
    trace: list[Outcome] = []
    p = pool(world, patches, checkout_timeout=script.checkout_timeout, **script.options)

    def note(request: Request, what: str, connection: int = 0) -> None:
        trace.append(outcome(request.number, what, clock(), connection))

    async def lease(request: Request) -> None:
        await asyncio.sleep(request.at)
        try:
            conn = await p.connect(timeout=request.timeout)
        except pgwire.Error as error:
            note(request, type(error).__name__)
            return
        note(request, "granted", conn._driver.number)  # type: ignore[attr-defined]
        await asyncio.sleep(request.holds)
        conn.release(discard=request.discards)

    async def query(request: Request) -> None:
        await asyncio.sleep(request.at)
        future = p.query(str(request.holds))
        if request.cancelled_at is not None:
            loop = asyncio.get_running_loop()
            loop.call_at(request.cancelled_at, lambda: p_cancel(p, future))
        try:
            number: Any = await future
        except asyncio.CancelledError:
            note(request, "cancelled")
        except pgwire.Error as error:
            note(request, type(error).__name__)
        else:  # it was granted when it began
            when = clock() - request.holds
            trace.append(outcome(request.number, "granted", when, number))

    async def order(at: float, what: str, arguments: tuple[int, ...]) -> None:
        await asyncio.sleep(at)
        getattr(p, what)(*arguments)

    async def end() -> None:
        await asyncio.sleep(script.ends_at)
        await p.end()
        trace.append(outcome(-1, "ended", clock()))

    work: list[Coroutine[Any, Any, None]] = [end(), *[order(*each) for each in script.orders]]
    work += [query(each) if each.is_query else lease(each) for each in script.requests]
    await asyncio.gather(*work)
    assert not asyncio.all_tasks() - {asyncio.current_task()}
    return sorted(trace)


def p_cancel(p: pgwire.AsyncPool, future: asyncio.Future[Any]) -> None:
    """As a submitted query's: only while it waits in the queue."""
    if future in p._engine.wakers.values():
        future.cancel()


class ScriptWorld(interleavings.World):
    """The blocking pool's, where openings, queries and closings take their time."""

    def __init__(self, turns: scheduler.Scheduler, script: Script) -> None:
        super().__init__(turns)
        self.script = script
        self.attempts = 0

    def sleep(self, seconds: float) -> None:
        self.scheduler.wait("sleep", "", lambda: False, seconds)

    def open(self, timeout: float) -> interleavings.FakeDriver:
        opening = self.script.opening(self.attempts)
        self.attempts += 1
        number = self.attempts
        self.sleep(opening.takes)
        if opening.error is not None:
            raise opening.error
        self.connections += 1
        return ScriptDriver(self, number)


class ScriptDriver(interleavings.FakeDriver):
    world: ScriptWorld

    def __init__(self, world: ScriptWorld, number: int) -> None:
        super().__init__(world)
        self.number = number

    def run(self, operation: Operation, timeout: float | None = None) -> Any:
        begun = self.world.scheduler.now
        self.world.sleep(float(operation.sql))
        operation.result = self.number, begun
        return operation.result

    def close(self) -> None:
        self.world.sleep(CLOSING)
        super().close()


def on_threads(script: Script) -> list[Outcome]:
    trace: list[Outcome] = []

    def play(turns: scheduler.Scheduler) -> None:
        made = ScriptWorld(turns, script)
        with ExitStack() as stack:
            for module, name, model in list(interleavings.stand_ins(turns, made)):
                stack.callback(setattr, module, name, getattr(module, name))
                setattr(module, name, model)
            _Threads(made, trace).run()

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(scheduler, "_MOST_MOMENTS", 10_000)
        scheduler.replay(play, [], preemptions=0)
    return sorted(trace)


class _Threads:
    """A script on the blocking pool: each request in a thread, on the scheduler's time."""

    def __init__(self, world: ScriptWorld, trace: list[Outcome]) -> None:
        self.world = world
        self.script = world.script
        self.scheduler = world.scheduler
        self.trace = trace

    def run(self) -> None:
        script, world = self.script, self.world
        self.pool = world.make_pool(checkout_timeout=script.checkout_timeout, **script.options)
        threads = [
            self.scheduler.spawn(self.query if request.is_query else self.lease, request)
            for request in script.requests
        ]
        threads += [self.scheduler.spawn(self.order, *order) for order in script.orders]
        threads.append(self.scheduler.spawn(self.end))
        for thread in threads:
            thread.join()

    def until(self, at: float) -> None:
        self.world.sleep(START + at - self.scheduler.now)

    def note(self, request: Request, what: str, when: float, connection: int = 0) -> None:
        self.trace.append(outcome(request.number, what, when, connection))

    def lease(self, request: Request) -> None:
        self.until(request.at)
        try:
            conn: Any = self.pool.connect(timeout=request.timeout)
        except pgwire.Error as error:
            self.note(request, type(error).__name__, self.scheduler.now)
            return
        self.note(request, "granted", self.scheduler.now, conn._driver.number)
        self.world.sleep(request.holds)
        conn.release(discard=request.discards)

    def query(self, request: Request) -> None:
        self.until(request.at)
        future: Future[Any] = self.pool.submit(str(request.holds))
        ended: list[float] = []
        future.add_done_callback(lambda _: ended.append(self.scheduler.now))
        if request.cancelled_at is not None:
            self.until(request.cancelled_at)
            future.cancel()
        self.scheduler.wait("result", "", lambda: bool(ended), None)
        try:
            number, begun = future.result(0)
        except CancelledError:
            self.note(request, "cancelled", ended[0])
        except pgwire.Error as error:
            self.note(request, type(error).__name__, ended[0])
        else:
            self.note(request, "granted", begun, number)

    def order(self, at: float, what: str, arguments: tuple[int, ...]) -> None:
        self.until(at)
        getattr(self.pool, what)(*arguments)

    def end(self) -> None:
        self.until(self.script.ends_at)
        self.pool.end()


SEEDS = range(150)


def same(one: Outcome | None, other: Outcome | None) -> bool:
    """But for what is lost in the sums of times."""
    if one is None or other is None:
        return False
    return one[:2] == other[:2] and one[3] == other[3] and isclose(one[2], other[2], abs_tol=1e-5)


def compare(one: Sequence[Outcome], other: Sequence[Outcome], seed: int) -> None:
    different = [pair for pair in zip_longest(one, other) if not same(*pair)]
    assert not different, f"script {seed}: {different}"


def test_the_asyncio_shell_does_what_the_core_does() -> None:
    for seed in SEEDS:
        script = Script(seed)
        compare(Play(script).run(), on_asyncio(script), seed)


@pytest.mark.slow
def test_the_blocking_shell_does_what_the_core_does() -> None:
    """But for when it looks at idle connections, which is once a second in its own time."""
    for seed in SEEDS:
        # When `end` returns depends on threads, which it waits for.
        script = Script(seed, ageing=False)
        played = [each for each in Play(script).run() if each[1] != "ended"]
        compare(played, on_threads(script), seed)


def test_the_scripts_have_everything_in_them() -> None:
    """Else equal traces would not say much."""
    outcomes = [each for seed in SEEDS for each in Play(Script(seed)).run()]
    number = {what: sum(o[1] == what for o in outcomes) for what in {o[1] for o in outcomes}}
    assert number.keys() == {
        *("granted", "PoolTimeout", "PoolFull", "PoolClosed", "cancelled", "ended"),
        ProgrammingError.__name__,
    }
    assert min(number.values()) >= 10, number
