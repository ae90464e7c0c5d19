"""The hot code does no more than `benchmarks/guard.json` says, and the guard would notice."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def guard(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("guard")


@pytest.fixture
def guard_paths(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("guard_paths")


@pytest.mark.slow
def test_the_hot_code_does_no_more_than_it_did() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/guard.py"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_table_for_each_python_that_pgwire_is_for(guard: Any, guard_paths: Any) -> None:
    tables = guard.json.loads(guard.TABLE.read_text())
    assert tables.keys() >= {"3.11", "3.12", "3.13", "3.14", "3.15"}
    with ExitStack() as stack:
        names = [path.name for path in guard_paths.paths(stack)]
    for version, table in tables.items():
        # The newest are not on every machine: there a path may be missing until one of them has
        # counted it, which the guard itself asks for.
        newest = version not in {"3.11", "3.12", "3.13"}
        assert list(table) == [name for name in names if name in table or not newest]


def test_every_path_has_a_result(guard_paths: Any) -> None:
    with ExitStack() as stack:
        results = {path.name: path.run() for path in guard_paths.paths(stack)}
    assert results["one value, blocking"] == results["one value, asyncio"] == 7
    assert [len(results[f"{n} rows, {layout}"]) for n, layout in [
        ("1,000", "mixed"), ("1,000", "rich"), ("100", "wide"),
    ]] == [1000, 1000, 100]  # fmt: skip
    assert tuple(results["1,000 rows, mixed"][0])[:2] == (1, "item number 1")
    nulls = [value for row in results["1,000 rows, half NULL"] for value in row if value is None]
    assert 0.4 < len(nulls) / 6000 < 0.6


def test_counts_are_exact(guard: Any, guard_paths: Any) -> None:
    def step(number: int) -> int:
        return number + 1

    def run(times: int) -> list[int]:
        return [step(number) for number in map(abs, range(times))]

    few = guard.count(guard_paths.Path("few", lambda: run(100)))
    many = guard.count(guard_paths.Path("many", lambda: run(200)))
    assert many["calls"] - few["calls"] == 100
    assert many["instructions"] > few["instructions"]
    assert guard.count(guard_paths.Path("few", lambda: run(100))) == few
    each = guard.count(guard_paths.Path("each", lambda: run(100), 100))
    assert each["instructions"] == round(few["instructions"] / 100, 2)


def test_a_profile_says_what_is_called(guard: Any, guard_paths: Any) -> None:
    with ExitStack() as stack:
        path, *_ = guard_paths.paths(stack)
        assert "      1.0  connection.py:Connection.query\n" in guard.profile(path)


def test_what_is_kept_and_the_peak_are_counted(guard: Any, guard_paths: Any) -> None:
    small = guard.count(guard_paths.Path("small", lambda: [object() for _ in range(100)]))
    large = guard.count(guard_paths.Path("large", lambda: [object() for _ in range(5000)]))
    assert large["blocks"] - small["blocks"] == 4900
    assert large["peak"] > small["peak"] + 4900 * 16 / 1024


def figures(**more: float) -> dict[str, float]:
    usual = {"instructions": 1000.0, "calls": 20.0, "c_calls": 30.0, "blocks": 50, "peak": 90}
    return usual | more


@pytest.mark.parametrize(
    ("now", "worse", "better"),
    [
        (figures(), 0, 0),
        (figures(instructions=1030.0, peak=92), 0, 0),
        (figures(instructions=1031.0), 1, 0),
        (figures(calls=21.0, c_calls=31.0), 2, 0),
        (figures(blocks=55, peak=93), 2, 0),
        (figures(instructions=900.0), 0, 1),
        (figures(instructions=900.0, calls=22.0), 0, 1),
        (figures(instructions=900.0, blocks=90), 1, 1),
    ],
)
def test_three_per_cent_more_is_an_error_and_less_is_told(
    guard: Any, now: dict[str, float], worse: int, better: int
) -> None:
    found = guard.compare({"a path": now}, {"a path": figures()})
    assert list(map(len, found)) == [worse, better]


def test_the_message_names_path_and_figures(guard: Any) -> None:
    worse, _ = guard.compare({"a path": figures(calls=25.0)}, {"a path": figures()})
    assert worse == ["a path: calls of Python functions 20 -> 25 (+25.0%)"]
    worse, _ = guard.compare({"a path": figures()}, {})
    assert worse == ["a path: not in the table"]
