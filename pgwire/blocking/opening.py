"""Opening a connection: from a Config to a Driver whose session is ready.

What is tried, and when to stop, is decided in `protocol.connecting`; here it is done.
"""

from __future__ import annotations

import getpass
import json
import os
import secrets
import socket
from contextlib import suppress
from datetime import UTC
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from pgwire.blocking.driver import Driver
from pgwire.blocking.net import (
    Channel,
    Deadline,
    TLSChannel,
    connect_socket,
    deadline_in,
    look_up,
)
from pgwire.config import Secret, resolve
from pgwire.errors import ConnectionFailed, ConnectionLost, InterfaceError, ProtocolError, TLSError
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol import frontend
from pgwire.protocol.connecting import (
    Attempts,
    Encryption,
    EncryptionPlan,
    failed_attempt,
    read_ssl_answer,
)
from pgwire.protocol.scram import KeyCache
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Credentials, Startup
from pgwire.tls import TLSLayer, ssl_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Mapping
    from typing import Any

    from pgwire.blocking.net import Address
    from pgwire.config import Config


def settings(conninfo: str, parameters: Mapping[str, Any]) -> Config:
    """The Config for a connection string and keyword arguments, in this environment."""
    try:
        return resolve(conninfo, parameters, environ=os.environ, default_user=_os_user())
    finally:
        del conninfo, parameters  # a traceback may show what this frame holds


def _os_user() -> str | None:
    """The account's name, as libpq takes it; None where there is none."""
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_name
    except (ImportError, KeyError):
        try:
            return getpass.getuser()
        except (KeyError, OSError, ImportError):
            return None


def _called(password: Callable[[], str | Awaitable[str]]) -> Secret:
    """The password that a callable gives for this connection."""
    secret = Secret(password())  # type: ignore[arg-type]
    kind = type(secret.reveal()).__name__
    if kind != "str":
        raise InterfaceError(
            f"password() gave {kind}, not str; coroutine functions are for "
            "connect_async() and AsyncPool"
        )
    return secret


class Opener:
    """Opens connections for one Config; what they can share is made once and kept here."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._registry_for_zone = None if config.timezone == "UTC" else self._registry_in
        self.registry = self._registry_in("UTC")
        self._ssl_context: ssl.SSLContext | None = None
        self._keys = KeyCache()
        self._under_way: set[socket.socket] = set()
        self._aborted = False

    def _registry_in(self, zone: str) -> TypeRegistry:
        """The types, with datetimes in this zone; in UTC if Python does not know the zone."""
        try:
            timezone = UTC if zone == "UTC" else ZoneInfo(zone)
        except (KeyError, ValueError, OSError):
            timezone = UTC
        json_loads, json_dumps = self.config.json_loads, self.config.json_dumps
        return TypeRegistry(
            timezone=timezone,
            json_loads=json_loads or json.loads,
            json_dumps=json_dumps or json.dumps,
        )

    def open(self, timeout: float | None = None) -> Driver:
        """One ready connection; ConnectionFailed says what was tried.

        `timeout` (seconds) bounds every attempt beside the settings' `connect_timeout`.
        """
        attempts = Attempts()
        limits = [t for t in (self.config.connect_timeout, timeout) if t is not None]
        limit = min(limits) if limits else None
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
            session = Session(
                self.registry,
                statement_cache_size=self.config.statement_cache_size,
                prepare=self.config.prepare,
                registry_for_zone=self._registry_for_zone,
            )
            driver = Driver(session, channel, self._cancel(address))
            driver.start(self._startup(address, channel), deadline)
        except BaseException:
            sock.close()
            raise
        finally:
            self._under_way.discard(sock)
        return driver

    def _startup(self, address: Address, channel: Channel) -> Startup:
        config = self.config
        password = config.password
        if callable(password) and not isinstance(password, Secret):
            password = _called(password)
        return Startup(
            config.startup_parameters(),
            Credentials(
                user=config.user,
                password=password,
                nonce=secrets.token_urlsafe(24),
                tls=channel.tls is not None,
                exposed=channel.tls is None and not address.is_loopback,
                allow_cleartext=config.allow_cleartext,
                scram_only=config.secure,
                max_iterations=config.scram_max_iterations,
                keys=self._keys,
            ),
        )

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
        if self._ssl_context is None:
            self._ssl_context = ssl_context(self.config)
        layer = TLSLayer(self._ssl_context, address.host)
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
