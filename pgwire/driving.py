"""What the drivers of both shells have in common: a session, and what may be said about it.

A driver runs operations on one session over one line. How it waits is its shell's affair.
"""

from __future__ import annotations

import os
from time import monotonic
from typing import TYPE_CHECKING, NoReturn

from pgwire.errors import ConnectionLost, Error, InterfaceError, PostgresError, QueryTimeout
from pgwire.observing import log_end, log_notice, tell
from pgwire.protocol.callables import no_end
from pgwire.protocol.collector import go_on_after_fork
from pgwire.protocol.events import ReportsAreThere
from pgwire.protocol.listening import refuse_held
from pgwire.protocol.losing import untraced
from pgwire.protocol.observing import Endpoint, ObservedSession, observe, stop_observing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.observing import Observer
    from pgwire.protocol.events import Event, Inbox
    from pgwire.protocol.messages import Notification
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session

# How long what nobody wants any more may take to end by itself: a cancel request costs the
# server a process.
GRACE = 0.01
# How long the server may take to answer a cancel request before the connection is given up.
PATIENCE = 1.0
# After how long it is asked again: the request may have overtaken its query, and hit nothing.
ASK_AGAIN = 0.25
NO_ANSWER = "the connection was closed, as the server did not answer a cancel request in time"
# How long `cancel()` may take to deliver its request.
CANCEL_PATIENCE = 10.0
# How long it may take to close its end after Terminate.
CLOSE_PATIENCE = 2.0

# After how long a Unix socket whose queue was full is tried again: nobody says when it is not.
FULL_PAUSE = 0.01

NOWHERE = Endpoint()
ENDED = "what was left of this iteration was canceled, as its connection was closed"

# What is told at once to whom it happens, before anybody knows what the server makes of it.
_OUT_OF_TIME = "the query's timeout ran out; it is being canceled"


class DriverBase:
    """See the module. `closed`: this side has closed it, or is closing it."""

    is_released = False  # what stands where a driver was says otherwise
    _is_noted = False  # its end is

    forks = 0  # how often this process has been forked from its parent, and that from its own

    def __init__(self, session: Session) -> None:
        self.session = session
        self.closed = False
        # Whoever had it knows that it is of no more use (so nobody else need be told).
        self.given_up = False
        self.listener: Callable[[Event], None] | None = None
        self.generation = DriverBase.forks  # of processes: the one that opened it
        self.endpoint = NOWHERE
        self.observers: tuple[Observer, ...] = ()

    @property
    def is_inherited(self) -> bool:
        """Whether the connection was opened by the process that this one was forked from."""
        return self.generation != DriverBase.forks

    @property
    def is_in_step(self) -> bool:
        """Whether the connection is good and nothing is under way on it."""
        return not self.closed and self.session.in_step

    def check_usable(self) -> None:
        """Raise what a caller should know before anything is sent."""
        if self.generation != DriverBase.forks:
            raise InterfaceError(
                "this connection was opened before a fork, and belongs to the parent process"
            )
        if self.closed and not isinstance(self.session.failure, ConnectionLost):
            raise InterfaceError("the connection is closed") from self.session.failure
        if self.session.failure is not None:
            error = ConnectionLost(f"the connection was lost before: {self.session.failure}")
            error.sent = False
            raise error from self.session.failure

    def refuse(self) -> NoReturn:
        """Raise why nothing is asked for here: it is of no more use, or there is no time at all."""
        self.check_usable()
        raise QueryTimeout("the query's timeout had run out before it was sent")

    def take_notification(self, inbox: Inbox) -> Notification | None:
        """The next of those that have come; None if none is there, and more may come.

        Raises as `check_usable` does; but what came before the connection was lost is taken first,
        and after it the error that it was lost by.
        """
        failure = self.session.failure
        lost = failure is not None and type(failure) is not InterfaceError  # `close` says that
        if not lost or self.is_inherited or inbox.loss_is_told:
            self.check_usable()
        notification = inbox.take()
        if notification is None:
            if failure is not None:
                inbox.loss_is_told = True
                raise untraced(failure)
            refuse_held(self.session)
        return notification

    def deliver_events(self) -> None:
        """Hand what the server has said by itself to who listens."""
        events, listener = self.session.events, self.listener
        while events:
            event = events.popleft()
            if event is ReportsAreThere:
                self.tell_observers()
                continue
            if isinstance(event, PostgresError):
                log_notice(event, self)
            if listener is not None:
                try:
                    listener(event)
                except StopIteration as error:
                    raise no_end(error) from error

    def deliver_events_after(self, operation: Operation) -> None:
        """The same once an operation has come to an end, whose own error is the one to be raised.

        What a callback raises is its context then.
        """
        try:
            self.deliver_events()
        except Exception as error:
            if operation.error is None:
                raise
            operation.error.__context__ = error

    # ---------------------------------------------------------------- observers

    def observe(
        self,
        observer: Observer,
        clock: Callable[[], float] = monotonic,
        pool: str | None = None,
    ) -> None:
        """Have it called with a report of each operation that ends; once, however often given."""
        if observer not in self.observers:
            self.observers = (*self.observers, observer)
        observe(self.session, clock, self.endpoint, pool)

    def stop_observing(self, observer: Observer) -> None:
        """Undo `observe`."""
        self.observers = tuple(other for other in self.observers if other != observer)
        if not self.observers:
            stop_observing(self.session)

    def tell_observers(self) -> None:
        """Tell them what has ended; only where their raising does no harm but theirs."""
        if isinstance(self.session, ObservedSession):
            for report, context in self.session.take_reports():
                context.run(tell, self.observers, report)

    def note_end(self) -> None:
        """It is over: say so, once, to observers and in the log; not of what never was open."""
        if not self._is_noted and self.endpoint is not NOWHERE:
            self._is_noted = True
            self.tell_observers()
            log_end(self)


def _count_fork() -> None:
    DriverBase.forks += 1
    go_on_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


def out_of_time(operation: Operation | None = None, *, closed: bool = False) -> QueryTimeout:
    """What a caller is told when his time is up; `closed`: the connection is.

    With the operation where it is known what became of that: it may have ended just before it
    could be canceled, and whoever asks for the same again should know.
    """
    if operation is None or not operation.done:
        return QueryTimeout(_OUT_OF_TIME)
    if closed:
        how = "the connection was closed"
    elif operation.error is None:
        how = "it ended before it could be canceled, so what it does is done"
    else:
        how = "it was canceled"
    return QueryTimeout(f"the query's timeout ran out; {how}")


def lost(error: BaseException) -> Error:
    """What an error of the line means to the operations on it."""
    if isinstance(error, Error):
        return error
    if not isinstance(error, Exception):
        return InterfaceError(f"{type(error).__name__} struck while the connection was read from")
    failure = ConnectionLost(f"the connection was lost: {error}")
    failure.__cause__ = error
    return failure
