"""Fixtures for all tests of connections; a conftest imports them, and they use themselves."""

from __future__ import annotations

import faulthandler
import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG = 30.0
_LINGERING = LATE
SEES_THAT_WE_ARE_GONE = {"client_connection_check_interval": "50ms"}
"""Settings of a session: while a query runs, PostgreSQL looks whether its client is still there."""
_shown_on = 2


def show_here() -> None:
    """What is standard error now is where stacks are shown; pytest captures it afterwards."""
    global _shown_on
    _shown_on = os.dup(2)


def go_on(seconds: float = HANG) -> None:
    """Whoever does not say so again within these seconds hangs, which ends the process.

    For tests that take long where the machine is busy: each round of them is to get on.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=_shown_on)


def end_forked_children(seconds: int = 2 * round(HANG)) -> None:
    """A child that is forked from now on, and still there after these seconds, is ended.

    `go_on` ends the process alone that hangs. A child of it has inherited the pipe whose end tells
    pytest-xdist that the process is gone, and is nobody's then.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=lambda: signal.alarm(seconds))


_LIMITS = {
    "PATIENCE": ("aio.giving_up", "blocking.driver", "blocking.notifying", "blocking.together"),
    "CLOSE_PATIENCE": ("aio.driver", "aio.line", "blocking.driver", "pool.aio_chores"),
    "CHECK_TIMEOUT": ("pool.aio_chores", "pool.chores"),
    "CLEANING_PATIENCE": ("aio.driver",),
    "RESET_TIMEOUT": ("pool.aio_chores", "pool.chores"),
    "TELL_TIMEOUT": ("pool.subscribing",),
}


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that is there, and slow as the machine is busy, is not given up as silent.

    A test that is about a limit sets its own.
    """
    for limit, modules in _LIMITS.items():
        for module in modules:  # past what a fixture may have put in place of this method
            pytest.MonkeyPatch.setattr(monkeypatch, f"pgwire.{module}.{limit}", LATE)


@pytest.fixture(autouse=True)
def watch() -> Iterator[None]:
    """A test that hangs ends its process, with the stacks of all threads."""
    go_on()
    yield
    faulthandler.cancel_dump_traceback_later()


def wait_until_idle(dsn: str) -> None:
    """Wait until nobody else does anything in this database; after some seconds that fails, and
    who still does is terminated.

    A test that leaves a query behind connects with the settings SEES_THAT_WE_ARE_GONE.
    """
    sql = """
        select pid, query from pg_stat_activity where datname = current_database()
        and pid <> pg_backend_pid() and backend_type = 'client backend' and state <> 'idle'
    """
    end = time.monotonic() + _LINGERING
    with pgwire.connect(dsn) as conn:
        while (found := conn.query(sql).rows) and time.monotonic() < end:
            time.sleep(0.01)
        for left in found:
            conn.query("select pg_terminate_backend($1)", [left.pid])
    assert not found, f"this was left behind, and went on: {[left.query for left in found]}"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about PostgreSQL is not for these tests."""
    for name in os.environ:
        if name.startswith("PG") and not name.startswith("PGWIRE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")  # in place of the one in $HOME
