"""Which event loop something belongs to, and what to say when it is used from another one.

And what the connections of a loop have in common.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from asyncio.selector_events import BaseSelectorEventLoop
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

BUFFER = 65_536  # more is no faster

_buffers: WeakKeyDictionary[AbstractEventLoop, memoryview] = WeakKeyDictionary()


def read_buffer(loop: AbstractEventLoop) -> memoryview:
    """Where a connection reads into, and copies from before anything else happens.

    One for all connections of a loop that reads when the bytes are there, between asking for
    the buffer and telling that it is filled: so an idle connection costs none. A loop that hands
    the buffer to the system and waits (Windows' proactor, or one that is not known) needs one for
    each.
    """
    if not (isinstance(loop, BaseSelectorEventLoop) or type(loop).__module__ == "uvloop"):
        return memoryview(bytearray(BUFFER))
    view = _buffers.get(loop)
    if view is None:
        view = _buffers[loop] = memoryview(bytearray(BUFFER))
    return view


def running_loop(what: str) -> AbstractEventLoop:
    """The loop that runs in this thread; InterfaceError if none does."""
    loop = _get_running_loop()
    if loop is None:
        raise InterfaceError(f"no event loop is running here: use the {what} inside a coroutine")
    return loop


def check_loop(own: AbstractEventLoop, what: str) -> None:
    """Raise InterfaceError unless `own` is the loop that runs in this thread."""
    loop = _get_running_loop()
    if loop is own:
        return
    if loop is None:
        raise InterfaceError(
            f"no event loop is running in this thread; the {what} belongs to {own!r}"
        )
    closed = ", which is closed" if own.is_closed() else ""
    raise InterfaceError(
        f"the {what} belongs to another event loop than the one that runs here: to {own!r}"
        f"{closed}, not {loop!r}; make it where it is used"
    )
