"""`python -m pgwire copy`: COPY between the server and a file, or a standard stream.

Bytes go as they are, in either direction and in bounded memory. Standard output gets data and
nothing else; how far it has come, and how many rows there were, is said on standard error. Knows
which way a COPY goes by its last words; the server knows better, and a COPY that goes the other way
is an error of the call's. For a table alone the standard streams tell, by which one is redirected.
"""

from __future__ import annotations

import argparse
import os
import re
import stat
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pgwire.cli import Parser, add_connection_options, connect, take_conninfo
from pgwire.cli_bar import Bar, is_terminal, say
from pgwire.errors import ProgrammingError
from pgwire.protocol.changes import first_word

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    from pgwire.errors import PostgresError

_USAGE = "python -m pgwire copy [options] [CONNINFO] WHAT [FILE]"
_EXAMPLES = """\
WHAT is a table, as in SQL ("shop.orders", "orders (id, price)"), a query, or a COPY statement.
A query's rows go out, to FILE or standard output. A table's come from standard input where that is
redirected, and go to standard output where that is; where both are, or FILE is given, --in or --out
says which. FILE is written anew.

  python -m pgwire copy orders < orders.csv
  python -m pgwire copy orders > orders.csv
  python -m pgwire copy --in --header orders orders.csv
  python -m pgwire copy -d shop "select * from orders where price > 9" > dear.csv
  python -m pgwire copy "copy orders from stdin (format csv, delimiter ';')" orders.csv
"""
_DIRECTION = re.compile(r"\b(?:from\s+(stdin)|to\s+(stdout))\b", re.IGNORECASE)
_IS_QUERY = re.compile(r"(?:select|values|with|table|insert|update|delete|merge)$", re.IGNORECASE)


def main(arguments: Sequence[str]) -> int:
    """Run what the command line asks for; returns the exit status, or raises `pgwire.Error`."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.help:
        parser.print_help()
        return 0
    take_conninfo(options)
    if not 1 <= len(options.words) <= 2:
        parser.print_usage(sys.stderr)
        return 1
    what, *files = options.words
    sql, is_in = _statement(what, options, bool(files))
    with connect(options) as connection, _file(files, "rb" if is_in else "wb") as file:
        with _bar(options, file if is_in else None, to_screen=not (is_in or files)) as bar:

            def on_notice(notice: PostgresError) -> None:
                bar.clear()
                say(f"{notice.severity}: {notice}")

            connection.on("notice", on_notice)
            if is_in:
                count = connection.copy_in(sql, file, progress=bar)
            else:
                count = connection.copy_out(sql, file, progress=bar)
                file.flush()
    if not options.quiet:
        say(f"COPY {count}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        usage=_USAGE,
        description="COPY data into a PostgreSQL server, or out of it.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,  # -h is the host
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    add_connection_options(parser)
    group = parser.add_argument_group("data, where WHAT is a table or a query")
    ways = group.add_mutually_exclusive_group()
    ways.add_argument("--in", dest="is_in", action="store_true", help="into the table")
    ways.add_argument("--out", dest="is_out", action="store_true", help="out of it")
    formats = ("csv", "text", "binary")
    group.add_argument("--format", choices=formats, default="csv", help="COPY's; default: csv")
    group.add_argument("--header", action="store_true", help="names stand in the first line")
    other = parser.add_argument_group("other")
    shown = other.add_mutually_exclusive_group()
    shown.add_argument("--progress", action="store_true", help="show a bar in any case")
    shown.add_argument("-q", "--quiet", action="store_true", help="say nothing but errors")
    other.add_argument("--help", action="store_true", help="print this")
    return parser


def _statement(what: str, options: argparse.Namespace, has_file: bool) -> tuple[str, bool]:
    """The COPY that is meant, and whether it is one from the client."""
    word = first_word(what)
    is_one_word = what.strip() == word
    if word.lower() == "copy" and not is_one_word:
        directions = list(_DIRECTION.finditer(what))
        if not directions:
            raise ProgrammingError("the statement must be a COPY ... FROM STDIN or ... TO STDOUT")
        if options.is_in or options.is_out or options.header or options.format != "csv":
            raise ProgrammingError("--in, --out, --format and --header are for tables and queries")
        return what, directions[-1][1] is not None
    header = ", HEADER" if options.header else ""
    form = f"(FORMAT {options.format}{header})"
    if _IS_QUERY.match(word) and not is_one_word:
        if options.is_in:
            raise ProgrammingError("--in needs a table: nothing can be copied into a query")
        query = what.rstrip("; \t\r\n")
        return f"COPY ({query}\n) TO STDOUT {form}", False  # it may end with a comment
    if options.is_in or (not options.is_out and _comes_in(has_file)):
        return f"COPY {what} FROM STDIN {form}", True
    return f"COPY {what} TO STDOUT {form}", False


def _comes_in(has_file: bool) -> bool:
    """Which way a table goes, as nobody has said it: where data are, or are wanted.

    A file is more of a reason than a pipe, which may be there to hear what is said.
    """
    given, wanted = _redirected(sys.stdin), _redirected(sys.stdout)
    if has_file or given == wanted:
        raise ProgrammingError(
            "say --in to copy into the table, or --out to copy out of it; it can only be told "
            "where standard input or output, one of them, is a file or a pipe"
        )
    return given > wanted


def _redirected(stream: Any) -> int:
    """2 for a file, 1 for a pipe, 0 for a terminal, or nothing."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (AttributeError, OSError, ValueError):
        return 0
    if stat.S_ISREG(mode):
        return 2
    return 1 if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) else 0


def _bar(options: argparse.Namespace, source: Any, *, to_screen: bool) -> Bar:
    """What shows how far it is: if somebody looks, and it does not come between the data."""
    mixed = to_screen and is_terminal(sys.stdout)
    shown = options.progress or (is_terminal(sys.stderr) and not mixed and not options.quiet)
    return Bar(shown=shown, total=None if source is None else _size_of(source))


def _size_of(file: Any) -> int | None:
    """How many bytes are left to be read of it; None if that is not known."""
    try:
        status = os.fstat(file.fileno())
        return status.st_size - file.tell() if stat.S_ISREG(status.st_mode) else None
    except (OSError, ValueError):
        return None


def _file(names: Sequence[str], mode: str) -> AbstractContextManager[Any]:
    if names:
        try:
            return open(names[0], mode)
        except OSError as error:
            raise ProgrammingError(f"{names[0]}: {error.strerror}") from None
    if mode == "wb":
        return nullcontext(sys.stdout.buffer)
    # What there is, and not a whole block: a pipe may be slow, and Ctrl-C is heard in between.
    return nullcontext(getattr(sys.stdin.buffer, "raw", sys.stdin.buffer))
