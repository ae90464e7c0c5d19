"""What is said in the recorded conversations: operations, in batches submitted together.

A scenario is played twice by the same code: against a real server, which records it
(`tools/record_conversations.py`), and against the recording (`conversations`). So nothing in
here may depend on chance or on the time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgwire.config import Secret
from pgwire.errors import OperationalError
from pgwire.protocol.cleaning import cleaning
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.scram_keys import KeyCache
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.protocol.startup import Startup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pgwire.pgtypes import TypeRegistry
    from pgwire.protocol.operation import Operation

PASSWORD = "pencil"
NONCE = "fyko+d2lbbFgONRv9qkxdawL"

# The first replay of a SCRAM login hashes, those after it find the keys here.
_KEYS = KeyCache()


@dataclass
class Play:
    """A scenario under way: its session, and the operations submitted so far."""

    session: Session
    operations: list[Operation] = field(default_factory=list)


Make = "Callable[[Play], Operation]"


@dataclass(frozen=True)
class Scenario:
    """`setup` is run before the recording begins; `killed`: the server ends it when idle."""

    about: str
    batches: Sequence[Sequence[Callable[[Play], Operation]]]
    setup: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    killed: bool = False

    @property
    def logs_in(self) -> bool:
        """Whether the start-up is part of it; otherwise it begins with an open session."""
        return bool(self.batches) and isinstance(
            self.batches[0][0](Play(None)),  # type: ignore[arg-type]
            Startup,
        )

    def session(self, registry: TypeRegistry) -> Session:
        return Session(registry, **self.options)


def query(sql: str, *params: Any) -> Callable[[Play], Operation]:
    return lambda _: Query(sql, params)


def prepare(sql: str) -> Callable[[Play], Operation]:
    return lambda _: Prepare(sql)


def again(number: int, sql: str, *params: Any) -> Callable[[Play], Operation]:
    """A query with the statement that operation `number` prepared, or prepared anew."""

    def make(play: Play) -> Operation:
        before = play.operations[number]
        statement = before.statement if isinstance(before, Query) else before.result
        return Query(sql, params, statement)

    return make


def script(sql: str) -> Callable[[Play], Operation]:
    return lambda _: SimpleQuery(sql)


def copy_in(sql: str, *source: Any) -> Callable[[Play], Operation]:
    """What is given is the data, piece by piece; an exception is raised in its place."""

    def pieces() -> Iterator[Any]:
        for piece in source:
            if isinstance(piece, BaseException):
                raise piece
            yield piece

    return lambda _: CopyIn(sql, pieces())


def copy_out(sql: str) -> Callable[[Play], Operation]:
    return lambda _: CopyOut(sql)


def copy_records(table: str, *records: Any, **more: Any) -> Callable[[Play], Operation]:
    return lambda _: CopyRecords(table, records, **more)


def ping(_: Play) -> Operation:
    return Ping()


def clean(play: Play) -> Operation:
    operation = cleaning(play.session, reset=True)
    assert operation is not None
    return operation


def login(user: str, password: str = PASSWORD, database: str = "postgres") -> Any:
    parameters = {"user": user, "database": database, "client_encoding": "UTF8"}
    credentials = Credentials(user, Secret(password), NONCE, exposed=False, keys=_KEYS)
    return lambda _: Startup(parameters, credentials)


_CHILD = (
    "create temp table parent (id int primary key);"
    "create temp table child (id int references parent deferrable initially deferred)"
)
_CHATTY = (
    "create function pg_temp.chatty(n int) returns int language plpgsql as "
    "$$begin raise notice 'row %', n; return n; end$$"
)
_VALUES = (
    "select true as bool, 7::int2 as int2, -9::int8 as int8, 1.5::float8 as float8, "
    "'12.340'::numeric as numeric, '\\x00ff'::bytea as bytea, "
    "'2024-02-29 12:00:00.5+02'::timestamptz as timestamptz, '1 mon 2 days'::interval as interval, "
    "'{\"a\": [1, null]}'::jsonb as jsonb, '{{1,2},{3,null}}'::int4[] as int4s, "
    "'10.0.0.1'::inet as inet, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as uuid"
)
_STALE = "create temp table stale (a int); insert into stale values (1)"

SCENARIOS: dict[str, Scenario] = {
    "login_trust": Scenario("No password is asked for.", [[login("trusted")], [ping]]),
    "login_cleartext": Scenario("The password in clear.", [[login("cleartext")], [ping]]),
    "login_md5": Scenario("The password as MD5.", [[login("md5")], [ping]]),
    "login_scram": Scenario(
        "SCRAM-SHA-256, and a query that waits for its end.",
        [[login("postgres"), query("select 1 as one")]],
    ),
    "login_wrong_password": Scenario(
        "28P01, also for the query behind it.",
        [[login("postgres", "pen"), query("select 1 as one")]],
    ),
    "login_no_such_database": Scenario("3D000.", [[login("trusted", database="nowhere")]]),
    "query_first_and_cached": Scenario(
        "Two flights the first time, one from then on.",
        [
            [query("select $1::int4 + 1 as n, $2::text as t", 1, "é")],
            [query("select $1::int4 + 1 as n, $2::text as t", 41, "")],
        ],
    ),
    "query_nulls": Scenario(
        "NULL as a parameter, as a value and in an array.",
        [[query("select null::int4 as a, $1::text as b, array[1, null] as c", None)]],
    ),
    "query_values": Scenario(
        "Values of many types, in binary and as text.", [[query(_VALUES)], [script(_VALUES)]]
    ),
    "query_large_rows": Scenario(
        "A row that takes many reads, and many rows.",
        [
            [query("select repeat('x', 20000) as t")],
            [query("select n, n::text as t from generate_series(1, 60) n")],
        ],
    ),
    "query_without_columns": Scenario(
        "Rows without a value, an empty query, a command without rows.",
        [[query("select from generate_series(1, 2)")], [query("")], [query("discard plans")]],
    ),
    "query_misfit": Scenario(
        "A value that does not fit, found between the flights, and in a cached statement.",
        [[query("select $1::int2 as n", 70_000), ping], [query("select $1::int2 as n", 1.5), ping]],
    ),
    "error_in_parse": Scenario(
        "42601 with a position; the next query is none the worse.",
        [[query("select 1 +")], [query("select 1 as one")]],
    ),
    "error_in_bind": Scenario(
        "22007, the first time and from the cache.",
        [
            [query("select $1::date as d", "no date")],
            [query("select $1::date as d", "no date")],
            [query("select $1::date as d", "2024-02-29")],
        ],
    ),
    "error_in_execute": Scenario(
        "22012 before any row, and after some.",
        [
            [query("select 10 / $1::int4 as n", 0)],
            [query("select 10 / $1::int4 as n", 5)],
            [query("select 10 / (4 - n) as n from generate_series(1, 5) n")],
        ],
    ),
    "error_at_sync": Scenario(
        "23503: a deferred constraint fails behind CommandComplete, or in COMMIT.",
        [
            [query("insert into child values ($1)", 1)],
            [query("begin")],
            [query("insert into child values ($1)", 1)],
            [query("commit")],
        ],
        setup=_CHILD,
    ),
    "error_in_transaction": Scenario(
        "25P02 until the rollback; COMMIT of a failed transaction is answered with ROLLBACK.",
        [
            [query("begin"), query("select 1/0"), query("select 1 as one"), query("commit")],
            [query("begin")],
            [query("savepoint s")],
            [query("select 1/0")],
            [script("rollback to savepoint s; release s")],
            [query("rollback")],
        ],
    ),
    "error_timeout": Scenario(
        "57014: the server's statement_timeout.",
        [[query("select pg_sleep(20)")], [query("select 1 as one")]],
        setup="set statement_timeout = '30ms'",
    ),
    "script_results": Scenario(
        "Several results, an empty statement among them.",
        [
            [
                script(
                    "select 1 as a; ; select 'x' as b, null as c; create temp table s (a int);"
                    "insert into s values (1), (2)"
                )
            ],
            [script("")],
            [script(" ; ;")],
        ],
    ),
    "script_error": Scenario(
        "An error in the middle: the results before it stay.",
        [[script("select 1 as a; select 1/0; select 2 as b")], [script("select 3 as c")]],
    ),
    "notices": Scenario(
        "NoticeResponse between all the others.",
        [
            [script("do $$begin raise notice 'one'; raise warning 'two'; end$$")],
            [query("select pg_temp.chatty(n) as n from generate_series(1, 3) n")],
        ],
        setup=_CHATTY,
    ),
    "notifications_and_parameters": Scenario(
        "NotificationResponse and ParameterStatus in the middle of other things.",
        [
            [query("listen news"), query("select 1 as one")],
            [query("select pg_notify('news', $1)", 'he said "no", é'), ping],
            [script("set timezone = 'Europe/Berlin'; select 1 as a; notify news")],
            [query("set application_name = 'somebody'"), query("select 2 as two")],
        ],
    ),
    "client_encoding": Scenario(
        "A client_encoding that is not ours ends it.",
        [[query("set client_encoding = 'latin1'"), query("select 1 as one")]],
    ),
    "stale_plan": Scenario(
        "0A000 after ALTER TABLE heals.",
        [
            [query("select * from stale")],
            [query("alter table stale add b text default 'new'")],
            [query("select * from stale")],
            [query("select * from stale")],
        ],
        setup=_STALE,
    ),
    "stale_plan_in_transaction": Scenario(
        "0A000 inside a transaction does not heal, the next time is fine.",
        [
            [query("select * from stale")],
            [query("alter table stale add b text default 'new'")],
            [query("begin"), query("select * from stale"), query("rollback")],
            [query("select * from stale")],
        ],
        setup=_STALE,
    ),
    "stale_plan_in_pipeline": Scenario(
        "0A000 with another query behind it does not heal: that one would be overtaken.",
        [
            [query("select * from stale")],
            [query("alter table stale add b text default 'new'")],
            [query("select * from stale"), query("select 1 as one")],
            [query("select * from stale")],
        ],
        setup=_STALE,
    ),
    "stale_statement": Scenario(
        "26000 after a DEALLOCATE ALL that nobody told us of heals.",
        [
            [query("select $1::int4 as n", 1)],
            [query("do $$begin execute 'deallocate all'; end$$")],
            [query("select $1::int4 as n", 2)],
            [query("select $1::int4 as n", 3)],
        ],
    ),
    "deallocate_all": Scenario(
        "DEALLOCATE ALL and DISCARD ALL empty the cache.",
        [
            [query("select $1::int4 as n", 1)],
            [query("deallocate all")],
            [query("select $1::int4 as n", 2)],
            [script("discard all")],
            [query("select $1::int4 as n", 3)],
        ],
    ),
    "prepared": Scenario(
        "A statement of one's own, a stale one, and two that cannot be prepared.",
        [
            [prepare("select $1::int4 as n")],
            [again(0, "select $1::int4 as n", 1), again(0, "select $1::int4 as n", 2)],
            [script("deallocate all")],
            [again(0, "select $1::int4 as n", 3)],
            [again(4, "select $1::int4 as n", 4)],
            [prepare("select from nowhere"), prepare("select 1; select 2"), prepare("listen x")],
        ],
    ),
    "cache_of_one": Scenario(
        "What falls out of the cache is closed with the next flight.",
        [
            [query("select 1 as a")],
            [query("select 2 as b"), query("select 1 as a")],
            [query("select 1 as a")],
            [prepare("select 3 as c")],
        ],
        options={"statement_cache_size": 1},
    ),
    "cache_of_none": Scenario(
        "The unnamed statement only.",
        [[query("select $1::int4 as n", 1)], [query("select $1::int4 as n", 2), query("select 1")]],
        options={"prepare": False},
    ),
    "copy_in_query": Scenario(
        "COPY FROM STDIN is refused, and the session goes on.",
        [[query("copy target from stdin")], [query("select 1 as one")]],
        setup="create temp table target (a int)",
    ),
    "copy_in_pipeline": Scenario(
        "COPY FROM STDIN in front of another query: nothing but the end is left.",
        [
            [query("copy target from stdin")],
            [query("copy target from stdin"), query("select 1 as one")],
        ],
        setup="create temp table target (a int)",
    ),
    "copy_out_query": Scenario(
        "COPY TO STDOUT is refused, and the session goes on.",
        [[query("copy (select 1, 'x') to stdout"), query("select 1 as one")]],
    ),
    "copy_in_script": Scenario(
        "COPY FROM STDIN in a script is refused.",
        [
            [script("select 1 as a; copy target from stdin; select 2 as b")],
            [query("select 1 as one")],
        ],
        setup="create temp table target (a int)",
    ),
    "copy_in_script_in_pipeline": Scenario(
        "The same in front of a Ping, whose Sync the server would skip: it is not written before.",
        [[script("copy target from stdin"), ping]],
        setup="create temp table target (a int)",
    ),
    "copy_out_script": Scenario(
        "COPY TO STDOUT in a script is refused.",
        [
            [
                script("select 1 as a; copy (select 1 union select 2) to stdout; select 2 as b"),
                query("select 1 as one"),
            ]
        ],
    ),
    "copy_in": Scenario(
        "COPY FROM STDIN, with others behind it, and one that the server refuses in the middle.",
        [
            [copy_in("copy target from stdin", b"1\n2\n", "3\n"), query("select 1 as one")],
            [copy_in("copy target from stdin", b"4\n", b"x\n5\n"), ping],
            [copy_in("copy nowhere from stdin", b"4\n")],
            [query("select array_agg(a) as a from target")],
        ],
        setup="create temp table target (a int)",
    ),
    "copy_in_given_up": Scenario(
        "A source that raises, outside of a transaction and in one.",
        [
            [copy_in("copy target from stdin", b"1\n", OperationalError("its own"))],
            [query("begin")],
            [copy_in("copy target from stdin", OperationalError("its own"))],
            [query("select 1"), query("rollback"), query("select count(*) as n from target")],
        ],
        setup="create temp table target (a int)",
    ),
    "copy_in_deferred": Scenario(
        "A constraint that fails at the Sync.",
        [[copy_in("copy child from stdin", b"1\n")], [query("select count(*) as n from child")]],
        setup=_CHILD,
    ),
    "copy_other_ways": Scenario(
        "Statements that are for the other call, or for none, and several in one.",
        [
            [copy_in("copy (select generate_series(1, 3)) to stdout"), ping],
            [copy_in("copy target from program 'echo 1'"), query("select * from target")],
            [copy_out("copy target from stdin"), query("select 1 as one")],
            [copy_out("copy target from program 'echo 1'"), query("select * from target")],
            [copy_in("copy target from stdin; copy target from stdin")],
            [copy_out("copy target to stdout; select 1")],
        ],
        setup="create temp table target (a int)",
    ),
    "copy_out": Scenario(
        "COPY TO STDOUT, one that fails before its first row, and one that fails in the middle.",
        [
            [copy_out("copy (select n, 'x' from generate_series(1, 100) n) to stdout"), ping],
            [copy_out("copy nowhere to stdout"), query("select 1 as one")],
            [copy_out("copy (select 1 / (3 - n) from generate_series(1, 9) n) to stdout"), ping],
            [copy_out("copy (select 1 where false) to stdout")],
        ],
    ),
    "copy_records": Scenario(
        "Records: all columns but those that are generated, some of them, none, and no columns.",
        [
            [copy_records("target", (1, "a", None), (2, "b\tc", 0.5)), ping],
            [copy_records("target", (1.5, 3), columns=['weird "name', "a"])],
            [copy_records("target"), copy_records("bare", (), ())],
            [query("select * from target"), query("select count(*) as n from bare")],
            [copy_records("nowhere", (1,)), copy_records("target", (1,), schema="nowhere")],
            [copy_records("target", (1,), columns=["nothing"])],
        ],
        setup="create temp table target (a int, twice int generated always as (a * 2) stored, "
        'gone int, b text, "weird ""name" float8); alter table target drop column gone;'
        "create temp table bare ()",
    ),
    "copy_records_as_text": Scenario(
        "Records that can be sent in text format only, from the first one or from a later one.",
        [
            [copy_records("target", ("1", "a", "10.0.0.1"), (2, None, None))],
            [copy_records("target", (3, "a"), ("4", "b\\c\td\ne\rf"), columns=["a", "b"]), ping],
            [copy_records("target", (5, None), ("x", None), columns=["a", "b"])],
            [query("select a, b, c::text from target order by a")],
        ],
        setup="create temp table target (a int, b text, c inet)",
    ),
    "copy_records_failing": Scenario(
        "A record that does not fit, and one that the server refuses, in a transaction too.",
        [
            [copy_records("target", (1,), (2.5,)), ping],
            [copy_records("target", (1,), (2,), (1,)), query("select 1 as one")],
            [query("begin"), copy_records("target", (1, 2))],
            [query("select 1"), query("rollback"), query("select count(*) as n from target")],
        ],
        setup="create temp table target (a int primary key)",
    ),
    "pipeline": Scenario(
        "All kinds together.",
        [
            [query("select $1::int4 as n", 1), ping, query("select $1::int4 as n", 2)],
            [
                query("select $1::int4 as n", 3),
                query("select 1 +"),
                query("select $1::int4 as n", "no number"),
                ping,
                script("select 4 as n; select 1/0"),
                query("select $1::int4 as n", 2.5),
                query("select 1/0"),
                prepare("select 5 as n"),
                query("select $1::int4 as n", 6),
            ],
        ],
    ),
    "cleaning": Scenario(
        "A lease that left a transaction, a setting and a temporary table, and the next one.",
        [
            [query("begin"), query("set local statement_timeout = 0"), query("select 1/0")],
            [clean, query("select 1 as one")],
            [query("create temp table left_behind (a int)"), query("listen news")],
            [query("set application_name = 'left'")],
            [clean, query("select to_regclass('left_behind')::text as gone")],
        ],
    ),
    "terminated_in_query": Scenario(
        "57P01 in the middle of a query.",
        [[query("select pg_terminate_backend(pg_backend_pid())"), query("select 1 as one")]],
    ),
    "terminated_when_idle": Scenario(
        "57P01 while nothing is under way.", [[query("select 1 as one")]], killed=True
    ),
}
