"""Ctrl-C at a moment of one's choice: the n-th of those at which Python looks for it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, but ours."""


class Strike:
    """Ctrl-C the n-th time that Python looks for it while the calling thread is in these files.

    It looks when a function begins and when a built-in one has returned. (And at the end of a
    loop's body, which changes nothing here.)
    """

    def __init__(self, nth: int, files: frozenset[str]) -> None:
        self._left = nth
        self.files = files
        self.at = ""

    def __call__(self, frame: FrameType, event: str, _arg: object) -> None:
        if event not in ("call", "c_return") or frame.f_code.co_filename not in self.files:
            return
        self._left -= 1
        if self._left < 0 and not self.at:
            self.at = f"{frame.f_code.co_filename}:{frame.f_lineno}"
            raise Interrupted


def strike_at(nth: int, call: Callable[[], object], files: frozenset[str]) -> str:
    """Where it struck; nowhere if there were not so many moments."""
    strike = Strike(nth, files)
    sys.setprofile(strike)
    try:
        call()
    except Interrupted:
        pass
    finally:
        sys.setprofile(None)
    return strike.at
