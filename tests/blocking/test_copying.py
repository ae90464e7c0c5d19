"""COPY in threads: who waits for whom, Ctrl-C, and what callbacks may not."""

from __future__ import annotations

import gc
import io
import os
import threading
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.blocking.test_interrupt import Keeper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.blocking.conftest import Connect

MANY = "copy (select n from generate_series(1, 3000000) n) to stdout"
IN = "copy copied from stdin"


def lines() -> Iterator[str]:
    return (f"{n}\tx\n" for n in count())


def test_with_a_sink_another_thread_waits_for_its_turn(conn: pgwire.Connection) -> None:
    entered, others = threading.Event(), []

    class Sink:
        def write(self, data: bytes) -> None:
            if not entered.is_set():
                entered.set()
                assert not done.wait(0.05)

    done = threading.Event()

    def ask() -> None:
        entered.wait(20)
        others.append(conn.query("select 7").scalar())
        done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    conn.copy_out("copy (select n from generate_series(1, 300000) n) to stdout", Sink())
    thread.join(20)
    assert others == [7]


def test_while_one_iterates_another_thread_is_refused_at_once(conn: pgwire.Connection) -> None:
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            conn.query("select 7")
        except pgwire.InterfaceError as error:
            caught.append(error)

    with conn.copy_out(MANY) as output:
        next(output)
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(20)
        assert "held by an open iteration" in str(caught[0])


def test_another_thread_may_go_on_with_it(conn: pgwire.Connection) -> None:
    output = conn.copy_out("copy (select n from generate_series(1, 300000) n) to stdout")
    parts = [next(output)]
    thread = threading.Thread(target=lambda: parts.extend(output))
    thread.start()
    thread.join(20)
    assert b"".join(parts) == "".join(f"{n}\n" for n in range(1, 300_001)).encode()
    assert conn.query("select 7").scalar() == 7


def test_sources_and_sinks_cannot_use_the_connection(conn: pgwire.Connection) -> None:
    conn.query("create temp table copied (id int, name text)")

    class Sink:
        def write(self, data: bytes) -> None:
            conn.query("select 1")

    def source() -> Iterator[str]:
        yield "1\tx\n"
        conn.query("select 1")

    def records() -> Iterator[tuple[int, str]]:
        yield 1, "x"
        conn.query("select 1")

    works: list[Callable[[], object]] = [
        lambda: conn.copy_out(MANY, Sink()),
        lambda: conn.copy_in(IN, source()),
        lambda: conn.copy_records("copied", records()),
    ]
    for work in works:
        with pytest.raises(pgwire.InterfaceError, match="of the same thread"):
            work()
        assert conn.query("select count(*) from copied").scalar() == 0


def test_a_callback_cannot_go_on_with_it(conn: pgwire.Connection) -> None:
    conn.script(
        "create or replace function pg_temp.chatty(n int) returns int language plpgsql as "
        "$$begin raise notice 'row %', n; return n; end$$"
    )
    caught: list[str] = []
    taken: list[bytes] = []
    sql = "copy (select pg_temp.chatty(n) from generate_series(1, 3) n) to stdout"
    output = conn.copy_out(sql)

    def hear(_notice: object) -> None:
        try:
            taken.extend(output)
        except pgwire.InterfaceError as error:
            caught.append(str(error))

    conn.on("notice", hear)
    for data in output:
        taken.append(data)  # noqa: PERF402 (the callback appends as well)
    assert b"".join(taken) == b"1\n2\n3\n"
    assert all("callbacks cannot" in text for text in caught)
    assert conn.query("select 7").scalar() == 7


def test_ctrl_c_at_any_moment(connect: Connect) -> None:
    """In a source, in a sink, while sending and while waiting; then a marker.

    Without the garbage collector: Python loses an interrupt that strikes in one of its callbacks.
    """
    keeper = Keeper(connect)

    def copy_in(conn: pgwire.Connection) -> None:
        conn.script("create temp table if not exists copied (id int, name text)")
        conn.copy_in(IN, (f"{n}\tx\n" for n in range(300_000)))

    def records(conn: pgwire.Connection) -> None:
        conn.script("create temp table if not exists copied (id int, name text)")
        conn.copy_records("copied", ((n, "x") for n in range(300_000)))

    def iterate(conn: pgwire.Connection) -> None:
        with conn.copy_out(MANY) as output:
            list(output)

    for work in (copy_in, records, iterate, lambda conn: conn.copy_out(MANY, io.BytesIO())):
        gc.collect()
        gc.disable()
        try:
            for n in range(25):
                keeper.strike(work, 0.002 + 0.001 * n)
        finally:
            gc.enable()
    assert keeper.interrupts > 50
    assert keeper.connections < 50


def test_dropped_by_the_garbage_collector_in_another_thread(conn: pgwire.Connection) -> None:
    output = conn.copy_out(MANY)
    next(output)
    cycle: list[Any] = [output]
    cycle.append(cycle)
    del output, cycle
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join(20)
    assert conn.query("select 7").scalar() == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_it_is_the_parents(conn: pgwire.Connection) -> None:
    output = conn.copy_out("copy (select n from generate_series(1, 300000) n) to stdout")
    parts = [next(output)]
    child = os.fork()
    if not child:
        status = 1
        try:
            next(output)
        except pgwire.InterfaceError:
            output.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    parts += output
    assert b"".join(parts) == "".join(f"{n}\n" for n in range(1, 300_001)).encode()


class TestPool:
    def test_each_call_takes_a_connection_and_gives_it_back(self, dsn: str) -> None:
        with pgwire.Pool(dsn, max_size=1) as pool:
            pool.query("drop table if exists copied_blocking")
            pool.query("create table copied_blocking (id int, name text)")
            try:
                assert pool.copy_in("copy copied_blocking from stdin", "1\ta\n") == 1
                assert pool.copy_records("copied_blocking", [(2, "b"), (3, "c")]) == 2
                file = io.BytesIO()
                assert pool.copy_out("copy copied_blocking to stdout", file) == 3
                output = pool.copy_out("copy copied_blocking to stdout")
                assert b"".join(output) == file.getvalue()
                assert output.row_count == 3
                with pytest.raises(pgwire.DataError):
                    pool.copy_in("copy copied_blocking from stdin", "x\n")
            finally:
                pool.query("drop table copied_blocking")
            assert pool.idle_count == pool.total_count == 1

    def test_left_early_the_connection_is_given_back(self, dsn: str) -> None:
        with pgwire.Pool(dsn, max_size=1) as pool:
            with pool.copy_out(MANY) as output:
                next(output)
                with pytest.raises(pgwire.PoolTimeout):
                    pool.query("select 1", timeout=0.02)
            pid = pool.query("select pg_backend_pid()").scalar()
            assert pool.query("select pg_backend_pid()").scalar() == pid
            with pytest.raises(pgwire.UndefinedTable):
                next(pool.copy_out("copy nowhere to stdout"))
            with pytest.raises(ZeroDivisionError):
                pool.copy_out(MANY, Raising())
            assert pool.query("select pg_backend_pid()").scalar() == pid
            for _ in pool.copy_out(MANY):
                break
            assert pool.query("select 7").scalar() == 7  # on another connection

    def test_a_lease_that_is_given_back_has_ended_it(self, dsn: str) -> None:
        with pgwire.Pool(dsn, max_size=1) as pool:
            with pool.connect() as lease:
                output = lease.copy_out(MANY)
                next(output)
            with pytest.raises(pgwire.InterfaceError, match="released"):
                list(output)
            output.close()
            assert pool.query("select 7").scalar() == 7

    def test_its_time_is_for_waiting_and_running(self, dsn: str) -> None:
        with pgwire.Pool(dsn, max_size=1) as pool:
            with pool.connect():
                for work in (
                    lambda: pool.copy_in("copy x from stdin", lines(), timeout=0.02),
                    lambda: pool.copy_out(MANY, io.BytesIO(), timeout=0.02),
                    lambda: next(pool.copy_out(MANY, timeout=0.02)),
                ):
                    with pytest.raises(pgwire.PoolTimeout):
                        work()
            sql = "copy (select pg_sleep(0.02) from generate_series(1, 1000)) to stdout"
            with pytest.raises(pgwire.QueryTimeout):
                pool.copy_out(sql, io.BytesIO(), timeout=0.1)
            with pytest.raises(pgwire.QueryTimeout):
                list(pool.copy_out(sql, timeout=0.1))
            assert pool.query("select 7").scalar() == 7

    def test_it_does_not_mark_the_session(self, dsn: str) -> None:
        """COPY is plain DML: what a lease has set by hand is seen by nobody else all the same."""
        with pgwire.Pool(dsn, max_size=1, reset="auto") as pool, pool.connect() as lease:
            lease.script("create temp table copied (id int, name text)")
            lease._driver.session.changed = False
            lease.copy_in(IN, "1\ta\n")
            lease.copy_records("copied", [(1, "a")])
            lease.copy_out("copy copied to stdout", io.BytesIO())
            assert not lease._driver.session.changed
            lease.release(discard=True)


class Raising:
    def write(self, data: bytes) -> None:
        raise ZeroDivisionError


def test_a_progress_callback_cannot_use_the_connection_that_calls_it(
    conn: pgwire.Connection, connect: Connect
) -> None:
    conn.query("create temp table copied (n int, name text)")
    with pytest.raises(pgwire.InterfaceError, match="callbacks cannot use"):
        conn.copy_in(IN, "1\tx\n", progress=lambda _: conn.query("select 1"))
    other = connect()
    assert conn.copy_in(IN, "1\tx\n", progress=lambda _: other.query("select 1")) == 1
    assert conn.query("select count(*) from copied").scalar() == 1


def test_ctrl_c_in_a_progress_callback(connect: Connect) -> None:
    """It is an exception of the callback's like any other."""

    def interrupted(_progress: pgwire.Progress) -> None:
        raise KeyboardInterrupt

    conn = connect()
    conn.query("create temp table copied (n int, name text)")
    with pytest.raises(KeyboardInterrupt):
        conn.copy_in(IN, lines(), progress=interrupted)
    with pytest.raises(KeyboardInterrupt):
        conn.copy_out(MANY, io.BytesIO(), progress=interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(conn.copy_out(MANY, progress=interrupted))
    with pytest.raises(KeyboardInterrupt):
        conn.query_many(
            "insert into copied values ($1)", ((n,) for n in count()), progress=interrupted
        )
    assert conn.query("select count(*) from copied").scalar() == 0
