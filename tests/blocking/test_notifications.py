"""Waiting for notifications among threads: who waits keeps nobody, and misses nothing."""

from __future__ import annotations

import gc
import os
import threading
from itertools import islice
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, until
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer
from tests.support.signals import Interrupted, interrupted_after, interrupted_when, main_is_in

if TYPE_CHECKING:
    from tests.blocking.conftest import Connect


def notify(conn: pgwire.Connection, *payloads: object) -> None:
    for payload in payloads:
        conn.query("select pg_notify('news', $1)", [str(payload)])


def sleeper(notifications: pgwire.Notifications) -> Thread:
    """A thread that waits for the next, once it really does."""
    thread = Thread(lambda: next(notifications))
    until(lambda: notifications._inbox.watchers)
    return thread


def test_who_waits_keeps_no_other_thread(conn: pgwire.Connection) -> None:
    conn.listen("news")
    thread = sleeper(conn.notifications())
    for number in range(100):
        assert conn.query("select $1::int", [number], timeout=PATIENCE).scalar() == number
    notify(conn, "own")  # read by this thread, for that one
    assert thread.outcome().payload == "own"


def test_nothing_is_lost_among_threads_that_query_and_one_that_waits(
    conn: pgwire.Connection, connect: Connect
) -> None:
    count = 2000
    conn.listen("news")
    taker = Thread(lambda: [n.payload for n in islice(conn.notifications(PATIENCE), count)])
    askers = [
        Thread(lambda: [conn.query("select $1::int", [n]).scalar() for n in range(500)])
        for _ in range(3)
    ]
    notify(connect(), *range(count))
    assert [asker.outcome() for asker in askers] == [list(range(500))] * 3
    assert taker.outcome() == [str(n) for n in range(count)]


def test_a_pipeline_that_is_under_way_gets_its_answers_all_the_same(
    conn: pgwire.Connection, connect: Connect
) -> None:
    """They are read for it, and what they have the session write is written."""
    conn.listen("news")
    notify(connect(), "a")
    with conn.pipeline() as pipeline:
        queries = [pipeline.query(f"select {n} + $1::int", [1]) for n in range(100)]
        assert queries[0].result().scalar() == 1
        assert next(conn.notifications(PATIENCE)).payload == "a"
        assert list(conn.notifications(timeout=0.05)) == []
        assert [query.result().scalar() for query in queries] == list(range(1, 101))


def test_several_threads_share_them(conn: pgwire.Connection, connect: Connect) -> None:
    conn.listen("news")
    threads = [sleeper(conn.notifications()) for _ in range(3)]
    notify(connect(), 1, 2, 3)
    assert sorted(thread.outcome().payload for thread in threads) == ["1", "2", "3"]


def test_time_runs_out_while_others_keep_the_connection(
    conn: pgwire.Connection, connect: Connect
) -> None:
    conn.listen("news")
    other = connect()
    asker = Thread(lambda: conn.query("select pg_sleep(60)"))
    until(lambda: _sleeps(other, conn.backend_pid))
    assert list(conn.notifications(timeout=0.05)) == []
    conn.cancel()
    with pytest.raises(pgwire.QueryCanceled):
        asker.outcome()


def _sleeps(conn: pgwire.Connection, pid: int) -> bool:
    """In the query itself: one that is only being prepared is active too, and no cancel hits it."""
    sql = "select wait_event = 'PgSleep' from pg_stat_activity where pid = $1"
    return bool(conn.query(sql, [pid]).scalar())


def test_closing_ends_it(conn: pgwire.Connection) -> None:
    conn.listen("news")
    thread = sleeper(conn.notifications())
    conn.close()
    with pytest.raises(pgwire.InterfaceError, match="closed"):
        thread.outcome()


def test_closing_ends_it_where_the_server_does_not_close_its_end(connect: Connect) -> None:
    over = threading.Event()

    def script(line: Line) -> None:
        line.let_in()
        over.wait(PATIENCE)

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        thread = sleeper(conn.notifications())
        conn.close()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            thread.outcome()
        over.set()


def test_a_connection_that_is_lost_wakes(conn: pgwire.Connection, connect: Connect) -> None:
    conn.listen("news")
    thread = sleeper(conn.notifications())
    connect().query("select pg_terminate_backend($1)", [conn.backend_pid])
    with pytest.raises(pgwire.ConnectionLost, match="terminating"):
        thread.outcome()


def test_releasing_the_lease_ends_it(dsn: str) -> None:
    with pgwire.Pool(dsn, max_size=1) as pool:
        lease = pool.connect()
        lease.listen("news")
        notifications = lease.notifications()
        thread = sleeper(notifications)
        lease.release()
        for again in (thread.outcome, lambda: next(notifications), lease.notifications):
            with pytest.raises(pgwire.InterfaceError, match="has been released"):
                again()
        with pool.connect() as lease:
            pool_pid = lease.backend_pid
            assert lease.query("select count(*) from pg_listening_channels()").scalar() == 0
            with pgwire.connect(dsn) as other:
                notify(other, "for the last lease")
            lease.ping()
            assert list(lease.notifications(timeout=0)) == []
        assert pool.query("select pg_backend_pid()").scalar() == pool_pid


def test_a_listener_of_on_connect_is_there_again_after_a_lease(dsn: str) -> None:
    """Waiting for notifications puts nothing in its place."""
    heard: list[object] = []

    def on_connect(conn: pgwire.Connection) -> None:
        conn.on("notice", heard.append)

    with pgwire.Pool(dsn, max_size=1, on_connect=on_connect) as pool:
        with pool.connect() as lease:
            lease.notifications()
            lease.query("do $$ begin raise notice 'one'; end $$")
        with pool.connect() as lease:
            lease.query("do $$ begin raise notice 'two'; end $$")
    assert len(heard) == 2


def test_a_callback_cannot_wait(conn: pgwire.Connection) -> None:
    notifications = conn.notifications(timeout=0)
    caught: list[pgwire.Error] = []

    def callback(notice: object) -> None:
        with pytest.raises(pgwire.InterfaceError, match="callbacks cannot wait") as info:
            next(notifications)
        caught.append(info.value)

    conn.on("notice", callback)
    conn.query("do $$ begin raise notice 'one'; end $$")
    assert len(caught) == 1


def test_ctrl_c_while_waiting(conn: pgwire.Connection, connect: Connect) -> None:
    conn.listen("news")
    notifications = conn.notifications()

    def waits() -> bool:
        return bool(notifications._inbox.watchers) and main_is_in("wait")

    with pytest.raises(Interrupted), interrupted_when(waits):
        next(notifications)
    assert conn.query("select 7").scalar() == 7
    notify(connect(), "a")
    assert next(notifications).payload == "a"


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_it_in_step_or_closed(connect: Connect) -> None:
    other = connect()
    conn = connect()
    conn.listen("news")
    strikes = 0
    for number in range(100):
        go_on()
        try:
            with interrupted_after(0.0005 + 0.00007 * number):
                for _ in range(50):
                    notify(other, *range(5))
                    list(conn.notifications(timeout=0.0001))
        except Interrupted:
            strikes += 1
        if other.closed:
            other = connect()
        if not conn.closed:
            try:
                list(conn.notifications(timeout=0))
                assert conn.query("select $1::int", [number], timeout=10).scalar() == number
            except (pgwire.InterfaceError, pgwire.ConnectionLost):
                assert conn.closed
        if conn.closed:
            conn = connect()
            conn.listen("news")
        if other.transaction_status is not pgwire.TransactionStatus.IDLE:
            other.query("rollback")
    assert strikes


def test_a_wait_without_select_poll(
    conn: pgwire.Connection, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("select.poll")
    conn.listen("news")
    assert list(conn.notifications(timeout=0.01)) == []
    thread = sleeper(conn.notifications())
    notify(connect(), "a")
    assert thread.outcome().payload == "a"


def test_an_iteration_leaves_no_descriptor_behind(conn: pgwire.Connection) -> None:
    conn.listen("news")
    list(conn.notifications(timeout=0.001))
    gc.collect()  # a ResourceWarning would be an error


def test_what_is_read_late_does_not_count_as_waiting(connect: Connect) -> None:
    """The server sends half of a message, and the rest of it much later."""
    half = backend.notification("news", "a")
    later = threading.Event()

    def script(line: Line) -> None:
        line.let_in()
        line.send(half[:7])
        later.wait(PATIENCE)
        line.send(half[7:])
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        assert list(conn.notifications(timeout=0.05)) == []
        later.set()
        assert next(conn.notifications(timeout=PATIENCE)).payload == "a"
        conn.close()


def test_a_child_is_told_whose_it_is(conn: pgwire.Connection) -> None:
    conn.listen("news")
    notifications = conn.notifications(timeout=0)
    pid = os.fork()
    if not pid:
        try:
            next(notifications)
        except pgwire.InterfaceError as error:
            os._exit(0 if "before a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert list(notifications) == []
