"""Having the server cancel what a driver runs: it is asked again as long as there is time."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from pgwire.blocking.net import Deadline
from pgwire.blocking.together import SharedRun
from pgwire.driving import ASK_AGAIN, out_of_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session


def have_canceled(driver: Driver, operation: Operation, deadline: float) -> None:
    """Ask for a cancel, and read until the operation is done; `Deadline` when time is up."""
    while (soon := monotonic() + ASK_AGAIN) < deadline:
        driver.send_cancel_request(deadline)
        with suppress(Deadline):
            driver._drive(operation, soon)
            return
    driver.send_cancel_request(deadline)
    driver._drive(operation, deadline)


def is_among_others(session: Session, operation: Operation) -> bool:
    """Whether a cancel request could hit what somebody else waits for: queries of a pipeline."""
    others = (each for each in session.pending if each is not operation)
    return any(each.waiter is not None and not each.abandoned for each in others)


def end_what_was_left(driver: Driver, deadline: float | None) -> None:
    """Bring operations to their end that nobody goes on with."""
    left = driver._left  # others may add to it
    while left:
        if not left[0].done:
            if is_among_others(driver.session, left[0]):
                _end_among_others(driver, left[0], deadline)
            else:
                driver._recover(left[0])
            driver.check_usable()
        left.pop(0)


def _end_among_others(driver: Driver, operation: Operation, deadline: float | None) -> None:
    """Have it canceled when it is its turn, and nobody else with it; until it is done.

    `QueryTimeout` when time is up before that; what is being canceled is waited for.
    """
    bystander = _Bystander(deadline)
    run = SharedRun(driver, bystander, tells=False)
    try:
        driver._unsafe = True
        run.run(lambda: not run.is_canceling and (operation.done or bystander.is_late))
        driver._unsafe = False
    except BaseException:  # Ctrl-C: no fence may stay
        if not driver._unsafe:
            driver._unsafe = True
            run.run(lambda: not run.is_canceling)
            driver._unsafe = False
        raise
    finally:
        if driver._unsafe:
            driver.abort()
        driver.session.completed.extendleft(reversed(bystander.completed))
    if not operation.done:
        raise out_of_time()


class _Bystander:
    """The crowd of a run among what others have asked for: they are told later, by whoever can."""

    is_late = False

    def __init__(self, deadline: float | None) -> None:
        self._deadline = deadline
        self.completed: list[Operation] = []

    def take(self) -> Iterable[Operation]:
        return ()

    def settle(self, operations: Sequence[Operation]) -> None:
        self.completed += operations

    def next_deadline(self) -> float | None:
        return self._deadline

    def next_look(self) -> float | None:
        return None

    def expire(self, now: float) -> None:
        if self._deadline is not None and self._deadline <= now:
            self.is_late, self._deadline = True, None
