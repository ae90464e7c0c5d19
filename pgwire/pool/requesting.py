"""Requests: places in a blocking pool's queue whose owners do not sleep until they are served.

Part of the engine. Whoever asks says what is to be called, once the waiting has ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.errors import InterfaceError
from pgwire.pool.reasons import take_error
from pgwire.pool.waiters import Waiter, WaiterState

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.errors import PoolTimeout
    from pgwire.pool.core import PoolCore
    from pgwire.pool.slots import Slot

REENTRY = (
    "a destructor or a signal handler used the pool while its thread was inside of it; release "
    "leases with `with` or release(), and use the pool elsewhere than there"
)

_WAITING, _GRANTED, _TIMED_OUT, _, _ABANDONED = WaiterState


class Requests:
    """What an engine has for it."""

    core: PoolCore[Driver]
    lock: threading.RLock
    _clock: Callable[[], float]
    _wakers: dict[Waiter[Driver], Callable[[Waiter[Driver]], object]]

    def report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        raise NotImplementedError

    def _is_inside(self) -> bool:
        """Whether this thread has the pool's lock."""
        return bool(self.lock._is_owned())  # type: ignore[attr-defined]

    def call_at_end(self, waiter: Waiter[Driver], wake: Callable[[Any], object]) -> None:
        """Have it called, under no lock, when the waiter is among the effects."""
        self._wakers[waiter] = wake

    def outcome(self, waiter: Waiter[Driver], since: float) -> Slot[Driver]:
        """What became of a waiter that waits no more: its slot, or its error raised."""
        if waiter.state is _GRANTED:
            assert waiter.slot is not None
            return waiter.slot
        if waiter.state is _TIMED_OUT:
            raise self.timed_out(self._clock() - since, waiter.error)
        raise take_error(waiter)

    def timed_out(self, waited: float, cause: Exception | None) -> PoolTimeout:
        """What is raised when time is up."""
        raise NotImplementedError

    def request(
        self,
        deadline: float | None,
        wake: Callable[[Any], object],
        *,
        shared: bool = False,
    ) -> Slot[Driver] | Waiter[Driver]:
        """Take a place now: a slot, or a waiter for which `wake` is called once it has ended.

        That may be before this returns. `wake` must not wait. Where Ctrl-C strikes it is called
        for a slot as well, and maybe twice.
        """
        if self._is_inside():
            raise InterfaceError(REENTRY)
        answer: Slot[Driver] | Waiter[Driver] | None = None
        owner, since = object(), 0.0  # what it is known by, if the core does not return
        waits = False

        def ask(now: float) -> None:
            nonlocal answer, since
            since = now
            try:
                answer = self.core.acquire(now, deadline, owner, shared=shared)
            except BaseException:  # Ctrl-C
                answer = self.core.interrupted(owner, now)
                raise
            finally:
                note()

        def note() -> None:
            nonlocal waits
            if isinstance(answer, Waiter) and answer.state is _WAITING:
                waits = True
                self._wakers[answer] = wake

        try:
            self.report(ask)
            assert answer is not None
            if isinstance(answer, Waiter) and not waits:
                wake(answer)
        except BaseException:  # most of all Ctrl-C
            with self.lock:
                answer = answer or self.core.interrupted(owner, since)
                waits = False
                note()
            if answer is not None and not waits:
                wake(answer)
            raise
        return answer

    def withdraw(self, waiter: Waiter[Driver]) -> bool:
        """Leave the queue, if it is still time; what was granted stays so. Whether it has left.

        Where Ctrl-C strikes it is to be asked for again.
        """

        def leave(now: float) -> None:
            if waiter.state is _WAITING:
                self.core.abandon(waiter, now)
            if waiter.state is _ABANDONED:
                self._wakers.pop(waiter, None)

        if not self._is_inside():
            self.report(leave)
        return waiter.state is _ABANDONED


def waking(sleeper: threading.Lock) -> Callable[[Waiter[Driver]], None]:
    """What wakes the thread that sleeps on this lock."""

    def wake(_waiter: Waiter[Driver]) -> None:
        try:  # noqa: SIM105
            sleeper.release()
        except RuntimeError:
            pass  # it is awake already

    return wake
