"""`pool.submit()`: a place in the queue now, the answer in a future."""

from __future__ import annotations

import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, pid_of, pool, run_script, threads_of, until

if TYPE_CHECKING:
    from concurrent.futures import Future


def test_the_future_gives_the_result(dsn: str) -> None:
    with pool(dsn) as p:
        assert p.submit("select $1::int + 1", [41]).result(PATIENCE).scalar() == 42


class Item(NamedTuple):
    id: int
    name: str


ITEMS = "select n as id, 'item ' || n as name from generate_series(1, $1::int) n order by n"


@pytest.mark.parametrize("max_pipeline", [1, 4])
def test_the_rows_have_the_shape_that_was_asked_for(dsn: str, max_pipeline: int) -> None:
    with pool(dsn, max_size=1, max_pipeline=max_pipeline) as p:
        for _ in range(3):  # the pool has to learn first what may share
            p.submit(ITEMS, [2]).result(PATIENCE)
        items = [p.submit(ITEMS, [2], row=Item) for _ in range(5)]
        dicts = p.submit(ITEMS, [1], row=dict)
        ids = p.submit(ITEMS, [2], row=lambda row: row.id)
        for future in items:
            assert future.result(PATIENCE).rows == [Item(1, "item 1"), Item(2, "item 2")]
        assert dicts.result(PATIENCE).one() == {"id": 1, "name": "item 1"}
        assert ids.result(PATIENCE).rows == [1, 2]


@pytest.mark.parametrize("max_pipeline", [1, 4])
def test_what_making_rows_raises_arrives_in_the_future(dsn: str, max_pipeline: int) -> None:
    def stop(_row: pgwire.Row) -> None:
        raise SystemExit

    with pool(dsn, max_size=1, max_pipeline=max_pipeline) as p:
        for _ in range(3):
            p.submit(ITEMS, [2]).result(PATIENCE)
        failing = p.submit(ITEMS, [2], row=lambda row: 1 // (2 - row.id))
        ending = p.submit(ITEMS, [2], row=stop)
        unfit = p.submit("insert into nowhere values (1) returning 1 as n", row=Item)
        misfit = p.submit("select 1 as n", row=Item)
        no_function = p.submit(ITEMS, [2], row="Item")  # type: ignore[call-overload]
        good = p.submit(ITEMS, [1], row=Item)
        with pytest.raises(ZeroDivisionError) as caught:
            failing.result(PATIENCE)
        assert caught.value.__notes__ == ["in row 2 of 2"]
        with pytest.raises(SystemExit):
            ending.result(PATIENCE)
        with pytest.raises(pgwire.UndefinedTable):
            unfit.result(PATIENCE)
        for future in (misfit, no_function):
            with pytest.raises(pgwire.InterfaceError, match=r"rows cannot become|row must be"):
                future.result(PATIENCE)
        assert good.result(PATIENCE).one() == Item(1, "item 1")
        assert (p.total_count, p.idle_count) == (1, 1)


def test_it_takes_its_place_when_called(dsn: str) -> None:
    """I-5: among all requests, whatever their kind."""
    now = "select clock_timestamp()"
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        first = p.submit(now)
        second = Thread(lambda: p.query(now).scalar())
        until(lambda: p.waiting_count == 2)
        third = p.submit(now)
        assert p.waiting_count == 3
        lease.release()
        times = [first.result(PATIENCE).scalar(), second.outcome(), third.result(PATIENCE).scalar()]
    assert times == sorted(times)


def test_submitted_queries_run_in_order(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.query("create table submitted (n int, seen timestamptz default clock_timestamp())")
        futures = [p.submit("insert into submitted values ($1)", [n]) for n in range(30)]
        concurrent.futures.wait(futures, PATIENCE)
        numbers = p.query("select n from submitted order by seen").scalars()
        p.query("drop table submitted")
    assert numbers == list(range(30))


def test_a_queued_future_can_be_cancelled_and_leaves_the_queue(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        futures = [p.submit("select $1::int", [n]) for n in range(3)]
        assert p.waiting_count == 3
        assert futures[1].cancel()
        assert (p.waiting_count, p.stats().abandoned) == (2, 1)
        with pytest.raises(concurrent.futures.CancelledError):
            futures[1].result(0)
        lease.release()
        done, _ = concurrent.futures.wait(futures, PATIENCE)
        assert len(done) == 3  # the cancelled one as well
        assert [futures[n].result(0).scalar() for n in (0, 2)] == [0, 2]
        assert p.stats().granted == 3


def test_what_runs_cannot_be_cancelled(dsn: str) -> None:
    with pool(dsn, max_size=1) as p, pgwire.connect(dsn) as blocker:
        blocker.query("select pg_advisory_lock(77)")
        future = p.submit("select pg_advisory_lock(77)")
        until(future.running)
        assert not future.cancel()
        blocker.query("select pg_advisory_unlock(77)")
        assert future.result(PATIENCE).row_count == 1


def test_a_cancel_that_meets_the_grant_gives_the_connection_back(dsn: str) -> None:
    """Cancelled after the grant or just before it: the query never runs."""
    with pool(dsn, max_size=1) as p:
        futures: list[Future[Any]] = []

        def cancel(_conn: object) -> None:
            futures[1].cancel()  # in the worker, between two jobs

        lease = p.connect()
        futures += [p.submit("select 1"), p.submit("select 1 / 0"), p.submit("select 3")]
        p.on("release", cancel)
        lease.release()
        assert futures[2].result(PATIENCE).scalar() == 3
        assert futures[1].cancelled()
        until(lambda: p.stats().leased == 0)


@pytest.mark.parametrize(
    ("sql", "params", "kind"),
    [
        ("select 1 / 0", (), pgwire.DataError),
        ("select nonsense", (), pgwire.ProgrammingError),
        ("select $1::int", ["x", "y"], pgwire.Error),
        ("select $1", "text", pgwire.ProgrammingError),
    ],
)
def test_errors_of_the_query_arrive_in_the_future(
    dsn: str, sql: str, params: Any, kind: type[Exception]
) -> None:
    with pool(dsn, max_size=1) as p:
        pid = pid_of(p)
        with pytest.raises(kind):
            p.submit(sql, params).result(PATIENCE)
        assert pid_of(p) == pid


def test_errors_of_the_pool_arrive_in_the_future(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=1, max_waiting=1, checkout_timeout=0.05)
    lease = p.connect(timeout=PATIENCE)
    queued = p.submit("select 1")
    with pytest.raises(pgwire.PoolFull):
        p.submit("select 2").result(0)
    with pytest.raises(pgwire.PoolTimeout):
        queued.result(PATIENCE)
    lease.release()
    with pytest.raises(pgwire.QueryTimeout):
        p.submit("select pg_sleep(600)", timeout=0.2).result(PATIENCE)
    lease = p.connect(timeout=PATIENCE)
    with pytest.raises(pgwire.PoolTimeout):
        p.submit("select 1", timeout=0.02).result(PATIENCE)
    lease.release()
    p.end()
    with pytest.raises(pgwire.PoolClosed):
        p.submit("select 3").result(0)


def test_a_server_that_refuses_arrives_in_the_future(embedded_server: Any) -> None:
    with pool(embedded_server.url_for("postgres", password="wrong")) as p:
        with pytest.raises(pgwire.AuthenticationError):
            p.submit("select 1").result(PATIENCE)


def test_everything_submitted_before_the_end_is_served(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=2)
    futures = [p.submit("select $1::int", [n]) for n in range(40)]
    p.end()
    assert [future.result(0).scalar() for future in futures] == list(range(40))
    assert not threads_of(p)


def test_an_abrupt_end_tells_every_future(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=1)
    lease = p.connect()
    futures = [p.submit("select 1") for _ in range(3)]
    with pytest.raises(pgwire.PoolTimeout):
        p.end(timeout=0)
    for future in futures:
        with pytest.raises(pgwire.PoolClosed):
            future.result(PATIENCE)
    lease.release()


def test_there_is_no_thread_per_call(dsn: str) -> None:
    with pool(dsn, max_size=2) as p:
        leases = [p.connect() for _ in range(2)]
        futures = [p.submit("select 1") for _ in range(200)]
        until(lambda: len(threads_of(p)) == 1)  # the one that keeps the time
        most: list[int] = []
        for future in futures:
            future.add_done_callback(lambda _future: most.append(len(threads_of(p))))
        for lease in leases:
            lease.release()
        concurrent.futures.wait(futures, PATIENCE)
        until(lambda: len(most) == 200)
        assert max(most) <= 3
        assert all(thread.daemon for thread in threads_of(p))


def test_a_crowd_that_times_out_takes_no_more_threads(dsn: str) -> None:
    with pool(dsn, max_size=2, checkout_timeout=0.05) as p:
        leases = [p.connect(timeout=PATIENCE) for _ in range(2)]
        most: list[int] = []
        futures = [p.submit("select 1") for _ in range(100)]
        for future in futures:
            future.add_done_callback(lambda _future: most.append(len(threads_of(p))))
        concurrent.futures.wait(futures, PATIENCE)
        assert all(isinstance(future.exception(), pgwire.PoolTimeout) for future in futures)
        until(lambda: len(most) == 100)
        assert max(most) <= 3
        for lease in leases:
            lease.release()


def test_callbacks_of_futures_never_run_in_who_gives_a_connection_back(dsn: str) -> None:
    """I-31, PP-52: nor in the thread that keeps the time."""
    where: list[threading.Thread] = []
    main = threading.current_thread()
    with pool(dsn, max_size=1, checkout_timeout=0.05) as p:
        lease = p.connect(timeout=PATIENCE)
        late = p.submit("select 1")
        late.add_done_callback(lambda _future: where.append(threading.current_thread()))
        with pytest.raises(pgwire.PoolTimeout):
            late.result(PATIENCE)
        soon = p.submit("select 1", timeout=PATIENCE)
        soon.add_done_callback(lambda _future: where.append(threading.current_thread()))
        lease.release()
        concurrent.futures.wait([soon], PATIENCE)
        until(lambda: len(where) == 2)
        assert main not in where


def test_workers_go_when_there_is_nothing_to_do(dsn: str) -> None:
    with pool(dsn, max_size=2) as p:
        p.submit("select 1").result(PATIENCE)
        until(lambda: len(threads_of(p)) == 1)
        assert p.submit("select 2").result(PATIENCE).scalar() == 2


def test_its_threads_do_not_keep_the_process_alive(dsn: str) -> None:
    out = run_script(
        """
        pool = pgwire.Pool(DSN, max_size=2)
        print(pool.submit("select 7").result().scalar())
        futures = [pool.submit("select pg_sleep(60)") for _ in range(4)]
        until(lambda: futures[0].running() and futures[1].running())
        print("bye")
        """,
        dsn,
    )
    assert out == "7\nbye"
