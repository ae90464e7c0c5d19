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
    from collections.abc import Callable, Iterator

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

    def __init__(self, p: pgwire.Pool, seed: str) -> None:
        self.pool = p
        self.dice = random.Random(seed)
        self.asked = 0
        self.base = self.dice.randrange(1 << 40)

    def live(self) -> None:
        steps: list[Callable[[], None]] = [
            *[self.query] * 30,
            *[self.lease] * 20,
            *[self.transaction_left_open] * 10,
            *[self.mistake] * 10,
            *[self.submit] * 10,
            *[self.impatience] * 8,
            *[self.discard] * 4,
            *[self.release_twice] * 4,
            *[self.leave_it_to_the_collector] * 2,
            *[self.query_timeout] * 1,
            *[self.die] * 1,
        ]
        for _ in range(STEPS):
            self.dice.choice(steps)()

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


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:a lease taken:ResourceWarning")
def test_soak(dsn: str) -> None:
    seed = os.environ.get("PGWIRE_SOAK_SEED") or str(random.randrange(1 << 32))
    print("PGWIRE_SOAK_SEED =", seed)
    with nothing_left(), seen_by_server(dsn, NAME, SIZE):
        with pgwire.Pool(dsn, max_size=SIZE, application_name=NAME, check_after=0.01) as p:
            users = [User(p, f"{seed}/{number}") for number in range(THREADS)]
            threads = [Call(user.live) for user in users]
            for thread in threads:
                thread.outcome()
            assert p.waiting_count == 0
        stats = p.stats()
        assert stats.size == stats.waiting == 0
        assert stats.granted == stats.released
        assert stats.opened == stats.closed
