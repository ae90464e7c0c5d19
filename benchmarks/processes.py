"""What takes a fresh process to measure: a driver's import, and the memory of idle connections.

    python benchmarks/processes.py NAME URL             # KiB per connection, in this very process
    python benchmarks/processes.py NAME URL streamed    # KiB at most, while a million rows pass

Each call is a process of its own, so that nobody finds what another has left; but for compiled
modules, which all have in a folder that is empty at first. Memory is what the
process grows by from its third connection on, each of which has run one prepared query.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import peers
import streams
from sitting import Context, Workload

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from turns import Run, Watch

SQL = "select id, name from item where id = $1"
CONNECTIONS = 50
_STATM, _STATUS = Path("/proc/self/statm"), Path("/proc/self/status")
_IMPORT = """
import json, time
wall, cpu = time.perf_counter(), time.process_time()
import {module}; {module}.{name}
print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]))
"""
_MODULES = {
    "pgwire": "pgwire",
    "asyncpg": "asyncpg",
    "psycopg": "psycopg",
    "psycopg2": "psycopg2",
    "pg8000": "pg8000.native",
}

# What is looked up behind the import, as a package may put off what it takes to connect.
_NAMES = {"pg8000.native": "Connection"}


def workloads() -> Iterator[Workload]:
    yield Workload("import", "cpu", _imports)
    yield Workload("memory of an idle connection", "wall", _memory, unit="KiB")
    yield Workload("memory of 1,000,000 rows streamed", "wall", _stream_memory, unit="KiB")


def _imports(context: Context) -> Mapping[str, Run]:
    cache = context.scope.enter_context(TemporaryDirectory())
    runs: dict[str, Run] = {}
    for name, module in _MODULES.items():
        if context.has(name, module):
            code = _IMPORT.format(module=module, name=_NAMES.get(module, "connect"))
            runs[name] = partial(_process, cache, ["-c", code])
    return runs


def _memory(context: Context) -> Mapping[str, Run]:
    if not _STATM.exists():
        return {}
    cache = context.scope.enter_context(TemporaryDirectory())
    return {
        name: partial(_process, cache, [__file__, name, context.url])
        for name, (_, module) in peers.PEERS.items()
        if context.has(name, module)
    }


def _stream_memory(context: Context) -> Mapping[str, Run]:
    if not _STATM.exists():
        return {}
    cache = context.scope.enter_context(TemporaryDirectory())
    return {
        name: partial(_process, cache, [__file__, name, context.url, "streamed"])
        for name in streams.STREAMS
        if context.has(name, peers.PEERS[name][1])
    }


def _process(cache: str, arguments: list[str], count: int, watch: Watch) -> None:
    """What the process says is the time, or what is shown as one."""
    for _ in range(count):
        done = subprocess.run(
            [sys.executable, *arguments],
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            env=os.environ | {"PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""},
        )
        wall, cpu = json.loads(done.stdout)
        watch.wall += wall
        watch.cpu += cpu


# ---------------------------------------------------------------- in the other process


def main(name: str, url: str, what: str = "") -> int:
    kind, _ = peers.PEERS[name]
    with asyncio.Runner() as runner:
        if what:
            peer = _open(kind, url, runner)
            grown = _most()
            streams.STREAMS[name](peer, runner)
            grown = max(1.0, _most() - grown)  # nothing would be measured for ever
            print(json.dumps([grown, grown]))
            peer.close()
            return 0
        opened = [_open(kind, url, runner) for _ in range(2)]
        before = _resident()
        opened += [_open(kind, url, runner) for _ in range(CONNECTIONS)]
        grown = (_resident() - before) / CONNECTIONS
        print(json.dumps([grown, grown]))
        for peer in opened:
            peer.close()
    return 0


def _most() -> float:
    """KiB of this process that have been in memory at most."""
    # Not by getrusage: what a process was forked from counts there.
    return float(_STATUS.read_text().partition("VmHWM:")[2].split()[0])


def _open(kind: Any, url: str, runner: asyncio.Runner) -> Any:
    from turns import Watch

    peer = kind(url, runner)
    peer.row(SQL)(1, Watch())
    return peer


def _resident() -> float:
    """KiB of this process that are in memory."""
    gc.collect()
    pages = int(_STATM.read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
