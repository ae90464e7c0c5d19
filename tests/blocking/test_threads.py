"""One connection and many threads; closing; forking."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.pool.support import FORKS_QUIETLY

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.blocking.conftest import Connect
    from tests.support.gate import Gate


def run_in_threads(count: int, work: Callable[[int], object]) -> None:
    """Run it so many times at once; what one of them raises is raised here."""
    raised: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=[number]) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


class TestSharing:
    def test_everybody_gets_his_own_answers(self, conn: pgwire.Connection) -> None:
        def work(number: int) -> None:
            for i in range(200):
                value = number * 1000 + i
                if i % 10 == 9:
                    with pytest.raises(errors.DivisionByZero):
                        conn.query("select $1::int / 0", [value])
                elif i % 10 == 8:
                    assert conn.script(f"select {value}; select 1")[0].scalar() == value
                else:
                    assert conn.query("select $1::int", [value]).scalar() == value

        run_in_threads(8, work)

    def test_waiting_for_the_turn_counts_into_the_timeout(
        self, conn: pgwire.Connection, gate: Gate
    ) -> None:
        holder = threading.Thread(target=conn.query, args=[f"select 1 from {gate.waiting}"])
        holder.start()
        gate.wait_for_somebody()
        with pytest.raises(pgwire.QueryTimeout, match="another thread"):
            conn.query("select 1", timeout=0.1)
        gate.open()
        holder.join()
        assert conn.query("select 1", timeout=5).scalar() == 1

    def test_timeouts_of_some_do_no_harm_to_others(self, conn: pgwire.Connection) -> None:
        def work(number: int) -> None:
            for i in range(20):
                if number == 0:
                    with pytest.raises(pgwire.QueryTimeout):
                        conn.query("select pg_sleep(20)", timeout=0.005)
                else:
                    assert conn.query("select $1::int", [i]).scalar() == i

        run_in_threads(4, work)


class TestClosing:
    def test_twice(self, connect: Connect) -> None:
        conn = connect()
        conn.close()
        conn.close()
        assert conn.closed
        assert "closed" in repr(conn)

    def test_the_block_closes(self, connect: Connect) -> None:
        with connect() as conn:
            assert not conn.closed
        assert conn.closed

    def test_the_server_has_seen_the_end_when_it_returns(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        other = connect()
        other.close()
        sql = "select count(*) from pg_stat_activity where pid = $1"
        assert conn.query(sql, [other.backend_pid]).scalar() == 0

    @pytest.mark.parametrize(
        "call",
        [
            lambda conn: conn.query("select 1"),
            lambda conn: conn.script("select 1"),
            lambda conn: conn.ping(),
            lambda conn: conn.prepare("select 1"),
            lambda conn: conn.cancel(),
            lambda conn: conn.transaction().__enter__(),
        ],
    )
    def test_every_call_afterwards_says_so(self, connect: Connect, call: Any) -> None:
        conn = connect()
        conn.close()
        with pytest.raises(pgwire.InterfaceError, match="the connection is closed"):
            call(conn)

    def test_a_statement_of_a_closed_connection(self, connect: Connect) -> None:
        conn = connect()
        statement = conn.prepare("select 1")
        conn.close()
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            statement.query()
        statement.close()

    def test_while_another_thread_is_busy_it_waits_for_its_turn(
        self, connect: Connect, gate: Gate
    ) -> None:
        conn = connect()
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(conn.query(f"select 1 from {gate.waiting}").scalar())
        )
        thread.start()
        gate.wait_for_somebody()
        opening = threading.Timer(0.05, gate.open)  # `close` waits by then, mostly
        opening.start()
        conn.close()
        opening.join()
        thread.join()
        assert answers == [1]

    def test_a_lost_connection_can_be_closed_and_stays_lost(
        self, conn: pgwire.Connection, connect: Connect
    ) -> None:
        other = connect()
        conn.query("select pg_terminate_backend($1, 5000)", [other.backend_pid])
        with pytest.raises(errors.AdminShutdown):
            other.query("select 1")
        with pytest.raises(pgwire.ConnectionLost, match="lost before"):
            other.query("select 1")
        other.close()
        assert other.closed


FORK = """
import os, signal, sys, threading
import pgwire

signal.alarm(20)
conn = pgwire.connect(sys.argv[1])
pid = conn.query("select pg_backend_pid()").scalar()
if sys.argv[2] == "while busy":
    busy = threading.Thread(target=conn.query, args=["select pg_sleep(0.5)"])
    busy.start()
    while not conn._driver._owner:
        pass

child = os.fork()
if child == 0:
    signal.alarm(10)
    wrong = 0
    for call in (lambda: conn.query("select 1"), conn.ping, conn.cancel,
                 lambda: conn.script("select 1"), lambda: conn.transaction().__enter__()):
        try:
            call()
            wrong += 1
        except pgwire.InterfaceError as error:
            wrong += "fork" not in str(error)
    own = pgwire.connect(sys.argv[1])
    wrong += own.query("select 1").scalar() != 1
    own.close()
    if sys.argv[2] != "without closing":
        conn.close()
    os._exit(wrong)

if sys.argv[2] == "while busy":
    busy.join()
_, status = os.waitpid(child, 0)
assert status == 0, status
assert conn.query("select pg_backend_pid()").scalar() == pid
conn.close()
print("well")
"""


FORK_WHILE_READING = """
import gc, json, os, signal, sys, threading
import pgwire

signal.alarm(20)
begun, forked = threading.Event(), threading.Event()

def loads(text):
    begun.set()
    forked.wait()
    return json.loads(text)

conn = pgwire.connect(sys.argv[1], json_loads=loads)
sql = "select json_build_array(n) from generate_series(1, 5000) n"
reading = threading.Thread(target=conn.query, args=[sql])
if sys.argv[2] == "disabled":
    gc.disable()
reading.start()
begun.wait()
child = os.fork()
if child == 0:
    os._exit(gc.isenabled())
forked.set()
reading.join()
assert gc.isenabled() is (sys.argv[2] == "enabled")
_, status = os.waitpid(child, 0)
conn.close()
print("enabled" if status else "disabled")
"""


@pytest.mark.parametrize("collector", ["enabled", "disabled"])
def test_a_child_has_the_garbage_collector_that_its_parent_has(dsn: str, collector: str) -> None:
    """It rests while another thread reads many rows, and nobody was left to have it go on."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_WHILE_READING, dsn, collector],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{collector}\n", "")


@pytest.mark.parametrize("how", ["closing", "without closing", "while busy"])
@pytest.mark.parametrize("tls", [False, True])
def test_a_forked_child_may_not_use_it_and_the_parent_keeps_it(
    request: pytest.FixtureRequest, how: str, tls: bool
) -> None:
    url = request.getfixturevalue("tls_server").tls_url if tls else request.getfixturevalue("dsn")
    done = subprocess.run(
        [sys.executable, "-W", "error", *FORKS_QUIETLY, "-c", FORK, url, how],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        timeout=30,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
