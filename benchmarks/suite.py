"""pgwire against its peers: the workloads of `catalog`, in turns, on one server.

    python benchmarks/suite.py [--quick] [--only WORKLOAD …] [--peers PEER …] [--list]
                               [--seconds N] [--sittings N] [--loop uvloop] [--out FOLDER]
                               [--malloc kept|fresh] [--name NAME]

Starts a server of its own, and for each sitting a process in which the peers take turns. Prints a
table, and writes all figures as JSON and a chart as SVG into the folder. `--only` takes parts of
names; results of other workloads that the folder has already are kept. A run under a `--name` of
its own leaves figures alone, and no charts. With `--readme` nothing is measured: the tables in
benchmarks/README.md and in the project's README.md are written from results/.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import catalog
import harness
import peers
import remote
import report
import workloads
from turns import joined, summed_up

import pgwire
from pgwire import embedded

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from sitting import Workload

_HERE = Path(__file__).parent
_SECONDS = 400.0
_QUICK = 0.5
# What becomes of blocks as large as asyncio's read buffers (glibc): as it comes; kept for the
# next read; given back, and mapped anew.
_MALLOC = {
    "default": {},
    "kept": {"MALLOC_MMAP_THRESHOLD_": "33554432", "MALLOC_TRIM_THRESHOLD_": "268435456"},
    "fresh": {"MALLOC_MMAP_THRESHOLD_": "131072"},
}


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    if options.list:
        print("\n".join(workload.name for workload in catalog.workloads()))
        return 0
    if options.readme:
        report.write_readme(_HERE / "results", _HERE)
        return 0
    chosen = list(_chosen(options.only))
    if not chosen:
        print("no such workload; --list names them", file=sys.stderr)
        return 1
    with ExitStack() as stack:
        try:
            servers = _start(
                stack, quick=options.quick, tls=any("TLS" in one.name for one in chosen)
            )
        except embedded.Unavailable as error:
            print(error, file=sys.stderr)
            return 1
        sittings = [_sit(options, chosen, *servers) for _ in range(options.sittings)]
        facts = _facts(options, sittings, servers[0])
    _conclude(chosen, sittings, facts, options)
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    known = [*dict.fromkeys(name.partition(",")[0] for name in peers.PEERS), *remote.NAMES]
    parser = argparse.ArgumentParser(description="pgwire against its peers.")
    parser.add_argument("--quick", action="store_true", help="a smoke test: no figure counts")
    parser.add_argument("--only", nargs="+", metavar="WORKLOAD", help="some (--list names all)")
    parser.add_argument(
        "--peers", nargs="+", default=[], choices=known, metavar="PEER", help=", ".join(known)
    )
    parser.add_argument("--list", action="store_true", help="name the workloads")
    parser.add_argument("--seconds", type=float, default=0, help=f"in all ({_SECONDS:g})")
    parser.add_argument("--sittings", type=int, default=0, help="processes in a row (3)")
    parser.add_argument("--loop", choices=("asyncio", "uvloop"), default="asyncio")
    parser.add_argument("--malloc", choices=_MALLOC, default="default", help="see README.md")
    parser.add_argument("--out", type=Path, default=harness.OUT, help="folder for the files")
    parser.add_argument("--name", default="", help="of the file, if not suite or suite_uvloop")
    parser.add_argument("--readme", action="store_true", help="write the tables in both README.md")
    options = parser.parse_args(arguments)
    options.sittings = options.sittings or (1 if options.quick else 3)
    options.seconds = options.seconds or (_QUICK if options.quick else _SECONDS)
    return options


def _chosen(only: Sequence[str] | None) -> Iterator[Workload]:
    for workload in catalog.workloads():
        if not only or any(words.lower() in workload.name.lower() for words in only):
            yield workload


# ---------------------------------------------------------------- measuring


def _start(
    stack: ExitStack, *, quick: bool, tls: bool
) -> tuple[embedded.Server, embedded.Server | None]:
    """The server, with its tables, and another one that speaks TLS if that is asked for."""
    settings = {"autovacuum": "off", "max_connections": "300", "shared_buffers": "256MB"}
    server = stack.enter_context(embedded.server(logins={"trusted": "trust"}, settings=settings))
    with pgwire.connect(server.url, sslmode="disable") as conn:
        conn.script(workloads.tables(2_000 if quick else workloads.MOST_ROWS))
        conn.query("vacuum analyze")
    if not tls:
        return server, None
    try:
        return server, stack.enter_context(embedded.server(tls=True))
    except embedded.Unavailable as error:
        print(f"without TLS: {error}", file=sys.stderr)
        return server, None


def _sit(
    options: argparse.Namespace,
    chosen: Sequence[Workload],
    server: embedded.Server,
    secure: embedded.Server | None,
) -> dict[str, Any]:
    """What a process of its own has measured."""
    settings = {
        "url": server.url_for("trusted", sslmode="disable"),
        "scram_url": server.url_for(server.user, sslmode="disable"),
        "silent_url": server.url_for(server.user),
        "tls_url": secure and secure.tls_url,
        "server_pid": server.pid,
        "workloads": [workload.name for workload in chosen],
        "seconds": options.seconds / options.sittings,
        **{name: getattr(options, name) for name in ("quick", "loop", "peers")},
    }
    done = subprocess.run(
        [sys.executable, str(_HERE / "sitting.py")],
        input=json.dumps(settings),
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | _MALLOC[options.malloc],
        check=False,
    )
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _facts(
    options: argparse.Namespace, sittings: Sequence[dict[str, Any]], server: embedded.Server
) -> dict[str, Any]:
    found = sittings[0]
    for name, why in found["missing"].items():
        print(f"without {name}: {why}", file=sys.stderr)
    if len({one["sources"] for one in sittings}) > 1:
        print("pgwire has changed from sitting to sitting: measure again", file=sys.stderr)
    facts = harness.circumstances(
        ["asyncpg", "psycopg", "psycopg-pool", "psycopg2-binary", "pg8000", "uvloop"],
        **found["versions"],
        pgwire=f"{pgwire.__version__} ({harness.commit()})",
        PostgreSQL=server.installation.version,
    )
    return facts | {
        "loop": options.loop,
        "malloc": options.malloc,
        "sittings": options.sittings,
        "seconds": options.seconds,
        "pinned": found["pinned"],
        "quick": options.quick,
    }


def _conclude(
    chosen: Sequence[Workload],
    sittings: Sequence[dict[str, Any]],
    facts: dict[str, Any],
    options: argparse.Namespace,
) -> None:
    """Print the table, and write the files."""
    results: dict[str, Any] = {}
    for workload in chosen:
        rounds = [one["turns"][workload.name] for one in sittings if workload.name in one["turns"]]
        if not rounds:
            both = f"{workload.own} and {workload.reference}"
            print(f"without {workload.name}: it takes {both}, and one cannot", file=sys.stderr)
            continue
        results[workload.name] = {
            "clock": workload.clock,
            "reference": workload.reference,
            "unit": workload.unit,
            "date": facts["date"],
            "pgwire": facts["versions"]["pgwire"],
            "variants": summed_up(joined(rounds), workload.reference, workload.clock),
        }
    print(f"{harness.summary(facts)}\n\n{report.table(results)}\n\n{report.marks_table(results)}")
    name = options.name or ("suite" if options.loop == "asyncio" else f"suite_{options.loop}")
    order = [one.name for one in catalog.workloads()]
    report.write(options.out, name, facts, results, order, charts=not options.name)


if __name__ == "__main__":
    sys.exit(main())
