"""Opening a connection in an event loop: from a Config to an AsyncDriver, ready for use.

Until the session is ready one side speaks after the other, so this much is done on the bare
socket; only then does it get a transport. What is tried, and when to stop, is decided in
`protocol.connecting`.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from inspect import isawaitable
from typing import TYPE_CHECKING

from pgwire.addresses import (
    addresses,
    is_unix,
    lookup_arguments,
    not_connected,
    not_resolved,
    tune,
    unix_addresses,
)
from pgwire.aio.driver import AsyncDriver
from pgwire.config import Secret
from pgwire.errors import ConnectionFailed, ConnectionLost, ProtocolError, TLSError
from pgwire.opening import OpenerBase, check_password
from pgwire.protocol import frontend
from pgwire.protocol.connecting import (
    Attempts,
    Encryption,
    EncryptionPlan,
    failed_attempt,
    read_ssl_answer,
)

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

    from pgwire.addresses import Address
    from pgwire.config import HostSpec
    from pgwire.protocol.session import Session
    from pgwire.protocol.startup import Startup
    from pgwire.tls import TLSLayer

_RECEIVE = 65_536


class Line:
    """A connected socket that has no transport yet. `close` it, unless it gets one."""

    def __init__(self, loop: AbstractEventLoop, address: Address) -> None:
        self.loop = loop
        self.address = address
        self.tls: TLSLayer | None = None
        self.sock = socket.socket(address.family, socket.SOCK_STREAM)
        self.sock.setblocking(False)

    async def send(self, data: bytes) -> None:
        if self.tls is not None:
            self.tls.encrypt(data)
            data = self.tls.take_wire()
        await self.loop.sock_sendall(self.sock, data)

    async def receive(self) -> bytes:
        """Bytes that have come; empty at the end of the stream."""
        tls = self.tls
        if tls is None:
            return await self.loop.sock_recv(self.sock, _RECEIVE)
        while not (plain := tls.decrypt()) and not tls.closed:
            wire = await self.loop.sock_recv(self.sock, _RECEIVE)
            if not wire:
                return b""
            tls.feed(wire)
        if answer := tls.take_wire():
            await self.loop.sock_sendall(self.sock, answer)
        return plain

    async def ask_for_tls(self, encryption: Encryption) -> bool:
        """SSLRequest: whether TLS begins now."""
        await self.send(frontend.SSL_REQUEST)
        # One byte and not one more: what follows it belongs to TLS.
        if not read_ssl_answer(await self.loop.sock_recv(self.sock, 1), encryption):
            return False
        with suppress(BlockingIOError):
            self.sock.recv(1, socket.MSG_PEEK)
            # Nobody knows who sent it, and nobody may take it for the server's (CVE-2021-23222).
            raise TLSError("the server, or somebody in between, spoke before TLS had begun")
        return True

    async def begin_tls(self, layer: TLSLayer) -> None:
        loop, sock = self.loop, self.sock
        while not layer.handshake():
            await loop.sock_sendall(sock, layer.take_wire())
            layer.feed(await loop.sock_recv(sock, _RECEIVE))
        await loop.sock_sendall(sock, layer.take_wire())
        self.tls = layer

    async def start(self, session: Session, startup: Startup) -> None:
        """Open the session; raises the start-up's error."""
        session.submit(startup)
        while not startup.done:
            if out := session.data_to_send():
                await self.send(out)
            data = await self.receive()
            if not data:
                session.receive_eof()
            elif startup.hashes_next:  # thousands of times, which would hold up the loop
                await self.loop.run_in_executor(None, session.receive_data, data)
            else:
                session.receive_data(data)
        if startup.error is not None:
            raise startup.error
        session.events.clear()  # from before anybody could listen

    async def finish(self, driver: AsyncDriver) -> None:
        """Hand the socket over to a transport for the driver."""
        create = self.loop.create_connection
        if self.address.is_unix:
            create = self.loop.create_unix_connection  # type: ignore[assignment]
        await create(lambda: driver, sock=self.sock)

    def close(self) -> None:
        self.sock.close()


class AsyncOpener(OpenerBase):
    """Opens connections for one Config, in whichever loop it is called."""

    async def open(self, timeout: float | None = None) -> AsyncDriver:
        """One ready connection; ConnectionFailed says what was tried.

        `timeout` (seconds) bounds every attempt beside the settings' `connect_timeout`.
        """
        attempts = Attempts()
        limit = self.limit(timeout)
        for spec in self.config.hosts:
            try:
                found = await self._look_up(spec)
            except ConnectionFailed as error:
                attempts.failed(str(spec.host), error)
                continue
            for address in found:
                driver = await self._try(address, attempts, limit)
                if driver is not None:
                    return driver
                if attempts.hopeless:
                    raise attempts.error()
        raise attempts.error()

    async def _look_up(self, spec: HostSpec) -> list[Address]:
        if is_unix(spec):
            return unix_addresses(spec)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(**lookup_arguments(spec))
        except (OSError, UnicodeError) as error:
            raise not_resolved(spec, error) from error
        return addresses(spec, found)

    async def _try(
        self, address: Address, attempts: Attempts, limit: float | None
    ) -> AsyncDriver | None:
        loop = asyncio.get_running_loop()
        deadline = None if limit is None else loop.time() + limit
        plan = EncryptionPlan(self.config.sslmode, unix_socket=address.is_unix)
        for encryption in plan:
            clock = asyncio.timeout_at(deadline)
            try:
                async with clock:
                    return await self._attempt(loop, address, encryption)
            except (ConnectionFailed, ConnectionLost, ProtocolError, OSError) as failure:
                if clock.expired():
                    error = ConnectionFailed(
                        f"{address}: no connection within {limit:g} s (connect_timeout)"
                    )
                else:
                    error = failed_attempt(str(address), failure)
            attempts.failed(str(address), error)
            plan.failed(error)
        return None

    async def _attempt(
        self, loop: AbstractEventLoop, address: Address, encryption: Encryption
    ) -> AsyncDriver:
        line = Line(loop, address)
        try:
            await self._connect(line, encryption)
            session = self.new_session(address)
            tls = line.tls is not None
            await line.start(session, self.startup(address, await self._password(), tls=tls))
            driver = AsyncDriver(loop, session, line.tls, self._cancel(address))
            await line.finish(driver)
        except BaseException:
            line.close()
            raise
        return driver

    async def _connect(self, line: Line, encryption: Encryption) -> None:
        """Connect, and encrypt as the plan has it."""
        address = line.address
        try:
            await line.loop.sock_connect(line.sock, address.sockaddr)
            if not address.is_unix:
                tune(line.sock, self.config)
        except TimeoutError:
            raise ConnectionFailed(f"{address}: the network timed out") from None
        except OSError as error:
            raise not_connected(address, error) from error
        if encryption is not Encryption.PLAIN and await line.ask_for_tls(encryption):
            await line.begin_tls(self.tls_layer(address))

    async def _password(self) -> Secret | None:
        password = self.config.password
        if password is None or isinstance(password, Secret):
            return password
        secret: Secret = Secret(password())  # type: ignore[arg-type]
        if isawaitable(secret.reveal()):
            secret = Secret(await secret.reveal())  # type: ignore[misc]
        return check_password(secret)

    def _cancel(self, address: Address) -> Callable[[AsyncDriver], Awaitable[None]]:
        async def cancel(driver: AsyncDriver) -> None:
            """CancelRequest to the same address, with the same TLS; wait for its end.

            The server closes that connection once the signal is on its way.
            """
            key = driver.session.backend_key
            if key is None:
                return
            line = Line(driver.loop, address)
            try:
                await self._connect(
                    line, Encryption.PLAIN if driver.tls is None else Encryption.TLS
                )
                await line.send(frontend.cancel_request(key.pid, key.secret))
                with suppress(ConnectionError):  # an end, if not a fine one
                    while await line.receive():
                        pass
            finally:
                line.close()

        return cancel
