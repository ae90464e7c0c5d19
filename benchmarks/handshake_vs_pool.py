"""What a handshake costs: a connection for every query, against a pool.

    python benchmarks/handshake_vs_pool.py [--quick] [--seconds N] [--out FOLDER]

For each way to log in (trust, SCRAM-SHA-256, SCRAM-SHA-256 over TLS with the certificate
verified) and for 1 and 8 threads, two variants take turns: `pgwire.connect()`, `select 1`,
close; and `pool.query("select 1")` on a pool with a connection per thread. The server is
pgwire.embedded's, on this machine, reached over TCP; with a PostgreSQL that has no OpenSSL
the rows with TLS are left out, and it says so.

The table goes to standard output; the folder (default: benchmarks/out) gets it as Markdown,
with all figures as JSON and a chart as SVG.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import harness
from chart import Group, bar_chart

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONNECT = "connect, query, close"
POOL = "pool.query"
THREADS = (1, 8)
_SLICE = 0.25  # seconds of one variant, in one round


@dataclass(frozen=True)
class Case:
    """One comparison: a way to log in, the threads, and what was measured."""

    login: str
    threads: int
    connect: harness.Series
    pool: harness.Series

    @property
    def name(self) -> str:
        return f"{self.login}, {self.threads} thread{'s' * (self.threads > 1)}"

    @property
    def gain(self) -> harness.Ratio:
        return harness.ratio(self.connect, self.pool)

    def figures(self) -> dict[str, Any]:
        return {
            "login": self.login,
            "threads": self.threads,
            "connect": self.connect.figures(),
            "pool": self.pool.figures(),
            "ratio": self.gain.figures(),
        }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="What a handshake costs against a pool.")
    parser.add_argument("--quick", action="store_true", help="a few seconds, to see it work")
    parser.add_argument("--seconds", type=float, default=60, help="for all of it (60)")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the files")
    options = parser.parse_args(arguments)
    seconds = 2.0 if options.quick else options.seconds
    with ExitStack() as stack:
        try:
            server = stack.enter_context(_server())
        except embedded.Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        cases = _measure(_logins(server), seconds)
        facts = harness.circumstances(
            ["scramp"], pgwire=pgwire.__version__, PostgreSQL=server.installation.version
        )
    _report(cases, facts, options.out)
    return 0


def _server() -> Any:
    """A server with TLS where that can be had, for all logins; one without it otherwise."""
    logins = {"trusted": "trust"}
    try:
        embedded.find_installation("openssl")
    except embedded.Unavailable as error:
        print(f"without TLS: {error}", file=sys.stderr)
        return embedded.server(logins=logins)
    return embedded.server(logins=logins, tls=True)


def _logins(server: embedded.Server) -> dict[str, str]:
    logins = {
        "trust": server.url_for("trusted", sslmode="disable"),
        "SCRAM": server.url_for(server.user, sslmode="disable"),
    }
    if server.ca is not None:
        logins["SCRAM over TLS"] = server.tls_url
    return logins


def _measure(logins: dict[str, str], seconds: float) -> list[Case]:
    share = seconds / len(logins) / len(THREADS)
    rounds = max(1, round(share / 2 / _SLICE))
    progress = harness.Progress(len(logins) * len(THREADS) * rounds)
    return [
        _measure_case(login, url, threads, rounds, share / 2 / rounds, progress)
        for login, url in logins.items()
        for threads in THREADS
    ]


def _measure_case(
    login: str, url: str, threads: int, rounds: int, seconds: float, progress: harness.Progress
) -> Case:
    def per_query() -> None:
        with pgwire.connect(url) as conn:
            conn.query("select 1")

    with pgwire.Pool(url, min_size=threads, max_size=threads) as pool:

        def pooled() -> None:
            pool.query("select 1")

        calls: dict[str, Callable[[], None]] = {CONNECT: per_query, POOL: pooled}
        case = Case(login, threads, harness.Series(CONNECT), harness.Series(POOL))
        series = {CONNECT: case.connect, POOL: case.pool}
        pool.wait()
        for call in calls.values():  # warm: imports, caches, the statement on each connection
            harness.time_calls(call, seconds / 4, threads)
        for order in harness.alternate(list(calls), rounds):
            for name in order:
                series[name].rounds.append(harness.time_calls(calls[name], seconds, threads))
            progress.step(case.name)
    return case


def _report(cases: list[Case], facts: dict[str, Any], out: Path) -> None:
    header = ("", CONNECT, "p99", POOL, "p99", "ratio (spread)")
    rows = [
        (
            case.name,
            _milliseconds(case.connect.median),
            _milliseconds(case.connect.p99),
            _milliseconds(case.pool.median),
            _milliseconds(case.pool.p99),
            str(case.gain),
        )
        for case in cases
    ]
    table = harness.markdown_table(header, rows)
    where = harness.summary(facts)
    print(f"Medians, client and server on one machine.\n{where}\n\n{table}")
    made = f"Medians of `select 1`; client and server on one machine. {where}.\n"
    harness.write(out / "handshake_vs_pool.md", f"{table}\n\n{made}Made by `{facts['command']}`.\n")
    harness.write_json(
        out / "handshake_vs_pool.json", facts | {"cases": [case.figures() for case in cases]}
    )
    harness.write(out / "handshake_vs_pool.svg", _chart(cases, facts))


def _chart(cases: list[Case], facts: dict[str, Any]) -> str:
    versions = facts["versions"]
    return bar_chart(
        "What a handshake costs: one `select 1`",
        f"Median time; PostgreSQL {versions['PostgreSQL']} on the same machine,"
        f" {versions['Python']}, pgwire {versions['pgwire']}",
        "milliseconds per query",
        [CONNECT, POOL],
        [
            Group(
                case.name,
                [case.connect.median * 1000, case.pool.median * 1000],
                [
                    _milliseconds(case.connect.median),
                    f"{_milliseconds(case.pool.median)}, {case.gain.median:.0f} times less",
                ],
            )
            for case in cases
        ],
    )


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms"


if __name__ == "__main__":
    sys.exit(main())
