"""`pool.run_transaction()`: again after 40001 and 40P01, provoked by two sessions for real."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.pool.support import PATIENCE, Thread, pool, until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def other(dsn: str) -> Iterator[pgwire.Connection]:
    """Another session, and a table `tx` with two rows."""
    with pgwire.connect(dsn, settings={"deadlock_timeout": "60s"}) as conn:
        conn.script(
            "drop table if exists tx; create table tx (id int primary key, n int);"
            "insert into tx values (1, 0), (2, 0)"
        )
        yield conn
        conn.query("drop table tx")


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which are not waited for."""
    taken: list[float] = []
    monkeypatch.setattr("pgwire.pool.blocking.time", SimpleNamespace(sleep=taken.append))
    return taken


def bump(conn: pgwire.Connection, number: int) -> None:
    conn.query("update tx set n = n + 1 where id = $1", [number])


def numbers(conn: pgwire.Connection) -> list[Any]:
    return conn.query("select n from tx order by id").scalars()


def test_what_the_function_returns_comes_out_and_what_it_did_is_committed(
    dsn: str, other: pgwire.Connection
) -> None:
    def work(conn: pgwire.Connection) -> str:
        bump(conn, 1)
        return "done"

    with pool(dsn) as p:
        assert p.run_transaction(work) == "done"
        assert numbers(other) == [1, 0]
        assert p.stats().leased == 0


def test_the_function_has_a_lease_inside_a_transaction_of_that_isolation(dsn: str) -> None:
    def work(conn: pgwire.Connection) -> Any:
        assert conn.transaction_status is pgwire.TransactionStatus.IN_TRANSACTION
        return conn.query("show transaction_isolation").scalar()

    with pool(dsn) as p:
        assert p.run_transaction(work, isolation="serializable") == "serializable"


def test_all_that_a_transaction_may_be(dsn: str) -> None:
    def work(conn: pgwire.Connection) -> list[Any]:
        names = ("isolation", "read_only", "deferrable")
        return [conn.query(f"show transaction_{name}").scalar() for name in names]

    with pool(dsn, max_size=1) as p:
        modes: Any = {"isolation": "serializable", "read_only": True, "deferrable": True}
        assert p.run_transaction(work, **modes) == ["serializable", "on", "on"]
        with p.connect(), pytest.raises(pgwire.PoolTimeout):
            p.run_transaction(work, timeout=0)


def test_a_serialization_failure_has_it_done_again(
    dsn: str, other: pgwire.Connection, pauses: list[float]
) -> None:
    """40001, while it runs: the other session was quicker."""
    attempts: list[Any] = []

    def work(conn: pgwire.Connection) -> None:
        attempts.append(numbers(conn))  # the snapshot is taken
        if len(attempts) == 1:
            bump(other, 1)
        bump(conn, 1)

    with pool(dsn, max_size=1) as p:
        p.run_transaction(work, isolation="repeatable read")
    assert attempts == [[0, 0], [1, 0]]
    assert numbers(other) == [2, 0]
    assert len(pauses) == 1


def test_a_serialization_failure_at_commit_has_it_done_again(
    dsn: str, other: pgwire.Connection, pauses: list[float]
) -> None:
    """40001 in the answer to COMMIT: each has read what the other has written."""
    attempts: list[int] = []

    def work(conn: pgwire.Connection) -> None:
        attempts.append(sum(numbers(conn)))
        if len(attempts) > 1:
            bump(conn, 1)
            return
        other.query("begin isolation level serializable")
        numbers(other)
        bump(other, 2)
        bump(conn, 1)
        other.query("commit")

    with pool(dsn, max_size=1) as p:
        p.run_transaction(work, isolation="serializable")
    assert attempts == [0, 1]
    assert numbers(other) == [1, 1]
    assert len(pauses) == 1


def test_a_deadlock_has_it_done_again(
    dsn: str, other: pgwire.Connection, pauses: list[float]
) -> None:
    """40P01: the pool's session looks for deadlocks sooner, and is the victim."""
    attempts: list[int] = []
    threads: list[Thread] = []

    def others() -> None:
        bump(other, 1)
        other.query("commit")

    def work(conn: pgwire.Connection) -> None:
        if attempts:
            threads[0].outcome()  # else they might meet again
        attempts.append(1)
        bump(conn, 1)
        if len(attempts) == 1:
            other.query("begin")
            bump(other, 2)
            threads.append(Thread(others))
            until(lambda: waits(dsn, other.backend_pid))
        bump(conn, 2)

    with pool(dsn, max_size=1, settings={"deadlock_timeout": "10ms"}) as p:
        p.run_transaction(work)
    assert len(attempts) == 2
    assert numbers(other) == [2, 2]
    assert len(pauses) == 1


def waits(dsn: str, pid: int) -> bool:
    """Whether that backend waits for a lock."""
    with pgwire.connect(dsn) as conn:
        return bool(conn.query("select cardinality(pg_blocking_pids($1))", [pid]).scalar())


def conflict(conn: pgwire.Connection, sqlstate: str = "40001") -> None:
    conn.query(f"do $$ begin raise exception 'conflict' using errcode = '{sqlstate}'; end $$")


def test_when_all_retries_are_used_the_last_error_is_raised(dsn: str, pauses: list[float]) -> None:
    raised: list[BaseException] = []

    def work(conn: pgwire.Connection) -> None:
        try:
            conflict(conn)
        except pgwire.PostgresError as error:
            raised.append(error)
            raise

    with pool(dsn, max_size=1) as p:
        with pytest.raises(errors.SerializationFailure) as caught:
            p.run_transaction(work, retries=2)
        assert len(raised) == 3
        assert caught.value is raised[-1]
        assert len(pauses) == 2
        raised.clear()
        with pytest.raises(errors.SerializationFailure):
            p.run_transaction(work, retries=0)
        assert len(raised) == 1
        assert p.query("select 1").scalar() == 1


@pytest.mark.parametrize("failure", ["23505", "57014", "no error of PostgreSQL"])
def test_other_errors_are_raised_at_once(
    dsn: str, other: pgwire.Connection, pauses: list[float], failure: str
) -> None:
    attempts: list[int] = []

    def work(conn: pgwire.Connection) -> None:
        attempts.append(1)
        bump(conn, 1)
        if " " in failure:
            raise ZeroDivisionError
        conflict(conn, failure)

    with pool(dsn, max_size=1) as p:
        with pytest.raises((pgwire.PostgresError, ZeroDivisionError)):
            p.run_transaction(work)
        assert (len(attempts), pauses) == (1, [])
        assert numbers(other) == [0, 0]
        assert (p.stats().leased, p.idle_count) == (0, 1)


def test_pauses_are_random_grow_and_hold_no_connection(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    dice = iter([0.0, 0.0, 0.0, 0.999])
    with pool(dsn, max_size=1) as p:

        def sleep(seconds: float) -> None:
            assert p.stats().leased == 0
            pauses.append(seconds)

        monkeypatch.setattr("pgwire.pool.blocking.time", SimpleNamespace(sleep=sleep))
        random = SimpleNamespace(random=lambda: next(dice))
        monkeypatch.setattr("pgwire.pool.blocking.random", random)
        with pytest.raises(errors.SerializationFailure):
            p.run_transaction(conflict, retries=3)
        with pytest.raises(errors.SerializationFailure):
            p.run_transaction(conflict, retries=1)
    assert 0 < pauses[0] < pauses[1] < pauses[2]
    assert pauses[3] > pauses[0]


def test_each_attempt_takes_its_turn(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """During the pause others are served."""
    paused, go = threading.Event(), threading.Event()

    def pause(_seconds: float) -> None:
        paused.set()
        go.wait(PATIENCE)

    monkeypatch.setattr("pgwire.pool.blocking.time", SimpleNamespace(sleep=pause))
    with pool(dsn, max_size=1) as p:
        runner = Thread(lambda: p.run_transaction(conflict, retries=1))
        paused.wait(PATIENCE)
        assert p.query("select 1").scalar() == 1
        go.set()
        with pytest.raises(errors.SerializationFailure):
            runner.outcome()
