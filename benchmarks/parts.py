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
import json
import statistics
import sys
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import harness
import workloads

import pgwire
from pgwire import embedded
from pgwire.protocol.rows import Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from workloads import Question

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
asyncpg: Any = import_module("asyncpg") if find_spec("asyncpg") else None
PARTS = ("query", "bare", "decode", "rows", "asyncpg")
_READY = b"Z\0\0\0\5I"


@dataclass
class Times:
    wall: list[float]
    cpu: list[float]

    def figures(self) -> dict[str, float]:
        return {"wall": statistics.median(self.wall), "cpu": statistics.median(self.cpu)}


class Bare:
    """A query of pgwire's, with what it sends and receives taken from it."""

    def __init__(self, conn: pgwire.Connection, question: Question, params: list[Any]) -> None:
        self.conn, self.question, self.params = conn, question, params
        for _ in range(3):  # by then it is prepared, and its decoder is the one that will stay
            conn.query(question.sql, params)
        driver: Any = conn._driver
        self.sock = driver.channel.sock
        self.statement = driver.session.statements.get(question.sql)
        self.message = bytes(self.statement.bind_query(params))
        answer = self.exchange()
        self.run = answer[answer.index(b"D") :]
        self.tuples = self.decode()

    def exchange(self) -> bytes:
        self.sock.sendall(self.message)
        pieces = [self.sock.recv(65_536)]
        while not pieces[-1].endswith(_READY):
            pieces.append(self.sock.recv(65_536))
        return b"".join(pieces)

    def bare(self) -> None:
        self.sock.sendall(self.message)
        while not self.sock.recv(65_536).endswith(_READY):
            pass

    def query(self) -> list[Any]:
        return self.conn.query(self.question.sql, self.params).rows

    def decode(self) -> list[tuple[Any, ...]]:
        rows: list[tuple[Any, ...]] = []
        self.statement.decode_rows(self.run, 0, len(self.run), rows)
        return rows

    def rows(self) -> list[Any]:
        statement = self.statement
        found: Result[Any] = Result(self.tuples, statement.columns, "", statement.row_class)
        return found.rows


def main() -> int:
    options = _options()
    questions = {one.name: one for one in workloads.questions()}
    results = {}
    with embedded.server(settings={"autovacuum": "off"}) as server, asyncio.Runner() as runner:
        with pgwire.connect(server.url) as conn:
            conn.script(workloads.tables(2_000 if options.quick else workloads.MOST_ROWS))
        names = options.only or NAMES
        for name in names:
            seconds = options.seconds / len(names)
            with pgwire.connect(server.url) as conn:
                results[name] = _measured(runner, server.url, conn, questions[name], seconds)
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
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="WORKLOAD")
    parser.add_argument("--quick", action="store_true", help="a smoke test: no figure counts")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the files")
    options = parser.parse_args()
    options.seconds = 0.5 if options.quick else options.seconds
    return options


def _measured(
    runner: asyncio.Runner,
    url: str,
    conn: pgwire.Connection,
    question: Question,
    seconds: float,
) -> dict[str, dict[str, float]]:
    params = [1] if "$1" in question.sql else []
    ours = Bare(conn, question, params)
    calls = {name: _repeated(getattr(ours, name)) for name in PARTS[:-1]}
    if asyncpg is None:
        return {name: one.figures() for name, one in take_turns(calls, seconds).items()}
    theirs = runner.run(asyncpg.connect(url, ssl=False))
    codec = {"encoder": json.dumps, "decoder": json.loads}
    runner.run(theirs.set_type_codec("jsonb", schema="pg_catalog", **codec))
    statement = runner.run(theirs.prepare(question.sql))

    async def fetch(times: int) -> None:
        for _ in range(times):
            await statement.fetch(*params)

    calls["asyncpg"] = lambda times: runner.run(fetch(times))
    times = take_turns(calls, seconds)
    runner.run(theirs.close())
    return {name: one.figures() for name, one in times.items()}


def _repeated(call: Callable[[], object]) -> Callable[[int], object]:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def take_turns(calls: Mapping[str, Callable[[int], object]], seconds: float) -> dict[str, Times]:
    """Each in turn, some milliseconds at a time, in another order each round."""
    each = {}
    for name, call in calls.items():
        call(2)
        began = perf_counter()
        call(2)
        each[name] = max(1, int(2 * 0.01 / (perf_counter() - began)))
    found = {name: Times([], []) for name in calls}
    rounds = max(3, int(seconds / 0.01 / len(calls)))
    for order in harness.alternate(list(calls), rounds):
        for name in order:
            wall, cpu = perf_counter(), process_time()
            calls[name](each[name])
            found[name].cpu.append((process_time() - cpu) / each[name])
            found[name].wall.append((perf_counter() - wall) / each[name])
    return found


def table(results: dict[str, dict[str, dict[str, float]]]) -> str:
    """By workload, in microseconds."""
    rows = []
    for name, parts in results.items():
        cells = [f"{parts[one]['wall'] * 1e6:,.0f}" if one in parts else "" for one in PARTS]
        rows.append((name, *cells))
    header = ("µs", "pgwire", "bare", "decoding", "rows", "asyncpg")
    return harness.markdown_table(header, rows)


if __name__ == "__main__":
    sys.exit(main())
