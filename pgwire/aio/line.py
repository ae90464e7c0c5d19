"""Line: a socket that has no transport yet, and the race of several for the first connection.

Until a session is ready one side speaks after the other, so this much is done on the bare socket.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from pgwire.addresses import not_connected, prepare
from pgwire.aio.giving_up import within
from pgwire.aio.login import Login
from pgwire.aio.loops import RECEIVE
from pgwire.driving import CLOSE_PATIENCE, FULL_PAUSE
from pgwire.errors import ConnectionFailed
from pgwire.protocol.connecting import read_ssl_answer, spoken_too_soon
from pgwire.protocol.hosts import Race

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Sequence

    from pgwire.addresses import Address
    from pgwire.aio.driver import AsyncDriver
    from pgwire.config import Config
    from pgwire.protocol.connecting import Encryption
    from pgwire.protocol.startup import Startup
    from pgwire.tls import TLSLayer


class Line:
    """A connection to one address, to be made by `connect`. `close` it, unless it gets a transport.

    `deadline` is the loop's time at which whatever is done with it must be over.
    """

    sock: socket.socket  # since `connect`
    login: Login | None = None  # since `log_in` has given a transport the socket

    def __init__(
        self, loop: AbstractEventLoop, address: Address, deadline: float | None = None
    ) -> None:
        self.loop = loop
        self.address = address
        self.deadline = deadline
        self.tls: TLSLayer | None = None
        self.is_connected = self.is_closed = False

    async def connect(self, config: Config) -> None:
        address = self.address
        try:
            self.sock = socket.socket(address.family, socket.SOCK_STREAM)
            self.sock.setblocking(False)
            # Nobody says when there is room.
            while (error := _begin_to_connect(self.sock, address)) == errno.EAGAIN:  # noqa: ASYNC110
                await asyncio.sleep(FULL_PAUSE)
            if error:
                await self.loop.sock_connect(self.sock, address.sockaddr)
            prepare(self.sock, address, config)
        except TimeoutError:
            raise ConnectionFailed(f"{address}: the network timed out") from None
        except OSError as error:
            raise not_connected(address, error) from error
        self.is_connected = True

    async def send(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.encrypt(data)
            data = self.tls.take_wire()
        await self.loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """Bytes that have come; empty at the end of the stream."""
        tls = self.tls
        if tls is None:
            return await self.loop.sock_recv(self.sock, RECEIVE)
        while not (plain := tls.decrypt()) and not tls.closed:
            wire = await self.loop.sock_recv(self.sock, RECEIVE)
            if not wire:
                return b""
            tls.feed(wire)
        if answer := tls.take_wire():
            await self.loop.sock_sendall(self.sock, answer)
        return plain

    async def may_begin_tls(self, encryption: Encryption) -> bool:
        """The answer to an SSLRequest: whether TLS begins now."""
        # One byte and not one more: what follows it belongs to TLS.
        if not read_ssl_answer(await self.loop.sock_recv(self.sock, 1), encryption):
            return False
        with suppress(BlockingIOError):
            self.sock.recv(1, socket.MSG_PEEK)
            raise spoken_too_soon()
        return True

    async def begin_tls(self, layer: TLSLayer) -> None:
        loop, sock = self.loop, self.sock
        while not layer.handshake():
            await loop.sock_sendall(sock, layer.take_wire())
            layer.feed(await loop.sock_recv(sock, RECEIVE))
        await loop.sock_sendall(sock, layer.take_wire())
        self.tls = layer

    async def log_in(self, driver: AsyncDriver, startup: Startup) -> None:
        """Hand the socket over to a transport, and see the session begin on it.

        The StartupMessage has been sent, and starting a process takes the server longer than this.
        """
        create = self.loop.create_connection
        if self.address.is_unix:
            create = self.loop.create_unix_connection  # type: ignore[assignment]
        login = Login(driver, startup)
        await create(lambda: login, sock=self.sock)
        self.login = login
        await login.news
        while login.challenge:
            await self.loop.run_in_executor(None, driver.session.receive_data, login.challenge)
            login.resume()
            await login.news
        if startup.error is not None:
            raise startup.error

    async def end(self) -> None:
        """Close it, and see that it is: a transport takes a turn of the loop or two."""
        self.close()
        if self.login is not None:
            await within(self.login.gone, CLOSE_PATIENCE)

    def close(self) -> None:
        self.is_closed = True
        if self.login is not None:
            self.login.abort()
        elif hasattr(self, "sock"):
            self.sock.close()


def _begin_to_connect(sock: socket.socket, address: Address) -> int:
    """Begin to connect; 0 if that was all, as it mostly is on one's own machine.

    The loop would say so two turns later. Else it is to ask for it again, which does no harm; but
    for a Unix socket whose queue is full (EAGAIN) it would take that for connected.
    """
    if os.name != "posix":  # Windows' loop has a way of its own
        return errno.EINPROGRESS
    for _ in range(2):  # the second time it tells of what has been done since the first
        error = sock.connect_ex(address.sockaddr)
        if error in (0, errno.EISCONN):
            return 0
    return error if address.is_unix else errno.EINPROGRESS


async def first_to_connect(
    addresses: Sequence[Address],
    new_line: Callable[[Address], Line],
    config: Config,
    failed: Callable[[Line, Exception], object],
) -> Line | None:
    """The first connection that comes about, started one after the other; None if none does.

    `failed` hears of those that have ended before; those that would have come later are closed.
    """
    race = Race(addresses)
    running: dict[asyncio.Task[None], Line] = {}
    winner: Line | None = None
    loop = asyncio.get_running_loop()
    try:
        while winner is None:
            while (address := race.start(loop.time())) is not None:
                line = new_line(address)
                running[loop.create_task(_connect_in_time(line, config))] = line
            if not running:
                break
            pause = race.pause(loop.time())
            await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in running if task.done()]:
                error = task.exception()
                if error is None:
                    winner = running.pop(task)
                    break
                line = running.pop(task)
                line.close()
                assert isinstance(error, Exception)
                failed(line, error)
                race.failed()
    finally:
        await _dismiss(running, winner)
    return winner


async def _connect_in_time(line: Line, config: Config) -> None:
    async with asyncio.timeout_at(line.deadline):
        await line.connect(config)


async def _dismiss(running: dict[asyncio.Task[None], Line], winner: Line | None) -> None:
    """Close those that have not won."""
    for task in running:
        task.cancel()
    try:
        if running:
            await asyncio.wait(running)
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    finally:
        for task, line in running.items():
            line.close()
            if task.done() and not task.cancelled():
                task.exception()  # looked at, so that nobody misses it
