"""A connection of the asyncio shell with the test itself at the other end of the line.

Nothing is sent anywhere, and time is the loop's: with `virtual_loop`, what takes a second of
patience takes none, and happens at the same moment in every run.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Self

from pgwire.aio.connection import AsyncConnection
from pgwire.aio.driver import AsyncDriver
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.messages import BackendKeyData
from pgwire.protocol.session import Session
from tests.support import backend

if TYPE_CHECKING:
    from types import TracebackType

TEXT = [backend.column("v", 25)]


class Wire(asyncio.Transport):
    """See the module. To be made in a running loop; `conn` is the connection.

    `said` is what the connection has written. Cancel requests are counted in `cancels`, and are
    delivered at once, or when `delivered` is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._ends = socket.socketpair()
        self._taken = 0
        self.said = b""
        self.aborted = False
        self.paused = False  # reading
        self.cancels: list[float] = []
        self.delivered = asyncio.Event()
        self.delivered.set()
        self.session = Session(TypeRegistry())
        self.session.backend_key = BackendKeyData(4242, b"key!")
        self.driver = AsyncDriver(self._loop, self.session, None, self._cancel)
        self.driver.connection_made(self)
        self.conn = AsyncConnection(self.driver)

    async def _cancel(self, driver: AsyncDriver) -> None:
        self.cancels.append(self._loop.time())
        await self.delivered.wait()

    # What a transport does.

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._ends[0] if name == "socket" else default

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.said += data

    def abort(self) -> None:
        if not self.aborted:
            self.aborted = True
            self._loop.call_soon(self.driver.connection_lost, None)

    def is_closing(self) -> bool:
        return self.aborted

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    # What the server does.

    def take(self) -> str:
        """The letters of the messages written since the last call."""
        letters = ""
        while self._taken < len(self.said):
            letters += chr(self.said[self._taken])
            self._taken += 1 + int.from_bytes(self.said[self._taken + 1 : self._taken + 5])
        return letters

    def say(self, *messages: bytes) -> None:
        data = b"".join(messages)
        self.driver.data_received(data)

    async def cache(self, *statements: str) -> None:
        """Have the statements prepared; each gives one column of text."""
        for sql in statements:
            query = self.conn.query(sql)
            self.say(backend.described(columns=TEXT))
            self.say(answer("cached"))
            await query
        self.take()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for end in self._ends:
            end.close()


def answer(text: str, status: str = "I") -> bytes:
    """The answer to a query whose statement is cached."""
    return backend.executed(backend.row(text.encode()), status=status)


def canceled(status: str = "I") -> bytes:
    """What a query says that a cancel request has hit."""
    return backend.error("57014", "canceling statement due to user request") + backend.ready(status)


async def turns(count: int = 3) -> None:
    """Let the loop run; no time passes."""
    for _ in range(count):
        await asyncio.sleep(0)
