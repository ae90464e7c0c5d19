"""File descriptors, warnings, memory and time."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support import backend
from tests.support.files import no_file_left_open
from tests.support.scripted import CLEARTEXT, Line, ScriptedServer, serve

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.shells.conftest import Connect


class TestFiles:
    @pytest.fixture(autouse=True)
    def warmed_up(self, connect: Connect, dsn: str) -> None:
        """Whatever a loop opens for itself at its first connection is open."""
        connect(dsn).close()

    def test_connecting_and_closing(self, dsn: str, connect: Connect) -> None:
        with no_file_left_open():
            for _ in range(10):
                with connect(dsn) as conn:
                    conn.query("select 1")

    def test_connecting_over_tls(self, tls_server: embedded.Server, connect: Connect) -> None:
        with no_file_left_open():
            for _ in range(3):
                connect(tls_server.tls_url).close()

    def test_timeouts_and_cancel_requests(self, dsn: str, connect: Connect) -> None:
        with no_file_left_open(), connect(dsn) as conn:
            for _ in range(10):
                with pytest.raises(pgwire.QueryTimeout):
                    conn.query("select pg_sleep(20)", timeout=0.005)
                conn.cancel()

    def test_failed_attempts(self, dsn: str, tls_server: embedded.Server, connect: Connect) -> None:
        def refuse(line: Line) -> None:
            line.send(CLEARTEXT)
            line.expect("p")
            line.send(backend.fatal("28P01", "no"))
            line.cut()

        with (
            no_file_left_open(),
            ScriptedServer(refuse) as refusing,
            ScriptedServer(Line.wait_for_hang_up) as silent,
        ):
            for conninfo, parameters in (
                (dsn, {"dbname": "nowhere"}),
                (dsn, {"password": "wrong"}),
                (dsn, {"host": "127.0.0.1", "port": 1}),
                (dsn, {"sslmode": "require"}),
                (dsn, {"host": "/nonexistent"}),
                (tls_server.url, {"sslrootcert": "system"}),
                (refusing.dsn, {"password": "x"}),
                (silent.dsn, {"connect_timeout": 0.01}),
            ):
                with pytest.raises(pgwire.Error):
                    connect(conninfo, **parameters)

    def test_a_lost_connection_is_closed_at_once(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.expect("PDH")
            line.send(b"\0\0\0\0\0")
            line.wait_for_hang_up()
            hung_up.append(True)

        hung_up: list[bool] = []
        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.ProtocolError):
                conn.query("select 1")
            assert conn.closed
        assert hung_up == [True]


class TestLargeResults:
    def test_a_value_in_small_packets_takes_linear_time(self, connect: Connect) -> None:
        """Four times as much may not take sixteen times as long."""

        def seconds(size: int) -> float:
            reply = backend.executed(backend.row(b"x" * size))

            def script(line: Line) -> None:
                line.let_in()
                serve(line, {"v": (backend.column("v", 17), [])}, say(line))

            def say(line: Line):  # type: ignore[no-untyped-def]
                def send(answer: bytes) -> None:
                    if not answer.endswith(b"I"):
                        line.send(answer)
                        return
                    view = memoryview(reply)
                    for start in range(0, len(view), 1000):
                        line.sock.sendall(view[start : start + 1000])

                return send

            with ScriptedServer(script) as server:
                conn = connect(server.dsn)
                began = time.process_time()
                assert len(conn.query("v").scalar()) == size
                spent = time.process_time() - began
                conn.close()
            return spent

        small = min(seconds(5_000_000) for _ in range(2))
        assert seconds(20_000_000) < 8 * small + 0.1

    def test_a_hundred_megabytes(self, conn: pgwire.Connection) -> None:
        size = 100_000_000
        tracemalloc.start()
        try:
            value = conn.query("select convert_to(repeat('x', $1), 'UTF8')", [size]).scalar()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(value) == size
        assert peak < 3.5 * size

    def test_a_length_that_is_announced_takes_no_memory(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.expect("PDH")
            line.send(backend.described(columns=[backend.column("v", 25)]))
            line.expect("BES")
            line.send(backend.BIND_COMPLETE + b"D\x3f\xff\xff\xff" + b"\0\1\x3f\xff\xff\xf5" + b"x")
            line.cut()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            tracemalloc.start()
            try:
                with pytest.raises(pgwire.ConnectionLost, match="middle of a message"):
                    conn.query("select v")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
        assert peak < 2_000_000
