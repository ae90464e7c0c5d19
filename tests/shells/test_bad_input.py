"""What users get wrong: the right error before anything is sent, and a connection of use after."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.shells.conftest import Connect


@pytest.fixture
def conn(connect: Connect) -> Iterator[pgwire.Connection]:
    """A connection that still works when the test is over."""
    conn = connect()
    pid = conn.backend_pid
    yield conn
    assert conn.query("select pg_backend_pid()").scalar() == pid


class TestSQL:
    @pytest.mark.parametrize("sql", ["select 1\0", "\0", "select '\0'", "select 1 -- \ud800"])
    @pytest.mark.parametrize("call", ["query", "script", "prepare"])
    def test_what_cannot_be_sent(self, conn: pgwire.Connection, call: str, sql: str) -> None:
        with pytest.raises(pgwire.ProgrammingError, match=r"the SQL holds a (NUL|lone surrogate)"):
            getattr(conn, call)(sql)

    @pytest.mark.parametrize("sql", [None, 1, b"select 1"])
    @pytest.mark.parametrize("call", ["query", "script", "prepare"])
    def test_what_is_no_text(self, conn: pgwire.Connection, call: str, sql: Any) -> None:
        with pytest.raises((pgwire.ProgrammingError, TypeError, AttributeError)):
            getattr(conn, call)(sql)


class TestParameters:
    @pytest.mark.parametrize(
        "params",
        ["a", b"a", bytearray(b"a"), {"a": 1}, {1}, frozenset([1]), 1, None, object()],
    )
    def test_what_is_no_sequence(self, conn: pgwire.Connection, params: Any) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="params must be a sequence"):
            conn.query("select $1::text", params)
        statement = conn.prepare("select $1::text")
        with pytest.raises(pgwire.ProgrammingError, match="params must be a sequence"):
            statement.query(params)

    def test_what_is_no_iterable_of_them(self, conn: pgwire.Connection) -> None:
        nothing: Any = 7
        with pytest.raises(pgwire.ProgrammingError, match=r"rows must be an iterable .* not int"):
            conn.query_many("select $1::text", nothing)
        statement = conn.prepare("select $1::text")
        with pytest.raises(pgwire.ProgrammingError, match=r"rows must be an iterable .* not int"):
            statement.query_many(nothing)

    @pytest.mark.parametrize("params", [[], [1, 2], [1] * 1000])
    def test_the_wrong_number(self, conn: pgwire.Connection, params: list[int]) -> None:
        for _ in range(2):
            with pytest.raises(pgwire.ProgrammingError, match=r"has 1 parameter, \d+ given"):
                conn.query("select $1::int", params)

    def test_as_many_as_the_protocol_can_count(self, conn: pgwire.Connection) -> None:
        most = 65_535
        sql = "select array[" + ",".join(f"${i}::int4" for i in range(1, most + 1)) + "]"
        values = list(range(most))
        assert conn.query(sql, values).scalar() == values
        with pytest.raises(pgwire.ProgrammingError, match="65,536"):
            conn.query(sql, [*values, 1])

    @pytest.mark.parametrize(
        ("type_", "value"),
        [
            ("int2", 2**15),
            ("int4", -(2**31) - 1),
            ("int8", 2**63),
            ("int4", 1.5),
            ("int4", object()),
            ("float8", "x\0"),
            ("text", "\0"),
            ("text", "\ud800"),
            ("text", 5),
            ("bool", 2),
            ("uuid", 7),
            ("numeric", object()),
            ("int4[]", [2**31]),
            ("int4[]", [[1], [2, 3]]),
            ("timestamptz", Decimal(1)),
            ("jsonb", object()),
        ],
    )
    def test_values_that_do_not_fit(self, conn: pgwire.Connection, type_: str, value: Any) -> None:
        for _ in range(2):
            with pytest.raises(pgwire.DataError, match=r"parameter \$2 \("):
                conn.query(f"select $1::int, $2::{type_}", [1, value])

    def test_inside_a_transaction_they_spoil_nothing(self, conn: pgwire.Connection) -> None:
        with conn.transaction():
            for _ in range(2):
                with pytest.raises(pgwire.DataError):
                    conn.query("select $1::int", [2**40])
            assert conn.query("select $1::int", [1]).scalar() == 1

    def test_more_than_the_server_takes(
        self, conn: pgwire.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pgwire.protocol.frontend.MAX_LARGE_MESSAGE", 1_000_000)
        for _ in range(2):
            with pytest.raises(pgwire.DataError, match="more than the server takes"):
                conn.query("select $1::bytea", [bytes(30_000_000)])
        assert conn.query("select length($1::bytea)", [bytes(999_000)]).scalar() == 999_000


CALLS: dict[str, Callable[[Any, Any], object]] = {
    "query": lambda conn, timeout: conn.query("select 1", timeout=timeout),
    "script": lambda conn, timeout: conn.script("select 1", timeout=timeout),
    "ping": lambda conn, timeout: conn.ping(timeout),
    "prepare": lambda conn, timeout: conn.prepare("select 1", timeout=timeout),
    "query_many": lambda conn, timeout: conn.query_many("select 1", [()], timeout=timeout),
    "stream": lambda conn, timeout: list(conn.stream("select 1", timeout=timeout)),
    "copy_out": lambda conn, timeout: list(
        conn.copy_out("copy (select 1) to stdout", timeout=timeout)
    ),
    "copy_in": lambda conn, timeout: conn.copy_in("copy t from stdin", b"", timeout=timeout),
}


@pytest.mark.parametrize("call", CALLS)
class TestTimeouts:
    @pytest.mark.parametrize("timeout", [float("nan"), "1", True, Decimal(1)])
    def test_what_is_no_number_of_seconds(
        self, conn: pgwire.Connection, call: str, timeout: Any
    ) -> None:
        """An event loop's timers were out of order for ever after a NaN."""
        with pytest.raises(pgwire.ProgrammingError, match="it must be a number of seconds"):
            CALLS[call](conn, timeout)

    @pytest.mark.parametrize("timeout", [float("inf"), 1e300, 10**400])
    def test_more_than_any_clock_counts(
        self, conn: pgwire.Connection, call: str, timeout: Any
    ) -> None:
        conn.query("create temp table t ()")
        CALLS[call](conn, timeout)


@pytest.mark.parametrize("callback", [None, 5, "print"])
def test_a_callback_that_cannot_be_called(conn: pgwire.Connection, callback: Any) -> None:
    with pytest.raises(pgwire.ProgrammingError, match="it must be a callable"):
        conn.on("notice", callback)
    conn.query("do $$ begin raise notice 'heard by nobody'; end $$")


class Huge(bytes):
    """Claims to be of a length that no message can have."""

    def __len__(self) -> int:
        return 2**32 + 4


def test_a_value_that_lies_about_its_length(conn: pgwire.Connection) -> None:
    """A length that wraps around would make the value a message (CVE-2024-27304)."""
    assert conn.query("select $1::bytea", [Huge(b"abcd")]).scalar() == b"abcd"


class TestConnectionParameters:
    @pytest.mark.parametrize("name", sorted(PARAMETERS))
    def test_a_nul_in_each(self, name: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="NUL") as caught:
            connect("", **{name: "x\0user\0postgres"})
        assert name in str(caught.value)

    @pytest.mark.parametrize("setting", [{"a\0b": "1"}, {"a": "1\0user\0x"}])
    def test_a_nul_in_a_setting(self, setting: dict[str, str], connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError, match="settings"):
            connect("", settings=setting)

    @pytest.mark.parametrize("conninfo", ["application_name='x\0y'", "postgresql://h/%00"])
    def test_a_nul_in_a_string(self, conninfo: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError):
            connect(conninfo)

    def test_a_nul_in_a_password_from_a_callable(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.Error) as caught:
            connect(dsn, password=lambda: "MARKER\0")
        assert "MARKER" not in str(caught.value)

    def test_more_than_a_startup_packet_can_hold(self, dsn: str, connect: Connect) -> None:
        with pytest.raises(pgwire.DataError, match="more than the server takes"):
            connect(dsn, application_name="x" * 20_000)

    @pytest.mark.parametrize("name", ["hots", "sslmod", "search_path", "HOST", ""])
    def test_unknown_names(self, name: str, connect: Connect) -> None:
        with pytest.raises(pgwire.ProgrammingError):
            connect("", **{name: "x"})
