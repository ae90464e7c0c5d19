"""A sweep of cancellations: run something once for every point where it may be cancelled.

    async def scenario(cut: Cut) -> None:
        conn = await connect_async(dsn)         # prepared as often as it takes, never cancelled
        await cut(conn.query("select 1"))       # cancelled in a run for each of its suspensions
        ...                                     # what must hold, however far it came

    await sweep(scenario)

`cut(…)` runs a coroutine in a task of its own and cancels that at its k-th suspension; `sweep`
calls the scenario with k = 1, 2, … until it comes to its end before the k-th, and all that in
each of the ways of `How`. It asserts what is true of every cancellation:

- CancelledError surfaces, and nothing else does;
- no task is left, within a few seconds;
- the loop's exception handler has nothing to report.

Each run may take as long as a test may otherwise.

Knows nothing of the driver, and works on any event loop, a virtual one too.
"""

from __future__ import annotations

import asyncio
import gc
from enum import Enum
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from tests.support.guards import go_on

if TYPE_CHECKING:
    from asyncio import Task
    from collections.abc import Awaitable, Callable, Coroutine, Generator

T = TypeVar("T")

_PATIENCE = 25.0  # seconds for tasks in the background to come to their end
_MOST = 1000  # suspensions that a scenario may have


class How(Enum):
    """When, in its k-th suspension, the task is cancelled."""

    AT_ONCE = "as soon as it is suspended"
    # What it waits for has come, and it has not run since: the cancellation takes it away.
    AT_WAKING = "when what it waits for is done"
    AGAIN = "as soon as it is suspended, and again at every suspension that follows"


class Cut:
    """Call it with what is to be cancelled. `reached`: it was; else it has run to its end."""

    def __init__(self, number: int, how: How) -> None:
        self.number = number
        self.how = how
        self.reached = False
        self.suspensions = 0
        self._task: Task[Any] | None = None

    def __repr__(self) -> str:
        return f"cut at suspension {self.number}, {self.how.value}"

    async def __call__(self, work: Awaitable[T]) -> T | None:
        """Run it; what it returns or raises, or None where it was cancelled."""
        assert self._task is None, "one scenario cuts once"
        self._task = task = asyncio.ensure_future(_steps(work, self))
        await asyncio.wait((task,))
        if not self.reached:
            return task.result()
        assert not self._came_through(task), f"{self!r}: {task!r} was not cancelled"
        return None

    @staticmethod
    def _came_through(task: Task[Any]) -> bool:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
        return not task.cancelled()

    def suspended(self, waits_for: Any) -> None:
        """The work is being suspended."""
        self.suspensions += 1
        task = self._task
        assert task is not None
        here = self.suspensions == self.number
        if here and self.how is How.AT_WAKING and waits_for is not None:
            # Before the task's own callback, which resumes it.
            waits_for.add_done_callback(lambda _: self._cancel(task))
        elif here or (self.reached and self.how is How.AGAIN):
            # From inside of it: the task finds out as it is suspended. A callback of the loop
            # might come after what it waits for.
            self._cancel(task)

    def _cancel(self, task: Task[Any]) -> None:
        if task.cancel():
            self.reached = True


class _Steps:
    """Awaits another awaitable step by step, and tells the cut of every suspension."""

    def __init__(self, work: Awaitable[Any], cut: Cut) -> None:
        self._work = work
        self._cut = cut

    def __await__(self) -> Generator[Any, Any, Any]:
        steps: Any = self._work.__await__()
        try:
            waits_for = steps.send(None)
            while True:
                self._cut.suspended(waits_for)
                try:
                    sent = yield waits_for
                except BaseException as error:
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(sent)
        except StopIteration as end:
            return end.value


async def _steps(work: Awaitable[T], cut: Cut) -> T:
    result: T = await _Steps(work, cut)
    return result


async def sweep(
    scenario: Callable[[Cut], Coroutine[Any, Any, None]], ways: tuple[How, ...] = tuple(How)
) -> int:
    """Run the scenario for every suspension and every way; how many cuts that were."""
    loop = asyncio.get_running_loop()
    reports: list[dict[str, Any]] = []
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    cuts = 0
    try:
        for how in ways:
            for number in count(1):
                assert number <= _MOST, "the scenario does not come to an end"
                cut = Cut(number, how)
                go_on()
                await _run(scenario, cut)
                assert not reports, f"{cut!r}: {reports}"
                if not cut.reached:
                    break
                cuts += 1
        gc.collect()  # exceptions that nobody has asked for, tasks that nobody has awaited
        assert not reports, reports
    finally:
        loop.set_exception_handler(before)
    return cuts


async def _run(scenario: Callable[[Cut], Coroutine[Any, Any, None]], cut: Cut) -> None:
    others = asyncio.all_tasks()
    try:
        await scenario(cut)
        if left := asyncio.all_tasks() - others:
            _, left = await asyncio.wait(left, timeout=_PATIENCE)
        assert not left, f"tasks are left: {left}"
    except BaseException as error:
        error.add_note(repr(cut))
        raise
