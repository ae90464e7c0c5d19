"""What an exception gives away: for tests that no secret is in it."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TESTS = str(Path(__file__).parent.parent)


def all_that_shows(error: BaseException) -> str:
    """Text, attributes, pickle and causes of the error, and the locals of all frames but tests'."""
    shown: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        shown += [str(current), repr(current), repr(vars(current)), repr(pickle.dumps(current))]
        shown += _locals(current)
        pending += [current.__cause__, current.__context__]
    return "\n".join(shown)


def _locals(error: BaseException) -> Iterator[str]:
    """As tools show them that print tracebacks with local variables."""
    for frame in traceback.TracebackException.from_exception(error, capture_locals=True).stack:
        if not frame.filename.startswith(_TESTS) and "pytest" not in frame.filename:
            yield f"{frame.filename}:{frame.lineno} {frame.locals}"
