"""What the tests of shared connections have in common: statements that hang when they are told to.

A pool made by `sharing` has a clock that stands still. So every statement has taken no time, and is
known to be short once it has been run; and whoever hangs at the head of a line is never too long
there to be joined. Deadlines come when a test moves the clock.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pgwire
from tests.pool.support import PATIENCE, Clock, pool, until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    Answer = Future[pgwire.Result[pgwire.Row]]

ASK = "select $1::int"
# Hangs as long as a gate is closed.
PASS = "select $1::int from gate"


class Gate:
    """A table that nobody can read while it is locked."""

    def __init__(self, dsn: str) -> None:
        self._lock = pgwire.connect(dsn)
        self._eyes = pgwire.connect(dsn)
        self._eyes.query("drop table if exists gate")
        self._eyes.query("create table gate as select 1")
        self._table = self._eyes.query("select 'gate'::regclass::oid").scalar()

    def close(self) -> None:
        self._lock.query("begin")
        self._lock.query("lock table gate in access exclusive mode")

    def open(self) -> None:
        self._lock.query("commit")

    def wait_for(self, count: int) -> None:
        """Until so many backends stand in front of it."""
        sql = "select count(*) from pg_locks where relation = $1 and not granted"
        until(lambda: self._eyes.query(sql, [self._table]).scalar() == count)

    def remove(self) -> None:
        self._lock.close()
        self._eyes.query("drop table gate")
        self._eyes.close()


@contextmanager
def gate(dsn: str) -> Iterator[Gate]:
    made = Gate(dsn)
    try:
        yield made
    finally:
        made.remove()


@contextmanager
def sharing(
    dsn: str, known: Sequence[str] = (ASK,), **options: Any
) -> Iterator[tuple[pgwire.Pool, Clock]]:
    """A pool of one connection, which up to eight may share, and its clock."""
    clock = Clock()
    with pool(dsn, **{"max_size": 1, "max_pipeline": 8, "clock": clock, **options}) as p:
        for sql in known:
            p.submit(sql, [1] * ("$1" in sql)).result(PATIENCE)
        until(lambda: p.idle_count == p.total_count)
        yield p, clock


def ask(p: pgwire.Pool, numbers: Sequence[int], sql: str = ASK) -> list[Answer]:
    return [p.submit(sql, [number]) for number in numbers]


def answers(futures: Sequence[Answer]) -> list[Any]:
    return [future.result(PATIENCE).scalar() for future in futures]


def errors(futures: Sequence[Answer]) -> list[BaseException | None]:
    return [future.exception(PATIENCE) for future in futures]


class Told:
    """Which of some futures have been told what has become of them, and how often."""

    def __init__(self, futures: Sequence[Answer]) -> None:
        self._numbers = {future: number for number, future in enumerate(futures)}
        self.told: list[int] = []
        for future in futures:
            future.add_done_callback(self._note)

    def _note(self, future: Answer) -> None:
        self.told.append(self._numbers[future])

    def wait_for(self, count: int) -> list[int]:
        until(lambda: len(self.told) >= count)
        return sorted(self.told)


def check_whole(p: pgwire.Pool) -> None:
    """Everything has come back."""
    until(lambda: p.idle_count == p.total_count and not p._submitter.sharing.lines)
    stats = p.stats()
    assert (stats.shared, stats.sharing, stats.leased, stats.waiting) == (0, 0, 0, 0)
    assert stats.granted == stats.released


def check_ended(p: pgwire.Pool) -> None:
    stats = p.stats()
    assert (stats.size, stats.sharing, stats.waiting) == (0, 0, 0)
    assert stats.granted == stats.released
    assert stats.opened == stats.closed
    assert not p._submitter.sharing.lines, "a line is left"
