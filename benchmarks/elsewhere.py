"""The marks once more, in runs of the suite under other circumstances, side by side.

Each such run has a file of its own beside that of the run that counts (`suite.py --name`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import harness
import marks
from turns import geometric_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The name of the file, and what is different.
RUNS = {
    "suite_fresh": "the same, malloc fresh",
    "suite_uvloop": "the same, uvloop",
    "suite_3.12": "Python 3.12",
    "suite_3.13": "Python 3.13",
    "suite_3.14": "Python 3.14",
    "suite_3.15": "Python 3.15",
}


def runs(folder: Path) -> dict[str, dict[str, Any]]:
    """What was measured in each of them, by what is different; those that there are."""
    files = {heading: folder / f"{name}.json" for name, heading in RUNS.items()}
    return {
        heading: json.loads(file.read_text()) for heading, file in files.items() if file.exists()
    }


def table(facts: dict[str, Any], others: dict[str, dict[str, Any]]) -> str:
    """By mark the ratio in each run, in bold where the mark is met; and the means."""
    columns = {f"Python {_minor(facts)}": facts, **others}
    rows = []
    for mark in marks.marks():
        name = f"{mark.workload}: {mark.note}" if mark.note else mark.workload
        found = [marks.measured(mark, run["results"]) for run in columns.values()]
        if not any(found[1:]):
            continue
        cells = [_cell(one["median"], mark.most) if one else "" for one in found]
        rows.append((name, mark.shell, f"against {mark.reference}", f"{mark.most:g}", *cells))
    for shell in ("blocking", "asyncio"):
        means = [_mean(run["results"], shell) for run in columns.values()]
        cells = [_cell(mean, marks.MEAN) if mean else "" for mean in means]
        rows.append(("geometric mean", shell, "", f"{marks.MEAN:g}", *cells))
    return harness.markdown_table(("", "shell", "", "mark", *columns), rows)


def _cell(ratio: float, most: float) -> str:
    return f"**{ratio:.2f}**" if ratio <= most else f"{ratio:.2f}"


def _mean(results: dict[str, Any], shell: str) -> float | None:
    ratios = list(_ratios(results, shell))
    return geometric_mean(ratios) if ratios else None


def _ratios(results: dict[str, Any], shell: str) -> Iterator[float]:
    for mark in marks.marks():
        if mark.shell == shell and (found := marks.measured(mark, results)) is not None:
            yield found["median"]


def _minor(facts: dict[str, Any]) -> str:
    version: str = facts["versions"]["Python"].split()[-1]
    return version.rpartition(".")[0]
