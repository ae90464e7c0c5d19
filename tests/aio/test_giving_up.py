"""Who gives up an answer: what becomes of the query, of its neighbours, and of the connection."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.aio import giving_up
from pgwire.driving import ASK_AGAIN, CANCEL_PATIENCE, GRACE, PATIENCE
from tests.support import backend
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, answer, canceled, turns

if TYPE_CHECKING:
    from collections.abc import Callable


def now() -> float:
    return asyncio.get_running_loop().time()


async def text_of(query: asyncio.Future[Any]) -> str:
    return str((await query).scalar())


class TestWhatIsNotWrittenYet:
    @in_virtual_time
    async def test_behind_somebody_who_has_the_floor_it_never_is(self) -> None:
        with Wire() as wire:
            first = wire.conn.query("first")
            second, third = wire.conn.query("second"), wire.conn.query("third")
            await turns()
            assert wire.take() == "PDH"
            second.cancel()
            wire.say(backend.described(columns=[backend.column("v", 25)]))
            await turns()
            described = backend.described(columns=[backend.column("v", 25)])
            wire.say(answer("1"), described, backend.ready())
            await turns()
            wire.say(answer("3"))
            assert [await text_of(first), await text_of(third)] == ["1", "3"]
            assert b"second" not in wire.said
            assert wire.cancels == []

    @in_virtual_time
    async def test_behind_a_fence_it_never_is(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            running = wire.conn.query("a")
            running.cancel()
            waiting = wire.conn.query("b")
            await turns()
            assert wire.take() == "BES"
            waiting.cancel()
            wire.say(answer("a"))
            await turns()
            wire.say(backend.ready())
            await turns()
            assert wire.take() == "S"
            assert wire.session.in_step
            assert wire.cancels == []

    @in_virtual_time
    async def test_with_no_time_left_it_never_is(self) -> None:
        with Wire() as wire:
            for timeout in (0, -1):
                with pytest.raises(pgwire.QueryTimeout, match="before it was sent"):
                    await wire.conn.query("a", timeout=timeout)
            assert wire.said == b""


class TestWhatRuns:
    @in_virtual_time
    async def test_the_caller_goes_on_at_once(self) -> None:
        with Wire() as wire:
            task = asyncio.ensure_future(text_of(wire.conn.query("a")))
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert now() == 0
            wire.driver.abort()

    @in_virtual_time
    async def test_what_ends_by_itself_soon_is_not_canceled(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            wire.conn.query("a").cancel()
            await asyncio.sleep(GRACE * 0.9)
            wire.say(answer("a"))
            await asyncio.sleep(1)
            assert wire.cancels == []
            assert wire.take() == "BESS"
            wire.say(backend.ready())
            assert wire.session.in_step

    @in_virtual_time
    async def test_else_the_server_is_asked_to_cancel_it(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            wire.conn.query("a").cancel()
            after = wire.conn.query("b")
            await asyncio.sleep(PATIENCE * 0.9)
            # And again: the first may have overtaken the query.
            assert wire.cancels == pytest.approx([GRACE + n * ASK_AGAIN for n in range(4)])
            assert wire.take() == "BES"
            wire.say(canceled())
            await turns()
            assert wire.take() == "S"
            wire.say(backend.ready())
            assert wire.take() == "BES"
            wire.say(answer("b"))
            assert await text_of(after) == "b"

    @in_virtual_time
    async def test_a_timeout_strikes_at_its_time(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            with pytest.raises(pgwire.QueryTimeout):
                await wire.conn.query("a", timeout=7)
            assert now() == 7
            await asyncio.sleep(2 * GRACE)
            assert wire.cancels == [pytest.approx(7 + GRACE)]
            wire.say(canceled())
            await turns()
            wire.say(backend.ready())
            assert wire.session.in_step

    @in_virtual_time
    async def test_a_server_that_does_not_cancel_costs_the_connection(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            wire.conn.query("a").cancel()
            after = wire.conn.query("b")
            with pytest.raises(pgwire.ConnectionLost) as caught:
                await after
            assert "did not answer a cancel request" in str(caught.value.__cause__)
            assert now() == pytest.approx(GRACE + PATIENCE)
            assert wire.aborted
            assert wire.conn.closed

    @in_virtual_time
    async def test_it_is_not_asked_once_more_at_the_end_of_its_time(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Where the loop's clock is coarse a wait may end a little before its time."""
        within = giving_up.within

        async def nearly(future: asyncio.Future[Any], seconds: float) -> bool:
            return await within(future, seconds - 0.0005)

        monkeypatch.setattr(giving_up, "within", nearly)
        with Wire() as wire:
            wire.conn.query("a").cancel()
            await asyncio.sleep(60)
            assert wire.conn.closed
            assert len(wire.cancels) == round(PATIENCE / ASK_AGAIN)

    @in_virtual_time
    async def test_so_does_a_request_that_is_not_delivered(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            wire.delivered.clear()
            wire.conn.query("a").cancel()
            await wire.driver.gone
            assert now() == pytest.approx(GRACE + PATIENCE)

    @in_virtual_time
    async def test_so_does_a_fence_that_is_not_answered(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            wire.conn.query("a").cancel()
            wire.say(canceled())
            await turns()
            assert wire.take() == "BESS"
            with pytest.raises(pgwire.ConnectionLost):
                await wire.conn.query("b")
            assert PATIENCE <= now() <= 2 * PATIENCE + 0.1

    @in_virtual_time
    async def test_a_fence_has_its_time_from_when_it_is_its_turn(self) -> None:
        """A neighbour who takes long is no reason to give up the connection."""
        with Wire() as wire:
            await wire.cache("a", "b")
            abandoned, neighbour = wire.conn.query("a"), wire.conn.query("b")
            await turns()
            abandoned.cancel()
            wire.say(answer("a"))
            await asyncio.sleep(10 * PATIENCE - 0.001)
            wire.say(answer("b"))
            assert await text_of(neighbour) == "b"
            await asyncio.sleep(PATIENCE * 0.9)
            wire.say(backend.ready())
            assert not wire.conn.closed
            assert wire.session.in_step
            await asyncio.sleep(10 * PATIENCE)

    @in_virtual_time
    async def test_a_request_on_its_way_holds_back_whoever_comes_next(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            wire.delivered.clear()
            wire.conn.query("a").cancel()
            await asyncio.sleep(2 * GRACE)
            wire.say(answer("a"))
            after = wire.conn.query("b")
            await asyncio.sleep(PATIENCE / 2)
            assert wire.take() == "BES"
            wire.delivered.set()
            await turns()
            assert wire.take() == "S"
            wire.say(backend.ready())
            assert wire.take() == "BES"
            wire.say(answer("b"))
            assert await text_of(after) == "b"

    @in_virtual_time
    async def test_many_are_canceled_one_after_the_other(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "last")
            queries = [wire.conn.query("a") for _ in range(5)]
            await turns()
            for query in queries:
                query.cancel()
            last = wire.conn.query("last")
            for number in range(1, 6):
                await asyncio.sleep(2 * GRACE)
                assert len(wire.cancels) == number
                wire.say(canceled())
                await turns()
            for _ in range(5):
                wire.say(backend.ready())
                await turns()
            wire.say(answer("last"))
            assert await text_of(last) == "last"


@in_virtual_time
async def test_what_giving_up_costs_does_not_depend_on_how_many_are_under_way() -> None:
    """Counted in function calls: a program that ends cancels its tasks in any order."""
    counts = []
    for many in (50, 500):
        with Wire() as wire:
            await wire.cache("a")
            queries = [wire.conn.query("a") for _ in range(many)]
            number = 0

            def count(_frame: object, event: str, _argument: object) -> None:
                nonlocal number
                number += event in ("call", "c_call")

            before = sys.getprofile()
            sys.setprofile(count)
            queries[-1].cancel()
            sys.setprofile(before)
            counts.append(number)
            wire.driver.abort()
            with pytest.raises(pgwire.InterfaceError):
                await queries[0]
            for query in queries:
                assert query.done()
                assert query.cancelled() or query.exception()
    assert counts[0] == counts[1]


class TestNeighbours:
    @in_virtual_time
    async def test_they_get_their_own_answers(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b", "c")
            before, hit, after = (wire.conn.query(sql) for sql in "abc")
            await turns()
            hit.cancel()
            await asyncio.sleep(10 * PATIENCE)
            assert wire.cancels == []  # it is not its turn yet
            wire.say(answer("a"))
            await asyncio.sleep(2 * GRACE)
            assert len(wire.cancels) == 1
            wire.say(canceled(), answer("c"))
            await turns()
            wire.say(backend.ready())
            assert [await text_of(before), await text_of(after)] == ["a", "c"]

    @in_virtual_time
    async def test_a_cancel_that_strikes_late_strikes_nobody(self) -> None:
        """The server has answered the first, and takes the request for the second."""
        with Wire() as wire:
            await wire.cache("a", "b")
            hit, neighbour = wire.conn.query("a"), wire.conn.query("b")
            await turns()
            hit.cancel()
            await asyncio.sleep(2 * GRACE)
            wire.say(answer("a"), canceled())
            await turns()
            assert wire.take() == "BESBESS"
            wire.say(backend.ready())
            assert wire.take() == "BES"  # anew
            wire.say(answer("b"))
            assert await text_of(neighbour) == "b"

    @in_virtual_time
    async def test_in_a_transaction_it_cannot_begin_anew(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            hit, neighbour = wire.conn.query("a"), wire.conn.query("b")
            await turns()
            hit.cancel()
            await asyncio.sleep(2 * GRACE)
            wire.say(answer("a", "T"), canceled("E"))
            await turns()
            wire.say(backend.ready("E"))
            with pytest.raises(errors.QueryCanceled):
                await neighbour

    @in_virtual_time
    async def test_who_was_asked_for_by_cancel_is_hit_and_hears_of_it(self) -> None:
        with Wire() as wire:
            await wire.cache("a", "b")
            hit = wire.conn.query("a")
            await wire.conn.cancel()
            after = wire.conn.query("b")
            wire.say(canceled())
            with pytest.raises(errors.QueryCanceled):
                await hit
            await turns()
            wire.say(backend.ready())
            wire.say(answer("b"))
            assert await text_of(after) == "b"


class TestCancel:
    @in_virtual_time
    async def test_one_that_is_not_delivered(self) -> None:
        with Wire() as wire:
            wire.delivered.clear()
            with pytest.raises(pgwire.OperationalError, match="could not be delivered"):
                await wire.conn.cancel()
            assert now() == CANCEL_PATIENCE
            wire.say(backend.ready())
            assert wire.session.in_step

    @in_virtual_time
    async def test_a_server_that_does_not_answer_behind_it_is_left(self) -> None:
        """Else nobody would ever get through, and `close` would wait for ever."""
        with Wire() as wire:
            await wire.conn.cancel()
            with pytest.raises(pgwire.ConnectionLost):
                await wire.conn.ping()
            assert now() <= 2 * PATIENCE
            await wire.conn.close()

    @in_virtual_time
    async def test_without_a_key_it_does_nothing(self) -> None:
        with Wire() as wire:
            wire.session.backend_key = None
            await wire.conn.cancel()
            assert wire.said == b""

    @in_virtual_time
    async def test_cancelling_it_leaves_the_connection_in_step(self) -> None:
        with Wire() as wire:
            await wire.cache("a")
            wire.delivered.clear()
            task = asyncio.ensure_future(wire.conn.cancel())
            await turns()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            query = wire.conn.query("a")
            await turns()
            assert wire.take() == "", "the request is on its way, and might hit it"
            wire.delivered.set()
            await turns()
            wire.say(backend.ready())
            wire.say(answer("a"))
            assert await text_of(query) == "a"


@pytest.mark.parametrize(
    "end",
    [
        lambda wire: wire.say(canceled()),
        lambda wire: wire.driver.connection_lost(None),
        lambda wire: wire.driver.connection_lost(ConnectionResetError()),
        lambda wire: wire.driver.eof_received(),
        lambda wire: wire.say(b"\0\0\0\0\0"),
    ],
)
@in_virtual_time
async def test_the_end_comes_while_a_cancel_is_on_its_way(end: Callable[[Wire], None]) -> None:
    """Whatever happens meanwhile, nothing is left waiting."""
    with Wire() as wire:
        await wire.cache("a")
        wire.delivered.clear()
        wire.conn.query("a").cancel()
        await asyncio.sleep(2 * GRACE)
        end(wire)
        after = wire.conn.query("a")
        wire.delivered.set()
        await asyncio.sleep(PATIENCE * 3)
        assert wire.conn.closed
        with pytest.raises((pgwire.InterfaceError, pgwire.ConnectionLost)):
            await after
        assert asyncio.all_tasks() == {asyncio.current_task()}
