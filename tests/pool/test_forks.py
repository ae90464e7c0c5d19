"""Forks: in a child the pool starts empty, and the parent's sessions are untouched. I-34.

Each test is a program of its own, so that the run of the tests is not what is forked.
"""

from __future__ import annotations

import copy
import os
import pickle
import textwrap
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.pool.support import run_script

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

FORK = """
    def fork():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there are threads: on purpose
            return os.fork()

    def in_child(function):
        "What the function returns in a forked child, as text; it must end well."
        reading, writing = os.pipe()
        child = fork()
        if not child:
            try:
                os.write(writing, str(function()).encode())
            except BaseException as error:
                os.write(writing, repr(error).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            answer = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        return answer
"""


def run(script: str, dsn: str) -> str:
    return run_script(textwrap.dedent(FORK) + textwrap.dedent(script), dsn, "-W", "error")


def test_a_child_starts_empty_and_opens_its_own(dsn: str) -> None:
    out = run(
        """
        with pgwire.Pool(DSN, max_size=2) as pool:
            pid = pid_of(pool)

            def child():
                before = pool.total_count
                own = pid_of(pool)
                pool.end()
                return before, own != pid, pool.total_count

            print(in_child(child), pid_of(pool) == pid)
        """,
        dsn,
    )
    assert out == "(0, True, 0) True"


def test_an_inherited_lease_raises_and_its_release_does_nothing(dsn: str) -> None:
    out = run(
        """
        with pgwire.Pool(DSN, max_size=1) as pool:
            lease = pool.connect()
            pid = lease.backend_pid

            def child():
                try:
                    lease.query("select 1")
                except pgwire.InterfaceError as error:
                    lease.release()
                    return "parent process" in str(error), pool.query("select 7").scalar()

            print(in_child(child))
            print(lease.query("select pg_backend_pid()").scalar() == pid)
            lease.release()
            print(pid_of(pool) == pid)
        """,
        dsn,
    )
    assert out.splitlines() == ["(True, 7)", "True", "True"]


@pytest.mark.parametrize(
    "use",
    [
        "lease.close()",
        "lease.release(discard=True)",
        "lease.cancel()",
        "globals().pop('lease')",  # lost: no warning either, as it is not the child's
        "pool.end()",
        "pool.end(timeout=0)",
        "pool.expire()",
        "gc.collect()",
        "sys.exit(0)",
    ],
)
def test_nothing_that_a_child_does_reaches_the_parents_sessions(dsn: str, use: str) -> None:
    out = run(
        f"""
        pool = pgwire.Pool(DSN, max_size=2)
        idle = pool.connect()
        lease = pool.connect()
        pids = [idle.backend_pid, lease.backend_pid]
        idle.release()

        def child():
            {use}

        in_child(child)
        print(lease.query("select pg_backend_pid()").scalar() == pids[1])
        print(pid_of(pool) == pids[0])
        lease.release()
        pool.end()
        """,
        dsn,
    )
    assert out.splitlines() == ["True", "True"]


def test_a_fork_while_another_thread_holds_the_pools_lock(dsn: str) -> None:
    out = run(
        """
        held, go = threading.Event(), threading.Event()
        parent = os.getpid()

        def clock():
            if threading.current_thread().name == "holder" and os.getpid() == parent:
                if pool._engine.lock._is_owned():
                    held.set()
                    go.wait(PATIENCE)
            return time.monotonic()

        pool = pgwire.Pool(DSN, max_size=2, clock=clock)
        pool.query("select 1")
        holder = Thread(pool.expire, name="holder")
        held.wait(PATIENCE)
        print(in_child(lambda: pool.query("select 7").scalar()))
        go.set()
        holder.outcome()
        print(pool.query("select 8").scalar())
        pool.end()
        """,
        dsn,
    )
    assert out.splitlines() == ["7", "8"]


def test_a_fork_while_others_wait_and_submitted_queries_run(dsn: str) -> None:
    """In the child nobody waits, and submit finds workers of its own."""
    out = run(
        """
        pool = pgwire.Pool(DSN, max_size=2)
        done = pool.submit("select 1")
        done.result()
        leases = [pool.connect() for _ in range(2)]
        waiting = Thread(lambda: pool.query("select 5").scalar())
        queued = pool.submit("select 6")
        until(lambda: pool.waiting_count == 2)

        def child():
            before = pool.waiting_count, pool.stats().leased
            return before, pool.submit("select 7").result(PATIENCE).scalar()

        print(in_child(child))
        for lease in leases:
            lease.release()
        print(waiting.outcome(), queued.result(PATIENCE).scalar())
        pool.end()
        """,
        dsn,
    )
    assert out.splitlines() == ["((0, 0), 7)", "5 6"]


def test_a_pool_that_has_ended_is_ended_in_the_child(dsn: str) -> None:
    out = run(
        """
        pool = pgwire.Pool(DSN)
        pool.query("select 1")
        pool.end()

        def child():
            pool.end()
            pool.query("select 1")

        print(in_child(child))
        """,
        dsn,
    )
    assert out.startswith("PoolClosed")


def test_a_child_that_leaves_in_the_usual_way_says_nothing(dsn: str) -> None:
    """The interpreter's end in a child, with an inherited lease and idle connections."""
    out = run(
        """
        pool = pgwire.Pool(DSN, max_size=2)
        pool.query("select 1")
        lease = pool.connect()
        child = fork()
        if not child:
            print("child", pool.query("select 7").scalar())
            sys.exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print("parent", lease.query("select 8").scalar())
        lease.release()
        pool.end()
        """,
        dsn,
    )
    assert out.splitlines() == ["child 7", "parent 8"]


def test_an_opening_that_is_under_way_stays_with_the_parent(dsn: str) -> None:
    """The child ends its pool at once: that must not cut the connection of the parent's."""
    out = run(
        """
        from tests.support.proxy import Proxy
        from urllib.parse import urlsplit

        url = urlsplit(DSN)
        with Proxy(url.hostname, url.port) as proxy:
            proxy.hold()
            with pgwire.Pool(proxy.dsn(DSN), max_size=1) as pool:
                waits = Thread(lambda: pool.query("select 7").scalar())
                until(lambda: proxy.accepted == 1)

                def child():
                    try:
                        pool.query("select 1", timeout=0.01)
                    except pgwire.PoolTimeout:
                        pass
                    try:
                        pool.end(timeout=0.01)
                    except pgwire.PoolTimeout:
                        pass
                    return pool.total_count

                print(in_child(child))
                proxy.flow()
                print(waits.outcome(), pool.stats().open_failures)
        """,
        dsn,
    )
    assert out == "0\n7 0"


@pytest.mark.parametrize("take", [pickle.dumps, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("make", [pgwire.Pool, pgwire.AsyncPool])
def test_a_pool_given_to_another_process_otherwise_is_refused(
    make: Callable[[str], object], take: Callable[[object], object]
) -> None:
    """A copy would share the connections; and what the error named was not the pool."""
    with pytest.raises(pgwire.InterfaceError, match="a pool cannot be pickled or copied"):
        take(make("host=127.0.0.1"))
