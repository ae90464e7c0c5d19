"""A replication in an event loop: it tells by itself, stops reading, and is left in order."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pgtypes import oids
from pgwire.protocol.replicating import ENOUGH
from tests.support import backend, pgoutput
from tests.support.pgoutput import keepalive, xlog_data
from tests.support.virtual_loop import in_virtual_time
from tests.support.wire import Wire, turns

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.aio.conftest import Connect

T = 16_384
TABLE = xlog_data(pgoutput.relation(T, [("n", oids.INT4, True)]))
END = backend.COPY_DONE + backend.complete("COPY 0") + backend.complete("START_REPLICATION")
END += backend.ready()


def transaction(end: int, *values: int) -> bytes:
    rows = [pgoutput.insert(T, pgoutput.row(pgoutput.text(str(n)))) for n in values]
    begin, commit = pgoutput.begin(end - 1), pgoutput.commit(end - 1, end)
    return xlog_data(begin) + b"".join(map(xlog_data, rows)) + xlog_data(commit, end)


async def begun(wire: Wire, **options: Any) -> pgwire.AsyncReplication:
    replication = wire.conn.replicate("slot", "news", **options)
    entering = asyncio.create_task(replication.__aenter__())
    await turns()
    assert wire.take() == "Q"
    wire.say(pgoutput.NO_TYPES)
    await turns()
    assert wire.take() == "Q"
    wire.say(backend.copy_both() + TABLE)
    assert await entering is replication
    assert isinstance(await anext(replication), pgwire.Relation)
    assert wire.take() == ""
    return replication


def acknowledged(wire: Wire) -> int:
    """What the last status update has told."""
    last = wire.said[-39:]
    assert last[:1] == b"d"
    return int.from_bytes(last[6:14])


async def ended(wire: Wire, replication: pgwire.AsyncReplication) -> None:
    """Leave it, in order."""
    await replication.close()
    await turns()
    assert wire.take().endswith("c")
    wire.say(END)
    await turns()


class TestTelling:
    @in_virtual_time
    async def test_while_the_consumer_does_something_else(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            await asyncio.sleep(65)
            assert wire.take() == "dddddd"
            await ended(wire, replication)
            await asyncio.sleep(65)
            assert wire.take() in ("", "S")  # the fence's

    @in_virtual_time
    async def test_while_nothing_comes(self) -> None:
        with Wire() as wire:
            replication = await begun(wire, status_interval=0.5)
            assert await replication.receive(10.25) is None
            assert wire.take() == "d" * 20

    @in_virtual_time
    async def test_never_by_itself(self) -> None:
        with Wire() as wire:
            replication = await begun(wire, status_interval=None)
            await asyncio.sleep(1000)
            assert wire.take() == ""
            await replication.keep_alive()
            await turns()
            assert wire.take() == "d"

    @in_virtual_time
    async def test_at_once_when_the_server_asks(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.say(keepalive(5) + keepalive(7, wants_reply=True))
            assert wire.take() == "d"
            assert acknowledged(wire) == replication.acknowledged == 7

    @in_virtual_time
    async def test_what_is_acknowledged_in_one_turn_is_told_at_once(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.say(transaction(20, 1) + transaction(30, 2) + transaction(40, 3))
            for _ in range(8):
                message = await anext(replication)
                if isinstance(message, pgwire.Commit):
                    replication.acknowledge(message)
            assert wire.take() == ""
            await turns()
            assert wire.take() == "d"
            assert acknowledged(wire) == 30

    @in_virtual_time
    async def test_while_the_transport_takes_nothing_no_time_is_wasted(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.driver.pause_writing()
            await asyncio.sleep(35)
            assert wire.take() == ""
            wire.driver.resume_writing()
            await turns()
            assert wire.take() == "ddd"
            await ended(wire, replication)

    @in_virtual_time
    async def test_whoever_drops_it_is_told_no_more(self) -> None:
        with Wire() as wire:
            await begun(wire)
            gc.collect()
            await turns()
            assert wire.take() == "c"
            wire.say(END)
            await asyncio.sleep(100)
            assert wire.take() in ("", "S")


class TestTaking:
    @in_virtual_time
    async def test_no_more_is_read_than_is_taken(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            block = xlog_data(pgoutput.message(1, "", b"x" * 60_000, transactional=False))
            for _ in range(ENOUGH // 60_000 + 1):
                wire.say(block)
            paused = [wire.paused]
            await asyncio.sleep(25)
            assert wire.take() == "dd"  # the server is told all the same
            await anext(replication)
            paused.append(wire.paused)
            assert paused == [True, False]

    @in_virtual_time
    async def test_left_while_reading_had_stopped_it_goes_on(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            block = xlog_data(pgoutput.message(1, "", b"x" * 60_000, transactional=False))
            for _ in range(ENOUGH // 60_000 + 1):
                wire.say(block)
            paused = [wire.paused]
            await replication.close()
            paused.append(wire.paused)
            assert paused == [True, False]

    @in_virtual_time
    async def test_within_a_time(self) -> None:
        loop = asyncio.get_running_loop()
        with Wire() as wire:
            replication = await begun(wire)
            start = loop.time()
            assert await replication.receive(3) is None
            assert loop.time() - start == 3
            assert await replication.receive(0) is None
            wire.say(transaction(20, 1))
            assert isinstance(await replication.receive(0), pgwire.Begin)
            assert isinstance(await replication.receive(), pgwire.Insert)
            loop.call_later(2, wire.say, transaction(30, 1))
            assert isinstance(await replication.receive(5), pgwire.Commit)
            assert isinstance(await replication.receive(5), pgwire.Begin)
            assert loop.time() - start == 5

    @in_virtual_time
    async def test_one_task_waits_and_no_other(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            waiting = asyncio.create_task(replication.receive())
            await turns()
            with pytest.raises(pgwire.InterfaceError, match="another task is waiting"):
                await replication.receive()
            waiting.cancel()
            await asyncio.wait((waiting,))


class TestEnding:
    @in_virtual_time
    async def test_whoever_is_cancelled_leaves(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.say(transaction(20, 1))
            *_, commit = [await anext(replication) for _ in range(3)]
            replication.acknowledge(commit)
            waiting = asyncio.create_task(replication.receive())
            await turns()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await turns()
            assert wire.take() == "dc"
            with pytest.raises(pgwire.InterfaceError, match="is over"):
                await replication.receive()
            asked = wire.conn.ping()
            pinging = asyncio.ensure_future(asked)
            await asyncio.sleep(0.9)
            assert wire.cancels == []
            wire.say(transaction(30, 2) + END)
            await turns()
            for _ in range(2):  # the fence, and the ping
                assert wire.take() == "S"
                wire.say(backend.ready())
                await turns()
            await pinging

    @in_virtual_time
    async def test_a_server_that_does_not_end_it_is_asked_to_cancel(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            await replication.close()
            await asyncio.sleep(0.99)
            assert wire.cancels == []
            await asyncio.sleep(0.02)
            assert len(wire.cancels) == 1
            wire.say(transaction(20, 1) + backend.error("57014") + backend.ready())
            await turns()
            wire.say(backend.ready())
            await turns()
            assert wire.session.in_step
            assert not wire.aborted

    @in_virtual_time
    async def test_nor_obeys(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            await replication.close()
            await asyncio.sleep(3)
            assert wire.aborted

    @in_virtual_time
    async def test_cancelled_before_it_has_begun(self) -> None:
        with Wire() as wire:
            replication = wire.conn.replicate("slot", "news")
            entering = asyncio.create_task(replication.__aenter__())
            await turns()
            wire.say(pgoutput.NO_TYPES)
            await turns()
            entering.cancel()
            await asyncio.wait((entering,))
            assert wire.take() == "QQ"
            wire.say(backend.copy_both())
            await turns()
            assert wire.take() == "c"
            wire.say(END)
            await turns()

    @in_virtual_time
    async def test_what_came_before_the_line_was_cut_is_handed_out(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.say(transaction(20, 1))
            wire.driver.eof_received()
            *_, commit = [await anext(replication) for _ in range(3)]
            replication.acknowledge(commit)  # which nobody will hear of
            with pytest.raises(pgwire.ConnectionLost) as caught:
                await anext(replication)
            assert "acknowledged up to 0/0" in caught.value.__notes__[0]
            with pytest.raises(pgwire.InterfaceError, match="is over"):
                replication.acknowledge(commit)
            with pytest.raises(pgwire.InterfaceError, match="not under way"):
                await replication.keep_alive()

    @in_virtual_time
    async def test_nonsense(self) -> None:
        with Wire() as wire:
            replication = await begun(wire)
            wire.say(xlog_data(b"nonsense"))
            with pytest.raises(pgwire.ProtocolError, match="unknown replication message"):
                await anext(replication)
            assert wire.aborted


async def test_a_consumer_that_is_busy_is_not_taken_for_dead(
    embedded_server: embedded.Server, connect: Connect
) -> None:
    """By a server that is quick to do so. Its own account says that it has heard of us."""
    admin = await connect(embedded_server.url)
    await admin.script("create publication busy")
    settings = {"wal_sender_timeout": "2s"}
    conn = await connect(embedded_server.url, replication="database", settings=settings)
    await conn.create_replication_slot("busy", temporary=True)
    sql = "select reply_time from pg_stat_replication where pid = $1"
    async with conn.replicate("busy", "busy", status_interval=0.05):
        heard: set[Any] = set()
        while len(heard) < 5:
            heard.add((await admin.query(sql, [conn.backend_pid])).scalar())
    assert (await conn.script("select 1"))[0].scalar() == 1
    await admin.script("drop publication busy")
