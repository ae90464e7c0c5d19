"""Deadlines: every item expires at its time, or never; one timer, and memory for the living."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from pgwire.aio.deadlines import Deadlines
from tests.support.virtual_loop import in_virtual_time


def now() -> float:
    return asyncio.get_running_loop().time()


def made() -> tuple[Deadlines, list[tuple[float, object]]]:
    """Deadlines that note when something expired, and what."""
    expired: list[tuple[float, object]] = []
    loop = asyncio.get_running_loop()
    return Deadlines(loop, lambda item: expired.append((now(), item))), expired


@in_virtual_time
async def test_each_expires_at_its_time() -> None:
    deadlines, expired = made()
    for when in (3, 1, 2, 1):
        deadlines.add(when, f"at {when}")
    await asyncio.sleep(10)
    assert expired == [(1, "at 1"), (1, "at 1"), (2, "at 2"), (3, "at 3")]


@in_virtual_time
async def test_what_is_removed_never_does() -> None:
    deadlines, expired = made()
    entries = [deadlines.add(when, when) for when in (1, 2, 3)]
    deadlines.remove(entries[0])
    deadlines.remove(entries[0])
    await asyncio.sleep(2)
    deadlines.remove(entries[1])  # it is too late for that, and does no harm
    deadlines.remove(entries[2])
    await asyncio.sleep(5)
    assert expired == [(2, 2)]


@in_virtual_time
async def test_an_earlier_one_that_comes_later() -> None:
    deadlines, expired = made()
    deadlines.add(100, "late")
    await asyncio.sleep(1)
    deadlines.add(1, "early")
    deadlines.add(-0.5, "gone already")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert expired == [(1, "gone already")]
    await asyncio.sleep(200)
    assert expired[1:] == [(2, "early"), (100, "late")]


@in_virtual_time
async def test_what_expires_may_add_and_remove() -> None:
    loop = asyncio.get_running_loop()
    expired: list[object] = []

    def expire(item: object) -> None:
        expired.append(item)
        if item == "first":
            deadlines.remove(second)
            deadlines.add(0, "at once")
            deadlines.add(1, "last")

    deadlines = Deadlines(loop, expire)
    deadlines.add(1, "first")
    second = deadlines.add(1, "second")
    await asyncio.sleep(5)
    assert expired == ["first", "at once", "last"]


@in_virtual_time
async def test_an_earlier_one_is_not_forgotten_for_one_that_comes_meanwhile() -> None:
    deadlines = Deadlines(asyncio.get_running_loop(), lambda item: expire(item))
    expired: list[tuple[float, object]] = []

    def expire(item: object) -> None:
        expired.append((now(), item))
        if item == "first":
            deadlines.add(99, "last")

    deadlines.add(1, "first")
    deadlines.add(2, "second")
    await asyncio.sleep(200)
    assert expired == [(1, "first"), (2, "second"), (100, "last")]


@in_virtual_time
async def test_one_timer_serves_all_that_end_before_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = asyncio.get_running_loop()
    timers: list[float] = []
    call_at = loop.call_at

    def noted(when: float, *args: Any, **keywords: Any) -> asyncio.TimerHandle:
        timers.append(when)
        return call_at(when, *args, **keywords)

    deadlines, expired = made()
    monkeypatch.setattr(loop, "call_at", noted)
    for _ in range(100):
        deadlines.remove(deadlines.add(10, "short"))
    assert timers == [10]
    await asyncio.sleep(4)
    late = deadlines.add(10, "late")
    await asyncio.sleep(7)
    assert timers == [10, 4, 11, 14]  # 4 and 11 are the test's
    deadlines.remove(late)
    await asyncio.sleep(10)
    assert timers == [10, 4, 11, 14, 21]  # nothing to wait for, and no timer
    assert expired == []


@in_virtual_time
async def test_a_timer_that_was_dropped_is_set_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C may strike as the loop calls it."""
    loop = asyncio.get_running_loop()
    call_at = loop.call_at
    deadlines, expired = made()
    with monkeypatch.context() as patched:
        patched.setattr(loop, "call_at", lambda when, _callback: call_at(when, int))
        deadlines.add(1, "forgotten")
    await asyncio.sleep(3)
    assert expired == []
    deadlines.add(2, "next")
    await asyncio.sleep(5)
    assert expired == [(3, "forgotten"), (5, "next")]


@in_virtual_time
async def test_nothing_is_left_at_the_end() -> None:
    deadlines, _ = made()
    for entry in [deadlines.add(1000, n) for n in range(100)]:
        deadlines.remove(entry)
    assert deadlines._entries == []
    deadlines.end()
    assert deadlines._timer is None


@in_virtual_time
async def test_memory_follows_the_living() -> None:
    deadlines, expired = made()
    deadlines.add(5000, "one that stays")
    for _ in range(10_000):
        deadlines.remove(deadlines.add(1000, "short"))
    assert len(deadlines._entries) < 100
    await asyncio.sleep(6000)
    assert expired == [(5000, "one that stays")]


@pytest.mark.parametrize("seed", range(20))
@in_virtual_time
async def test_a_random_walk(seed: int) -> None:
    dice = random.Random(seed)
    deadlines, expired = made()
    living: dict[int, tuple[float, list[object]]] = {}
    expected: list[tuple[float, int]] = []
    for number in range(500):
        match dice.randrange(4):
            case 0 | 1:
                seconds = dice.randrange(100)
                living[number] = now() + seconds, deadlines.add(seconds, number)
            case 2 if living:
                _, entry = living.pop(dice.choice(list(living)))
                deadlines.remove(entry)
            case _:
                await asyncio.sleep(dice.randrange(5))
                for _ in range(3):
                    await asyncio.sleep(0)
                gone = [n for n, (when, _) in living.items() if when <= now()]
                expected += [(living.pop(n)[0], n) for n in gone]
    await asyncio.sleep(200)
    expected += [(when, n) for n, (when, _) in living.items()]
    assert sorted(n for _, n in expected) == sorted(n for _, n in expired if isinstance(n, int))
    assert [when for when, _ in expired] == sorted(when for when, _ in expired)
