"""Feeding: async iterables as sources of what an operation sends.

A task goes through the source and puts what it gives into an `Inlet`, from which the operation
takes when it has room to write. It begins when the operation wants something, waits as long as
that has enough, and ends with it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from pgwire.protocol.sources import Inlet, is_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.aio.driver import AsyncDriver
    from pgwire.aio.future import QueryFuture
    from pgwire.protocol.operation import Operation

    Start = Callable[[Operation, float | None], QueryFuture]


async def sent(
    start: Start,
    make: Callable[[Any], Operation],
    source: Any,
    weigh: Callable[[Any], int],
    timeout: float | None,
) -> Any:
    """Run the operation that `make` makes of a source, async or not; its result."""
    if not is_async(source):
        return await start(make(source), timeout)
    inlet = Inlet(weigh)
    wanted = asyncio.Event()
    inlet.on_wanted = wanted.set
    future = start(make(inlet), timeout)
    task = asyncio.create_task(_feed(inlet, source, wanted, future))
    try:
        return await future
    finally:
        task.cancel()
        await asyncio.wait((task,))
        if not task.cancelled():
            task.exception()  # it has been told: not to be reported as unheard


async def _feed(inlet: Inlet, source: Any, wanted: asyncio.Event, future: QueryFuture) -> None:
    await wanted.wait()
    driver = cast("AsyncDriver", future.runner)
    items: Any = None
    try:
        items = aiter(source)
        async for item in items:
            inlet.put(item)
            driver.write_soon()
            if inlet.is_full:
                wanted.clear()
                await wanted.wait()
    except BaseException as error:
        inlet.end(error)
        if not isinstance(error, Exception):
            raise
    else:
        inlet.end()
    finally:
        driver.write_soon()
        if hasattr(items, "aclose"):
            await items.aclose()
