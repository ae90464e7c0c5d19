"""A pool on a primary with a standby: what it makes of a fail-over (I-37).

Each write is acknowledged by two servers (`tests/support/standby.py`), and so has to outlive one of
them. Who writes notes what was acknowledged; of a write that ends with `ConnectionLost` nobody
knows whether it was carried out, unless the error says that it was not even sent. No other error
may come: what is asked for while there is no primary waits for one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, Any, Self

import pytest

import pgwire
from tests.pool.support import PATIENCE, until
from tests.pool.watching import (
    Call,
    ask,
    frozen,
    nothing_left,
    open_connections,
    seen_by_server,
)
from tests.support.shells import SHELLS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import embedded
    from tests.support.standby import Pair

pytestmark = [pytest.mark.slow, pytest.mark.parametrize("shell", SHELLS, indirect=True)]

MOST, PIPELINE = 4, 3

WRITE = "insert into written values ($1, 1), ($1, 2)"
HALF = "insert into written values ($1, $2)"
PORT = "select inet_server_port()"


@pytest.fixture(autouse=True)
def _nothing_left(pair: Pair) -> Iterator[None]:
    with nothing_left():
        yield


def pool(pair: Pair, target: str, **options: Any) -> pgwire.Pool:
    """A pool on both."""
    dsn = pair.dsn(target_session_attrs=target, application_name="failover")
    return pgwire.Pool(dsn, max_size=MOST, checkout_timeout=PATIENCE, **options)


@contextmanager
def survivor(server: embedded.Server) -> Iterator[None]:
    """I-1: it never sees more than MOST connections of the pool, and none in the end."""
    with seen_by_server(server.socket_url, "failover", MOST):
        yield


def write(p: pgwire.Pool, number: int) -> None:
    p.query(WRITE, [number])


def write_together(p: pgwire.Pool, number: int) -> None:
    """On a connection that others may share."""
    p.submit(WRITE, [number]).result(PATIENCE)


def write_halves(p: pgwire.Pool, number: int) -> None:
    with p.transaction() as conn:
        conn.query(HALF, [number, 1])
        conn.query(HALF, [number, 2])


def write_in_time(p: pgwire.Pool, number: int) -> None:
    """It waits for a connection as long as it takes, but not for the answer."""
    with p.connect() as conn:
        conn.query(WRITE, [number], timeout=0.5)


Way = Callable[[pgwire.Pool, int], None]
WAYS: tuple[Way, ...] = write, write_together, write_halves


class Writers:
    """Threads that write one number after the other, each number once."""

    def __init__(self, p: pgwire.Pool, ways: tuple[Way, ...] = WAYS) -> None:
        self.acknowledged: list[int] = []
        self.unknown: list[int] = []
        self.unsent: list[int] = []
        self._pool = p
        self._numbers = count()
        self._over = threading.Event()
        self._threads = [Call(self._run, way) for way in ways * (9 // len(ways))]

    def _run(self, way: Way) -> None:
        while not self._over.is_set():
            number = next(self._numbers)
            try:
                way(self._pool, number)
            except pgwire.ConnectionLost as error:
                (self.unknown if error.sent else self.unsent).append(number)
            except pgwire.QueryTimeout:
                self.unknown.append(number)
            else:
                self.acknowledged.append(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_why: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.outcome()

    def go_on(self) -> None:
        """Wait until so much has been written that each of them has had its turns."""
        enough = len(self.acknowledged) + 100
        until(lambda: len(self.acknowledged) >= enough or not self._threads_live())
        assert self._threads_live()

    def _threads_live(self) -> bool:
        return all(thread.is_alive() for thread in self._threads)

    def check(self, pair: Pair) -> None:
        """What was acknowledged is there, once, and nothing is there by half."""
        rows = pair.ask("select number, part from written").rows
        found = Counter(number for number, _ in rows)
        assert len(set(rows)) == len(rows), "something was written twice"
        assert set(found.values()) == {2}, "a transaction was carried out by half"
        assert len(set(self.acknowledged)) == len(self.acknowledged)
        assert set(self.acknowledged) <= set(found), "an acknowledged write is lost"
        assert set(found) <= {*self.acknowledged, *self.unknown}


@pytest.fixture
def table(pair: Pair) -> None:
    pair.ask("create table written (number int, part int)")


def lose_primary(pair: Pair, how: str, p: pgwire.Pool) -> None:
    """End the primary, and promote the standby once the pool has looked for one in vain."""
    failures = p.stats().open_failures
    getattr(pair.primary, how)()
    until(lambda: p.stats().open_failures > failures)
    pair.promote()


def ports(p: pgwire.Pool, number: int = MOST) -> set[int]:
    """The servers that so many connections at once are with."""
    leases = [p.connect() for _ in range(number)]
    found = {lease.query(PORT).scalar() for lease in leases}
    for lease in leases:
        lease.release()
    return found


@pytest.mark.parametrize("how", ["kill", "stop"])
@pytest.mark.usefixtures("table")
def test_a_primary_that_is_lost_under_load(pair: Pair, how: str) -> None:
    """Writes wait until the standby is promoted; what was acknowledged is all there."""
    with survivor(pair.second), pool(pair, "read-write", max_pipeline=PIPELINE) as p:
        with Writers(p) as writers:
            writers.go_on()
            lose_primary(pair, how, p)
            writers.go_on()
            assert ports(p) == {pair.primary.port}
        until(lambda: p.idle_count == p.total_count)  # a future may be done before that
        stats = p.stats()
        assert (stats.leased, stats.shared, stats.waiting) == (0, 0, 0)
        assert (stats.failed, stats.timed_out, stats.rejected) == (0, 0, 0)
        assert stats.requests == stats.granted == stats.released
        assert stats.opened - stats.closed == stats.idle == p.total_count
    # Nothing is lost but what was under way; nor is anything tried twice by the pool itself.
    assert len(writers.unknown) <= MOST * PIPELINE
    writers.check(pair)


@pytest.mark.usefixtures("table")
def test_a_primary_that_comes_back_as_a_standby(pair: Pair) -> None:
    """It is left alone until it is promoted itself: there and back, and nothing is lost."""
    with pool(pair, "primary") as p, Writers(p) as writers:
        writers.go_on()
        lose_primary(pair, "kill", p)
        writers.go_on()
        pair.follow()
        p.expire()
        writers.go_on()
        assert ports(p) == {pair.second.port}
        lose_primary(pair, "stop", p)
        writers.go_on()
        assert ports(p) == {pair.first.port}
    writers.check(pair)


@pytest.mark.usefixtures("table")
def test_a_primary_that_is_silent(pair: Pair) -> None:
    """What was under way runs out of time, and so does who connects; then the next is asked."""
    with survivor(pair.second), pool(pair, "primary", connect_timeout=1) as p:
        with Writers(p, (write_in_time,)) as writers:
            writers.go_on()
            with frozen(pair.first):
                pair.promote()
                writers.go_on()
                assert ports(p) == {pair.second.port}
                # Else there would be two when it goes on: that is not for a pool to prevent.
                os.kill(pair.first.pid, signal.SIGKILL)
            writers.go_on()
    writers.check(pair)


@pytest.mark.parametrize("how", ["kill", "stop"])
def test_idle_connections_to_a_primary_that_is_lost_cost_no_error(pair: Pair, how: str) -> None:
    with survivor(pair.second), pool(pair, "primary") as p:
        open_connections(p, MOST)
        getattr(pair.primary, how)()
        calls = [Call(ask, p, n) for n in range(2 * MOST)]
        until(lambda: p.stats().open_failures)
        pair.promote()
        assert [call.outcome() for call in calls] == list(range(2 * MOST))
        assert ports(p) == {pair.primary.port}
        stats = p.stats()
        assert stats.lost + stats.discarded >= MOST


def test_what_reads_on_a_standby_goes_on_when_that_is_promoted(pair: Pair) -> None:
    """No query fails. Where there is no standby `prefer-standby` is content with a primary."""
    over = threading.Event()
    answers: list[int] = []

    def read(p: pgwire.Pool) -> None:
        while not over.is_set():
            answers.append(p.query("select 7").scalar())

    def go_on() -> None:
        enough = len(answers) + 100
        until(lambda: len(answers) >= enough)

    with survivor(pair.second), pool(pair, "prefer-standby") as p:
        assert ports(p) == {pair.second.port}
        readers = [Call(read, p) for _ in range(2 * MOST)]
        go_on()
        pair.primary.kill()
        pair.promote()
        go_on()
        assert ports(p) == {pair.second.port}
        pair.follow()
        p.expire()
        go_on()
        assert ports(p) == {pair.first.port}
        over.set()
        for reader in readers:
            reader.outcome()
        assert set(answers) == {7}


def test_who_insists_on_a_standby_waits_for_the_next(pair: Pair) -> None:
    with survivor(pair.second), pool(pair, "standby") as p:
        assert ports(p) == {pair.second.port}
        pair.primary.stop("fast")
        pair.promote()
        # Sessions hear of it with their next answer. This one was asked for in good faith.
        assert p.query(PORT).scalar() == pair.second.port
        calls = [Call(ask, p, n) for n in range(2 * MOST)]
        assert "the server is not a standby" in waits_in_vain(p)
        pair.follow()
        assert [call.outcome() for call in calls] == list(range(2 * MOST))
        assert ports(p) == {pair.first.port}


def test_a_connection_that_is_asked_first_is_not_with_a_server_in_another_role(pair: Pair) -> None:
    """An idle session hears of a promotion when it is asked something, and be it nothing."""
    with survivor(pair.second), pool(pair, "standby", check_after=0) as p:
        open_connections(p, MOST)
        pair.primary.stop("fast")
        pair.promote()
        call = Call(p.query, PORT)
        assert "the server is not a standby" in waits_in_vain(p)
        assert p.idle_count == 0
        pair.follow()
        assert call.outcome().scalar() == pair.first.port


@pytest.mark.usefixtures("table")
def test_a_primary_that_is_told_to_write_no_more(pair: Pair) -> None:
    """One write is refused; then the pool looks for a server that writes, and waits for it."""
    with pool(pair, "read-write") as p:
        open_connections(p, MOST)
        pair.ask("alter system set default_transaction_read_only = on")
        pair.ask("select pg_reload_conf()")
        with pytest.raises(pgwire.errors.ReadOnlySqlTransaction):
            until(lambda: write(p, -1))  # which is soon
        calls = [Call(write, p, n) for n in range(2 * MOST)]
        assert "the session is read-only" in waits_in_vain(p)
        pair.ask("alter system reset default_transaction_read_only")
        pair.ask("select pg_reload_conf()")
        for call in calls:
            call.outcome()
        written = pair.ask("select count(*) from written where number >= 0").scalar()
        assert written == 4 * MOST


def waits_in_vain(p: pgwire.Pool) -> str:
    """Why the pool opens no connection, as a request is told that will not wait for longer."""
    until(lambda: p.stats().open_failures)
    with pytest.raises(pgwire.PoolTimeout) as caught:
        p.query("select 1", timeout=0.01)
    return str(caught.value.__cause__)


def test_a_server_of_several_that_dies(pair: Pair) -> None:
    """Connections are spread over both; the one that is left serves all."""
    both = {pair.first.port, pair.second.port}

    def spread() -> bool:
        p.expire()
        return ports(p) == both

    with pool(pair, "any", load_balance_hosts="random") as p:
        until(spread)
        pair.primary.kill()
        calls = [Call(ask, p, n) for n in range(20)]
        assert [call.outcome() for call in calls] == list(range(20))
        assert ports(p) == {pair.second.port}
