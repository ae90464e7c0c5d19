"""Notifications: what the blocking shell gives to whoever waits for NOTIFY.

Who waits has no turn: he sleeps on the socket and on a waker of his own, and takes the turn for as
long as it takes to read what has come. So other threads' queries go on meanwhile, and read what
comes for him with their own answers; the inbox wakes him then.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from pgwire.blocking.net import Waker, deadline_in
from pgwire.driving import PATIENCE, lost
from pgwire.errors import Error, QueryTimeout

if TYPE_CHECKING:
    from pgwire.blocking.driver import Driver
    from pgwire.handle import Handle
    from pgwire.protocol.events import Inbox
    from pgwire.protocol.messages import Notification

_REENTERED = (
    "this connection is in the middle of an operation of the same thread; callbacks cannot wait "
    "for its notifications"
)


# A server that sends all the time is listened to in pieces, or nobody would ever get any of it.
_MOST_READS = 16


class Notifications:
    """The notifications of a connection, as they come: an iterator.

    It takes what has come since `listen`, then waits for more: as long as `timeout` says
    (seconds) for each, for ever without one; 0 takes what has come already. Several of these on
    one connection share what comes. Of those that wait to be taken the last 10,000 are kept; an
    `OperationalError` stands in the place of others, and the next step goes on behind it.

    Ends with `InterfaceError` when the connection is closed, or its lease released; with
    `ConnectionLost`, after what came before, when it was lost. While a stream or a COPY holds the
    connection: `InterfaceError`. Manual: "NOTIFY", "Asynchronous Operations".
    """

    _waker: Waker | None = None

    def __init__(self, connection: Handle, inbox: Inbox, timeout: float | None) -> None:
        self._connection = connection
        self._inbox = inbox
        self._timeout = timeout

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Notification:
        inbox = self._inbox
        deadline = None if self._timeout is None else deadline_in(self._timeout)
        while True:
            driver = self._driver  # of a lease that was released: it says so
            notification: Notification | None = driver.take_notification(inbox)
            if notification is None and self._read(driver, deadline):
                notification = self._driver.take_notification(inbox)
            if notification is not None:
                return notification
            if not self._wait(deadline):
                raise StopIteration

    @property
    def _driver(self) -> Any:
        return self._connection._driver

    def _read(self, driver: Driver, deadline: float | None) -> bool:
        """Read what has come, in a turn; False if others had theirs until time was up."""
        has_begun = False

        def read() -> None:
            nonlocal has_begun
            has_begun = True
            _catch_up(driver)

        try:
            driver.in_turn(read, deadline, _REENTERED)
        except QueryTimeout:
            if has_begun:
                raise
        return has_begun

    def _wait(self, deadline: float | None) -> bool:
        """Wait until there may be something to be read or taken; False if time is up."""
        seconds = None if deadline is None else deadline - monotonic()
        if seconds is not None and seconds <= 0:
            return False
        if self._waker is None:
            self._waker = Waker()
        watchers, wake = self._inbox.watchers, self._waker.wake
        try:
            watchers.add(wake)
            driver = self._driver
            if not self._inbox and driver.session.failure is None:
                self._waker.wait([driver.channel.sock], seconds)
        finally:
            watchers.discard(wake)
        return True


def catch_up(driver: Driver) -> None:
    """Read what is there, without waiting, in a turn."""
    driver.in_turn(partial(_catch_up, driver), None, _REENTERED)


def _catch_up(driver: Driver) -> None:
    if driver._unsafe:
        driver.abort()  # Ctrl-C struck in the middle of reading, and nobody was left to do it
    if driver._cancelled:
        driver._outlive_cancel(monotonic() + PATIENCE)
    driver._unsafe = True
    try:
        _feed(driver)
    except (OSError, Error) as error:
        driver.session.fail(lost(error))
    driver._unsafe = False
    if driver.session.failure is not None:
        driver.abort_when_gone()
    if driver.session.events:
        driver.deliver_events()


def _feed(driver: Driver) -> None:
    session, channel = driver.session, driver.channel
    for _ in range(_MOST_READS):
        data = None if session.failure is not None else channel.receive_nowait()
        if data is None:
            break
        driver._take(data)
        if out := session.data_to_send():  # an answer to a pipeline's query
            driver.write(out, None)
