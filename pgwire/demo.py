"""`python -m pgwire demo`: a PostgreSQL of its own, and the pool's main job on one screen.

Knows the story it tells. Everything it prints was measured or asked for a moment before; what
should hold (the order of service, the end of the server) is looked at, not assumed.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack, contextmanager, suppress
from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import pgwire
from pgwire import embedded
from pgwire.errors import PoolClosed, PoolTimeout, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from pgwire.pool.lease import Lease

_THREADS = 12
_CONNECTIONS = 2
_ROUNDS = 100
_BAR = 40
# Seconds that the demo waits for what happens at once, unless something is badly wrong.
_PATIENCE = 10.0


def main(arguments: Sequence[str] = ()) -> int:
    """Show it; returns the exit status.

    Raises:
        embedded.Unavailable: there is no PostgreSQL to start; the message says what to install.
    """
    if arguments:
        raise ProgrammingError("the demo takes no arguments")
    began = perf_counter()
    with embedded.server() as server:
        _say(f"{server.installation}, started for this demo in {perf_counter() - began:.1f} s")
        url = server.url_for(server.user, sslmode="disable")
        with pgwire.Pool(url, max_size=_CONNECTIONS) as pool:
            _show_queries(pool)
            _show_rollback(pool)
            _show_order(pool)
            _show_cost(pool, url)
            _show_end(pool)
    gone = not _is_alive(server.pid) and not server.directory.exists()
    _say()
    _say(
        f"PostgreSQL is {'stopped and its folder removed' if gone else 'STILL THERE'};"
        f" all in {perf_counter() - began:.1f} s."
    )
    return 0 if gone else 1


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _say(text: str = "") -> None:
    print(text, flush=True)


def _headline(text: str) -> None:
    _say(f"\n{text}")


# ---------------------------------------------------------------- queries


def _show_queries(pool: pgwire.Pool) -> None:
    _headline("Queries with $1 parameters, prepared and cached by themselves")
    for sql, params in (
        ("select $1::int + 1 as answer, $2 as who", [41, "Ada"]),
        ("select $1::date - 1 as eve, $2 * 1.1 as sum", ["2024-03-01", 20]),
    ):
        _say(f'  pool.query("{sql}", {params})')
        _say(f"    {pool.query(sql, params).one()}")


def _show_rollback(pool: pgwire.Pool) -> None:
    _headline("A transaction that fails leaves nothing behind")
    pool.query("create table account (id int primary key, balance numeric)")
    _say("  with pool.transaction() as conn:")
    try:
        with pool.transaction() as conn:
            for row in ([1, 50], [1, 60]):
                _say(f'      conn.query("insert into account values ($1, $2)", {row})')
                conn.query("insert into account values ($1, $2)", row)
    except pgwire.UniqueViolation as error:
        _say(f"    {type(error).__name__}: {error.detail}")
    left = pool.query("select count(*) from account").scalar()
    _say(f"    rows in the table now: {left}")


# ---------------------------------------------------------------- order


def _show_order(pool: pgwire.Pool) -> None:
    _headline(f"First come, first served: {_THREADS} threads on {_CONNECTIONS} connections")
    served = _serve_queue(pool)
    names = {pid: chr(ord("A") + n) for n, pid in enumerate(dict.fromkeys(p for _, p in served))}
    arrived = list(range(1, _THREADS + 1))
    order = [number for number, _ in served]
    _say("  came    " + "".join(f"{number:4}" for number in arrived))
    _say("  served  " + "".join(f"{number:4}" for number in order))
    _say("  on      " + "".join(f"{names[pid]:>4}" for _, pid in served))
    if order != arrived:
        _say("  THE ORDERS DIFFER")


def _serve_queue(pool: pgwire.Pool) -> list[tuple[int, int]]:
    """Who was served, one after the other, and by which backend.

    All connections are taken while the threads arrive, each once the one before it is in the
    queue. Whoever is served keeps the connection until the next one has another: so two are
    never woken at once, and the order in which they note themselves is that of service.
    """
    served: list[tuple[int, int]] = []
    noted = threading.Condition()

    def visit(number: int) -> None:
        with pool.connect() as conn:
            with noted:
                served.append((number, conn.backend_pid))
                mine = len(served)
                noted.notify_all()
            conn.query("select $1::int", [number])
            with noted:
                noted.wait_for(lambda: len(served) > min(mine, _THREADS - 1), _PATIENCE)

    with _all_taken(pool) as leases:
        visitors = [_start(visit, n + 1, queued=(pool, n + 1)) for n in range(_THREADS)]
        for count, lease in enumerate(leases, 1):
            lease.release()
            with noted:
                noted.wait_for(lambda: len(served) >= count, _PATIENCE)  # noqa: B023
    for visitor in visitors:
        visitor.join()
    return served


@contextmanager
def _all_taken(pool: pgwire.Pool) -> Iterator[list[Lease]]:
    """All connections, leased until the end of the block; so whoever comes has to queue."""
    with ExitStack() as stack:
        yield [stack.enter_context(pool.connect()) for _ in range(_CONNECTIONS)]


def _start(
    target: Callable[..., None], *args: Any, queued: tuple[pgwire.Pool, int] | None = None
) -> threading.Thread:
    """A thread; returns once so many requests wait in the pool's queue."""
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    if queued is not None:
        pool, count = queued
        while pool.waiting_count < count and thread.is_alive():
            sleep(0.001)
    return thread


# ---------------------------------------------------------------- cost


def _show_cost(pool: pgwire.Pool, url: str) -> None:
    _headline("What a handshake costs (SCRAM-SHA-256 over TCP; `select 1`, median)")

    def with_handshake() -> None:
        with pgwire.connect(url) as conn:
            conn.query("select 1")

    def from_pool() -> None:
        pool.query("select 1")

    slow, quick = _medians(with_handshake, from_pool)
    for name, seconds in (("connect, query, close", slow), ("pool.query", quick)):
        bar = "#" * max(1, round(_BAR * seconds / slow))
        _say(f"  {name:22}{seconds * 1000:6.2f} ms  {bar}")
    _say(f"  The pool is {slow / quick:.0f} times as fast.")


def _medians(*variants: Callable[[], None]) -> list[float]:
    """The median time of each, in seconds; they take turns."""
    times: list[list[float]] = [[] for _ in variants]
    for _ in range(_ROUNDS):
        for variant, measured in zip(variants, times, strict=True):
            began = perf_counter()
            variant()
            measured.append(perf_counter() - began)
    return [median(measured) for measured in times]


# ---------------------------------------------------------------- the end


def _show_end(pool: pgwire.Pool) -> None:
    _headline("Shutdown in order")
    answers: list[int] = []

    def ask(number: int) -> None:
        answers.append(pool.query("select $1::int", [number]).scalar())

    with _all_taken(pool):
        askers = [_start(ask, n, queued=(pool, n + 1)) for n in range(6)]
        ending = _start(pool.end)
        _say(f"  {len(askers)} queries wait for a connection; now somebody calls pool.end()")
        _say(f"  one more query   {_refusal(pool)}")
    for thread in (*askers, ending):
        thread.join()
    _say(
        f"  the {len(askers)} before it  {len(answers)} answered;"
        f" connections still open: {pool.total_count}"
    )


def _refusal(pool: pgwire.Pool) -> str:
    """What a query gets that comes after the other thread's end()."""
    while True:
        with suppress(PoolTimeout):  # a moment too early: nobody has called end() yet
            try:
                pool.query("select 1", timeout=0)
            except PoolClosed as error:
                return f"{type(error).__name__}: {error}"
