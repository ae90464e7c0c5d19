"""One sitting: a process that measures its workloads, and the context that they find in it.

Knows the server's addresses, the peers that are open, and where processes run. Must not know what
is asked of them. `suite` holds several sittings, as a process is more than the sum of its code:
where malloc puts asyncio's read buffer of 256 KiB, say, is settled once for each, and can double
the CPU time of a query by asyncpg.

What is compared by CPU time runs on one core together with the server (Linux, and if the server's
processes may be told), where the scheduler mostly puts two that wait for each other anyway: caches
and wake-ups are the same for all then. What is compared by the clock may run where it likes.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import peers
import remote
from harness import Progress
from turns import Watch, take_turns
from workloads import digest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from turns import Run, Turns


@dataclass(frozen=True)
class Workload:
    """Something that several peers do. `build` gives a run for each that can do it.

    `kind`, where there is one, says what shape the results have, which must be the same for all.
    """

    name: str
    clock: str
    build: Callable[[Context], Mapping[str, Run]]
    kind: str = ""
    reference: str = "asyncpg"
    own: str = "pgwire"  # the variant that there must be, and that others are checked against
    unit: str = "s"


class Context:
    """What workloads find in their process. `close` ends it all."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.url: str = settings["url"]  # trust, without TLS
        self.scram_url: str = settings["scram_url"]
        self.silent_url: str = settings["silent_url"]  # the same, but for what it says about TLS
        self.tls_url: str | None = settings["tls_url"]
        self.quick: bool = settings["quick"]
        self.loop: str = settings["loop"]
        self._chosen: list[str] = settings["peers"]
        self._server_pid: int = settings["server_pid"]
        self._peers: dict[str, Any] = {}
        self.missing: dict[str, str] = {}
        self._cores = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        self.can_pin = len(self._cores) > 1
        self._placed = ""  # for which clock
        self.scope = ExitStack()  # what is to be closed behind the present workload
        self._stack = ExitStack()
        enter = self._stack.enter_context
        self.runner = enter(asyncio.Runner(loop_factory=loop_factory(self.loop)))
        self.control = enter(pgwire.connect(self.scram_url))

    def close(self) -> None:
        self._stack.close()

    def wants(self, name: str) -> bool:
        """Whether the peer, in whatever variant, was asked for, or is needed in any case."""
        base = name.partition(",")[0].removesuffix("_pool")
        return not self._chosen or base in ("pgwire", "asyncpg", *self._chosen)

    def has(self, name: str, module: str) -> bool:
        """Whether it is wanted, and its module is there."""
        if not self.wants(name):
            return False
        try:
            peers.load(module)
        except ImportError as error:
            self.missing.setdefault(name.partition(",")[0], str(error).splitlines()[0])
            return False
        return True

    def peer(self, name: str) -> Any:
        """The peer with its connection; None if it is not wanted, or not to be had."""
        if name not in self._peers:
            self._peers[name] = self._open(name) if self.wants(name) else None
        return self._peers[name]

    def _open(self, name: str) -> Any:
        if name in remote.NAMES:
            try:
                peer = remote.Remote(name, self.url)
            except remote.Missing as error:
                self.missing[name] = str(error)
                return None
        else:
            kind, module = peers.PEERS[name]
            if not self.has(name, module):
                return None
            peer = kind(self.url, self.runner)
        self._stack.callback(peer.close)
        return peer

    def versions(self) -> dict[str, str]:
        """Of the peers in other processes."""
        return {
            name: peer.version
            for name, peer in self._peers.items()
            if isinstance(peer, remote.Remote)
        }

    def place(self, clock: str) -> None:
        """Keep client and server on one core for the CPU's clock, or let them run anywhere."""
        if clock == self._placed or not self.can_pin:
            return
        cores = {min(self._cores)} if clock == "cpu" else self._cores
        backends = self.control.query(
            "select pid from pg_stat_activity where backend_type = 'client backend'"
        )
        others = [peer.pid for peer in self._peers.values() if isinstance(peer, remote.Remote)]
        own = [int(task.name) for task in Path("/proc/self/task").iterdir()]
        try:
            for pid in [self._server_pid, *backends.scalars(), *others, *own]:
                os.sched_setaffinity(pid, cores)
            self._placed = clock
        except OSError as error:
            print(f"client and server run where they like: {error}", file=sys.stderr)
            self.can_pin = False


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if name == "asyncio":
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = peers.load("uvloop").new_event_loop
    return factory


class Different(Exception):
    """A peer gave other data than pgwire."""


def check(workload: Workload, runs: Mapping[str, Run]) -> None:
    """Run each once; what comes of it must be the same for all, where there is anything to see."""
    seen: dict[str, str] = {}
    for name, run in runs.items():
        found = run(1, Watch())
        if workload.kind:
            seen[name] = digest(workload.kind, found)
    seen = {name: what for name, what in seen.items() if what}
    own = seen.get(workload.own)
    if differing := [name for name, what in seen.items() if what != own]:
        raise Different(f"{workload.name}: {', '.join(differing)} gave other data than pgwire")


def measure(workload: Workload, context: Context, seconds: float) -> Turns | None:
    """The turns of one workload; None if too few can do it."""
    with ExitStack() as context.scope:
        runs = workload.build(context)
        if not {workload.own, workload.reference} <= runs.keys():
            return None
        context.place(workload.clock)
        check(workload, runs)
        return take_turns(runs, workload.reference, seconds, quick=context.quick)


def _sources() -> str:
    """Tells one state of pgwire's code from another."""
    files = sorted(Path(pgwire.__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def main() -> int:
    """The settings come on standard input, and what was measured goes to standard output."""
    import catalog

    settings = json.load(sys.stdin)
    chosen = [one for one in catalog.workloads() if one.name in settings["workloads"]]
    context = Context(settings)
    progress = Progress(len(chosen))
    measured = {}
    try:
        for workload in chosen:
            turns = measure(workload, context, settings["seconds"] / len(chosen))
            progress.step(workload.name)
            if turns is not None:
                measured[workload.name] = turns
        facts = {
            "missing": context.missing,
            "versions": context.versions(),
            "pinned": context.can_pin,
            "sources": _sources(),
        }
    finally:
        context.close()
    json.dump(facts | {"turns": measured}, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
