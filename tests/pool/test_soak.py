"""Sixteen threads on four connections do what comes into their heads, switching all the time.

Every answer carries a marker that nobody else asked for. PGWIRE_SOAK_SEED chooses the seed,
which is printed; PGWIRE_SOAK_STEPS how long it goes on (steps of each thread).
"""

from __future__ import annotations

import os
import random
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.pool.watching import Call, nothing_left, seen_by_server

if TYPE_CHECKING:
    from collections.abc import Iterator

THREADS, SIZE = 16, 4
STEPS = int(os.environ.get("PGWIRE_SOAK_STEPS", "120"))
NAME = "soak"


@pytest.fixture(autouse=True)
def _switch_all_the_time() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class User:
    """One thread's life, which its seed decides, but for what the others do to it."""

    # How often one step is taken and the other.
    shares = {
        "query": 30,
        "lease": 20,
        "transaction_left_open": 10,
        "mistake": 10,
        "submit": 10,
        "impatience": 8,
        "discard": 4,
        "release_twice": 4,
        "leave_it_to_the_collector": 2,
        "query_timeout": 1,
        "die": 1,
    }

    def __init__(self, p: pgwire.Pool, seed: str) -> None:
        self.pool = p
        self.dice = random.Random(seed)
        self.asked = 0
        self.base = self.dice.randrange(1 << 40)

    def live(self) -> None:
        names = self.dice.choices([*self.shares], [*self.shares.values()], k=STEPS)
        for name in names:
            getattr(self, name)()

    def ask(self, who: Any) -> None:
        self.asked += 1
        marker = self.base + self.asked
        assert who.query("select $1::int8", [marker]).scalar() == marker

    def query(self) -> None:
        self.ask(self.pool)

    def lease(self) -> None:
        with self.pool.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE
            for _ in range(self.dice.randrange(4)):
                self.ask(conn)

    def transaction_left_open(self) -> None:
        with self.pool.connect() as conn:
            assert conn.query("show application_name").scalar() == NAME
            conn.query("begin")
            conn.query("set application_name = 'spoiled'")
            self.ask(conn)

    def mistake(self) -> None:
        with pytest.raises(errors.DivisionByZero):
            self.pool.query("select 1 / $1::int", [0])

    def submit(self) -> None:
        marker = self.base
        future = self.pool.submit("select $1::int8", [marker])
        if self.dice.random() < 0.3 and future.cancel():
            return
        assert future.result(20).scalar() == marker

    def impatience(self) -> None:
        with suppress(pgwire.PoolTimeout):
            with self.pool.connect(timeout=self.dice.choice([0, 0.0001, 0.001])) as conn:
                self.ask(conn)

    def discard(self) -> None:
        conn = self.pool.connect()
        self.ask(conn)
        conn.release(discard=True)

    def release_twice(self) -> None:
        conn = self.pool.connect()
        conn.release()
        with pytest.raises(pgwire.InterfaceError):
            conn.release()
        with pytest.raises(pgwire.InterfaceError):
            self.ask(conn)

    def leave_it_to_the_collector(self) -> None:
        conn = self.pool.connect()
        self.ask(conn)
        del conn

    def query_timeout(self) -> None:
        with pytest.raises((pgwire.PoolTimeout, pgwire.QueryTimeout)):
            self.pool.query("select pg_sleep(20)", timeout=0.03)

    def die(self) -> None:
        with pytest.raises(pgwire.ConnectionLost):
            self.pool.query("select pg_terminate_backend(pg_backend_pid())")


class Submitter(User):
    """One who mostly submits, by the dozen, and so shares connections with the others.

    No backend dies here: that would be the end of others' queries as well.
    """

    shares = User.shares | {
        "die": 0,
        "query": 5,
        "submit_some": 60,
        "submit_mistakes": 10,
        "submit_impatiently": 4,
        "submit_what_changes_the_session": 2,
    }

    def submit_some(self) -> None:
        markers = [self.base + n for n in range(self.dice.randrange(1, 20))]
        futures = [self.pool.submit("select $1::int8", [marker]) for marker in markers]
        cancelled = {future for future in futures if self.dice.random() < 0.05 and future.cancel()}
        for marker, future in zip(markers, futures, strict=True):
            if future not in cancelled:
                assert future.result(20).scalar() == marker

    def submit_mistakes(self) -> None:
        futures = [self.pool.submit("select 1 / $1::int", [n % 2]) for n in range(6)]
        for n, future in enumerate(futures):
            if n % 2:
                assert future.result(20).scalar() == 1
            else:
                assert isinstance(future.exception(20), errors.DivisionByZero)

    def submit_impatiently(self) -> None:
        seconds = self.dice.choice([0.0, 0.001, 0.01])
        futures = [self.pool.submit("select 7", timeout=seconds) for _ in range(6)]
        for future in futures:
            try:
                assert future.result(20).scalar() == 7
            except (pgwire.PoolTimeout, pgwire.QueryTimeout):
                continue

    def submit_what_changes_the_session(self) -> None:
        sql = "select set_config('application_name', 'spoiled', false)"
        assert self.pool.submit(sql).result(20).scalar() == "spoiled"

    def submit(self) -> None:
        self.submit_some()


@pytest.mark.slow
@pytest.mark.parametrize(("user", "max_pipeline"), [(User, 1), (Submitter, 8)])
@pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")
def test_soak(dsn: str, user: type[User], max_pipeline: int) -> None:
    seed = os.environ.get("PGWIRE_SOAK_SEED") or str(random.randrange(1 << 32))
    print("PGWIRE_SOAK_SEED =", seed)
    with nothing_left(), seen_by_server(dsn, NAME, SIZE):
        options: dict[str, Any] = {"check_after": 0.01, "max_pipeline": max_pipeline}
        with pgwire.Pool(dsn, max_size=SIZE, application_name=NAME, **options) as p:
            users = [user(p, f"{seed}/{number}") for number in range(THREADS)]
            threads = [Call(each.live) for each in users]
            for thread in threads:
                thread.outcome()
            assert p.waiting_count == 0
        stats = p.stats()
        assert stats.size == stats.waiting == 0
        assert stats.granted == stats.released
        assert stats.opened == stats.closed
