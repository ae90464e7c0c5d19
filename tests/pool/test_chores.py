"""A chore reports, whatever it meets: else its slot would be lost, and `end()` wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import chores
from pgwire.pool.effects import (
    CheckConnection,
    CloseConnection,
    OpenConnection,
    ResetConnection,
)
from tests.pool.support import alive, messages, pid_of, pool, until

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = "host: what was done with a connection has failed"


@pytest.fixture
def fail_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[type], None]:
    """The next chore of a kind raises what anything may, where memory is short."""

    def arrange(kind: type) -> None:
        def fail(*_args: object) -> None:
            monkeypatch.setitem(chores.CHORES, kind, chore)
            raise MemoryError

        chore = chores.CHORES[kind]
        monkeypatch.setitem(chores.CHORES, kind, fail)

    return arrange


def test_an_opening_that_fails_is_told(
    dsn: str, caplog: pytest.LogCaptureFixture, fail_once: Callable[[type], None]
) -> None:
    with pool(dsn, max_size=1, name="host") as p:
        fail_once(OpenConnection)
        with pytest.raises(MemoryError):
            p.query("select 1")
        assert p.query("select 1").scalar() == 1
    assert FAILED in messages(caplog.records)


def test_an_opening_that_fails_in_the_end_leaves_no_connection(
    dsn: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids: list[int] = []

    def fail(_engine: object, driver: Any) -> None:
        pids.append(driver.session.backend_key.pid)
        raise MemoryError

    with pool(dsn, max_size=1, name="host") as p, pgwire.connect(dsn) as witness:
        with monkeypatch.context() as patch:
            patch.setattr(chores, "_introduce", fail)
            with pytest.raises(MemoryError):
                p.query("select 1")
        until(lambda: not alive(witness, pids))
        assert p.query("select 1").scalar() == 1
    assert FAILED in messages(caplog.records)


@pytest.mark.parametrize("kind", [CheckConnection, ResetConnection, CloseConnection])
def test_what_fails_otherwise_is_the_end_of_the_connection(
    dsn: str, caplog: pytest.LogCaptureFixture, fail_once: Callable[[type], None], kind: type
) -> None:
    options: dict[str, Any] = {"on_connect": lambda _: None} if kind is ResetConnection else {}
    with pool(dsn, max_size=1, name="host", check_after=0, **options) as p:
        with p.connect() as lease:
            pid = lease.backend_pid
            lease.query("set work_mem = '77MB'")
            fail_once(kind)
        if kind is CloseConnection:
            p.expire()
        assert pid_of(p) != pid
    assert messages(caplog.records) == [FAILED]
