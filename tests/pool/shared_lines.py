"""Scenarios of submitted queries that share a connection, for `test_interleavings`; and mistakes.

A statement "a" may share, others may not.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import pgwire
from pgwire.pool.sharing import SharedLine
from tests.pool.interleavings import ANSWER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from pgwire.protocol.operation import Operation
    from tests.pool.interleavings import FakeDriver, Scenario, World


def nothing_lost(w: World, futures: list[Future[Any]], count: int) -> Callable[[], bool]:
    """All have been answered, and no connection was given up."""

    def look() -> bool:
        assert len(futures) == count
        assert [future.exception(0) for future in futures] == [None] * count
        assert w.pool.stats().discarded == 0, "a connection was given up"
        return True

    return look


def joining_a_line_that_is_just_ending(w: World) -> None:
    pool = w.make_shared_pool(max_size=2)  # so there may be a thread for the next line already
    futures = [pool.submit("a")]
    (connection,) = pool._engine.core.connections()

    def join() -> None:
        w.scheduler.wait("let go", "", lambda: cast("FakeDriver", connection).was_shared, None)
        futures.append(pool.submit("a"))

    w.user(join)
    w.at_the_end = nothing_lost(w, futures, 2)


def two_join_a_line(w: World) -> None:
    """There is room for two, so that one waits in the queue at times."""
    pool = w.make_shared_pool()
    futures = [pool.submit("a")]
    for _ in range(2):
        w.user(lambda: futures.append(pool.submit("a")))
    w.at_the_end = nothing_lost(w, futures, 3)


def joining_meets_end(w: World) -> None:
    pool = w.make_shared_pool()
    futures = [pool.submit("a")]

    def end() -> None:
        submitted = futures[:]
        pool.end()
        assert all(future.done() for future in submitted), "end() has returned, a future waits"

    w.user(lambda: futures.append(pool.submit("a")))
    w.user(end)
    w.at_the_end = lambda: (
        futures[0].exception(0) is None
        and isinstance(futures[1].exception(0), pgwire.PoolClosed | None)
    )


def joining_meets_bounded_end(w: World) -> None:
    pool = w.make_shared_pool()
    futures = [pool.submit("a")]
    w.user(lambda: futures.append(pool.submit("a")))
    with suppress(pgwire.PoolTimeout):
        pool.end(timeout=0.5)
    w.at_the_end = lambda: all(
        isinstance(future.exception(0), pgwire.InterfaceError | None) for future in futures
    )


def joining_meets_cancel(w: World) -> None:
    pool = w.make_shared_pool()
    futures = [pool.submit("a") for _ in range(3)]
    for future in futures[1:]:
        w.user(future.cancel)
    w.at_the_end = lambda: all(future.done() for future in futures)


def joining_meets_timeout(w: World) -> None:
    pool = w.make_shared_pool()
    futures = [pool.submit("a", timeout=ANSWER)]
    w.user(lambda: futures.append(pool.submit("a", timeout=2 * ANSWER)))
    w.at_the_end = lambda: all(
        isinstance(future.exception(0), pgwire.QueryTimeout | pgwire.PoolTimeout | None)
        for future in futures
    )


def a_lease_waits_for_a_line(w: World) -> None:
    pool = w.make_shared_pool()
    futures = [pool.submit("a")]

    def use() -> None:
        with pool.connect() as conn:
            conn.query("c")

    w.user(use)
    w.user(lambda: futures.append(pool.submit("a")))
    w.at_the_end = nothing_lost(w, futures, 2)


SCENARIOS: list[Scenario] = [
    joining_a_line_that_is_just_ending,
    two_join_a_line,
    joining_meets_end,
    joining_meets_bounded_end,
    joining_meets_cancel,
    joining_meets_timeout,
    a_lease_waits_for_a_line,
]


def forgets_who_comes_last(line: SharedLine) -> None:
    """The line is over before it is looked whether somebody has come."""
    while True:
        line._slot.connection.run_together(line)
        line._give_back()
        with line._sharing.lock:
            over = not line.jobs
        if over:
            with line._sharing.lock:
                del line._sharing.lines[line._slot]
            return


def gives_back_after_the_end(line: SharedLine) -> None:
    """The next line may have begun when the last one of this is given back."""
    while True:
        line._slot.connection.run_together(line)
        with line._sharing.lock:
            over = not line.jobs
            if over:
                del line._sharing.lines[line._slot]
        line._give_back()
        if over:
            return


def gives_back_too_soon(line: SharedLine, operations: Sequence[Operation]) -> None:
    """The last one is given back while the connection is still in use."""
    for operation in operations:
        line._end(line._flying.pop(operation))


MISTAKES: list[tuple[object, str, Callable[..., Any], Scenario]] = [
    (SharedLine, "run", forgets_who_comes_last, joining_a_line_that_is_just_ending),
    (SharedLine, "run", gives_back_after_the_end, joining_a_line_that_is_just_ending),
    (SharedLine, "settle", gives_back_too_soon, a_lease_waits_for_a_line),
]
