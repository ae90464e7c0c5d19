"""`cancel` from other threads; timeouts are in `tests/shells`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import errors
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import LET_IN, Line, ScriptedServer, serve

if TYPE_CHECKING:
    from tests.blocking.conftest import Connect


def marker(conn: pgwire.Connection, value: int = 7) -> bool:
    return bool(conn.query("select $1::int", [value]).scalar() == value)


def test_time_that_is_up_before_anything_is_sent(conn: pgwire.Connection) -> None:
    with pytest.raises(pgwire.QueryTimeout):
        conn.query("select 1", timeout=1e-9)
    assert marker(conn)


class TestCancel:
    def test_from_another_thread(self, conn: pgwire.Connection) -> None:
        timer = threading.Timer(0.05, conn.cancel)
        timer.start()
        with pytest.raises(errors.QueryCanceled):
            conn.query("select pg_sleep(30)")
        timer.join()
        assert marker(conn)

    def test_of_nothing_does_nothing(self, conn: pgwire.Connection) -> None:
        for i in range(50):
            go_on()
            conn.cancel()
            assert marker(conn, i)

    def test_on_a_closed_connection(self, connect: Connect) -> None:
        conn = connect()
        conn.close()
        with pytest.raises(pgwire.InterfaceError):
            conn.cancel()

    def test_a_server_that_is_gone(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        with ScriptedServer(script, on_cancel=Line.cut) as server:
            conn = connect(server.dsn)
        with pytest.raises(pgwire.OperationalError):
            conn.cancel()
        conn.close()

    def test_what_begins_while_a_cancel_is_on_its_way_is_not_hit(self, connect: Connect) -> None:
        """The request takes its time; a query that begins meanwhile waits until it is through."""
        asked, go = threading.Event(), threading.Event()
        order: list[str] = []

        def hold(line: Line) -> None:
            asked.set()
            go.wait(20)
            order.append("cancel arrived")

        def script(line: Line) -> None:
            line.send(LET_IN)
            line.expect("S")
            order.append("round trip")
            line.send(backend.ready())
            line.expect("PDH")
            order.append("query")
            line.send(backend.described(columns=[backend.column("v", 25)]))
            line.expect("BES")
            line.send(backend.executed(backend.row(b"x")))
            line.wait_for_hang_up()

        with ScriptedServer(script, on_cancel=hold) as server:
            conn = connect(server.dsn)
            canceller = threading.Thread(target=conn.cancel)
            canceller.start()
            assert asked.wait(20)
            threading.Timer(0.1, go.set).start()
            assert conn.query("select v").scalar() == "x"
            canceller.join()
            conn.close()
        assert order == ["cancel arrived", "round trip", "query"]

    def test_waiting_for_it_counts_into_the_timeout(self, connect: Connect) -> None:
        asked, go = threading.Event(), threading.Event()

        def hold(line: Line) -> None:
            asked.set()
            go.wait(20)

        def script(line: Line) -> None:
            line.let_in()
            serve(line, {"v": (backend.column("v", 25), [b"x"])})

        with ScriptedServer(script, on_cancel=hold) as server:
            conn = connect(server.dsn)
            canceller = threading.Thread(target=conn.cancel)
            canceller.start()
            assert asked.wait(20)
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("v", timeout=0.05)
            go.set()
            canceller.join()
            assert conn.query("v").scalar() == "x"
            conn.close()

    def test_many_at_random_moments(self, conn: pgwire.Connection) -> None:
        """A cancel may hit the query that runs when it is asked for, and no later one."""
        stop = threading.Event()
        called = 0

        def cancel() -> None:
            nonlocal called
            while not stop.is_set():
                conn.cancel()
                called += 1

        canceller = threading.Thread(target=cancel)
        canceller.start()
        hit = 0
        try:
            for i in range(300):
                go_on()
                try:
                    assert conn.query("select $1::int, pg_sleep(0.002)", [i]).one()[0] == i
                except errors.QueryCanceled:
                    hit += 1
        finally:
            stop.set()
            canceller.join()
        assert marker(conn)
        assert hit > 0
        assert called > 0
