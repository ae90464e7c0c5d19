"""Connecting: passwords from coroutines, time, cancelling, and a loop that goes on."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.aio.test_back_pressure import Ticks
from tests.support import backend
from tests.support.files import no_file_left_open
from tests.support.leaks import all_that_shows
from tests.support.scram_server import SECRET, Server
from tests.support.scripted import CLEARTEXT, Line, ScriptedServer
from tests.support.shells import COARSE, LATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire import embedded
    from tests.aio.conftest import Connect
    from tests.support.loops import Runner


class TestPasswords:
    async def test_from_a_coroutine_function(
        self, runner: Runner, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        calls = 0

        async def password() -> str:
            nonlocal calls
            await asyncio.sleep(0.01)
            calls += 1
            return embedded_server.password

        url = embedded_server.url_for(embedded_server.user)
        for number in range(1, 3):
            conn = await connect(url, password=password)
            assert (await conn.query("select 1")).scalar() == 1
            assert calls == number

    async def test_what_it_raises_comes_through(self, runner: Runner, dsn: str) -> None:
        async def password() -> str:
            raise LookupError("the vault is closed")

        with pytest.raises(LookupError, match="vault"):
            await pgwire.connect_async(dsn, password=password)

    @pytest.mark.parametrize("given", [b"MARKER", None, 7])
    async def test_what_is_no_text_is_refused(self, runner: Runner, dsn: str, given: Any) -> None:
        async def password() -> Any:
            return given

        with pytest.raises(pgwire.InterfaceError, match=r"password\(\) gave"):
            await pgwire.connect_async(dsn, password=password)

    async def test_it_shows_nowhere(self, runner: Runner) -> None:
        async def password() -> str:
            await asyncio.sleep(0)
            return "MARKER"

        def script(line: Line) -> None:
            line.send(CLEARTEXT + b"garbage")
            line.finish()

        with ScriptedServer(script) as server:
            with pytest.raises(pgwire.ConnectionFailed) as caught:
                await pgwire.connect_async(server.dsn, password=password)
        assert "MARKER" not in all_that_shows(caught.value)

    async def test_its_time_counts(self, runner: Runner, dsn: str) -> None:
        async def password() -> str:
            await asyncio.sleep(60)
            return "x"

        with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
            await pgwire.connect_async(dsn, password=password, connect_timeout=0.1)


class TestTheLoopGoesOn:
    async def test_while_the_server_says_nothing(self, runner: Runner) -> None:
        with ScriptedServer(Line.wait_for_hang_up, raw=True) as server:
            ticks = Ticks()
            began = time.monotonic()
            with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
                await pgwire.connect_async(server.dsn, connect_timeout=0.2)
            assert 0.2 - COARSE <= time.monotonic() - began < LATE
            await ticks.stop()
            assert ticks.number > 10

    async def test_while_hashes_are_made(
        self, runner: Runner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scram = Server(SECRET.encode(), iterations=5000)
        loop, hash_ = asyncio.get_running_loop(), hashlib.pbkdf2_hmac
        gone_on: list[bool] = []

        def hash_when_it_has_gone_on(*args: Any) -> bytes:
            turned = threading.Event()
            loop.call_soon_threadsafe(turned.set)
            gone_on.append(turned.wait(LATE))
            return hash_(*args)

        monkeypatch.setattr(hashlib, "pbkdf2_hmac", hash_when_it_has_gone_on)

        def script(line: Line) -> None:
            line.send(backend.sasl("SCRAM-SHA-256"))
            (first,) = line.expect("p")
            line.send(backend.authentication(11, scram.first(first.partition(b"\0")[2][4:])))
            (final,) = line.expect("p")
            line.send(backend.authentication(12, scram.final(final)))
            line.let_in()
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            async with pgwire.connect_async(server.dsn, password=SECRET) as conn:
                assert conn.backend_pid == 4242
        assert gone_on == [True]


class TestWhileItHashes:
    """Which is done in a thread: the session is that one's until then."""

    def script(self, line: Line, *, then: Callable[[Line], object]) -> None:
        scram = Server(SECRET.encode(), iterations=1)
        scram.iterations = 200_000  # nobody will ever know that they are not
        line.send(backend.sasl("SCRAM-SHA-256"))
        (first,) = line.expect("p")
        line.send(backend.authentication(11, scram.first(first.partition(b"\0")[2][4:])))
        then(line)

    async def connect(self, server: ScriptedServer, **options: Any) -> Any:
        return await pgwire.connect_async(
            server.dsn, password=SECRET, scram_max_iterations=1_000_000, **options
        )

    async def test_the_server_dies(self, runner: Runner) -> None:
        with ScriptedServer(partial(self.script, then=Line.finish)) as server:
            with pytest.raises(pgwire.ConnectionFailed):
                await self.connect(server)

    async def test_time_runs_out(self, runner: Runner) -> None:
        with ScriptedServer(partial(self.script, then=Line.wait_for_hang_up)) as server:
            with pytest.raises(pgwire.ConnectionFailed, match="connect_timeout"):
                await self.connect(server, connect_timeout=0.02)

    async def test_it_is_cancelled(self, runner: Runner) -> None:
        loop = asyncio.get_running_loop()
        challenged, hung_up = asyncio.Event(), asyncio.Event()

        def then(line: Line) -> None:
            loop.call_soon_threadsafe(challenged.set)
            line.wait_for_hang_up()
            loop.call_soon_threadsafe(hung_up.set)

        with ScriptedServer(partial(self.script, then=then)) as server:
            task = asyncio.ensure_future(self.connect(server))
            await challenged.wait()
            await asyncio.sleep(0.01)  # it begins to hash, mostly; it is right without that as well
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(hung_up.wait(), LATE)


class TestCancelling:
    @pytest.mark.parametrize("said", [b"", CLEARTEXT])
    async def test_a_server_that_says_no_more(self, runner: Runner, said: bytes) -> None:
        await self.cancelled(said)  # uvloop opens a file for itself with its first transport
        with no_file_left_open():
            await self.cancelled(said)

    async def cancelled(self, said: bytes) -> None:
        hung_up = asyncio.Event()
        loop = asyncio.get_running_loop()
        reached = asyncio.Event()

        def script(line: Line) -> None:
            line.read_untyped()
            line.send(said)
            loop.call_soon_threadsafe(reached.set)
            line.wait_for_hang_up()
            loop.call_soon_threadsafe(hung_up.set)

        with ScriptedServer(script, raw=True) as server:
            task = asyncio.ensure_future(connecting(server.dsn))
            await reached.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(hung_up.wait(), LATE)

    async def test_by_a_timeout_of_the_callers(self, runner: Runner) -> None:
        with ScriptedServer(Line.wait_for_hang_up, raw=True) as server:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await pgwire.connect_async(server.dsn, connect_timeout=10)


async def connecting(dsn: str) -> pgwire.AsyncConnection:
    return await pgwire.connect_async(dsn, password="x")


async def test_it_can_be_awaited_more_than_once(runner: Runner, dsn: str) -> None:
    """Each time it is another connection."""
    plan = pgwire.connect_async(dsn)
    first, second = await plan, await plan
    assert first.backend_pid != second.backend_pid
    await asyncio.gather(first.close(), second.close())


async def test_many_at_once(runner: Runner, dsn: str) -> None:
    connections = await asyncio.gather(*(connecting_to(dsn) for _ in range(20)))
    pids = {(await conn.query("select pg_backend_pid()")).scalar() for conn in connections}
    assert pids == {conn.backend_pid for conn in connections}
    await asyncio.gather(*(conn.close() for conn in connections))


async def connecting_to(dsn: str) -> pgwire.AsyncConnection:
    return await pgwire.connect_async(dsn)


async def test_a_block_is_entered_once_at_a_time(runner: Runner, dsn: str) -> None:
    """Else the one that ends first would close the other's connection."""
    plan = pgwire.connect_async(dsn)
    async with plan as first:
        with pytest.raises(pgwire.InterfaceError, match="entered already"):
            await plan.__aenter__()
        assert (await first.query("select 1")).scalar() == 1
    assert first.closed
    async with plan as second:
        assert (await second.query("select 1")).scalar() == 1
    assert second.closed


async def test_a_block_that_could_not_be_entered_may_be_entered_again(runner: Runner) -> None:
    plan = pgwire.connect_async(host="/nonexistent")
    for _ in range(2):
        with pytest.raises(pgwire.ConnectionFailed):
            await plan.__aenter__()
