"""Logical replication of a real publication, on every shell."""

from __future__ import annotations

import threading
import tracemalloc
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import UNCHANGED, Lsn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire import embedded
    from tests.shells.conftest import Connect

    Follow = Callable[..., pgwire.Replication]


class Feeling(Enum):
    SAD = "sad"
    OK = "ok"


SLOT = "watching"
PATIENCE = 20.0
ENDS = (pgwire.Commit, pgwire.StreamCommit, pgwire.Prepare, pgwire.CommitPrepared)
ENDS += (pgwire.RollbackPrepared, pgwire.StreamPrepare)  # type: ignore[assignment]


@pytest.fixture
def admin(embedded_server: embedded.Server) -> Iterator[pgwire.Connection]:
    """A plain connection, with an empty table `item`, published as `news`, and a slot."""
    with pgwire.connect(embedded_server.url) as conn:
        conn.script(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active;"
            "drop table if exists item, other; drop publication if exists news;"
            "create table item (id int primary key, name text); create table other (n int);"
            "create publication news for table item"
        )
        conn.query("select pg_create_logical_replication_slot($1, 'pgoutput')", [SLOT])
        yield conn
        conn.script(
            "select pg_drop_replication_slot(slot_name) from pg_replication_slots where not active;"
            "drop table if exists item, other; drop publication news"
        )


@pytest.fixture
def replica(
    admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
) -> pgwire.Connection:
    """A connection for replication, which can be followed once."""
    return connect(embedded_server.url, replication="database")


@pytest.fixture
def follow(admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect) -> Follow:
    """What is published, on a connection of its own."""

    def follow(
        publications: Any = "news", settings: Any = None, **options: Any
    ) -> pgwire.Replication:
        conn = connect(embedded_server.url, replication="database", settings=settings)
        return conn.replicate(SLOT, publications, **options)

    return follow


def take(replication: pgwire.Replication, ends: int = 1) -> list[Any]:
    """The messages up to the end of so many transactions."""
    found: list[Any] = []
    while ends:
        message = replication.receive(PATIENCE)
        assert message is not None, f"nothing more came after {found}"
        found.append(message)
        ends -= isinstance(message, ENDS)
    return found


def changes(messages: list[Any]) -> list[Any]:
    kinds = pgwire.Insert, pgwire.Update, pgwire.Delete, pgwire.Truncate
    return [message for message in messages if isinstance(message, kinds)]


def names(messages: list[Any]) -> list[str]:
    return [type(message).__name__ for message in messages]


def until(condition: Callable[[], Any], work: Callable[[], Any]) -> None:
    """Do the work until it is so. Who waits here waits for the server, and not for a clock."""
    while not condition():
        work()


def is_in_step(conn: pgwire.Connection) -> bool:
    return bool(conn.script("select 7")[0].scalar() == 7)


class TestCommands:
    def test_identify_system(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        system = replica.identify_system()
        assert system.database == "postgres"
        assert system.timeline == 1
        assert system.system_id == str(
            admin.query("select system_identifier from pg_control_system()").scalar()
        )
        assert isinstance(system.position, Lsn)
        # A place in the log is a parameter, and what comes back is read.
        assert Lsn(admin.query("select $1::pg_lsn", [system.position]).scalar()) == system.position

    def test_slots(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        slot = replica.create_replication_slot("one", two_phase=True)
        assert (slot.name, slot.snapshot, slot.plugin) == ("one", None, "pgoutput")
        sql = "select temporary, two_phase, plugin from pg_replication_slots where slot_name = $1"
        assert admin.query(sql, ["one"]).one() == (False, True, "pgoutput")
        with pytest.raises(pgwire.DuplicateObject):
            replica.create_replication_slot("one")
        replica.drop_replication_slot("one")
        assert admin.query(sql, ["one"]).first() is None
        with pytest.raises(pgwire.UndefinedObject):
            replica.drop_replication_slot("one", wait=True)
        with pytest.raises(pgwire.InvalidName):
            replica.create_replication_slot("No!")
        assert is_in_step(replica)

    def test_a_snapshot_of_what_was_there_before(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        admin.script("insert into item values (1, 'before')")
        slot = replica.create_replication_slot("two", temporary=True, snapshot="export")
        admin.script("insert into item values (2, 'after')")
        assert slot.snapshot is not None
        with admin.transaction(isolation="repeatable read"):
            admin.script(f"set transaction snapshot {pgwire.quote_literal(slot.snapshot)}")
            assert admin.query("select id from item").scalars() == [1]
        with replica.replicate("two", "news") as replication:
            assert [change.new.id for change in changes(take(replication))] == [2]

    def test_sql_goes_by_the_simple_protocol_alone(self, replica: pgwire.Connection) -> None:
        with pytest.raises(pgwire.ProtocolViolation, match=r"takes SQL by script\(\) only"):
            replica.query("select 1")
        with replica.transaction():
            assert is_in_step(replica)
        replica.ping()

    def test_a_script_costs_no_slot(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        """Types that nobody knows would be asked for by what is refused, and that costs one."""
        admin.script("drop type if exists feeling cascade; create type feeling as enum ('ok')")
        replica.create_replication_slot("one", temporary=True)
        assert replica.script("select 'ok'::feeling")[0].scalar() == "ok"
        replica.drop_replication_slot("one")
        admin.script("drop type feeling")

    def test_elsewhere(self, admin: pgwire.Connection, connect: Connect, dsn: str) -> None:
        conn = connect(dsn)
        with pytest.raises(pgwire.PostgresSyntaxError, match="replication="):
            conn.identify_system()
        with pytest.raises(pgwire.PostgresSyntaxError, match="replication="):
            next(conn.replicate(SLOT, "news"))
        assert is_in_step(conn)

    def test_by_script(self, replica: pgwire.Connection) -> None:
        sql = f"START_REPLICATION SLOT {SLOT} LOGICAL 0/0 (proto_version '1'"
        with pytest.raises(pgwire.NotSupportedError, match=r"needs replicate\(\)"):
            replica.script(f"{sql}, publication_names 'news')")
        assert is_in_step(replica)

    def test_a_pool_is_refused(self, dsn: str) -> None:
        for kind in (pgwire.Pool, pgwire.AsyncPool):
            with pytest.raises(pgwire.ProgrammingError, match="none for replication can do"):
                kind(dsn, replication="database")


class TestChanges:
    def test_a_transaction(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        with replica.replicate(SLOT, "news") as replication:
            with admin.transaction():
                admin.query("insert into item values (1, 'a'), (2, null)")
                admin.query("update item set name = 'b' where id = 1")
                admin.query("update item set id = 3 where id = 2")
                admin.query("delete from item where id = 1")
                admin.query("truncate item restart identity cascade")
            messages = take(replication)
        begin, relation, *rest = messages
        commit = rest.pop()
        assert (begin.commit_lsn, begin.committed_at) == (commit.commit_lsn, commit.committed_at)
        assert begin.committed_at.utcoffset().total_seconds() == 0
        assert (relation.schema, relation.name) == ("public", "item")
        assert [(c.name, c.is_key) for c in relation.columns] == [("id", True), ("name", False)]
        one, two, update, key, delete, truncate = changes(rest)
        assert (one.new, two.new, one.new.name) == ((1, "a"), (2, None), "a")
        assert (update.new, update.old, update.key) == ((1, "b"), None, None)
        assert (key.new, key.old, key.key) == ((3, None), None, (2,))
        assert (delete.old, delete.key) == (None, (1,))
        assert truncate.relations[0].name == "item"
        assert (truncate.cascade, truncate.restart_identity) == (True, True)

    def test_the_whole_row_as_it_was(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        admin.script("alter table item replica identity full; insert into item values (1, 'a')")
        admin.script("update item set name = 'b'; delete from item")
        with replica.replicate(SLOT, "news") as replication:
            _, update, delete = changes(take(replication, 2))
        assert update.relation.replica_identity == "full"
        assert (update.old, update.key, update.new) == ((1, "a"), None, (1, "b"))
        assert (delete.old, delete.key) == ((1, "b"), None)

    def test_values_that_were_not_touched(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        admin.script("alter table item alter name set storage external")
        admin.query("insert into item values (1, repeat('x', 10000))")
        admin.script("update item set id = 2")
        with replica.replicate(SLOT, "news") as replication:
            insert, update = changes(take(replication, 2))
        assert insert.new.name == "x" * 10_000
        assert update.new == (2, UNCHANGED)
        assert update.new.name is UNCHANGED

    def test_a_table_that_is_altered_meanwhile(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        with replica.replicate(SLOT, "news") as replication:
            admin.query("insert into item values (1, 'a')")
            first = changes(take(replication))
            admin.script("alter table item rename name to title; alter table item add n int")
            admin.query("insert into item values (2, 'b', 7)")
            second = changes(take(replication))
        assert first[0].new._asdict() == {"id": 1, "name": "a"}
        assert second[0].new._asdict() == {"id": 2, "title": "b", "n": 7}

    @pytest.mark.parametrize("binary", [False, True])
    def test_values_are_those_of_queries(
        self, replica: pgwire.Connection, admin: pgwire.Connection, binary: bool
    ) -> None:
        admin.query(
            "create temp view v as select 1::int2 a, 2::int8 b, 1.5::float8 c, 2.25::numeric d, "
            "true e, 'x'::varchar f, '\\x0001'::bytea g, '2020-02-29'::date h, "
            "'infinity'::timestamp i, '2020-01-01 12:00+03'::timestamptz j, '12:34'::time k, "
            "'1 mon 2 days'::interval l, gen_random_uuid() m, '{\"a\": [1]}'::jsonb n, "
            "array[1, null, 3] o, array['a,b', '\"'] p, '10.0.0.0/8'::cidr q, '(1,2)'::point r, "
            "int4range(1, 5) s, '{[1,2), [5,6)}'::int4multirange t, B'101'::varbit u, "
            "'0/1'::pg_lsn w, null::int x, '{\"a\": 1}'::json y, '\\x'::bytea z"
        )
        admin.script("drop table other; create table other as select * from v")
        admin.query("alter publication news add table other")
        admin.query("insert into other select * from v")
        with replica.replicate(SLOT, "news", binary=binary) as replication:
            (insert,) = changes(take(replication))
        assert insert.new == admin.query("select * from other offset 1").one()

    @pytest.mark.parametrize("binary", [False, True])
    def test_types_of_the_database(
        self, replica: pgwire.Connection, admin: pgwire.Connection, binary: bool
    ) -> None:
        admin.script(
            "drop type if exists feeling, pair cascade; drop domain if exists small cascade;"
            "create type feeling as enum ('sad', 'ok'); create domain small as int;"
            "create type pair as (feelings feeling[], n small);"
            "alter table item add a feeling, add b feeling[], add c small, add d pair"
        )
        replica.register_type("feeling", Feeling)
        insert = "insert into item values ($1, '', 'ok', '{sad,ok}', 7, row('{ok}', 8))"
        with replica.replicate(SLOT, "news", binary=binary) as replication:
            admin.query(insert, [1])
            (change,) = changes(take(replication))
            new = change.new
            assert (new.a, new.b) == (Feeling.OK, [Feeling.SAD, Feeling.OK])
            assert (new.c, new.d.n, new.d.feelings) == (7, 8, [Feeling.OK])
            # What the database has got since then is text.
            admin.script("create type since as enum ('x'); alter table item add e since")
            admin.query("insert into item values (2, '', null, null, null, null, 'x')")
            (change,) = changes(take(replication))
            assert change.new.e == (b"x" if binary else "x")
        admin.script("drop type feeling, pair, since cascade; drop domain small cascade")

    def test_settings_that_would_write_values_otherwise(
        self, admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        admin.script("alter table item add at date, add i interval, add b bytea")
        settings = {"DateStyle": "SQL, DMY", "intervalstyle": "sql_standard"}
        settings["bytea_output"] = "escape"
        conn = connect(embedded_server.url, replication="database", settings=settings)
        admin.query("insert into item values (1, 'a', '2020-02-29', '1 day', '\\x00ff')")
        with conn.replicate(SLOT, "news") as replication:
            (insert,) = changes(take(replication))
        assert insert.new == admin.query("select * from item").one()

    def test_messages_that_are_emitted(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        with replica.replicate(SLOT, "news", messages=True) as replication:
            admin.query("select pg_logical_emit_message(false, 'note', 'at once')")
            alone: Any = replication.receive(PATIENCE)
            assert (alone.transactional, alone.prefix, alone.content) == (False, "note", b"at once")
            replication.acknowledge(alone)
            admin.query("select pg_logical_emit_message(true, 'note', 'with its transaction')")
            _, inside, _ = take(replication)
            assert inside.transactional
            with pytest.raises(pgwire.ProgrammingError, match="LogicalMessage is not the end"):
                replication.acknowledge(inside)

    def test_several_publications(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        admin.script(
            'drop publication if exists "od""d"; create publication "od""d" for table other'
        )
        admin.script("insert into item values (1, 'a'); insert into other values (2)")
        with replica.replicate(SLOT, ["news", 'od"d']) as replication:
            assert [tuple(c.new) for c in changes(take(replication))] == [(1, "a"), (2,)]
        admin.script('drop publication "od""d"')


class TestLargeTransactions:
    @pytest.fixture
    def eager(
        self, admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
    ) -> pgwire.Connection:
        """A connection whose server streams what it can."""
        settings = {"logical_decoding_work_mem": "64kB"}
        return connect(embedded_server.url, replication="database", settings=settings)

    @pytest.mark.parametrize("streaming", [True, "parallel"])
    def test_they_come_before_their_end(
        self, eager: pgwire.Connection, admin: pgwire.Connection, streaming: Any
    ) -> None:
        sql = "insert into item select n, 'x' from generate_series(1, 5000) n"
        with eager.replicate(SLOT, "news", streaming=streaming) as replication:
            admin.script(f"begin; {sql}")
            first = replication.receive(PATIENCE)
            assert isinstance(first, pgwire.StreamStart)
            assert first.first
            admin.script("savepoint s; update item set name = 'y'; rollback to s; commit")
            messages = take(replication)
            replication.acknowledge(messages[-1])
        inserts = [message for message in messages if isinstance(message, pgwire.Insert)]
        assert [insert.new.id for insert in inserts] == list(range(1, 5001))
        assert {insert.xid for insert in inserts} == {first.xid}
        commit = messages[-1]
        assert isinstance(commit, pgwire.StreamCommit)
        assert commit.xid == first.xid
        gone = {message.sub_xid for message in messages if isinstance(message, pgwire.StreamAbort)}
        updates = {message.xid for message in messages if isinstance(message, pgwire.Update)}
        assert gone >= updates

    def test_another_comes_in_between(
        self,
        eager: pgwire.Connection,
        admin: pgwire.Connection,
        embedded_server: embedded.Server,
    ) -> None:
        with (
            pgwire.connect(embedded_server.url) as second,
            eager.replicate(SLOT, "news", streaming=True) as replication,
        ):
            admin.script("begin; insert into item select n, 'x' from generate_series(1, 5000) n")
            assert isinstance(replication.receive(PATIENCE), pgwire.StreamStart)
            second.query("insert into item values (0, 'in between')")
            messages = take(replication)
            assert isinstance(messages[-1], pgwire.Commit)
            assert [c.new.id for c in changes(messages) if c.xid is None] == [0]
            admin.script("rollback")
            while not isinstance(message := replication.receive(PATIENCE), pgwire.StreamAbort):
                assert message is not None
            assert message.xid == message.sub_xid

    def test_left_in_the_middle(
        self, admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        """The server would send all of it first."""
        admin.query("insert into item select n, repeat('x', 100) from generate_series(1, 200000) n")
        for _ in range(2):
            conn = connect(embedded_server.url, replication="database")
            with conn.replicate(SLOT, "news") as replication:
                assert names([next(replication) for _ in range(3)]) == [
                    *("Begin", "Relation", "Insert")
                ]
            assert is_in_step(conn)

    def test_memory_is_bounded(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        admin.query("insert into item select n, repeat('x', 2000) from generate_series(1, 10000) n")
        with replica.replicate(SLOT, "news") as replication:
            tracemalloc.start()
            try:
                count = 0
                while not isinstance(next(replication), pgwire.Commit):
                    count += 1
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
        assert count == 10_002
        assert peak < 5e6

    def test_two_phase_commit(
        self, admin: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        conn = connect(embedded_server.url, replication="database")
        conn.create_replication_slot("two", temporary=True, two_phase=True)
        with conn.replicate("two", "news", two_phase=True) as replication:
            for number, end in enumerate(("commit", "rollback")):
                admin.script(f"begin; insert into item values ({number}); prepare transaction 'p'")
                assert names(take(replication)) == [
                    *("BeginPrepare", *["Relation"] * (number == 0), "Insert", "Prepare")
                ]
                admin.script(f"{end} prepared 'p'")
                (message,) = take(replication)
                assert message.gid == "p"
                assert type(message).__name__ == f"{end.capitalize()}Prepared"
                replication.acknowledge(message)


class TestAcknowledging:
    def test_what_is_not_comes_again_and_nothing_is_lost(
        self,
        admin: pgwire.Connection,
        embedded_server: embedded.Server,
        connect: Connect,
    ) -> None:
        """Its connection is killed again and again, with one of two acknowledged."""
        admin.script("; ".join(f"begin; insert into item values ({n}); commit" for n in range(6)))
        for number in range(5):
            conn = connect(embedded_server.url, replication="database")
            with pytest.raises(pgwire.ConnectionLost) as caught:  # noqa: PT012
                with conn.replicate(SLOT, "news") as replication:
                    for expected in (number, number + 1):
                        *_, insert, commit = take(replication)
                        assert insert.new.id == expected
                        if expected == number:
                            replication.acknowledge(commit)
                    replication.keep_alive()
                    self._wait_until_told(admin, commit=replication.acknowledged)
                    admin.query("select pg_terminate_backend($1, 20000)", [conn.backend_pid])
                    list(replication)
            (note,) = caught.value.__notes__
            assert f"'watching' is acknowledged up to {replication.acknowledged}:" in note
            assert conn.closed

    @staticmethod
    def _wait_until_told(admin: pgwire.Connection, commit: Lsn) -> None:
        sql = "select confirmed_flush_lsn from pg_replication_slots where slot_name = $1"
        until(lambda: Lsn(admin.query(sql, [SLOT]).scalar()) >= commit, lambda: None)

    def test_the_server_is_told(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        sql = "select confirmed_flush_lsn from pg_replication_slots where slot_name = $1"

        def confirmed() -> Lsn:
            return Lsn(admin.query(sql, [SLOT]).scalar())

        with replica.replicate(SLOT, "news", status_interval=None) as replication:
            assert replication.slot == SLOT
            admin.query("insert into item values (1, 'a')")
            commit = take(replication)[-1]
            before = confirmed()
            assert before < commit.end_lsn
            replication.acknowledge(commit)
            assert replication.acknowledged == commit.end_lsn <= replication.received
            assert replication.receive(0) is None  # which tells, as it waits
            until(lambda: confirmed() >= commit.end_lsn, lambda: None)
            admin.query("insert into item values (2, 'a')")
            last = take(replication)[-1]
            replication.acknowledge(last)
        assert is_in_step(replica)
        assert confirmed() >= last.end_lsn  # told when it was left

    def test_it_begins_there(self, admin: pgwire.Connection, follow: Follow) -> None:
        for number in range(4):
            admin.query("insert into item values ($1)", [number])
        with follow() as replication:
            messages = take(replication, 4)
            commits = [m for m in messages if isinstance(m, pgwire.Commit)]
            replication.acknowledge(commits[1])
        with follow() as replication:
            assert [c.new.id for c in changes(take(replication, 2))] == [2, 3]
        with follow(start=str(commits[2].end_lsn)) as replication:
            assert replication.acknowledged == commits[2].end_lsn
            assert [c.new.id for c in changes(take(replication))] == [3]

    def test_a_second_one_on_a_connection(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        """PostgreSQL takes it for left already."""
        admin.query("insert into item values (1)")
        with replica.replicate(SLOT, "news") as replication:
            take(replication)
        second = replica.replicate(SLOT, "news")
        with pytest.raises(pgwire.OperationalError, match="connect anew for each"):
            list(second)
        assert is_in_step(replica)

    def test_what_is_of_no_interest_moves_it_too(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        with replica.replicate(SLOT, "news") as replication:
            admin.query("insert into item values (1)")
            commit = take(replication)[-1]
            replication.acknowledge(commit)
            admin.query("insert into other select generate_series(1, 1000)")
            end = Lsn(admin.query("select pg_current_wal_flush_lsn()").scalar())
            until(lambda: replication.acknowledged >= end, lambda: replication.receive(0.01))

    def test_but_not_past_what_is_not_acknowledged(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        with replica.replicate(SLOT, "news") as replication:
            until(lambda: replication.received > 0, lambda: replication.receive(0.01))
            admin.query("insert into item values (1)")
            commit = take(replication)[-1]
            # Not sooner: while there was nothing to acknowledge, a keepalive may have moved it.
            before = replication.acknowledged
            assert before < commit.end_lsn
            end = self._made_busy(admin)
            until(lambda: replication.received >= end, lambda: replication.receive(0.01))
            assert replication.acknowledged == before

    @staticmethod
    def _made_busy(admin: pgwire.Connection) -> Lsn:
        admin.query("insert into other select generate_series(1, 1000)")
        return Lsn(admin.query("select pg_current_wal_flush_lsn()").scalar())

    def test_the_server_hears_that_we_are_alive(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        sql = "select reply_time from pg_stat_replication where pid = $1"

        def heard() -> Any:
            return admin.query(sql, [replica.backend_pid]).scalar()

        with replica.replicate(SLOT, "news") as replication:
            replication.keep_alive()
            until(heard, lambda: None)
            before = heard()
            until(lambda: heard() > before, replication.keep_alive)
        with pytest.raises(pgwire.InterfaceError, match="not under way"):
            replication.keep_alive()
        with pytest.raises(pgwire.InterfaceError, match="not under way"):
            replica.replicate(SLOT, "news").keep_alive()


class TestEnding:
    def test_it_holds_the_connection(
        self, replica: pgwire.Connection, admin: pgwire.Connection
    ) -> None:
        with replica.replicate(SLOT, "news") as replication:
            for use in (replica.ping, lambda: replica.script("select 1")):
                with pytest.raises(pgwire.InterfaceError, match="held by an open iteration"):
                    use()
            admin.query("insert into item values (1)")
            take(replication)
        assert is_in_step(replica)

    def test_over_is_over(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        admin.query("insert into item values (1)")
        with replica.replicate(SLOT, "news") as replication:
            next(replication)
            assert replication.receive(PATIENCE) is not None
            replication.close()
            assert list(replication) == []
            with pytest.raises(pgwire.InterfaceError, match="this replication is over"):
                replication.receive()
            with pytest.raises(pgwire.InterfaceError, match="this replication is over"):
                replication.acknowledge(0)
        replication.close()
        assert is_in_step(replica)

    def test_nothing_happens_before_it_is_asked(self, replica: pgwire.Connection) -> None:
        replication = replica.replicate("nowhere", "news")
        assert is_in_step(replica)
        with pytest.raises(pgwire.UndefinedObject, match="nowhere"), replication:
            pass
        with pytest.raises(pgwire.UndefinedObject, match="nowhere"):
            next(replica.replicate("nowhere", "news"))
        replica.replicate("nowhere", "news").close()
        assert is_in_step(replica)

    def test_a_slot_in_use(
        self, replica: pgwire.Connection, embedded_server: embedded.Server, connect: Connect
    ) -> None:
        second = connect(embedded_server.url, replication="database")
        second.create_replication_slot("mine", temporary=True)
        with replica.replicate(SLOT, "news"), pytest.raises(pgwire.ObjectInUse):
            next(second.replicate(SLOT, "news"))
        assert is_in_step(second)

    def test_it_is_canceled(self, replica: pgwire.Connection, admin: pgwire.Connection) -> None:
        with replica.replicate(SLOT, "news") as replication:
            admin.query("select pg_cancel_backend($1)", [replica.backend_pid])
            with pytest.raises(pgwire.QueryCanceled):
                next(replication)
            assert list(replication) == []
        assert is_in_step(replica)

    def test_an_exception_in_its_block(self, admin: pgwire.Connection, follow: Follow) -> None:
        admin.query("insert into item values (1)")
        replication = follow()
        with pytest.raises(ZeroDivisionError), replication:
            _ = 1 / (len(take(replication)) - 4)
        with follow() as replication:
            assert len(changes(take(replication))) == 1

    def test_the_connection_is_closed_meanwhile(self, replica: pgwire.Connection) -> None:
        with replica.replicate(SLOT, "news") as replication:
            replica.close()
            with pytest.raises(pgwire.InterfaceError):
                next(replication)

    def test_dropped(
        self, replica: pgwire.Connection, admin: pgwire.Connection, follow: Follow
    ) -> None:
        admin.query("insert into item values (1)")
        next(replica.replicate(SLOT, "news"))
        assert is_in_step(replica)
        with follow() as replication:
            assert len(changes(take(replication))) == 1

    @pytest.mark.parametrize("how", ["fast", "kill"])
    def test_the_server_goes_away(
        self, fresh_server: embedded.Server, connect: Connect, how: Any
    ) -> None:
        with pgwire.connect(fresh_server.url) as admin:
            admin.script("create table item (id int); create publication news for table item")
        conn = connect(fresh_server.url, replication="database")
        conn.create_replication_slot(SLOT)
        with pytest.raises(pgwire.ConnectionLost) as caught:  # noqa: PT012
            with conn.replicate(SLOT, "news") as replication:
                with pgwire.connect(fresh_server.url) as admin:
                    admin.query("insert into item values (1)")
                # A server that is shut down in order waits until all is acknowledged.
                replication.acknowledge(take(replication)[-1])
                end = fresh_server.kill if how == "kill" else partial(fresh_server.stop, how)
                ending = threading.Thread(target=end)
                ending.start()
                next(replication)
        ending.join()
        assert "will come again" in caught.value.__notes__[-1]
        assert conn.closed
