"""Fixtures of the tests that run on every shell: `shell`, and connections that close themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.gate import gate as gate
from tests.support.guards import (
    no_environment as no_environment,
    watch as watch,
)
from tests.support.shells import SHELLS, Shell, open_shell

if TYPE_CHECKING:
    from collections.abc import Iterator

Connect = Callable[..., pgwire.Connection]


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> Iterator[Shell]:
    """The shell under test; nothing is left on its event loop at the end."""
    shell = open_shell(request.param)
    yield shell
    shell.close()


@pytest.fixture
def connect(shell: Shell, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """`connect(conninfo=<the test server>, **parameters)`; all are closed at the end."""
    opened: list[pgwire.Connection] = []

    def connect(conninfo: str | None = None, **parameters: Any) -> pgwire.Connection:
        if conninfo is None:
            conninfo = request.getfixturevalue("dsn")
            request.getfixturevalue("patient")
        connection = shell.connect(conninfo, **parameters)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.close()


@pytest.fixture
def conn(dsn: str, connect: Connect) -> pgwire.Connection:
    """A connection to the test server."""
    return connect(dsn)
