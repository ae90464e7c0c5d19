"""The blocking pool on a real server: what its users see."""

from __future__ import annotations

import threading
import time
from typing import Any, assert_type

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, in_vain, pool, until

# ------------------------------------------------------------------ statements


def test_a_query_takes_a_connection_and_gives_it_back(dsn: str) -> None:
    with pool(dsn) as p:
        assert p.query("select $1::int + 1 as n", [41]).one().n == 42
        assert (p.total_count, p.idle_count, p.waiting_count) == (1, 1, 0)


def test_nothing_is_connected_before_the_first_request(dsn: str) -> None:
    with pool(dsn) as p:
        assert p.total_count == 0


def test_min_size_is_open_from_the_start(dsn: str) -> None:
    with pool(dsn, min_size=2) as p:
        p.wait(PATIENCE)
        assert p.idle_count == 2


def test_wait_opens_a_connection_where_none_is_asked_for(dsn: str) -> None:
    with pool(dsn) as p:
        p.wait(PATIENCE)
        assert p.idle_count == 1


def test_a_server_error_keeps_the_connection(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        pid = p.query("select pg_backend_pid()").scalar()
        for _ in range(20):
            with pytest.raises(pgwire.PostgresError):
                p.query("select nonsense")
        assert p.query("select pg_backend_pid()").scalar() == pid


def test_wrong_parameters_cost_no_connection(dsn: str) -> None:
    with pool(dsn) as p:
        with pytest.raises(pgwire.ProgrammingError):
            p.query("select $1", "x")
        assert p.stats().requests == 0


def test_rows_can_be_mapped(dsn: str) -> None:
    with pool(dsn) as p:
        result = assert_type(
            p.query("select 1 as a, 2 as b", row=dict), pgwire.Result[dict[str, Any]]
        )
        assert result.rows == [{"a": 1, "b": 2}]


def test_thirty_threads_share_nine_connections(dsn: str) -> None:
    with pool(dsn, max_size=9) as p:
        threads = [
            Thread(lambda n=n: [p.query("select $1::int", [n]).scalar() for _ in range(20)])  # type: ignore[misc]
            for n in range(30)
        ]
        assert [t.outcome() for t in threads] == [[n] * 20 for n in range(30)]
        assert p.total_count <= 9


# ------------------------------------------------------------------ leases


def test_a_lease_is_returned_on_leaving_its_block(dsn: str) -> None:
    with pool(dsn) as p:
        with p.connect() as conn:
            assert conn.query("select 1").scalar() == 1
            assert p.stats().leased == 1
        assert (p.stats().leased, p.idle_count) == (0, 1)


def test_a_lease_is_dead_after_its_release(dsn: str) -> None:
    with pool(dsn) as p:
        lease = p.connect()
        pid = lease.backend_pid
        lease.release()
        for use in (
            lambda: lease.query("select 1"),
            lambda: lease.script("select 1"),
            lambda: lease.prepare("select 1"),
            lambda: lease.ping(),
            lambda: lease.cancel(),
            lambda: lease.release(),
            lambda: lease.transaction().__enter__(),
            lambda: lease.on("notice", print),
            lambda: lease.backend_pid,
            lambda: lease.__enter__(),
        ):
            with pytest.raises(pgwire.InterfaceError, match="released"):
                use()
        lease.close()  # says nothing: there is nothing left to close
        assert lease.closed
        with p.connect() as other:
            assert other.backend_pid == pid


def test_a_stale_lease_touches_nothing_of_its_successor(dsn: str) -> None:
    """I-24, B-11."""
    with pool(dsn, max_size=1) as p:
        old = p.connect()
        old.release()
        with p.connect() as new:
            with pytest.raises(pgwire.InterfaceError):
                old.release()
            assert new.query("select 1").scalar() == 1
            assert p.stats().leased == 1


def test_leaving_a_block_whose_lease_was_released_does_nothing(dsn: str) -> None:
    with pool(dsn) as p, p.connect() as lease:
        lease.release()
        with p.connect() as other:
            assert other.query("select 1").scalar() == 1


def test_close_discards_the_connection(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        pid = lease.backend_pid
        lease.close()
        with p.connect() as other:
            assert other.backend_pid != pid


def test_release_can_discard(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        pid = lease.backend_pid
        lease.release(discard=True)
        assert p.query("select pg_backend_pid()").scalar() != pid


def test_a_transaction_takes_a_lease_and_commits(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        with p.transaction() as conn:
            conn.script("create table if not exists pool_tx (a int); truncate pool_tx")
            conn.query("insert into pool_tx values (1)")
        with pytest.raises(pgwire.PostgresError), p.transaction() as conn:
            conn.script("insert into pool_tx values (2); select 1 / 0")
        assert p.query("select a from pool_tx").scalars() == [1]
        assert p.idle_count == 1
        p.query("drop table pool_tx")


# ------------------------------------------------------------------ cleaning


def test_an_open_transaction_is_rolled_back_at_release(dsn: str) -> None:
    """I-23, B-12."""
    with pool(dsn, max_size=1) as p:
        p.query("create table clean_tx (a int)")
        with p.connect() as conn:
            conn.query("begin")
            conn.query("insert into clean_tx values (1)")
        with p.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE
            assert conn.query("select count(*) from clean_tx").scalar() == 0
        p.query("drop table clean_tx")


def test_a_failed_transaction_is_rolled_back_at_release(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        with p.connect() as conn:
            conn.query("begin")
            with pytest.raises(pgwire.PostgresError):
                conn.query("select nonsense")
        assert p.query("select 1").scalar() == 1


@pytest.mark.parametrize(
    ("change", "look", "clean"),
    [
        ("set statement_timeout = 12345", "show statement_timeout", "0"),
        ("select set_config('application_name', 'me', false)", "show application_name", ""),
        ("select U&\"set\\005Fconfig\"('work_mem', '77MB', false)", "show work_mem", "4MB"),
        (
            "update pg_settings set setting = '77MB' where name = 'work_mem'",
            "show work_mem",
            "4MB",
        ),
        ("create temp table t (a int)", "select to_regclass('pg_temp.t')::text", None),
        (
            "select pg_advisory_lock(7)",
            "select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()",
            0,
        ),
        ("listen somewhere", "select count(*) from pg_listening_channels()", 0),
        (
            "declare c cursor with hold for select 1",
            "select count(*) from pg_cursors where name = 'c'",
            0,
        ),
        ("set role pg_monitor", "select current_user = session_user", True),
    ],
)
def test_what_a_lease_changed_in_the_session_is_reset(
    dsn: str, change: str, look: str, clean: object
) -> None:
    """I-23, B-12."""
    with pool(dsn, max_size=1) as p:
        with p.connect() as conn:
            pid = conn.backend_pid
            conn.query(change)
        with p.connect() as conn:
            assert conn.query(look).scalar() == clean
            assert conn.backend_pid == pid


def test_a_pool_query_is_a_lease_as_well(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.query("set statement_timeout = 12345")
        assert p.query("show statement_timeout").scalar() == "0"


def test_prepared_statements_stay(dsn: str) -> None:
    count = "select count(*) from pg_prepared_statements where statement = 'select 7'"
    with pool(dsn, max_size=1) as p:
        p.query("select 7")
        p.query("set statement_timeout = 12345")
        assert p.query(count).scalar() == 1


def test_reset_never_still_ends_transactions(dsn: str) -> None:
    with pool(dsn, max_size=1, reset="never") as p:
        with p.connect() as conn:
            conn.script("set statement_timeout = 12345")
            conn.query("begin")
        with p.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE
            assert conn.query("show statement_timeout").scalar() == "12345ms"


def test_reset_always_cleans_what_no_text_shows(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.query(
            "create or replace function sneaky() returns void language sql as "
            "$$ select set_config('statement_timeout', '12345', false) $$"
        )
        p.query("select sneaky()")
        assert p.query("show statement_timeout").scalar() == "12345ms"
    with pool(dsn, max_size=1, reset="always") as p:
        p.query("select sneaky()")
        assert p.query("show statement_timeout").scalar() == "0"
        p.query("drop function sneaky()")


def test_cleaning_costs_no_round_trip(dsn: str) -> None:
    """The rollback is on its way at release, and its answer is read with the next query's."""
    with pool(dsn, max_size=1) as p:
        with p.connect() as conn:
            conn.query("begin")
            driver = conn._driver
        assert len(driver.session.pending) == 1
        assert p.query("select 1").scalar() == 1
        assert not driver.session.pending


def test_a_connection_in_the_middle_of_something_is_not_handed_on(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        pid = lease.backend_pid
        busy = Thread(lambda: lease.query("select pg_sleep(60)"))
        until(lambda: bool(lease._driver.session.pending))
        lease.release()
        assert p.query("select pg_backend_pid()").scalar() != pid
        with pytest.raises(pgwire.errors.QueryCanceled):
            busy.outcome()


# ------------------------------------------------------------------ order and time


def test_waiters_are_served_first_in_first_out(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        served: list[int] = []
        lease = p.connect()
        threads = []
        for n in range(10):

            def work(n: int = n) -> None:
                with p.connect():
                    served.append(n)

            threads.append(Thread(work))
            until(lambda n=n: p.waiting_count == n + 1)  # type: ignore[misc]
        lease.release()
        for thread in threads:
            thread.outcome()
        assert served == list(range(10))


def test_idle_connections_are_used_last_in_first_out(dsn: str) -> None:
    with pool(dsn, max_size=3) as p:
        leases = [p.connect() for _ in range(3)]
        pids = [lease.backend_pid for lease in leases]
        for lease in leases:
            lease.release()
        leases = [p.connect() for _ in range(3)]
        assert [lease.backend_pid for lease in leases] == pids[::-1]
        for lease in leases:
            lease.release()


def test_checkout_timeout_says_what_the_pool_looks_like(dsn: str) -> None:
    with pool(dsn, max_size=1, checkout_timeout=0.05) as p, p.connect(timeout=PATIENCE):
        with pytest.raises(pgwire.PoolTimeout, match="1 of 1 leased") as caught:
            p.connect()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.stats.leased == 1


def test_a_waiter_that_timed_out_does_not_take_its_place(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        first = Thread(lambda: p.connect(timeout=0.05))
        until(lambda: p.stats().requests == 2)
        second = Thread(lambda: p.query("select 2").scalar())
        with pytest.raises(pgwire.PoolTimeout):
            first.outcome()
        lease.release()
        assert second.outcome() == 2


def test_timeout_zero_is_now_or_never(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        with pytest.raises(pgwire.PoolTimeout, match=r"^no connection within [\d.]+ s: "):
            p.connect(timeout=0)
        until(lambda: p.idle_count == 1)  # it has started an opening all the same
        p.connect(timeout=0).release()


def test_one_budget_for_waiting_and_running(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.wait(PATIENCE)
        with pytest.raises(pgwire.QueryTimeout):
            p.query("select pg_sleep(30)", timeout=0.2)
        lease = p.connect()
        with pytest.raises(pgwire.PoolTimeout):
            p.query("select 1", timeout=0.05)
        lease.release()
        assert p.query("select 1", timeout=PATIENCE).scalar() == 1


def test_query_timeout_is_the_default_for_leases_too(dsn: str) -> None:
    with pool(dsn, max_size=1, query_timeout=0.1) as p:
        with pytest.raises(pgwire.QueryTimeout):
            p.query("select pg_sleep(30)")
        with p.connect() as conn:
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select pg_sleep(30)")
            assert conn.query("select 1", timeout=PATIENCE).scalar() == 1


def test_max_waiting_refuses_one_more(dsn: str) -> None:
    with pool(dsn, max_size=1, max_waiting=1) as p:
        lease = p.connect()
        waiting = Thread(lambda: p.query("select 1").scalar())
        until(lambda: p.waiting_count == 1)
        with pytest.raises(pgwire.PoolFull):
            p.connect()
        lease.release()
        assert waiting.outcome() == 1


# ------------------------------------------------------------------ ageing


def test_max_uses_retires_a_connection(dsn: str) -> None:
    with pool(dsn, max_size=1, max_uses=2) as p:
        pids = [p.query("select pg_backend_pid()").scalar() for _ in range(6)]
        assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]


def test_idle_connections_above_the_floor_are_closed(dsn: str) -> None:
    with pool(dsn, max_size=4, min_size=1, idle_timeout=0.05) as p:
        leases = [p.connect() for _ in range(4)]
        for lease in leases:
            lease.release()
        until(lambda: p.total_count == 1)
        assert p.stats().retired == 3


def test_an_old_connection_is_retired_when_it_comes_back(dsn: str) -> None:
    with pool(dsn, max_size=1, max_lifetime=0.05, lifetime_spread=0) as p:
        with p.connect() as conn:
            pid = conn.backend_pid
            conn.query("select pg_sleep(0.1)")
        assert p.query("select pg_backend_pid()").scalar() != pid


def test_a_connection_that_idled_long_is_asked_before_it_is_used(dsn: str) -> None:
    with pool(dsn, max_size=1, check_after=0) as p:
        pid = p.query("select pg_backend_pid()").scalar()
        until(lambda: p.idle_count == 1)
        assert p.query("select pg_backend_pid()").scalar() == pid


# ------------------------------------------------------------------ faults


def kill(p: pgwire.Pool, pids: list[int], dsn: str) -> None:
    """Terminate these backends, and return once they are gone."""
    with pgwire.connect(dsn) as conn:
        conn.query("select pg_terminate_backend(pid) from unnest($1::int[]) as t(pid)", [pids])
        until(
            lambda: (
                conn.query(
                    "select count(*) from pg_stat_activity where pid = any($1)", [pids]
                ).scalar()
                == 0
            )
        )


def test_killed_idle_connections_are_noticed_before_they_are_used(dsn: str) -> None:
    with pool(dsn, max_size=20, max_opening=20) as p:
        leases = [p.connect() for _ in range(20)]
        pids = [lease.backend_pid for lease in leases]
        for lease in leases:
            lease.release()
        kill(p, pids, dsn)
        threads = [Thread(lambda n=n: p.query("select $1::int", [n]).scalar()) for n in range(20)]  # type: ignore[misc]
        assert [t.outcome() for t in threads] == list(range(20))


def test_a_killed_lease_is_replaced(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        with p.connect() as conn:
            kill(p, [conn.backend_pid], dsn)
            with pytest.raises(pgwire.ConnectionLost) as caught:
                conn.query("select 1")
            assert caught.value.sqlstate == "57P01"  # type: ignore[attr-defined]
        assert p.query("select 1").scalar() == 1


def test_the_loss_of_an_idle_connection_is_an_event_and_not_fatal(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        errors: list[BaseException] = []
        p.on("error", lambda error, _conn: errors.append(error))
        pid = p.query("select pg_backend_pid()").scalar()
        kill(p, [pid], dsn)
        until(lambda: p.total_count == 0)
        assert isinstance(errors[0], pgwire.ConnectionLost)


def test_a_wrong_password_fails_at_once(embedded_server: Any) -> None:
    url = embedded_server.url_for("postgres", password="wrong")
    with pool(url, checkout_timeout=60) as p:
        started = time.monotonic()
        with pytest.raises(pgwire.AuthenticationError):
            p.query("select 1")
        assert time.monotonic() - started < PATIENCE
        assert p.total_count == 0


def test_so_do_a_database_that_is_not_there_and_a_certificate_of_nobody(tls_server: Any) -> None:
    """Nobody's deadline is waited for: there is none."""
    with pool(tls_server.url, dbname="no_such_database", checkout_timeout=None) as p:
        with pytest.raises(pgwire.ConnectionFailed) as refused:
            p.query("select 1")
        assert getattr(refused.value, "sqlstate", None) == "3D000"
    with pool(
        tls_server.url, sslmode="verify-full", sslrootcert="system", checkout_timeout=None
    ) as p:
        with pytest.raises(pgwire.TLSError):
            p.query("select 1")


def test_a_server_that_is_not_there_is_tried_until_the_deadline() -> None:
    with (
        pool("host=127.0.0.1 port=1 user=x") as p,
        in_vain(p, lambda: p.query("select 1", timeout=PATIENCE), failures=2),
    ):
        with pytest.raises(pgwire.PoolTimeout) as caught:
            p.query("select 1", timeout=0.05)
        assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)
        with pytest.raises(pgwire.PoolTimeout):
            p.wait(0.05)


# ------------------------------------------------------------------ the end


def test_end_serves_what_was_asked_before_it(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=1)
    lease = p.connect()
    before = [Thread(lambda n=n: p.query("select $1::int", [n]).scalar()) for n in range(3)]  # type: ignore[misc]
    until(lambda: p.waiting_count == 3)
    ending = Thread(p.end)
    until(lambda: p._engine.core.ending)
    with pytest.raises(pgwire.PoolClosed):
        p.query("select 1")
    lease.release()
    assert [t.outcome() for t in before] == [0, 1, 2]
    ending.outcome()
    assert p.total_count == 0


def test_end_is_idempotent_and_shared(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    p.query("select 1")
    ends = [Thread(p.end) for _ in range(4)]
    for thread in ends:
        thread.outcome()
    p.end()
    p.close()
    with pytest.raises(pgwire.PoolClosed):
        p.connect()


def test_end_by_the_holder_of_a_lease_is_an_error_that_names_the_place(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    lease = p.connect()
    with pytest.raises(pgwire.InterfaceError, match=r"test_blocking\.py:\d+ in test_end_by"):
        p.end()
    assert lease.query("select 1").scalar() == 1
    lease.release()
    assert p.query("select 1").scalar() == 1
    p.end()


def test_bounded_end_cancels_closes_and_names_the_leases(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=2)
    lease = p.connect()
    running = Thread(lambda: p.query("select pg_sleep(60)"))
    until(lambda: p.stats().leased == 2)
    with pytest.raises(pgwire.PoolTimeout, match=r"1 lease.*test_bounded_end"):
        p.end(timeout=0.1)
    with pytest.raises(pgwire.Error):
        running.outcome()
    with pytest.raises(pgwire.InterfaceError):
        lease.query("select 1")
    lease.release()
    assert p.total_count == 0


def test_leaving_the_block_never_replaces_its_exception(dsn: str) -> None:
    with pytest.raises(pgwire.PostgresError, match="nonsense"), pool(dsn) as p:
        p.query("select nonsense")


def test_nothing_is_left_after_the_end(dsn: str) -> None:
    threads = set(threading.enumerate())
    with pgwire.connect(dsn) as conn:
        with pool(dsn, max_size=5, application_name="left-over") as p:
            leases = [p.connect() for _ in range(5)]
            for lease in leases:
                lease.release()
        assert set(threading.enumerate()) <= threads
        left = conn.query(
            "select count(*) from pg_stat_activity where application_name = 'left-over'"
        )
        assert left.scalar() == 0


# ------------------------------------------------------------------ events, figures, options


def test_events_come_in_order(dsn: str) -> None:
    seen: list[str] = []
    with pool(dsn) as p:
        for event in ("connect", "acquire", "release", "remove"):
            p.on(event, lambda conn, event=event: seen.append(f"{event} {conn.backend_pid}"))
        with p.connect() as conn:
            pid = conn.backend_pid
    assert seen == [f"{event} {pid}" for event in ("connect", "acquire", "release", "remove")]


def test_a_raising_callback_is_logged_and_goes_no_further(
    dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(_conn: object) -> None:
        raise ZeroDivisionError

    with pool(dsn) as p:
        p.on("acquire", fails)
        with p.connect() as conn:
            assert conn.query("select 1").scalar() == 1
        p.off("acquire", fails)
        p.off("acquire", fails)
        p.connect().release()
    assert len([r for r in caplog.records if "acquire" in r.getMessage()]) == 1


def test_an_unknown_event_is_named(dsn: str) -> None:
    with pool(dsn) as p, pytest.raises(pgwire.ProgrammingError, match="acquire"):
        p.on("aquire", print)  # type: ignore[call-overload]


@pytest.mark.parametrize(
    "options",
    [
        {"max_size": 0},
        {"min_size": 3, "max_size": 2},
        {"reset": "sometimes"},
        {"checkout_timeout": -1},
        {"checkout_timeout": float("nan")},
        {"query_timeout": "1"},
        {"no_such_thing": 1},
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(pgwire.ProgrammingError):
        pgwire.Pool("host=127.0.0.1", **options)


def test_stats_add_up(dsn: str) -> None:
    with pool(dsn, max_size=2) as p:
        for _ in range(5):
            p.query("select 1")
        stats = p.stats()
        assert (stats.requests, stats.granted, stats.released, stats.opened) == (5, 5, 5, 1)


def test_the_repr_says_whether_it_is_closed(dsn: str) -> None:
    with pool(dsn, name="shop") as p:
        lease = p.connect()
        assert "Pool shop: " in repr(p)
        ending = Thread(p.end)
        until(lambda: "Pool shop ending: " in repr(p))
        lease.release()
        ending.outcome()
        assert "Pool shop closed: " in repr(p)


def test_the_repr_shows_no_secret(embedded_server: Any) -> None:
    with pool(embedded_server.url) as p:
        assert embedded_server.password not in repr(p)
        with p.connect() as conn:
            assert embedded_server.password not in repr(conn)
