"""Which event loop something belongs to, and what to say when it is used from another one.

And how much is read at a time.
"""

from __future__ import annotations

from asyncio import _get_running_loop
from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Transport

RECEIVE = 65_536  # more is no faster


def read_little(transport: Transport) -> None:
    """Have a transport of asyncio's own take so much memory to read into, and not 256 KiB.

    That would be a new mapping for each read, which costs as much as a query. Other transports
    read into a buffer that they have.
    """
    if hasattr(transport, "max_size"):
        transport.max_size = RECEIVE


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
