"""What the time of a query consists of: the server's and the system's part, decoding, rows.

    python benchmarks/parts.py [--seconds N] [--only WORKLOAD …] [--quick] [--out FOLDER]

For workloads of the suite, in turns: the query as pgwire runs it; the same bytes sent, and the
answer received and thrown away ("bare": no driver can take less); the rows of that answer decoded
from memory; rows made of the decoded tuples; and asyncpg, with all that it does. Blocking, on one
connection for each; asyncpg's, if it is installed, in a loop that runs nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
import peers
import workloads
from turns import Watch, summed_up, take_turns

import pgwire
from pgwire import embedded
from pgwire.protocol.rows import Result

if TYPE_CHECKING:
    from collections.abc import Iterator

# By the clock: a single row is the scheduler's, unless client and server are kept on one core.
NAMES = (
    "1,000 rows, numbers",
    "1,000 rows, mixed",
    "1,000 rows, half NULL",
    "1,000 rows, texts",
    "1,000 rows, rich",
    "50,000 rows, numbers",
    "50,000 rows, texts",
)
PARTS = ("query", "bare", "decode", "rows", "asyncpg")
_READY = b"Z\0\0\0\5I"


class Query:
    """A query of pgwire's, and its parts: what it sends and receives, and what is made of that."""

    def __init__(self, peer: peers.Pgwire, sql: str) -> None:
        self.query = peer.rows(sql)
        self.query(3, Watch())  # by then it is prepared, and its decoder is the one that will stay
        driver = peer.conn._driver
        self._sock = driver.channel.sock
        self._statement = statement = driver.session.statements.get(sql)
        self._message = bytes(statement.bind_query(()))
        answer = b"".join(self._exchange())
        self._run = answer[answer.index(b"D") :]
        self._tuples: list[tuple[Any, ...]] = []
        statement.decode_rows(self._run, 0, len(self._run), self._tuples)

    def _exchange(self) -> Iterator[bytes]:
        self._sock.sendall(self._message)
        piece = b""
        while not piece.endswith(_READY):
            piece = self._sock.recv(65_536)
            yield piece

    def bare(self, count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                for _piece in self._exchange():
                    pass

    def decode(self, count: int, watch: Watch) -> None:
        with watch:
            for _ in range(count):
                self._statement.decode_rows(self._run, 0, len(self._run), [])

    def rows(self, count: int, watch: Watch) -> None:
        statement = self._statement
        with watch:
            for _ in range(count):
                result: Result[Any] = Result(
                    list(self._tuples), statement.columns, "", statement.row_class
                )
                _made = result.rows


def main() -> int:
    options = _options()
    questions = {one.name: one for one in workloads.questions()}
    results = {}
    with embedded.server(settings={"autovacuum": "off"}) as server, asyncio.Runner() as runner:
        with pgwire.connect(server.url) as conn:
            conn.script(workloads.tables(2_000 if options.quick else workloads.MOST_ROWS))
        for name in options.only:
            results[name] = _measured(runner, server.url, questions[name].sql, options)
            print(name, file=sys.stderr)
    facts = harness.circumstances(["asyncpg"], pgwire=f"{pgwire.__version__} ({harness.commit()})")
    text = f"{table(results)}\n\n{harness.summary(facts)}.\n"
    print(f"\n{text}")
    harness.write_json(options.out / "parts.json", facts | {"results": results})
    harness.write(options.out / "parts.md", text)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="What the time of a query consists of.")
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, metavar="WORKLOAD")
    parser.add_argument("--quick", action="store_true", help="a smoke test: no figure counts")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the files")
    return parser.parse_args()


def _measured(runner: asyncio.Runner, url: str, sql: str, options: Any) -> dict[str, Any]:
    with closing(peers.Pgwire(url, runner)) as ours, ExitStack() as stack:
        parts = Query(ours, sql)
        runs = {name: getattr(parts, name) for name in PARTS[:-1]}
        if find_spec("asyncpg"):
            runs["asyncpg"] = stack.enter_context(closing(peers.Asyncpg(url, runner))).rows(sql)
        seconds = options.seconds / len(options.only)
        turns = take_turns(runs, "query", seconds, quick=options.quick)
        return summed_up(turns, "query", "wall")


def table(results: dict[str, dict[str, Any]]) -> str:
    """By workload, in microseconds."""
    rows = []
    for name, parts in results.items():
        cells = [
            f"{parts[one]['wall']['median'] * 1e6:,.0f}" if one in parts else "" for one in PARTS
        ]
        rows.append((name, *cells))
    header = ("µs", "pgwire", "bare", "decoding", "rows", "asyncpg")
    return harness.markdown_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
