"""Neighbours of what is canceled: written behind it on the same connection, and meant by nobody."""

from __future__ import annotations

import io
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from pgwire.driving import GRACE
from pgwire.pgtypes import oids
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.shells.conftest import Connect
    from tests.support.gate import Gate
    from tests.support.shells import Shell

COLUMNS = [backend.column("n", oids.INT4)]
INSERT = "insert into t (n) select $1 where (select count(*) from generate_series(1, 20000)) > 0"
CANCELED = backend.error("57014", "canceling statement due to user request")


def answer(number: int, status: str = "I") -> bytes:
    return backend.executed(backend.row(backend.int4(number)), status=status)


class Late:
    """A server that has just answered the first when a cancel request comes: it hits the next.

    `ends` gives what it says of all that were written then, and what it goes on with.
    """

    def __init__(self, count: int, says: bytes, goes_on: Callable[[Line], object]) -> None:
        self._count = count
        self._says = says
        self._goes_on = goes_on
        self._asked = threading.Event()
        self.server = ScriptedServer(self._serve, on_cancel=self._on_cancel)

    def _on_cancel(self, line: Line) -> None:
        self._asked.set()
        line.cut()

    def _serve(self, line: Line) -> None:
        line.let_in()
        line.answer(COLUMNS, backend.row(backend.int4(0)))
        line.expect("BES" * self._count)
        assert self._asked.wait(20)
        line.send(self._says)
        line.expect("S")  # the fence's
        line.send(backend.ready())
        self._goes_on(line)
        line.wait_for_hang_up()


def again(line: Line) -> None:
    line.expect("BES")
    line.send(answer(2))


@contextmanager
def behind(connect: Connect, late: Late, count: int = 1) -> Iterator[list[Any]]:
    """Queries in a pipeline, behind one whose time is up."""
    with late.server as server:
        conn = connect(server.dsn)
        conn.query("select n")
        with conn.pipeline() as p:
            meant = p.query("select n", timeout=0.05)
            queries = [p.query("select n") for _ in range(count)]
            with pytest.raises(pgwire.QueryTimeout):
                meant.result()
            yield queries


def test_the_only_one_behind_begins_anew(connect: Connect) -> None:
    late = Late(2, answer(1) + CANCELED + backend.ready(), again)
    with behind(connect, late) as [query]:
        assert query.result().scalar() == 2


def test_before_others_that_have_run_it_fails_and_says_why(connect: Connect) -> None:
    """The third would be overtaken: it may have been meant to see what the second does."""
    late = Late(3, answer(1) + CANCELED + backend.ready() + answer(3), lambda _line: None)
    with behind(connect, late, 2) as [query, last]:
        with pytest.raises(errors.QueryCanceled, match="for an earlier query") as caught:
            query.result()
        assert caught.value.stray
        assert last.result().scalar() == 3


def test_in_a_transaction_it_fails_and_says_why(connect: Connect) -> None:
    late = Late(2, answer(1, "T") + CANCELED + backend.ready("E"), lambda _line: None)
    with behind(connect, late) as [query]:
        with pytest.raises(errors.QueryCanceled, match="The transaction has failed") as caught:
            query.result()
        assert caught.value.stray


def test_what_is_canceled_by_others_meanwhile_was_meant(connect: Connect) -> None:
    """The request has hit whom it was for: the second has a time-out of the server's."""
    late = Late(2, (CANCELED + backend.ready()) * 2, lambda _line: None)
    with behind(connect, late) as [query]:
        with pytest.raises(errors.QueryCanceled) as caught:
            query.result()
        assert not caught.value.stray
        assert caught.value.hint is None


# Others in front of what is canceled


def test_what_waits_behind_others_is_not_canceled_in_their_place(
    conn: pgwire.Connection, shell: Shell, gate: Gate
) -> None:
    """The request hit the head of the pipeline."""
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        after = p.query("select 2")
        with pytest.raises(pgwire.QueryTimeout):
            conn.query("select 1", timeout=0.05)
        assert not slow.done
        gate.open()
        assert slow.result().scalar() == "slept"
        assert after.result().scalar() == 2
    shell.settle()
    assert conn.query("select 7").scalar() == 7


def test_it_is_canceled_when_it_is_its_turn(
    conn: pgwire.Connection, shell: Shell, gate: Gate
) -> None:
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        with pytest.raises(pgwire.QueryTimeout, match="is being canceled"):
            conn.query("select pg_sleep(60)", timeout=0.05)
        gate.open()
        assert slow.result().scalar() == "slept"
    shell.settle()
    assert conn.query("select 7", timeout=10).scalar() == 7


def test_a_stream_that_waits_behind_others(
    conn: pgwire.Connection, shell: Shell, gate: Gate
) -> None:
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        with pytest.raises(pgwire.QueryTimeout):
            with conn.stream("select generate_series(1, 10)", timeout=0.05) as rows:
                next(iter(rows))
        gate.open()
        assert slow.result().scalar() == "slept"
    shell.settle()
    assert conn.query("select 7", timeout=10).scalar() == 7


@pytest.mark.parametrize(
    "work",
    [
        lambda conn: conn.query_many("select $1::int", [(n,) for n in range(10)], timeout=0.05),
        lambda conn: conn.script("select 1; select 2", timeout=0.05),
        lambda conn: conn.copy_out("copy (select 1) to stdout", io.BytesIO(), timeout=0.05),
        lambda conn: conn.ping(timeout=0.05),
    ],
)
def test_other_operations_that_wait_behind_others(
    conn: pgwire.Connection, shell: Shell, gate: Gate, work: Callable[[Any], object]
) -> None:
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        with pytest.raises(pgwire.QueryTimeout):
            work(conn)
        gate.open()
        assert slow.result().scalar() == "slept"
        assert p.query("select 3").result().scalar() == 3
    shell.settle()
    assert conn.query("select 7", timeout=10).scalar() == 7


def test_whoever_comes_next_does_not_wait_for_what_nobody_wants(
    conn: pgwire.Connection, shell: Shell, gate: Gate
) -> None:
    """The pipeline does not go on meanwhile, and so does not see to it."""
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        for _ in range(2):
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select pg_sleep(60)", timeout=0.05)
        gate.open()
        assert conn.query("select 1", timeout=20).scalar() == 1
        assert slow.result().scalar() == "slept"
        assert p.query("select 3").result().scalar() == 3


def test_time_may_be_up_again_before_it_is_its_turn(conn: pgwire.Connection, gate: Gate) -> None:
    with conn.pipeline() as p, gate:
        slow = p.query(f"select 'slept' from {gate.waiting}")
        for _ in range(3):
            with pytest.raises(pgwire.QueryTimeout):
                conn.query("select pg_sleep(60)", timeout=0.02)
        gate.open()
        late = p.query("select 3", timeout=20)
        assert slow.result().scalar() == "slept"
        assert late.result().scalar() == 3
    assert conn.query("select 7", timeout=10).scalar() == 7


@pytest.mark.parametrize("behind", [1, 3])
def test_whoever_fails_says_so_and_has_done_nothing(conn: pgwire.Connection, behind: int) -> None:
    """Cancel requests that come about when their query ends, and hit whatever runs then."""
    conn.query("create temp table t (place serial, n int)")
    asked = 0
    for round_ in range(40):
        go_on()
        with conn.pipeline() as p:
            meant = p.query("select pg_sleep($1)", [0.005 + GRACE + round_ * 0.0001], timeout=0.005)
            waiting = {asked + n: p.query(INSERT, [asked + n]) for n in range(behind)}
            asked += behind
            carried_out = set()
            for n, each in waiting.items():
                with suppress(errors.QueryCanceled):
                    each.result()
                    carried_out.add(n)
            strays = [each.failure for each in waiting.values() if each.failure is not None]
            assert all(isinstance(e, errors.QueryCanceled) and e.stray for e in strays)
            assert behind > 1 or not strays  # the only one begins anew
            with suppress(pgwire.QueryTimeout):
                meant.result()
        found = conn.query("select n from t where n > $1 order by place", [asked - behind - 1])
        assert found.scalars() == sorted(carried_out)
