"""`python -m pgwire`, and the command `pgwire`: what is asked for, and how it ends.

Knows the subcommands, exit statuses and what a user sees of an error. Must not know options,
SQL or formats. "demo" and "copy" are subcommands as the first word only.

Status 0: done. 1: an error, told on standard error without a traceback. 130: Ctrl-C. 141:
whoever read our output has gone (`| head`), which is no news to anybody.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from pgwire.errors import ConnectionFailed, Error, PostgresError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Sequence

_INTERRUPTED = 130
_BROKEN_PIPE = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line (default: `sys.argv`); returns the exit status."""
    if sys.stdout is None:  # then nothing is begun either
        _complain(ProgrammingError("standard output is closed"))
        return 1
    try:
        try:
            return _run(list(sys.argv[1:] if arguments is None else arguments))
        finally:
            sys.stdout.flush()  # at the interpreter's end it would be too late for a clean word
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _drop_output()
        return _BROKEN_PIPE
    except Error as error:
        _complain(error)
    except OSError as error:  # a full disk, most likely under our output
        _drop_output()
        _complain(error)
    return 1


def _run(words: list[str]) -> int:
    match words:
        case ["demo", *rest]:
            from pgwire import demo

            return demo.main(rest)
        case ["copy", *rest]:
            from pgwire import cli_copy

            return cli_copy.main(rest)
        case _:
            from pgwire import cli

            return cli.main(words)


def _complain(error: Exception) -> None:
    """The error on standard error: the server's under its own severity, ours under our name."""
    own = not isinstance(error, PostgresError) or isinstance(error, ConnectionFailed)
    source = "pgwire" if own else getattr(error, "severity", "ERROR")
    if sys.stderr is None:
        return  # it would go among the output
    print(f"{source}: {error}", file=sys.stderr)
    context = getattr(error, "where", None) or ""
    if context.startswith("COPY "):  # it has the line and the column
        print(f"CONTEXT: {context}", file=sys.stderr)


def _drop_output() -> None:
    """Let what is still buffered for standard output go nowhere, instead of failing again."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
