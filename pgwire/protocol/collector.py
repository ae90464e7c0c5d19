"""Sparing the garbage collector where very many objects are made, none of which can be garbage.

It runs for every 700 that are made and still there, and then and again over all that the program
has: rows with lists, dicts and UUIDs, 50,000 of them, would cost three full collections.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")

_resting: list[None] = []  # one for each call that will have it go on


def go_on_after_fork() -> None:
    """In a forked child: whoever had it rest is not there to have it go on."""
    if _resting:
        _resting.clear()
        gc.enable()


def uncollected(make: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `make` returns. The garbage collector rests meanwhile, in all threads.

    It is for what takes milliseconds. Ctrl-C can strike neither before `try` nor within `finally`.
    A program that disables the collector in another thread meanwhile finds it enabled again.
    """
    was_enabled = gc.isenabled()
    try:
        if was_enabled:
            _resting.append(None)
            gc.disable()
        return make(*args, **kwargs)
    finally:
        if was_enabled:
            if _resting:  # else it was `make` that has forked
                del _resting[-1]
            gc.enable()
