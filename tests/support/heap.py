"""What lives as long as the run is nothing for the garbage collector to look through.

Tests have it look for what they have left, thousands of times. With the items of all tests each
look takes a quarter of a second.
"""

from __future__ import annotations

import gc
from types import FunctionType


def set_aside() -> None:
    """What there is now, but for garbage, is not looked at any more."""
    gc.collect()
    gc.freeze()


def functions() -> list[FunctionType]:
    """All that there are: of what is set aside `gc` tells nothing."""
    gc.unfreeze()
    found = [thing for thing in gc.get_objects() if isinstance(thing, FunctionType)]
    set_aside()
    return found
