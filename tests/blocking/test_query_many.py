"""query_many, where only the blocking shell is meant; the rest is in `tests/shells`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterator

INSERT = "insert into many values ($1, $2)"


def test_the_source_may_not_use_the_connection(conn: pgwire.Connection) -> None:
    conn.query("create temp table many (id int, name text)")

    def source() -> Iterator[tuple[int, str]]:
        yield 1, "a"
        yield conn.query("select 2").scalar(), "b"

    with pytest.raises(pgwire.InterfaceError):
        conn.query_many(INSERT, source())
    assert conn.query("select count(*) from many").scalar() == 0


def test_through_the_pool(dsn: str) -> None:
    with pgwire.Pool(dsn) as pool:
        assert pool.query_many("select $1::int", [(1,), (2,)]).row_count == 2
        assert pool.idle_count == 1
