"""Fixtures of the blocking shell's tests: connections that close by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.gate import gate as gate
from tests.support.guards import (
    no_environment as no_environment,
    watch as watch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Connect = Callable[..., pgwire.Connection]


@pytest.fixture
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """`connect(conninfo=<the test server>, **parameters)`; all are closed at the end."""
    opened: list[pgwire.Connection] = []

    def connect(conninfo: str | None = None, **parameters: Any) -> pgwire.Connection:
        if conninfo is None:
            conninfo = request.getfixturevalue("dsn")
            request.getfixturevalue("patient")
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
