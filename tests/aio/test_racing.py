"""Happy eyeballs: several addresses, of which the first to be reached is taken."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.addresses import Address
from pgwire.aio import opening
from pgwire.protocol import hosts
from tests.support import backend
from tests.support.files import no_file_left_open
from tests.support.scripted import Line, ScriptedServer
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.loops import Runner

    Behind = Callable[..., list[int]]

DSN = "host=db user=u sslmode=disable"


def let_in(line: Line) -> None:
    line.let_in()
    line.wait_for_hang_up()


@pytest.fixture(autouse=True)
def warmed_up(runner: Runner) -> None:
    """Whatever a loop opens for itself at its first connection is open."""

    async def connect() -> None:
        with ScriptedServer(let_in) as server:
            await (await pgwire.connect_async(server.dsn)).close()

    runner.run(connect())


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that answers nothing, not even that it will not."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):  # its queue is full
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def behind(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let the name "db" stand for these ports, each an address."""

    def behind(*ports: int) -> None:
        async def look_up(loop: object, host: object) -> list[Address]:
            return [Address(socket.AF_INET, ("127.0.0.1", port), "db") for port in ports]

        monkeypatch.setattr(opening, "look_up", look_up)

    return behind


async def test_an_address_that_is_silent_costs_a_quarter_of_a_second(
    runner: Runner, behind: Behind, black_hole: int
) -> None:
    with no_file_left_open(), ScriptedServer(let_in) as server:
        behind(black_hole, server.port)
        began = time.monotonic()
        conn = await pgwire.connect_async(DSN)
        assert hosts.STAGGER - 0.01 <= time.monotonic() - began < LATE
        await conn.close()


async def test_one_that_refuses_costs_nothing(
    runner: Runner, behind: Behind, closed_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "STAGGER", 60)
    with no_file_left_open(), ScriptedServer(let_in) as server:
        behind(closed_port, closed_port, server.port)
        conn = await pgwire.connect_async(DSN)
        assert server.connections == 1
        await conn.close()


async def test_the_first_that_answers_is_taken_and_no_other_is_tried(
    runner: Runner, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "STAGGER", 60)
    with no_file_left_open(), ScriptedServer(let_in) as one, ScriptedServer(let_in) as two:
        behind(one.port, two.port)
        await (await pgwire.connect_async(DSN)).close()
        assert (one.connections, two.connections) == (1, 0)


async def test_those_that_come_too_late_are_closed(
    runner: Runner, behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "STAGGER", 0)
    with no_file_left_open(), ExitStack() as stack:
        servers = [stack.enter_context(ScriptedServer(let_in)) for _ in range(5)]
        behind(*(server.port for server in servers))
        conn = await pgwire.connect_async(DSN)
        assert conn.backend_pid
        await conn.close()


async def test_one_that_answers_and_lets_nobody_in_gives_way_to_the_rest(
    runner: Runner, behind: Behind, black_hole: int, closed_port: int
) -> None:
    def full(line: Line) -> None:
        line.send(backend.fatal("53300", "too many"))

    with no_file_left_open(), ScriptedServer(full) as refuses, ScriptedServer(let_in) as server:
        behind(closed_port, refuses.port, server.port)
        await (await pgwire.connect_async(DSN)).close()
        behind(closed_port, refuses.port)
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            await pgwire.connect_async(DSN)
        first, second = caught.value.attempts
        assert "refused" in str(first.error)
        assert "too many" in str(second.error)


async def test_a_pool_looks_the_name_up_for_each_connection(runner: Runner, behind: Behind) -> None:
    with ScriptedServer(let_in) as old, ScriptedServer(let_in) as new:
        behind(old.port)
        async with pgwire.AsyncPool(DSN) as pool, pool.connect():
            behind(new.port)
            async with pool.connect():
                assert (old.connections, new.connections) == (1, 1)


async def test_each_has_its_time(runner: Runner, behind: Behind, black_hole: int) -> None:
    behind(black_hole, black_hole)
    with no_file_left_open():
        began = time.monotonic()
        with pytest.raises(pgwire.ConnectionFailed) as caught:
            await pgwire.connect_async(DSN, connect_timeout=0.4)
        assert 0.64 <= time.monotonic() - began < LATE  # the second begins a quarter of one later
    assert len(caught.value.attempts) == 2
    assert all("within 0.4 s" in str(attempt.error) for attempt in caught.value.attempts)


async def test_cancelling_leaves_nothing_behind(
    runner: Runner, behind: Behind, black_hole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hosts, "STAGGER", 0)
    behind(black_hole, black_hole)
    with no_file_left_open():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pgwire.connect_async(DSN)


async def test_looking_up_counts(runner: Runner, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look_up(loop: object, host: object) -> list[Address]:
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(opening, "look_up", look_up)
    with pytest.raises(pgwire.ConnectionFailed, match=r"db: no connection within 0\.1 s"):
        await pgwire.connect_async(DSN, connect_timeout=0.1)
