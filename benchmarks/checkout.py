"""What the pool itself costs: a checkout, an error, a place in the queue.

    python benchmarks/checkout.py [--quick] [--seconds N] [--out FOLDER]

Against psycopg_pool, each with a pool of one idle connection: `connect()` and `release()` against
`getconn()` and `putconn()`, and the two `with` blocks; nothing is sent. Then `pool.query` of a
statement that fails against one that does not; and what the pool's core takes to grant a
connection to the first of 10,000 who wait, against the first of 10. Last the fairness of both
pools: 40 threads take turns on 4 connections, each keeping one for 2 ms; how long they wait for
it, at the median and at the worst (the 99th percentile). Client and server are kept on one core
(Linux), as the scheduler would put them now here, now there, and a round trip between two cores
takes longer.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import harness
import psycopg
import psycopg_pool

import pgwire
from pgwire import embedded
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.waiters import Waiter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgwire.pool.slots import Slot

    # Does its thing so many times.
    Variant = Callable[[int], None]

CHECKOUTS = 2000  # in one round
QUERIES = 500
GRANTS = 2000
FEW, MANY = 10, 10_000  # in the queue
THREADS, CONNECTIONS, HOLD = 40, 4, 0.002
# What each may be, at most: in units of what it is compared with.
MARKS = {"connect/release": 2.0, "with": 2.0, "an error": 2.0, "a grant": 1.5, "fairness": 1.5}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a checkout costs, and a queue.")
    parser.add_argument("--quick", action="store_true", help="a second or two, to see it work")
    parser.add_argument("--seconds", type=float, default=20, help="for all of it (20)")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the JSON")
    options = parser.parse_args(arguments)
    seconds = 1.5 if options.quick else options.seconds
    with ExitStack() as stack:
        try:
            server = stack.enter_context(embedded.server(logins={"trusted": "trust"}))
        except embedded.Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        if hasattr(os, "sched_setaffinity"):
            core = [min(os.sched_getaffinity(0))]
            os.sched_setaffinity(server.pid, core)  # backends inherit it
            os.sched_setaffinity(0, core)
        url = server.url_for("trusted", sslmode="disable")
        comparisons = stack.enter_context(_comparisons(url))
        measured = {
            name: _measure(variants, calls, seconds / 5)
            for name, (calls, variants) in comparisons.items()
        }
        waits = _waits(url, seconds / 8)
        facts = harness.circumstances(
            ["psycopg_pool"],
            psycopg=f"{psycopg.__version__} ({psycopg.pq.__impl__})",
            pgwire=pgwire.__version__,
            PostgreSQL=server.installation.version,
        )
    _report(measured, waits, facts, options.out)
    return 0


# ---------------------------------------------------------------- the variants


@contextmanager
def _comparisons(url: str) -> Iterator[dict[str, tuple[int, dict[str, Variant]]]]:
    """By name: the calls in a round, and two variants, ours first."""
    with (
        pgwire.Pool(url, min_size=1, max_size=1) as ours,
        psycopg_pool.ConnectionPool(url, min_size=1, max_size=1, open=True) as theirs,
    ):
        ours.wait()
        theirs.wait()

        def connect_release(count: int) -> None:
            for _ in range(count):
                ours.connect().release()

        def getconn_putconn(count: int) -> None:
            for _ in range(count):
                theirs.putconn(theirs.getconn())

        def our_block(count: int) -> None:
            for _ in range(count):
                with ours.connect():
                    pass

        def their_block(count: int) -> None:
            for _ in range(count):
                with theirs.connection():
                    pass

        def failing(count: int) -> None:
            for _ in range(count):
                with suppress(pgwire.PostgresError):
                    ours.query("select 1 / $1::int", [0])

        def succeeding(count: int) -> None:
            for _ in range(count):
                ours.query("select 1 / $1::int", [1])

        yield {
            "connect/release": (CHECKOUTS, {"pgwire": connect_release, "psycopg": getconn_putconn}),
            "with": (CHECKOUTS, {"pgwire": our_block, "psycopg": their_block}),
            "an error": (QUERIES, {"error": failing, "success": succeeding}),
            "a grant": (GRANTS, {"many": _granting(MANY), "few": _granting(FEW)}),
        }


def _granting(waiting: int) -> Variant:
    """Whoever is granted the only connection gives it back, and joins the queue again."""
    core: PoolCore[None] = PoolCore(PoolConfig(max_size=1), jitter=lambda: 0.0)
    for _ in range(waiting):
        core.acquire(0.0, None)
    (opening,) = core.take_effects()
    assert not isinstance(opening, Waiter)
    slot: Slot[None] = opening.slot
    core.opened(slot, None, 0.0)

    def grant(count: int) -> None:
        for _ in range(count):
            core.acquire(0.0, None)
            core.release(slot, 0.0)
            core.take_effects()

    return grant


# ---------------------------------------------------------------- measuring


def _measure(variants: dict[str, Variant], calls: int, seconds: float) -> list[harness.Series]:
    """Per variant and round, the mean of so many calls."""
    series = {name: harness.Series(name) for name in variants}
    began = perf_counter()
    for run in variants.values():
        run(calls)
    rounds = max(len(variants), round(seconds / (perf_counter() - began)))
    for order in harness.alternate(list(variants), rounds):
        for name in order:
            began = perf_counter()
            variants[name](calls)
            series[name].rounds.append([(perf_counter() - began) / calls])
    return list(series.values())


def _waits(url: str, seconds: float) -> list[harness.Series]:
    """How long each of the threads waited for its turns, after the crowd has formed."""
    with (
        pgwire.Pool(url, max_size=CONNECTIONS, min_size=CONNECTIONS) as ours,
        psycopg_pool.ConnectionPool(
            url, min_size=CONNECTIONS, max_size=CONNECTIONS, open=True
        ) as theirs,
    ):
        ours.wait()
        theirs.wait()
        return [
            harness.Series("pgwire", [_queue(ours.connect, lambda c: c.release(), seconds)]),
            harness.Series("psycopg_pool", [_queue(theirs.getconn, theirs.putconn, seconds)]),
        ]


def _queue(take: Callable[[], Any], give: Callable[[Any], object], seconds: float) -> list[float]:
    waits: list[float] = []
    ready = threading.Barrier(THREADS)

    def work() -> None:
        ready.wait()
        end = perf_counter() + seconds
        while True:
            began = perf_counter()
            connection = take()
            granted = perf_counter()
            time.sleep(HOLD)
            give(connection)
            if granted > end:  # the crowd is leaving: its last waits are shorter
                return
            waits.append(granted - began)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits[THREADS:]  # without the first turns, when there was no crowd yet


# ---------------------------------------------------------------- reporting


def _report(
    measured: dict[str, list[harness.Series]],
    waits: list[harness.Series],
    facts: dict[str, Any],
    out: Path,
) -> None:
    ratios = {name: harness.ratio(ours, theirs) for name, (ours, theirs) in measured.items()}
    rows = [
        (name, _microseconds(ours), _microseconds(theirs), str(ratios[name]), f"{MARKS[name]:g}")
        for name, (ours, theirs) in measured.items()
    ]
    print(
        f"Mean per call, medians of the rounds; in brackets the middle 80 %.\n"
        f"{harness.summary(facts)}\n\n"
        + harness.markdown_table(
            ("", "pgwire, µs", "psycopg, success, or few, µs", "ratio", "at most"), rows
        )
        + f"\n\n{THREADS} threads on {CONNECTIONS} connections, each for {HOLD * 1e3:g} ms:\n\n"
        + harness.markdown_table(
            ("", "turns", "median wait, ms", "p99, ms", "p99 / median", "at most"),
            [
                (
                    pool.name,
                    str(len(pool.calls)),
                    f"{pool.median * 1e3:.1f}",
                    f"{pool.p99 * 1e3:.1f}",
                    f"{pool.p99 / pool.median:.2f}",
                    f"{MARKS['fairness']:g}",
                )
                for pool in waits
            ],
        )
    )
    results: dict[str, Any] = {
        name: {
            **{series.name: series.figures() for series in both},
            "ratio": ratios[name].figures(),
        }
        for name, both in measured.items()
    }
    results["fairness"] = {pool.name: pool.figures() for pool in waits}
    harness.write_json(out / "checkout.json", facts | {"marks": MARKS, "results": results})


def _microseconds(series: harness.Series) -> str:
    low, high = series.spread
    return f"{series.median * 1e6:.2f} ({low * 1e6:.2f} to {high * 1e6:.2f})"


if __name__ == "__main__":
    sys.exit(main())
