"""Load a CSV file with a header into a table, as typed values, and show how far it is.

    python examples/csv_loader.py measured measured.csv postgresql://app:secret@db/app
    PGHOST=db PGUSER=app python examples/csv_loader.py measured measured.csv

The first line names the columns. Their types are asked of the table, so that a value is converted,
or refused, here: with the line, the record and the column it stands in. What only PostgreSQL itself
can judge (a constraint, say) comes from there with the same. All or nothing: after an error nothing
has been loaded. Where nothing needs to be converted, `copy_in` takes the file as it is.
"""

from __future__ import annotations

import csv
import sys
from datetime import date, datetime
from decimal import Decimal
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


def yes_or_no(text: str) -> bool:
    return {"yes": True, "no": False}[text.lower()]


# What a field becomes, by its column's type; all others stay text, which PostgreSQL reads itself.
CONVERTED: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(("smallint", "integer", "bigint"), int),
    **dict.fromkeys(("real", "double precision"), float),
    "numeric": Decimal,
    "boolean": yes_or_no,
    "date": date.fromisoformat,
    "timestamp with time zone": datetime.fromisoformat,
}
TYPES = """
select attname, format_type(atttypid, null) from pg_attribute
where attrelid = $1::regclass and attnum > 0 and not attisdropped
"""


class BadField(ValueError):
    """A field that is not what its column takes."""


def records(file: TextIO, names: Sequence[str], types: dict[str, str]) -> Iterator[list[Any]]:
    """The records below the header, with values of Python's; an empty field is NULL."""
    converters = [CONVERTED.get(types[name], str) for name in names]
    reader = csv.reader(file)
    for number, fields in enumerate(reader, 1):
        record = []
        for name, convert, field in zip(names, converters, fields, strict=False):
            try:
                record.append(convert(field) if field else None)
            except (ValueError, ArithmeticError, KeyError):
                place = f"record {number} (up to line {reader.line_num + 1}), column {name!r}"
                raise BadField(f"{place}: {field!r} is no {types[name]}") from None
        yield record + fields[len(names) :]  # too many are an error, as too few are


def load(conn: pgwire.Connection, table: str, path: Path) -> int:
    """How many records there were."""
    size = path.stat().st_size

    def show(progress: pgwire.Progress) -> None:
        share = data.tell() / size
        print(f"\r{share:4.0%}  {progress.rows:,} records", end="", file=sys.stderr)

    found = conn.query(TYPES, [pgwire.quote_identifier(table)], row=dict)
    types: dict[str, str] = {column["attname"]: column["format_type"] for column in found}
    with path.open("rb") as data, TextIOWrapper(data, "utf-8-sig", newline="") as file:
        names = next(csv.reader([file.readline()]), [])
        if unknown := [name for name in names if name not in types]:
            raise BadField(f"the table {table!r} has no column {unknown[0]!r}")
        rest = records(file, names, types)
        try:
            return conn.copy_records(table, rest, columns=names, progress=show)
        finally:
            print(file=sys.stderr)


def main(table: str, path: str, dsn: str = "") -> None:
    with pgwire.connect(dsn) as conn:
        print(f"{load(conn, table, Path(path)):,} records loaded")


if __name__ == "__main__":
    if not 3 <= len(sys.argv) <= 4:
        sys.exit("usage: csv_loader.py TABLE FILE [DSN]")
    try:
        main(*sys.argv[1:])
    except (BadField, OSError) as error:
        sys.exit(f"{error}")
    except pgwire.Error as error:
        where = "" if error.record_index is None else f"record {error.record_index + 1}, "
        column = "" if error.record_column is None else f"column {error.record_column!r}, "
        sys.exit(f"{where}{column}{type(error).__name__}: {error}")
