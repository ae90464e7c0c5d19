"""`python -m pgwire copy`: COPY between the server and a file, or a standard stream.

Bytes go as they are, in either direction and in bounded memory; how many rows there were is said
on standard error. Knows which way a COPY goes by its last words; the server knows better, and a
COPY that goes the other way is an error of the call's.
"""

from __future__ import annotations

import argparse
import re
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from pgwire.cli import Parser, add_connection_options, connect, take_conninfo
from pgwire.errors import ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

_USAGE = 'python -m pgwire copy [options] [CONNINFO] "COPY ..." [FILE]'
_EXAMPLES = """\
A COPY FROM STDIN takes its data from FILE, or from standard input; a COPY TO STDOUT writes them
to FILE, or to standard output. FILE is written anew.

  python -m pgwire copy "copy orders from stdin (format csv, header)" orders.csv
  python -m pgwire copy -d shop "copy (select * from orders) to stdout" | gzip > orders.gz
"""
_DIRECTION = re.compile(r"\b(?:from\s+(stdin)|to\s+(stdout))\b", re.IGNORECASE)


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
    sql, *files = options.words
    directions = list(_DIRECTION.finditer(sql))
    if not directions:
        raise ProgrammingError("the statement must be a COPY ... FROM STDIN or ... TO STDOUT")
    is_in = directions[-1][1] is not None
    with connect(options) as connection, _file(files, "rb" if is_in else "wb") as file:
        count = connection.copy_in(sql, file) if is_in else connection.copy_out(sql, file)
        if not is_in:
            file.flush()
    print(f"COPY {count}", file=sys.stderr)
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
    other = parser.add_argument_group("other").add_argument
    other("--help", action="store_true", help="print this")
    return parser


def _file(names: Sequence[str], mode: str) -> AbstractContextManager[Any]:
    if names:
        try:
            return open(names[0], mode)
        except OSError as error:
            raise ProgrammingError(f"{names[0]}: {error.strerror}") from None
    return nullcontext(sys.stdin.buffer if mode == "rb" else sys.stdout.buffer)
