"""Callbacks for "query": a report of each operation, however it ends."""

from __future__ import annotations

import io
import logging
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.conninfo import conninfo_to_dict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.shells.conftest import Connect
    from tests.support.shells import Shell

Reports = list[pgwire.QueryReport]


@pytest.fixture
def seen(conn: pgwire.Connection) -> Reports:
    """What has been reported of `conn`."""
    seen: Reports = []
    conn.on("query", seen.append)
    return seen


def test_a_query(conn: pgwire.Connection, seen: Reports, dsn: str) -> None:
    conn.query("select * from generate_series(1, $1)", [3])
    (report,) = seen
    assert (report.operation, report.sql) == ("query", "select * from generate_series(1, $1)")
    assert (report.row_count, report.command_tag, report.error) == (3, "SELECT 3", None)
    assert 0 < report.duration < 60
    assert (report.waited, report.pool) == (None, None)
    assert report.backend_pid == conn.backend_pid
    assert report.user == conn.query("select current_user").scalar()
    assert report.database == conn.query("select current_database()").scalar()
    host = conninfo_to_dict(dsn).get("host")
    assert host is None or report.host == host
    assert report.reveal_parameters() == (3,)


def test_each_kind_of_operation(conn: pgwire.Connection, seen: Reports) -> None:
    conn.script("create temporary table t (n int); insert into t values (1)")
    conn.query_many("insert into t values ($1)", [(2,), (3,)])
    statement = conn.prepare("select n from t where n > $1")
    statement.query([1])
    conn.copy_in("copy t from stdin", b"4\n5\n")
    conn.copy_records("t", [(6,)])
    conn.copy_out("copy t to stdout", io.BytesIO())
    list(conn.stream("select * from t", fetch_size=2))
    list(statement.stream([0]))
    conn.ping()
    told = [(r.operation, r.row_count, r.byte_count, r.batch_size) for r in seen]
    assert told == [
        ("script", 1, None, None),
        ("query_many", 2, None, 2),
        ("prepare", None, None, None),
        ("query", 2, None, None),
        ("copy_in", 2, 4, None),
        ("copy_records", 1, told[5][2], None),
        ("copy_out", 6, 12, None),
        ("stream", 6, None, None),
        ("stream", 6, None, None),
    ]
    assert (told[5][2] or 0) > 4
    assert not any(report.error for report in seen)


def test_transactions(conn: pgwire.Connection, seen: Reports) -> None:
    with conn.transaction():
        rows = conn.stream("select generate_series(1, 5)", fetch_size=2)
        next(rows)
        conn.query("select 1")
        assert len(list(rows)) == 4
        early = conn.stream("select generate_series(1, 5)", fetch_size=2)
        next(early)
        early.close()
        left = conn.stream("select generate_series(1, 5)", fetch_size=2)
        next(left)
    assert [(r.operation, r.command_tag or r.row_count) for r in seen] == [
        ("script", "BEGIN"),
        ("query", "SELECT 1"),
        ("stream", 5),
        ("stream", 2),
        ("script", "COMMIT"),
        ("stream", 2),
    ]
    assert not any(report.error for report in seen)


def test_a_pipeline(conn: pgwire.Connection, seen: Reports) -> None:
    with conn.pipeline() as pipeline:
        for number in range(3):
            pipeline.query("select $1::int", [number])
    assert [report.reveal_parameters() for report in seen] == [(0,), (1,), (2,)]
    assert not any(report.error for report in seen)


def test_errors(conn: pgwire.Connection, seen: Reports) -> None:
    with pytest.raises(pgwire.DivisionByZero) as caught:
        conn.query("select 1 / $1::int", [0])
    with pytest.raises(pgwire.ProgrammingError) as misfit:
        conn.query("select $1::int", ["no" * 2, 3])
    assert [report.error for report in seen] == [caught.value, misfit.value]
    assert seen[0].row_count is None


def test_a_query_that_times_out(conn: pgwire.Connection, seen: Reports, shell: Shell) -> None:
    with pytest.raises(pgwire.QueryTimeout):
        conn.query("select pg_sleep(20)", timeout=0.05)
    shell.settle()
    conn.query("select 1")
    slow, quick = seen
    assert isinstance(slow.error, pgwire.QueryTimeout)
    assert slow.duration >= 0.05
    assert quick.error is None


def test_a_query_of_a_pipeline_that_times_out(
    conn: pgwire.Connection, seen: Reports, shell: Shell
) -> None:
    """While it runs, while it waits behind another, and before it could be sent."""
    with conn.pipeline() as pipeline:
        pipeline.query("select 1")
        slow = [
            pipeline.query("select pg_sleep(20)", timeout=0.05),
            pipeline.query("select pg_sleep(0)", timeout=0.001),
            pipeline.query("select 'new'", timeout=0.001),
        ]
        for each in slow:
            with pytest.raises(pgwire.QueryTimeout):
                each.result()
        last = pipeline.query("select 2")
    shell.settle()
    assert last.result().scalar() == 2
    told = {report.sql: (report.error, report.command_tag) for report in seen}
    assert (len(seen), told) == (5, {
        "select 1": (None, "SELECT 1"),
        "select pg_sleep(20)": (slow[0].failure, ""),
        "select pg_sleep(0)": (slow[1].failure, ""),
        "select 'new'": (slow[2].failure, ""),
        "select 2": (None, "SELECT 1"),
    })  # fmt: skip


def test_a_stream_that_is_left_early_is_no_error(
    conn: pgwire.Connection, seen: Reports, shell: Shell
) -> None:
    with conn.stream("select generate_series(1, 100000)", fetch_size=2) as rows:
        next(rows)
    with conn.copy_out("copy (select generate_series(1, 100000)) to stdout") as pieces:
        next(pieces)
    shell.settle()
    conn.query("select 1")
    assert [(report.operation, report.error) for report in seen] == [
        ("stream", None), ("copy_out", None), ("query", None),
    ]  # fmt: skip


def test_a_sink_that_raises(conn: pgwire.Connection, seen: Reports, shell: Shell) -> None:
    class Sink(io.BytesIO):
        def write(self, data: Any) -> int:
            raise LookupError("full")

    with pytest.raises(LookupError):
        conn.copy_out("copy (select generate_series(1, 100000)) to stdout", Sink())
    shell.settle()
    conn.ping()
    assert [type(report.error) for report in seen] == [LookupError]


def test_a_source_that_raises(conn: pgwire.Connection, seen: Reports) -> None:
    def source() -> Iterator[tuple[int]]:
        yield (1,)
        raise LookupError("dry")

    with pytest.raises(LookupError):
        conn.query_many("select $1::int", source())
    assert [type(report.error) for report in seen] == [LookupError]


def test_killed_in_the_middle(conn: pgwire.Connection, seen: Reports) -> None:
    with pytest.raises(pgwire.ConnectionLost) as caught:
        conn.query("select pg_terminate_backend(pg_backend_pid())")
    (report,) = seen
    assert report.error is caught.value


def test_the_connection_is_closed_while_a_stream_is_open(
    conn: pgwire.Connection, seen: Reports, shell: Shell
) -> None:
    rows = conn.stream("select generate_series(1, 100000)", fetch_size=2)
    next(rows)
    conn.close()
    shell.settle()
    assert [report.operation for report in seen] == ["stream"]


# ---------------------------------------------------------------- callbacks


request_id: ContextVar[str] = ContextVar("request_id", default="")


def test_callbacks_run_in_the_context_of_who_asked(conn: pgwire.Connection) -> None:
    seen: list[str] = []
    conn.on("query", lambda _: seen.append(request_id.get()))
    token = request_id.set("one")
    conn.query("select 1")
    request_id.reset(token)
    conn.query("select 1")
    assert seen == ["one", ""]


def test_what_a_callback_raises_is_logged_and_the_query_is_none_the_worse(
    conn: pgwire.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    seen: Reports = []

    def callback(report: pgwire.QueryReport) -> None:
        seen.append(report)
        raise LookupError("of the callback")

    conn.on("query", callback)
    conn.on("query", seen.append)
    assert conn.query("select 1").scalar() == 1
    assert len(seen) == 2
    assert "a callback for 'query' raised" in caplog.text
    assert "of the callback" in caplog.text


def test_a_callback_may_use_another_connection(
    conn: pgwire.Connection, connect: Connect, shell: Shell
) -> None:
    if not shell.is_blocking:
        return  # a plain callback of an event loop cannot wait
    other = connect()
    seen: list[str] = []

    def callback(report: pgwire.QueryReport) -> None:
        seen.append(report.sql)
        other.query("select 2")  # which is not reported to it
        with pytest.raises(pgwire.InterfaceError, match="callbacks cannot use"):
            conn.query("select 3")

    conn.on("query", callback)
    other.on("query", callback)
    conn.query("select 1")
    assert seen == ["select 1"]
    other.off("query", callback)
    other.on("query", lambda report: seen.append(report.sql))
    conn.query("select 1")
    assert seen == ["select 1", "select 1", "select 2"]


def test_off(conn: pgwire.Connection, seen: Reports) -> None:
    other: Reports = []
    conn.on("query", other.append)
    conn.query("select 1")
    conn.off("query", other.append)
    conn.query("select 1")
    assert (len(seen), len(other)) == (2, 1)
    conn.off("query", seen.append)
    conn.off("query", seen.append)
    conn.query("select 1")
    assert len(seen) == 2
    conn.on("query", seen.append)
    conn.query("select 1")
    assert len(seen) == 3


def test_notices_come_as_before(conn: pgwire.Connection, seen: Reports) -> None:
    notices: list[Any] = []
    conn.on("notice", notices.append)
    conn.query("do $$ begin raise notice 'one'; end $$")
    assert (len(notices), len(seen)) == (1, 1)


# ---------------------------------------------------------------- the log


SECRET = "MARKER"


def test_statements_in_the_log(conn: pgwire.Connection, caplog: pytest.LogCaptureFixture) -> None:
    stop = pgwire.log_queries(conn)
    with caplog.at_level(logging.INFO, "pgwire.query"):
        conn.query(f"select $1::text as mark -- {SECRET}", [SECRET])
        conn.query(f"select $1::text, '{SECRET}'", [SECRET])
        conn.query(f"select '{SECRET}', 1  -- {SECRET}")
        conn.script(f"create role {'MARKED'.lower()} password '{SECRET}'; rollback")
        with pytest.raises(pgwire.PostgresError):
            conn.query("select $1::text::int", [SECRET])
        stop()
        conn.query("select 4")
    lines = [record.getMessage() for record in caplog.records if record.name == "pgwire.query"]
    assert len(lines) == 5
    assert lines[0].startswith("query took ")
    assert lines[0].endswith(": 1 rows [select $1::text as mark]")
    assert lines[1].endswith(": 1 rows [select $1::text, ?]")
    assert lines[2].endswith(": 1 rows [select ?, ?]")
    assert "create role marked password ?; rollback" in lines[3]
    assert "InvalidTextRepresentation (22P02)" in lines[4]
    assert SECRET not in "".join(lines)
    conn.script("drop role if exists marked")


def test_only_slow_statements_and_failing_ones(
    conn: pgwire.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    pgwire.log_queries(conn, slower_than=60, level=logging.WARNING)
    conn.query("select 1")
    assert not caplog.records
    with pytest.raises(pgwire.PostgresError):
        conn.query("select 1 / 0")
    assert "DivisionByZero (22012)" in caplog.text


def test_connections_in_the_log(
    connect: Connect, caplog: pytest.LogCaptureFixture, shell: Shell
) -> None:
    with caplog.at_level(logging.DEBUG, "pgwire"):
        conn = connect(application_name="x")
        pid = conn.backend_pid
        conn.query("select $1::text", [SECRET])
        conn.query("do $$ begin raise notice 'hello'; raise warning 'beware'; end $$")
        conn.close()
        shell.settle()
        lost = connect()
        with pytest.raises(pgwire.ConnectionLost):
            lost.query("select pg_terminate_backend(pg_backend_pid())")
        shell.settle()
    told = [(r.name, r.levelname, r.getMessage()) for r in caplog.records]
    ours = [(level, text) for name, level, text in told if name == "pgwire.connection"]
    assert [(level, text.split(":")[0]) for level, text in ours] == [
        ("DEBUG", "opened"), ("DEBUG", "NOTICE"), ("WARNING", "WARNING"), ("DEBUG", "closed"),
        ("DEBUG", "opened"), ("INFO", "lost"),
    ]  # fmt: skip
    assert all(f"pid {pid}" in text for _, text in ours[:4])
    assert "hello" in ours[1][1]
    statements = [text for name, _, text in told if name == "pgwire.query"]
    assert any(": 1 rows [select $1::text]" in text for text in statements)
    assert SECRET not in caplog.text


def test_hosts_that_fail_are_in_the_log(
    connect: Connect, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "pgwire.connection"):
        with pytest.raises(pgwire.ConnectionFailed):
            connect("host=127.0.0.1 port=1 user=u password=MARKER dbname=d")
    assert "cannot connect to 127.0.0.1: " in caplog.text
    assert SECRET not in caplog.text
