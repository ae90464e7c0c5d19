"""Ctrl-C in a replication: what was acknowledged is told, and nothing is lost."""

from __future__ import annotations

import random
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import until
from tests.support.signals import Interrupted, interrupted_after, interrupted_when, main_is_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgwire import embedded
    from tests.blocking.conftest import Connect

SLOT = "struck"

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture
def admin(embedded_server: embedded.Server) -> Iterator[pgwire.Connection]:
    with pgwire.connect(embedded_server.url) as conn:
        conn.script("create table note (id int); create publication notes for table note")
        conn.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [SLOT])
        yield conn
        wait_until_free(conn)
        conn.query("select pg_drop_replication_slot($1)", [SLOT])
        conn.script("drop publication notes; drop table note")


def confirmed(admin: pgwire.Connection) -> pgwire.Lsn:
    sql = "select confirmed_flush_lsn from pg_replication_slots where slot_name = $1"
    return pgwire.Lsn(admin.query(sql, [SLOT]).scalar())


def wait_until_free(admin: pgwire.Connection) -> None:
    """Whoever had the slot may have been struck so that the server has to find out by itself."""
    sql = "select not active from pg_replication_slots where slot_name = $1"
    until(lambda: admin.query(sql, [SLOT]).scalar())


def test_while_it_waits(
    admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
) -> None:
    conn = connect(embedded_server.url, replication="database")
    conn.create_replication_slot("passing", temporary=True)
    admin.query("insert into note values (1)")
    replication = conn.replicate(SLOT, "notes")
    while not isinstance(message := replication.receive(20), pgwire.Commit):
        assert message is not None
    replication.acknowledge(message)
    is_waiting = partial(main_is_in, "_drive", "wait_readable")
    with pytest.raises(Interrupted), interrupted_when(is_waiting):
        replication.receive(20)
    assert list(replication) == []
    assert conn.script("select 7")[0].scalar() == 7
    assert confirmed(admin) >= message.end_lsn
    # It was not canceled: that would have cost this one.
    conn.drop_replication_slot("passing")


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_at_random_moments(
    admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
) -> None:
    """Each begins where the last had acknowledged, and none is missed.

    `acknowledged` is how far it may have done so: told or not, if it was struck in the middle.
    """
    chance = random.Random(7)
    acknowledged = 0
    for total in range(300, 4500, 300):
        for start in range(total - 300, total, 100):
            admin.query("insert into note select generate_series($1::int, $1 + 99)", [start])
        conn = connect(embedded_server.url, replication="database")
        expected = None
        replication = conn.replicate(SLOT, "notes", status_interval=0.001)
        # It goes on until it is struck, or the strike was dropped.
        with suppress(Interrupted), replication, interrupted_after(chance.uniform(0.001, 0.03)):
            while (message := replication.receive(2)) is not None:
                if isinstance(message, pgwire.Insert):
                    if expected is None:
                        # What was told may not have been heard, when it struck there.
                        assert message.new.id <= acknowledged
                    else:
                        assert message.new.id == expected
                    expected = message.new.id + 1
                elif isinstance(message, pgwire.Commit):
                    assert expected is not None
                    acknowledged = max(acknowledged, expected)
                    replication.acknowledge(message)
        conn.close()
        wait_until_free(admin)
    total += 100
    admin.query("insert into note select generate_series($1 - 100, $1::int - 1)", [total])
    with (
        connect(embedded_server.url, replication="database") as conn,
        conn.replicate(SLOT, "notes") as replication,
    ):
        rest: list[int] = []
        while not rest or rest[-1] < total - 1:
            message = replication.receive(20)
            assert message is not None
            if isinstance(message, pgwire.Insert):
                rest.append(message.new.id)
    assert rest[0] <= acknowledged
    assert rest == list(range(rest[0], total))


def test_another_thread_acknowledges(
    admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
) -> None:
    """And cancels what this one waits for."""
    conn = connect(embedded_server.url, replication="database")
    commits: list[pgwire.Commit] = []
    came = threading.Event()
    with conn.replicate(SLOT, "notes", status_interval=0.01) as replication:

        def work() -> None:
            came.wait()
            replication.acknowledge(commits[0])
            while confirmed(admin) < commits[0].end_lsn:
                pass
            conn.cancel()

        worker = threading.Thread(target=work)
        worker.start()
        admin_too = connect(embedded_server.url)
        admin_too.query("insert into note values (1)")
        with pytest.raises(pgwire.QueryCanceled):  # noqa: PT012
            for message in replication:
                if isinstance(message, pgwire.Commit):
                    commits.append(message)
                    came.set()
        worker.join()
    assert conn.script("select 7")[0].scalar() == 7


@pytest.mark.parametrize("where", ["proceed", "take", "pop"])
@pytest.mark.parametrize("closes", ["connection", "replication"])
def test_another_thread_closes_it_at_any_moment(
    admin: pgwire.Connection,
    embedded_server: embedded.Server,
    connect: Connect,
    where: str,
    closes: str,
) -> None:
    """With the connection it is canceled, which is not its end; by itself it is over."""
    conn = connect(embedded_server.url, replication="database")
    admin.query("insert into note values (1)")
    replication = conn.replicate(SLOT, "notes")
    assert isinstance(next(replication), pgwire.Begin)
    admin.query("insert into note values (2)")
    close = conn.close if closes == "connection" else replication.close
    close_in_thread = partial(in_thread, close)
    hold: Any = replication._hold
    messages = replication._messages
    real: Any = getattr(hold, where, None)

    def closing(*arguments: Any) -> Any:
        if where == "take":
            close_in_thread()
            return real(*arguments)
        result = real(*arguments)
        close_in_thread()
        return result

    class Closing(deque[Any]):
        def extend(self, items: Iterable[Any]) -> None:
            super().extend(items)
            close_in_thread()

    if where == "pop":
        replication._messages = Closing(messages)
    else:
        setattr(hold, where, closing)
    rest: list[pgwire.ReplicationMessage] = []
    if closes == "connection":
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            rest.extend(replication)
    else:
        rest.extend(replication)
        with pytest.raises(pgwire.InterfaceError, match="this replication is over"):
            replication.receive()
    assert conn.closed is (closes == "connection")


def in_thread(work: Callable[[], object]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
