"""Ctrl-C at any moment: afterwards the connection is in step, or it is closed."""

from __future__ import annotations

import ctypes
import random
import signal
import sys
import threading
from contextlib import suppress
from itertools import chain, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.blocking import copying, driver, holding, streaming
from pgwire.protocol.messages import TransactionStatus
from tests.support.guards import go_on
from tests.support.signals import Interrupted, interrupted_after, interrupted_when, main_is_in
from tests.support.striking import strike_at

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from tests.blocking.conftest import Connect


SLEEP = "select pg_sleep(60)"


def waiting_for(
    eyes: pgwire.Connection, conn: pgwire.Connection, event: str = "PgSleep"
) -> Callable[[], bool]:
    """Whether the server sleeps in a query of this connection, and the main thread waits for that.

    Nothing comes for as long as it does. (To strike after some time is to hope: under load it
    may not have come so far, and where it is in the middle of sending the connection is closed.)
    """

    def look() -> bool:
        sql = "select wait_event from pg_stat_activity where pid = $1"
        is_asleep = eyes.query(sql, [conn.backend_pid]).scalar() == event
        return is_asleep and not conn._driver._unsafe and main_is_in("_drive", "wait_readable")

    return look


class Keeper:
    """Keeps a connection: a new one where the last did not survive."""

    def __init__(self, connect: Connect) -> None:
        self._connect = connect
        self.connections = 0
        self.interrupts = 0
        self.eyes = connect()
        self.renew()

    def renew(self) -> None:
        self.conn = self._connect()
        self.connections += 1

    def strike(
        self, work: Callable[[pgwire.Connection], object], seconds: float | None = None
    ) -> None:
        """Interrupt the work, then ask for a marker: it comes, or the connection is closed.

        After so many seconds; else while it waits for a server that sleeps.
        """
        go_on()
        try:
            with (
                interrupted_when(waiting_for(self.eyes, self.conn))
                if seconds is None
                else interrupted_after(seconds)
            ):
                work(self.conn)
        except Interrupted:
            self.interrupts += 1
        if self.conn.closed:
            with pytest.raises((pgwire.InterfaceError, pgwire.ConnectionLost)):
                self.conn.query("select 1")
            self.renew()
            return
        marker = f"marker {self.interrupts}"
        (result,) = self.conn.script(f"select '{marker}'")
        assert result.scalar() == marker
        assert self.conn.query("select $1::text", [marker], timeout=10).scalar() == marker
        if self.conn.transaction_status is not TransactionStatus.IDLE:
            self.conn.query("rollback")  # it struck between the block and its end


@pytest.fixture
def keeper(connect: Connect) -> Keeper:
    return Keeper(connect)


def busy(conn: pgwire.Connection) -> None:
    """Short queries: most of the time is spent in our own code."""
    for i in range(2000):
        assert conn.query("select $1::int", [i]).scalar() == i


def fresh(conn: pgwire.Connection) -> None:
    """Queries of two flights each."""
    for i in range(500):
        assert conn.query(f"select {i}").scalar() == i


def reading(conn: pgwire.Connection) -> None:
    conn.query("select i, repeat('x', 100) from generate_series(1, 50000) i")


def writing(conn: pgwire.Connection) -> None:
    conn.query("select length($1::bytea)", [bytes(30_000_000)])


def in_transactions(conn: pgwire.Connection) -> None:
    for _ in range(500):
        with conn.transaction():
            conn.query("select 1")


def pipelining(conn: pgwire.Connection) -> None:
    for _ in range(20):
        with conn.pipeline() as p:
            asked = [p.query("select $1::int", [n]) for n in range(100)]
        assert [each.result().scalar() for each in asked] == [*range(100)]


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("work", "rounds", "longest"),
    [
        (busy, 150, 0.008),
        (fresh, 60, 0.008),
        (reading, 25, 0.03),
        (writing, 25, 0.03),
        (in_transactions, 80, 0.008),
        (pipelining, 80, 0.008),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_at_random_moments(
    keeper: Keeper, work: Callable[[pgwire.Connection], None], rounds: int, longest: float
) -> None:
    chance = random.Random(work.__name__)
    for _ in range(rounds):
        keeper.strike(work, chance.uniform(0.0001, longest))
    assert keeper.interrupts > rounds / 2


@pytest.mark.parametrize("moment", ["begin", "commit", "rollback"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_at_the_ends_of_a_transaction_nothing_is_left_open(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, moment: str, when: str
) -> None:
    """It strikes just before the round trip that begins or ends the block, or just after."""
    conn = connect()
    run = conn._driver.run
    armed = moment == "begin"

    def strike(operation: Any, timeout: float | None = None) -> Any:
        if when == "after" or not armed:
            run(operation, timeout)
        if armed:
            raise KeyboardInterrupt

    monkeypatch.setattr(conn._driver, "run", strike)
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012
        with conn.transaction() as transaction:
            armed = True
            if moment == "rollback":
                transaction.rollback()
    monkeypatch.setattr(conn._driver, "run", run)
    if not conn.closed:
        assert conn.transaction_status is TransactionStatus.IDLE
        with conn.transaction():
            assert conn.query("select 2").scalar() == 2


@pytest.mark.usefixtures("patient")
def test_while_waiting_it_costs_the_query_and_not_the_connection(keeper: Keeper) -> None:
    for _ in range(5):
        keeper.strike(lambda conn: conn.query(SLEEP))
    assert keeper.interrupts == 5
    assert keeper.connections == 1


@pytest.mark.usefixtures("patient")
def test_who_observes_is_told(connect: Connect) -> None:
    conn = connect()
    seen: list[pgwire.QueryReport] = []
    conn.on("query", seen.append)
    with pytest.raises(Interrupted), interrupted_when(waiting_for(connect(), conn)):
        conn.query(SLEEP)
    assert [type(report.error) for report in seen] == [Interrupted]
    assert conn.query("select 1").scalar() == 1
    assert len(seen) == 2


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("where", ["result", "body"])
def test_who_observes_a_pipeline_is_told(connect: Connect, where: str) -> None:
    conn = connect()
    seen: list[pgwire.QueryReport] = []
    conn.on("query", seen.append)
    with pytest.raises(Interrupted) as caught:  # noqa: PT012
        with conn.pipeline() as p:
            quick, slow = p.query("select 1"), p.query(SLEEP)
            assert quick.result().scalar() == 1
            if where == "body":
                raise Interrupted
            with interrupted_when(waiting_for(connect(), conn)):
                slow.result()
    assert [report.error for report in seen] == [None, caught.value]
    assert conn.query("select 1").scalar() == 1
    assert len(seen) == 3


@pytest.mark.usefixtures("patient")
def test_while_a_pipeline_waits_it_costs_what_is_under_way(keeper: Keeper) -> None:
    def work(conn: pgwire.Connection) -> None:
        with conn.pipeline() as p:
            asked.append(p.query("select 1"))
            asked.append(p.query(SLEEP))
            asked.append(p.query(SLEEP))
            asked[0].result()  # it is not to come while the last is waited for
            asked[-1].result()

    for _ in range(5):
        asked: list[pgwire.PipelineQuery[Any]] = []
        keeper.strike(work)
        for each in asked[1:]:
            with pytest.raises((pgwire.QueryCanceled, pgwire.InterfaceError)):
                each.result()
    assert keeper.interrupts == 5
    assert keeper.connections == 1


HOLDS = frozenset(str(module.__file__) for module in (copying, driver, holding, streaming))


def streamed(conn: pgwire.Connection) -> None:
    for row in conn.stream("select generate_series(1, 25)", fetch_size=10):
        assert row


def left(conn: pgwire.Connection) -> None:
    with conn.stream("select generate_series(1, 10000)", fetch_size=10) as rows:
        assert next(rows)


def copied(conn: pgwire.Connection) -> None:
    with conn.copy_out("copy (select generate_series(1, 10000)) to stdout") as data:
        assert next(data)


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("work", [streamed, left, copied])
def test_at_any_moment_of_an_iteration_the_connection_is_held_no_longer(
    keeper: Keeper, work: Callable[[pgwire.Connection], None]
) -> None:
    nth = 0
    while moment := strike_at(nth, lambda: work(keeper.conn), HOLDS):
        print("struck at", moment)  # the last is the culprit
        nth += 1
        if keeper.conn.closed:
            keeper.renew()
        assert keeper.conn.query("select $1::int", [nth], timeout=10).scalar() == nth
    assert nth > 20, "there are more such moments"


def test_while_waiting_for_another_thread(keeper: Keeper) -> None:
    conn, eyes = keeper.conn, keeper.eyes
    eyes.query("select pg_advisory_lock(71)")
    other = threading.Thread(target=conn.query, args=["select pg_advisory_xact_lock(71)"])
    other.start()
    sql = "select count(*) from pg_stat_activity where pid = $1 and wait_event_type = 'Lock'"
    while not eyes.query(sql, [conn.backend_pid]).scalar():
        assert other.is_alive()
    with pytest.raises(Interrupted), interrupted_when(lambda: main_is_in("_wait_for_turn")):
        conn.query("select 1")
    eyes.query("select pg_advisory_unlock(71)")
    other.join()
    assert conn.query("select 2").scalar() == 2
    assert keeper.connections == 1


@pytest.mark.usefixtures("patient")
def test_while_waiting_behind_a_pipeline_it_costs_nothing_of_that(keeper: Keeper) -> None:
    """The head of the pipeline was canceled in place of what waited behind it."""
    conn, eyes = keeper.conn, keeper.eyes
    eyes.query("select pg_advisory_lock(72)")
    with conn.pipeline() as p:
        slow = p.query("select 'slept' from pg_advisory_xact_lock(72)")
        for _ in range(3):  # the second and the third wait for the first to be ended
            with (
                pytest.raises(Interrupted),
                interrupted_when(waiting_for(eyes, conn, "advisory")),
            ):
                conn.query(SLEEP)
        eyes.query("select pg_advisory_unlock(72)")
        assert slow.result().scalar() == "slept"
    assert conn.query("select 7").scalar() == 7
    assert keeper.connections == 1


@pytest.mark.usefixtures("patient")
def test_who_runs_out_of_time_harms_no_other_thread(keeper: Keeper) -> None:
    conn, eyes = keeper.conn, keeper.eyes
    eyes.query("select pg_advisory_lock(73)")
    asked, timed_out = threading.Event(), threading.Event()
    answers: list[object] = []

    def work() -> None:
        with conn.pipeline() as p:
            slow = p.query("select 'slept' from pg_advisory_xact_lock(73)")
            asked.set()
            timed_out.wait(60)
            answers.append(slow.result().scalar())
            answers.append(p.query("select 3").result().scalar())

    other = threading.Thread(target=work)
    other.start()
    assert asked.wait(20)
    with pytest.raises(pgwire.QueryTimeout):
        conn.query(SLEEP, timeout=0.05)
    timed_out.set()
    eyes.query("select pg_advisory_unlock(73)")
    other.join(30)
    assert answers == ["slept", 3]
    assert conn.query("select 7").scalar() == 7


def test_in_a_decoder(connect: Connect) -> None:
    def loads(text: str) -> object:
        raise KeyboardInterrupt

    conn = connect(json_loads=loads)
    with pytest.raises(KeyboardInterrupt):
        conn.query("select '1'::jsonb from generate_series(1, 1000)")
    if not conn.closed:
        assert conn.query("select 2").scalar() == 2
    else:
        with pytest.raises(pgwire.InterfaceError, match="closed"):
            conn.query("select 2")


def test_in_a_callback_or_a_row_factory_it_costs_nothing(conn: pgwire.Connection) -> None:
    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    conn.on("notice", interrupt)
    with pytest.raises(KeyboardInterrupt):
        conn.query("do $$ begin raise notice 'x'; end $$")
    with pytest.raises(KeyboardInterrupt):
        conn.query("select 1", row=interrupt)
    assert conn.query("select 2").scalar() == 2


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_other_threads_go_on(keeper: Keeper) -> None:
    """Ctrl-C in the main thread; whoever else uses the connection is served, or told."""
    wrong: list[object] = []
    stop = threading.Event()

    def work(number: int) -> None:
        i = number * 1_000_000
        while not stop.is_set():
            conn = keeper.conn
            i += 1
            with suppress(pgwire.InterfaceError, pgwire.ConnectionLost):
                answer = conn.query("select $1::int", [i]).scalar()
                if answer != i:
                    wrong.append((i, answer))

    threads = [threading.Thread(target=work, args=[n]) for n in (1, 2)]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    try:
        for _ in range(60):
            keeper.strike(busy, chance.uniform(0.001, 0.01))
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []


def test_while_waiting_for_bytes_nothing_is_lost(conn: pgwire.Connection) -> None:
    channel = conn._driver.channel
    arriving = channel.arriving

    def struck(_: object) -> bytes:
        channel.arriving = arriving
        raise Interrupted

    for sql in ("select 1", "select repeat('x', 200000)"):
        conn.query(sql)
        channel.arriving = map(struck, [1])
        with pytest.raises(Interrupted):
            conn.query(sql)
        assert not conn.closed
        assert conn.query("select 'in step'").scalar() == "in step"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no libc to strike from")
def test_what_has_just_been_read_is_not_lost(conn: pgwire.Connection) -> None:
    """The signal comes in C code, behind the bytes: Python hears of it when it has both."""

    def strike(signum: int, frame: FrameType | None) -> None:
        raise Interrupted

    channel = conn._driver.channel
    arriving = channel.arriving
    assert arriving is not None
    strikes = ctypes.CDLL(None)["raise"]
    before = signal.signal(signal.SIGALRM, strike)
    try:
        for sql in ("select 1", "select repeat('x', 200000)"):
            conn.query(sql)
            # At the first read: those that follow are the recovery's.
            struck = chain(map(strikes, [signal.SIGALRM]), repeat(0))
            channel.arriving = map(itemgetter(0), zip(arriving, struck, strict=False))
            with pytest.raises(Interrupted):
                conn.query(sql)
            channel.arriving = arriving
            assert not conn.closed
            assert conn.query("select 'in step'").scalar() == "in step"
    finally:
        signal.signal(signal.SIGALRM, before)
