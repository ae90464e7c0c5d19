"""Chores: what is done with a connection that is nobody's, each in a task.

Opening, checking, resetting and closing, as the core's effects ask for it, each followed by its
report; and the hooks and events that belong to them. A chore always reports, whatever hooks
raise, or whoever cancels it: else its slot would be lost. It is told by the state of its slot, so
that one that Ctrl-C has prevented can be begun again; of two for the same only one does anything.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from contextvars import Context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any

from pgwire.aio.connection import AsyncConnection
from pgwire.driving import CLOSE_PATIENCE
from pgwire.errors import ConnectionFailed, Error, OperationalError
from pgwire.log import pool_logger as logger
from pgwire.pool.options import CALLBACK_TIMEOUT, CHECK_TIMEOUT, OPEN_TIMEOUT, RESET_TIMEOUT
from pgwire.pool.released import take_away
from pgwire.pool.slots import CHECKING, CLOSING, OPENING, RESETTING
from pgwire.pool.telling import (
    GOES_ON,
    as_exception,
    left_behind,
    left_unfit,
    may_be_mended,
)
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pgwire.aio.driver import AsyncDriver
    from pgwire.pool.aio_engine import AsyncEngine
    from pgwire.pool.slots import Slot, SlotState

    Hook = Callable[[AsyncConnection], object]
    Chore = Callable[[AsyncEngine, Slot[AsyncDriver]], Coroutine[Any, Any, None]]


CANCELLED = "the opening was cancelled"


def begin(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    """Do what the core wants done with a slot. Nobody's work, and so in nobody's context."""
    state = slot.state
    if state in CHORES:
        task = engine.spawn(_do(engine, slot, state), Context())
        task.add_done_callback(partial(_ended, engine, slot, state))


async def _do(engine: AsyncEngine, slot: Slot[AsyncDriver], state: SlotState) -> None:
    key, task = (slot, state), asyncio.current_task()
    if slot.state is not state or key in engine.chores:
        return  # it was begun twice
    assert task is not None
    try:
        engine.chores[key] = task
        await CHORES[state](engine, slot)
    finally:
        engine.chores.pop(key, None)


def _ended(
    engine: AsyncEngine, slot: Slot[AsyncDriver], state: SlotState, task: asyncio.Task[None]
) -> None:
    """One that was cancelled before its first step, or that Ctrl-C struck, has not reported."""
    error = None if task.cancelled() else task.exception()
    if not task.cancelled() and error is None:
        return
    if isinstance(error, Exception):  # a clock has raised, or memory was short
        name = engine.options.name
        logger.error("%s: what was done with a connection has failed", name, exc_info=error)
    if (slot, state) not in engine.chores:
        with suppress(Exception):  # the same again: the mending does it
            give_up(engine, slot, state)


def give_up(engine: AsyncEngine, slot: Slot[AsyncDriver], state: SlotState) -> None:
    """Report for a chore that has not done so, and never will. What cannot be told is noted."""
    if slot.state is not state:
        return
    try:
        if state is OPENING:
            engine.opening_failed(slot, ConnectionFailed(CANCELLED), mendable=True)
        elif state is CLOSING:
            slot.connection.abort()
            engine.report(engine.core.closed, slot)
        elif state is CHECKING:
            engine.report(engine.core.checked, slot, ok=False)
        else:
            engine.report(engine.core.reset_done, slot, ok=False)
    except Exception:
        if slot.state is state:
            engine.chores[slot, state] = None
        raise


async def open_connection(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    if engine.aborting:
        engine.opening_failed(slot, ConnectionFailed(CANCELLED), mendable=True)
        return
    try:
        driver = await engine.opener.open(OPEN_TIMEOUT)
    except BaseException as error:  # SystemExit too, in a `password` function
        cancelled = isinstance(error, asyncio.CancelledError)
        failure = ConnectionFailed(CANCELLED) if cancelled else None
        mendable = cancelled or (isinstance(error, Error) and waiting_may_help(error))
        engine.opening_failed(slot, failure or as_exception(error), mendable=mendable)
        if cancelled:
            raise
        return
    try:
        engine.listeners.watch(driver, engine.options.clock)
        unfit = await _introduce(engine, driver)
        if unfit is None:
            engine.opened(slot, driver)
            return
    except BaseException:  # Ctrl-C
        if slot.state is OPENING:
            driver.abort()  # nobody has it
        raise
    mendable = may_be_mended(unfit, driver.session.failure)
    try:
        if driver.session.pending:
            await driver.interrupt()
        await driver.close()
    finally:
        driver.abort()
        engine.opening_failed(slot, unfit, mendable=mendable)


async def _introduce(engine: AsyncEngine, driver: AsyncDriver) -> Exception | None:
    """Show a new connection to the hook and the callbacks; what is wrong with it afterwards."""
    hook = engine.options.on_connect
    if hook is not None:
        failure = await run_hook(engine, "on_connect", hook, driver, OPEN_TIMEOUT)
        if failure is not None:
            return failure
        driver.session.changed = False  # what it has set is how sessions begin here
    if "connect" in engine.listeners:
        try:
            connection = AsyncConnection(driver)
            if late := await engine.listeners.emit_connect(connection, CALLBACK_TIMEOUT):
                engine.let_go(late)
                take_away(connection)
                logger.warning(GOES_ON, engine.options.name, "connect", CALLBACK_TIMEOUT)
            await driver.wait_idle(CALLBACK_TIMEOUT)
        except asyncio.CancelledError as error:
            return as_exception(error)
        if not driver.clean(False):
            return left_unfit('a callback for "connect"', driver.session.failure)
    return None


async def check_connection(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    ok = False
    try:
        await slot.connection.submit(Ping(), CHECK_TIMEOUT)
        ok = slot.connection.is_in_step  # it may have told that it has another role
    except Error:
        pass
    finally:
        engine.report(engine.core.checked, slot, ok=ok)


async def reset_connection(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    """The reset that needs answers: a user's hook, or `on_connect` after a full reset."""
    driver, options = slot.connection, engine.options
    if options.reset is not None:
        name, hook, full = "reset", options.reset, False
    else:
        assert options.on_connect is not None  # else there would be nothing to wait for
        name, hook, full = "on_connect", options.on_connect, True
    failure: Exception | None = OperationalError("it was closed or in use")
    try:
        if driver.clean(full):
            failure = await _see_it_cleaned(driver)
            if failure is None:
                failure = await run_hook(engine, name, hook, driver, RESET_TIMEOUT)
        if failure is not None:
            logger.warning("%s: resetting a connection failed: %s", options.name, failure)
    finally:
        driver.session.changed = False
        driver.given_up = failure is not None
        engine.report(engine.core.reset_done, slot, ok=failure is None)


async def _see_it_cleaned(driver: AsyncDriver) -> Exception | None:
    """Read the answers of its cleaning: a hook need not talk to the server at all."""
    try:
        await driver.submit(Ping(), RESET_TIMEOUT)
    except Error as error:
        return error
    return None


async def close_connection(engine: AsyncEngine, slot: Slot[AsyncDriver]) -> None:
    driver = slot.connection
    try:
        wanted = not (engine.aborting or driver.given_up)
        if driver.session.pending and not (wanted and await driver.wait_idle(CLOSE_PATIENCE)):
            await driver.interrupt()  # else it was being cleaned
        failure = await driver.say_why_lost()
        await driver.close()
        connection = AsyncConnection(driver)
        if failure is not None and not driver.given_up:
            logger.info("%s: an idle connection was lost: %s", engine.options.name, failure)
            engine.listeners.emit("error", failure, connection)
        engine.listeners.emit("remove", connection)
    finally:
        driver.abort()
        engine.report(engine.core.closed, slot)


async def run_hook(
    engine: AsyncEngine, name: str, hook: Hook, driver: AsyncDriver, timeout: float
) -> Exception | None:
    """Run a user's hook on a connection that is nobody's; what went wrong, if anything.

    A coroutine that takes too long is cancelled, and not waited for any more: its connection is
    cut. A plain function holds up the loop.
    """
    task: asyncio.Task[Exception | None] = engine.spawn(_call_hook(engine, hook, driver))
    try:
        await asyncio.wait((task,), timeout=timeout)
    except asyncio.CancelledError as error:
        task.cancel()
        engine.let_go((task,))
        try:
            await driver.interrupt(always=True)  # what it runs there ends on the server as well
        finally:
            driver.abort()
        return as_exception(error)
    if not task.done():
        task.cancel()
        engine.let_go((task,))
        await driver.interrupt(always=True)
        return left_behind(name, timeout)
    if (failure := task.result()) is not None:
        return failure
    if not driver.clean(False):
        return left_unfit(name, driver.session.failure)
    return None


async def _call_hook(engine: AsyncEngine, hook: Hook, driver: AsyncDriver) -> Exception | None:
    """What it raised, be it the end of the program: that is not a hook's to decide."""
    try:
        with engine.listeners.running(hook):
            result = hook(AsyncConnection(driver))
            if isawaitable(result):
                await result
    except BaseException as error:
        return as_exception(error)
    return None


CHORES: dict[SlotState, Chore] = {
    OPENING: open_connection,
    CHECKING: check_connection,
    RESETTING: reset_connection,
    CLOSING: close_connection,
}
