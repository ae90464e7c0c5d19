"""Callbacks run in the thread that happens to read; the rest of them is in `tests/shells`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.support import backend
from tests.support.scripted import Line, ScriptedServer

if TYPE_CHECKING:
    from tests.blocking.conftest import Connect

NOTICE = "do $$ begin raise notice 'one'; raise warning 'two'; end $$"


@pytest.mark.parametrize(
    "call",
    [
        lambda conn: conn.query("select 1"),
        lambda conn: conn.script("select 1"),
        lambda conn: conn.ping(),
        lambda conn: conn.prepare("select 1"),
        lambda conn: conn.transaction().__enter__(),
        lambda conn: conn.close(),
    ],
)
def test_coming_back_from_a_callback_is_an_error_and_no_harm(
    conn: pgwire.Connection, call: Any
) -> None:
    caught: list[BaseException] = []

    def callback(notice: object) -> None:
        with pytest.raises(pgwire.InterfaceError, match="callback") as info:
            call(conn)
        caught.append(info.value)

    conn.on("notice", callback)
    conn.query(NOTICE)
    assert len(caught) == 2
    conn.off("notice", callback)
    assert conn.query("select 2").scalar() == 2


def test_what_a_callback_raises_comes_out_and_does_no_harm(conn: pgwire.Connection) -> None:
    seen: list[str] = []

    def callback(notice: Any) -> None:
        seen.append(notice.message)
        raise LookupError(notice.message)

    conn.on("notice", callback)
    with pytest.raises(LookupError, match="one"):
        conn.query(NOTICE)
    with pytest.raises(LookupError, match="two"):
        conn.ping()
    conn.off("notice", callback)
    assert conn.query("select 2").scalar() == 2
    assert seen == ["one", "two"]


def test_a_server_that_never_stops_noticing_does_not_fill_the_memory(connect: Connect) -> None:
    """Nobody has asked for them: they are dropped as they come."""

    def script(line: Line) -> None:
        line.let_in()
        line.expect("S")
        for _ in range(100):
            line.send(backend.notice("x" * 100) * 300)
        line.send(backend.ready())
        line.wait_for_hang_up()

    with ScriptedServer(script) as server:
        conn = connect(server.dsn)
        seen: list[Any] = []
        conn.on("notice", seen.append)
        conn.ping()
        assert len(seen) == 10_000  # the last so many of one reply
        conn.close()


def test_what_a_callback_raises_hides_no_error_of_the_server(conn: pgwire.Connection) -> None:
    """Whoever tries again what has failed looks at its class."""

    def callback(notice: pgwire.PostgresError) -> None:
        raise LookupError(notice.message)

    conn.on("notice", callback)
    sql = "do $$ begin raise notice 'before'; raise 'no' using errcode = '40001'; end $$"
    with pytest.raises(errors.SerializationFailure) as caught:
        conn.query(sql)
    assert str(caught.value.__context__) == "before"
    conn.query(
        "create function pg_temp.f() returns int language plpgsql as "
        "'begin raise notice ''row''; return 1 / 0; end'"
    )
    with pytest.raises(errors.DivisionByZero) as caught_too:
        list(conn.stream("select pg_temp.f()"))
    assert str(caught_too.value.__context__) == "row"
