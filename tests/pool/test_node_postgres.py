"""What users of node-postgres rely on, and what its pool gets wrong: PP-01 to PP-89, B-01 to B-26.

The numbers are those of the table in docs/pool-contract.md, which says of each where it is
tested or why it is not. Here is what no other module tests already.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, alive, in_vain, kill, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says a word; its connection string."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        host, port = listener.getsockname()
        yield f"host={host} port={port} user=x sslmode=disable connect_timeout=2"


@pytest.fixture
def hanging_up() -> Iterator[str]:
    """A server that hangs up on everybody at once; its connection string."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work() -> None:
            while True:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

        thread = Thread(work)
        host, port = listener.getsockname()
        yield f"host={host} port={port} user=x sslmode=disable"
        listener.shutdown(socket.SHUT_RDWR)
        thread.outcome()


# ------------------------------------------------------------------ connecting


def test_the_connection_string_reaches_the_opening_and_its_failure_the_caller() -> None:
    """PP-01, PP-30, PP-45, PP-46: a closed port; nothing is left, and no "connect" was told."""
    with pool("postgresql://someone@127.0.0.1:1/nowhere", checkout_timeout=0.05) as p:
        p.on("connect", pytest.fail)
        uses: list[Callable[[], object]] = [p.connect, lambda: p.query("select 1")]
        with in_vain(p, lambda: p.connect(timeout=PATIENCE)):
            for use in uses:
                with pytest.raises(pgwire.PoolTimeout, match=r"127\.0\.0\.1:1") as caught:
                    use()
                cause = caught.value.__cause__
                assert isinstance(cause, pgwire.ConnectionFailed)
                assert cause.attempts[0].address == "127.0.0.1:1"
            until(lambda: p.total_count == 0)


def test_options_of_connections_reach_them_and_stay_as_they_were(dsn: str) -> None:
    """PP-42, PP-48."""
    settings = {"work_mem": "77MB"}
    parameters: dict[str, Any] = {"application_name": "of the pool", "settings": settings}
    with pool(dsn, **parameters) as p:
        assert p.query("show application_name").scalar() == "of the pool"
        assert p.query("show work_mem").scalar() == "77MB"
    assert parameters == {"application_name": "of the pool", "settings": {"work_mem": "77MB"}}
    assert settings == {"work_mem": "77MB"}


def test_a_server_that_never_answers_costs_the_time_out(silent: str) -> None:
    """PP-02, PP-03, PP-04: as often as one likes."""
    p = pgwire.Pool(silent, max_size=1)
    for timeout in [0.01] * 2 + [0.001] * 15:
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=timeout)
        assert (p.idle_count, p.waiting_count) == (0, 0)
    until(lambda: p.total_count == 0)
    p.end()


def test_a_waiter_that_times_out_leaves_the_pool_as_it_was(dsn: str) -> None:
    """PP-05, PP-07, PP-08."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0.01)
        with pytest.raises(pgwire.PoolTimeout):
            p.query("select 1", timeout=0.01)
        lease.release()
        assert len(p.query("select 1")) == 1


def test_a_waiter_behind_one_that_times_out_is_served(dsn: str) -> None:
    """PP-06."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        first = Thread(lambda: p.connect(timeout=0.05))
        until(lambda: p.stats().requests == 2)
        second = Thread(lambda: p.query("select 2").scalar())
        until(lambda: p.stats().requests == 3)
        with pytest.raises(pgwire.PoolTimeout):
            first.outcome()
        lease.release()
        assert second.outcome() == 2


def test_a_first_attempt_that_fails_spoils_nothing(embedded_server: Any) -> None:
    """PP-09."""
    answers: list[str | Exception] = [ValueError("no password yet"), embedded_server.password]

    def password() -> str:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pool(embedded_server.url_for("postgres", password=""), password=password) as p:
        with pytest.raises(ValueError, match="no password yet"):
            p.connect()
        assert p.query("select 1").scalar() == 1


def test_a_connection_that_comes_too_late_for_who_asked_is_there_for_others(dsn: str) -> None:
    """PP-10, I-11."""
    gate = threading.Event()
    with pool(dsn, max_size=1, on_connect=lambda _conn: gate.wait(PATIENCE)) as p:
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0.02)
        gate.set()
        until(lambda: p.idle_count == 1)
        p.connect(timeout=0).release()
        assert (p.stats().timed_out, p.stats().opened) == (1, 1)


# ------------------------------------------------------------------ the end


def test_a_used_pool_ends(dsn: str) -> None:
    """PP-12 to PP-16, PP-41, PP-43, PP-44, PP-53, PP-54: what was begun has its answer."""
    p = pgwire.Pool(dsn, max_size=20)
    with p.connect() as conn:
        assert conn.query("select 'hi' as name").one().name == "hi"
    assert p.query("select 'hi' as name").one().name == "hi"
    assert p.query("select $1::text as name", ["brianc"]).one().name == "brianc"
    futures = [p.submit("select $1::int", [n]) for n in range(20)]
    p.end()
    assert [future.result(0).scalar() for future in futures] == list(range(20))


def test_after_the_end_every_use_says_so_but_another_end(dsn: str) -> None:
    """PP-21, PP-22."""
    p = pgwire.Pool(dsn)
    p.end()
    uses: list[Callable[[], object]] = [
        p.connect,
        lambda: p.query("select 1"),
        lambda: p.transaction().__enter__(),
        lambda: p.run_transaction(lambda conn: None),
        lambda: p.submit("select 1").result(PATIENCE),
        lambda: p.wait(0),
    ]
    for use in uses:
        with pytest.raises(pgwire.PoolClosed):
            use()
    p.end()


# ------------------------------------------------------------------ errors


def test_errors_of_statements_keep_their_connections(dsn: str) -> None:
    """PP-17, PP-26, PP-59, B-06: one at a time and thirty at once."""
    with pool(dsn, max_size=1) as p:
        pid = pid_of(p)
        for _ in range(20):
            with pytest.raises(pgwire.PostgresError):
                p.query("select $1::int + 'x'::text", [1])
        assert (p.total_count, p.idle_count) == (1, 1)
        assert pid_of(p) == pid
    with pool(dsn, max_size=5) as p:
        futures = [p.submit("asd") for _ in range(30)]
        assert all(isinstance(f.exception(PATIENCE), pgwire.ProgrammingError) for f in futures)
        assert p.stats().closed == 0
        assert p.query("select 1").scalar() == 1


def test_a_query_that_is_none_breaks_nothing(dsn: str) -> None:
    """PP-18."""
    with pool(dsn) as p:
        with pytest.raises((pgwire.Error, TypeError)):
            p.query(None)  # type: ignore[call-overload]
        assert p.query("select 1").scalar() == 1


def test_every_further_release_raises(dsn: str) -> None:
    """PP-19, PP-20, B-11, I-24: by a bound method that was kept as well."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        release = lease.release
        release()
        for _ in range(2):
            with pytest.raises(pgwire.InterfaceError):
                lease.release()
            with pytest.raises(pgwire.InterfaceError):
                release()
        assert p.stats().released == 1


def test_the_loss_of_an_idle_connection_is_told_with_the_connection(dsn: str) -> None:
    """PP-23, PP-34, PP-47, B-17: to who listens; nobody has to."""
    told: list[tuple[str, int, object]] = []
    with pool(dsn, max_size=1) as p:
        p.on("error", lambda error, conn: told.append(("error", conn.backend_pid, error)))
        p.on("remove", lambda conn: told.append(("remove", conn.backend_pid, None)))
        pid = pid_of(p)
        kill(dsn, [pid])
        until(lambda: p.total_count == 0)
        assert p.idle_count == 0
        assert [one[:2] for one in told] == [("error", pid), ("remove", pid)]
        assert isinstance(told[0][2], pgwire.ConnectionLost)


def test_the_loss_of_a_lease_is_told_to_its_holder_alone(dsn: str) -> None:
    """PP-24, PP-77: until it is released it counts; then the pool goes on."""
    with pool(dsn, max_size=1) as p:
        p.on("error", pytest.fail)
        lease = p.connect()
        kill(dsn, [lease.backend_pid])
        with pytest.raises(pgwire.ConnectionLost):
            lease.query("select 1")
        assert (p.total_count, p.idle_count) == (1, 0)
        lease.release()
        assert p.query("select 1").scalar() == 1


def test_a_server_that_hangs_up_on_everybody_fails_the_queued_request_too(hanging_up: str) -> None:
    """PP-27, B-19: attempts are bounded by the back-off, whatever the number of requests."""
    with (
        pool(hanging_up, max_size=1, checkout_timeout=0.4) as p,
        in_vain(p, lambda: p.connect(timeout=PATIENCE)),
    ):
        threads = [Thread(p.connect) for _ in range(20)]
        for thread in threads:
            with pytest.raises(pgwire.PoolTimeout) as caught:
                thread.outcome()
            assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)
        assert 1 <= p.stats().open_failures <= 10


def test_a_query_whose_connection_is_ended_underneath_fails_once(dsn: str) -> None:
    """PP-28, B-07: after a FATAL error the connection is gone, and the next one is another."""
    with pool(dsn, max_size=1) as p:
        pid = pid_of(p)
        with pytest.raises(pgwire.ConnectionLost) as caught:
            p.query("select pg_terminate_backend(pg_backend_pid())")
        assert caught.value.sqlstate == "57P01"  # type: ignore[attr-defined]
        assert pid_of(p) != pid


def test_the_first_checkout_is_told_after_its_connection(dsn: str) -> None:
    """PP-29."""
    told: list[tuple[str, int]] = []
    with pool(dsn) as p:
        p.on("connect", lambda conn: told.append(("connect", conn.backend_pid)))
        p.on("acquire", lambda conn: told.append(("acquire", conn.backend_pid)))
        with p.connect() as lease:
            pid = lease.backend_pid
            assert told == [("connect", pid), ("acquire", pid)]


# ------------------------------------------------------------------ age


def test_idle_connections_go_and_whoever_listens_is_told(dsn: str) -> None:
    """PP-35, PP-36, PP-37: and the next query opens another."""
    removed: list[int] = []
    with pool(dsn, max_size=2, idle_timeout=0.01) as p:
        p.on("remove", lambda conn: removed.append(conn.backend_pid))
        leases = [p.connect() for _ in range(2)]
        pids = [lease.backend_pid for lease in leases]
        leases[0].release()
        leases[1].release(discard=True)
        until(lambda: p.total_count == 0)
        assert sorted(removed) == sorted(pids)
        assert p.query("select 1").scalar() == 1
        assert p.stats().opened == 3  # and may be gone already


def test_a_lease_is_never_idle(dsn: str) -> None:
    """PP-38: however long it is held."""
    with pool(dsn, idle_timeout=0.001) as p, p.connect() as lease:
        lease.query("select pg_sleep(0.05)")
        assert lease.query("select 1").scalar() == 1
        assert p.total_count == 1


def test_lifetimes_end_idle_connections_and_never_queries(dsn: str) -> None:
    """PP-68, PP-69, PP-70."""
    with pool(dsn, max_lifetime=0.05, lifetime_spread=0) as p:
        p.query("select 1")
        until(lambda: p.total_count == 0)  # by itself
        pid = p.query("select pg_backend_pid() from pg_sleep(0.1)").scalar()
        until(lambda: p.stats().retired == 2)
        assert pid_of(p) != pid


def test_max_uses_with_waiters(dsn: str) -> None:
    """PP-72 to PP-75: the first gets the same connection, the second a fresh one."""
    with pool(dsn, max_size=1, max_uses=2) as p:
        lease = p.connect()
        pid = lease.backend_pid
        first = p.submit("select pg_backend_pid()")
        second = p.submit("select pg_backend_pid()")
        assert p.waiting_count == 2
        lease.release()
        assert first.result(PATIENCE).scalar() == pid
        assert second.result(PATIENCE).scalar() != pid
        assert p.waiting_count == 0


def test_a_lease_that_its_user_closed_may_be_released_by_its_block(dsn: str) -> None:
    """PP-78."""
    with pool(dsn, max_size=1) as p:
        with p.connect() as lease:
            lease.close()
        until(lambda: p.total_count == 0)
        assert p.query("select 1").scalar() == 1


def test_a_waiter_gets_the_connection_that_is_released(dsn: str) -> None:
    """PP-79, PP-80."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        pid = lease.backend_pid
        waiting = p.submit("select pg_backend_pid()")
        assert p.waiting_count == 1
        lease.release()
        assert waiting.result(PATIENCE).scalar() == pid


@pytest.mark.parametrize("count", [1, 2, 40, 200])
def test_a_burst_of_any_size_is_served(dsn: str, count: int) -> None:
    """PP-55, PP-56: by no more connections than there may be."""
    with pool(dsn, max_size=9) as p:
        futures = [p.submit("select $1::int", [n]) for n in range(count)]
        assert [future.result(PATIENCE).scalar() for future in futures] == list(range(count))
        assert p.total_count <= min(9, count)


# ------------------------------------------------------------------ what upstream does not test


def test_a_query_that_times_out_is_cancelled_and_its_connection_clean(dsn: str) -> None:
    """B-14."""
    with pool(dsn, max_size=1) as p, pgwire.connect(dsn) as witness:
        pid = pid_of(p)
        with pytest.raises(pgwire.QueryTimeout):
            p.query("select pg_sleep(600)", timeout=0.1)
        state = witness.query("select state from pg_stat_activity where pid = $1", [pid])
        assert state.scalar() == "idle"
        assert pid_of(p) == pid


def test_a_query_that_times_out_on_a_dead_line_costs_its_connection(
    embedded_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """B-15."""
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 0.1)
    with pool(embedded_server.url, max_size=1) as p:
        pid = pid_of(p)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(pgwire.QueryTimeout):
                p.query("select 1", timeout=0.1)
            assert pid_of(p) != pid
        finally:
            os.kill(pid, signal.SIGCONT)


def test_connections_that_the_server_ended_for_idling_are_seen_through(dsn: str) -> None:
    """B-16, B-18."""
    with (
        pool(dsn, max_size=3, settings={"idle_session_timeout": "200ms"}) as p,
        pgwire.connect(dsn) as witness,
    ):
        leases = [p.connect() for _ in range(3)]
        pids = [lease.backend_pid for lease in leases]
        for lease in leases:
            lease.release()
        until(lambda: not alive(witness, pids))
        futures = [p.submit("select $1::int", [n]) for n in range(6)]
        assert [future.result(PATIENCE).scalar() for future in futures] == list(range(6))


def test_stale_statements_are_prepared_again_unseen(dsn: str) -> None:
    """B-25."""
    with pool(dsn, max_size=1) as p:
        p.query("create table stale (a int)")
        pid = pid_of(p)
        try:
            p.query("insert into stale values (1)")
            assert p.query("select * from stale").one() == (1,)
            p.query("alter table stale add b int default 2")
            assert p.query("select * from stale").one() == (1, 2)
            for forget in ("deallocate all", "discard all"):
                p.query(forget)
                assert p.query("select * from stale").one() == (1, 2)
            assert pid_of(p) == pid
        finally:
            p.query("drop table stale")


def test_the_statement_cache_is_bounded_on_the_server_too(dsn: str) -> None:
    """B-26."""
    with pool(dsn, max_size=1, statement_cache_size=3) as p:
        for number in range(20):
            p.query(f"select {number}")
        count = p.query("select count(*) from pg_prepared_statements").scalar()
        assert 1 <= count <= 4
