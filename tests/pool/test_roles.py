"""A pool whose servers change roles: it parts with what it has, and chooses anew (I-37)."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import until
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


class Member:
    """A server of a cluster. It tells its role at the beginning, and with an answer when it has
    another, or when it is told to; `old` ones are asked, and refuse to write. `gone` counts those
    that were told good-bye.
    """

    def __init__(self, name: bytes, standby: bool, *, old: bool = False) -> None:
        self.name = name
        self.standby = standby
        self.old = old
        self.gone = 0
        self.lines: list[Line] = []
        self.server = ScriptedServer(self._serve)

    def _status(self) -> bytes:
        return backend.parameter_status("in_hot_standby", "on" if self.standby else "off")

    def tell(self) -> None:
        """Tell one of those who are there which role it has, without being asked."""
        self.lines[0].send(self._status())

    def _serve(self, line: Line) -> None:
        told = self.standby
        self.lines.append(line)
        line.send(
            backend.AUTHENTICATION_OK,
            b"" if self.old else self._status(),
            backend.parameter_status("default_transaction_read_only", "off"),
            backend.key_data(),
            backend.ready(),
        )

        def say(out: bytes) -> None:
            nonlocal told
            news = b"" if self.old or told == self.standby else self._status()
            told = self.standby
            line.send(news + out)

        try:
            while True:
                try:
                    serve(line, Answers(self), say)
                    break
                except ReadOnly:
                    line.send(backend.error("25006", "cannot execute INSERT"))
                    line.expect("HS")
                    line.send(backend.ready())
        finally:
            self.gone += 1


class ReadOnly(Exception):
    pass


class Answers(dict[str, Any]):
    """What a member answers: its name, its role, or that it does not write."""

    def __init__(self, member: Member) -> None:
        standby = b"t" if member.standby else b"f"
        super().__init__(
            {
                "select name": (backend.column("name", 25), [member.name]),
                "SELECT pg_catalog.pg_is_in_recovery()": (backend.column("x", 16), [standby]),
            }
        )
        self.member = member

    def __missing__(self, sql: str) -> object:
        if self.member.standby:
            raise ReadOnly
        return (backend.column("name", 25), [self.member.name])


@pytest.fixture
def cluster() -> Iterator[tuple[Member, Member]]:
    """A primary and its standby."""
    with ExitStack() as stack:
        members = Member(b"a", standby=False), Member(b"b", standby=True)
        for member in members:
            stack.enter_context(member.server)
        yield members


def pool_of(members: tuple[Member, Member], target: str, **options: Any) -> pgwire.Pool:
    return pgwire.Pool(
        host="127.0.0.1,127.0.0.1",
        port=",".join(str(member.server.port) for member in members),
        user="u",
        sslmode="disable",
        target_session_attrs=target,
        **options,
    )


def fill(pool: pgwire.Pool, size: int) -> None:
    """Open so many connections, all idle."""
    with ExitStack() as stack:
        for _ in range(size):
            conn = stack.enter_context(pool.connect())
            assert conn.query("select name").scalar()


def switch(members: tuple[Member, Member]) -> None:
    """The standby is promoted, and the primary follows it."""
    for member in members:
        member.standby = not member.standby


def test_a_change_ends_all_connections_from_before(cluster: tuple[Member, Member]) -> None:
    a, b = cluster
    with pool_of(cluster, "primary") as pool:
        fill(pool, 3)
        assert (a.server.connections, b.server.connections) == (3, 0)
        switch(cluster)
        assert pool.query("select name").scalar() == "a"  # which tells of it
        assert pool.query("select name").scalar() == "b"
        until(lambda: a.gone >= 3)
        fill(pool, 2)
        assert pool.query("select name").scalar() == "b"
        until(lambda: pool.total_count == 2)  # the last of the three may still be closing


def test_what_an_idle_connection_hears_ends_them_all(cluster: tuple[Member, Member]) -> None:
    """PostgreSQL tells it with an answer only; but what has been told is known."""
    a, _ = cluster
    with pool_of(cluster, "primary") as pool:
        fill(pool, 3)
        switch(cluster)
        a.tell()
        until(lambda: a.gone == 3)  # as they are looked at once a second
        assert pool.query("select name").scalar() == "b"


def test_nobody_gets_a_connection_that_has_heard_of_it(cluster: tuple[Member, Member]) -> None:
    a, _ = cluster
    now = [1000.0]
    with pool_of(cluster, "primary", clock=lambda: now[0]) as pool:
        fill(pool, 3)
        now[0] += 0.5  # nobody looks at what is idle by himself
        switch(cluster)
        a.tell()
        until(lambda: heard(pool))
        assert pool.query("select name").scalar() == "b"


def heard(pool: pgwire.Pool) -> bool:
    """Whether one of the pool's idle connections has been sent something, or has read it."""
    drivers = pool._engine.core.connections()
    return any(
        driver.session.parameters["in_hot_standby"] == "on"
        or (hasattr(driver, "channel") and driver.channel.is_readable())
        for driver in drivers
    )


def test_the_check_before_the_hand_over_hears_of_it(cluster: tuple[Member, Member]) -> None:
    a, _ = cluster
    with pool_of(cluster, "primary", check_after=0) as pool:
        fill(pool, 3)
        switch(cluster)
        assert pool.query("select name").scalar() == "b"
        until(lambda: a.gone == a.server.connections)


def test_a_preferred_standby_that_was_promoted_gives_way(cluster: tuple[Member, Member]) -> None:
    _, b = cluster
    with pool_of(cluster, "prefer-standby") as pool:
        assert pool.query("select name").scalar() == "b"
        switch(cluster)
        assert pool.query("select name").scalar() == "b"
        assert pool.query("select name").scalar() == "a"
        until(lambda: b.gone)


def test_a_lease_goes_on_and_its_connection_ends_with_it(cluster: tuple[Member, Member]) -> None:
    with pool_of(cluster, "primary") as pool:
        with pool.connect() as conn:
            for _ in range(2):
                assert conn.query("select name").scalar() == "a"
                switch(cluster)
                switch(cluster)
            switch(cluster)
            for _ in range(3):
                assert conn.query("select name").scalar() == "a"
            assert not conn.closed
        assert pool.query("select name").scalar() == "b"


def test_leases_that_are_out_end_when_they_come_back(cluster: tuple[Member, Member]) -> None:
    a, _ = cluster
    with pool_of(cluster, "primary") as pool:
        with pool.connect() as early:
            assert early.query("select name").scalar() == "a"
            switch(cluster)
            with pool.connect() as other:  # b already
                assert other.query("select name").scalar() == "b"
            assert early.query("select name").scalar() == "a"
        until(lambda: a.gone)
        assert pool.query("select name").scalar() == "b"


def test_a_role_that_nobody_asked_for_may_change(cluster: tuple[Member, Member]) -> None:
    with pool_of(cluster, "any") as pool:
        fill(pool, 2)
        switch(cluster)
        for _ in range(4):
            assert pool.query("select name").scalar() == "a"
        assert pool.total_count == 2


def test_an_older_server_that_writes_no_more(cluster: tuple[Member, Member]) -> None:
    for member in cluster:
        member.old = True
    with pool_of(cluster, "primary") as pool:
        fill(pool, 2)
        switch(cluster)
        with pytest.raises(pgwire.errors.ReadOnlySqlTransaction):
            pool.query("insert into t values (1)")
        assert pool.query("select name").scalar() == "b"
        assert pool.query("insert into t values (1)").scalar() == "b"
        until(lambda: cluster[0].gone >= 2)


def test_a_host_that_has_failed_is_tried_last_for_a_while(cluster: tuple[Member, Member]) -> None:
    """One that is down delays no request that another can serve: only the first asks it."""
    attempts: list[None] = []

    def down(line: Line) -> None:
        attempts.append(None)
        line.send(backend.fatal("57P03", "the database system is starting up"))

    _, b = cluster
    with ScriptedServer(down) as server:
        port = f"{server.port},{b.server.port}"
        with pgwire.Pool(host="127.0.0.1,127.0.0.1", port=port, user="u", sslmode="disable") as p:
            fill(p, 1)
            fill(p, 5)
            assert p.total_count == 5
    assert len(attempts) == 1


def test_an_end_by_force_cuts_a_connection_that_is_asked_for_its_role() -> None:
    """It was waited for in vain, and stayed: only what logs in was cut."""
    was_asked = threading.Event()

    def hang(line: Line) -> None:
        line.let_in()
        line.read_message()
        was_asked.set()
        line.wait_for_hang_up()

    with ScriptedServer(hang) as server:
        pool = pgwire.Pool(server.dsn, min_size=1, target_session_attrs="primary")
        until(was_asked.is_set)
        with pytest.raises(pgwire.PoolTimeout, match="1 connection opening"):
            pool.end(timeout=0.05)
        assert pool.total_count == 0
