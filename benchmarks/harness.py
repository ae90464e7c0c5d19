"""What the benchmarks share: alternating measurement, figures, machine, files, progress.

Knows how to measure fairly and how to say what was measured where. Must not know what is
measured, nor any driver.

Variants are compared within one run and take turns in short rounds, in another order each
time, so that whatever else the machine does meets all of them. Every figure is a median. A
ratio is computed within each round, between neighbours in time, and reported as the median
over the rounds; the spread is what the middle 80 % of the rounds lie in.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import shlex
import statistics
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

OUT = Path(__file__).parent / "out"


@dataclass
class Series:
    """What one variant took: per round, the seconds of every call."""

    name: str
    rounds: list[list[float]] = field(default_factory=list)

    @property
    def calls(self) -> list[float]:
        return [seconds for calls in self.rounds for seconds in calls]

    @property
    def median(self) -> float:
        return statistics.median(self.calls)

    @property
    def p99(self) -> float:
        return quantile(self.calls, 0.99)

    @property
    def spread(self) -> tuple[float, float]:
        """Between what the medians of the middle 80 % of the rounds lie."""
        return _middle([statistics.median(calls) for calls in self.rounds])

    def figures(self) -> dict[str, Any]:
        """For JSON; durations in seconds."""
        return {
            "calls": len(self.calls),
            "rounds": len(self.rounds),
            "median": self.median,
            "p99": self.p99,
            "spread": list(self.spread),
        }


@dataclass(frozen=True)
class Ratio:
    """How many times as long one variant takes as another: the median, and the spread."""

    median: float
    spread: tuple[float, float]

    def __str__(self) -> str:
        low, high = self.spread
        return f"{self.median:.3g} ({low:.3g} to {high:.3g})"

    def figures(self) -> dict[str, Any]:
        return {"median": self.median, "spread": list(self.spread)}


def ratio(of: Series, to: Series) -> Ratio:
    """`of` in units of `to`, round by round."""
    ratios = [
        statistics.median(mine) / statistics.median(theirs)
        for mine, theirs in zip(of.rounds, to.rounds, strict=True)
    ]
    return Ratio(statistics.median(ratios), _middle(ratios))


def _middle(values: Sequence[float]) -> tuple[float, float]:
    return quantile(values, 0.1), quantile(values, 0.9)


def quantile(values: Iterable[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


# ---------------------------------------------------------------- measuring


def time_calls(call: Callable[[], object], seconds: float, threads: int = 1) -> list[float]:
    """How long each call took, while so many threads call one after the other.

    A call that has begun is finished, so there is one per thread at least. What a call raises
    is raised here.
    """
    if threads == 1:
        return _time_calls(call, perf_counter() + seconds)
    times: list[list[float]] = []
    failures: list[BaseException] = []
    ready = threading.Barrier(threads)

    def work() -> None:
        try:
            ready.wait()
            times.append(_time_calls(call, perf_counter() + seconds))
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if failures:
        raise failures[0]
    return [one for calls in times for one in calls]


def _time_calls(call: Callable[[], object], end: float) -> list[float]:
    times = []
    while True:
        began = perf_counter()
        call()
        ended = perf_counter()
        times.append(ended - began)
        if ended >= end:
            return times


def alternate(names: Sequence[str], rounds: int) -> Iterator[Sequence[str]]:
    """The order of the variants, round by round: each comes first as often as any other."""
    for number in range(rounds):
        start = number % len(names)
        yield [*names[start:], *names[:start]]


# ---------------------------------------------------------------- where, when, with what


def circumstances(packages: Sequence[str], **more: str) -> dict[str, Any]:
    """The machine, the versions, the date, and the command that was given."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["python", _relative(sys.argv[0]), *sys.argv[1:]]),
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.release()}",
            "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        },
        "versions": {
            "Python": f"{platform.python_implementation()} {platform.python_version()}",
            **{package: _version(package) for package in packages},
            **more,
        },
    }


def summary(facts: dict[str, Any]) -> str:
    """The circumstances in one line of text."""
    machine = facts["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return f"{facts['date'][:10]}; {machine['cores']} x {machine['cpu']}; {versions}"


def _cpu() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def commit() -> str:
    """The commit that is measured, with a + if the tree has changed since; empty without git."""
    asking = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        folder = Path(__file__).parent
        done = subprocess.run(asking, cwd=folder, capture_output=True, check=True, text=True)
        return done.stdout.strip()
    return ""


def _relative(path: str) -> str:
    with contextlib.suppress(ValueError):
        return str(Path(path).resolve().relative_to(Path(__file__).parent.parent))
    return path


# ---------------------------------------------------------------- what remains of a run


def write(path: Path, text: str) -> None:
    """Write the file, with its folder, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    print(f"wrote {os.path.relpath(path)}", file=sys.stderr)


def write_json(path: Path, facts: dict[str, Any]) -> None:
    write(path, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table that can be read as it stands; all columns but the first to the right."""
    table = [list(header), *map(list, rows)]
    widths = [max(len(row[index]) for row in table) for index in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        aligned = [
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(aligned)} |"

    rule = [
        "-" * width if index == 0 else "-" * (width - 1) + ":" for index, width in enumerate(widths)
    ]
    return "\n".join([line(table[0]), line(rule), *map(line, table[1:])])


def between(text: str, begin: str, new: str, end: str) -> str:
    """A text with what stands from one mark to the other replaced, marks included."""
    before, _, rest = text.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        sys.exit(f"{begin} … {end} is missing")
    return before + new + after


class Progress:
    """How far a run is, on standard error: a bar on a terminal, else a dot for every step."""

    def __init__(self, steps: int, out: TextIO | None = None) -> None:
        self._out = out or sys.stderr
        self._steps = steps
        self._done = 0
        self._bar = self._out.isatty()
        self._began = perf_counter()

    def step(self, what: str) -> None:
        """One more step is done; `what` comes next."""
        self._done += 1
        if not self._bar:
            self._write("." if self._done < self._steps else ".\n")
            return
        width = 30
        full = width * self._done // self._steps
        passed = perf_counter() - self._began
        left = passed / self._done * (self._steps - self._done)
        self._write(f"\r[{'#' * full}{' ' * (width - full)}] {left:3.0f} s left  {what:<30.30}")
        if self._done == self._steps:
            self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()
