"""Fixtures of the tests in coroutine style: `runner`, and connections that close themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.support.gate import gate as gate
from tests.support.guards import (
    no_environment as no_environment,
    watch as watch,
)
from tests.support.loops import (
    Runner,
    run_coroutine as pytest_pyfunc_call,
    runner as runner,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pytest_pyfunc_call"]

Connect = Callable[..., Awaitable[pgwire.AsyncConnection]]


@pytest.fixture
def connect(runner: Runner, request: pytest.FixtureRequest) -> Iterator[Connect]:
    """`await connect(conninfo=<the test server>, **parameters)`; all are closed at the end."""
    opened: list[pgwire.AsyncConnection] = []
    dsn = request.getfixturevalue("dsn") if "dsn" in request.fixturenames else None

    async def connect(conninfo: str | None = dsn, **parameters: Any) -> pgwire.AsyncConnection:
        assert conninfo is not None, "a test that uses the test server asks for `dsn`"
        connection = await pgwire.connect_async(conninfo, **parameters)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        runner.run(connection.close())


@pytest.fixture
def conn(runner: Runner, dsn: str, connect: Connect) -> pgwire.AsyncConnection:
    """A connection to the test server."""

    async def open_one() -> pgwire.AsyncConnection:
        return await connect(dsn)

    return runner.run(open_one())
