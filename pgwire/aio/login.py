"""Login: whom a transport tells what it reads until the session is ready; then it is the driver.

What the server asks is answered where it was read, and no task is woken for it. Only what hashes
for longer than a moment is left to `Line.log_in`, and nothing is read meanwhile.
"""

from __future__ import annotations

from asyncio import Protocol
from typing import TYPE_CHECKING, cast

from pgwire.errors import Error

if TYPE_CHECKING:
    import asyncio
    from asyncio import Future

    from pgwire.aio.driver import AsyncDriver
    from pgwire.protocol.startup import Startup


class Login(Protocol):
    """See the module. The StartupMessage has been sent.

    `news` is done when `startup` is, or when there is a `challenge`: bytes to be given to the
    session in a thread, and then `resume` is to be called. The session is nobody else's until then.
    """

    challenge = b""
    _transport: asyncio.Transport

    def __init__(self, driver: AsyncDriver, startup: Startup) -> None:
        self._driver = driver
        self._session = driver.session
        self._startup = startup
        self.gone = driver.gone  # the transport is closed
        self.news: Future[None] = driver.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._driver.connection_made(transport)
        self._session.submit(self._startup)
        self._startup.use_pause()
        if self._driver.tls is not None:
            self.data_received(b"")  # something may have come along with the end of the handshake

    def eof_received(self) -> None:
        self._session.receive_eof()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.challenge:
            self._driver.connection_lost(exc)
            self._go_on()
        elif not self.gone.done():
            self.gone.set_result(None)

    def data_received(self, data: bytes) -> None:
        driver, session = self._driver, self._session
        try:
            if driver.tls is not None:
                data = driver.decrypted(data)
            if self._startup.hashes_long(data):
                self._transport.pause_reading()
                self.challenge = data
                self._tell()
                return
            session.receive_data(data)
        except Error as error:
            session.fail(error)
        except BaseException:  # Ctrl-C, say: nobody knows how far it came
            driver.abort()
            raise
        self._go_on()

    def _go_on(self) -> None:
        if (tls := self._driver.tls) is not None and tls.closed:
            self._session.receive_eof()
        if out := self._session.data_to_send():
            self._driver.send(out)
            self._startup.use_pause()
        if self._startup.done:
            if self._session.failure is None:
                self._driver.take_over()
            self._tell()

    def _tell(self) -> None:
        if not self.news.done():
            self.news.set_result(None)

    def resume(self) -> None:
        """The challenge has been taken."""
        self.challenge = b""
        self.news = self._driver.loop.create_future()
        if self.gone.done():
            self._session.receive_eof()
        else:
            self._transport.resume_reading()
        self._go_on()

    def abort(self) -> None:
        """Close the socket now, without a word."""
        if self.challenge:  # the session is a thread's
            self._driver.closed = True
            self._transport.abort()
        else:
            self._driver.abort()
