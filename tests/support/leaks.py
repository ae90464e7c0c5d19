"""What an exception gives away: for tests that no secret is in it."""

from __future__ import annotations

import pickle
import traceback
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType


def all_that_shows(error: BaseException) -> str:
    """Text, attributes, pickle and causes of the error, and the locals of pgwire's own frames."""
    shown: list[str] = []
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None:
            continue
        shown += [str(current), repr(current), repr(vars(current)), repr(pickle.dumps(current))]
        shown += _locals_of_pgwire(current.__traceback__)
        pending += [current.__cause__, current.__context__]
    return "\n".join(shown)


def _locals_of_pgwire(tb: TracebackType | None) -> list[str]:
    return [
        repr(frame.f_locals)
        for frame, _ in traceback.walk_tb(tb)
        if frame.f_globals["__name__"].startswith("pgwire.")
    ]
