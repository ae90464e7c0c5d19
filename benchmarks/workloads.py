"""The workloads that are queries: their tables, statements, and what each fetches.

Knows SQL and how many rows. Must not know any driver; `$1` is translated by whoever needs it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KEYS = 1000
MOST_ROWS = 50_000
RECORDS = 10_000
INSERT = "insert into target values ($1, $2, $3, $4)"


@dataclass(frozen=True)
class Question:
    """A statement, and what is fetched: "value", "row" (by key), "rows", or "insert" of records.

    For "copy_in" it is the name of a table, whose records are typed values; for "copy_out" a query,
    whose rows are written to a file in text format. The kind is the name of a peer's method. Peers
    without it are left out of the workload.
    """

    name: str
    kind: str
    sql: str
    size: int = 1  # rows or records
    clock: str = "wall"


_LAYOUTS = {
    "numbers": """
        n as id, n::bigint * 1000003 as big, n / 7.0::float8 as ratio""",
    "mixed": """
        n as id, 'item number ' || n as name, n / 7.0::float8 as ratio,
        n::bigint * 1000003 as big, timestamptz '2024-02-29 12:00:00.25+00' + n * interval '61.5 s'
        as at, n % 3 = 0 as flag""",
    "texts": """
        'item number ' || n as name, repeat('word ', n % 12) || md5(n::text) as body,
        case when n % 20 = 0 then 'naïve café ' else 'plain coffee ' end || n % 100 as remark""",
    "half NULL": """
        case when n % 2 = 0 then n end as id, case when n % 3 < 2 then 'item ' || n end as name,
        case when n % 5 < 2 then n / 7.0::float8 end as ratio,
        case when n % 7 < 3 then n::bigint * 1000003 end as big,
        case when n % 11 < 5 then timestamptz '2024-02-29 12:00:00.25+00'
            + n * interval '61.5 s' end as at,
        case when n % 13 < 7 then n % 3 = 0 end as flag""",
    "rich": """
        (n * 1.37)::numeric(12, 2) as price, md5(n::text)::uuid as key,
        jsonb_build_object('id', n, 'tags', jsonb_build_array('a', n % 10), 'ok', n % 2 = 0)
        as document, array['red', 'tag ' || n % 50, 'blue'] as labels,
        timestamptz '2024-02-29 12:00:00.25+00' + n * interval '61.5 s' as at""",
}
COLUMNS = (2, 10, 20)  # of the widest table, beside all its 50
_WIDE = ", ".join(f"n * {i} as number_{i}, 'text {i} of ' || n as text_{i}" for i in range(1, 26))


def _table(layout: str) -> str:
    return layout.replace(" ", "_").lower()


def tables(most_rows: int = MOST_ROWS) -> str:
    """The script that makes them all, in an empty database."""
    made = "".join(
        f"create table {_table(name)} as select {columns} "
        f"from generate_series(1, {most_rows}) n order by n;\n"
        for name, columns in _LAYOUTS.items()
    )
    return f"""
        create table item (id int primary key, name text);
        insert into item select n, 'item number ' || n from generate_series(1, {KEYS}) n;
        {made}
        create table wide as select {_WIDE} from generate_series(1, 100) n order by n;
        create table big (body text, image bytea);
        alter table big alter body set storage external, alter image set storage external;
        insert into big select repeat('0123456789abcdef', 65536),
            decode(repeat('00ff10a5', 262144), 'hex');
        create unlogged table target (id int, name text, ratio float8, at timestamptz);
        grant select on all tables in schema public to public;
        grant all on target to public;
    """


def questions() -> list[Question]:
    """All of them, in the order of the report."""
    one_row = [
        Question("one value", "value", "select $1::int", clock="cpu"),
        Question("one row by key", "row", "select id, name from item where id = $1", clock="cpu"),
    ]
    rows = [
        Question(
            f"{size:,} rows, {layout}",
            "rows",
            f"select * from {_table(layout)} limit {size}",
            size,
            "cpu" if size <= 100 else "wall",
        )
        for layout in _LAYOUTS
        for size in (100, 1000, MOST_ROWS)
    ]
    columns = [
        Question(
            f"100 rows of {count} columns",
            "rows",
            "select "
            + ", ".join(f"number_{i}, text_{i}" for i in range(1, count // 2 + 1))
            + " from wide",
            100,
            "cpu",
        )
        for count in COLUMNS
    ]
    return [
        *one_row,
        *rows,
        *columns,
        Question("100 rows, wide", "rows", "select * from wide", 100, "cpu"),
        Question("1 MB of text", "rows", "select body from big"),
        Question("1 MB of bytea", "rows", "select image from big"),
        Question(f"{RECORDS:,} inserts", "insert", INSERT, RECORDS),
        Question("COPY in, 100,000 records", "copy_in", "target", 10 * RECORDS),
        Question("COPY out, 50,000 rows", "copy_out", "select * from mixed", MOST_ROWS),
    ]


def records(count: int) -> list[tuple[int, str, float, datetime]]:
    """What is inserted."""
    began = datetime(2024, 2, 29, 12, tzinfo=UTC)
    return [
        (n, f"item number {n}", n / 7, began + timedelta(seconds=61.5 * n)) for n in range(count)
    ]


# ---------------------------------------------------------------- whether all gave the same


@dataclass(frozen=True)
class Elsewhere:
    """What another process has; `digest` asks it."""

    digest: Callable[[], str]


def digest(kind: str, found: Any) -> str:
    """The same for the same data, whatever classes a driver has for rows, bytes and the like."""
    if isinstance(found, Elsewhere):
        return found.digest()
    if kind == "rows":
        plain: Any = [_plain_row(row) for row in found]
    else:
        plain = _plain_row(found) if kind == "row" else _plain(found)
    return hashlib.sha256(repr(plain).encode()).hexdigest()


def _plain_row(row: Iterable[Any]) -> tuple[Any, ...]:
    return tuple(map(_plain, row))


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat()
        case Decimal() | UUID():
            return str(value)
        case memoryview() | bytearray():
            return bytes(value)
        case dict():
            return sorted((key, _plain(inner)) for key, inner in value.items())
        case list() | tuple():
            return [_plain(inner) for inner in value]
    return value
