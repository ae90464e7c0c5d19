"""`pgwire.connect_async()`: one connection in the running event loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

# For the first login, which would import it in the loop and hold up whoever else is there.
import scramp  # noqa: F401

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.loops import running_loop
from pgwire.aio.opening import AsyncOpener
from pgwire.errors import InterfaceError
from pgwire.handle import point_to_outcome
from pgwire.opening import settings

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType
    from typing import Any, Unpack

    from pgwire.parameters import ConnectionParameters


class Connecting:
    """What `connect_async()` gives: `await` it, or enter it with `async with`."""

    def __init__(self, opener: AsyncOpener) -> None:
        self._opener = opener
        self._connection: AsyncConnection | None = None
        self._entered = False

    async def _connect(self) -> AsyncConnection:
        running_loop("connection")
        return AsyncConnection(await self._opener.open())

    def __await__(self) -> Generator[Any, None, AsyncConnection]:
        return self._connect().__await__()

    async def __aenter__(self) -> AsyncConnection:
        if self._entered:
            raise InterfaceError("this block is entered already: call connect_async() for each")
        self._entered = True
        try:
            self._connection = await self._connect()
        except BaseException:
            self._entered = False
            raise
        return self._connection

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        connection, self._connection = self._connection, None
        self._entered = False
        assert connection is not None
        await connection.close()


point_to_outcome(Connecting, AsyncConnection, "(await …)")


def connect_async(conninfo: str = "", **parameters: Unpack[ConnectionParameters]) -> Connecting:
    """Connect to a server.

    `await connect_async(…)` gives an `AsyncConnection`; `async with connect_async(…) as conn`
    closes it too. `conninfo` is a URI (`postgresql://user@host/db`) or a keyword/value string
    (`host=… dbname=…`), as libpq takes them. Keyword arguments have libpq's names too and win
    over `conninfo`, which wins over a service file, which wins over `PG*` environment variables.
    Hosts are tried in turn, and the addresses of each are raced; `connect_timeout` is in seconds,
    for each of them, the lookup of its name and a `password` function included, which may be a
    coroutine function. Manual: "Connection Strings" and "Parameter Key Words".

    Raises `ProgrammingError` for settings that make no sense, `NotSupportedError` for those
    that this version cannot carry out, and, when awaited, `ConnectionFailed`
    (`AuthenticationError`, `TLSError`) with every attempt in `.attempts`.
    """
    try:
        config = settings(conninfo, parameters)
    finally:
        del conninfo, parameters  # a traceback may show what this frame holds
    return Connecting(AsyncOpener(config))
