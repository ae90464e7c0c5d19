"""Hold: an operation that its caller reads bit by bit, and which holds the connection meanwhile.

Between two steps no lock is held and nothing is read: the server waits once its buffers are full.
Whoever asks for something else is refused (`Session.submit`). An operation has `is_ready` while
there is something to be taken from it.
"""

from __future__ import annotations

from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, cast

from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation

_REENTERED = (
    "this connection is in the middle of an operation of the same thread; callbacks cannot go on "
    "with what it sends"
)


class _UntilReady:
    """What a driver is to wait for: something to be taken, or the end."""

    def __init__(self, operation: Any) -> None:
        self._operation = operation

    @property
    def is_ready(self) -> bool:
        return bool(self._operation.is_ready)

    @property
    def done(self) -> bool:
        return bool(self._operation.done or self._operation.is_ready)


class Hold:
    """See the module. `deadline` (`time.monotonic`) is that of the whole operation."""

    def __init__(self, driver: Driver, operation: Operation, deadline: float | None) -> None:
        self.driver = driver
        self._operation = operation
        self._until = _UntilReady(operation)
        self._deadline = deadline
        self._has_begun = False

    @property
    def is_open(self) -> bool:
        """Whether it has begun, and is not at its end."""
        return self._has_begun and not self._operation.done

    def proceed(self) -> bool:
        """Read until there is something to be taken, or the operation is done; which of them.

        Raises `QueryTimeout` when time is up, and `InterfaceError`; its own error is in the
        operation.
        """
        while not self._until.done:  # a callback may have taken what has come
            self._take_turn(self._step, self._deadline)
        return self._until.is_ready

    def leave(self) -> None:
        """Have the server cancel it, and read to its end; at once, whatever comes of it."""
        if self.is_open and not self.driver.is_inherited:
            self._take_turn(self._end, None)

    def forget(self) -> None:
        """Nobody will go on with it: the driver ends it before whatever comes next. Never waits."""
        if self.is_open:
            self._operation.holds = False
            self.driver.leave_behind(self._operation)

    def exhaust(self, take: Callable[[], Any]) -> None:
        """Proceed to the end in one turn, calling `take` whenever there is something to be taken.

        What that raises comes through, once the operation has been canceled.
        """
        self._take_turn(partial(self._exhaust, take), self._deadline)

    def _take_turn(self, work: Callable[[], Any], deadline: float | None) -> None:
        driver, me = self.driver, get_ident()
        turn = driver._turn
        if driver._owner == me:
            raise InterfaceError(_REENTERED)
        try:
            if not turn.acquire(False):
                driver._wait_for_turn(deadline)
            driver._owner = me
            work()
        finally:
            # As in `Driver.run`.
            if driver._owner == me:
                driver._owner = None
            try:  # noqa: SIM105
                turn.release()
            except RuntimeError:
                pass  # it was never ours

    def _end(self) -> None:
        self.driver._recover(self._operation)

    def _exhaust(self, take: Callable[[], Any]) -> None:
        try:
            self._step()
            while not self._operation.done or self._until.is_ready:
                take()
                self._step()
        except BaseException:
            if not self._operation.done:
                self._end()
            raise

    def _step(self) -> None:
        driver, operation = self.driver, self._operation
        session = driver.session
        if driver._unsafe:
            driver.abort()
        if not operation.done:
            driver.check_usable()
        try:
            if not self._has_begun:
                if driver._cancelled:
                    driver._outlive_cancel(self._deadline)
                driver._unsafe = True
                self._has_begun = True
                session.submit(operation)
            if not self._until.done:
                driver._drive(cast("Operation", self._until), self._deadline)
            driver._unsafe = False
        except BaseException as error:
            driver._stopped(operation, error)
        if session.failure is not None:
            driver.abort_when_gone()
        if session.events:
            driver.deliver_events()
