"""A storm of interruptions: cancel requests, time-outs and Ctrl-C at random moments of all calls.

Every connection is in step afterwards, what was written is there as a whole or not at all, and
neighbours hear their own answers. PGWIRE_INTERRUPTIONS=1000 for the whole of it,
PGWIRE_INTERRUPTIONS_SEED for other moments.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.protocol.messages import TransactionStatus
from tests.support import interrupting as storm
from tests.support.guards import go_on
from tests.support.signals import Interrupted, interrupted_after

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Any, int, float | None], object]


class Sink:
    size = 0

    def write(self, data: bytes) -> None:
        self.size += len(data)


def query(who: Any, number: int, timeout: float | None) -> None:
    assert who.query(storm.SLEEP, [number], timeout=timeout).one()[1] == number


def rows(who: Any, number: int, timeout: float | None) -> None:
    found = who.query(storm.ROWS, [number], timeout=timeout)
    assert sum(row.n for row in found) == storm.sums_of(number)


def stream(who: Any, number: int, timeout: float | None) -> None:
    found = who.stream(storm.ROWS, [number], fetch_size=100, timeout=timeout)
    assert sum(row.n for row in found) == storm.sums_of(number)


def left_stream(who: Any, number: int, timeout: float | None) -> None:
    with who.stream(storm.ROWS, [number], fetch_size=10, timeout=timeout) as found:
        assert next(found).n == number + 1


def copy_in(who: Any, number: int, timeout: float | None) -> None:
    source = (f"{number}\t{n}\n" for n in range(storm.BATCH))
    assert who.copy_in(storm.COPY_IN, source, timeout=timeout) == storm.BATCH


def copy_records(who: Any, number: int, timeout: float | None) -> None:
    records = ((number, n) for n in range(storm.BATCH))
    assert who.copy_records(storm.TABLE, records, timeout=timeout) == storm.BATCH


def copy_out(who: Any, number: int, timeout: float | None) -> None:
    sink = Sink()
    assert who.copy_out(storm.COPY_OUT.format(number), sink, timeout=timeout) == 50_000
    assert sink.size == storm.size_of(number)


def query_many(who: Any, number: int, timeout: float | None) -> None:
    records = ((number, n) for n in range(storm.MANY))
    assert who.query_many(storm.INSERT, records, timeout=timeout).row_count == storm.MANY


def script(who: Any, number: int, timeout: float | None) -> None:
    assert who.script(storm.script_of(number), timeout=timeout)[-1].scalar() == number


def prepare(who: Any, number: int, timeout: float | None) -> None:
    with who.prepare(f"select $1::int8 + {number}", timeout=timeout) as statement:
        for n in range(10):
            assert statement.query([n], timeout=timeout).scalar() == number + n


def transaction(who: Any, number: int, timeout: float | None) -> None:
    with who.transaction():
        who.query_many(storm.INSERT, ((number, n) for n in range(storm.MANY)), timeout=timeout)
        assert who.query(storm.FOUND, [number], timeout=timeout).scalar() == storm.MANY


OF_POOLS: tuple[Work, ...] = (
    *(query, rows, stream, left_stream),
    *(copy_in, copy_records, copy_out, query_many),
)
WORK: tuple[Work, ...] = (*OF_POOLS, script, prepare, transaction)


class Neighbour(threading.Thread):
    """Asks for what only it can know, until it is told to end."""

    def __init__(self, ask: Callable[[int], Any], first: int) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self._number = first
        self._is_over = threading.Event()
        self.answers = 0
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self._is_over.wait(0.001):
                self._number += 7
                answer = tuple(self._ask(self._number).one())
                assert answer == storm.neighbours_answer(self._number)
                self.answers += 1
        except BaseException as error:
            self.error = error

    def end(self) -> int:
        """How many answers there were."""
        self._is_over.set()
        self.join(storm.PATIENCE)
        if self.error is not None:
            raise self.error
        return self.answers


class Storm:
    def __init__(self, dsn: str) -> None:
        self.moments = storm.Moments()
        self.admin = pgwire.connect(dsn)
        self.pool = pgwire.Pool(dsn, max_size=3, max_pipeline=4)
        self._dsn = dsn
        self.conn = pgwire.connect(dsn)
        self.number = 0
        self.renewed = 0

    def measure(self) -> None:
        """How long everything takes, when it is known to the connection."""
        for work in WORK:
            for _ in range(2):
                self.number += 1
                began = time.perf_counter()
                work(self.conn, self.number, None)
                self.moments.life[work.__name__] = time.perf_counter() - began

    def strike(self) -> None:
        """One interruption, and what must hold behind it."""
        self.number += 1
        dice = self.moments.dice
        how = dice.choice([*[self.by_cancel] * 3, self.by_timeout, self.by_signal])
        where = dice.choice(["connection", "lease", "pool"])
        work = dice.choice(OF_POOLS if where == "pool" else WORK)
        moment = self.moments.draw(work.__name__)
        if where == "connection":
            how(work, self.conn, moment)
            self.check(self.conn, may_be_closed=how == self.by_signal)
            if self.conn.closed:
                self.conn = pgwire.connect(self._dsn)
                self.renewed += 1
        elif where == "pool":
            # There is nothing to send a cancel request by.
            (self.by_timeout if how == self.by_cancel else how)(work, self.pool, moment)
        else:
            with self.pool.connect() as lease:
                how(work, lease, moment)
                self.check(lease, may_be_closed=how == self.by_signal)
        assert self.pool.query("select $1::int8", [self.number]).scalar() == self.number
        whole = storm.BATCH if work in (copy_in, copy_records) else storm.MANY
        assert self.admin.query(storm.FOUND, [self.number]).scalar() in (0, whole)

    def by_cancel(self, work: Work, who: Any, moment: float) -> None:
        timer = threading.Timer(moment, self.cancel, [who])
        timer.start()
        try:
            work(who, self.number, None)
        except pgwire.QueryCanceled:
            self.moments.struck["canceled"] += 1
        finally:
            timer.join()

    @staticmethod
    def cancel(who: pgwire.Connection) -> None:
        who.cancel()

    def by_timeout(self, work: Work, who: Any, moment: float) -> None:
        try:
            work(who, self.number, moment)
        except (pgwire.QueryTimeout, pgwire.PoolTimeout):
            self.moments.struck["timed out"] += 1

    def by_signal(self, work: Work, who: Any, moment: float) -> None:
        try:
            with interrupted_after(moment):
                work(who, self.number, None)
        except Interrupted:
            self.moments.struck["interrupted"] += 1

    def check(self, who: pgwire.Connection, *, may_be_closed: bool) -> None:
        """It is in step; or closed, where Ctrl-C struck while something was half done."""
        if who.closed:
            assert may_be_closed
            self.moments.closed += 1
            return
        if who.transaction_status is not TransactionStatus.IDLE:
            who.query("rollback")  # Ctrl-C struck between the block and its end
        who.ping()
        assert tuple(who.query(storm.NEIGHBOUR, [self.number]).one()) == storm.neighbours_answer(
            self.number
        )


# Where Ctrl-C strikes in a destructor Python itself drops it, and says so.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.slow
def test_a_storm_of_interruptions(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", storm.PATIENCE)  # on a busy machine
    go_on(storm.PATIENCE)  # in place of `watch`
    blowing = Storm(dsn)
    blowing.admin.script(storm.CREATE)
    own = pgwire.connect(dsn)
    neighbours = [
        Neighbour(lambda n: own.query(storm.NEIGHBOUR, [n]), 10**6),
        Neighbour(lambda n: blowing.pool.query(storm.NEIGHBOUR, [n]), 10**7),
        Neighbour(lambda n: blowing.pool.submit(storm.NEIGHBOUR, [n]).result(), 10**8),
    ]
    try:
        blowing.measure()
        while not blowing.moments.are_enough:
            blowing.strike()
        answers = [neighbour.end() for neighbour in neighbours]
    finally:
        blowing.admin.query(f"drop table {storm.TABLE}")
        blowing.pool.end(timeout=storm.PATIENCE)
        for conn in (own, blowing.conn, blowing.admin):
            conn.close()
    struck, closed = dict(blowing.moments.struck), blowing.moments.closed
    print(f"{blowing.number} calls, {struck}, {closed} closed, answers beside: {answers}")
    assert min(answers) > storm.INTERRUPTIONS
    assert closed <= struck["interrupted"]
    assert struck.keys() == {"canceled", "timed out", "interrupted"}
