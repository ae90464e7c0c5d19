"""Opening a connection in an event loop: from a Config to an AsyncDriver, ready for use.

What is tried, and when to stop, is decided in `protocol.hosts` and `protocol.connecting`; here it
is done, on a `Line` that gets a transport when the session is ready.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from inspect import isawaitable
from operator import attrgetter
from time import monotonic
from typing import TYPE_CHECKING

from pgwire.addresses import addresses, lookup_arguments, not_resolved, too_late, without_lookup
from pgwire.aio.driver import AsyncDriver
from pgwire.aio.line import Line, first_to_connect
from pgwire.config import Secret
from pgwire.errors import ConnectionFailed, Error
from pgwire.opening import OpenerBase, check_fetched, without_frames
from pgwire.protocol import frontend
from pgwire.protocol.connecting import FAILURES, Encryption
from pgwire.protocol.hosts import interleaved
from pgwire.protocol.roles import question

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Awaitable, Callable

    from pgwire.addresses import Address
    from pgwire.config import HostSpec, Password
    from pgwire.protocol.hosts import Search


async def look_up(loop: AbstractEventLoop, host: HostSpec) -> list[Address]:
    """The addresses behind a host that has a name, in the order to try them."""
    try:
        return addresses(host, await loop.getaddrinfo(**lookup_arguments(host)))
    except (OSError, UnicodeError) as error:
        raise not_resolved(host, error) from error


class _Visit:
    """One host on the way. `deadline` is the end of the first attempt, lookup included."""

    def __init__(self, host: HostSpec, search: Search, limit: float | None) -> None:
        self.host = host
        self.search = search
        self.limit = limit
        self.loop = asyncio.get_running_loop()
        self.deadline = self._in_full()
        self._is_first = True

    def _in_full(self) -> float | None:
        return None if self.limit is None else self.loop.time() + self.limit

    def new_line(self, address: Address) -> Line:
        """An attempt begins. All have the same time; looking up was the first one's."""
        deadline = self.deadline if self._is_first else self._in_full()
        self._is_first = False
        return Line(self.loop, address, deadline)

    def failed_to_connect(self, line: Line, error: Exception) -> None:
        if isinstance(error, TimeoutError):
            assert self.limit is not None
            error = too_late(line.address, self.limit)
        self.search.failed(str(line.address), error)


class AsyncOpener(OpenerBase):
    """Opens connections for one Config, in whichever loop it is called."""

    async def open(self, timeout: float | None = None) -> AsyncDriver:
        """One ready connection; ConnectionFailed says what was tried.

        `timeout` (seconds) bounds the attempts beside the settings' `connect_timeout`: each has
        its host's share of it.
        """
        search = self.search()
        limit = self.limit(timeout)
        for host in search:
            began = monotonic()
            driver = await self._open_at(_Visit(host, search, limit))
            if driver is not None:
                self.opened(host, driver)
                return driver
            self.failed(host, began, search)
        raise search.error()

    async def _open_at(self, visit: _Visit) -> AsyncDriver | None:
        """One host: looked up, and its addresses, of which the first to be reached is taken."""
        search, name = visit.search, visit.host.name
        try:
            found = without_lookup(visit.host)
            if found is None:
                async with asyncio.timeout_at(visit.deadline):
                    found = await look_up(visit.loop, visit.host)
        except TimeoutError:
            assert visit.limit is not None
            search.failed(name, too_late(name, visit.limit))
            return None
        except ConnectionFailed as error:
            search.failed(name, error)
            return None
        left = self._in_order(found)
        while left and search.stays:
            line = await self._reach(left, visit)
            driver = None if line is None else await self._try(line, visit)
            if driver is not None:
                return driver
        return None

    def _in_order(self, found: list[Address]) -> list[Address]:
        if len(found) < 2:
            return found
        if self.config.load_balance:
            return self.hosts.shuffled(found)
        return interleaved(found, attrgetter("family"))

    async def _reach(self, left: list[Address], visit: _Visit) -> Line | None:
        """The line to try next; the addresses that have been tried by then leave the list."""
        if len(left) == 1 or left[0].is_unix:
            return visit.new_line(left.pop(0))  # not connected yet

        def new_line(address: Address) -> Line:
            left.remove(address)
            return visit.new_line(address)

        return await first_to_connect(tuple(left), new_line, self.config, visit.failed_to_connect)

    async def _try(self, line: Line, visit: _Visit) -> AsyncDriver | None:
        """One address, in all the ways that the plan has, each on a line of its own."""
        address, search, deadline = line.address, visit.search, line.deadline
        plan = self.plan(address)
        for encryption in plan:
            if line.is_closed:
                line = Line(visit.loop, address, deadline)
            clock = asyncio.timeout_at(deadline)
            try:
                async with clock:
                    await self._connect(line, encryption)
                    plan.connected(tls=line.tls is not None)
                    driver = await self._begin(line, visit.host)
                    reason = await self._misfit(driver, search.demand)
                if reason is None:
                    return driver
            except FAILURES as failure:
                await line.end()
                error = self.failure(address, failure)
                if clock.expired():
                    assert visit.limit is not None
                    error = too_late(address, visit.limit)
            except asyncio.CancelledError:
                await line.end()
                raise
            except BaseException:
                line.close()
                raise
            else:
                await driver.close()
                search.misfit(str(address), reason)
                return None
            search.failed(str(address), error)
            plan.failed(error)
        return None

    async def _begin(self, line: Line, host: HostSpec) -> AsyncDriver:
        """A session that has begun, and its driver.

        Behind our first word the server has a long pause, as it starts a process. Whatever is to be
        made is made then.
        """
        password = await _fetched("password", self.known_password(host))
        token = await _fetched("oauth_token", self.config.oauth_token)
        startup = self.startup(line.address, password, token, line.tls)
        try:
            await line.send(startup.first_message())
            session = self.new_session(line.address)
            driver = AsyncDriver(line.loop, session, line.tls, self._cancel(line.address))
            await line.log_in(driver, startup)
        except BaseException as error:
            raise without_frames(error)  # noqa: B904  # nothing but its traceback is another
        return driver

    async def _misfit(self, driver: AsyncDriver, demand: str) -> str | None:
        """In words, what keeps the server from being what is asked for."""
        if not self.watches_role:
            return None
        session = driver.session
        asked = question(demand, session)
        if asked is not None:
            session.submit(asked)
            driver.write_soon()
            await driver.see_through(asked)
        return self.misfit(session, demand, asked)

    async def _connect(self, line: Line, encryption: Encryption) -> None:
        """Connect, unless it is, and encrypt as the plan has it."""
        if not line.is_connected:
            await line.connect(self.config)
        if encryption is Encryption.PLAIN:
            return
        layer = None
        if encryption is not Encryption.DIRECT:
            await line.send(frontend.SSL_REQUEST)
            layer = self.tls_layer_ahead(line.address, encryption)
            if not await line.may_begin_tls(encryption):
                return
        await line.begin_tls(layer or self.tls_layer(line.address))

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
                encryption = self.same_encryption(tls=driver.tls is not None)
                await self._connect(line, encryption)
                await line.send(frontend.cancel_request(key.pid, key.secret))
                with suppress(ConnectionError):  # an end, if not a fine one
                    while await line.receive():
                        pass
            except (OSError, Error) as error:
                raise without_frames(error)  # noqa: B904  # they hold the key
            finally:
                line.close()

        return cancel


async def _fetched(name: str, known: Password | None) -> Secret | None:
    """A secret, which a function may have to fetch; called for each new connection."""
    if known is None or isinstance(known, Secret):
        return known
    secret: Secret = Secret(known())  # type: ignore[arg-type]
    if isawaitable(secret.reveal()):
        secret = Secret(await secret.reveal())  # type: ignore[misc]
    return check_fetched(secret, name)
