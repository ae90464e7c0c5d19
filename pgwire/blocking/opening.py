"""Opening a connection: from a Config to a Driver whose session is ready.

What is tried, and when to stop, is decided in `protocol.connecting`; here it is done.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from pgwire.blocking.driver import Driver
from pgwire.blocking.net import (
    Channel,
    Deadline,
    TLSChannel,
    connect_socket,
    deadline_in,
    look_up,
)
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
    from collections.abc import Callable

    from pgwire.addresses import Address
    from pgwire.config import Config

_COROUTINES = "; coroutine functions are for connect_async() and AsyncPool"


class Opener(OpenerBase):
    """Opens connections for one Config."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._under_way: set[socket.socket] = set()
        self._aborted = False

    def open(self, timeout: float | None = None) -> Driver:
        """One ready connection; ConnectionFailed says what was tried.

        `timeout` (seconds) bounds every attempt beside the settings' `connect_timeout`.
        """
        attempts = Attempts()
        limit = self.limit(timeout)
        for spec in self.config.hosts:
            try:
                addresses = look_up(spec)
            except ConnectionFailed as error:
                attempts.failed(str(spec.host), error)
                continue
            for address in addresses:
                driver = self._try(address, attempts, limit)
                if driver is not None:
                    return driver
                if attempts.hopeless:
                    raise attempts.error()
        raise attempts.error()

    def abort(self) -> None:
        """Every `open` that is under way in another thread fails soon, every later one at once."""
        self._aborted = True
        for sock in tuple(self._under_way):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def begin_anew(self) -> None:
        """In a forked child: what is under way is the parent's, and goes on there."""
        for sock in self._under_way:
            sock.close()
        self._under_way = set()

    def _try(self, address: Address, attempts: Attempts, limit: float | None) -> Driver | None:
        deadline = None if limit is None else deadline_in(limit)
        plan = EncryptionPlan(self.config.sslmode, unix_socket=address.is_unix)
        for encryption in plan:
            try:
                return self._attempt(address, encryption, deadline)
            except Deadline:
                error = ConnectionFailed(
                    f"{address}: no connection within {limit:g} s (connect_timeout)"
                )
            except (ConnectionFailed, ConnectionLost, ProtocolError, OSError) as failure:
                error = failed_attempt(str(address), failure)
            attempts.failed(str(address), error)
            plan.failed(error)
        return None

    def _attempt(self, address: Address, encryption: Encryption, deadline: float | None) -> Driver:
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        self._under_way.add(sock)
        try:
            if self._aborted:
                raise ConnectionFailed(f"{address}: whoever wanted the connection has ended")
            connect_socket(sock, address, self.config, deadline)
            channel = self._channel(sock, address, encryption, deadline)
            driver = Driver(self.new_session(address), channel, self._cancel(address))
            tls = channel.tls is not None
            driver.start(self.startup(address, self._password(), tls=tls), deadline)
        except BaseException:
            sock.close()
            raise
        finally:
            self._under_way.discard(sock)
        return driver

    def _password(self) -> Secret | None:
        password = self.config.password
        if password is None or isinstance(password, Secret):
            return password
        return check_password(Secret(password()), _COROUTINES)  # type: ignore[arg-type]

    def _channel(
        self,
        sock: socket.socket,
        address: Address,
        encryption: Encryption,
        deadline: float | None,
    ) -> Channel:
        if encryption is Encryption.PLAIN:
            return Channel(sock)
        plain = Channel(sock)
        plain.send(frontend.SSL_REQUEST)
        plain.wait_readable(deadline)
        # One byte and not one more: what follows it belongs to TLS.
        if not read_ssl_answer(sock.recv(1), encryption):
            return plain
        if plain.is_readable():
            # Nobody knows who sent it, and nobody may take it for the server's (CVE-2021-23222).
            raise TLSError("the server, or somebody in between, spoke before TLS had begun")
        layer = self.tls_layer(address)
        while not layer.handshake():
            sock.sendall(layer.take_wire())
            plain.wait_readable(deadline)
            layer.feed(plain.receive() or b"")
        sock.sendall(layer.take_wire())
        return TLSChannel(sock, layer)

    def _cancel(self, address: Address) -> Callable[[Driver, float], None]:
        def cancel(driver: Driver, deadline: float) -> None:
            """CancelRequest to the same address, with the same TLS; wait for its end.

            The server closes that connection once the signal is on its way.
            """
            key = driver.session.backend_key
            if key is None:
                return
            encrypted = driver.channel.tls is not None
            encryption = Encryption.TLS if encrypted else Encryption.PLAIN
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                connect_socket(sock, address, self.config, deadline)
                channel = self._channel(sock, address, encryption, deadline)
                channel.send(frontend.cancel_request(key.pid, key.secret))
                with suppress(ConnectionError):  # an end, if not a fine one
                    channel.wait_readable(deadline)
                    while channel.receive() != b"":
                        channel.wait_readable(deadline)
            finally:
                sock.close()

        return cancel
