"""Fixtures of the blocking shell's tests: connections that close by themselves, and a watch."""

from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[..., pgwire.Connection]

_HANG = 30.0


@pytest.fixture(autouse=True)
def watch() -> Iterator[None]:
    """A test that hangs ends the run, with the stacks of all threads."""
    faulthandler.dump_traceback_later(_HANG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about PostgreSQL is not for these tests."""
    import os

    for name in os.environ:
        if name.startswith("PG") and not name.startswith("PGWIRE"):
            monkeypatch.delenv(name)


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """`connect(conninfo=<the test server>, **parameters)`; all are closed at the end."""
    opened: list[pgwire.Connection] = []

    def connect(conninfo: str | None = None, **parameters: Any) -> pgwire.Connection:
        if conninfo is None:
            conninfo = request.getfixturevalue("dsn")
        connection = pgwire.connect(conninfo, **parameters)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def conn(dsn: str, connect: Connect) -> pgwire.Connection:
    """A connection to the test server."""
    return connect(dsn)
