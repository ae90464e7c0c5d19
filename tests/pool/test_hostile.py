"""What a pool's users should not do, and sooner or later will: it neither hangs nor loses anything.

Times that are none, functions that cannot be called.
"""

from __future__ import annotations

import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, pool, until
from tests.pool.watching import SLEEP, Call

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
