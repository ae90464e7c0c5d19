"""File descriptors, warnings, memory and time."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import warnings

import pgwire
from tests.support.files import no_file_left_open


def test_a_connection_that_is_forgotten_does_not_stay_open(dsn: str) -> None:
    with no_file_left_open(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        conn = pgwire.connect(dsn)
        conn.query("select 1")
        del conn
        gc.collect()


def test_a_program_that_does_everything_right_has_nothing_to_be_warned_of(dsn: str) -> None:
    program = """
import gc, sys, pgwire
for _ in range(3):
    with pgwire.connect(sys.argv[1]) as conn:
        conn.query("select 1")
        try:
            conn.query("select pg_sleep(9)", timeout=0.01)
        except pgwire.QueryTimeout:
            pass
    try:
        pgwire.connect(sys.argv[1], dbname="nowhere")
    except pgwire.ConnectionFailed:
        pass
    gc.collect()
assert "asyncio" not in sys.modules
print("well")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program, dsn],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        timeout=30,
    )
    assert (done.stdout, done.stderr) == ("well\n", "")
