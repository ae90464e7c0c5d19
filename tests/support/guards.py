"""Fixtures for all tests of connections; a conftest imports them, and they use themselves."""

from __future__ import annotations

import faulthandler
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_HANG = 30.0


@pytest.fixture(autouse=True)
def watch() -> Iterator[None]:
    """A test that hangs ends the run, with the stacks of all threads."""
    faulthandler.dump_traceback_later(_HANG, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about PostgreSQL is not for these tests."""
    for name in os.environ:
        if name.startswith("PG") and not name.startswith("PGWIRE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")  # in place of the one in $HOME
