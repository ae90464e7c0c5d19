"""asyncio: one query, and pools under load, against asyncpg on the same server.

    python benchmarks/async_queries.py [--quick] [--seconds N] [--loop uvloop] [--out FOLDER]

`select id, name from item where id = $1` (TCP, no TLS, no password), the variants taking turns:

- one row on one connection, client and server on one core (Linux): the client's CPU time. In
  some processes asyncpg takes nearly twice as long as in others: asyncio's plain transport reads
  into a new buffer of 256 KiB each time, which malloc either keeps or maps anew. So this part
  runs in several processes, and every one of them is reported;
- 100 tasks on pools of 10 connections, each task one query after the other: the time on the
  clock. pgwire as it comes (one query at a time on a connection) and with `max_pipeline=32`;
  asyncpg's pool as it comes (it runs a reset statement at every release), and with its reset
  switched off;
- how long tasks wait: 100 tasks on 10 connections, each holding one for 5 ms, again and again;
  the 99th percentile of the waits in units of their median;
- a spike: 50 requests at once on 5 warm connections; connecting is made to take 150 ms, and
  each query takes 2 ms (`pg_sleep`). How many connections are opened, and how long it takes
  in units of the ideal: 50 times 2 ms over 5 connections.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import asyncpg
import harness

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    # Runs so many queries.
    Variant = Callable[[int], Awaitable[object]]

SQL = "select id, name from item where id = $1"
ROWS = 1000
TASKS, SIZE = 100, 10
BATCH = 500  # queries of one variant in one round, on one connection
POOL_BATCH = 2000
HOLD = 0.005
REFERENCE = "asyncpg"
# What is to be reached, in units of the reference's.
MARKS = {"pgwire": 0.4, "pgwire, max_pipeline=32": 0.2}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="asyncio: one query, and pools under load.")
    parser.add_argument("--quick", action="store_true", help="some seconds, to see it work")
    parser.add_argument("--seconds", type=float, default=30, help="for all of it, about (30)")
    parser.add_argument("--processes", type=int, default=5, help="for the first part (5)")
    parser.add_argument("--one-row", metavar="URL", help="the first part only, as one process")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the JSON")
    options = parser.parse_args(arguments)
    seconds = 3.0 if options.quick else options.seconds
    processes = 2 if options.quick else options.processes
    factory = _loop_factory(options.loop)
    if options.one_row:
        with asyncio.Runner(loop_factory=factory) as runner:
            measured = runner.run(_one_row(options.one_row, seconds))
        print(json.dumps({name: series.rounds for name, series in measured.items()}))
        return 0
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.server(logins={"trusted": "trust"}))
        except embedded.Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        create_table(server)
        runner = stack.enter_context(asyncio.Runner(loop_factory=factory))
        facts = harness.circumstances(
            ["asyncpg", "uvloop"],
            pgwire=pgwire.__version__,
            PostgreSQL=server.installation.version,
        )
        results = {"one row": _in_processes(server, seconds / 3, processes, options.loop)}
        results |= runner.run(_measure_pools(server, seconds * 2 / 3))
    report(results, facts | {"loop": options.loop}, options.out)
    return 0


def _loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    import uvloop

    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def create_table(server: embedded.Server) -> None:
    with pgwire.connect(server.url, sslmode="disable") as conn:
        conn.script(
            f"""
            create table item (id int primary key, name text);
            insert into item select n, 'item number ' || n from generate_series(1, {ROWS}) n;
            grant select on item to trusted;
            """
        )
        conn.query("analyze item")


async def _measure_pools(server: embedded.Server, seconds: float) -> dict[str, Any]:
    url = server.url_for("trusted", sslmode="disable")
    return {
        "pools": await _pools(url, seconds / 2),
        "waits": await _waits(url, seconds / 4),
        "spike": await _spike(url, 3 if seconds < 5 else 10),
    }


def _in_processes(
    server: embedded.Server, seconds: float, count: int, loop: str
) -> list[dict[str, harness.Series]]:
    """One row by its key, in so many processes one after the other."""
    everywhere = _pinned(server)
    url = server.url_for("trusted", sslmode="disable")
    found = []
    for _ in range(count):
        command = [sys.executable, __file__, "--one-row", url, "--loop", loop]
        command += ["--seconds", str(seconds / count)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
        rounds = json.loads(done.stdout)
        found.append({name: harness.Series(name, rounds[name]) for name in rounds})
    _pin(server, everywhere)
    return found


def _pinned(server: embedded.Server) -> set[int]:
    """Keep client and server on one core, where the scheduler mostly puts them anyway."""
    if not hasattr(os, "sched_setaffinity"):
        return set()
    before = os.sched_getaffinity(0)
    _pin(server, {min(before)})
    return before


def _pin(server: embedded.Server, cores: set[int]) -> None:
    if cores:
        os.sched_setaffinity(server.pid, cores)
        os.sched_setaffinity(0, cores)


# ---------------------------------------------------------------- one connection


async def _one_row(url: str, seconds: float) -> dict[str, harness.Series]:
    async with pgwire.connect_async(url) as own:
        peer: Any = await asyncpg.connect(url)

        async def queries(count: int) -> None:
            for number in range(count):
                (await own.query(SQL, [number % ROWS + 1])).one()

        async def peers(count: int) -> None:
            for number in range(count):
                await peer.fetchrow(SQL, number % ROWS + 1)

        measured = await alternate(
            {"pgwire": queries, REFERENCE: peers}, BATCH, seconds, process_time
        )
        await peer.close()
    return measured


async def alternate(
    variants: dict[str, Variant], batch: int, seconds: float, clock: Callable[[], float]
) -> dict[str, harness.Series]:
    """Per variant and round, the mean of a batch of queries."""
    series = {name: harness.Series(name) for name in variants}
    began = perf_counter()
    for run in variants.values():  # warm: statements prepared, caches filled
        await run(batch)
    rounds = max(len(variants), round(seconds / (perf_counter() - began)))
    progress = harness.Progress(rounds)
    for order in harness.alternate(list(variants), rounds):
        for name in order:
            started = clock()
            await variants[name](batch)
            series[name].rounds.append([(clock() - started) / batch])
        progress.step(f"batches of {batch}")
    return series


# ---------------------------------------------------------------- pools


async def _pools(url: str, seconds: float) -> dict[str, harness.Series]:
    async def keep(_connection: object) -> None:
        """Resets nothing."""

    async with AsyncExitStack() as stack:
        strict = await stack.enter_async_context(pgwire.AsyncPool(url, max_size=SIZE))
        shared = await stack.enter_async_context(
            pgwire.AsyncPool(url, max_size=SIZE, max_pipeline=32)
        )
        sizes = {"min_size": SIZE, "max_size": SIZE}
        peer: Any = await stack.enter_async_context(asyncpg.create_pool(url, **sizes))
        bare: Any = await stack.enter_async_context(asyncpg.create_pool(url, **sizes, reset=keep))
        variants = {
            "pgwire": in_tasks(lambda number: strict.query(SQL, [number])),
            "pgwire, max_pipeline=32": in_tasks(lambda number: shared.query(SQL, [number])),
            REFERENCE: in_tasks(lambda number: peer.fetch(SQL, number)),
            f"{REFERENCE} without reset": in_tasks(lambda number: bare.fetch(SQL, number)),
        }
        return await alternate(variants, POOL_BATCH, seconds, perf_counter)


def in_tasks(query: Callable[[int], Awaitable[object]]) -> Variant:
    async def work(count: int) -> None:
        for number in range(count):
            await query(number % ROWS + 1)

    async def run(count: int) -> None:
        await asyncio.gather(*[work(count // TASKS) for _ in range(TASKS)])

    return run


async def _waits(url: str, seconds: float) -> dict[str, float]:
    """Seconds from the request to the lease, under a load that never ends."""
    waits: list[float] = []
    async with pgwire.AsyncPool(url, max_size=SIZE) as pool:
        await asyncio.gather(*[pool.query(SQL, [1]) for _ in range(SIZE)])
        until = perf_counter() + seconds

        async def work() -> None:
            while (asked := perf_counter()) < until:
                async with pool.connect():
                    waits.append(perf_counter() - asked)
                    await asyncio.sleep(HOLD)

        await asyncio.gather(*[work() for _ in range(TASKS)])
    usual = waits[TASKS:-TASKS]  # the first come to an empty queue, the last to a shrinking one
    return {"median": statistics.median(usual), "p99": harness.quantile(usual, 0.99)}


async def _spike(url: str, rounds: int) -> dict[str, Any]:
    """50 queries of 2 ms at once on 5 warm connections, while a connect takes 150 ms."""
    taken: list[float] = []
    opened: list[int] = []
    for _ in range(rounds):
        lame = False

        async def slow(_connection: object) -> None:
            if lame:  # noqa: B023 - the spike of this very round
                await asyncio.sleep(0.15)

        async with pgwire.AsyncPool(url, max_size=50, on_connect=slow) as pool:
            leases = [await pool.connect() for _ in range(5)]
            for lease in leases:
                await lease.query("select pg_sleep(0.002)")
                lease.release()
            lame = True
            began = perf_counter()
            await asyncio.gather(*[pool.query("select pg_sleep(0.002)") for _ in range(50)])
            taken.append(perf_counter() - began)
            stats = pool.stats()
            opened.append(stats.opened + stats.opening - 5)
    return {"seconds": statistics.median(taken), "ideal": 0.02, "opened": max(opened)}


# ---------------------------------------------------------------- what came of it


def report(results: dict[str, Any], facts: dict[str, Any], out: Path) -> None:
    print(f"{SQL}; loop: {facts['loop']}\n{harness.summary(facts)}\n")
    figures: dict[str, Any] = {}
    rows = []
    figures["one row"] = []
    for number, series in enumerate(results["one row"], start=1):
        own, peer = series["pgwire"], series[REFERENCE]
        against = harness.ratio(own, peer)
        medians = [f"{one.median * 1e6:.1f}" for one in (own, peer)]
        rows.append((f"process {number}", *medians, str(against)))
        figures["one row"].append(
            {name: one.figures() for name, one in series.items()} | {"ratio": against.figures()}
        )
    header = ("one row, client CPU", "pgwire, µs", f"{REFERENCE}, µs", "ratio (mark: 0.7)")
    print(harness.markdown_table(header, rows) + "\n")
    rows = []
    pools: dict[str, harness.Series] = results["pools"]
    figures["pools"] = {}
    for name, own in pools.items():
        against = harness.ratio(own, pools[REFERENCE])
        rows.append((name, f"{own.median * 1e6:.1f}", str(against), str(MARKS.get(name, ""))))
        figures["pools"][name] = own.figures() | {"ratio": against.figures()}
    header = (f"{TASKS} tasks, {SIZE} connections", "clock, µs", f"of {REFERENCE}'s", "mark")
    print(harness.markdown_table(header, rows) + "\n")
    waits, spike = results["waits"], results["spike"]
    print(
        f"waits: median {waits['median'] * 1e3:.1f} ms, p99 {waits['p99'] * 1e3:.1f} ms: "
        f"{waits['p99'] / waits['median']:.2f} times the median (mark: 1.5)"
    )
    print(
        f"spike: {spike['seconds'] * 1e3:.1f} ms, {spike['seconds'] / spike['ideal']:.2f} times "
        f"the ideal (mark: 2); {spike['opened']} connections opened beside the 5 (mark: 3)"
    )
    figures |= {"waits": waits, "spike": spike}
    suffix = "" if facts["loop"] == "asyncio" else f"_{facts['loop']}"
    harness.write_json(
        out / f"async_queries{suffix}.json", facts | {"sql": SQL, "results": figures}
    )


if __name__ == "__main__":
    sys.exit(main())
