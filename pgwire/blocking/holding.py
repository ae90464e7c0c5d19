"""Hold: an operation that its caller reads bit by bit, and which holds the connection meanwhile.

`Output` is what the caller has in his hands.

Between two steps no lock is held and nothing is read: the server waits once its buffers are full.
Whoever asks for something else is refused (`Session.submit`). An operation has `is_ready` while
there is something to be taken from it.
"""

from __future__ import annotations

from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, cast

from pgwire.blocking.net import Deadline, deadline_in
from pgwire.driving import ENDED, GRACE
from pgwire.errors import Error, InterfaceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pgwire.blocking.driver import Driver
    from pgwire.handle import Handle
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
        self._until: Any = _UntilReady(operation)
        self._deadline = deadline
        self._has_begun = False

    def seconds_left(self) -> float | None:
        """Until its deadline; None if it has none."""
        return None if self._deadline is None else max(0.0, self._deadline - monotonic())

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
        return bool(self._until.is_ready)

    def take(self, take: Callable[[], Any]) -> Any:
        """Take something, and send what that has the session write. Waits for no answer."""
        taken: list[Any] = []
        self._take_turn(partial(self._take, take, taken), self._deadline)
        return taken[0]

    def leave(self) -> None:
        """Read to its end what will soon be there, and have the server cancel what will not."""
        if self.is_open and not self.driver.is_inherited:
            self._operation.is_left = True
            self._take_turn(self._end, None)

    def forget(self) -> None:
        """Nobody will go on with it: the driver ends it before whatever comes next. Never waits."""
        if self.is_open:
            self._operation.holds, self._operation.is_left = False, True
            self.driver.leave_behind(self._operation)

    def exhaust(self, take: Callable[[], Any]) -> None:
        """Proceed to the end in one turn, calling `take` whenever there is something to be taken.

        What that raises comes through, once the operation has been canceled.
        """
        self._take_turn(partial(self._exhaust, take), self._deadline)

    def _take_turn(self, work: Callable[[], Any], deadline: float | None) -> None:
        self.driver.in_turn(work, deadline, _REENTERED)

    def _take(self, take: Callable[[], Any], taken: list[Any]) -> None:
        driver, session = self.driver, self.driver.session
        taken.append(take())
        if session.out and session.failure is None:
            try:
                driver._unsafe = True
                driver.write(session.data_to_send(), self._deadline)
                driver._unsafe = False
            except BaseException as error:
                driver._stopped(self._operation, error)

    def _end(self) -> None:
        driver, operation = self.driver, self._operation
        try:
            if operation.ends_soon and not driver._unsafe:
                operation.abandon()
                driver._drive(operation, monotonic() + GRACE)
        except (Deadline, OSError, Error):
            pass  # it is seen to now
        finally:
            if not operation.done:
                driver._recover(operation)
            driver.tell_observers()

    def _exhaust(self, take: Callable[[], Any]) -> None:
        try:
            self._step()
            while not self._operation.done or self._until.is_ready:
                take()
                self._step()
        except BaseException as error:
            if not self._operation.done:
                self._operation.told = error
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
                self._wait()
            driver._unsafe = False
        except BaseException as error:
            driver._stopped(operation, error)
        if session.failure is not None:
            driver.abort_when_gone()
        if session.events:
            driver.deliver_events_after(operation)

    def _wait(self) -> None:
        self.driver._drive(cast("Operation", self._until), self._deadline)


class Output:
    """What is taken from an operation bit by bit: a context manager, for an iterator.

    The operation begins when it is entered, or asked for something.
    """

    _hold: Hold | None = None
    _is_over = False
    _operation: Any

    def __init__(self, connection: Handle | None, timeout: float | None) -> None:
        self._connection = connection
        self._timeout = timeout

    def __enter__(self) -> Self:
        self._proceed()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave it: what has not come yet is canceled. Idempotent."""
        if not self._is_over:
            self._is_over = True
            try:
                if self._hold is not None and self._is_here(self._hold):
                    self._hold.leave()
            except BaseException:  # Ctrl-C, before it has begun to
                if self._hold is not None:
                    self._hold.forget()
                raise
            finally:
                self._ended()

    def __del__(self) -> None:
        if not self._is_over and self._hold is not None:
            self._hold.forget()
            self._collected()

    def _proceed(self) -> None:
        """Have something to be taken, or come to the end, or raise what has ended it."""
        operation = self._operation
        if self._is_over or operation.is_ready:
            return
        try:
            if self._hold is None:
                driver = self._take()
                self._hold = self._new_hold(driver)
            elif not self._is_here(self._hold):
                self._take().check_usable()  # a lease that was released says so
            if self._hold.proceed() or self._go_on(self._hold):
                return
            if operation.abandoned:  # not by us, and its connection may not be closed quite yet
                self._hold.driver.check_usable()
                raise InterfaceError(ENDED)
            if operation.error is not None:
                raise operation.error
        except BaseException:
            self._stop_unless_alive(self._hold)
            raise  # else it can be gone on with: one of its callbacks came back, say
        self._is_over = True
        self._ended()
        operation.tell_end()

    def _stop_unless_alive(self, hold: Hold | None) -> None:
        """Something was raised: whether that was the end of it."""
        if hold is None or not self._lives_on(hold):
            self._is_over = True
            self._ended()

    def _tell_progress(self) -> None:
        """Something has been taken, and somebody wants to know; what that raises ends it."""
        try:
            self._operation.tell_progress()
        except BaseException:
            self.close()
            raise

    def _new_hold(self, driver: Driver) -> Hold:
        return Hold(driver, self._operation, self._deadline())

    def _deadline(self) -> float | None:
        return None if self._timeout is None else deadline_in(self._timeout)

    def _lives_on(self, hold: Hold) -> bool:
        """Whether it is not at its end yet."""
        return hold.is_open

    def _go_on(self, hold: Hold) -> bool:
        """The operation is done: whether there is something to be taken all the same."""
        return False

    # ---------------------------------------------------------------- where it is done

    def _take(self) -> Driver:
        """The driver that it is to be done with."""
        assert self._connection is not None
        driver: Driver = self._connection._driver
        return driver

    def _is_here(self, hold: Hold) -> bool:
        """Whether the driver is still the one that it began with: a lease may be released."""
        return self._connection is None or self._connection._driver is hold.driver

    def _ended(self) -> None:
        """It is over: nothing of it is under way any more."""

    def _collected(self) -> None:
        """It was dropped before its end. Never waits."""
