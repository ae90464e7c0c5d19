"""Losing: what an operation is told that will never be answered, as its connection has ended.

Whoever asked wants to know whether it was carried out. What has not been written was not; of what
has been, nobody knows: the server may have come to its end, COMMIT included, before its answer was
lost. So the error says which of the two it is, unless it makes no difference.

Each is told by an error of its own, as it will be raised; the session keeps another.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, TypeVar

from pgwire.errors import ConnectionLost, PostgresError

if TYPE_CHECKING:
    from pgwire.errors import Error
    from pgwire.protocol.operation import Operation

_Raised = TypeVar("_Raised", bound=BaseException)
_UNKNOWN = "whether the server has carried it out is not known"


def untraced(error: _Raised) -> _Raised:
    """The same error, and what it came of, but not where they were raised.

    For a session to keep, or to tell once more what it has kept. A traceback has all that was in
    the frames it went through: a lease that was lost there could not be collected for as long as
    the pool has the session, and that the error.
    """
    bare = copy(error)
    cause, bare.__cause__ = error.__cause__, None
    if cause is not None:
        with suppress(Exception):  # of a class that cannot be copied
            bare.__cause__ = untraced(cause)
    return bare


def lost_at_head(operation: Operation, failure: Error) -> Error:
    """For the one whose answer was awaited: why the connection has ended."""
    if not (operation.has_effects and isinstance(failure, ConnectionLost)):
        return failure
    told: ConnectionLost
    if isinstance(failure, PostgresError):  # the server's own words, which stay as they are
        told = said = copy(failure)
        said.hint = _UNKNOWN if failure.hint is None else f"{failure.hint}\n{_UNKNOWN}"
    else:
        told = ConnectionLost(f"{failure}; {_UNKNOWN}")
    told.__cause__ = failure.__cause__
    return told


def lost_behind(operation: Operation, failure: Error, *, written: bool) -> Error:
    """For one that stood behind others; some of it, at least, was `written`, or nothing."""
    if not written:
        text = "the connection was lost before this was sent"
    elif operation.has_effects:
        text = f"the connection was lost before this was answered; {_UNKNOWN}"
    else:
        text = "the connection was lost before this was answered"
    told = ConnectionLost(text)
    told.sent = written
    told.__cause__ = failure
    return told
