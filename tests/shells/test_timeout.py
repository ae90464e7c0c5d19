"""`timeout`: kept in time, and never at the cost of another query."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire import errors
from pgwire.protocol.messages import TransactionStatus
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer, serve
from tests.support.shells import COARSE, LATE

if TYPE_CHECKING:
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell


def marker(conn: pgwire.Connection, value: int = 7) -> bool:
    return bool(conn.query("select $1::int", [value]).scalar() == value)


class TestTimeout:
    def test_it_ends_the_query_in_time(self, conn: pgwire.Connection) -> None:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(pgwire.QueryTimeout) as caught:
                conn.query("select pg_sleep(60)", timeout=0.1)
            assert 0.1 - COARSE <= time.monotonic() - began < LATE
            assert isinstance(caught.value, TimeoutError)
            assert isinstance(caught.value, pgwire.OperationalError)
            assert marker(conn)

    def test_of_every_call_that_has_one(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.QueryTimeout):
            conn.script("select 1; select pg_sleep(30)", timeout=0.05)
        statement = conn.prepare("select pg_sleep($1)", timeout=5)
        with pytest.raises(pgwire.QueryTimeout):
            statement.query([30], timeout=0.05)
        conn.ping(timeout=5)
        assert marker(conn)

    def test_in_the_middle_of_rows(self, conn: pgwire.Connection) -> None:
        sql = "select repeat('x', 5000), pg_sleep(0.0002) from generate_series(1, 100000)"
        with pytest.raises(pgwire.QueryTimeout):
            conn.query(sql, timeout=0.1)
        assert marker(conn)

    def test_inside_a_transaction_it_fails_the_transaction(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.QueryTimeout):
            with conn.transaction():
                conn.query("select pg_sleep(30)", timeout=0.05)
        assert conn.transaction_status is TransactionStatus.IDLE
        assert marker(conn)

    def test_the_servers_own_stays_what_it_is(self, connect: Connect) -> None:
        conn = connect(settings={"statement_timeout": "50ms"})
        with pytest.raises(errors.QueryCanceled) as caught:
            conn.query("select pg_sleep(30)", timeout=20)
        assert not isinstance(caught.value, pgwire.QueryTimeout)
        assert marker(conn)

    def test_time_that_is_up_already(self, conn: pgwire.Connection) -> None:
        for timeout in (0, -1):
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select 1", timeout=timeout)
            assert marker(conn)

    def test_nothing_is_sent_without_any_time(self, connect: Connect) -> None:
        """Whoever counts down what is left to him would do what he then takes for not done."""
        said: list[str] = []

        def script(line: Line) -> None:
            line.let_in()
            said.append(line.read_message()[0])

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            for timeout in (0, 0.0, -1):
                with pytest.raises(pgwire.QueryTimeout, match="before it was sent"):
                    conn.query("insert into t values (1)", timeout=timeout)
            conn.close()
        assert said == ["X"]
        assert not server.cancels
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            conn.query("select 1", timeout=0)

    def test_time_enough_changes_nothing(self, conn: pgwire.Connection) -> None:
        for timeout in (5, 1e6, float("inf")):
            assert conn.query("select 1", timeout=timeout).scalar() == 1

    def test_a_late_cancel_hits_nobody(self, conn: pgwire.Connection) -> None:
        """Timeouts around the time that the query takes: each ends one way or the other."""
        late = 0
        for i in range(150):
            go_on()
            try:
                conn.query("select pg_sleep(0.001)", timeout=0.0005 + i * 0.00001)
            except pgwire.QueryTimeout:
                late += 1
            assert marker(conn, i)
        assert late > 10

    def test_a_server_that_ignores_the_cancel_is_left(
        self, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.2)

        def script(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            began = time.monotonic()
            with pytest.raises(pgwire.QueryTimeout, match="closed" if shell.is_blocking else None):
                conn.query("select 1", timeout=0.1)
            shell.settle()
            assert 0.3 - COARSE <= time.monotonic() - began < LATE
            assert conn.closed
            with pytest.raises(pgwire.InterfaceError, match="closed"):
                conn.query("select 1")
        assert len(server.cancels) == 1

    def test_it_is_not_called_canceled_if_it_was_carried_out(
        self, connect: Connect, shell: Shell
    ) -> None:
        """The request found nothing to cancel: who asks again would have it done twice."""
        asked_for = threading.Event()

        def on_cancel(line: Line) -> None:
            asked_for.set()
            line.cut()

        def script(line: Line) -> None:
            line.let_in()

            def say(data: bytes) -> None:
                if b"SELECT" in data:
                    asked_for.wait(20)
                line.send(data)

            serve(line, {"a": (backend.column("v", 25), [b"a"])}, say)

        with ScriptedServer(script, on_cancel=on_cancel) as server:
            conn = connect(server.dsn)
            told = "what it does is done" if shell.is_blocking else "is being canceled"
            with pytest.raises(pgwire.QueryTimeout, match=told):
                conn.query("a", timeout=0.05)
            assert conn.query("a").scalar() == "a"
            conn.close()

    def test_a_cancel_that_has_overtaken_its_query_is_sent_again(
        self, connect: Connect, shell: Shell
    ) -> None:
        """The first hits nothing, as the server has not read the query yet."""
        asked_again = threading.Event()

        def on_cancel(line: Line) -> None:
            if len(server.cancels) > 1:
                asked_again.set()
            line.cut()

        def script(line: Line) -> None:
            line.let_in()
            line.expect("PDH")
            line.send(backend.described(columns=[backend.column()]))
            line.expect("BES")
            assert asked_again.wait(20)
            line.send(backend.error("57014"), backend.ready())
            serve(line, {"": (backend.column(), [])})

        with ScriptedServer(script, on_cancel=on_cancel) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select 1", timeout=0.05)
            shell.settle()
            assert not conn.closed
            assert len(server.cancels) >= 2  # where the machine is busy, it is asked once more

    @pytest.mark.parametrize("how", ["refused", "silent"])
    def test_a_cancel_that_cannot_be_delivered(
        self, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.2)
        on_cancel = Line.reset if how == "refused" else Line.wait_for_hang_up

        def script(line: Line) -> None:
            line.let_in()
            line.wait_for_hang_up()

        with ScriptedServer(script, on_cancel=on_cancel) as server:
            conn = connect(server.dsn)
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select 1", timeout=0.05)
            shell.settle()
            assert conn.closed

    def test_a_server_that_drips_wins_no_time(
        self, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.2)

        def script(line: Line) -> None:
            line.let_in()
            while True:
                line.send(backend.notice("not yet"))

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            began = time.monotonic()
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select 1", timeout=0.1)
            shell.settle()
            assert time.monotonic() - began < LATE
            assert conn.closed

    def test_a_server_that_does_not_read_a_large_parameter(
        self, connect: Connect, shell: Shell, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(f"{shell.giving_up}.PATIENCE", 0.2)
        done = threading.Event()

        def script(line: Line) -> None:
            line.let_in()
            line.expect("PDH")
            line.send(backend.described([17], [backend.column("v", 25)]))
            done.wait(60)

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            began = time.monotonic()
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select $1::bytea", [bytes(20_000_000)], timeout=0.3)
            shell.settle()
            assert time.monotonic() - began < LATE
            assert conn.closed
            done.set()

    def test_an_answer_that_comes_while_we_are_still_writing(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.expect("PDH")
            line.send(backend.described([17], [backend.column("v", 25)]))
            line.read_exactly(100_000)
            line.send(backend.error("22023", "too much"), backend.ready())
            line.wait_until_read()
            line.read_exactly(900_000)
            while line.read_exactly(1) != b"S":  # all that follows the value
                pass
            line.read_exactly(4)
            serve(line, {"v": (backend.column("v", 25), [b"x"])})

        with ScriptedServer(script, unix=True) as server:
            conn = connect(server.dsn)
            with pytest.raises(errors.InvalidParameterValue, match="too much"):
                conn.query("select $1::bytea", [bytes(1_000_000)])
            assert conn.query("v").scalar() == "x"
            conn.close()
