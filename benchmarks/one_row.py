"""One row by its key, cached: what a query costs the client, against asyncpg and psycopg.

    python benchmarks/one_row.py [--quick] [--seconds N] [--pin HOW] [--profile] [--out FOLDER]

`select id, name from item where id = $1`, one connection each to one server (TCP, no TLS, no
password), the variants taking turns: pgwire's `conn.query().one()`; asyncpg's
`conn.fetchrow()` inside of one coroutine on asyncio's own loop; psycopg with its C library, a
cursor that is used again, `prepare_threshold=0`, autocommit. Each fetches the row as its users
would get it.

Measured are the client's CPU time (`time.process_time`: user and system, so the kernel's share
of sending and receiving is in it) and the time on the clock, per query. Client and server are
kept on one core (Linux), where the scheduler mostly puts two that wait for each other: if it
did so for one variant and not for another, that would be all one sees. `--pin apart` keeps
them on two cores, `--pin no` leaves it to the scheduler. `--profile` counts the calls that one
query makes in pgwire instead.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import asyncpg
import harness
import psycopg

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    # Runs so many queries.
    Variant = Callable[[int], None]

SQL = "select id, name from item where id = $1"
ROWS = 1000
BATCH = 500  # queries of one variant, in one round
REFERENCE = "asyncpg"
# What the client's CPU time may be, in units of the reference's.
MARK = 0.6


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="One cached row: client CPU and time per query.")
    parser.add_argument("--quick", action="store_true", help="a second or two, to see it work")
    parser.add_argument("--seconds", type=float, default=20, help="for all of it (20)")
    parser.add_argument(
        "--pin",
        choices=("together", "apart", "no"),
        default="together" if hasattr(os, "sched_setaffinity") else "no",
        help="client and server on one core, on two, or anywhere (Linux; together)",
    )
    parser.add_argument("--profile", action="store_true", help="count pgwire's calls per query")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the JSON")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.server(logins={"trusted": "trust"}))
        except embedded.Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        if options.pin != "no" and not _pin(server, together=options.pin == "together"):
            print("--pin apart takes Linux and two cores", file=sys.stderr)
            return 1
        _create_table(server)
        url = server.url_for("trusted", sslmode="disable")
        if options.profile:
            _profile(url)
            return 0
        variants = {
            "pgwire": stack.enter_context(_pgwire(url)),
            "asyncpg": stack.enter_context(_asyncpg(url)),
            "psycopg": stack.enter_context(_psycopg(url)),
        }
        cpu, wall = _measure(variants, 1.0 if options.quick else options.seconds)
        facts = harness.circumstances(
            ["asyncpg"],
            psycopg=f"{psycopg.__version__} ({psycopg.pq.__impl__})",
            pgwire=pgwire.__version__,
            PostgreSQL=server.installation.version,
        )
    _report(cpu, wall, facts | {"pinned": options.pin}, options.out)
    return 0


def _pin(server: embedded.Server, *, together: bool) -> bool:
    """Client and server on one core, or on two; backends inherit the postmaster's."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    first, *others = sorted(os.sched_getaffinity(0))
    if not together and not others:
        return False
    os.sched_setaffinity(server.pid, [first] if together else others)
    os.sched_setaffinity(0, [first])
    return True


def _create_table(server: embedded.Server) -> None:
    with pgwire.connect(server.url, sslmode="disable") as conn:
        conn.script(
            f"""
            create table item (id int primary key, name text);
            insert into item select n, 'item number ' || n from generate_series(1, {ROWS}) n;
            grant select on item to trusted;
            """
        )
        conn.query("analyze item")


# ---------------------------------------------------------------- the variants


@contextmanager
def _pgwire(url: str) -> Iterator[Variant]:
    with pgwire.connect(url) as conn:

        def run(count: int) -> None:
            for number in range(count):
                conn.query(SQL, [number % ROWS + 1]).one()

        yield run


@contextmanager
def _asyncpg(url: str) -> Iterator[Variant]:
    with asyncio.Runner() as runner:
        conn: Any = runner.run(asyncpg.connect(url))

        async def queries(count: int) -> None:
            for number in range(count):
                await conn.fetchrow(SQL, number % ROWS + 1)

        yield lambda count: runner.run(queries(count))
        runner.run(conn.close())


@contextmanager
def _psycopg(url: str) -> Iterator[Variant]:
    sql = SQL.replace("$1", "%s")
    with (
        psycopg.connect(url, autocommit=True, prepare_threshold=0) as conn,
        conn.cursor() as cursor,
    ):

        def run(count: int) -> None:
            for number in range(count):
                cursor.execute(sql, (number % ROWS + 1,)).fetchone()

        yield run


# ---------------------------------------------------------------- measuring


def _measure(
    variants: dict[str, Variant], seconds: float
) -> tuple[list[harness.Series], list[harness.Series]]:
    """CPU time and time on the clock: per variant and round, the mean of a batch of queries."""
    cpu = {name: harness.Series(name) for name in variants}
    wall = {name: harness.Series(name) for name in variants}
    began = perf_counter()
    for run in variants.values():  # warm: statements prepared, caches filled
        run(BATCH)
    rounds = max(len(variants), round(seconds / (perf_counter() - began)))
    progress = harness.Progress(rounds)
    for order in harness.alternate(list(variants), rounds):
        for name in order:
            run = variants[name]
            clock, processor = perf_counter(), process_time()
            run(BATCH)
            cpu[name].rounds.append([(process_time() - processor) / BATCH])
            wall[name].rounds.append([(perf_counter() - clock) / BATCH])
        progress.step("one row by its key")
    return list(cpu.values()), list(wall.values())


def _report(
    cpu: list[harness.Series], wall: list[harness.Series], facts: dict[str, Any], out: Path
) -> None:
    reference = [series.name for series in cpu].index(REFERENCE)
    ratios = [
        (harness.ratio(c, cpu[reference]), harness.ratio(w, wall[reference]))
        for c, w in zip(cpu, wall, strict=True)
    ]
    rows = [
        (c.name, _microseconds(c), str(r[0]), _microseconds(w), str(r[1]))
        for c, w, r in zip(cpu, wall, ratios, strict=True)
    ]
    header = ("", "CPU, µs", f"of {REFERENCE}'s", "clock, µs", f"of {REFERENCE}'s")
    own = ratios[[series.name for series in cpu].index("pgwire")][0].median
    print(
        f"{SQL}\nMedian per query; in brackets the middle 80 % of {len(cpu[0].rounds)} rounds"
        f" of {BATCH} queries.\n{harness.summary(facts)}\n\n{harness.markdown_table(header, rows)}"
        f"\n\npgwire's client CPU is {own:.2f} of {REFERENCE}'s; the mark is {MARK} at most."
    )
    results = {
        c.name: {
            "cpu": c.figures(),
            "clock": w.figures(),
            "cpu_ratio": r[0].figures(),
            "clock_ratio": r[1].figures(),
        }
        for c, w, r in zip(cpu, wall, ratios, strict=True)
    }
    harness.write_json(out / "one_row.json", facts | {"sql": SQL, "results": results})


def _microseconds(series: harness.Series) -> str:
    low, high = series.spread
    return f"{series.median * 1e6:.1f} ({low * 1e6:.1f} to {high * 1e6:.1f})"


# ---------------------------------------------------------------- where the time goes


def _profile(url: str) -> None:
    """Print what one query calls, Python functions and C functions, the most frequent first."""
    counts: Counter[str] = Counter()

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            code = frame.f_code
            counts[f"{Path(code.co_filename).name}:{code.co_qualname}"] += 1
        elif event == "c_call":
            counts[f"C {getattr(argument, '__qualname__', argument)}"] += 1

    with _pgwire(url) as run:
        run(BATCH)
        sys.setprofile(note)
        try:
            run(BATCH)
        finally:
            sys.setprofile(None)
    python = sum(count for name, count in counts.items() if not name.startswith("C "))
    print(f"one query: {python / BATCH:.1f} calls of Python functions,", end=" ")
    print(f"{(counts.total() - python) / BATCH:.1f} of C functions\n")
    for name, count in counts.most_common():
        if count >= BATCH:
            print(f"{count / BATCH:5.1f}  {name}")


if __name__ == "__main__":
    sys.exit(main())
