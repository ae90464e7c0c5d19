"""examples/pooling.py says what it does, in this order, on either event loop."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.examples.support import environment
from tests.pool.support import ROOT

SCRIPT = "examples/pooling.py"
LINES = """\
starting async query
async query finished
starting callback query
calling end
callback query finished
pool has drained
"""
ON_UVLOOP = """
import asyncio, sys, uvloop
sys.path.insert(0, "examples")
import pooling
with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(pooling.main(sys.argv[1]))
"""


def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
    """Its exit status, what it printed, and its complaints."""
    done = subprocess.run(
        [sys.executable, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | settings,
        timeout=30,
    )
    return done.returncode, done.stdout, done.stderr


def test_its_lines(dsn: str) -> None:
    assert run("-W", "error", SCRIPT, dsn) == (0, LINES, "")


def test_its_lines_on_uvloop(dsn: str) -> None:
    assert run("-W", "error", "-c", ON_UVLOOP, dsn) == (0, LINES, "")


def test_the_environment_names_the_server_too(dsn: str) -> None:
    assert run(SCRIPT, **environment(dsn)) == (0, LINES, "")


@pytest.mark.usefixtures("embedded_server")  # where there is one, the example can start another
def test_without_a_word_it_brings_its_own_server() -> None:
    assert run(SCRIPT) == (0, LINES, "")


def test_a_mistake_is_one_line() -> None:
    status, _, complaint = run(SCRIPT, "hots=db")
    assert status == 1
    assert complaint.splitlines() == [
        "ProgrammingError: connection string, position 1: unknown parameter 'hots'; "
        "did you mean 'host'?"
    ]
