"""Every interleaving of a few threads in the blocking pool's shell, up to two preemptions.

`tests.support.scheduler` owns all that threads wait for, and the clock; connections are made
up (`interleavings`). After every input to the core the invariants are checked, and at the end
of every run that all is back: no lease, no waiter, no connection, no thread. A failure prints
its schedule, which replays it step by step:

    python -m tests.pool.test_interleavings NAME SCHEDULE [--lines]
"""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import crew, engine, keeper, submitting
from tests.pool import shared_lines
from tests.pool.interleavings import FILES, World, played
from tests.support.scheduler import ScheduleFailed, explore, replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

    from tests.pool.interleavings import Scenario


# ------------------------------------------------------------------ the scenarios


def two_queries_on_one_connection(w: World) -> None:
    pool = w.make_pool(max_size=1)
    w.user(lambda: pool.query("a"))
    w.user(lambda: pool.query("b"))


def timeout_meets_grant(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.connect(timeout=0.5).release()

    w.user(wait)
    w.user(held.release)


def ctrl_c_meets_grant(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            pool.connect().release()

    w.user(wait, ctrl_c=["acquire"])
    w.user(held.release)


def ctrl_c_meets_opening(w: World) -> None:
    pool = w.make_pool(max_size=1)

    def wait() -> None:
        with suppress(KeyboardInterrupt):
            pool.connect().release()

    w.user(wait, ctrl_c=["acquire"])
    w.user(lambda: pool.query("a"))


def ctrl_c_meets_a_lease(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.connect().release()

    def use() -> None:
        with suppress(KeyboardInterrupt):
            with pool.connect():
                w.scheduler.step("use")

    w.user(lambda: pool.query("a"))
    w.user(use, ctrl_c=["enter"])


def ctrl_c_meets_a_query(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")

    def use() -> None:
        with suppress(KeyboardInterrupt):
            pool.query("b")

    w.user(lambda: pool.query("c"))
    w.user(use, ctrl_c=["enter"])


def now_or_never_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.connect(timeout=0).release()

    w.user(wait)
    held.release()


def release_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    ready: list[pgwire.Connection] = []

    def hold() -> None:
        with suppress(pgwire.PoolClosed):
            with pool.connect() as conn:
                ready.append(conn)

    w.user(hold)
    w.user(pool.end)


def waiting_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()

    def wait() -> None:
        with suppress(pgwire.PoolClosed):
            pool.query("a")

    w.user(wait)
    w.user(pool.end)
    held.release()


def bounded_end_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    w.user(held.release)
    with suppress(pgwire.PoolTimeout):
        pool.end(timeout=0.5)


def bounded_end_meets_opening(w: World) -> None:
    pool = w.make_pool(max_size=1)

    def wait() -> None:
        with suppress(pgwire.InterfaceError):
            pool.query("a")

    w.user(wait)
    with suppress(pgwire.PoolTimeout):
        pool.end(timeout=0.5)


def two_ends(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    w.user(pool.end)
    w.user(pool.end)


def orphan_meets_wait(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = [pool.connect()]
    w.user(lambda: pool.query("a"))
    w.user(held.clear)


def orphan_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = [pool.connect()]
    w.user(pool.end)
    w.user(held.clear)


def discard_meets_wait(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    w.user(lambda: pool.query("a"))
    w.user(held.close)


def failed_opening_meets_timeout(w: World) -> None:
    pool = w.make_pool(max_size=1)
    w.failures = 1

    def wait() -> None:
        with suppress(pgwire.PoolTimeout):
            pool.query("a", timeout=0.05)

    w.user(wait)
    w.user(lambda: pool.query("b"))


def submit_meets_cancel(w: World) -> None:
    pool = w.make_pool(max_size=1)
    futures = [pool.submit("a"), pool.submit("b")]
    for future in futures:
        w.user(future.cancel)


def submit_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    futures: list[Future[Any]] = []

    def submit() -> None:
        futures.append(pool.submit("b"))

    def end() -> None:
        submitted = futures[:]
        pool.end()
        assert all(future.done() for future in submitted), "end() has returned, a future waits"

    w.user(submit)
    w.user(end)
    w.at_the_end = lambda: (
        futures[0].exception(0) is None or isinstance(futures[0].exception(0), pgwire.PoolClosed)
    )


def submit_meets_timeout(w: World) -> None:
    pool = w.make_pool(max_size=1)
    held = pool.connect()
    future = pool.submit("a", timeout=0.5)
    w.user(held.release)
    w.at_the_end = lambda: isinstance(future.exception(0), pgwire.PoolTimeout | None)


def submit_meets_a_worker_that_goes(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.submit("a")
    w.scheduler.wait("sleep", "", lambda: False, 0.01)
    futures: list[Future[Any]] = []
    w.user(lambda: futures.append(pool.submit("b")))
    w.at_the_end = lambda: futures[0].exception(0) is None


def resize_meets_release(w: World) -> None:
    pool = w.make_pool(max_size=2, min_size=1)
    held = pool.connect()
    w.user(lambda: pool.resize(0, 1))
    w.user(lambda: pool.query("a"))
    held.release()


def expire_meets_acquire(w: World) -> None:
    pool = w.make_pool(max_size=1)
    pool.query("a")
    w.user(pool.expire)
    w.user(lambda: pool.query("b"))


def a_hook_meets_the_next_request(w: World) -> None:
    pool = w.make_pool(max_size=1, reset=lambda conn: None)
    held = pool.connect()
    w.user(held.release)
    w.user(lambda: pool.connect().close())


def check_meets_end(w: World) -> None:
    pool = w.make_pool(max_size=1, check_after=0)
    pool.query("a")

    def wait() -> None:
        with suppress(pgwire.PoolClosed):
            pool.query("b")

    w.scheduler.wait("sleep", "", lambda: False, 0.5)
    w.user(wait)
    w.user(pool.end)


SCENARIOS: list[Scenario] = [
    two_queries_on_one_connection,
    timeout_meets_grant,
    ctrl_c_meets_grant,
    ctrl_c_meets_opening,
    ctrl_c_meets_a_lease,
    ctrl_c_meets_a_query,
    now_or_never_meets_release,
    release_meets_end,
    waiting_meets_end,
    bounded_end_meets_release,
    bounded_end_meets_opening,
    two_ends,
    orphan_meets_wait,
    orphan_meets_end,
    discard_meets_wait,
    failed_opening_meets_timeout,
    submit_meets_cancel,
    submit_meets_end,
    submit_meets_timeout,
    submit_meets_a_worker_that_goes,
    resize_meets_release,
    expire_meets_acquire,
    a_hook_meets_the_next_request,
    check_meets_end,
    *shared_lines.SCENARIOS,
]


# Where threads meet without a lock: each line is a place for a choice.
LINE_BY_LINE: list[Scenario] = [timeout_meets_grant, two_ends, orphan_meets_end, submit_meets_end]

pytestmark = pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_two_preemptions_at_what_threads_wait_for(scenario: Scenario) -> None:
    assert explore(played(scenario), preemptions=2) > 50


@pytest.mark.slow
@pytest.mark.parametrize("scenario", LINE_BY_LINE)
def test_one_preemption_at_any_line(scenario: Scenario) -> None:
    assert explore(played(scenario), preemptions=1, lines=FILES) > 50


MISTAKES: list[tuple[object, str, Callable[..., Any], Scenario]] = [
    # Ctrl-C meets the grant, and the connection belongs to nobody.
    (engine.Engine, "_undo", lambda self, *what: None, ctrl_c_meets_grant),
    # Ctrl-C strikes in a release, and the connection belongs to nobody.
    (engine.Engine, "_recover_orphans", lambda self: None, ctrl_c_meets_a_query),
    # Nobody looks after lost leases.
    (engine.Engine, "look_after_leases", lambda self: None, orphan_meets_wait),
    # Nobody gives the core the time.
    (keeper.Keeper, "plan", lambda self: None, failed_opening_meets_timeout),
    # A worker goes without a last look for jobs.
    (submitting.Workers, "_may_go", lambda self: True, submit_meets_a_worker_that_goes),
    # The end does not wait for threads.
    (crew.Crew, "join", lambda self, timeout: None, two_ends),
    *shared_lines.MISTAKES,
]


@pytest.mark.slow
@pytest.mark.parametrize(("where", "what", "mistake", "scenario"), MISTAKES)
def test_a_shell_with_a_mistake_is_caught(
    where: object,
    what: str,
    mistake: Callable[..., Any],
    scenario: Scenario,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Does this see anything at all? And does the printed schedule lead there again?"""
    monkeypatch.setattr(where, what, mistake)
    with pytest.raises(ScheduleFailed) as caught:
        explore(played(scenario))
    with pytest.raises(ScheduleFailed) as again:
        replay(played(scenario), caught.value.choices)
    assert again.value.choices == caught.value.choices


if __name__ == "__main__":
    name, schedule, *more = sys.argv[1:]
    warnings.simplefilter("ignore")
    chosen_scenario = {one.__name__: one for one in SCENARIOS}[name]
    choices = [int(choice) for choice in schedule.split(".")]
    options: dict[str, Any] = {"preemptions": 1, "lines": FILES} if more else {}
    done = replay(played(chosen_scenario), choices, **options)
    print("\n".join(f"{who:12} {what} {on}" for who, what, on in done.log))
