"""Chores: what is done with a connection that is nobody's, each in a short-lived thread.

Opening, checking, resetting and closing, as the core's effects ask for it, each followed by its
report; and the hooks and events that belong to them. A chore always reports, whatever hooks
raise, and however long they or callbacks take: else its slot would be lost.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from pgwire.blocking.connection import Connection
from pgwire.errors import Error, OperationalError
from pgwire.log import pool_logger as logger
from pgwire.pool.effects import (
    CheckConnection,
    CloseConnection,
    OpenConnection,
    ResetConnection,
)
from pgwire.pool.options import CALLBACK_TIMEOUT, CHECK_TIMEOUT, OPEN_TIMEOUT, RESET_TIMEOUT
from pgwire.pool.reasons import bare
from pgwire.pool.released import take_away
from pgwire.pool.slots import CHECKING, CLOSING, OPENING
from pgwire.pool.telling import (
    GOES_ON,
    as_exception,
    left_behind,
    left_unfit,
    may_be_mended,
)
from pgwire.pool.waiters import Waiter
from pgwire.protocol.connecting import waiting_may_help
from pgwire.protocol.simple import Ping

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.pool.effects import Effect
    from pgwire.pool.engine import Engine
    from pgwire.pool.slots import Slot, SlotState

    Hook = Callable[[Connection], object]
    Chore = Callable[[Engine, Slot[Driver]], None]


def carry_out(engine: Engine, effect: Effect[Driver]) -> None:
    """Do what the core wants done with a slot. What goes wrong there is reported as well."""
    assert not isinstance(effect, Waiter)
    slot = effect.slot
    state = slot.state
    try:
        CHORES[type(effect)](engine, slot)
    except BaseException as error:  # memory was short, or a clock has raised
        give_up = partial(_give_up, engine, slot, state, bare(as_exception(error)))
        try:
            give_up()
        except BaseException as second:  # for the same reason
            engine.keeper.owe(give_up)
            if isinstance(error, Exception):
                error = second
        if not isinstance(error, Exception):
            raise error
        logger.exception("%s: what was done with a connection has failed", engine.options.name)


def _give_up(engine: Engine, slot: Slot[Driver], state: SlotState, error: Exception) -> None:
    """A chore could not report by itself, and may have left things as they were."""
    core = engine.core
    if slot.state is not state:
        return
    if state is OPENING:
        engine.opening_failed(slot, error, mendable=False)
    elif state is CLOSING:
        slot.connection.abort()
        engine.report(core.closed, slot)
    else:
        engine.report(core.checked if state is CHECKING else core.reset_done, slot, ok=False)


def open_connection(engine: Engine, slot: Slot[Driver]) -> None:
    try:
        driver = engine.opener.open(OPEN_TIMEOUT)
    except BaseException as error:  # SystemExit too, in a `password` function
        mendable = isinstance(error, Error) and waiting_may_help(error)
        engine.opening_failed(slot, as_exception(error), mendable=mendable)
        return
    try:
        engine.listeners.watch(driver, engine.options.clock)
        unfit = _introduce(engine, driver)
        if unfit is None:
            engine.opened(slot, driver)
            return
        mendable = may_be_mended(unfit, driver.session.failure)
        _close(driver)
    except BaseException:
        if slot.state is OPENING:
            driver.abort()  # nobody has it
        raise
    engine.opening_failed(slot, unfit, mendable=mendable)


def _introduce(engine: Engine, driver: Driver) -> Exception | None:
    """Show a new connection to the hook and the callbacks; what is wrong with it afterwards."""
    hook = engine.options.on_connect
    if hook is not None:
        failure = run_hook(engine, "on_connect", hook, driver, OPEN_TIMEOUT)
        if failure is not None:
            return failure
        driver.session.changed = False  # what it has set is how sessions begin here
    if "connect" in engine.listeners:
        _tell(engine, "connect", Connection(driver))
        if not driver.clean(False):
            return left_unfit('a callback for "connect"', driver.session.failure)
    return None


def check_connection(engine: Engine, slot: Slot[Driver]) -> None:
    try:
        slot.connection.run(Ping(), CHECK_TIMEOUT)
    except BaseException:  # a listener of the connection may raise anything
        engine.report(engine.core.checked, slot, ok=False)
    else:  # it may have told that it has another role
        engine.report(engine.core.checked, slot, ok=slot.connection.is_in_step)


def reset_connection(engine: Engine, slot: Slot[Driver]) -> None:
    """The reset that needs answers: a user's hook, or `on_connect` after a full reset."""
    driver, options = slot.connection, engine.options
    if options.reset is not None:
        name, hook, full = "reset", options.reset, False
    else:
        assert options.on_connect is not None  # else there would be nothing to wait for
        name, hook, full = "on_connect", options.on_connect, True
    failure: Exception | None = OperationalError("it was closed or in use")
    if driver.clean(full):
        failure = _see_it_cleaned(driver) or run_hook(engine, name, hook, driver, RESET_TIMEOUT)
    if failure is not None:
        logger.warning("%s: resetting a connection failed: %s", options.name, failure)
    driver.session.changed = False
    driver.given_up = failure is not None
    engine.report(engine.core.reset_done, slot, ok=failure is None)


def _see_it_cleaned(driver: Driver) -> Exception | None:
    """Read the answers of its cleaning: a hook need not talk to the server at all."""
    try:
        driver.run(Ping(), RESET_TIMEOUT)
    except BaseException as error:
        return as_exception(error)
    return None


def close_connection(engine: Engine, slot: Slot[Driver]) -> None:
    driver = slot.connection
    failure = driver.session.failure
    _close(driver)
    connection = Connection(driver)
    if failure is not None and not driver.given_up:
        logger.info("%s: an idle connection was lost: %s", engine.options.name, failure)
        _tell(engine, "error", connection, failure)
    _tell(engine, "remove", connection)
    engine.report(engine.core.closed, slot)


def _close(driver: Driver) -> None:
    """Close what is nobody's any more: who still runs something on it is not waited for."""
    if not driver.session.in_step:
        driver.interrupt()
    driver.close()


def _tell(engine: Engine, event: str, connection: Connection, *before: object) -> None:
    """Call the callbacks for an event of a connection that is nobody's, and wait for them.

    They have a thread of their own. What takes too long goes on beside, without the connection.
    """
    if event not in engine.listeners:
        return
    emit = partial(engine.listeners.emit, event, *before, connection)
    try:
        if engine.guests.wait_for(emit, CALLBACK_TIMEOUT):
            return
    except RuntimeError:  # there are too many threads, or the interpreter is on its way out
        emit()
        return
    take_away(connection)
    if not engine.guests.is_over:
        logger.warning(GOES_ON, engine.options.name, event, CALLBACK_TIMEOUT)


def run_hook(
    engine: Engine, name: str, hook: Hook, driver: Driver, timeout: float
) -> Exception | None:
    """Run a user's hook on a connection that is nobody's; what went wrong, if anything.

    The hook has a thread of its own. One that takes too long is left to itself, and its
    connection is cut, so that whatever it does there next raises.
    """
    failures: list[Exception] = []

    def run() -> None:
        try:
            with engine.listeners.running(hook):
                hook(Connection(driver))
        except BaseException as error:  # SystemExit too: it is nobody's main program
            failures.append(as_exception(error))

    try:
        has_ended = engine.guests.wait_for(run, timeout)
    except RuntimeError as error:  # too many threads, or the interpreter is on its way out
        return error
    if not has_ended:
        driver.interrupt(always=True)
        return left_behind(name, None if engine.guests.is_over else timeout)
    if failures:
        return failures.pop()  # which has this list among its frames
    if not driver.clean(False):
        return left_unfit(name, driver.session.failure)
    return None


CHORES: dict[type[Any], Chore] = {
    OpenConnection: open_connection,
    CheckConnection: check_connection,
    ResetConnection: reset_connection,
    CloseConnection: close_connection,
}
