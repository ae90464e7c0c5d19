"""Reasons: errors that a pool keeps, and what of them it keeps.

Why an opening failed is told to all whose time runs out, until one succeeds. A traceback has every
frame that the error came through, and these what was in them: leases, what a hook was about, the
objects of whoever it was raised to, for as long. So none is kept, and each who is told has an error
of his own: one that several threads raise at once would have the frames of all of them.
"""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any, TypeVar

from pgwire.errors import Error, OperationalError

if TYPE_CHECKING:
    from types import TracebackType

    from pgwire.pool.waiters import Waiter

E = TypeVar("E", bound=BaseException)


def bare(error: Exception) -> Exception:
    """A copy, with copies of what it came of, and no frames.

    Where user code has raised it stands in a note.
    """
    first = made = _copied(error)
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:  # there are those that are their own
        seen.add(id(cause))
        made.__cause__ = _copied(cause)
        made, cause = made.__cause__, cause.__cause__
    assert isinstance(first, Exception)
    return first


def take_error(waiter: Waiter[Any]) -> Exception:
    """Why it failed, to be raised. It keeps a copy: who raises it has it in his frames."""
    error = waiter.error
    assert error is not None
    waiter.error = bare(error)
    return error


def _copied(error: BaseException) -> BaseException:
    for make in (_derived, copy, _made_anew):
        with suppress(Exception):
            made = make(error)
            if made is not error and type(made) is type(error):
                made.__traceback__ = made.__cause__ = made.__context__ = None
                _note_place(made, error)
                return made
    return OperationalError(f"{type(error).__qualname__}: {error}")


def _derived(group: BaseException) -> BaseException:
    """Of a group, which copies would share its members with."""
    assert isinstance(group, BaseExceptionGroup)
    return group.derive([_copied(error) for error in group.exceptions])


def _made_anew(error: E) -> E:
    """Of a class whose `__init__` takes something else than `args`."""
    kind = type(error)
    made = kind.__new__(kind, *error.args)
    made.__dict__.update(error.__dict__)
    return made


def _note_place(made: BaseException, error: BaseException) -> None:
    notes = [*getattr(error, "__notes__", ())]
    traceback: TracebackType | None = error.__traceback__
    if traceback is not None and not isinstance(error, Error):
        while traceback.tb_next is not None:
            traceback = traceback.tb_next
        code = traceback.tb_frame.f_code
        notes.append(f"raised at {code.co_filename}:{traceback.tb_lineno}, in {code.co_name}")
    if notes:
        made.__notes__ = notes
