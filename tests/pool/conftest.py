"""A watch for the tests of the pool that talk to a server: one that hangs says where."""

from __future__ import annotations

import faulthandler
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANG = 60.0


@pytest.fixture(autouse=True)
def watch(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that hangs ends the run, with the stacks of all threads."""
    if "server" not in request.fixturenames:
        yield
        return
    faulthandler.dump_traceback_later(_HANG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
