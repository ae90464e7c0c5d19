"""Models of what threads wait with: `threading` and `SimpleQueue`, as far as the pool uses them.

Each hands the turn to the scheduler before it does what may take time, or be overtaken. What
never waits (release, set, put) is no place for a choice: whoever it lets go on may do so at the
next one.
"""

from __future__ import annotations

import threading
from collections import deque
from queue import Empty
from typing import TYPE_CHECKING, Any, Self

from tests.support.scheduler import ModelThread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.scheduler import Scheduler


class ModelLock:
    """`threading.Lock`, as far as it is used."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._locked = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            timeout = 0
        if not self._scheduler.wait("acquire", "", lambda: not self._locked, timeout):
            return False
        self._locked = True
        return True

    def release(self) -> None:
        if not self._locked:
            raise RuntimeError("release unlocked lock")
        self._locked = False

    def locked(self) -> bool:
        return self._locked

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class ModelRLock:
    """`threading.RLock`. Who has it already may go on without a choice."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._owner: ModelThread | None = None
        self._count = 0

    def acquire(self) -> bool:
        me = self._scheduler.current
        if self._owner is not me:
            self._scheduler.wait("enter", "", lambda: self._owner is None, None)
            self._owner = me
        self._count += 1
        return True

    def release(self) -> None:
        if self._owner is not self._scheduler.current:
            raise RuntimeError("cannot release un-acquired lock")
        self._count -= 1
        if not self._count:
            self._owner = None

    def _is_owned(self) -> bool:
        return self._owner is self._scheduler.current

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


class ModelCondition:
    """`threading.Condition` on a lock that is held once."""

    def __init__(self, scheduler: Scheduler, lock: ModelRLock) -> None:
        self._scheduler = scheduler
        self._lock = lock
        self._round = 0

    def wait(self, timeout: float | None = None) -> bool:
        now = self._round
        self._lock.release()
        assert not self._lock._is_owned(), "held twice"
        try:
            return self._scheduler.wait("wait", "Condition", lambda: self._round > now, timeout)
        finally:
            self._lock.acquire()

    def notify_all(self) -> None:
        assert self._lock._is_owned()
        self._round += 1

    def __enter__(self) -> Self:
        self._lock.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()


class ModelEvent:
    """`threading.Event`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float | None = None) -> bool:
        self._scheduler.wait("wait", "", lambda: self._is_set, timeout)
        return self._is_set


class ModelQueue:
    """`queue.SimpleQueue`."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._items: deque[Any] = deque()

    def put(self, item: object) -> None:
        self._items.append(item)

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        if not self._scheduler.wait("get", "", lambda: bool(self._items), timeout):
            raise Empty
        return self._items.popleft()


class ModelThreading:
    """Stands where a module has `threading`."""

    TIMEOUT_MAX = threading.TIMEOUT_MAX
    get_ident = staticmethod(threading.get_ident)

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler

    def Lock(self) -> ModelLock:
        return ModelLock(self._scheduler)

    def RLock(self) -> ModelRLock:
        return ModelRLock(self._scheduler)

    def Condition(self, lock: ModelRLock) -> ModelCondition:
        return ModelCondition(self._scheduler, lock)

    def Event(self) -> ModelEvent:
        return ModelEvent(self._scheduler)

    def Thread(
        self,
        target: Callable[..., object],
        args: Iterable[Any] = (),
        name: str = "thread",
        daemon: bool | None = None,
    ) -> ModelThread:
        assert daemon, "it would keep the process alive"
        return ModelThread(self._scheduler, target, args, name)

    def current_thread(self) -> ModelThread:
        return self._scheduler.current
