"""Replication: what the blocking shell gives for a database's changes, as they are made."""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, cast

from pgwire.blocking.holding import Hold, Output
from pgwire.blocking.net import Deadline, deadline_in
from pgwire.errors import ConnectionLost, InterfaceError
from pgwire.protocol.replicating import OVER, Replicating

if TYPE_CHECKING:
    from pgwire.blocking.driver import Driver
    from pgwire.handle import Handle
    from pgwire.pgtypes.lsn import Lsn
    from pgwire.protocol.logical import ReplicationMessage

_LEAST = 0.001  # seconds, in which what is there already is read


class _Until:
    """What a driver is to wait for: that it has begun, then something to be taken, or the end."""

    has_begun = False  # when the wait began

    def __init__(self, operation: Replicating) -> None:
        self._operation = operation

    @property
    def is_ready(self) -> bool:
        return self._operation.is_ready

    @property
    def done(self) -> bool:
        operation = self._operation
        begins = operation.has_begun and not self.has_begun
        return operation.done or operation.is_ready or begins


class _ReplicationHold(Hold):
    """A hold that tells the server how far we are while it waits, which it does up to `limit`."""

    _operation: Replicating
    limit: float | None = None

    def __init__(self, driver: Driver, operation: Replicating) -> None:
        super().__init__(driver, operation, None)
        self._until = _Until(operation)

    def proceed(self) -> bool:
        self._until.has_begun = self._operation.has_begun
        while not self._until.done:
            self._take_turn(self._step, None)
            if self.limit is not None and monotonic() >= self.limit:
                break
        return self._operation.is_ready

    def _wait(self) -> None:
        deadline = self.limit
        seconds = self._operation.seconds_to_status()
        if seconds is not None:
            due = monotonic() + seconds
            deadline = due if deadline is None else min(due, deadline)
        with suppress(Deadline):  # only waiting has one: what was there is read and written
            self.driver._drive(cast("Any", self._until), deadline)


class Replication(Output):
    """The changes of a database as they are made: an iterator, and a context manager.

    Begins when entered, or asked for its first message, and holds the connection until its end: all
    else that is asked of that raises `InterfaceError`. It has no end of its own. Messages come in
    the order of the commits (`Begin`, `Insert`, …, `Commit`); memory is bounded by what one read
    brings. The server hears nothing but what is acknowledged, and begins there the next time: what
    was not comes again.

    The server is told how far we are, and that we are alive, whenever this waits for a message. It
    is not while the caller works between two of them: who works for longer than half of
    wal_sender_timeout (60 s, if nobody has changed it) calls `keep_alive`, else the connection is
    lost. What cannot be read raises its `DataError`, and the next message can be asked for.

    Leaving the block tells what was acknowledged and ends the replication, after which the
    connection is good for SQL again, but PostgreSQL takes no second one on it.
    `connection.cancel()`, from another thread, ends it with `QueryCanceled`. Manual: "Streaming
    Replication Protocol", "Logical Replication".
    """

    _operation: Replicating
    _hold: _ReplicationHold | None

    def __init__(self, connection: Handle, operation: Replicating) -> None:
        super().__init__(connection, None)
        self._operation = operation
        self._messages: deque[ReplicationMessage] = deque()

    @property
    def slot(self) -> str:
        """The name of the slot."""
        return self._operation.slot

    @property
    def acknowledged(self) -> Lsn:
        """Up to where the server may forget the log, as far as we are concerned."""
        return self._operation.acknowledged

    @property
    def received(self) -> Lsn:
        """Up to where the server has sent all that there was."""
        return self._operation.received

    def acknowledge(self, position: ReplicationMessage | Lsn | int | str) -> None:
        """Note that all up to there is seen to, and need not come again; sends nothing by itself.

        `position` is what ends a transaction (`Commit`, …), or a place in the log. It is told with
        the next status update: when all that has been read is handed out, after `status_interval`,
        with `keep_alive`, or when the block is left. Any thread may call. Raises
        `ProgrammingError` for a message inside of a transaction, or a place that has not been
        received; `InterfaceError` once it is over.
        """
        if self._is_over:
            raise InterfaceError(OVER)
        self._operation.acknowledge(position)

    def keep_alive(self) -> None:
        """Tell the server now how far we are, and that we are alive; waits for no answer.

        Raises `InterfaceError` where it has not begun, or is over, and `ConnectionLost`.
        """
        if self._hold is None or self._is_over:
            raise InterfaceError("this replication is not under way")
        self._hold.driver.check_usable()
        self._hold.take(self._operation.tell)

    def receive(self, timeout: float | None = None) -> ReplicationMessage | None:
        """The next message; None if there is none within `timeout` seconds (0: none yet).

        Raises what iterating raises, and `InterfaceError` once it is over.
        """
        limit = None if timeout is None else deadline_in(max(timeout, _LEAST))
        message = self._next(limit)
        if message is None and self._is_over:
            raise InterfaceError("this replication is over")
        return message

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> ReplicationMessage:
        message = self._next(None)
        if message is None:
            raise StopIteration
        return message

    def _next(self, limit: float | None) -> ReplicationMessage | None:
        try:
            return self._take_next(limit)
        except Exception:
            raise
        except BaseException:  # Ctrl-C may have struck where something had been taken: not to go on
            self.close()
            raise

    def _take_next(self, limit: float | None) -> ReplicationMessage | None:
        while True:
            try:
                return self._messages.popleft()
            except IndexError:  # there are none, or another thread has left it since
                pass
            if self._hold is None:
                self._proceed()  # which begins it
            if self._hold is None:
                return None
            self._hold.limit = limit
            self._proceed()
            if self._operation.is_ready:
                self._messages.extend(self._hold.take(self._operation.take))
            elif self._is_over or (limit is not None and monotonic() >= limit):
                return None
            # Else another thread has closed the connection since: the next step raises.

    def close(self) -> None:
        """Leave it: what was acknowledged is told, and nothing more comes. Idempotent."""
        self._messages.clear()
        super().close()

    def _proceed(self) -> None:
        try:
            super()._proceed()
        except ConnectionLost as error:
            self._operation.explain(error)
            raise

    def _new_hold(self, driver: Driver) -> Hold:
        driver.run(self._operation.types())
        return _ReplicationHold(driver, self._operation)

    def _go_on(self, hold: Hold) -> bool:
        return not self._operation.done  # it has begun, or time is up
