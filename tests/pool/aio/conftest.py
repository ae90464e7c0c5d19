"""Tests of the asyncio pool in coroutine style: each runs on both event loops, in `runner`.

What is true of both pools is in `tests/pool` (see its conftest). No test may leave a task,
an unheard error, a thread or a socket behind.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.pool.aio.support import open_sockets
from tests.support.guards import watch as watch
from tests.support.loops import Runner, run_coroutine as pytest_pyfunc_call, runner as runner

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["pytest_pyfunc_call"]


@pytest.fixture(autouse=True)
def _nothing_left(runner: Runner) -> Iterator[None]:
    """No thread and no socket; the loop's own are there from the start."""
    executor = ThreadPoolExecutor(1)
    executor.submit(int).result()  # the thread of it is there from the start
    runner.loop.set_default_executor(executor)
    runner.run(asyncio.sleep(0))  # and so is whatever wakes the loop
    threads, sockets = set(threading.enumerate()), open_sockets()
    yield
    runner.run(asyncio.sleep(0.001))  # uvloop closes in the next turn
    assert set(threading.enumerate()) <= threads, "threads were left"
    assert open_sockets() <= sockets, "sockets were left"
