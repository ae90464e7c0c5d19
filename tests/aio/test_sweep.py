"""tests.support.sweep: every suspension is cancelled once in every way, and lapses are seen."""

from __future__ import annotations

import asyncio
import faulthandler
from contextlib import suppress

import pytest

from tests.support.sweep import Cut, How, sweep
from tests.support.virtual_loop import run


async def three_naps(log: list[str]) -> None:
    for nap in "abc":
        await asyncio.sleep(1)
        log.append(nap)


@pytest.mark.parametrize("how", How)
def test_a_run_for_every_suspension_and_one_to_the_end(how: How) -> None:
    logs: list[list[str]] = []

    async def scenario(cut: Cut) -> None:
        logs.append([])
        await cut(three_naps(logs[-1]))
        assert cut.reached is (logs[-1] != ["a", "b", "c"])

    assert run(sweep(scenario, (how,))) == 3
    assert logs == [[], ["a"], ["a", "b"], ["a", "b", "c"]]


def test_every_run_may_take_as_long_as_a_test(monkeypatch: pytest.MonkeyPatch) -> None:
    fuse: list[str] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda *_, **__: fuse.append("set"))

    async def scenario(cut: Cut) -> None:
        fuse.append("run")
        await cut(three_naps([]))

    run(sweep(scenario, (How.AT_ONCE,)))
    assert fuse == ["set", "run"] * 4


def test_bare_yields_are_suspensions_too() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def scenario(cut: Cut) -> None:
        await cut(work())

    assert run(sweep(scenario)) == 6


def test_at_waking_what_was_waited_for_has_come() -> None:
    async def scenario(cut: Cut) -> None:
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1, future.set_result, 7)
        await cut(future)
        assert not future.cancelled()
        assert future.result() == 7

    assert run(sweep(scenario, (How.AT_WAKING,))) == 1


def test_again_cancels_what_cleans_up_as_well() -> None:
    cleaned: list[bool] = []

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(1)
                cleaned.append(True)
            await asyncio.sleep(1)

    async def scenario(cut: Cut) -> None:
        await cut(work())

    run(sweep(scenario, (How.AGAIN,)))
    assert len(cleaned) == 2  # where the cut came later, and where it never came


def test_results_and_errors_come_through_where_nothing_was_cut() -> None:
    async def fail() -> None:
        raise LookupError

    async def main() -> None:
        assert await Cut(1, How.AT_ONCE)(asyncio.sleep(0, "slept")) is None
        assert await Cut(2, How.AT_ONCE)(asyncio.sleep(0, "slept")) == "slept"
        with pytest.raises(LookupError):
            await Cut(1, How.AT_ONCE)(fail())

    run(main())


def test_a_cancellation_that_is_swallowed_is_a_lapse() -> None:
    async def swallow() -> None:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)

    async def scenario(cut: Cut) -> None:
        await cut(swallow())

    with pytest.raises(AssertionError, match="was not cancelled") as caught:
        run(sweep(scenario))
    assert caught.value.__notes__ == ["cut at suspension 1, as soon as it is suspended"]


def test_an_error_in_place_of_the_cancellation_is_a_lapse() -> None:
    async def replace() -> None:
        try:
            await asyncio.sleep(1)
        except asyncio.CancelledError:
            raise LookupError from None

    async def scenario(cut: Cut) -> None:
        await cut(replace())

    with pytest.raises(LookupError):
        run(sweep(scenario))


def test_a_task_that_is_left_is_a_lapse() -> None:
    async def scenario(cut: Cut) -> None:
        left.append(asyncio.ensure_future(asyncio.sleep(60)))
        await cut(asyncio.sleep(1))

    left: list[asyncio.Future[None]] = []
    with pytest.raises(AssertionError, match="tasks are left"):
        run(sweep(scenario))


def test_an_exception_that_nobody_hears_of_is_a_lapse() -> None:
    async def scenario(cut: Cut) -> None:
        asyncio.get_running_loop().create_future().set_exception(LookupError("unheard"))
        await cut(asyncio.sleep(1))

    with pytest.raises(AssertionError, match="unheard"):
        run(sweep(scenario))
