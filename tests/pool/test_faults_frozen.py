"""The pool on a server whose processes are stopped (SIGSTOP) for longer than patience lasts."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

import pgwire
from tests.pool.support import pid_of, until
from tests.pool.watching import (
    SLEEP,
    Call,
    burst,
    frozen,
    nothing_left,
    open_connections,
    running,
    within,
)
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


def test_a_server_that_is_frozen_and_goes_on(fresh_server: embedded.Server) -> None:
    with pgwire.Pool(fresh_server.url, max_size=2) as p:
        open_connections(p, 2)
        with frozen(fresh_server):
            threads = [Call(lambda: p.query("select 1", timeout=0.2)) for _ in range(3)]
            with within(LATE):
                found = [type(thread.ending()) for thread in threads]
            assert sorted(found, key=str) == [
                pgwire.PoolTimeout,
                pgwire.QueryTimeout,
                pgwire.QueryTimeout,
            ]
        with within(LATE):
            burst(p, 6)


def test_a_backend_that_is_frozen(
    embedded_server: embedded.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It cannot be cancelled; its connection is given up, and the pool goes on."""
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 0.1)
    with pgwire.Pool(embedded_server.url, max_size=1) as p:
        pid = pid_of(p)
        os.kill(pid, signal.SIGSTOP)
        try:
            with within(LATE), pytest.raises(pgwire.QueryTimeout, match="closed"):
                p.query("select 1", timeout=0.1)
            assert pid_of(p) != pid
        finally:
            os.kill(pid, signal.SIGCONT)


def test_the_end_while_the_server_is_frozen(fresh_server: embedded.Server) -> None:
    """Idle connections get two seconds to close, and then no more."""
    p = pgwire.Pool(fresh_server.url, max_size=3)
    open_connections(p, 3)
    with frozen(fresh_server), within(LATE):
        p.end()
    assert p.total_count == 0


def test_the_bounded_end_while_queries_run_on_a_frozen_server(
    fresh_server: embedded.Server,
) -> None:
    p = pgwire.Pool(fresh_server.url, max_size=3)
    busy = [Call(p.query, SLEEP, [n]) for n in range(2)]
    until(lambda: len(running(fresh_server, SLEEP)) == 2)
    with frozen(fresh_server), within(LATE):
        with pytest.raises(pgwire.PoolTimeout):
            p.end(timeout=0.1)
        for thread in busy:
            assert isinstance(thread.ending(), pgwire.Error)
    assert p.total_count == 0
