"""All workloads, in the order of the report."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import connecting
import peers
import pools
import processes
import remote
import streams
import workloads as queries
from sitting import Context, Workload

if TYPE_CHECKING:
    from collections.abc import Mapping

    from turns import Run, Watch


def workloads() -> list[Workload]:
    return [
        *map(_query, queries.questions()),
        *streams.workloads(),
        *connecting.workloads(),
        *pools.workloads(),
        *processes.workloads(),
    ]


def _query(question: queries.Question) -> Workload:
    return Workload(question.name, question.clock, partial(_ask, question), question.kind)


def _ask(question: queries.Question, context: Context) -> Mapping[str, Run]:
    """The peers that have a method of the question's kind, each with its run."""
    runs: dict[str, Run] = {}
    more: list[Any] = []
    if question.kind in _OF_RECORDS:
        more = [queries.records(question.size // (20 if context.quick else 1))]
    for name in [*peers.PEERS, *remote.NAMES]:
        peer = context.peer(name)
        if peer is not None and hasattr(peer, question.kind) and _can(name, question.kind):
            run = getattr(peer, question.kind)(question.sql, *more)
            runs[name] = partial(_inserting, context, run) if more else run
    return runs


_OF_RECORDS = ("insert", "copy_in")


def _can(name: str, kind: str) -> bool:
    """Node's drivers have nothing for many records."""
    return kind not in _OF_RECORDS or name not in remote.NODE


def _inserting(context: Context, run: Run, count: int, watch: Watch) -> Any:
    """Empty the table before each call, behind the watch's back; the table is what comes of it."""
    for _ in range(count):
        context.control.query("truncate target")
        run(1, watch)
    return context.control.query(
        "select count(*), md5(string_agg(target::text, ',' order by id)) from target"
    ).one()
