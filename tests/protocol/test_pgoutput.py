"""pgoutput's messages: what was written is read, and what is none is refused by name."""

from __future__ import annotations

import pickle
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError, ProtocolError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol import logical
from pgwire.protocol.logical import UNCHANGED, end_of
from pgwire.protocol.pgoutput import PgOutput, UnreadableValue
from tests.support import pgoutput
from tests.support.pgoutput import binary, row, text

if TYPE_CHECKING:
    from collections.abc import Callable

REGISTRY = TypeRegistry()
EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
HERE = Lsn("1/2")
T = 16_384
INT4, TEXT, NUMERIC = oids.INT4, oids.TEXT, oids.NUMERIC
COLUMNS = [("id", INT4, True), ("name", TEXT, False), ("price", NUMERIC, False)]

places = st.integers(0, 2**64 - 1)
xids = st.integers(0, 2**32 - 1)
# Moments that a datetime can hold.
times = st.integers(-(60 * 10**15), 200 * 10**15)
names = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def at(microseconds: int) -> datetime:
    return EPOCH + timedelta(microseconds=microseconds)


def reader(*messages: bytes) -> PgOutput:
    output = PgOutput(lambda: REGISTRY)
    for message in messages:
        output.parse(HERE, message)
    return output


def parse(message: bytes, *before: bytes) -> Any:
    return reader(*before).parse(HERE, message)


def told(**keywords: Any) -> bytes:
    return pgoutput.relation(T, COLUMNS, **keywords)


class TestTransactions:
    @given(places, times, xids)
    def test_begin(self, place: int, time: int, xid: int) -> None:
        expected = logical.Begin(HERE, Lsn(place), at(time), xid)
        assert parse(pgoutput.begin(place, time, xid)) == expected

    @given(places, places, times, st.integers(0, 255))
    def test_commit(self, place: int, end: int, time: int, flags: int) -> None:
        message = parse(pgoutput.commit(place, end, time, flags))
        assert message == logical.Commit(HERE, Lsn(place), Lsn(end), at(time))
        assert end_of(message) == end

    @given(places, names)
    def test_origin(self, place: int, name: str) -> None:
        message = parse(pgoutput.origin(place, name))
        assert message == logical.Origin(HERE, Lsn(place), name)
        assert end_of(message) is None

    @given(places, names, st.binary(max_size=50), st.booleans())
    def test_message(self, place: int, prefix: str, content: bytes, inside: bool) -> None:
        message = parse(pgoutput.message(place, prefix, content, transactional=inside))
        assert message == logical.LogicalMessage(Lsn(place), inside, prefix, content)

    def test_only_a_message_outside_of_transactions_can_be_acknowledged(self) -> None:
        inside = parse(pgoutput.message(5, "", b"", transactional=True))
        outside = parse(pgoutput.message(5, "", b"", transactional=False))
        assert end_of(inside) is None
        assert end_of(outside) == 6

    @given(places, places, times, xids, names)
    def test_two_phase_commit(self, place: int, end: int, time: int, xid: int, gid: str) -> None:
        fields: Any = Lsn(place), Lsn(end), at(time), xid, gid
        for code, kind in (
            ("b", logical.BeginPrepare),
            ("P", logical.Prepare),
            ("K", logical.CommitPrepared),
            ("p", logical.StreamPrepare),
        ):
            message = parse(pgoutput.prepared(code, place, end, time, xid, gid))
            assert message == kind(HERE, *fields)
            assert end_of(message) == (None if code == "b" else end)
        message = parse(pgoutput.rollback_prepared(place, end, (time, 5), xid, gid))
        assert message == logical.RollbackPrepared(
            HERE, Lsn(place), Lsn(end), at(time), at(5), xid, gid
        )


class TestTables:
    @given(
        st.integers(0, 2**32 - 1),
        st.lists(st.tuples(names, st.integers(0, 2**32 - 1), st.booleans()), max_size=5),
        names,
        names,
        st.sampled_from([("d", "default"), ("n", "nothing"), ("f", "full"), ("i", "index")]),
    )
    def test_relation(
        self,
        oid: int,
        columns: list[tuple[str, int, bool]],
        schema: str,
        name: str,
        identity: tuple[str, str],
    ) -> None:
        data = pgoutput.relation(oid, columns, schema=schema, name=name, identity=identity[0])
        expected = tuple([logical.RelationColumn(n, o, -1, key) for n, o, key in columns])
        message = parse(data)
        assert message == logical.Relation(
            HERE, oid, schema or "pg_catalog", name, identity[1], expected
        )

    def test_its_repr_is_short(self) -> None:
        assert repr(parse(told())) == "<Relation public.t (id, name, price)>"

    @given(st.integers(0, 2**32 - 1), names, names)
    def test_type(self, oid: int, schema: str, name: str) -> None:
        message = parse(pgoutput.type_(oid, schema, name))
        assert message == logical.ColumnType(HERE, oid, schema or "pg_catalog", name)

    def test_a_table_that_is_altered(self) -> None:
        """What came before is as it was."""
        output = reader(told())
        before: Any = output.parse(HERE, pgoutput.insert(T, row(text("1"), text("a"), text("2"))))
        output.parse(HERE, pgoutput.relation(T, [("n", INT4, True)], name="renamed"))
        after: Any = output.parse(HERE, pgoutput.insert(T, row(text("7"))))
        assert before.new._asdict() == {"id": 1, "name": "a", "price": Decimal(2)}
        assert after.new._asdict() == {"n": 7}
        assert (before.relation.name, after.relation.name) == ("t", "renamed")


class TestChanges:
    def test_insert(self) -> None:
        message = parse(pgoutput.insert(T, row(text("1"), pgoutput.NULL, text("2.50"))), told())
        assert (message.new.id, message.new["price"]) == (1, Decimal("2.50"))
        assert message.new == (1, None, Decimal("2.50"))
        assert message.relation.name == "t"
        assert message.xid is None

    @given(st.integers(-(2**31), 2**31 - 1), names)
    def test_both_formats(self, number: int, name: str) -> None:
        for new in (
            row(text(str(number)), text(name), pgoutput.NULL),
            row(binary(number.to_bytes(4, signed=True)), binary(name.encode()), pgoutput.NULL),
        ):
            assert parse(pgoutput.insert(T, new), told()).new == (number, name, None)

    def test_update(self) -> None:
        new = row(text("1"), pgoutput.UNCHANGED, pgoutput.NULL)
        message = parse(pgoutput.update(T, new), told())
        assert (message.new, message.old, message.key) == ((1, UNCHANGED, None), None, None)
        assert repr(message.new.name) == "UNCHANGED"
        assert pickle.loads(pickle.dumps(message.new.name)) is UNCHANGED

    def test_the_key_as_it_was(self) -> None:
        """What is no part of it comes as NULL, and is left out."""
        new, key = row(text("2"), text("a"), text("3")), row(text("1"), *[pgoutput.NULL] * 2)
        message = parse(pgoutput.update(T, new, key=key), told())
        assert (message.new, message.old, message.key) == ((2, "a", 3), None, (1,))
        assert message.key._asdict() == {"id": 1}
        message = parse(pgoutput.delete(T, key=key), told())
        assert (message.old, message.key) == (None, (1,))

    def test_the_row_as_it_was(self) -> None:
        new, old = row(text("2"), text("a"), text("3")), row(text("1"), text("b"), pgoutput.NULL)
        message = parse(pgoutput.update(T, new, old=old), told(identity="f"))
        assert (message.new, message.old, message.key) == ((2, "a", 3), (1, "b", None), None)
        message = parse(pgoutput.delete(T, old=old), told(identity="f"))
        assert (message.old, message.key) == ((1, "b", None), None)

    def test_truncate(self) -> None:
        other = pgoutput.relation(5, [], name="other")
        message = parse(pgoutput.truncate(T, 5, options=3), told(), other)
        assert [relation.name for relation in message.relations] == ["t", "other"]
        assert (message.cascade, message.restart_identity) == (True, True)
        message = parse(pgoutput.truncate(T, options=2), told())
        assert (message.cascade, message.restart_identity) == (False, True)
        assert parse(pgoutput.truncate()).relations == ()

    def test_types_that_are_not_known(self) -> None:
        table = pgoutput.relation(T, [("a", 99_999, False), ("b", 99_999, False)])
        message = parse(pgoutput.insert(T, row(text("x"), binary(b"\0\1"))), table)
        assert message.new == ("x", b"\0\1")

    def test_types_without_a_binary_format(self) -> None:
        table = pgoutput.relation(T, [("m", oids.REST["money"][0], False)])
        assert parse(pgoutput.insert(T, row(binary(bytes(8)))), table).new == (bytes(8),)
        assert parse(pgoutput.insert(T, row(text("$1"))), table).new == ("$1",)

    def test_a_value_that_cannot_be_read(self) -> None:
        output = reader(told())
        with pytest.raises(UnreadableValue) as caught:
            output.parse(HERE, pgoutput.insert(T, row(text("x"), text("a"), text("1"))))
        assert isinstance(caught.value.error, DataError)
        assert caught.value.error.__notes__ == ["in a change of public.t, column 'id'"]
        good: Any = output.parse(HERE, pgoutput.insert(T, row(text("1"), text("a"), text("1"))))
        assert good.new.id == 1

    def test_a_decoder_of_the_users_that_raises(self) -> None:
        def loads(_text: str) -> Any:
            raise IndexError("mine")

        output = PgOutput(lambda: TypeRegistry(json_loads=loads))
        output.parse(HERE, pgoutput.relation(T, [("j", oids.JSONB, False)]))
        with pytest.raises(UnreadableValue, match="mine"):
            output.parse(HERE, pgoutput.insert(T, row(text("{}"))))


class TestStreamed:
    def test_start_and_stop(self) -> None:
        output = reader()
        assert output.parse(HERE, pgoutput.stream_start(5)) == logical.StreamStart(HERE, 5, True)
        assert output.parse(HERE, pgoutput.STREAM_STOP) == logical.StreamStop(HERE)
        again = pgoutput.stream_start(5, first=False)
        assert output.parse(HERE, again) == logical.StreamStart(HERE, 5, False)

    @given(xids, places, places, times)
    def test_its_end(self, xid: int, place: int, end: int, time: int) -> None:
        message = parse(pgoutput.stream_commit(xid, place, end, time))
        assert message == logical.StreamCommit(HERE, xid, Lsn(place), Lsn(end), at(time))
        assert end_of(message) == end
        message = parse(pgoutput.stream_abort(xid, 9))
        assert message == logical.StreamAbort(HERE, xid, 9)
        message = parse(pgoutput.stream_abort(xid, 9, (place, time)))
        assert message == logical.StreamAbort(HERE, xid, 9, Lsn(place), at(time))
        assert end_of(message) is None

    def test_what_is_in_it_says_whose_it_is(self) -> None:
        new = row(text("1"), text("a"), text("2"))
        key = row(text("1"), *[pgoutput.NULL] * 2)
        output = reader(pgoutput.stream_start(5))
        for message in (
            pgoutput.type_(9, "public", "mood", xid=5),
            told(xid=5),
            pgoutput.insert(T, new, xid=6),
            pgoutput.update(T, new, xid=7),
            pgoutput.delete(T, key=key, xid=8),
            pgoutput.truncate(T, xid=9),
            pgoutput.message(3, "", b"", transactional=True, xid=10),
        ):
            parsed: Any = output.parse(HERE, message)
            assert parsed.xid == int.from_bytes(message[1:5])

    def test_what_it_tells_of_tables_counts_for_others_once_it_is_committed(self) -> None:
        other = row(text("7"))
        for ending in (
            pgoutput.stream_commit(5),
            pgoutput.prepared("p", 1, 2, 3, 5, "gid"),
        ):
            output = reader(told(), pgoutput.stream_start(5))
            output.parse(HERE, pgoutput.relation(T, [("n", INT4, False)], xid=5))
            output.parse(HERE, pgoutput.insert(T, other, xid=5))
            output.parse(HERE, pgoutput.STREAM_STOP)
            whole = output.parse(HERE, pgoutput.insert(T, row(text("1"), text("a"), text("2"))))
            assert whole.new.name == "a"  # type: ignore[attr-defined]
            output.parse(HERE, pgoutput.stream_start(5, first=False))
            output.parse(HERE, pgoutput.insert(T, other, xid=5))
            output.parse(HERE, pgoutput.STREAM_STOP)
            output.parse(HERE, ending)
            assert output.parse(HERE, pgoutput.insert(T, other)).new.n == 7  # type: ignore[attr-defined]

    def test_and_nothing_if_it_is_not(self) -> None:
        altered = pgoutput.relation(T, [("n", INT4, False)], xid=5)
        output = reader(told(), pgoutput.stream_start(5), altered, pgoutput.STREAM_STOP)
        output.parse(HERE, pgoutput.stream_abort(5, 6))  # a savepoint only
        output.parse(HERE, pgoutput.stream_start(5, first=False))
        output.parse(HERE, pgoutput.insert(T, row(text("7")), xid=5))
        output.parse(HERE, pgoutput.STREAM_STOP)
        output.parse(HERE, pgoutput.stream_abort(5, 5))
        output.parse(HERE, pgoutput.insert(T, row(text("1"), text("a"), text("2"))))

    def test_tables_that_are_known_before(self) -> None:
        output = reader(told(), pgoutput.stream_start(5))
        new = row(text("1"), text("a"), text("2"))
        assert output.parse(HERE, pgoutput.insert(T, new, xid=5)).new.id == 1  # type: ignore[attr-defined]


SAMPLES = {
    "Begin": pgoutput.begin(),
    "Commit": pgoutput.commit(),
    "Origin": pgoutput.origin(1, "o"),
    "Message": pgoutput.message(1, "p", b"content", transactional=True),
    "Relation": told(),
    "Type": pgoutput.type_(9, "public", "mood"),
    "Insert": pgoutput.insert(T, row(text("1"), pgoutput.NULL, binary(b""))),
    "Update": pgoutput.update(
        T, row(text("1"), pgoutput.UNCHANGED, text("1")), key=row(*[pgoutput.NULL] * 3)
    ),
    "Delete": pgoutput.delete(T, old=row(text("1"), text("a"), pgoutput.NULL)),
    "Truncate": pgoutput.truncate(T),
    "StreamStart": pgoutput.stream_start(5),
    "StreamCommit": pgoutput.stream_commit(5),
    "StreamAbort": pgoutput.stream_abort(5, 6, (7, 8)),
    "BeginPrepare": pgoutput.prepared("b", 1, 2, 3, 4, "gid"),
    "Prepare": pgoutput.prepared("P", 1, 2, 3, 4, "gid"),
    "CommitPrepared": pgoutput.prepared("K", 1, 2, 3, 4, "gid"),
    "RollbackPrepared": pgoutput.rollback_prepared(1, 2, (3, 4), 5, "gid"),
    "StreamPrepare": pgoutput.prepared("p", 1, 2, 3, 4, "gid"),
}


def refused(message: bytes, *before: bytes) -> str:
    with pytest.raises(ProtocolError) as caught:
        parse(message, *before)
    return str(caught.value)


class TestGarbage:
    @pytest.mark.parametrize("name", SAMPLES)
    def test_cut_off_or_too_long(self, name: str) -> None:
        sample = SAMPLES[name]
        parsed: Any = reader(told())
        try:
            parsed.parse(HERE, sample)
        except UnreadableValue:
            assert name == "Insert"  # a numeric of no bytes
        code = sample[:1]
        # Without what only a parallel stream has it is whole again.
        whole = {9} if name == "StreamAbort" else set()
        for size in set(range(1, len(sample))) - whole:
            message = f"the server sent a malformed replication message {code!r}"
            assert refused(sample[:size], told()) == message, size
        assert "malformed" in refused(SAMPLES["Begin"] + b"\0")

    def test_what_is_none(self) -> None:
        assert refused(b"") == "the server sent an unknown replication message b''"
        assert refused(b"\xff12") == "the server sent an unknown replication message b'\\xff'"

    def test_a_table_that_nobody_has_told_of(self) -> None:
        message = "the server sent a change of table 16384, and not what that is"
        assert refused(pgoutput.insert(T, row())) == message
        assert refused(pgoutput.truncate(T)) == message

    @pytest.mark.parametrize(
        "message",
        [
            pgoutput.insert(T, row(text("1"), text("a"))),  # a column is missing
            pgoutput.insert(T, row(text("1"), text("a"), b"x\0\0\0\0")),
            pgoutput.insert(T, row(text("1"), text("a"), b"t\xff\xff\xff\xff")),
            b"I" + T.to_bytes(4) + b"X" + row(text("1"), text("a"), text("2")),
            b"D" + T.to_bytes(4) + b"N" + row(text("1"), text("a"), text("2")),
            pgoutput.relation(T, [], identity="x"),
            pgoutput.begin(time=2**63 - 1),
            b"T\xff\xff\xff\xff\0",
            b"M\0" + bytes(8) + b"\0\xff\xff\xff\xff",
        ],
    )
    def test_fields_that_cannot_be(self, message: bytes) -> None:
        assert "malformed" in refused(message, told())

    def test_streams_that_cannot_be(self) -> None:
        start = pgoutput.stream_start(5)
        assert "in the middle of another" in refused(start, start)
        assert "has not begun" in refused(pgoutput.STREAM_STOP)
        gone = start, pgoutput.stream_abort(5, 5)
        assert "malformed" in refused(told(xid=5), *gone)
        assert "malformed" in refused(pgoutput.insert(T, row(), xid=5), *gone)

    @given(st.lists(st.one_of(st.binary(max_size=40), st.sampled_from([*SAMPLES.values()]))))
    def test_whatever_comes(self, messages: list[bytes]) -> None:
        output = reader()
        for message in messages:
            with suppress(ProtocolError, UnreadableValue):
                assert isinstance(output.parse(HERE, message), logical.ReplicationMessage)

    @given(st.sampled_from([*SAMPLES.values()]), st.data())
    def test_whatever_is_changed(self, message: bytes, data: st.DataObject) -> None:
        place = data.draw(st.integers(0, len(message) - 1))
        byte = data.draw(st.integers(0, 255))
        changed = message[:place] + bytes([byte]) + message[place + 1 :]
        for stream in ([], [pgoutput.stream_start(5), told(xid=5)]):
            output = reader(told(), *stream)
            with suppress(ProtocolError, UnreadableValue):
                output.parse(HERE, changed)


def test_messages_are_values() -> None:
    """They can be compared, and pickled."""
    output = reader(told())
    for name, sample in SAMPLES.items():
        if name != "Insert":
            message = output.parse(HERE, sample)
            assert pickle.loads(pickle.dumps(message)) == message


def _lsn(make: Callable[[], object]) -> str:
    with pytest.raises(DataError) as caught:
        make()
    return str(caught.value)


class TestLsn:
    @given(places)
    def test_there_and_back(self, place: int) -> None:
        lsn = Lsn(place)
        assert Lsn(str(lsn)) == lsn == place
        assert f"{lsn}" == str(lsn) == f"{place >> 32:X}/{place % 2**32:X}"
        assert eval(repr(lsn), {"Lsn": Lsn}) == lsn
        again = pickle.loads(pickle.dumps(lsn))
        assert (type(again), again) == (Lsn, lsn)

    def test_it_is_a_number(self) -> None:
        assert Lsn("16/B374D848") > Lsn("16/B374D847")
        assert Lsn("0/20") - Lsn("0/10") == 16
        assert Lsn() == 0
        assert Lsn("16/b374d848") == Lsn("16/B374D848") == 0x16_B374_D848

    @pytest.mark.parametrize("wrong", ["", "16", "16/", "x/1", "1/123456789", -1, 2**64, 1.5, True])
    def test_what_is_none(self, wrong: Any) -> None:
        assert type(wrong).__name__ in _lsn(lambda: Lsn(wrong))

    def test_it_is_a_parameter_of_pg_lsn(self) -> None:
        codec = REGISTRY.codec(oids.REST["pg_lsn"][0])
        lsn = Lsn("16/B374D848")
        assert codec.encode(lsn) == lsn.to_bytes(8)
        assert codec.literal(lsn) == str(lsn)
