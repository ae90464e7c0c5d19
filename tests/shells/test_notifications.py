"""LISTEN, UNLISTEN and iterating over what comes, on a real server."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import pytest

import pgwire
from pgwire.protocol.events import MAX_EVENTS
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.shells.conftest import Connect
    from tests.support.pgbouncer import PgBouncer

# No test waits that long; it bounds what a mistake costs.
PATIENCE = 20.0


@pytest.fixture
def other(connect: Connect) -> pgwire.Connection:
    """Who notifies."""
    return connect()


def notify(conn: pgwire.Connection, channel: str, *payloads: object) -> None:
    for payload in payloads:
        conn.query("select pg_notify($1, $2)", [channel, str(payload)])


def payloads(notifications: Iterable[pgwire.Notification]) -> list[str]:
    return [notification.payload for notification in notifications]


def come(conn: pgwire.Connection) -> list[str]:
    """What has come: the answer to the ping comes after whatever was sent before."""
    conn.ping()
    return payloads(conn.notifications(timeout=0))


class TestIterating:
    def test_they_come_as_they_were_sent(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notify(other, "news", "a", "b")
        notifications = conn.notifications(timeout=PATIENCE)
        expected = [pgwire.Notification("news", p, other.backend_pid) for p in ("a", "b")]
        assert list(islice(notifications, 2)) == expected

    def test_none_is_lost_between_listening_and_the_first_step(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notify(other, "news", *range(100))
        conn.query("select 1")  # reads some of them on its way
        notify(other, "news", *range(100, 200))
        found = payloads(islice(conn.notifications(timeout=PATIENCE), 200))
        assert found == [str(n) for n in range(200)]

    def test_it_ends_after_so_long_without_one(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        assert payloads(conn.notifications(timeout=0.01)) == []
        notify(other, "news", "a")
        notifications = conn.notifications(timeout=PATIENCE)
        assert next(notifications).payload == "a"
        assert payloads(conn.notifications(timeout=0.01)) == []
        assert payloads(conn.notifications(timeout=-1)) == []

    def test_an_iteration_that_has_ended_goes_on_when_it_is_asked(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notifications = conn.notifications(timeout=0.01)
        assert list(notifications) == []
        notify(other, "news", "a")
        conn.ping()
        assert payloads(notifications) == ["a"]

    def test_to_oneself(self, conn: pgwire.Connection) -> None:
        conn.listen("news")
        notify(conn, "news", "own")
        assert come(conn) == ["own"]

    def test_several_channels(self, conn: pgwire.Connection, other: pgwire.Connection) -> None:
        conn.listen("news")
        conn.listen("weather")
        conn.listen("news")
        notify(other, "news", 1)
        notify(other, "weather", 2)
        notify(other, "sports", 3)
        assert come(conn) == ["1", "2"]
        conn.unlisten("news")
        notify(other, "news", 4)
        notify(other, "weather", 5)
        assert come(conn) == ["5"]

    def test_what_came_before_stays_after_unlisten(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notify(other, "news", "a")
        conn.unlisten("news")
        conn.unlisten("never listened to")
        assert come(conn) == ["a"]

    @pytest.mark.parametrize("name", ["News", 'a"b', "select", "mit Lücke", "ä" * 31, "x" * 63])
    def test_names_are_taken_as_they_are(
        self, conn: pgwire.Connection, other: pgwire.Connection, name: str
    ) -> None:
        conn.listen(name)
        notify(other, name, "a")
        conn.ping()
        [notification] = conn.notifications(timeout=0)
        assert notification.channel == name

    def test_names_that_would_be_cut(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="64 bytes"):
            conn.listen("x" * 64)
        assert conn.query("select count(*) from pg_listening_channels()").scalar() == 0

    def test_a_timeout_that_is_none(self, conn: pgwire.Connection) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="timeout"):
            conn.notifications(timeout="soon")  # type: ignore[arg-type]

    def test_callbacks_get_them_too(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        heard: list[pgwire.Notification] = []
        conn.on("notification", heard.append)
        conn.listen("news")
        notify(other, "news", "a", "b")
        found = list(islice(conn.notifications(timeout=PATIENCE), 2))
        assert heard == found

    def test_two_iterations_share_them(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notify(other, "news", "a", "b")
        conn.ping()
        first, second = conn.notifications(timeout=0), conn.notifications(timeout=0)
        assert payloads([next(first), next(second)]) == ["a", "b"]
        assert payloads(first) == payloads(second) == []


class TestTransactions:
    def test_listening_begins_with_the_commit(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        with conn.transaction():
            conn.listen("news")
            notify(other, "news", "before")
        notify(other, "news", "after")
        assert come(conn) == ["after"]

    def test_it_is_undone_with_the_transaction(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        with conn.transaction() as transaction:
            conn.listen("news")
            transaction.rollback()
        notify(other, "news", "a")
        assert come(conn) == []

    def test_inside_of_one_nothing_comes(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        with conn.transaction():
            notify(other, "news", "a")
            assert come(conn) == []
        assert payloads(conn.notifications(timeout=0)) == ["a"]

    def test_in_a_failed_one(self, conn: pgwire.Connection) -> None:
        conn.query("begin")
        with pytest.raises(pgwire.DivisionByZero):
            conn.query("select 1/0")
        with pytest.raises(pgwire.InFailedSqlTransaction):
            conn.listen("news")
        conn.query("rollback")
        assert come(conn) == []


class TestEnds:
    def test_a_connection_that_is_lost(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        """What came before is taken first."""
        conn.listen("news")
        notify(other, "news", "a")
        conn.ping()
        other.query("select pg_terminate_backend($1)", [conn.backend_pid])
        notifications = conn.notifications(timeout=PATIENCE)
        assert next(notifications).payload == "a"
        with pytest.raises(pgwire.ConnectionLost, match="terminating connection") as info:
            next(notifications)
        assert isinstance(info.value, pgwire.AdminShutdown)
        with pytest.raises(pgwire.ConnectionLost, match="lost before"):
            next(notifications)
        with pytest.raises(pgwire.ConnectionLost, match="lost before"):
            conn.listen("news")

    def test_a_connection_that_is_closed(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notify(other, "news", "a")
        conn.ping()
        notifications = conn.notifications()
        conn.close()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            next(notifications)
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            conn.notifications()

    def test_while_a_stream_holds_the_connection(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        notifications = conn.notifications(timeout=PATIENCE)
        with conn.stream("select generate_series(1, 5)", fetch_size=1) as stream:
            next(stream)
            with pytest.raises(pgwire.InterfaceError, match="held by an open iteration"):
                next(notifications)
        notify(other, "news", "a")
        assert next(notifications).payload == "a"

    def test_a_stream_that_was_left_is_ended_first(
        self, conn: pgwire.Connection, other: pgwire.Connection
    ) -> None:
        conn.listen("news")
        next(iter(conn.stream("select generate_series(1, 100000)")))
        notify(other, "news", "a")
        assert next(conn.notifications(timeout=PATIENCE)).payload == "a"
        assert conn.query("select 7").scalar() == 7

    def test_a_server_that_speaks_nonsense(self, connect: Connect) -> None:
        def script(line: Line) -> None:
            line.let_in()
            line.expect("Q")
            line.send(backend.complete("LISTEN") + backend.ready())
            line.expect("S")
            line.send(backend.ready() + backend.notification("news", "a") + backend.row(b"x"))
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            conn.listen("news")
            notifications = conn.notifications(timeout=PATIENCE)
            conn.ping()
            assert next(notifications).payload == "a"
            with pytest.raises(pgwire.ProtocolError, match="DATA_ROW not expected"):
                next(notifications)
            with pytest.raises(pgwire.InterfaceError, match="closed"):
                next(notifications)

    def test_more_than_are_kept(self, connect: Connect) -> None:
        """Those that are dropped have a place in the order, and are counted there."""

        def script(line: Line) -> None:
            line.let_in()
            line.expect("S")
            for number in range(MAX_EVENTS + 3):
                line.send(backend.notification("news", str(number)))
            line.send(backend.ready())
            line.wait_for_hang_up()

        with ScriptedServer(script) as server:
            conn = connect(server.dsn)
            notifications = conn.notifications(timeout=0)
            conn.ping()
            with pytest.raises(pgwire.OperationalError, match=r"^3 notifications were dropped"):
                next(notifications)
            assert payloads(notifications) == [str(n) for n in range(3, MAX_EVENTS + 3)]
            conn.close()


class TestPoolers:
    def test_without_prepared_statements_it_is_refused(self, connect: Connect) -> None:
        conn = connect(prepare=False)
        with pytest.raises(pgwire.NotSupportedError, match="pooler"):
            conn.listen("news")
        assert conn.query("select 1").scalar() == 1

    def test_behind_pgbouncer(self, pgbouncer: PgBouncer, connect: Connect) -> None:
        conn = connect(pgbouncer.url, prepare=False)
        with pytest.raises(pgwire.NotSupportedError, match="connect to the server itself"):
            conn.listen("news")
