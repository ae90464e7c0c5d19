"""What a pool's users should not do, and sooner or later will: it neither hangs nor loses anything.

Times that are none, functions that cannot be called, callbacks that raise what ends a program or
leave their connection in a bad way, leases given back while they are in use, and Ctrl-C at every
moment at which it can strike in the code around the pool's core.
"""

from __future__ import annotations

import math
import sys
import threading
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.blocking import (
    connection,
    copying,
    driver,
    holding,
    net,
    pipeline as pipelines,
    streaming,
)
from pgwire.pool import (
    blocking,
    core,
    crew,
    engine,
    keeper,
    lease,
    outputs,
    requesting,
    slots,
    supply,
    waiters,
)
from tests.pool.support import PATIENCE, Thread, messages, pool, until
from tests.pool.watching import SLEEP, Call, within
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer, serve
from tests.support.striking import strike_at

if TYPE_CHECKING:
    from collections.abc import Callable

    # Where a call of the pool takes its time.
    TimedCall = Callable[[pgwire.Pool, Any], object]

CALLS: dict[str, TimedCall] = {
    "query": lambda p, t: p.query("select 1", timeout=t),
    "query_many": lambda p, t: p.query_many("select $1::int", [[1]], timeout=t),
    "connect": lambda p, t: p.connect(timeout=t),
    "transaction": lambda p, t: p.transaction(timeout=t).__enter__(),
    "submit": lambda p, t: p.submit("select 1", timeout=t).result(PATIENCE),
    "wait": lambda p, t: p.wait(t),
    "end": lambda p, t: p.end(timeout=t),
}


# ------------------------------------------------------------------ times and options


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("timeout", [math.nan, "5", b"", True, 3 + 4j])
def test_what_is_no_time_is_refused_at_once(call: str, timeout: Any) -> None:
    """NaN is neither before nor after anything: whoever waited for it waited for ever."""
    p = pgwire.Pool("host=127.0.0.1 port=1")
    with pytest.raises(pgwire.ProgrammingError, match=r"timeout is .*; it must be a number of sec"):
        CALLS[call](p, timeout)
    assert p.stats().requests == 0
    p.end(timeout=PATIENCE)


@pytest.mark.parametrize("call", ["query", "query_many", "connect", "transaction", "submit"])
def test_less_than_nothing_is_now_or_never(dsn: str, call: str) -> None:
    with pool(dsn, max_size=1) as p, p.connect(), pytest.raises(pgwire.PoolTimeout):
        CALLS[call](p, -1)


def test_a_time_that_has_passed_ends_the_pool_at_once(dsn: str) -> None:
    p = pgwire.Pool(dsn)
    with p.connect(), pytest.raises(pgwire.PoolTimeout):
        p.end(timeout=-1)
    assert p.total_count == 0


@pytest.mark.parametrize("timeout", [math.inf, 1e300, 10**400])
def test_no_time_is_too_long(dsn: str, timeout: float) -> None:
    """Clocks and locks have their limits, which are nobody's business."""
    with pool(dsn, min_size=1, max_size=1) as p:
        for call in ("wait", "query", "submit", "query_many"):
            CALLS[call](p, timeout)
        lease = p.connect(timeout=timeout)
        waiting = [Call(CALLS[call], p, timeout) for call in ("query", "submit")]
        until(lambda: p.waiting_count == 2)
        lease.release()
        for thread in waiting:
            thread.outcome()
        p.end(timeout=timeout)


async def _coroutine(*_args: object) -> None: ...


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"on_connect": 5}, "on_connect is 5; it must be a callable"),
        ({"on_connect": _coroutine}, "on_connect is a coroutine function; they are for AsyncPool"),
        ({"reset": _coroutine}, "reset is a coroutine function; they are for AsyncPool"),
        ({"reset": ["auto"]}, "reset is .*; it must be 'auto', 'always', 'never' or a callable"),
        ({"clock": 3}, "clock is 3; it must be a callable"),
        ({"maxsize": 5}, "unknown option or connection parameter 'maxsize'; .*'max_size'"),
        ({"checkouttimeout": 5}, "'checkouttimeout'; did you mean 'checkout_timeout'"),
        ({"hots": "db"}, "'hots'; did you mean 'host'"),
        ({"timeout": 5}, "'timeout'; did you mean 'checkout_timeout'"),
        ({"search_path": "app"}, "a setting of the server goes into options or settings"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_where_it_is_given(
    options: dict[str, Any], told: str
) -> None:
    """A hook that is never awaited would set nothing, and say nothing."""
    with pytest.raises(pgwire.ProgrammingError, match=told):
        pgwire.Pool(**options)


@pytest.mark.parametrize("retries", [math.nan, math.inf, -1, 1.5, None, True])
def test_retries_are_a_number_of_times(retries: Any) -> None:
    """NaN is never reached: such a transaction was tried for ever."""
    with pgwire.Pool() as p, pytest.raises(pgwire.ProgrammingError, match="retries is"):
        p.run_transaction(lambda conn: None, retries=retries)


@pytest.mark.parametrize("function", [None, "select 1", _coroutine])
def test_a_transaction_is_a_function_that_does_something(function: Any) -> None:
    with pgwire.Pool() as p, pytest.raises(pgwire.ProgrammingError, match="function is"):
        p.run_transaction(function)
    assert p.stats().requests == 0


@pytest.mark.parametrize("callback", [None, 5, _coroutine])
def test_a_callback_is_a_function_that_does_something(callback: Any) -> None:
    with pgwire.Pool() as p, pytest.raises(pgwire.ProgrammingError, match="callback is"):
        p.on("acquire", callback)


# ------------------------------------------------------------------ callbacks


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_callback_ends_no_thread_of_the_pool(
    dsn: str, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    """I-31: the slot of that thread, or the future of its query, would have been lost."""

    def raising(_conn: object) -> None:
        raise error

    with pool(dsn, max_size=1, max_uses=1) as p:
        for event in ("connect", "acquire", "release", "remove"):
            p.on(event, raising)
        for _ in range(2):
            assert p.submit("select 1").result(PATIENCE).scalar() == 1
        assert Thread(lambda: p.query("select 1").scalar()).outcome() == 1
        p.end(timeout=PATIENCE)
    told = messages(caplog.records)
    for event in ("connect", "acquire", "release", "remove"):
        assert f"{p.name}: a callback for '{event}' raised" in told


@pytest.mark.parametrize("max_pipeline", [1, 8])
def test_a_futures_callback_ends_no_thread_of_the_pool(
    dsn: str, max_pipeline: int, caplog: pytest.LogCaptureFixture
) -> None:
    """I-31: the worker was gone, and counted as if it were there: nobody ran what came next."""
    with pool(dsn, max_size=1, max_pipeline=max_pipeline) as p:
        for _ in range(3):
            lease = p.connect()
            future = p.submit("select 1")
            future.add_done_callback(lambda _future: sys.exit(3))
            lease.release()
            assert future.result(PATIENCE).scalar() == 1
        assert p.submit("select 2").result(PATIENCE).scalar() == 2
    assert "a callback of a submitted query's future raised" in messages(caplog.records)


def test_the_end_of_the_program_gets_out_of_a_callback_in_the_main_thread(dsn: str) -> None:
    with pool(dsn, max_size=1) as p:
        p.on("acquire", lambda _conn: sys.exit(3))
        with pytest.raises(SystemExit):
            p.query("select 1")
        assert p.stats().leased == 0


def test_a_listener_that_panics_in_a_check_costs_no_more_than_the_connection() -> None:
    """The slot was being checked for ever."""
    panics = False

    def callback(_notice: object) -> None:
        nonlocal panics
        if panics:
            panics = False
            raise SystemExit

    def script(line: Line) -> None:
        line.let_in()
        answers = {"select 1": (backend.column("v", 25), [b"a"])}
        serve(line, answers, lambda answer: line.send(backend.notice(), answer))

    with (
        ScriptedServer(script) as server,
        pool(server.dsn, max_size=1, check_after=0.0) as p,
    ):
        p.on("acquire", lambda conn: conn.on("notice", callback))
        assert p.query("select 1").scalar() == "a"
        panics = True
        assert p.query("select 1", timeout=PATIENCE).scalar() == "a"
        assert not panics
        assert p.stats().opened == 2


def test_what_a_callback_leaves_behind_is_gone_with_the_lease(dsn: str) -> None:
    """I-23: callbacks for "release" come before the cleaning."""

    def leave_behind(conn: pgwire.Connection) -> None:
        conn.query("set search_path to elsewhere")
        conn.query("begin")

    with pool(dsn, max_size=1) as p:
        p.on("release", leave_behind)
        for _ in range(2):
            with p.connect() as conn:
                assert conn.transaction_status is pgwire.TransactionStatus.IDLE
                assert conn.query("show search_path").scalar() != "elsewhere"


def test_a_transaction_that_a_callback_began_is_not_the_first_leases(dsn: str) -> None:
    """I-23."""
    with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: conn.query("begin"))
        with p.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE


def test_a_callback_that_closes_new_connections_is_told_of(dsn: str) -> None:
    """They were opened and thrown away as fast as the server would, until the deadline."""
    with pool(dsn, max_size=1) as p:
        p.on("connect", lambda conn: conn.close())
        with pytest.raises(pgwire.OperationalError, match='a callback for "connect" left its conn'):
            p.query("select 1")
        stats = p.stats()
        assert (stats.opened, stats.open_failures) == (0, 1)


# ------------------------------------------------------------------ leases


@pytest.mark.parametrize("discard", [False, True])
def test_a_lease_given_back_while_another_thread_uses_it_holds_up_nobody(
    dsn: str, discard: bool
) -> None:
    """I-12: what runs there is cancelled; its slot was taken for as long as it would have run."""
    with pool(dsn, max_size=1) as p:
        lease = p.connect()
        with pgwire.connect(dsn) as watch:
            using = Call(lease.query, SLEEP, [1])
            running = "select count(*) from pg_stat_activity where query = $1 and state = 'active'"
            until(lambda: watch.query(running, [SLEEP]).scalar())
        with within(PATIENCE):
            lease.release(discard=discard)
            assert p.query("select 1").scalar() == 1
        assert isinstance(using.ending(), pgwire.errors.QueryCanceled | pgwire.InterfaceError)


def test_an_end_by_force_says_what_was_under_way(dsn: str) -> None:
    p = pgwire.Pool(dsn, max_size=2)
    lease = p.connect()
    started = threading.Event()
    p.on("acquire", lambda _conn: started.set())
    running = Call(p.query, SLEEP, [1])
    assert started.wait(PATIENCE)
    waiting = [Call(p.query, "select 1") for _ in range(2)]
    until(lambda: p.waiting_count == 2)
    with pytest.raises(pgwire.PoolTimeout) as caught:
        p.end(timeout=0.01)
    assert str(caught.value).startswith(
        "end(0.01): 1 lease still out, 1 query running, 2 requests waiting, closed now; taken at "
    )
    assert lease.closed
    lease.release()
    assert running.ending() is not None
    assert [type(call.ending()) for call in waiting] == [pgwire.PoolClosed] * 2


# ------------------------------------------------------------------ Ctrl-C


ENGINE = frozenset(str(module.__file__) for module in (engine, crew, keeper))
WHAT_IS_ASKED = frozenset(
    str(module.__file__)
    for module in (
        *(blocking, connection, copying, driver, holding, lease, outputs, pipelines, streaming),
    )
)
CORE = frozenset(str(module.__file__) for module in (core, slots, supply, waiters))


def stream_all(p: pgwire.Pool) -> None:
    for row in p.stream("select generate_series(1, 25)", fetch_size=10):
        assert row


def leave_stream(p: pgwire.Pool) -> None:
    with p.stream("select generate_series(1, 10000)", fetch_size=10) as rows:
        assert next(rows)


def leave_copy(p: pgwire.Pool) -> None:
    with p.copy_out("copy (select generate_series(1, 10000)) to stdout") as data:
        assert next(data)


def many(p: pgwire.Pool) -> None:
    p.query_many("select $1::int", [[1], [2]])


def transact(p: pgwire.Pool) -> None:
    with p.transaction() as conn:
        conn.query("select 1")


def pipeline(p: pgwire.Pool) -> None:
    with p.connect() as conn, conn.pipeline() as pipe:
        pipe.query("select 1")
        pipe.query("select 2")


# Where it strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("work", [stream_all, leave_stream, leave_copy, many, transact, pipeline])
def test_ctrl_c_at_any_moment_of_what_a_pool_is_asked_for(
    dsn: str, work: Callable[[pgwire.Pool], None]
) -> None:
    """A stream that was about to give its connection back kept it for ever."""
    nth = 0
    with pool(dsn, max_size=1) as p:
        p.query("select 1")
        while moment := strike_at(nth, lambda: work(p), CORE | ENGINE | WHAT_IS_ASKED):
            print("struck at", moment)  # the last is the culprit
            until(lambda: p.total_count == p.idle_count and not p.waiting_count)
            assert p.query("select $1::int", [nth], timeout=PATIENCE).scalar() == nth
            nth += 1
        assert nth > 20, "there are more such moments"
        p.end(timeout=PATIENCE)


@pytest.mark.parametrize("check_after", [30.0, 0.0], ids=["idle", "checked"])
def test_ctrl_c_at_any_moment_in_the_core_loses_nothing(dsn: str, check_after: float) -> None:
    """A connection that was lent in a call which did not return stayed so for ever."""
    with pool(dsn, max_size=1, check_after=check_after) as p:
        p.query("select 1")
        nth = 0
        while moment := strike_at(nth, lambda: p.connect(timeout=PATIENCE).release(), CORE):
            print("struck at", moment)  # the last is the culprit
            until(lambda: p.total_count == p.idle_count and not p.waiting_count)
            assert p.query("select 1", timeout=PATIENCE).scalar() == 1
            nth += 1
        assert nth > 3, "there are more such moments"
        p.end(timeout=PATIENCE)


def wait_readable(idle: driver.Driver) -> None:
    """Until what it was asked is answered, or that has been read already."""
    until(lambda: bool(idle.channel.is_readable()) or idle.is_in_step)


def test_ctrl_c_at_any_moment_of_a_look_at_an_idle_connection(dsn: str) -> None:
    """What had been read then was lost: the next query was told that its connection was."""
    files = frozenset({str(driver.__file__), str(net.__file__)})
    with pool(dsn, max_size=1) as p:
        nth = 0
        while True:
            p.query("set work_mem = '5MB'")
            (idle,) = p._engine.core.connections()
            wait_readable(idle)  # it is cleaned
            moment = strike_at(nth, lambda: p.query("select 1", timeout=PATIENCE), files)
            print("struck at", moment)  # the last is the culprit
            if not moment:
                break
            assert p.query("select $1::int", [nth], timeout=PATIENCE).scalar() == nth
            nth += 1
        assert nth > 10, "there are more such moments"
        p.end(timeout=PATIENCE)


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_ctrl_c_at_any_moment_in_which_a_submission_takes_its_place_loses_nothing(
    dsn: str, busy: bool
) -> None:
    """A connection that was lent to a query whose `submit` did not return stayed so for ever."""
    files = CORE | {str(engine.__file__), str(requesting.__file__)}
    with pool(dsn, max_size=1) as p:
        p.query("select 1")
        nth = 0
        while True:
            with p.connect() if busy else nullcontext():
                moment = strike_at(nth, lambda: p.submit("select 1"), files)
            if not moment:
                break
            print("struck at", moment)  # the last is the culprit
            until(lambda: p.total_count == p.idle_count and not p.waiting_count)
            assert p.submit("select 1").result(PATIENCE).scalar() == 1
            nth += 1
        assert nth > 10, "there are more such moments"
        p.end(timeout=PATIENCE)


def test_ctrl_c_at_any_moment_in_the_engine_loses_nothing(dsn: str) -> None:
    """I-21, B-13: an opening or a closing that was not begun stayed under way for ever.

    Each query here opens a connection, waits for it, and has it closed.
    """
    with pool(dsn, max_size=1, max_uses=1) as p:
        nth = 0
        while moment := strike_at(nth, lambda: p.query("select 1", timeout=PATIENCE), ENGINE):
            print("struck at", moment)  # the last is the culprit
            until(lambda: p.total_count == p.idle_count and not p.waiting_count)
            p.expire()  # what was opened and not used
            until(lambda: not p.total_count)
            nth += 1
        assert nth > 30, "there are more such moments"
        assert p.query("select 1").scalar() == 1
        p.end(timeout=PATIENCE)
