"""How long tasks wait for a pool, and what a burst of queries costs.

    python benchmarks/waiting.py [--quick] [--seconds N] [--loop uvloop] [--out FOLDER]

- Waits: 100 tasks on 10 connections, each holding one for 5 ms, again and again; the 99th
  percentile of the waits in units of their median.
- A spike: 50 requests at once on 5 warm connections; connecting is made to take 150 ms, and
  each query takes 2 ms (`pg_sleep`). How many connections are opened, and how long it takes
  in units of the ideal: 50 times 2 ms over 5 connections.

What queries and pools cost against those of others is the suite's to say.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import harness
from sitting import loop_factory

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

TASKS, SIZE = 100, 10
HOLD = 0.005
MARKS = {"waits": 1.5, "spike": 2.0, "opened": 3}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="How long tasks wait, and what a burst costs.")
    parser.add_argument("--quick", action="store_true", help="some seconds, to see it work")
    parser.add_argument("--seconds", type=float, default=8, help="for the waits (8)")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the JSON")
    options = parser.parse_args(arguments)
    seconds, rounds = (0.5, 2) if options.quick else (options.seconds, 10)
    try:
        with (
            embedded.server(logins={"trusted": "trust"}) as server,
            asyncio.Runner(loop_factory=loop_factory(options.loop)) as runner,
        ):
            url = server.url_for("trusted", sslmode="disable")
            waits = runner.run(_waits(url, seconds))
            spike = runner.run(_spike(url, rounds))
            facts = harness.circumstances(
                ["uvloop"], pgwire=pgwire.__version__, PostgreSQL=server.installation.version
            )
    except embedded.Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    _report(waits, spike, facts | {"loop": options.loop}, options.out)
    return 0


async def _waits(url: str, seconds: float) -> dict[str, float]:
    """Seconds from the request to the lease, under a load that never ends."""
    waits: list[float] = []
    async with pgwire.AsyncPool(url, max_size=SIZE) as pool:
        await asyncio.gather(*[pool.query("select 1") for _ in range(SIZE)])
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


def _report(
    waits: dict[str, float], spike: dict[str, Any], facts: dict[str, Any], out: Path
) -> None:
    print(harness.summary(facts))
    print(
        f"waits: median {waits['median'] * 1e3:.1f} ms, p99 {waits['p99'] * 1e3:.1f} ms: "
        f"{waits['p99'] / waits['median']:.2f} times the median (mark: {MARKS['waits']:g})"
    )
    print(
        f"spike: {spike['seconds'] * 1e3:.1f} ms, {spike['seconds'] / spike['ideal']:.2f} times "
        f"the ideal (mark: {MARKS['spike']:g}); {spike['opened']} connections opened beside the 5 "
        f"(mark: {MARKS['opened']})"
    )
    results = {"waits": waits, "spike": spike}
    harness.write_json(out / "waiting.json", facts | {"marks": MARKS, "results": results})


if __name__ == "__main__":
    sys.exit(main())
