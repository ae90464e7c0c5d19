"""tests.support.virtual_loop: time that passes when nothing else is to be done."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.virtual_loop import Stuck, VirtualLoop, run


def test_an_hour_takes_no_time() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(main()) == 3600
    assert time.monotonic() - began < 20


def test_timers_run_in_their_order_and_at_their_time() -> None:
    seen: list[tuple[str, float]] = []

    async def sleep(name: str, *naps: float) -> None:
        for nap in naps:
            await asyncio.sleep(nap)
            seen.append((name, round(asyncio.get_running_loop().time(), 9)))

    async def main() -> None:
        await asyncio.gather(sleep("a", 0.3, 0.3), sleep("b", 0.1, 1000), sleep("c", 0.3))

    run(main())
    assert seen == [("b", 0.1), ("a", 0.3), ("c", 0.3), ("a", 0.6), ("b", 1000.1)]


def test_time_stands_still_while_somebody_is_busy() -> None:
    async def main() -> float:
        timer = asyncio.get_running_loop().call_later(1, int)
        for _ in range(1000):
            await asyncio.sleep(0)
        timer.cancel()
        return asyncio.get_running_loop().time()

    assert run(main()) == 0


def test_a_cancelled_timer_is_not_waited_for() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        loop.call_later(1, int).cancel()
        async with asyncio.timeout(5):
            await asyncio.sleep(2)
        return loop.time()

    assert run(main()) == 2


def test_a_timer_beyond_the_longest_wait_of_asyncio() -> None:
    async def main() -> float:
        await asyncio.sleep(1e9)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(1e9)


def test_what_nothing_can_wake_is_an_error() -> None:
    async def main() -> None:
        await asyncio.sleep(7)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match="at 7 s"):
        run(main())


def test_a_call_from_another_thread_is_heard() -> None:
    async def main() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon_threadsafe(future.set_result, "heard")
        return str(await future)

    assert run(main()) == "heard"


def test_it_is_closed_like_any_other() -> None:
    loop = VirtualLoop()
    loop.run_until_complete(asyncio.sleep(1))
    loop.close()
    assert loop.is_closed()
