"""What a run of the suite leaves behind: tables, JSON, charts, and the tables in the READMEs.

Knows how results are laid out: by workload its clock, reference and variants, by variant its
medians and ratios. Must not know how they came about.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import elsewhere
import harness
import headline
import marks
from chart import Group, bar_chart
from turns import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BEGIN, END = "<!-- suite:begin -->", "<!-- suite:end -->"
# How cost grows, by the name of the file: the title, the series, and by workload the operations
# of one call.
GROWTH: dict[str, tuple[str, Sequence[str], dict[str, int]]] = {
    "rows": (
        "Time per row, by the number of rows (int, text, float, bigint, timestamptz, bool)",
        ("pgwire", "asyncpg", "psycopg", "pg8000"),
        {"100 rows, mixed": 100, "1,000 rows, mixed": 1000, "50,000 rows, mixed": 50_000},
    ),
    "columns": (
        "Time per value of 100 rows, by the number of columns (half int, half text)",
        ("pgwire", "asyncpg", "psycopg", "pg8000"),
        {
            "100 rows of 2 columns": 200,
            "100 rows of 10 columns": 1000,
            "100 rows of 20 columns": 2000,
            "100 rows, wide": 5000,
        },
    ),
    "tasks": (
        "Time per query, by the number of tasks on a pool of 10 connections",
        ("pgwire, asyncio", "pgwire, asyncio, max_pipeline=32", "asyncpg", "asyncpg, no reset"),
        {
            "1 task on a pool of 10": 1,
            "10 tasks on a pool of 10": 10,
            "100 tasks on a pool of 10": 100,
            "1,000 tasks on a pool of 10": 1000,
        },
    ),
    "connections": (
        "Time per query of 100 tasks, by the number of connections in the pool",
        ("pgwire, asyncio", "pgwire, asyncio, max_pipeline=32", "asyncpg", "asyncpg, no reset"),
        {
            "100 tasks on a pool of 1": 100,
            "100 tasks on a pool of 3": 100,
            "100 tasks on a pool of 10": 100,
            "100 tasks on a pool of 30": 100,
        },
    ),
    "threads": (
        "Time per query, by the number of threads on a pool of 8 connections",
        ("pgwire", "pgwire, max_pipeline=32", "psycopg_pool"),
        {
            "1 thread on a pool of 8": 1,
            "8 threads on a pool of 8": 8,
            "32 threads on a pool of 8": 32,
        },
    ),
}
_UNITS = {"s": (1e6, "µs"), "KiB": (1.0, "KiB")}


def table(results: dict[str, Any]) -> str:
    """Each workload and variant: the median, and the ratio to the reference."""
    rows = []
    for name, workload in results.items():
        for variant, figures in workload["variants"].items():
            rows.append((name, variant, *_figures(workload, figures)))
            name = ""
    return harness.markdown_table(("", "", "median", "", "ratio (spread)"), rows)


def _figures(workload: dict[str, Any], figures: dict[str, Any]) -> tuple[str, str, str]:
    factor, unit = _UNITS[workload["unit"]]
    clock = workload["clock"]
    median = figures[clock]["median"] * factor
    label = f"{unit}, CPU" if clock == "cpu" else unit
    return f"{median:,.4g}" if median < 1e4 else f"{median:,.0f}", label, _ratio(figures["ratio"])


def _ratio(ratio: dict[str, Any]) -> str:
    if ratio["spread"] is None:
        return f"{ratio['median']:.2f}"
    low, high = ratio["spread"]
    return f"{ratio['median']:.2f} ({low:.2f} to {high:.2f})"


# ---------------------------------------------------------------- the marks


def marks_table(results: dict[str, Any]) -> str:
    """The marks beside what was measured, and what follows for all of them together."""
    rows = []
    for mark in marks.marks():
        found = marks.measured(mark, results)
        name = f"{mark.workload}: {mark.note}" if mark.note else mark.workload
        verdict = _verdict(mark, found)
        ratios = (_ratio(found), f"{found['cpu']:.2f}") if found else ("", "")
        cells = (*ratios, f"{mark.most:g}", f"{mark.aim:g}", verdict)
        rows.append((name, mark.shell, f"against {mark.reference}", *cells))
    header = ("", "shell", "", "ratio (spread)", "of CPU", "mark", "aim", "")
    lines = [harness.markdown_table(header, rows), "", *_together(results)]
    return "\n".join(lines)


def _verdict(mark: marks.Mark, found: dict[str, Any] | None) -> str:
    if found is None:
        return "not measured"
    ratio = found["median"]
    if ratio <= mark.most:
        return "aim reached" if ratio <= mark.aim else "met"
    return f"missed by {ratio / mark.most - 1:.0%}"


def _together(results: dict[str, Any]) -> Iterator[str]:
    for shell in ("blocking", "asyncio"):
        found = [marks.measured(mark, results) for mark in marks.marks() if mark.shell == shell]
        ratios = [one["median"] for one in found if one is not None]
        if ratios:
            mean = geometric_mean(ratios)
            yield (
                f"- Geometric mean of {len(ratios)} marked ratios, {shell}: {mean:.2f} "
                f"(mark {marks.MEAN:g}, aim {marks.MEAN_AIM:g})."
            )
    if slow := _against_pg8000(results):
        name, times = min(slow.items(), key=lambda item: item[1])
        short = [f"{one} ({factor:.1f})" for one, factor in slow.items() if factor < marks.PG8000]
        mean = geometric_mean(list(slow.values()))
        yield (
            f"- pg8000 takes {mean:.1f} times as long as pgwire over {len(slow)} workloads "
            f"of rows, at least {times:.1f} ({name}). Below the mark of {marks.PG8000:g}: "
            f"{', '.join(short) or 'none'}."
        )
    for name in ("one value", "one row by key"):
        if name in results:
            yield _least_cpu(name, results[name]["variants"])


def _against_pg8000(results: dict[str, Any]) -> dict[str, float]:
    return {
        name: workload["variants"]["pg8000"]["ratio"]["median"]
        / workload["variants"][marks.BLOCKING]["ratio"]["median"]
        for name, workload in results.items()
        if "pg8000" in workload["variants"] and "rows" in name
    }


def _least_cpu(name: str, variants: dict[str, Any]) -> str:
    by_cpu = sorted(variants, key=lambda variant: float(variants[variant]["ratio"]["median"]))
    told = [f"{variant} {variants[variant]['ratio']['median']:.2f}" for variant in by_cpu]
    return f"- Client CPU for {name}, from the least, in units of asyncpg's: {', '.join(told)}."


# ---------------------------------------------------------------- files


def write(
    out: Path,
    name: str,
    facts: dict[str, Any],
    results: dict[str, Any],
    order: Sequence[str],
    *,
    charts: bool = True,
) -> None:
    """The JSON, with older results of workloads that were left out now, and the charts."""
    path = out / f"{name}.json"
    if path.exists():
        results = json.loads(path.read_text())["results"] | results
    results = {one: results[one] for one in order if one in results}
    harness.write_json(path, facts | {"results": results})
    if not charts:
        return
    harness.write(out / f"{name}.svg", chart(facts, results))
    for growing, svg in growth_charts(facts, results).items():
        harness.write(out / f"{name}_{growing}.svg", svg)


def chart(facts: dict[str, Any], results: dict[str, Any]) -> str:
    """The ratios of both shells to the reference, workload by workload."""
    groups = []
    for name, workload in results.items():
        found = [workload["variants"].get(shell) for shell in (marks.BLOCKING, marks.ASYNCIO)]
        ratios = [one["ratio"]["median"] if one else 0.0 for one in found]
        labels = [_ratio(one["ratio"]) if one else "" for one in found]
        groups.append(Group(name, ratios, labels))
    versions = facts["versions"]
    return bar_chart(
        "pgwire in units of its peers: shorter is faster",
        f"asyncpg {versions['asyncpg']} is 1, psycopg_pool for checkouts and threads; "
        f"{versions['Python']}, PostgreSQL {versions['PostgreSQL']}",
        "ratio (client CPU up to 100 rows, else the clock)",
        ["pgwire", "pgwire, asyncio"],
        groups,
    )


def growth_charts(facts: dict[str, Any], results: dict[str, Any]) -> dict[str, str]:
    """By name, the charts of which everything has been measured."""
    versions = facts["versions"]
    charts = {}
    for growing, (title, series, operations) in GROWTH.items():
        if not operations.keys() <= results.keys():
            continue
        if any(set(series) - results[name]["variants"].keys() for name in operations):
            continue
        groups = []
        for name, count in operations.items():
            variants = results[name]["variants"]
            each = [variants[one]["wall"]["median"] * 1e6 / count for one in series]
            groups.append(Group(name, each, [f"{one:.3g} µs" for one in each]))
        subtitle = f"On the clock; {versions['Python']}, PostgreSQL {versions['PostgreSQL']}"
        charts[growing] = bar_chart(title, subtitle, "microseconds", series, groups)
    return charts


def readme_text(facts: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    """What stands between the marks in benchmarks/README.md."""
    return (
        f"{BEGIN}\n![pgwire in units of its peers](results/suite.svg)\n\n"
        f"{marks_table(facts['results'])}\n\n{_growth_images(facts)}"
        f"{harness.summary(facts)}. Loop: {facts['loop']}; {facts['sittings']} sittings.\n"
        f"Made by `{facts['command']}`.\n{_elsewhere(facts, others)}{END}"
    )


def _elsewhere(facts: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    if not others:
        return ""
    made = "".join(f"\n- {what}: `{run['command']}`" for what, run in others.items())
    return (
        "\nThe same marks under other circumstances; bold where the mark is met:\n\n"
        f"{elsewhere.table(facts, others)}\n{made}\n"
    )


def _growth_images(facts: dict[str, Any]) -> str:
    charts = growth_charts(facts, facts["results"])
    return "".join(f"![{GROWTH[name][0]}](results/suite_{name}.svg)\n\n" for name in charts)


def with_table(text: str, facts: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    """The benchmarks' README with the tables of these results."""
    return harness.between(text, BEGIN, readme_text(facts, others), END)


def with_headline(text: str, facts: dict[str, Any]) -> str:
    """The project's README with the table of these results."""
    return harness.between(text, headline.BEGIN, headline.readme_text(facts), headline.END)


def write_readme(results: Path, folder: Path) -> None:
    """The tables of both READMEs, and the charts, from the results as they are."""
    facts = json.loads((results / "suite.json").read_text())
    write(results, "suite", facts, facts["results"], list(facts["results"]))
    own, project = folder / "README.md", folder.parent / "README.md"
    harness.write(own, with_table(own.read_text(), facts, elsewhere.runs(results)))
    harness.write(project, with_headline(project.read_text(), facts))
