"""The same done in several ways: what is cheaper, and by how much. No other driver is asked.

    python benchmarks/ways.py [--seconds N] [--only TITLE …] [--quick] [--out FOLDER] [--doc]

Starts a server of its own. Of each choice the ways take turns; ratios are to the first of them.
docs/performance.md says what follows. With `--doc` nothing is measured: the table there is written
from `results/ways.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import ways_asyncio
import ways_blocking
import workloads
from turns import summed_up, take_turns

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ways_blocking import Choice

CHOICES: tuple[Choice, ...] = (*ways_blocking.CHOICES, *ways_asyncio.CHOICES)
PACKAGES = ("uvloop", "orjson", "scramp")
BEGIN, END = "<!-- ways:begin -->", "<!-- ways:end -->"
_HERE = Path(__file__).parent
_UNITS = {"ns": 1e9, "µs": 1e6, "ms": 1e3}


def main() -> int:
    options = _options()
    if options.doc:
        facts = json.loads((_HERE / "results/ways.json").read_text())
        doc = _HERE.parent / "docs/performance.md"
        harness.write(doc, harness.between(doc.read_text(), BEGIN, doc_text(facts), END))
        return 0
    results = {}
    with ExitStack() as scope:
        server = scope.enter_context(embedded.server(settings={"autovacuum": "off"}))
        with pgwire.connect(server.url) as conn:
            conn.script(workloads.tables(2_000))
        for choice in CHOICES:
            if choice.title in options.only:
                results[choice.title] = _measured(choice, server, options)
                print(choice.title, file=sys.stderr)
    facts = harness.circumstances(PACKAGES, pgwire=f"{pgwire.__version__} ({harness.commit()})")
    facts |= {"results": results}
    print(f"\n{doc_text(facts)}")
    harness.write_json(options.out / "ways.json", facts)
    return 0


def _options() -> argparse.Namespace:
    titles = [choice.title for choice in CHOICES]
    parser = argparse.ArgumentParser(description="The same done in several ways.")
    parser.add_argument("--seconds", type=float, default=90)
    parser.add_argument("--only", nargs="+", choices=titles, default=titles, metavar="TITLE")
    parser.add_argument("--quick", action="store_true", help="a smoke test: no figure counts")
    parser.add_argument("--doc", action="store_true", help="write the table in performance.md")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the files")
    return parser.parse_args()


def _measured(choice: Choice, server: Any, options: Any) -> dict[str, Any]:
    with ExitStack() as scope:
        if choice.clock == "cpu":
            scope.enter_context(_one_core(server.pid))
        ways = choice.build(server, scope)
        reference = next(iter(ways))
        seconds = options.seconds / len(options.only)
        turns = take_turns(ways, reference, seconds, quick=options.quick)
        summary = summed_up(turns, reference, choice.clock)
        return {"clock": choice.clock, "each": choice.each, "count": choice.count, "ways": summary}


@contextmanager
def _one_core(server_pid: int) -> Iterator[None]:
    """Client and server on one core, with what they start meanwhile (`sitting.py` says why)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    pids = (os.getpid(), server_pid)
    for pid in pids:
        os.sched_setaffinity(pid, {min(cores)})
    yield
    for pid in pids:
        os.sched_setaffinity(pid, cores)


def doc_text(facts: dict[str, Any]) -> str:
    """What stands between the marks in docs/performance.md."""
    made = f"{harness.summary(facts)}.\nMade by `{facts['command']}`."
    return f"{BEGIN}\n{table(facts['results'])}\n\n{made}\n{END}"


def table(results: dict[str, Any]) -> str:
    """By choice and way: what each record, row or query takes, and the ratio to the first way."""
    rows = []
    for title, choice in results.items():
        clock = choice["clock"]
        for way, figures in choice["ways"].items():
            seconds = figures[clock]["median"] / choice["count"]
            low, high = figures["ratio"]["spread"]
            ratio = f"{figures['ratio']['median']:.2f} ({low:.2f} to {high:.2f})"
            first = way == next(iter(choice["ways"]))
            each = f"{_time(seconds)} {'of CPU ' * (clock == 'cpu')}for a {choice['each']}"
            rows.append((title, way, each, "1" if first else ratio))
            title = ""
    return harness.markdown_table(("", "", "", "ratio (spread)"), rows)


def _time(seconds: float) -> str:
    unit = next((unit for unit, factor in _UNITS.items() if seconds * factor < 1000), "ms")
    return f"{seconds * _UNITS[unit]:.3g} {unit}"


if __name__ == "__main__":
    sys.exit(main())
