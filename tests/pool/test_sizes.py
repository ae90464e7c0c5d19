"""How many connections there are: floor, ceiling, checks, resize, expire, wait."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import chores
from tests.pool.support import PATIENCE, Clock, Thread, alive, in_vain, kill, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Iterator


def take(p: pgwire.Pool, count: int) -> list[Any]:
    return [p.connect() for _ in range(count)]


def give_back(leases: list[Any]) -> list[int]:
    """Release them all; their backends."""
    pids = [lease.backend_pid for lease in leases]
    for lease in leases:
        lease.release()
    return pids


# ------------------------------------------------------------------ the ceiling


def test_a_backend_that_takes_its_time_to_end_still_counts(dsn: str) -> None:
    """I-1: it has said why it ends, and then it drops its temporary tables."""
    sql = (
        "do $$ begin for i in 1..300 loop execute "
        "format('create temp table t_%s (a int primary key)', i); end loop; commit; "
        "perform pg_terminate_backend(pg_backend_pid()); end $$"
    )
    count = "select count(*) from pg_stat_activity where application_name = 'counted'"
    with pool(dsn, max_size=1, application_name="counted") as p:
        for _ in range(2):
            with pytest.raises(pgwire.AdminShutdown):
                p.query(sql)
            assert p.query(count).scalar() == 1


# ------------------------------------------------------------------ the floor


def test_the_floor_is_opened_from_construction_on(dsn: str) -> None:
    """B-21."""
    with pool(dsn, min_size=3, max_opening=1) as p:
        until(lambda: p.idle_count == 3)
        assert p.stats().requests == 0


def test_the_floor_is_refilled_after_losses_without_traffic(dsn: str) -> None:
    """I-27, B-21."""
    with pool(dsn, min_size=2, max_size=4) as p:
        p.wait(PATIENCE)
        pids = give_back(take(p, 2))
        kill(dsn, pids)
        until(lambda: p.stats().lost == 2 and p.idle_count == 2)
        assert not set(give_back(take(p, 2))) & set(pids)


@pytest.mark.parametrize("option", [{"max_uses": 1}, {"max_lifetime": 0.001}])
def test_the_floor_is_refilled_after_retirement(dsn: str, option: dict[str, Any]) -> None:
    """PP-83, PP-84."""
    with pool(dsn, min_size=1, max_size=1, **option) as p:
        p.wait(PATIENCE)
        pid_of(p)
        until(lambda: p.stats().retired >= 1 and p.stats().opened >= 2)


def test_idle_time_never_goes_below_the_floor(dsn: str) -> None:
    """I-27, PP-82, PP-85 to PP-87: whether they were given back together or not."""
    clock = Clock()
    with pool(dsn, min_size=2, max_size=4, idle_timeout=10, check_after=None, clock=clock) as p:
        leases = take(p, 4)
        give_back(leases[:3])
        clock.now += 5
        give_back(leases[3:])
        clock.now += 8  # three have idled for 13 s, and only two may go
        until(lambda: p.stats().closed == 2)
        clock.now += 100
        assert p.query("select 1").scalar() == 1
        assert (p.total_count, p.stats().retired) == (2, 2)


# ------------------------------------------------------------------ the ceiling


def test_the_server_never_sees_more_than_max_size(dsn: str) -> None:
    """I-1, B-10, PP-81: a closing connection counts until its backend is gone."""
    count = "select count(*) from pg_stat_activity where application_name = 'churn'"
    with (
        pool(dsn, max_size=3, application_name="churn") as p,
        pgwire.connect(dsn) as witness,
    ):
        done = threading.Event()
        most: list[int] = []

        def watch() -> None:
            while not done.is_set():
                most.append(witness.query(count).scalar() or 0)

        def work() -> None:
            for number in range(15):
                p.connect().release(discard=number % 2 == 0)

        watching = Thread(watch)
        for thread in [Thread(work) for _ in range(8)]:
            thread.outcome()
        done.set()
        watching.outcome()
        assert 1 <= max(most) <= 3
        assert p.stats().discarded == 64


def test_a_discard_with_somebody_waiting_serves_that_one_and_no_newcomer(dsn: str) -> None:
    """I-5, B-08, B-09."""
    served: list[str] = []
    with pool(dsn, max_size=1) as p:
        lease = p.connect()

        def work(name: str) -> None:
            with p.connect():
                served.append(name)

        first = Thread(lambda: work("first"))
        until(lambda: p.waiting_count == 1)
        lease.release(discard=True)
        work("newcomer")
        first.outcome()
    assert served == ["first", "newcomer"]


def test_order_holds_under_discards_and_time_outs(dsn: str) -> None:
    """I-5, I-7, B-09."""
    served: list[int] = []
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        threads = []

        def work(number: int) -> None:
            with p.connect() as conn:
                served.append(number)
                if number % 3 == 0:
                    conn.close()

        for number in range(9):
            threads.append(Thread(lambda number=number: work(number)))  # type: ignore[misc]
            until(lambda number=number: p.waiting_count == number + 1)  # type: ignore[misc]
        late = Thread(lambda: p.connect(timeout=0.02))
        with pytest.raises(pgwire.PoolTimeout):
            late.outcome()
        lease.release()
        for thread in threads:
            thread.outcome()
    assert served == list(range(9))


def test_max_waiting_bounds_the_queue_and_changes_nothing_else(dsn: str) -> None:
    """I-16, B-24."""
    with pool(dsn, max_size=1, max_waiting=2) as p:
        lease = p.connect()
        futures = [p.submit("select $1::int", [n]) for n in range(2)]
        for _ in range(3):
            with pytest.raises(pgwire.PoolFull, match="max_waiting"):
                p.query("select 1")
            with pytest.raises(pgwire.PoolTimeout):
                p.connect(timeout=0)  # never waits, so never is one too many
        assert (p.waiting_count, p.stats().rejected) == (2, 3)
        lease.release()
        assert [future.result(PATIENCE).scalar() for future in futures] == [0, 1]


# ------------------------------------------------------------------ check_after


@pytest.fixture
def frozen() -> Iterator[list[int]]:
    """Backends that have been stopped; they are let go when the test is over."""
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGCONT)


def test_a_connection_that_idled_long_and_does_not_answer_is_replaced(
    embedded_server: Any, monkeypatch: pytest.MonkeyPatch, frozen: list[int]
) -> None:
    """I-7: the request keeps its place; a peer that went silent is found before it is used."""
    monkeypatch.setattr(chores, "CHECK_TIMEOUT", 0.1)
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 0.1)
    clock = Clock()
    with pool(embedded_server.url, max_size=1, check_after=30, clock=clock) as p:
        pid = pid_of(p)
        clock.now += 29
        assert pid_of(p) == pid
        frozen.append(pid)
        os.kill(pid, signal.SIGSTOP)
        clock.now += 31
        assert pid_of(p) != pid
        assert p.stats().lost == 1


def test_a_connection_that_idled_long_and_answers_is_kept(dsn: str) -> None:
    clock = Clock()
    with pool(dsn, max_size=1, check_after=30, clock=clock) as p:
        pid = pid_of(p)
        clock.now += 31
        assert pid_of(p) == pid
        assert p.stats().opened == 1


# ------------------------------------------------------------------ resize, expire


def test_resize_upwards_serves_who_waits(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        waiting = Thread(lambda: p.query("select 1").scalar())
        until(lambda: p.waiting_count == 1)
        p.resize(0, 2)
        assert waiting.outcome() == 1
        lease.release()
        assert p.stats().max_size == 2


def test_resize_upwards_opens_the_new_floor(dsn: str) -> None:
    with pool(dsn) as p:
        p.resize(2, 4)
        p.wait(PATIENCE)
        assert p.idle_count == 2


def test_resize_downwards_interrupts_nobody(dsn: str) -> None:
    """I-1."""
    with pool(dsn, max_size=4) as p:
        leases = take(p, 3)
        p.connect().release()
        p.resize(0, 1)
        until(lambda: p.total_count == 3)
        assert [lease.query("select 1").scalar() for lease in leases] == [1, 1, 1]
        give_back(leases)
        until(lambda: p.total_count == 1)
        assert p.query("select 1").scalar() == 1


def test_resize_to_what_makes_no_sense_changes_nothing(dsn: str) -> None:
    with pool(dsn, max_size=2) as p:
        for sizes in ((3, 2), (0, 0), (-1, 1)):
            with pytest.raises(pgwire.ProgrammingError):
                p.resize(*sizes)
        assert (p.stats().min_size, p.stats().max_size) == (0, 2)
        assert p.query("select 1").scalar() == 1


def test_expire_retires_what_was_opened_before(dsn: str) -> None:
    """I-30."""
    with pool(dsn, max_size=3) as p, pgwire.connect(dsn) as witness:
        leases = take(p, 3)
        pids = [*give_back(leases[:2]), leases[2].backend_pid]
        p.expire()
        until(lambda: alive(witness, pids) == 1)
        assert leases[2].query("select 1").scalar() == 1
        leases[2].release()
        until(lambda: alive(witness, pids) == 0)
        assert pid_of(p) not in pids
        assert p.stats().retired == 3


# ------------------------------------------------------------------ wait


def test_wait_asks_for_open_connections_and_not_for_free_ones(dsn: str) -> None:
    with pool(dsn, max_size=1, min_size=1) as p, p.connect():
        p.wait(0)
    with pool(dsn, max_size=3, min_size=2) as p:
        p.wait(PATIENCE)
        leases = take(p, 2)
        p.wait(0)
        give_back(leases)


def test_wait_says_at_once_what_waiting_cannot_mend(embedded_server: Any) -> None:
    url = embedded_server.url_for("postgres", password="wrong")
    for min_size in (0, 1, 2):
        with pool(url, min_size=min_size) as p, pytest.raises(pgwire.AuthenticationError):
            p.wait(None)
    with pool(embedded_server.url_for("postgres", dbname="nowhere")) as p:
        with pytest.raises(pgwire.ConnectionFailed, match="nowhere"):
            p.wait(None)


def test_wait_says_at_once_why_the_second_connection_cannot_be_had(dsn: str) -> None:
    calls: list[int] = []

    def hook(_conn: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            raise ValueError("only one")

    with pool(dsn, min_size=2, max_opening=1, on_connect=hook) as p:
        with pytest.raises(ValueError, match="only one"):
            p.wait(None)
        assert p.query("select 1").scalar() == 1


@pytest.mark.parametrize("min_size", [0, 2])
def test_wait_gives_the_reason_as_the_cause_when_time_is_up(min_size: int) -> None:
    with (
        pool("host=127.0.0.1 port=1 user=x", min_size=min_size) as p,
        in_vain(p, lambda: p.wait(PATIENCE)),
    ):
        with pytest.raises(pgwire.PoolTimeout) as caught:
            p.wait(0.05)
        assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)


def test_wait_ends_with_the_pool(dsn: str) -> None:
    release = threading.Event()
    calls: list[int] = []

    def hook(_conn: object) -> None:
        calls.append(1)
        if len(calls) > 1:
            release.wait(PATIENCE)

    p = pgwire.Pool(dsn, min_size=2, max_opening=1, on_connect=hook)
    until(lambda: len(calls) == 2)
    waiting = Thread(lambda: p.wait(None))
    ending = Thread(p.end)
    with pytest.raises(pgwire.PoolClosed):
        waiting.outcome()
    release.set()
    ending.outcome()
    with pytest.raises(pgwire.PoolClosed):
        p.wait(0)


# ------------------------------------------------------------------ figures


def test_stats_are_one_instant_and_do_not_change(dsn: str) -> None:
    """I-32."""
    with pool(dsn, max_size=2, min_size=1) as p:
        p.wait(PATIENCE)
        with p.connect():
            stats = p.stats()
            gauges = ("opening", "idle", "checking", "leased", "resetting", "closing")
            assert stats.size == sum(getattr(stats, gauge) for gauge in gauges)
            with pytest.raises(AttributeError):
                stats.leased = 7  # type: ignore[misc]
        assert stats.leased == 1
        assert p.stats().leased == 0
