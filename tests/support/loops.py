"""Running coroutines as tests, on either event loop.

    pytest_pyfunc_call = run_coroutine      # in a conftest, which imports the fixtures as well

A test that is a coroutine function runs in `runner`, a fixture with a loop of its own in debug
mode; other fixtures use it for what they have to await. When it is over, no task may be left,
and the loop's exception handler may have heard of nothing.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from tests.support.shells import LOOPS

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")

_PATIENCE = 25.0


class Runner:
    """A loop, what it has been told to report, and how to run something in it."""

    def __init__(self, name: str) -> None:
        self.loop = LOOPS[name]()
        self.loop.set_debug(True)
        self.loop.slow_callback_duration = 60.0  # in debug mode most are
        self.reports: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _, context: self._report(context))

    def _report(self, context: dict[str, Any]) -> None:
        context.pop("source_traceback", None)  # long, and of pytest for the most part
        self.reports.append(context)

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def take_reports(self) -> list[dict[str, Any]]:
        """What the exception handler was told since the last call, which is then forgotten."""
        reports, self.reports = self.reports, []
        return reports

    def close(self) -> None:
        """Assert that nothing is left."""
        try:
            self.run(_no_task_left())
            gc.collect()  # exceptions that nobody has asked for
            assert not self.reports, self.reports
        finally:
            self.run(self.loop.shutdown_default_executor())
            self.loop.close()


async def _no_task_left() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    if left:
        _, left = await asyncio.wait(left, timeout=_PATIENCE)
    assert not left, f"tasks are left: {left}"


@pytest.fixture(params=list(LOOPS))
def runner(request: pytest.FixtureRequest) -> Iterator[Runner]:
    """The event loop of a test, of both kinds in turn."""
    runner = Runner(request.param)
    yield runner
    runner.close()


@pytest.hookimpl(tryfirst=True)
def run_coroutine(pyfuncitem: pytest.Function) -> bool | None:
    """`pytest_pyfunc_call` for coroutine functions."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    runner = pyfuncitem.funcargs.get("runner")
    assert isinstance(runner, Runner), "a coroutine needs the fixture `runner`, to run in it"
    runner.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
