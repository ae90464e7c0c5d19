"""The pool on one page: await a query, let another run by itself, and end in order.

`pool.query` takes its place in the queue when it is called, and gives a future. Await it, or
leave it a callback; `end()` serves all that was asked for before it, then closes.

    python examples/pooling.py postgresql://app:secret@db/app
    PGHOST=db PGUSER=app python examples/pooling.py
    python examples/pooling.py                   # on a throw-away PostgreSQL: pgwire[embedded]
"""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator


async def main(dsn: str) -> None:
    pool = pgwire.AsyncPool(dsn)

    print("starting async query")
    await pool.query("select now()")
    print("async query finished")

    print("starting callback query")
    query = pool.query("select now()")
    query.add_done_callback(lambda query: print("callback query finished"))

    print("calling end")
    await pool.end()
    print("pool has drained")


@contextmanager
def any_server() -> Iterator[str]:
    """Where to connect: the command line, else the environment, else a server of our own."""
    if len(sys.argv) > 1:
        yield sys.argv[1]
    elif os.environ.keys() & {
        "PGSERVICE",
        "PGHOST",
        "PGHOSTADDR",
        "PGPORT",
        "PGUSER",
        "PGDATABASE",
    }:
        yield ""  # pgwire looks there itself
    else:
        with embedded.server() as server:
            yield server.url


if __name__ == "__main__":
    try:
        with any_server() as dsn:
            asyncio.run(main(dsn))
    except (pgwire.Error, embedded.Unavailable) as error:
        sys.exit(f"{type(error).__name__}: {error}")
