"""What the tests of the blocking pool share: pools, threads, patience, and faults."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pgwire
from tests.support.guards import SEES_THAT_WE_ARE_GONE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# No test waits that long; it bounds what a mistake costs.
PATIENCE = 20.0

ROOT = Path(__file__).parent.parent.parent


@contextmanager
def pool(dsn: str, **options: Any) -> Iterator[pgwire.Pool]:
    with pgwire.Pool(dsn, **options) as made:
        yield made


class Thread(threading.Thread):
    """A thread that keeps what its function gave or raised."""

    def __init__(self, function: Callable[[], Any], *, name: str | None = None) -> None:
        super().__init__(daemon=True, name=name)
        self._function = function
        self.result: Any = None
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    def outcome(self) -> Any:
        self.join(PATIENCE)
        assert not self.is_alive(), "the thread hangs"
        if self.error is not None:
            raise self.error
        return self.result


def until(condition: Callable[[], object]) -> None:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.001)


@contextmanager
def in_vain(p: pgwire.Pool, ask: Callable[[], Any], failures: int = 1) -> Iterator[None]:
    """Somebody asks all the time, and so many openings have failed meanwhile; then the pool ends.

    For tests that need one that has failed: no time-out is sure to be longer than that takes.
    """
    asking = Thread(ask)
    until(lambda: p.stats().open_failures >= failures)
    yield
    with suppress(pgwire.PoolTimeout):
        p.end(timeout=0)
    asking.join(PATIENCE)
    assert isinstance(asking.error, pgwire.PoolClosed), asking.error


class Clock:
    """A pool's clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pid_of(p: pgwire.Pool) -> int:
    """The backend that the next query of this pool runs on."""
    pid = p.query("select pg_backend_pid()").scalar()
    assert isinstance(pid, int)
    return pid


def kill(dsn: str, pids: Sequence[int]) -> None:
    """Terminate these backends, and return once they are gone."""
    with pgwire.connect(dsn) as conn:
        conn.query(
            "select pg_terminate_backend(pid) from unnest($1::int[]) as t(pid)", [list(pids)]
        )
        until(lambda: not alive(conn, pids))


def alive(conn: pgwire.Connection, pids: Sequence[int]) -> int:
    """How many of these backends there are still."""
    found = conn.query("select count(*) from pg_stat_activity where pid = any($1)", [list(pids)])
    count = found.scalar()
    assert isinstance(count, int)
    return count


def threads_of(p: pgwire.Pool) -> list[threading.Thread]:
    """The pool's own threads."""
    return [thread for thread in threading.enumerate() if thread.name == p.name]


def messages(records: list[logging.LogRecord]) -> list[str]:
    """What the pool has logged as a warning, or worse."""
    return [
        record.getMessage()
        for record in records
        if record.name == "pgwire.pool" and record.levelno >= logging.WARNING
    ]


# From Python 3.12 on it warns whenever there are threads.
FORKS_QUIETLY = ("-W", "ignore:This process:DeprecationWarning")


def run_script(script: str, dsn: str, *options: str) -> str:
    """Run a program of its own; its output. It must end well, and say nothing in error.

    `DSN` is the server's, which sees when the program is gone; `until` and `Thread` are there as
    well.
    """
    settings = " ".join(f"-c {name}={value}" for name, value in SEES_THAT_WE_ARE_GONE.items())
    preamble = (
        "import gc, os, sys, threading, time, warnings, pgwire\n"
        "from tests.pool.support import PATIENCE, Thread, pid_of, until\n"
        f"DSN = {dsn!r}\n"
    )
    done = subprocess.run(
        [sys.executable, *options, *FORKS_QUIETLY, "-c", preamble + textwrap.dedent(script)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PGOPTIONS": settings},
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()
