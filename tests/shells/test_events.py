"""Callbacks for notices, notifications and parameters."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest

import pgwire

if TYPE_CHECKING:
    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

NOTICE = "do $$ begin raise notice 'one' using hint = 'a hint'; raise warning 'two'; end $$"


def test_notices(conn: pgwire.Connection) -> None:
    seen: list[Any] = []
    conn.on("notice", seen.append)
    conn.query(NOTICE)
    assert [(n.severity, n.message, n.hint) for n in seen] == [
        ("NOTICE", "one", "a hint"),
        ("WARNING", "two", None),
    ]
    assert all(isinstance(notice, pgwire.PostgresError) for notice in seen)


def test_notifications(conn: pgwire.Connection, connect: Connect) -> None:
    seen: list[Any] = []
    conn.on("notification", seen.append)
    conn.query("listen news")
    conn.query("notify news, 'own'")
    assert seen == [pgwire.Notification("news", "own", conn.backend_pid)]
    other = connect()
    other.query("notify news, 'foreign'")
    conn.ping()
    assert seen[1:] == [pgwire.Notification("news", "foreign", other.backend_pid)]


def test_parameters(conn: pgwire.Connection) -> None:
    seen: list[Any] = []
    conn.on("parameter", seen.append)
    conn.query("set application_name = 'changed'")
    assert [tuple(change) for change in seen] == [("application_name", "changed")]
    assert conn.parameters["application_name"] == "changed"


def test_they_come_with_an_error_as_well(conn: pgwire.Connection) -> None:
    seen: list[Any] = []
    conn.on("notice", seen.append)
    with pytest.raises(pgwire.PostgresError):
        conn.query("do $$ begin raise notice 'before'; raise exception 'no'; end $$")
    assert [notice.message for notice in seen] == ["before"]


def test_off_and_several_callbacks(conn: pgwire.Connection) -> None:
    first: list[Any] = []
    second: list[Any] = []
    conn.on("notice", first.append)
    conn.on("notice", second.append)
    conn.query(NOTICE)
    conn.off("notice", first.append)
    conn.off("notice", print)
    conn.query(NOTICE)
    assert (len(first), len(second)) == (2, 4)


def test_one_that_raises_keeps_nothing_from_the_others(
    conn: pgwire.Connection, shell: Shell
) -> None:
    seen: list[str] = []

    def callback(notice: pgwire.PostgresError) -> None:
        seen.append(notice.message)
        raise LookupError

    for each in (callback, callback, lambda notice: seen.append(notice.message)):
        conn.on("notice", each)
    if not shell.is_blocking:
        shell.loop.set_exception_handler(lambda *_: None)  # type: ignore[attr-defined]
    with pytest.raises(LookupError) if shell.is_blocking else nullcontext():
        conn.query("do $$ begin raise notice 'one'; end $$")
    assert seen == ["one"] * 3


def test_what_one_raises_is_not_the_end_of_a_stream(conn: pgwire.Connection, shell: Shell) -> None:
    """In asyncio it is for the loop's handler."""

    def callback(_: object) -> None:
        raise StopIteration

    conn.script("""
        create function pg_temp.loud(int) returns int language plpgsql
            as 'begin raise notice ''%'', $1; return $1; end'
    """)
    conn.on("notice", callback)
    if not shell.is_blocking:
        shell.loop.set_exception_handler(lambda *_: None)  # type: ignore[attr-defined]
    numbers = conn.stream("select pg_temp.loud(n) from generate_series(1, 4) n", fetch_size=2)
    with pytest.raises(RuntimeError) if shell.is_blocking else nullcontext():
        assert len(list(numbers)) == 4


def test_an_event_that_does_not_exist(conn: pgwire.Connection) -> None:
    with pytest.raises(pgwire.ProgrammingError, match=r"weather.*notice"):
        conn.on("weather", print)  # type: ignore[call-overload]


async def coroutine(_: object) -> None:
    """What nobody would wait for."""


def test_coroutine_functions_are_refused(conn: pgwire.Connection) -> None:
    for event in ("notice", "query"):
        with pytest.raises(pgwire.ProgrammingError, match="coroutine function"):
            conn.on(event, coroutine)


def test_what_a_callback_may_look_at(conn: pgwire.Connection) -> None:
    seen: list[Any] = []
    conn.on("notice", lambda _: seen.append((conn.transaction_status, conn.closed, repr(conn))))
    conn.query(NOTICE)
    assert len(seen) == 2
