"""How much memory large amounts take: ten million rows streamed, a gigabyte copied each way.

    python benchmarks/bulk.py [--scale 0.1] [--only stream copy_in] [--out FOLDER]

Each run has a process of its own, whose peak (VmHWM: the most that was resident) is compared with
what it had when it was connected and had asked something. What was moved is counted and compared,
too. Where a peak is more than `BOUND` above the start, the exit status is 1.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import harness

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

BOUND = 100  # MB
TABLE = "bulk_moved"
CREATE = f"create unlogged table {TABLE} (id int8, name text, ratio float8)"
# What a row of each kind of data is, and how many there are of it at full size.
LINE = b"1\t" + b"some text that is no number " * 35 + b"\t0.25\n"
GIGABYTE = 1_000_000_000
SIZES = {
    "stream": 10_000_000,
    "copy_in": GIGABYTE // len(LINE) + 1,
    "copy_out": GIGABYTE // 1000,
    "copy_records": 4_000_000,
    "query_many": 2_000_000,
}
SHELLS = ("blocking", "asyncio")
WAYS = ("connection", "pool")
ROWS = """\
select n as id, 'item number ' || n as name, n / 7.0::float8 as ratio
from generate_series(1, $1::int) n"""
INSERT = f"insert into {TABLE} values ($1, $2, $3)"
COPY_IN = f"copy {TABLE} from stdin"
COPY_OUT = "copy (select repeat('x', 999) from generate_series(1, {})) to stdout"


class Counter:
    """A file that counts what is written to it."""

    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


def records(count: int) -> Iterator[tuple[int, str, float]]:
    return ((n, f"item number {n}", n / 7) for n in range(count))


def lines(count: int) -> Iterator[bytes]:
    """In pieces of some hundred kilobytes, and what is left."""
    whole, rest = divmod(count, 100)
    yield from repeat(LINE * 100, whole)
    yield LINE * rest


# ---------------------------------------------------------------- in a process of its own


def move(who: pgwire.Connection | pgwire.Pool, what: str, count: int) -> int:
    """Do it; how many rows (of a stream) or bytes there were, or what was counted."""
    if what == "stream":
        return sum(1 for _ in who.stream(ROWS, [count]))
    if what == "copy_in":
        return who.copy_in(COPY_IN, lines(count))
    if what == "copy_out":
        sink = Counter()
        rows = who.copy_out(COPY_OUT.format(count), sink)
        assert sink.size == 1000 * rows
        return rows
    if what == "copy_records":
        return who.copy_records(TABLE, records(count))
    return who.query_many(INSERT, records(count)).row_count or 0


async def move_async(who: pgwire.AsyncConnection | pgwire.AsyncPool, what: str, count: int) -> int:
    """The same in asyncio, from async iterables."""
    if what == "stream":
        found = 0
        async for _ in who.stream(ROWS, [count]):
            found += 1
        return found
    if what == "copy_in":
        return await who.copy_in(COPY_IN, _async(lines(count)))
    if what == "copy_out":
        sink = Counter()
        rows = await who.copy_out(COPY_OUT.format(count), sink)
        assert sink.size == 1000 * rows
        return rows
    if what == "copy_records":
        return await who.copy_records(TABLE, _async(records(count)))
    return (await who.query_many(INSERT, records(count))).row_count or 0


async def _async(items: Iterable[Any]) -> AsyncIterator[Any]:
    for item in items:
        yield item


def resident() -> tuple[int, int]:
    """How many bytes are resident, and the most that were."""
    status = Path("/proc/self/status").read_text()
    found = dict(re.findall(r"(VmRSS|VmHWM):\s*(\d+) kB", status))
    return 1024 * int(found["VmRSS"]), 1024 * int(found["VmHWM"])


def run_here(dsn: str, what: str, shell: str, way: str, count: int) -> dict[str, Any]:
    """One run, in this process."""
    if shell == "asyncio":
        return asyncio.run(_run_async(dsn, what, way, count))
    with pgwire.Pool(dsn, max_size=1) if way == "pool" else pgwire.connect(dsn) as who:
        who.query("select 1")
        begin, began = resident()[0], perf_counter()
        found = move(who, what, count)
        return _figures(found, count, begin, perf_counter() - began)


async def _run_async(dsn: str, what: str, way: str, count: int) -> dict[str, Any]:
    make = pgwire.AsyncPool(dsn, max_size=1) if way == "pool" else pgwire.connect_async(dsn)
    async with make as who:
        await who.query("select 1")
        begin, began = resident()[0], perf_counter()
        found = await move_async(who, what, count)
        return _figures(found, count, begin, perf_counter() - began)


def _figures(found: int, count: int, begin: int, seconds: float) -> dict[str, Any]:
    assert found == count, f"{found:,} rows instead of {count:,}"
    peak = resident()[1]
    return {"rows": count, "seconds": seconds, "start": begin, "peak": peak, "more": peak - begin}


# ---------------------------------------------------------------- all of them


def run(dsn: str, what: str, shell: str, way: str, scale: float) -> dict[str, Any]:
    """One run in a process of its own, on an empty table."""
    count = max(1, int(SIZES[what] * scale))
    with pgwire.connect(dsn) as admin:
        admin.script(f"drop table if exists {TABLE}; {CREATE}")
        try:
            words = ["--here", dsn, what, shell, way, str(count)]
            done = subprocess.run(
                [sys.executable, __file__, *words], stdout=subprocess.PIPE, check=True, text=True
            )
            if what in ("copy_in", "copy_records", "query_many"):
                stored = admin.query(f"select count(*) from {TABLE}").scalar()
                assert stored == count, f"{stored:,} rows are stored instead of {count:,}"
        finally:
            admin.query(f"drop table {TABLE}")
    figures: dict[str, Any] = json.loads(done.stdout)
    return {"what": what, "shell": shell, "way": way} | figures


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How much memory large amounts take.")
    parser.add_argument("--scale", type=float, default=1.0, help="of the full size (1.0)")
    parser.add_argument("--only", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the JSON")
    parser.add_argument("--here", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.here:
        dsn, what, shell, way, count = options.here
        print(json.dumps(run_here(dsn, what, shell, way, int(count))))
        return 0
    try:
        with embedded.server() as server:
            runs = [
                _shown(run(server.url, what, shell, way, options.scale))
                for what in options.only
                for shell in SHELLS
                for way in WAYS
            ]
            facts = harness.circumstances(
                [], pgwire=pgwire.__version__, PostgreSQL=server.installation.version
            )
    except embedded.Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    harness.write_json(options.out / "bulk.json", facts | {"scale": options.scale, "runs": runs})
    return int(any(one["more"] > BOUND * 1e6 for one in runs))


def _shown(one: dict[str, Any]) -> dict[str, Any]:
    print(
        f"{one['what']:12}  {one['shell']:8}  {one['way']:10}  {one['rows']:>10,} rows  "
        f"{one['seconds']:6.1f} s  {one['more'] / 1e6:5.1f} MB above {one['start'] / 1e6:.1f}",
        flush=True,
    )
    return one


if __name__ == "__main__":
    sys.exit(main())
