"""The benchmarks run, and say what they should. How fast anything is, is not judged here."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from pgwire import embedded

ROOT = Path(__file__).parent.parent


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("harness")


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("turns")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("report")


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("ways")


@pytest.fixture
def chart(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("chart")


def run(script: str, *options: str) -> tuple[str, str]:
    """What a benchmark prints on standard output and standard error."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{script}", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def has_tls() -> bool:
    try:
        embedded.find_installation("openssl")
    except embedded.Unavailable:
        return False
    return True


# ---------------------------------------------------------------- the scripts


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_handshake_vs_pool(tmp_path: Path) -> None:
    out, err = run("handshake_vs_pool.py", "--quick", "--out", str(tmp_path))
    logins = ["trust", "SCRAM", *["SCRAM over TLS"] * has_tls()]
    names = [f"{login}, {threads}" for login in logins for threads in ("1 thread", "8 threads")]
    facts = json.loads((tmp_path / "handshake_vs_pool.json").read_text())
    assert [(case["login"], case["threads"]) for case in facts["cases"]] == [
        (login, threads) for login in logins for threads in (1, 8)
    ]
    for case in facts["cases"]:
        assert case["connect"]["calls"] >= case["threads"]
        assert 0 < case["pool"]["median"] <= case["pool"]["p99"]
        assert case["ratio"]["median"] > 0
    assert {"date", "command", "machine", "versions"} <= facts.keys()
    table = (tmp_path / "handshake_vs_pool.md").read_text()
    for name in names:
        assert f"| {name} " in out
        assert f"| {name} " in table
    assert facts["command"] in table
    svg = ElementTree.parse(tmp_path / "handshake_vs_pool.svg")
    texts = ["".join(text.itertext()) for text in svg.iter("{http://www.w3.org/2000/svg}text")]
    assert set(names) <= set(texts)
    assert ("without TLS: " in err) != has_tls()


# Something of every kind: by each clock, in other processes, with pools, tasks and threads.
WORKLOADS = [
    "one value", "one row by key", "100 rows, mixed", "1,000 rows, rich", "100 rows, wide",
    "1 MB of bytea", "10,000 inserts", "first query on a new connection", "connect, SCRAM",
    "checkout and release, asyncio", "10 tasks on a pool of 10", "8 threads on a pool of 8",
    "import",
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_suite(tmp_path: Path) -> None:
    for peer in ("asyncpg", "psycopg_pool", "psycopg2", "pg8000"):
        pytest.importorskip(peer, reason="of the extra bench")
    out, _ = run("suite.py", "--quick", "--only", *WORKLOADS, "--out", str(tmp_path))
    facts = json.loads((tmp_path / "suite.json").read_text())
    results = facts["results"]
    assert set(WORKLOADS) <= results.keys()
    assert {"date", "command", "machine", "versions", "loop", "pinned"} <= facts.keys()
    for name, workload in results.items():
        assert f"| {name} " in out
        assert workload["variants"][workload["reference"]]["ratio"]["median"] == 1
        for figures in workload["variants"].values():
            assert figures[workload["clock"]]["median"] > 0
    peers = {"pgwire", "pgwire, asyncio", "asyncpg", "psycopg", "psycopg, asyncio"}
    peers |= {"psycopg2", "pg8000"}
    assert peers <= results["one value"]["variants"].keys()
    assert peers <= results["10,000 inserts"]["variants"].keys()
    ElementTree.parse(tmp_path / "suite.svg")


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_suite_keeps_what_was_not_measured_again(tmp_path: Path) -> None:
    pytest.importorskip("asyncpg", reason="of the extra bench")
    for name in ("one value", "one row by key"):
        run("suite.py", "--quick", "--peers", "asyncpg", "--only", name, "--out", str(tmp_path))
    results = json.loads((tmp_path / "suite.json").read_text())["results"]
    assert list(results) == ["one value", "one row by key"]
    assert results["one value"]["variants"].keys() == {"pgwire", "pgwire, asyncio", "asyncpg"}


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_waiting(tmp_path: Path) -> None:
    out, _ = run("waiting.py", "--quick", "--out", str(tmp_path))
    results = json.loads((tmp_path / "waiting.json").read_text())["results"]
    assert 0 < results["waits"]["median"] <= results["waits"]["p99"]
    assert results["spike"]["seconds"] > 0
    assert "times the median (mark: 1.5)" in out


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_parts(tmp_path: Path) -> None:
    name = "1,000 rows, mixed"
    out, _ = run("parts.py", "--quick", "--only", name, "--out", str(tmp_path))
    parts = json.loads((tmp_path / "parts.json").read_text())["results"][name]
    assert {"query", "bare", "decode", "rows"} <= parts.keys()
    for part in parts.values():
        assert 0 < part["cpu"]["median"] < 10 * part["wall"]["median"]
    assert "| 1,000 rows, mixed |" in out


@pytest.mark.slow
@pytest.mark.usefixtures("embedded_server")
def test_ways(tmp_path: Path) -> None:
    out, _err = run("ways.py", "--quick", "--out", str(tmp_path))
    facts = json.loads((tmp_path / "ways.json").read_text())
    for choice in facts["results"].values():
        first, *others = choice["ways"].values()
        assert first["ratio"]["median"] == 1
        assert all(other["ratio"]["median"] > 0 for other in others)
    assert all(f"| {title} " in out for title in facts["results"])


def test_the_table_of_ways_is_that_of_the_results(ways: Any) -> None:
    facts = json.loads((ROOT / "benchmarks/results/ways.json").read_text())
    doc = (ROOT / "docs/performance.md").read_text()
    assert ways.doc_text(facts) in doc, "python benchmarks/ways.py --doc"
    assert list(facts["results"]) == [choice.title for choice in ways.CHOICES]


def test_suite_refuses_what_it_does_not_know() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/suite.py", "--only", "no such thing"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (1, "no such workload; --list names them\n")


# ---------------------------------------------------------------- taking turns


def test_variants_take_turns_and_slow_ones_sit_out_some_rounds(
    turns: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns.gc, "collect", lambda: 0)
    said: list[str] = []

    def variant(name: str, seconds: float) -> Any:
        def run(count: int, watch: Any) -> None:
            said.append(name)
            watch.wall += seconds * count
            watch.cpu += seconds * count / 2

        return run

    variants = {"a": variant("a", 0.04), "b": variant("b", 0.05), "c": variant("c", 0.4)}
    taken = turns.take_turns(variants, "a", 1.0)
    assert "".join(said).startswith("abcabcbcaab")
    assert [number for number, _, _ in taken["b"]] == list(range(len(taken["a"])))
    assert [number for number, _, _ in taken["c"]][:5] == [0, 1, 3, 6, 9]
    summary = turns.summed_up(taken, "a", "cpu")
    assert summary["a"]["ratio"] == {
        "median": 1.0, "spread": [1.0, 1.0], "rounds": len(taken["a"])
    }  # fmt: skip
    assert summary["b"]["cpu"]["median"] == 0.025
    assert summary["c"]["ratio"]["median"] == 10


def test_sittings_are_joined_round_by_round(turns: Any) -> None:
    first = {"a": [(0, 1.0, 1.0), (1, 2.0, 2.0)], "b": [(0, 3.0, 3.0)]}
    second = {"a": [(0, 10.0, 1.0)], "b": [(0, 20.0, 1.0)]}
    both = turns.joined([first, second])
    assert [number for number, _, _ in both["a"]] == [0, 1, 2]
    assert turns.ratio(both, "b", "a", "wall") == turns.Figure(2.5, 2.0, 3.0, 2)


# ---------------------------------------------------------------- the report


def workload(reference: str, ratios: dict[str, float], clock: str = "wall") -> dict[str, Any]:
    def figures(ratio: float) -> dict[str, Any]:
        return {"median": ratio, "spread": [ratio - 0.1, ratio + 0.1], "rounds": 9}

    return {
        "clock": clock,
        "reference": reference,
        "unit": "s",
        "variants": {
            name: {which: figures(ratio) for which in ("wall", "cpu", "ratio")}
            | {"ratios": {"wall": figures(ratio), "cpu": figures(ratio)}}
            for name, ratio in ratios.items()
        },
    }


def test_marks_stand_beside_what_was_measured(report: Any) -> None:
    one_value = {"pgwire": 0.2, "asyncpg": 1.0, "pg8000": 0.9}
    texts = {"pgwire": 2.0, "asyncpg": 1.0, "pg8000": 8.0}
    tasks = {"pgwire, asyncio": 0.3, "asyncpg": 1.0, "asyncpg, no reset": 0.4}
    table = report.marks_table(
        {
            "one value": workload("asyncpg", one_value, "cpu"),
            "1,000 rows, texts": workload("asyncpg", texts),
            "100 tasks on a pool of 10": workload("asyncpg", tasks),
        }
    )
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert (
        "| one value | blocking | against asyncpg | 0.20 (0.10 to 0.30) | 0.20 | 0.45 | 0.25 "
        "| aim reached |" in lines
    )
    assert any("| 2.00 (1.90 to 2.10) | 2.00 | 1.6 | 1 | missed by 25% |" in line for line in lines)
    assert any(
        "asyncpg, no reset | 0.75 | 0.75 | 0.7 | 0.4 | missed by 7% |" in line for line in lines
    )
    assert any("one row by key | blocking |" in li and "not measured" in li for li in lines)
    assert "- Geometric mean of 2 marked ratios, blocking: 0.63 (mark 0.85, aim 0.65)." in lines
    assert any("pg8000 takes 4.0 times" in line and "1,000 rows, texts (4.0)" in line
               for line in lines)  # fmt: skip


def test_the_table_in_the_readme_is_that_of_the_results(report: Any) -> None:
    results = ROOT / "benchmarks/results"
    facts = json.loads((results / "suite.json").read_text())
    others = report.elsewhere.runs(results)
    readme = (ROOT / "benchmarks/README.md").read_text()
    assert report.with_table(readme, facts, others) == readme, "python benchmarks/suite.py --readme"
    svg = (results / "suite.svg").read_text()
    assert report.chart(facts, facts["results"]) == svg


def test_the_table_in_the_projects_readme_is_that_of_the_results(report: Any) -> None:
    facts = json.loads((ROOT / "benchmarks/results/suite.json").read_text())
    readme = (ROOT / "README.md").read_text()
    assert report.with_headline(readme, facts) == readme, "python benchmarks/suite.py --readme"
    for name in ("one value", "one row by key"):  # what stands above the table
        ratios = {
            variant: figures["ratio"]["median"]
            for variant, figures in facts["results"][name]["variants"].items()
        }
        assert min(ratios, key=ratios.__getitem__) == "pgwire"
        assert ratios["pgwire, asyncio"] < ratios["asyncpg"] < ratios["psycopg, asyncio"]


def test_what_a_driver_was_not_measured_in_is_empty_in_the_projects_readme(report: Any) -> None:
    headline = report.headline
    results = {
        name: workload("asyncpg", {"asyncpg": 1.0}, "cpu") for name in headline.ROWS.values()
    }
    results["one row by key"] = workload("asyncpg", {"pgwire": 0.5, "asyncpg": 1.0}, "cpu")
    shared = {"pgwire, asyncio, max_pipeline=32": 0.2, "psycopg_pool": 1.1, "asyncpg": 1.0}
    results["100 tasks on a pool of 10"] = workload("asyncpg", shared, "wall")
    lines = [" ".join(line.split()) for line in headline.table(results).splitlines()]
    assert lines[0] == "| | pgwire | pgwire, asyncio | asyncpg | psycopg | psycopg2 | pg8000 |"
    assert lines[2] == "| one row by key | 0.50 | | 1.00 | | | |"
    assert lines[-2:] == [
        "| 100 tasks on a pool of 10 | | | 1.00 | 1.10 | | |",
        "| the same, `max_pipeline=32` | | 0.20 | | | | |",
    ]


def test_marks_under_other_circumstances_stand_side_by_side(report: Any) -> None:
    def run(python: str, ratio: float) -> dict[str, Any]:
        one_value = workload("asyncpg", {"pgwire": ratio, "asyncpg": 1.0}, "cpu")
        return {"versions": {"Python": python}, "results": {"one value": one_value}}

    table = report.elsewhere.table(run("CPython 3.11.7", 0.5), {"Python 3.12": run("", 0.4)})
    lines = [" ".join(line.split()) for line in table.splitlines()]
    assert lines[0] == "| | shell | | mark | Python 3.11 | Python 3.12 |"
    assert "| one value | blocking | against asyncpg | 0.45 | 0.50 | **0.40** |" in lines
    assert "| geometric mean | blocking | | 0.85 | **0.50** | **0.40** |" in lines
    assert len(lines) == 5  # what was not measured elsewhere is left out


# ---------------------------------------------------------------- the harness


def test_figures_are_medians_and_the_middle_of_the_rounds(harness: Any) -> None:
    slow = harness.Series("slow", [[2.0, 4.0, 90.0], *[[6.0]] * 8, [600.0]])
    quick = harness.Series("quick", [[2.0], *[[2.0]] * 8, [3.0]])
    assert slow.median == 6.0
    assert slow.p99 == 600.0
    assert slow.spread == (4.0, 6.0)
    ratio = harness.ratio(slow, quick)
    assert (ratio.median, ratio.spread) == (3.0, (2.0, 3.0))
    assert str(ratio) == "3 (2 to 3)"


@pytest.mark.parametrize(
    ("share", "value"), [(0.0, 1), (0.1, 1), (0.11, 2), (0.5, 5), (0.99, 10), (1.0, 10)]
)
def test_a_quantile_is_the_least_value_that_reaches_the_share(
    harness: Any, share: float, value: int
) -> None:
    assert harness.quantile(range(10, 0, -1), share) == value


def test_every_variant_comes_first_in_turn(harness: Any) -> None:
    assert list(harness.alternate(["a", "b", "c"], 4)) == [
        ["a", "b", "c"], ["b", "c", "a"], ["c", "a", "b"], ["a", "b", "c"],
    ]  # fmt: skip


@pytest.mark.parametrize("threads", [1, 3])
def test_each_thread_makes_one_call_at_least(harness: Any, threads: int) -> None:
    calls: list[int] = []
    times = harness.time_calls(lambda: calls.append(1), 0.0, threads)
    assert len(times) == len(calls) == threads
    assert min(times) >= 0


@pytest.mark.parametrize("threads", [1, 3])
def test_what_a_call_raises_ends_the_benchmark(harness: Any, threads: int) -> None:
    with pytest.raises(ZeroDivisionError):
        harness.time_calls(lambda: 1 / 0, 0.0, threads)


def test_progress_is_a_bar_on_a_terminal_and_dots_elsewhere(harness: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    plain, terminal = io.StringIO(), Terminal()
    for out in (plain, terminal):
        progress = harness.Progress(2, out)
        progress.step("first")
        progress.step("second")
    assert plain.getvalue() == "..\n"
    assert terminal.getvalue().startswith(f"\r[{'#' * 15}{' ' * 15}]")
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_a_table_is_markdown_that_reads_well_as_it_stands(harness: Any) -> None:
    assert harness.markdown_table(["", "time"], [["a", "1 ms"], ["bcd", "12 ms"]]) == (
        "|     |  time |\n| --- | ----: |\n| a   |  1 ms |\n| bcd | 12 ms |"
    )


def test_bars_are_as_long_as_their_values_and_text_is_escaped(chart: Any) -> None:
    svg = chart.bar_chart(
        "a < b", "of & about", "ms", ["x", "y"], [chart.Group("<g>", [10.0, 2.5], ["10", "2.5"])]
    )
    root = ElementTree.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    bars = [float(rect.attrib["width"]) for rect in root.iter(f"{space}rect")][-2:]
    assert bars[0] == pytest.approx(4 * bars[1], rel=0.01)
    assert {"a < b", "of & about", "<g>", "ms", "0"} <= {t.text for t in root.iter(f"{space}text")}
