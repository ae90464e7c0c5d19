"""AsyncEnding: how an asyncio pool comes to its end. Part of the engine."""

from __future__ import annotations

import asyncio
from asyncio import current_task
from math import inf
from typing import TYPE_CHECKING, Any, cast
from weakref import ref

from pgwire.pool import telling
from pgwire.pool.options import ABORT_TIMEOUT
from pgwire.pool.slots import OPENING, RESETTING

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Task
    from collections.abc import Callable, Iterable

    from pgwire.aio.driver import AsyncDriver
    from pgwire.errors import PoolTimeout
    from pgwire.pool.aio_listeners import AsyncListeners
    from pgwire.pool.aio_listening import AsyncHub
    from pgwire.pool.core import PoolCore
    from pgwire.pool.ledger import Ledger
    from pgwire.pool.slots import Slot, SlotState


class AsyncEnding:
    """What an engine has for it."""

    core: PoolCore[AsyncDriver]
    leases: Ledger
    listeners: AsyncListeners
    hub: AsyncHub | None
    aborting: bool
    # Those that have begun; None for one that has ended and could not even tell that.
    chores: dict[tuple[Slot[AsyncDriver], SlotState], Task[Any] | None]
    _tasks: set[Task[Any]]
    _left: set[Task[Any]]  # those of them that the end does not wait for

    def enter(self) -> AbstractEventLoop:
        """The running loop, which must be the pool's own."""
        raise NotImplementedError

    def recover_orphans(self) -> None:
        """Close the leases that were lost."""
        raise NotImplementedError

    def report(self, report: Callable[..., None], *args: Any, **facts: Any) -> None:
        """Tell the core, and do what it wants done."""
        raise NotImplementedError

    async def _until(self, condition: Callable[[], bool], seconds: float | None) -> bool:
        raise NotImplementedError

    async def end(self, timeout: float | None) -> None:
        """See AsyncPool.end."""
        loop = self.enter()
        deadline = inf if timeout is None else loop.time() + timeout
        self.recover_orphans()
        if timeout is None and not self.core.ended:
            self._refuse_to_wait_for_itself()
        if self.hub is not None:
            self.hub.end()
        self.report(self.core.close)
        if not await self._until(lambda: self.core.ended, timeout):
            raise await self._abort(timeout)
        await self._finish_tasks(deadline - loop.time())

    def _refuse_to_wait_for_itself(self) -> None:
        task = current_task()
        if task is not None and (own := self.leases.places_of(ref(task))):
            raise telling.waits_for_own_lease(own, "task")
        if (code := self.listeners.innermost) is not None:
            raise telling.waits_for_caller(code, "task")

    async def _abort(self, timeout: float | None) -> PoolTimeout:
        """Time is up: cancel, cut and close. The error says what was still under way."""
        leases = self.leases.holders()
        stats = self.core.stats()
        self.aborting = True
        self._leave_guests()
        self.report(self.core.abort)
        if self.listeners.innermost is None:  # else it would wait for itself
            await self._until(lambda: self.core.ended, ABORT_TIMEOUT)
            await self._finish_tasks(ABORT_TIMEOUT)
        return telling.not_ended(timeout, leases, stats)

    def _leave_guests(self) -> None:
        """Wait for no user code that is there: hooks are cancelled, callbacks go on beside."""
        chores = {task for task in self.chores.values() if task is not None}
        self.let_go(self._tasks - chores)
        for (_, state), task in tuple(self.chores.items()):
            if state in (OPENING, RESETTING) and task is not None:
                task.cancel()

    def let_go(self, tasks: Iterable[Task[Any]]) -> None:
        """The end is not to wait for these: what they do is not the pool's."""
        for task in tasks:
            self._left.add(task)
            task.add_done_callback(self._left.discard)

    async def _finish_tasks(self, seconds: float) -> None:
        """What is left of the chores and callbacks has a few steps to go."""
        rest = self._tasks - self._left - {cast("Task[Any]", current_task())}
        if rest and self.listeners.innermost is None:
            await asyncio.wait(rest, timeout=min(max(0.0, seconds), ABORT_TIMEOUT))
