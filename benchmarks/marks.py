"""The marks that pgwire has set itself, in units of what another driver takes; and the aims.

A mark is for one variant of pgwire in one workload, against one of the others there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCKING, ASYNCIO = "pgwire", "pgwire, asyncio"
# Over each shell's marks, the geometric mean of what was measured.
MEAN, MEAN_AIM = 0.85, 0.65
# pg8000, the other driver without C, on every workload of rows: so many times pgwire's time.
PG8000 = 5.0


@dataclass(frozen=True)
class Mark:
    workload: str
    variant: str
    most: float
    aim: float
    reference: str = "asyncpg"
    shell: str = "blocking"
    note: str = ""  # of the workload, in the table


# Workload: the marks and aims of the blocking shell, then those of asyncio's; all against asyncpg.
_BOTH = {
    "one value": (0.45, 0.25, 0.6, 0.35),
    "one row by key": (0.5, 0.3, 0.6, 0.35),
    "100 rows, mixed": (1.0, 0.7, 1.1, 0.8),
    "1,000 rows, mixed": (1.15, 0.9, 1.2, 1.0),
    "50,000 rows, numbers": (0.75, 0.5, 0.8, 0.6),
    "1,000 rows, half NULL": (1.5, 1.0, 1.5, 1.0),
    "1,000 rows, texts": (1.6, 1.0, 1.7, 1.0),
    "100 rows, wide": (1.8, 1.2, 1.8, 1.2),
    "1,000 rows, rich": (1.5, 1.0, 1.6, 1.0),
    "10,000 inserts": (0.95, 0.7, 0.95, 0.7),
    "COPY in, 100,000 records": (1.3, 0.95, 1.3, 0.95),
    "COPY out, 50,000 rows": (1.2, 1.0, 1.2, 1.0),
}
_POOLED = {BLOCKING: "pgwire, in a pool", ASYNCIO: "pgwire, asyncio, in a pool"}


def marks() -> Iterator[Mark]:
    """All of them, in the order of the table."""
    for name, (most, aim, async_most, async_aim) in _BOTH.items():
        yield Mark(name, BLOCKING, most, aim)
        yield Mark(name, ASYNCIO, async_most, async_aim, shell="asyncio")
    yield from _of_connecting()
    yield Mark("checkout and release", BLOCKING, 1.0, 0.5, "psycopg_pool")
    yield Mark("checkout and release, asyncio", ASYNCIO, 1.0, 0.5, "psycopg_pool", shell="asyncio")
    for variant, marked in (
        (ASYNCIO, (0.35, 0.2, 0.7, 0.4)),
        (f"{ASYNCIO}, max_pipeline=32", (0.15, 0.06, 0.25, 0.12)),
    ):
        most, aim, bare_most, bare_aim = marked
        name, note = "100 tasks on a pool of 10", variant.partition("asyncio, ")[2]
        yield Mark(name, variant, most, aim, "asyncpg", "asyncio", note)
        yield Mark(name, variant, bare_most, bare_aim, "asyncpg, no reset", "asyncio", note)
    for other in ("psycopg_pool, as it comes", "psycopg_pool"):
        yield Mark("32 threads on a pool of 8", BLOCKING, 0.5, 0.25, other)


def _of_connecting() -> Iterator[Mark]:
    """Without TLS on both sides; and as it comes, where both ask whether there is TLS."""
    pooled = "from the second on in a pool"
    for name in ("connect, SCRAM", "connect, SCRAM, as it comes"):
        yield Mark(name, BLOCKING, 0.95, 0.8)
        yield Mark(name, ASYNCIO, 0.95, 0.8, shell="asyncio")
        yield Mark(name, _POOLED[BLOCKING], 0.6, 0.35, note=pooled)
        yield Mark(name, _POOLED[ASYNCIO], 0.6, 0.35, shell="asyncio", note=pooled)


def measured(mark: Mark, results: dict[str, Any]) -> dict[str, Any] | None:
    """The ratio that the mark is about, with its spread, and that of the client's CPU time.

    None if it has not been measured.
    """
    workload = results.get(mark.workload)
    if workload is None or mark.variant not in workload["variants"]:
        return None
    own = workload["variants"][mark.variant]
    if mark.reference == workload["reference"]:
        ratio: dict[str, Any] = own["ratio"]
        return ratio | {"cpu": own["ratios"]["cpu"]["median"]}
    other = workload["variants"].get(mark.reference)
    if other is None:
        return None
    median = own["ratio"]["median"] / other["ratio"]["median"]
    cpu = own["ratios"]["cpu"]["median"] / other["ratios"]["cpu"]["median"]
    return {"median": median, "spread": None, "cpu": cpu}
