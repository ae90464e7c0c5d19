"""Peers that need a process of their own, taking turns with those of this one.

Knows how to ask another process for a turn. psycopg without its C library is chosen when it is
imported, and Node.js is another program: each is started once, waits at a pipe while others have
their turn, does as many calls as it is asked for, and says what its own clocks have measured.
That is as fair as in one process: the rounds are the same, and so is the server.

A request is a line of JSON (kind, sql, size, count), and so is the answer (wall, cpu). `check` in
place of a count asks for the digest of what came last.

    python benchmarks/remote.py NAME URL        # what the process runs
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers
import workloads
from turns import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from turns import Run

_HERE = Path(__file__).parent
NODE = {"node-postgres": "pg", "postgres.js": "postgres"}
NAMES = ("psycopg-python", *NODE)


class Missing(Exception):
    """The peer cannot be had here, and why."""


class Remote:
    """A peer in another process."""

    def __init__(self, name: str, url: str) -> None:
        command, more = _command(name, url)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | more,
        )
        self.pid = self._process.pid
        greeting = self._answer()
        if "missing" in greeting:
            self.close()
            raise Missing(greeting["missing"])
        self.version: str = greeting["version"]

    def value(self, sql: str) -> Run:
        return partial(self._run, "value", sql, 1)

    def row(self, sql: str) -> Run:
        return partial(self._run, "row", sql, 1)

    def rows(self, sql: str) -> Run:
        return partial(self._run, "rows", sql, 1)

    def insert(self, sql: str, records: Sequence[Any]) -> Run:
        return partial(self._run, "insert", sql, len(records))

    def _run(self, kind: str, sql: str, size: int, count: int, watch: Watch) -> Any:
        answer = self._ask({"kind": kind, "sql": sql, "size": size, "count": count})
        watch.wall += answer["wall"]
        watch.cpu += answer["cpu"]
        return workloads.Elsewhere(partial(self._digest, kind, sql))

    def _digest(self, kind: str, sql: str) -> str:
        return str(self._ask({"kind": kind, "sql": sql, "check": True})["digest"])

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Missing("its process has ended")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.communicate(timeout=20)


def _command(name: str, url: str) -> tuple[list[str], dict[str, str]]:
    """What to start, and what to add to its environment."""
    if name not in NODE:
        return [sys.executable, __file__, name, url], {"PSYCOPG_IMPL": "python"}
    node = shutil.which("node")
    if node is None:
        raise Missing("there is no node")
    return [node, str(_HERE / "node_peer.cjs"), NODE[name], url], {}


# ---------------------------------------------------------------- in the other process


def main(name: str, url: str) -> int:
    try:
        psycopg = peers.load("psycopg")
    except ImportError as error:
        _say({"missing": str(error).splitlines()[0]})
        return 0
    with asyncio.Runner() as runner:
        peer = peers.Psycopg(url, runner)
        _say({"version": f"{psycopg.__version__} ({psycopg.pq.__impl__})"})
        runs: dict[tuple[str, str], Run] = {}
        last: Any = None
        for line in sys.stdin:
            request = json.loads(line)
            if request.get("check"):
                _say({"digest": workloads.digest(request["kind"], last)})
                continue
            key = request["kind"], request["sql"]
            if key not in runs:
                runs[key] = _prepared(peer, *key, request["size"])
            watch = Watch()
            last = None
            last = runs[key](request["count"], watch)
            _say({"wall": watch.wall, "cpu": watch.cpu})
        peer.close()
    return 0


def _prepared(peer: Any, kind: str, sql: str, size: int) -> Run:
    more = [workloads.records(size)] if kind == "insert" else []
    run: Run = getattr(peer, kind)(sql, *more)
    return run


def _say(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
