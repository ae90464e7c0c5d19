"""The command line's main job: run SQL, and print what comes back.

Knows the options (psql's, where psql has them) and three formats: an aligned table, CSV and
JSON. Must not know exit statuses and subcommands (`pgwire.__main__`).

All values stay text, as PostgreSQL itself writes them, from the server to the terminal: an
interval looks as it does in psql, and no number is rounded on its way into JSON. Arguments are
text too, and it is the server that reads them. `TextTypes` is all that takes.

SQL without arguments goes as a script: several statements, one transaction. With arguments
it is one statement with `$1`, `$2`, ….
"""

from __future__ import annotations

import argparse
import getpass
import json
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, NoReturn

import pgwire
from pgwire.blocking.connection import Connection
from pgwire.blocking.opening import Opener
from pgwire.conninfo import conninfo_to_dict
from pgwire.errors import NotSupportedError, PostgresError, ProgrammingError
from pgwire.opening import settings
from pgwire.parameters import PARAMETERS
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.text import literal_codec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import TextIO

    from pgwire.pgtypes import Codec
    from pgwire.protocol.messages import Column
    from pgwire.protocol.rows import Result, Row

    Rows = Sequence[Sequence[str | None]]

_USAGE = "python -m pgwire [options] [CONNINFO] [SQL [ARGUMENT ...]]"

_EXAMPLES = """\
Without SQL, it is read from standard input. Several statements are one transaction, and take
no arguments; write -- before arguments that begin with "-". A database may also be named
first, as a URI or as "host=... dbname=...". What is not given comes from the environment
(PGHOST, PGUSER, PGPASSWORD, ...).

  python -m pgwire 'select $1::int + 1' 41         (single quotes: the shell knows $1 too)
  python -m pgwire -h db -U app -d shop --csv "table orders" > orders.csv
  python -m pgwire postgresql://app@db/shop --json < report.sql
  python -m pgwire copy --help     COPY from standard input or a file, and to it
  python -m pgwire demo            start a PostgreSQL, and show the pool at work
"""


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status, or raises `pgwire.Error`."""
    parser = _parser()
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_intermixed_args(arguments[:end])
    options.words += arguments[end + 1 :]  # argparse loses track of "--" among mixed words
    if options.version:
        print(f"pgwire {pgwire.__version__}")
        return 0
    if options.help:
        parser.print_help()
        return 0
    take_conninfo(options)
    if not options.words and (sys.stdin is None or sys.stdin.isatty()):
        parser.print_usage(sys.stderr)
        return 1
    sql, *params = options.words or [_read_stdin()]
    with connect(options) as connection:
        connection.on("notice", _print_notice)
        _run(connection, sql, params, options)
    return 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        hint = "write -- before arguments that begin with -; " if "unrecognized" in message else ""
        raise ProgrammingError(f"{message} ({hint}see --help)")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        usage=_USAGE,
        description="Run SQL on a PostgreSQL server.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,  # -h is the host
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    add_connection_options(parser)
    output = parser.add_argument_group("output")
    formats = output.add_mutually_exclusive_group()
    formats.add_argument("--csv", action="store_true", help="CSV, as COPY reads it")
    formats.add_argument("--json", action="store_true", help="a JSON array, row by row")
    output.add_argument(
        "--null", default="", metavar="TEXT", help="what stands for NULL in a table or in CSV"
    )
    other = parser.add_argument_group("other").add_argument
    other("--version", action="store_true", help="print the version")
    other("--help", action="store_true", help="print this")
    return parser


def add_connection_options(parser: argparse.ArgumentParser) -> None:
    """psql's options for where to connect; see `connect`."""
    add = parser.add_argument_group("connection").add_argument
    add("-h", "--host", metavar="HOST", help="host name, or the folder of a Unix socket")
    add("-p", "--port", metavar="PORT", help="port (5432)")
    add("-U", "--username", dest="user", metavar="USER", help="who to log in as")
    add("-d", "--dbname", metavar="DB", help="name of the database, a URI, or key=value pairs")
    add("-W", "--password", action="store_true", help="ask for the password")
    add("-w", "--no-password", action="store_true", help="never ask for it (so it is anyway)")


def take_conninfo(options: argparse.Namespace) -> None:
    """Have the first word name the database, if it is a connection string."""
    if options.words and _is_conninfo(options.words[0]):
        if options.dbname is not None:
            raise ProgrammingError("the database is given twice, with -d and in the first word")
        options.dbname = options.words.pop(0)


def _is_conninfo(word: str) -> bool:
    """Whether it is a connection string; no SQL statement begins like one."""
    if word.startswith(("postgresql://", "postgres://")):
        return True
    assignment = re.match(r"\s*(\w+)\s*=", word)
    return assignment is not None and assignment[1] in PARAMETERS


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ProgrammingError(
            f"the SQL on standard input is not UTF-8: byte {error.start + 1}"
        ) from None


# ---------------------------------------------------------------- connecting and running


class TextTypes(TypeRegistry):
    """Every type as PostgreSQL writes it: parameters and results are `str`."""

    def codec(self, oid: int) -> Codec:
        return literal_codec("text", oid, 0)

    def missing(self, oids: Iterable[int]) -> set[int]:
        return set()  # it does for all of them


class TextOpener(Opener):
    """Opens connections that know no types."""

    def registry(self, server: str) -> TypeRegistry:
        return TextTypes()


def connect(options: argparse.Namespace) -> Connection:
    """The connection that the options ask for.

    As in psql, a connection string wins over the other options, and a `--dbname` is one if
    it is a URI or holds "=".
    """
    parameters = {name: getattr(options, name) for name in ("host", "port", "user", "dbname")}
    dbname = options.dbname or ""
    if "=" in dbname or _is_conninfo(dbname):
        parameters["dbname"] = None
        parameters |= conninfo_to_dict(dbname)
    parameters.setdefault("fallback_application_name", "pgwire")
    if options.password:
        parameters["password"] = _ask_password()
    return Connection(TextOpener(settings("", parameters)).open())


def _ask_password() -> str:
    try:
        return getpass.getpass("Password: ")
    except EOFError:
        raise ProgrammingError("no password was given") from None


def _run(
    connection: Connection, sql: str, params: Sequence[str], options: argparse.Namespace
) -> None:
    try:
        results = [connection.query(sql, params)] if params else connection.script(sql)
    except PostgresError as error:
        # What the statements before it gave; their changes are undone.
        _print_results(getattr(error, "results", ()), options)
        raise
    except NotSupportedError as error:
        if "copy_" not in str(error):
            raise
        raise NotSupportedError(
            "COPY with STDIN or STDOUT is what python -m pgwire copy does"
        ) from None
    _print_results(results, options)


def _print_notice(notice: PostgresError) -> None:
    print(f"{notice.severity}: {notice}", file=sys.stderr)


def _print_results(results: Iterable[Result[Row]], options: argparse.Namespace) -> None:
    out = sys.stdout
    for_machines = options.csv or options.json
    _accept_all_text(out, for_machines=for_machines)
    after_table = False
    for result in results:
        rows = result.mapped(tuple).rows
        if not result.columns:
            lines: Iterable[str] = [] if for_machines else filter(None, [result.command_tag])
        elif options.csv:
            lines = csv_lines(result.columns, rows, options.null)
        elif options.json:
            lines = json_lines(result.columns, rows)
        else:
            lines = table_lines(result.columns, rows, options.null)
        if after_table:
            out.write("\n")
        for line in lines:
            out.write(line + "\n")
        after_table = not for_machines and bool(result.columns)


def _accept_all_text(out: TextIO, *, for_machines: bool) -> None:
    """See to it that no character fails: files are UTF-8, a terminal shows what it can."""
    reconfigure = getattr(out, "reconfigure", None)
    if reconfigure is not None and for_machines:
        reconfigure(encoding="utf-8")
    elif reconfigure is not None:
        reconfigure(errors="backslashreplace")


# ---------------------------------------------------------------- a table

_NUMBERS = {oids.INT2, oids.INT4, oids.INT8, oids.OID, oids.FLOAT4, oids.FLOAT8, oids.NUMERIC}
_MONEY, _XID, _CID, _XID8 = 790, 28, 29, 5069
_RIGHT_ALIGNED = _NUMBERS | {_MONEY, _XID, _CID, _XID8}


def table_lines(columns: Sequence[Column], rows: Rows, null: str = "") -> Iterator[str]:
    """An aligned table as psql's, with its row count."""
    header = [_shown(column.name.replace("\n", " ")) for column in columns]
    cells = [[_cell(null if value is None else value) for value in row] for row in rows]
    widths = [
        max(map(display_width, [name, *(line for row in cells for line in row[index])]))
        for index, name in enumerate(header)
    ]
    to_the_right = [column.type_oid in _RIGHT_ALIGNED for column in columns]
    yield "|".join(map(_centered, header, widths)).rstrip()
    yield "+".join("-" * (width + 2) for width in widths)
    for row in cells:
        yield from _row_lines(row, widths, to_the_right)
    yield f"({len(rows)} row{'s' * (len(rows) != 1)})"


def _row_lines(row: list[list[str]], widths: list[int], to_the_right: list[bool]) -> Iterator[str]:
    """The lines of one row; a "+" behind a value says that it goes on in the next line."""
    for number in range(max(map(len, row))):
        cells = []
        for lines, width, right in zip(row, widths, to_the_right, strict=True):
            text = lines[number] if number < len(lines) else ""
            blanks = " " * (width - display_width(text))
            more = "+" if number + 1 < len(lines) else " "
            cells.append(f" {blanks}{text}{more}" if right else f" {text}{blanks}{more}")
        yield "|".join(cells).rstrip()


def _centered(text: str, width: int) -> str:
    blanks = width - display_width(text)
    return " " * (1 + blanks // 2) + text + " " * (1 + blanks - blanks // 2)


def _cell(text: str) -> list[str]:
    return [_shown(line) for line in text.expandtabs().split("\n")]


# Control and format characters, and line separators; but joiners are a part of words.
_NOT_SHOWN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"


def _shown(text: str) -> str:
    """The text with escapes for what could steer a terminal, or spoil the table."""
    if text.isprintable():
        return text
    return "".join(
        c.encode("unicode_escape").decode()
        if unicodedata.category(c) in _NOT_SHOWN and c not in _JOINERS
        else c
        for c in text
    )


def display_width(text: str) -> int:
    """The columns that the text takes in a terminal: wide characters two, marks none."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


def _character_width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


# ---------------------------------------------------------------- CSV and JSON


def csv_lines(columns: Sequence[Column], rows: Rows, null: str = "") -> Iterator[str]:
    """CSV with a header, as COPY writes and reads it.

    NULL stands without quotes, so that it is not an empty string, nor a text like `null`.
    """
    yield ",".join(_csv_field(column.name, null) for column in columns)
    for row in rows:
        yield ",".join(null if value is None else _csv_field(value, null) for value in row)


_needs_quotes = re.compile(r'[",\r\n]').search


def _csv_field(text: str, null: str) -> str:
    # "\." alone on a line ends the data for COPY.
    if text in ("", null, "\\.") or _needs_quotes(text):
        return '"' + text.replace('"', '""') + '"'
    return text


def json_lines(columns: Sequence[Column], rows: Rows) -> Iterator[str]:
    """A JSON array with a line for each row.

    Rows are objects, or arrays where two columns have the same name. Numbers, booleans, NULL
    and JSON are what they are, number by number as PostgreSQL writes it; the rest is strings.
    """
    names = [column.name for column in columns]
    begin, end, keys = "[", "]", [""] * len(names)
    if len(set(names)) == len(names):
        begin, end, keys = "{", "}", [f"{_json_string(name)}: " for name in names]
    last = len(rows) - 1
    yield "["
    for number, row in enumerate(rows):
        values = map(_json_value, columns, row)
        members = ", ".join(map("".join, zip(keys, values, strict=True)))
        yield f"  {begin}{members}{end}{',' if number < last else ''}"
    yield "]"


_is_json_number = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?").fullmatch


def _json_value(column: Column, text: str | None) -> str:
    if text is None:
        return "null"
    if column.type_oid == oids.BOOL:
        return "true" if text == "t" else "false"
    if column.type_oid in (oids.JSON, oids.JSONB):
        return text.replace("\n", " ").replace("\r", " ")  # inside of strings there are none
    if column.type_oid in _NUMBERS and _is_json_number(text):
        return text
    return _json_string(text)  # NaN and Infinity too: JSON has no such numbers


def _json_string(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
