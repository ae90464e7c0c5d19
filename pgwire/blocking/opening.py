"""Opening a connection: from a Config to a Driver whose session is ready.

What is tried, and when to stop, is decided in `protocol.connecting`; here it is done.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple

from pgwire.addresses import too_late
from pgwire.blocking.aside import Aside, look_up
from pgwire.blocking.driver import Driver
from pgwire.blocking.net import Channel, Deadline, TLSChannel, connect_socket, deadline_in, left
from pgwire.config import Secret
from pgwire.driving import FULL_PAUSE
from pgwire.errors import ConnectionFailed, Error
from pgwire.opening import OpenerBase, check_fetched, without_frames
from pgwire.protocol import frontend
from pgwire.protocol.connecting import (
    FAILURES,
    Encryption,
    read_ssl_answer,
    spoken_too_soon,
)
from pgwire.protocol.roles import question

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.addresses import Address
    from pgwire.config import Config, HostSpec, Password
    from pgwire.protocol.connecting import EncryptionPlan
    from pgwire.protocol.hosts import Search
    from pgwire.protocol.startup import Startup

_ENDED = "whoever wanted the connection has ended"
_COROUTINES = "; coroutine functions are for connect_async() and AsyncPool"


class _Target(NamedTuple):
    """One address of a host of the settings, and until when an attempt there may take."""

    host: HostSpec
    address: Address
    deadline: float | None


def _log_in(driver: Driver, startup: Startup, deadline: float | None) -> None:
    """Open the session; raises the start-up's error, `Deadline` or OSError."""
    session, channel = driver.session, driver.channel
    session.submit(startup)
    while not startup.done:
        if out := session.data_to_send():
            driver.write(out, deadline)
        startup.use_pause()
        if deadline is not None:
            channel.wait_readable(deadline)
        data = channel.receive()
        if data:
            session.receive_data(data)
        elif data is not None:
            session.receive_eof()
    if startup.error is not None:
        raise startup.error
    session.events.clear()  # from before anybody could listen


class Opener(OpenerBase):
    """Opens connections for one Config."""

    def __init__(self, config: Config, *, keeps_keys: bool = False) -> None:
        super().__init__(config, keeps_keys=keeps_keys)
        self._under_way: set[socket.socket] = set()
        self._aside = Aside()
        self._aborted = False

    def open(self, timeout: float | None = None) -> Driver:
        """One ready connection; ConnectionFailed says what was tried.

        `timeout` (seconds) bounds the attempts beside the settings' `connect_timeout`: each has
        its host's share of it.
        """
        search = self.search()
        limit = self.limit(timeout)
        for host in search:
            began = monotonic()
            driver = self._open_at(host, search, limit)
            if driver is not None:
                self.opened(host, driver)
                return driver
            self.failed(host, began, search)
        raise search.error()

    def abort(self) -> None:
        """Every `open` that is under way in another thread fails soon, every later one at once."""
        self._aborted = True
        self._aside.give_up(_ENDED)
        for sock in tuple(self._under_way):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def begin_anew(self) -> None:
        """In a forked child: what is under way is the parent's, and goes on there."""
        for sock in self._under_way:
            sock.close()
        self._under_way = set()
        self._aside = Aside()

    def _open_at(self, host: HostSpec, search: Search, limit: float | None) -> Driver | None:
        """One host: looked up, and its addresses in turn. Looking up is the first one's time."""
        deadline = None if limit is None else deadline_in(limit)
        try:
            found = look_up(host, deadline, self._aside)
        except ConnectionFailed as error:
            search.failed(host.name, error)
            return None
        except Deadline:
            assert limit is not None
            search.failed(host.name, too_late(host.name, limit))
            return None
        for address in self.hosts.shuffled(found):
            driver = self._try(_Target(host, address, deadline), search, limit)
            if driver is not None or not search.stays:
                return driver
            deadline = None if limit is None else deadline_in(limit)
        return None

    def _try(self, target: _Target, search: Search, limit: float | None) -> Driver | None:
        address = target.address
        plan = self.plan(address)
        for encryption in plan:
            try:
                driver = self._attempt(target, encryption, plan)
                reason = self._misfit(driver, search.demand, target)
            except Deadline:
                assert limit is not None
                error = too_late(address, limit)
            except FAILURES as failure:
                error = self.failure(address, failure)
            else:
                if reason is None:
                    return driver
                driver.close()
                search.misfit(str(address), reason)
                return None
            search.failed(str(address), error)
            plan.failed(error)
        return None

    def _attempt(self, target: _Target, encryption: Encryption, plan: EncryptionPlan) -> Driver:
        address, deadline = target.address, target.deadline
        sock = socket.socket(address.family, socket.SOCK_STREAM)
        self._under_way.add(sock)
        try:
            self._connect(sock, address, deadline)
            channel = self._channel(sock, address, encryption, deadline)
            plan.connected(tls=channel.tls is not None)
            password = self._fetched("password", self.known_password(target.host), deadline)
            token = self._fetched("oauth_token", self.config.oauth_token, deadline)
            startup = self.startup(address, password, token, channel.tls)
            channel.send(startup.first_message())
            driver = Driver(self.new_session(address), channel, self._cancel(address))
            self._start(driver, startup, deadline)
        except BaseException:
            self._under_way.discard(sock)
            sock.close()
            raise
        return driver  # which is under way as long as its role is not known

    def _connect(self, sock: socket.socket, address: Address, deadline: float | None) -> None:
        """Connect; where the queue of a Unix socket is full, once there is room."""
        while True:
            if self._aborted and sock in self._under_way:
                raise ConnectionFailed(f"{address}: {_ENDED}")
            try:
                return connect_socket(sock, address, self.config, deadline)
            except ConnectionFailed as error:
                if not isinstance(error.__cause__, BlockingIOError):
                    raise
            left(deadline)
            sleep(FULL_PAUSE)

    def _start(self, driver: Driver, startup: Startup, deadline: float | None) -> None:
        try:
            if deadline is not None and self.hashes_without_bound:
                self._aside.call(deadline, partial(_log_in, driver, startup, deadline))
            else:
                _log_in(driver, startup, deadline)
        except BaseException as error:
            raise without_frames(error)  # noqa: B904  # nothing but its traceback is another

    def _misfit(self, driver: Driver, demand: str, target: _Target) -> str | None:
        """In words, what keeps the server from being what is asked for."""
        try:
            if not self.watches_role:
                return None
            asked = question(demand, driver.session)
            if asked is not None:
                driver.start(asked, target.deadline)
            return self.misfit(driver.session, demand, asked)
        except BaseException:
            driver.abort()
            raise
        finally:
            self._under_way.discard(driver.channel.sock)

    def _fetched(self, name: str, known: Password | None, deadline: float | None) -> Secret | None:
        """A secret, which a function may have to fetch; called for each new connection."""
        if known is None or isinstance(known, Secret):
            return known
        fetch = known

        def ask() -> Secret:
            return check_fetched(Secret(fetch()), name, _COROUTINES)  # type: ignore[arg-type]

        return self._aside.call(deadline, ask)

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
        layer = None
        if encryption is not Encryption.DIRECT:
            plain.send(frontend.SSL_REQUEST)
            layer = self.tls_layer_ahead(address, encryption)
            plain.wait_readable(deadline)
            # One byte and not one more: what follows it belongs to TLS.
            if not read_ssl_answer(sock.recv(1), encryption):
                return plain
            if plain.is_readable():
                raise spoken_too_soon()
        layer = layer or self.tls_layer(address)
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
            encryption = self.same_encryption(tls=driver.channel.tls is not None)
            sock = socket.socket(address.family, socket.SOCK_STREAM)
            try:
                self._connect(sock, address, deadline)
                channel = self._channel(sock, address, encryption, deadline)
                channel.send(frontend.cancel_request(key.pid, key.secret))
                with suppress(ConnectionError):  # an end, if not a fine one
                    channel.wait_readable(deadline)
                    while channel.receive() != b"":
                        channel.wait_readable(deadline)
            except (OSError, Error) as error:
                raise without_frames(error)  # noqa: B904  # they hold the key
            finally:
                sock.close()

        return cancel
