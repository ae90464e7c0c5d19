"""Choices of who calls and waits: inserts, what rows become, what a query goes through, JSON.

A choice has ways that come to the same, the plainest first. Each is a `turns.Run`.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import orjson
from workloads import KEYS

import pgwire

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack
    from datetime import datetime

    from turns import Run, Watch

    from pgwire.embedded import Server

SQL = "select id, name from item where id = $1"
_MIXED = "select * from mixed limit 1000"
_INSERT = "insert into target (id, name, ratio) values ($1, $2, $3)"
_RECORDS = [(n, f"item number {n}", n / 7) for n in range(1000)]


@dataclass(frozen=True)
class Choice:
    title: str
    each: str  # what is counted, so many for each call
    count: int
    clock: str
    build: Callable[[Server, ExitStack], Mapping[str, Run]]


def repeated(call: Callable[[], object]) -> Run:
    """A run of nothing but these calls."""

    def run(count: int, watch: Watch) -> Any:
        with watch:
            for _ in range(count):
                found = call()
        return found

    return run


# ---------------------------------------------------------------- inserts


def _inserts(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    conn = scope.enter_context(pgwire.connect(server.url))

    def one_by_one() -> None:
        for record in _RECORDS:
            conn.query(_INSERT, record)

    def in_a_transaction() -> None:
        with conn.transaction():
            one_by_one()

    def pipelined() -> None:
        with conn.transaction(), conn.pipeline() as pipeline:
            for record in _RECORDS:
                pipeline.query(_INSERT, record)

    ways: dict[str, Callable[[], object]] = {
        "`query`, in a transaction": in_a_transaction,
        "`query`, each by itself": one_by_one,
        "a pipeline": pipelined,
        "`query_many`": partial(conn.query_many, _INSERT, _RECORDS),
        "`copy_records`": partial(
            conn.copy_records, "target", _RECORDS, columns=("id", "name", "ratio")
        ),
    }

    def emptied(call: Callable[[], object]) -> Run:
        def run(count: int, watch: Watch) -> None:
            for _ in range(count):
                conn.query("truncate target")
                with watch:
                    call()

        return run

    return {name: emptied(call) for name, call in ways.items()}


# ---------------------------------------------------------------- rows


@dataclass
class Item:
    id: int
    name: str
    ratio: float
    big: int
    at: datetime
    flag: bool


def _rows(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    query = scope.enter_context(pgwire.connect(server.url)).query
    return {
        "`rows`": repeated(lambda: query(_MIXED).rows),
        "`row=` a dataclass": repeated(lambda: query(_MIXED, row=Item).rows),
        "`row=tuple`": repeated(lambda: query(_MIXED, row=tuple).rows),
        "`dicts()`": repeated(lambda: query(_MIXED).dicts()),
        "two of the six columns": repeated(
            lambda: query("select id, name from mixed limit 1000").rows
        ),
    }


def _documents(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    connect = partial(pgwire.connect, server.url)
    sql = "select document from rich limit 1000"
    plain = scope.enter_context(connect())
    quick = scope.enter_context(connect(json_loads=orjson.loads))
    return {
        "`json` of Python": repeated(lambda: plain.query(sql).scalars()),
        "`json_loads=orjson.loads`": repeated(lambda: quick.query(sql).scalars()),
        "`document::text`": repeated(
            lambda: plain.query("select document::text from rich limit 1000").scalars()
        ),
    }


# ---------------------------------------------------------------- one query


def _one_query(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    def opened(url: str, **options: Any) -> Callable[..., Any]:
        return scope.enter_context(pgwire.connect(url, **options)).query

    plain, uncached = opened(server.url), opened(server.url, statement_cache_size=0)
    local = opened(server.socket_url)
    began, watched = [scope.enter_context(pgwire.connect(server.url)) for _ in range(2)]
    watched.on("query", id)
    pool = scope.enter_context(pgwire.Pool(server.url, max_size=1))

    def checked_out() -> object:
        with pool.connect() as conn:
            return conn.query(SQL, [7])

    def in_a_transaction() -> object:
        with began.transaction():
            return began.query(SQL, [7])

    def fresh() -> object:
        with pgwire.connect(server.url) as conn:
            return conn.query(SQL, [7])

    return {
        "`conn.query`": repeated(lambda: plain(SQL, [7])),
        "over a Unix socket": repeated(lambda: local(SQL, [7])),
        "with `timeout=5`": repeated(lambda: plain(SQL, [7], timeout=5)),
        "`pool.query`": repeated(lambda: pool.query(SQL, [7])),
        "`with pool.connect()`": repeated(checked_out),
        "with an observer": repeated(lambda: watched.query(SQL, [7])),
        "`with conn.transaction()`": repeated(in_a_transaction),
        "`statement_cache_size=0`": repeated(lambda: uncached(SQL, [7])),
        "a connection for it": repeated(fresh),
    }


def _beside_work(server: Server, scope: ExitStack) -> Mapping[str, Run]:
    """A query while another thread computes, which gives up the GIL only when it is asked to."""
    query = scope.enter_context(pgwire.connect(server.url)).query

    def run(interval: float, busy: bool, count: int, watch: Watch) -> None:
        before = sys.getswitchinterval()
        stop = threading.Event()
        worker = threading.Thread(target=_compute, args=(stop,), daemon=True)
        sys.setswitchinterval(interval)
        try:
            if busy:
                worker.start()
            with watch:
                for n in range(count):
                    query(SQL, [n % KEYS + 1])
        finally:
            stop.set()
            if busy:
                worker.join()
            sys.setswitchinterval(before)

    return {
        "alone": partial(run, 0.005, False),
        "beside a thread that computes": partial(run, 0.005, True),
        "and `sys.setswitchinterval(0.0005)`": partial(run, 0.0005, True),
    }


def _compute(stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        for _ in range(1000):
            number = (number * 31 + 7) % 1_000_003


CHOICES = (
    Choice("a row by key", "query", 1, "cpu", _one_query),
    Choice("1,000 inserts", "record", 1000, "wall", _inserts),
    Choice("1,000 rows of 6 columns", "row", 1000, "cpu", _rows),
    Choice("1,000 documents of jsonb", "value", 1000, "cpu", _documents),
    Choice("a row by key, among threads", "query", 1, "wall", _beside_work),
)
