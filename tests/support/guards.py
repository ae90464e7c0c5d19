"""Fixtures for all tests of connections; a conftest imports them, and they use themselves."""

from __future__ import annotations

import faulthandler
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG = 30.0
_shown_on = 2


def show_here() -> None:
    """What is standard error now is where stacks are shown; pytest captures it afterwards."""
    global _shown_on
    _shown_on = os.dup(2)


def go_on(seconds: float = HANG) -> None:
    """Whoever does not say so again within these seconds hangs, which ends the run.

    For tests that take long where the machine is busy: each round of them is to get on.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=_shown_on)


@pytest.fixture(autouse=True)
def watch() -> Iterator[None]:
    """A test that hangs ends the run, with the stacks of all threads."""
    go_on()
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the environment says about PostgreSQL is not for these tests."""
    for name in os.environ:
        if name.startswith("PG") and not name.startswith("PGWIRE"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")  # in place of the one in $HOME
