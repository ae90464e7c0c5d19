"""Writes the comparison of drivers in docs/types.md: what each makes of PostgreSQL's values.

    python tools/compare_types.py                     measure all, and rewrite the table
    python tools/compare_types.py --show NAME …       measure these cases, and only print them

For each case and driver, on a connection of its own in a process of its own, with a time limit:
what `select <expression>` returns, and whether `select $1::<type>::text` with that very value,
in the driver's own style, gives the server's own text again. After each of the two the
connection must still answer another query rightly. Drivers are as they come out of the box:
nothing is registered. The server is pgwire.embedded's, with its own time zone, UTC.

Not run in CI: the table shows one run, with date and versions.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import re
import sys
import warnings
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol
from urllib.parse import unquote, urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

import asyncpg
import pg8000.native
import psycopg
import psycopg.types.json

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection as Pipe

TARGET = Path(__file__).parent.parent / "docs" / "types.md"
BEGIN = f"<!-- comparison:begin, measured by tools/{Path(__file__).name} -->\n"
END = "<!-- comparison:end -->\n"

LIMIT = 30.0  # seconds for one case of one driver
_SHORT = 44

SETUP = """
    create extension hstore; create extension citext; create extension vector;
    create type mood as enum ('sad', 'so so');
    create type pair as (a int, b text);
    create domain amount as numeric(10, 2);
"""


class Case(NamedTuple):
    """An expression and its type; no type where the server takes no value of it."""

    name: str
    expression: str
    type: str


def _literals(sql_type: str, *literals: str) -> Iterator[Case]:
    """A case for each of PostgreSQL's literals of a type."""
    for literal in literals:
        quoted = "'" + literal.replace("'", "''") + "'"
        yield Case(f"{sql_type} {literal}".rstrip(), f"{quoted}::{sql_type}", sql_type)


def _plain_cases() -> Iterator[Case]:
    yield from _literals("bool", "t")
    yield from _literals("int8", "-9223372036854775808")
    yield from _literals("float4", "0.1")
    yield from _literals("float8", "-0", "NaN", "-Infinity", "5e-324")
    yield from _literals("numeric", "1.50", "0.000", "NaN", "-Infinity")
    yield Case("numeric of 100,000 digits", "repeat('1234567890', 10000)::numeric", "numeric")
    yield from _literals("money", "-$1,234.50")
    yield from _literals("text", "Grüße", "")
    yield from _literals("char(5)", "ab")
    yield from _literals('"char"', "x", "\\351")
    yield Case("bytea with NUL", r"'\x00ff61'::bytea", "bytea")
    yield from _literals("uuid", "0123abcd-0123-4567-89ab-0123456789ab")
    yield from _literals("bit(4)", "0101")
    yield from _literals("varbit", "")
    yield from _literals("inet", "192.168.0.1", "192.168.0.1/24", "::1/64")
    yield from _literals("cidr", "192.168.0.0/16")
    yield from _literals("macaddr", "08:00:2b:01:02:03")
    yield from _literals("json", '{"a": [1, null]}', '{"a":1,  "a":2}')
    yield from _literals("jsonb", '{"n": 12345678901234567890.5}', "1e5000", '"text"', "null")
    yield from _literals("jsonb[]", '{"[1, 2]",NULL}')
    yield from _literals("xml", "<a>b</a>")


def _temporal_cases() -> Iterator[Case]:
    yield from _literals(
        "date", "2024-02-29", "9999-12-31", "infinity", "0044-03-15 BC", "10000-01-01"
    )
    yield from _literals("time", "12:34:56.789012", "24:00:00")
    yield from _literals("timetz", "12:34:56+05:30", "24:00:00-15:59")
    yield from _literals("timestamp", "2024-02-29 12:34:56.789", "-infinity", "0044-03-15 12:00 BC")
    yield from _literals(
        "timestamptz", "2024-02-29 12:34:56+05:30", "infinity", "10000-01-01 00:00+00"
    )
    yield from _literals(
        "interval", "1 mon", "1 year 2 mons -3 days 04:05:06.789", "24:00:00", "infinity"
    )


def _composed_cases() -> Iterator[Case]:
    yield from _literals("int4[]", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}")
    yield from _literals("text[]", '{"a,b","NULL",NULL,""}')
    yield from _literals("timestamptz[]", '{"2024-02-29 12:00:00+00",infinity}')
    yield from _literals("mood", "so so")
    yield from _literals("mood[]", '{"so so",NULL}')
    yield from _literals("pair", '(1,"x y")', "(,)")
    yield from _literals("pair[]", '{"(1,x)",NULL}')
    yield Case("an anonymous record", "row(1, 'x y', null)", "")
    yield from _literals("amount", "1.50")
    yield from _literals("amount[]", "{1.50,NULL}")
    yield from _literals("int4range", "[1,5)", "empty")
    yield from _literals("numrange", "[1.50,)")
    yield from _literals("daterange", "[2024-02-29,infinity)")
    yield from _literals("int4multirange", "{(,5),[7,9)}", "{(,)}")


def _other_cases() -> Iterator[Case]:
    yield from _literals("hstore", '"a"=>"1", "b"=>NULL')
    yield from _literals("citext", "Straße")
    yield from _literals("vector", "[1,0.1]")
    yield from _literals("tsvector", "'a':1A 'b'")
    yield from _literals("tsquery", "'a' & !'b'")
    yield from _literals("point", "(1.5,-0)")
    yield from _literals("box", "(3,4),(1,2)")
    yield from _literals("path", "[(1,2),(3,4)]")
    yield from _literals("polygon", "((1,2),(3,4),(5,6))")
    yield from _literals("circle", "<(1,2),3>")
    yield from _literals("regclass", "pg_class")
    yield from _literals("pg_lsn", "16/B374D848")
    yield from _literals("tid", "(0,1)")
    yield from _literals("xid8", "18446744073709551615")
    yield from _literals("oidvector", "1 4294967295")
    yield from _literals("jsonpath", '$."a"[*]?(@ > 1)')
    yield Case("void", "pg_sleep(0)", "")


CASES = (*_plain_cases(), *_temporal_cases(), *_composed_cases(), *_other_cases())


class Driver(Protocol):
    """A driver, used as its manual says; a new object is a new connection."""

    name: str

    def __init__(self, url: str) -> None: ...

    def read(self, sql: str) -> Any:
        """The only value of a query without parameters."""

    def send(self, sql_type: str, value: Any) -> Any:
        """`select $1::type::text`."""

    def json(self, sql_type: str, value: Any) -> Any:
        """The value that was read as json or jsonb, as a parameter is to be given."""


class Pgwire:
    name = "pgwire"

    def __init__(self, url: str) -> None:
        self.conn = pgwire.connect(url)

    def read(self, sql: str) -> Any:
        return self.conn.query(sql).scalar()

    def send(self, sql_type: str, value: Any) -> Any:
        return self.conn.query(f"select $1::{sql_type}::text", [value]).scalar()

    def json(self, _type: str, value: Any) -> Any:
        return pgwire.Json(value)


class Psycopg:
    name = "psycopg"

    def __init__(self, url: str) -> None:
        # autocommit, for otherwise nothing works after an error until a rollback.
        self.conn = psycopg.connect(url, autocommit=True)

    def read(self, sql: str) -> Any:
        (value,) = self.conn.execute(sql).fetchone() or ("no row",)
        return value

    def send(self, sql_type: str, value: Any) -> Any:
        sql = f"select %s::{sql_type}::text"
        (text,) = self.conn.execute(sql, [value]).fetchone() or ("no row",)
        return text

    def json(self, sql_type: str, value: Any) -> Any:
        kinds = {"json": psycopg.types.json.Json, "jsonb": psycopg.types.json.Jsonb}
        return kinds[sql_type](value)


class Asyncpg:
    name = "asyncpg"

    def __init__(self, url: str) -> None:
        self.run = asyncio.Runner().run
        self.conn = self.run(asyncpg.connect(url))

    def read(self, sql: str) -> Any:
        return self.run(self.conn.fetchval(sql))

    def send(self, sql_type: str, value: Any) -> Any:
        return self.run(self.conn.fetchval(f"select $1::{sql_type}::text", value))

    def json(self, _type: str, value: Any) -> Any:
        return value  # which is the text


class Pg8000:
    name = "pg8000"

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.conn = pg8000.native.Connection(
            unquote(parts.username or ""),
            host=parts.hostname,
            port=parts.port,
            database=parts.path[1:],
            password=unquote(parts.password or ""),
        )

    def read(self, sql: str) -> Any:
        return self.conn.run(sql)[0][0]

    def send(self, sql_type: str, value: Any) -> Any:
        return self.conn.run(f"select cast(cast(:v as {sql_type}) as text)", v=value)[0][0]

    def json(self, _type: str, value: Any) -> Any:
        return json.dumps(value)


DRIVERS: tuple[type[Driver], ...] = (Pgwire, Psycopg, Asyncpg, Pg8000)


class Cell(NamedTuple):
    """What one driver made of one case, in Markdown, and whether it was sent back as it was."""

    text: str
    is_exact: bool = False


_ABSENT = Cell("not in this server")


def measure(driver: Driver, case: Case) -> Cell:
    """Read the value, send it again, and look at the connection after each of them."""
    try:
        expected = driver.read(f"select ({case.expression})::text")
    except Exception:
        return _ABSENT
    try:
        value = driver.read(f"select {case.expression}")
    except Exception as error:
        return Cell(f"error: {_error(error)}{_remark(driver)}")
    shown = f"{_code(_described(value))}{_remark(driver)}"
    if not case.type:
        return Cell(f"{shown} not sent")
    try:
        text = driver.send(case.type, _as_json(driver, case.type, value))
    except Exception as error:
        return Cell(f"{shown} error: {_error(error)}{_remark(driver)}")
    remark = _remark(driver)
    if text != expected:
        return Cell(f"{shown} changed: {_code(str(text))}{remark}")
    return Cell(f"{shown} exact{remark}", "**" not in shown + remark)


def _as_json(driver: Driver, sql_type: str, value: Any) -> Any:
    """The value, or where it is JSON what is to be passed for it."""
    if sql_type == "jsonb[]":
        return [None if item is None else driver.json("jsonb", item) for item in value]
    return driver.json(sql_type, value) if sql_type in ("json", "jsonb") else value


def _remark(driver: Driver) -> str:
    """What has become of the connection, if anything has: three more queries tell."""
    wrong = failed = 0
    for question in ("first", "second", "third"):
        try:
            wrong += driver.read(f"select '{question}'") != question
        except Exception:
            failed += 1
    if wrong:
        return ", **and later queries get wrong answers**"
    return ", **and the connection is lost**" if failed else ""


def _described(value: Any) -> str:
    """The value's repr, with the name of its type where that does not say it."""
    text = repr(value)
    kind = type(value)
    if kind.__module__ != "builtins" and kind.__name__ not in text:
        text = f"{kind.__name__} {text}"
    for noise in (r"\bdatetime\.(?=\w)", r"\basyncpg\.pgproto\.types\.", r" object at 0x\w+"):
        text = re.sub(noise, "", text)
    return text.replace("timezone.utc", "utc")


def _error(error: Exception) -> str:
    words = str(error).strip()
    if error.args and isinstance(error.args[0], dict):  # as pg8000 has it
        words = str(error.args[0].get("M"))
    return _code(": ".join([type(error).__name__, *words.splitlines()[:1]]))


def _code(text: str) -> str:
    """The beginning of a text as code in a cell of a table."""
    text = text if len(text) <= _SHORT else f"{text[: _SHORT - 1]}…"
    for character, instead in (("`", "'"), ("|", "\\|")):
        text = text.replace(character, instead)
    return f"`{text}`"


def _child(make: Callable[[str], Driver], case: Case, url: str, pipe: Pipe) -> None:
    warnings.simplefilter("ignore")
    pipe.send(measure(make(url), case))
    pipe.close()


def measured(make: type[Driver], case: Case, url: str) -> Cell:
    """One cell, measured in a process of its own, which may hang or die."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_child, args=(make, case, url, theirs), daemon=True)
    process.start()
    theirs.close()
    with closing(ours):
        try:
            cell: Cell = ours.recv() if ours.poll(LIMIT) else Cell(f"no answer in {LIMIT:.0f} s")
        except EOFError:
            cell = Cell("the process died")
    process.kill()
    process.join()
    return cell


def row(case: Case, cells: list[Cell]) -> str:
    return f"| {first_cell(case)} | {' | '.join(cell.text for cell in cells)} |\n"


def first_cell(case: Case) -> str:
    """What the row of a case begins with."""
    return _code(case.name) if case.type else case.name


def table(cases: tuple[Case, ...]) -> str:
    """The table, and below it what it was measured with."""
    found = []
    with embedded.server() as server:
        with pgwire.connect(server.url) as conn:
            conn.script(SETUP)
        for case in cases:
            cells = [measured(make, case, server.url) for make in DRIVERS]
            print(row(case, cells), end="", flush=True)
            found.append((case, cells))
        made_with = f"PostgreSQL {server.installation.version}"
    names = [f"{make.name} {version(make.name)}" for make in DRIVERS]
    possible = sum(bool(case.type) and cells[0] != _ABSENT for case, cells in found)
    counts = [sum(cells[i].is_exact for _, cells in found) for i in range(len(DRIVERS))]
    return (
        f"| | {' | '.join(names)} |\n|{' --- |' * (len(names) + 1)}\n"
        + "".join(row(case, cells) for case, cells in found)
        + f"| **exact, of {possible}** | {' | '.join(f'**{n}**' for n in counts)} |\n\n"
        + f"Measured on {datetime.now(UTC):%Y-%m-%d} with {made_with} and Python "
        + f"{sys.version.split()[0]} by `python tools/{Path(__file__).name}`.\n"
    )


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--show"]:
        wanted = arguments[1:]
        table(tuple(case for case in CASES if any(name in case.name for name in wanted)))
        return 0
    if arguments:
        raise SystemExit(__doc__)
    head, begin, rest = TARGET.read_text(encoding="utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/{TARGET.name} has lost its markers: {BEGIN}{END}")
    made = table(CASES)
    TARGET.write_text(f"{head}{BEGIN}\n{made}\n{END}{tail}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
