"""Calls in threads, and eyes on what a pool leaves behind and on what the server sees of it."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgwire
from tests.pool.support import PATIENCE, Thread, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire import embedded
    from tests.support.proxy import Proxy


class Call(Thread):
    """A call in a thread of its own."""

    def __init__(self, function: Callable[..., Any], *args: Any) -> None:
        super().__init__(partial(function, *args))

    def ending(self) -> BaseException | None:
        """Wait for its end; what it raised."""
        self.join(PATIENCE)
        assert not self.is_alive(), "the thread hangs"
        return self.error


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """The block takes no longer. Say several times what it ought to take."""
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds


@contextmanager
def nothing_left() -> Iterator[None]:
    """No thread and no file descriptor more than before."""
    threads, files = set(threading.enumerate()), _open_files()
    yield
    assert set(threading.enumerate()) <= threads, "threads were left"
    assert _open_files() <= files, "file descriptors were left"


def _open_files() -> int:
    """How many there are; 0 where the system does not say."""
    files = Path("/proc/self/fd")
    return len(os.listdir(files)) if files.exists() else 0


@contextmanager
def seen_by_server(
    dsn: str, name: str, most: int, *, between: Proxy | None = None
) -> Iterator[None]:
    """The server never sees more than so many backends of this `application_name`.

    In the end there are none: closing is over before it is forgotten. With somebody in `between`
    the server may hear of an end a moment later.
    """
    sql = "select count(*) from pg_stat_activity where application_name = $1"
    over = threading.Event()
    seen: list[int] = [0]

    def look() -> None:
        with pgwire.connect(dsn) as conn:
            while not over.wait(0.002):
                seen.append(conn.query(sql, [name]).scalar() or 0)

    looking = Call(look)
    try:
        yield
    finally:
        over.set()
        looking.outcome()
    assert max(seen) <= most, "I-1: more backends than max_size"
    with pgwire.connect(dsn) as conn:
        if between is not None:
            until(lambda: conn.query(sql, [name]).scalar() == 0)
        assert conn.query(sql, [name]).scalar() == 0, "a backend was left"


@contextmanager
def frozen(server: embedded.Server) -> Iterator[None]:
    """All of its processes are stopped (SIGSTOP); in the end they go on."""
    with pgwire.connect(server.socket_url) as conn:
        pids = [server.pid]
        os.kill(server.pid, signal.SIGSTOP)  # first, so that there are no new ones
        try:
            others = "select pid from pg_stat_activity where pid <> pg_backend_pid()"
            for pid in conn.query(others).scalars():
                pids.append(pid)
                os.kill(pid, signal.SIGSTOP)
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)


# ------------------------------------------------------------------ using a pool

SLEEP = "select pg_sleep(60), $1::int"


def open_connections(p: pgwire.Pool, number: int) -> list[int]:
    """Open so many and leave them idle; the backends' pids."""
    leases = [p.connect() for _ in range(number)]
    pids = [lease.backend_pid for lease in leases]
    for lease in leases:
        lease.release()
    return pids


def ask(p: pgwire.Pool, n: int) -> Any:
    return p.query("select $1::int", [n]).scalar()


def burst(p: pgwire.Pool, number: int) -> None:
    """So many queries at once, each of which gives its own answer."""
    threads = [Call(ask, p, n) for n in range(number)]
    assert [thread.outcome() for thread in threads] == list(range(number))


def running(server: embedded.Server, sql: str) -> list[int]:
    """The pids of those that run it now."""
    with pgwire.connect(server.socket_url) as conn:
        found = conn.query(
            "select pid from pg_stat_activity where query = $1 and state = 'active'", [sql]
        )
        return found.scalars()
