"""What the tests of the asyncio pool share: pools, tasks, patience, and what the server sees."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pgwire
from tests.pool.support import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

SLEEP = "select pg_sleep(60), $1::int"
PID = "select pg_backend_pid()"


@asynccontextmanager
async def pool(dsn: str, **options: Any) -> AsyncIterator[pgwire.AsyncPool]:
    """A pool; in the end everything is back, and nothing of it is left."""
    async with asyncio.timeout(PATIENCE), pgwire.AsyncPool(dsn, **options) as made:
        yield made
    assert_ended(made)


def assert_ended(p: pgwire.AsyncPool) -> None:
    """I-4, I-29, I-32: all that was opened is closed, and what was lent is back."""
    stats = p.stats()
    assert (stats.size, stats.waiting, stats.sharing) == (0, 0, 0), stats
    assert stats.granted == stats.released, stats
    assert stats.opened == stats.closed, stats
    engine = p._engine
    assert not engine.leases
    assert not engine.wakers
    assert not engine.chores
    assert not engine.coming_back
    assert engine.keeper._timer is None


def open_sockets() -> set[str]:
    """The sockets of this process; none where the system does not say."""
    found: set[str] = set()
    with suppress(FileNotFoundError):
        for number in os.listdir("/proc/self/fd"):
            with suppress(FileNotFoundError):  # the directory itself
                found.add(os.readlink(f"/proc/self/fd/{number}"))
    return {link for link in found if link.startswith("socket:")}


def start(work: Awaitable[Any]) -> asyncio.Task[Any]:
    """A task for it, which has run up to where it waits when the next `step` is over."""

    async def await_it() -> Any:
        return await work

    return asyncio.get_running_loop().create_task(await_it())


async def step(times: int = 3) -> None:
    """Let everybody go on who can, without any I/O."""
    for _ in range(times):
        await asyncio.sleep(0)


async def until(condition: Callable[[], object]) -> None:
    """Wait for something that is about to happen."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110 (whose event it is, is not the tests' business)
            await asyncio.sleep(0.001)


async def pid_of(p: pgwire.AsyncPool) -> int:
    """The backend that the next query runs on."""
    pid = (await p.query(PID)).scalar()
    assert isinstance(pid, int)
    return pid


async def open_connections(p: pgwire.AsyncPool, number: int) -> list[int]:
    """Open so many and leave them idle; the backends' pids."""
    leases = [await p.connect() for _ in range(number)]
    pids = [lease.backend_pid for lease in leases]
    for lease in leases:
        lease.release()
    return pids


async def ask(p: pgwire.AsyncPool, n: int) -> Any:
    return (await p.query("select $1::int", [n])).scalar()


async def burst(p: pgwire.AsyncPool, number: int) -> None:
    """So many queries at once, each of which gives its own answer."""
    futures = [p.query("select $1::int", [n]) for n in range(number)]
    answers = [result.scalar() for result in await asyncio.gather(*futures)]
    assert answers == list(range(number))


async def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """Call something blocking beside the loop; a thread of its own, which ends with it."""
    outcome: list[Any] = []
    loop = asyncio.get_running_loop()
    ended = loop.create_future()

    def call() -> None:
        try:
            outcome.append(function(*args))
        except BaseException as error:
            outcome.append(error)
        finally:
            loop.call_soon_threadsafe(ended.set_result, None)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    await ended
    thread.join(PATIENCE)
    if isinstance(outcome[0], BaseException):
        raise outcome[0]
    return outcome[0]


async def running(dsn: str, sql: str = SLEEP) -> list[int]:
    """The pids of those that run it now."""

    def look() -> list[int]:
        with pgwire.connect(dsn) as conn:
            return conn.query(
                "select pid from pg_stat_activity where query = $1 and state = 'active'", [sql]
            ).scalars()

    return await in_thread(look)  # type: ignore[no-any-return]


async def until_running(dsn: str, number: int, sql: str = SLEEP) -> list[int]:
    """Wait until so many run it; their pids."""
    async with asyncio.timeout(PATIENCE):
        while True:
            if len(pids := await running(dsn, sql)) == number:
                return pids
            await asyncio.sleep(0.002)


async def ended_with(task: Awaitable[Any]) -> BaseException | None:
    """What it raised; not to be used with what is cancelled from outside."""
    try:
        await task
    except BaseException as error:
        return error
    return None
