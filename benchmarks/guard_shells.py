"""The guard's paths that are a whole query, or a transaction of one, in either shell.

Knows where a shell meets its line: a socket that is none, a transport that answers by itself.
"""

from __future__ import annotations

import asyncio
import os
from itertools import chain, cycle, repeat
from typing import TYPE_CHECKING, Any, cast

from guard_server import INT4, ONE_VALUE, QUERIES, SQL, Path, described, message

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.driver import AsyncDriver
from pgwire.blocking.connection import Connection
from pgwire.blocking.driver import Driver
from pgwire.blocking.net import Channel
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.session import Session

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable, Iterator
    from contextlib import ExitStack

_FIRST = (described([INT4], [INT4]), ONE_VALUE)  # the answer to a statement that is new
_TRANSACTION = (
    message(b"C", b"BEGIN\0") + message(b"Z", b"T"),
    ONE_VALUE[:-1] + b"T",
    message(b"C", b"COMMIT\0") + message(b"Z", b"I"),
)


def paths(stack: ExitStack) -> Iterator[Path]:
    """All of them, until the stack is closed. Those of a shell have a connection each."""
    null = os.open(os.devnull, os.O_RDWR)  # a file descriptor that polls as readable
    stack.callback(os.close, null)
    loops = [asyncio.new_event_loop() for _ in range(2)]
    for loop in loops:
        stack.callback(loop.close)
    plain, timed = loops  # a timer that is left is looked at in each turn of its loop
    yield Path("one value, blocking", _queries(_connection(null)), QUERIES)
    yield Path("one value, asyncio", _async_queries(_async_connection(plain, null)), QUERIES)
    conn = _connection(null)
    conn._default_timeout = 60
    yield Path("one value, blocking, with a timeout", _queries(conn), QUERIES)
    async_conn = _async_connection(timed, null)
    async_conn._default_timeout = 60
    yield Path("one value, asyncio, with a timeout", _async_queries(async_conn), QUERIES)
    conn = _connection(null)
    conn.on("query", id)
    yield Path("one value, blocking, observed", _queries(conn), QUERIES)
    conn = _connection(null, cycle(_TRANSACTION))
    yield Path("one value in a transaction, blocking", _transactions(conn), QUERIES)
    async_conn = _async_connection(plain, null, cycle(_TRANSACTION))
    yield Path("one value in a transaction, asyncio", _async_transactions(async_conn), QUERIES)


# ---------------------------------------------------------------- blocking


class _Socket:
    """Takes what is sent, and has its answers ready."""

    def __init__(self, null: int, answers: Iterable[bytes]) -> None:
        self.fileno = lambda: null
        self.sendall = self.send = len
        self._next = iter(answers).__next__

    def recv(self, _size: int) -> bytes:
        return self._next()


def _connection(null: int, answers: Iterable[bytes] = repeat(ONE_VALUE)) -> Connection:
    """One that has asked `SQL` before."""
    channel = Channel(cast("socket.socket", _Socket(null, chain(_FIRST, answers))))
    conn = Connection(Driver(Session(TypeRegistry()), channel, lambda driver, deadline: None))
    conn.query(SQL, [7])
    return conn


def _queries(conn: Connection) -> Any:
    def run() -> Any:
        query = conn.query
        for number in range(QUERIES):
            found = query(SQL, [number]).scalar()
        return found

    return run


def _transactions(conn: Connection) -> Any:
    def run() -> Any:
        for number in range(QUERIES):
            with conn.transaction():
                found = conn.query(SQL, [number]).scalar()
        return found

    return run


# ---------------------------------------------------------------- asyncio


class _Transport(asyncio.Transport):
    """Answers what is written in the loop's next turn."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, null: int, answers: Iterable[bytes]
    ) -> None:
        super().__init__()
        self._loop = loop
        self._sock = _Socket(null, answers)
        self.driver = AsyncDriver(loop, Session(TypeRegistry()), None, cast("Any", None))
        self.driver.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._sock if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self._loop.call_soon(self._answer)

    def _answer(self) -> None:
        self.driver.data_received(self._sock.recv(0))


def _async_connection(
    loop: asyncio.AbstractEventLoop, null: int, answers: Iterable[bytes] = repeat(ONE_VALUE)
) -> AsyncConnection:
    """One that has asked `SQL` before."""
    conn = AsyncConnection(_Transport(loop, null, chain(_FIRST, answers)).driver)

    async def once() -> None:
        await conn.query(SQL, [7])

    loop.run_until_complete(once())
    return conn


def _async_queries(conn: AsyncConnection) -> Any:
    async def queries() -> Any:
        for number in range(QUERIES):
            found = (await conn.query(SQL, [number])).scalar()
        return found

    return lambda: conn._driver.loop.run_until_complete(queries())


def _async_transactions(conn: AsyncConnection) -> Any:
    async def transactions() -> Any:
        for number in range(QUERIES):
            async with conn.transaction():
                found = (await conn.query(SQL, [number])).scalar()
        return found

    return lambda: conn._driver.loop.run_until_complete(transactions())
