"""User code that hangs: no slot waits for it for ever, nor does the end of a blocking pool."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, Thread, alive, messages, pid_of, pool, threads_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

HANG = "select pg_sleep(600)"


class Guest:
    """A callback or hook that hangs where it is called first, until the test is over."""

    def __init__(self, on_its_connection: bool = False) -> None:
        self.on_its_connection = on_its_connection
        self.is_let_go = threading.Event()
        self.pids: list[int] = []
        self.ends: list[object] = []  # what came of its using the connection afterwards

    def __call__(self, *args: Any) -> None:
        conn = self.conn = args[-1]
        self.pids.append(conn.backend_pid)
        if len(self.pids) > 1:
            return
        if not self.on_its_connection:
            self.is_let_go.wait(PATIENCE)
        try:
            self.ends.append(conn.query(HANG if self.on_its_connection else "select 1"))
        except pgwire.Error as error:
            self.ends.append(error)


@pytest.fixture
def guest() -> Iterator[Guest]:
    made = Guest()
    yield made
    made.is_let_go.set()


@pytest.fixture
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwire.pool.chores.CALLBACK_TIMEOUT", 0.2)


# ------------------------------------------------------------------ its time


@pytest.mark.usefixtures("in_a_hurry")
def test_a_callback_for_connect_that_hangs_holds_its_connection_up_for_so_long_only(
    dsn: str, guest: Guest, caplog: pytest.LogCaptureFixture
) -> None:
    """It kept the place for ever. What it does with the connection later disturbs nobody."""
    with pool(dsn, max_size=1, name="host") as p:
        p.on("connect", guest)
        with p.connect() as lease:
            assert lease.backend_pid == guest.pids[0]
            guest.is_let_go.set()
            until(lambda: guest.ends)
            assert isinstance(guest.ends[0], pgwire.InterfaceError)
            assert repr(guest.conn) == "<Connection released>"
            assert lease.query("select 1").scalar() == 1
    (warning,) = messages(caplog.records)
    assert warning.startswith("host: a callback for 'connect' has not ended within 0.2 s")


@pytest.mark.usefixtures("in_a_hurry")
def test_where_it_hangs_on_its_connection_that_is_closed(dsn: str, guest: Guest) -> None:
    guest.on_its_connection = True
    with pool(dsn, max_size=1) as p:
        p.on("connect", guest)
        with pytest.raises(pgwire.OperationalError, match="left its connection closed"):
            p.query("select 1")
        until(lambda: guest.ends)
        assert isinstance(guest.ends[0], pgwire.Error)
        assert pid_of(p) == guest.pids[1]


def test_meanwhile_other_places_are_there(dsn: str, guest: Guest) -> None:
    with pool(dsn, max_size=2) as p:
        p.on("connect", guest)
        waiting = Thread(lambda: pid_of(p))
        until(lambda: guest.pids)
        with pytest.raises(pgwire.PoolTimeout, match="2 opening"):
            p.query("select 1", timeout=0)  # which has another one opened
        assert waiting.outcome() == guest.pids[1]
        guest.is_let_go.set()


@pytest.mark.usefixtures("in_a_hurry")
@pytest.mark.parametrize("event", ["remove", "error"])
def test_nor_does_one_that_is_told_of_its_end_keep_the_place(
    dsn: str, guest: Guest, event: Any
) -> None:
    with pool(dsn, max_size=1) as p:
        p.on(event, guest)
        pid = pid_of(p)
        if event == "error":
            with pgwire.connect(dsn) as other:
                other.query("select pg_terminate_backend($1, 5000)", [pid])
        else:
            p.expire()
        until(lambda: p.total_count == 0)
        assert pid_of(p) != pid


def test_the_end_does_not_wait_for_what_was_left_to_itself(
    dsn: str, guest: Guest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waited five seconds for the thread of each, in vain."""
    monkeypatch.setattr("pgwire.pool.chores.OPEN_TIMEOUT", 1.0)
    monkeypatch.setattr("pgwire.pool.engine.ABORT_TIMEOUT", threading.TIMEOUT_MAX)
    with pool(dsn, max_size=1, on_connect=guest) as p:
        with pytest.raises(pgwire.OperationalError, match="on_connect took longer"):
            p.query("select 1")
    assert len(threads_of(p)) == 1


def test_where_no_thread_can_be_had_a_callback_is_called_all_the_same(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_thread: object) -> None:
        raise RuntimeError("can't start new thread")

    seen: list[object] = []
    with pool(dsn) as p:
        p.on("connect", seen.append)
        with monkeypatch.context() as patch:
            patch.setattr("pgwire.pool.crew.threading.Thread.start", fail)
            assert p.query("select 1").scalar() == 1
    assert len(seen) == 1


# ------------------------------------------------------------------ the end by force


@pytest.mark.parametrize("on_its_connection", [False, True], ids=["elsewhere", "on it"])
@pytest.mark.parametrize("where", ["on_connect", "reset", "connect"])
def test_an_end_by_force_waits_for_no_guest_and_leaves_no_connection(
    dsn: str, guest: Guest, where: Any, on_its_connection: bool
) -> None:
    """What a hook was shown stayed open for as long as that had time, half a minute."""
    guest.on_its_connection = on_its_connection
    with pgwire.connect(dsn) as witness:
        hooks: dict[str, Any] = {where: guest} if where in ("on_connect", "reset") else {}
        p = pgwire.Pool(dsn, max_size=1, **hooks)
        if not hooks:
            p.on(where, guest)

        def use() -> None:
            with suppress(pgwire.PoolClosed):
                p.connect().release()

        user = Thread(use)
        until(lambda: guest.pids)
        if on_its_connection:
            until(lambda: sleeps(witness, guest.pids[0]))
        with pytest.raises(pgwire.PoolTimeout, match=r"end\(0.05\)"):
            p.end(timeout=0.05)
        assert p.total_count == 0
        user.outcome()
        until(lambda: not alive(witness, guest.pids[:1]))  # the line was cut


def sleeps(witness: pgwire.Connection, pid: int) -> bool:
    sql = "select wait_event = 'PgSleep' from pg_stat_activity where pid = $1"
    return bool(witness.query(sql, [pid]).scalar())


def test_nor_for_one_that_is_told_of_a_closed_connection(dsn: str, guest: Guest) -> None:
    p = pgwire.Pool(dsn)
    p.on("remove", guest)
    p.connect().release(discard=True)
    until(lambda: guest.pids)
    with pytest.raises(pgwire.PoolTimeout, match="1 connection closing"):
        p.end(timeout=0.05)
    assert p.total_count == 0
