"""Streams in threads: who may go on with them, Ctrl-C, callbacks, forks."""

from __future__ import annotations

import gc
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.blocking.test_interrupt import Keeper

if TYPE_CHECKING:
    from tests.blocking.conftest import Connect

NUMBERS = "select n from generate_series(1, $1::int) n"


def test_while_one_iterates_another_thread_is_refused_at_once(conn: pgwire.Connection) -> None:
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            conn.query("select 7")
        except pgwire.InterfaceError as error:
            caught.append(error)

    with conn.stream(NUMBERS, [300_000]) as stream:
        next(stream)
        thread = threading.Thread(target=ask)
        thread.start()
        thread.join(20)
        assert "held by an open iteration" in str(caught[0])


def test_another_thread_may_go_on_with_it(conn: pgwire.Connection) -> None:
    stream = conn.stream(NUMBERS, [30_000])
    rows = [next(stream)]
    thread = threading.Thread(target=lambda: rows.extend(stream))
    thread.start()
    thread.join(20)
    assert [row.n for row in rows] == list(range(1, 30_001))
    assert conn.query("select 7").scalar() == 7


@pytest.mark.parametrize("inside", [False, True])
def test_a_callback_cannot_go_on_with_it(conn: pgwire.Connection, inside: bool) -> None:
    conn.script(
        "create or replace function pg_temp.chatty(n int) returns int language plpgsql as "
        "$$begin raise notice 'row %', n; return n; end$$"
    )
    if inside:
        conn.query("begin")
    caught: list[str] = []
    taken: list[int] = []
    stream = conn.stream("select pg_temp.chatty(n) from generate_series(1, 9) n", fetch_size=2)

    def hear(_notice: object) -> None:
        try:
            taken.extend(row[0] for row in stream)
        except pgwire.InterfaceError as error:
            caught.append(str(error))

    conn.on("notice", hear)
    taken.extend(row[0] for row in stream)
    assert sorted(taken) == list(range(1, 10))
    assert all("callbacks cannot" in text for text in caught)
    assert conn.query("select 7").scalar() == 7


def test_ctrl_c_at_any_moment(connect: Connect) -> None:
    """Without the garbage collector: Python loses an interrupt that strikes in one of its calls."""
    keeper = Keeper(connect)

    def iterate(conn: pgwire.Connection) -> None:
        for _ in conn.stream(NUMBERS, [3_000_000], fetch_size=500):
            pass

    def inside(conn: pgwire.Connection) -> None:
        with conn.transaction(), conn.stream(NUMBERS, [3_000_000], fetch_size=500) as stream:
            list(stream)

    for work in (iterate, inside):
        gc.collect()
        gc.disable()
        try:
            for n in range(25):
                keeper.strike(work, 0.002 + 0.001 * n)
        finally:
            gc.enable()
    assert keeper.interrupts > 25
    assert keeper.connections < 25


def test_dropped_by_the_garbage_collector_in_another_thread(conn: pgwire.Connection) -> None:
    stream = conn.stream(NUMBERS, [3_000_000])
    next(stream)
    cycle: list[Any] = [stream]
    cycle.append(cycle)
    del stream, cycle
    thread = threading.Thread(target=gc.collect)
    thread.start()
    thread.join(20)
    assert conn.query("select 7").scalar() == 7


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_in_a_forked_child_it_is_the_parents(conn: pgwire.Connection) -> None:
    stream = conn.stream(NUMBERS, [30_000], fetch_size=10)
    rows = [next(stream)]
    child = os.fork()
    if not child:
        status = 1
        try:
            list(stream)
        except pgwire.InterfaceError:
            stream.close()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    rows += stream
    assert [row.n for row in rows] == list(range(1, 30_001))


@pytest.mark.parametrize("where", ["_proceed", "_take_batch"])
@pytest.mark.parametrize("inside", [False, True])
def test_what_another_thread_closes_at_any_moment_is_not_at_its_end(
    connect: Connect, where: str, inside: bool
) -> None:
    """Between two looks at what has come: rows were missing then, and nobody was told."""
    conn = connect()
    if inside:
        conn.transaction().__enter__()
    stream = conn.stream(NUMBERS, [30], fetch_size=10)
    rows = [next(stream).n for _ in range(10)]

    def closing() -> Any:
        if where == "_take_batch":
            conn.close()
            return real()
        real()
        conn.close()
        return None

    real = getattr(stream, where)
    setattr(stream, where, closing)
    with pytest.raises(pgwire.InterfaceError, match="closed"):
        rows.extend(row.n for row in stream)
    assert rows == list(range(1, len(rows) + 1))


def test_so_it_is_with_a_copy(connect: Connect) -> None:
    conn = connect()
    output = conn.copy_out("copy (select generate_series(1, 300000)) to stdout")
    next(output)
    real = output._proceed

    def closing() -> None:
        real()
        conn.close()

    output._proceed = closing  # type: ignore[method-assign]
    with pytest.raises(pgwire.InterfaceError, match="closed"):
        list(output)


@pytest.mark.parametrize("copy", [False, True])
def test_nor_is_what_somebody_is_about_to_close(
    connect: Connect, monkeypatch: pytest.MonkeyPatch, *, copy: bool
) -> None:
    """The iteration is canceled first of all, while the connection is still open."""
    conn = connect()
    sql = "select generate_series(1, 300000)"
    rows: Any = conn.copy_out(f"copy ({sql}) to stdout") if copy else conn.stream(sql)
    next(rows)
    caught: list[object] = []
    real = conn._driver._read_to_end

    def going_on() -> None:
        try:
            caught.append(list(rows))
        except pgwire.InterfaceError as error:
            caught.append(str(error))
        real()

    monkeypatch.setattr(conn._driver, "_read_to_end", going_on)
    conn.close()
    assert caught == ["what was left of this iteration was canceled, as its connection was closed"]
