"""A test that hangs: the run of all tests comes to its end, and says which one it was."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.guards import go_on, watch as watch

ROOT = Path(__file__).parents[1]
CONFTEST = """
from tests.support import guards

def pytest_configure():
    guards.show_here()
    guards.end_forked_children(1)
"""
HANGS = """
import os, time
import pytest
from tests.support import guards

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    if number == {number}:
        {before}
        guards.go_on(1.0)
        time.sleep(600)
"""
OTHERS = """
import pytest

@pytest.mark.parametrize("number", range(6))
def test_other(number):
    pass
"""
FORK = "if not os.fork(): time.sleep(600)"


def options() -> list[str]:
    """As `make test` has them, for two processes."""
    found = re.search(r"^PYTEST := \S+ -m pytest (.*)$", (ROOT / "Makefile").read_text(), re.M)
    assert found
    return found[1].replace("$(JOBS)", "2").split()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
@pytest.mark.parametrize(
    ("number", "before"), [(1, "pass"), (5, FORK)], ids=["among others", "the last, with a child"]
)
def test_it_fails_by_name_and_all_others_are_run(tmp_path: Path, number: int, before: str) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_hangs.py").write_text(HANGS.format(number=number, before=before))
    (tmp_path / "test_before.py").write_text(OTHERS)
    command = [sys.executable, "-m", "pytest", "-q", "--rootdir", str(tmp_path), "-c", os.devnull]
    go_on(180.0)
    done = subprocess.run(
        [*command, "-W", "ignore", "-p", "no:cacheprovider", *options(), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stdout
    assert f"crashed while running 'test_hangs.py::test_it[{number}]'" in done.stdout
    assert "1 failed, 11 passed" in done.stdout
    assert "Timeout (0:00:01)!" in done.stderr
