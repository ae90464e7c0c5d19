"""The table in the project's README: some workloads of the suite, in units of asyncpg."""

from __future__ import annotations

from typing import Any

import harness
import marks

BEGIN, END = "<!-- speed:begin -->", "<!-- speed:end -->"
# What each line is called there, and the workload that it is.
ROWS = {
    "one row by key": "one row by key",
    "100 rows (int, text, float, bigint, timestamptz, bool)": "100 rows, mixed",
    "1,000 such rows": "1,000 rows, mixed",
    "1,000 such rows, half of all values NULL": "1,000 rows, half NULL",
    "1,000 rows of three texts": "1,000 rows, texts",
    "1,000 rows (numeric, uuid, jsonb, text[], timestamptz)": "1,000 rows, rich",
    "10,000 inserts, `query_many`": "10,000 inserts",
    "COPY in, 100,000 typed records": "COPY in, 100,000 records",
    "COPY out, 50,000 rows": "COPY out, 50,000 rows",
    "connect, SCRAM": "connect, SCRAM, as it comes",
    "100 tasks on a pool of 10": "100 tasks on a pool of 10",  # the last, as sharing is beneath it
}
# The first variant that there is.
_COLUMNS = {
    "pgwire": (marks.BLOCKING,),
    "pgwire, asyncio": (marks.ASYNCIO,),
    "asyncpg": ("asyncpg",),
    "psycopg": ("psycopg", "psycopg_pool"),
    "psycopg2": ("psycopg2",),
    "pg8000": ("pg8000",),
}


def readme_text(facts: dict[str, Any]) -> str:
    """What stands between the marks in README.md."""
    return f"{BEGIN}\n{table(facts['results'])}\n\n{harness.summary(facts)}.\n{END}"


def table(results: dict[str, Any]) -> str:
    """By workload and driver, the ratio; empty where a driver was not measured."""
    rows: list[tuple[str, ...]] = []
    for title, name in ROWS.items():
        variants = results[name]["variants"]
        rows.append((title, *(_ratio(variants, names) for names in _COLUMNS.values())))
    sharing = _ratio(variants, (f"{marks.ASYNCIO}, max_pipeline=32",))
    rows.append(("the same, `max_pipeline=32`", "", sharing, *[""] * (len(_COLUMNS) - 2)))
    return harness.markdown_table(("", *_COLUMNS), rows)


def _ratio(variants: dict[str, Any], names: tuple[str, ...]) -> str:
    found = (variants[name]["ratio"]["median"] for name in names if name in variants)
    return next((f"{ratio:.2f}" for ratio in found), "")
