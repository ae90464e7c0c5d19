"""CopyRecords: what it asks for, in which format it sends, and whom it blames."""

from __future__ import annotations

import struct
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError, Error, PostgresError, ProgrammingError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.protocol import frontend
from pgwire.protocol.copying import DONE, FAIL
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.records import BinaryRecords
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from pgwire.protocol.sources import CHUNK, Inlet, weight_of_record
from tests.support import backend
from tests.support.catalogue import MOOD, answer, found

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

INT4 = backend.column("n")
DESCRIBED = backend.described([], [INT4])
STARTED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE + backend.copy_in(1)
END = DONE + frontend.SYNC
HEADER, TRAILER = BinaryRecords.header, BinaryRecords.trailer


def described(
    records: Any, *, names: Iterable[str] | None = ("n",), session: Session | None = None
) -> tuple[Session, CopyRecords]:
    """The session and the operation once the columns are known, and the rest is not written."""
    session = session or Session(TypeRegistry())
    operation = CopyRecords("t", records, names if names is None else list(names))
    session.submit(operation)
    assert session.data_to_send().endswith(frontend.FLUSH)
    session.receive_data(DESCRIBED)
    return session, operation


def begun(records: Any) -> tuple[Session, CopyRecords]:
    """The same once the server waits for data."""
    session, operation = described(records)
    assert b"FROM STDIN" in session.data_to_send()
    session.receive_data(STARTED)
    return session, operation


def binary(*numbers: int) -> bytes:
    return b"".join(struct.pack("!hii", 1, 4, number) for number in numbers)


def data(*pieces: bytes) -> bytes:
    return backend.copy_data(b"".join(pieces))


def texts(sent: bytes) -> list[str]:
    """The SQL of all Parse messages."""
    parsed = [message for message in backend.split(sent) if message[:1] == b"P"]
    return [message[5:].split(b"\0")[1].decode() for message in parsed]


def test_from_the_columns_to_the_number_of_rows() -> None:
    session, operation = described([(1,), [2]])
    sent = session.data_to_send()
    assert texts(sent) == ['COPY "t" ("n") FROM STDIN (FORMAT binary)']
    assert sent.endswith(frontend.EXECUTE + frontend.FLUSH)
    session.receive_data(STARTED)
    assert session.data_to_send() == data(HEADER, binary(1, 2), TRAILER) + END
    session.receive_data(backend.complete("COPY 2") + backend.ready())
    assert operation.result == 2
    assert session.in_step


def test_no_records_are_a_copy_as_well() -> None:
    session, operation = begun([])
    assert session.data_to_send() == data(HEADER, TRAILER) + END
    session.receive_data(backend.complete("COPY 0") + backend.ready())
    assert operation.result == 0


@pytest.mark.parametrize(
    ("arguments", "select"),
    [
        (("t", (), ["a", 'b"c']), 'SELECT "a", "b""c" FROM "t"'),
        (("T.x", (), None, "s t"), 'SELECT * FROM "s t"."T.x"'),
    ],
)
def test_names_are_quoted(arguments: Any, select: str) -> None:
    session = Session(TypeRegistry())
    session.submit(CopyRecords(*arguments))
    assert texts(session.data_to_send())[0] == select


@pytest.mark.parametrize(
    ("table", "hint"),
    [("s.t", "A table is one name here: write 't' and schema='s'."), ("t", None)],
)
def test_a_dotted_name_that_is_none(table: str, hint: str | None) -> None:
    session = Session(TypeRegistry())
    session.submit(operation := CopyRecords(table, [], ["n"]))
    session.receive_data(backend.error("42P01") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.hint == hint


@pytest.mark.parametrize("arguments", [("a\0",), ("t", (), ["a\0"]), ("t", (), None, "a\0")])
def test_names_that_cannot_be(arguments: Any) -> None:
    with pytest.raises(ProgrammingError, match="NUL"):
        CopyRecords(*(arguments if len(arguments) > 1 else (*arguments, ())))


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("ab", r"sequence of names; write \['ab'\]"),
        (7, "columns must be a sequence of names, not int"),
        ([], "one column at leas"),
    ],
)
def test_columns_that_are_none(names: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        CopyRecords("t", [], names)


class TestGeneratedColumns:
    COLUMNS = backend.described(
        [],
        [
            backend.column("a")._replace(column_number=1),
            backend.column("twice")._replace(column_number=2),
            backend.column("b")._replace(column_number=4),
        ],
    )
    FOUND = backend.row(struct.pack("!h", 2)) + backend.complete() + backend.CLOSE_COMPLETE

    def started(
        self, version: str | None = None, record: tuple[int, ...] = (1, 2)
    ) -> tuple[Session, bytes]:
        session = Session(TypeRegistry())
        if version is not None:
            session.receive_data(backend.parameter_status("server_version", version))
        session.submit(CopyRecords("t", [record]))
        return session, session.data_to_send()

    @pytest.mark.parametrize("version", [None, "18.6", "12.0"])
    def test_they_are_asked_for_and_left_out(self, version: str | None) -> None:
        session, sent = self.started(version)
        assert "attgenerated" in texts(sent)[1]
        session.receive_data(self.COLUMNS + backend.PARSE_COMPLETE + backend.BIND_COMPLETE)
        assert session.data_to_send() == b""
        session.receive_data(self.FOUND)
        assert texts(session.data_to_send()) == ['COPY "t" ("a", "b") FROM STDIN (FORMAT binary)']

    def test_an_old_server_has_none(self) -> None:
        session, sent = self.started("11.22", (1, 2, 3))
        assert len(texts(sent)) == 1
        session.receive_data(self.COLUMNS)
        assert '("a", "twice", "b")' in texts(session.data_to_send())[0]

    def test_an_answer_that_is_none(self) -> None:
        session, _ = self.started()
        session.receive_data(self.COLUMNS + backend.PARSE_COMPLETE + backend.BIND_COMPLETE)
        session.receive_data(backend.row(b"x") + backend.complete() + backend.CLOSE_COMPLETE)
        assert session.data_to_send() == frontend.POISON + frontend.SYNC

    def test_an_error(self) -> None:
        session, _ = self.started()
        session.receive_data(self.COLUMNS + backend.error("42501"))
        assert session.data_to_send() == frontend.SYNC
        session.receive_data(backend.ready())
        assert session.in_step


class TestUnknownTypes:
    UNKNOWN = backend.described([], [backend.column("m", MOOD.oid)])

    def test_they_are_looked_up_first(self) -> None:
        session = Session(TypeRegistry())
        operation = CopyRecords("t", [("ok",)], ["m"])
        session.submit(operation)
        session.data_to_send()
        session.receive_data(self.UNKNOWN)
        assert b"pg_catalog.pg_type" in session.data_to_send()
        session.receive_data(answer(MOOD))
        assert "COPY" in texts(session.data_to_send())[0]
        session.receive_data(STARTED)
        value = struct.pack("!hi", 1, 2) + b"ok"
        assert session.data_to_send() == data(HEADER, value, TRAILER) + END

    def test_what_stays_unknown_is_sent_as_text(self) -> None:
        session = Session(TypeRegistry())
        session.submit(CopyRecords("t", [("ok",)], ["m"]))
        session.data_to_send()
        session.receive_data(self.UNKNOWN)
        session.data_to_send()
        session.receive_data(answer())
        assert texts(session.data_to_send()) == ['COPY "t" ("m") FROM STDIN (FORMAT text)']

    def test_abandoned_meanwhile(self) -> None:
        session = Session(TypeRegistry())
        operation = CopyRecords("t", [("ok",)], ["m"])
        session.submit(operation)
        session.data_to_send()
        session.receive_data(self.UNKNOWN)
        session.data_to_send()
        operation.abandon()
        session.receive_data(answer(MOOD))
        assert session.data_to_send() == frontend.POISON + frontend.SYNC

    def test_a_type_made_of_others_is_asked_for_to_its_end(self) -> None:
        outer = MOOD._replace(oid=20_001, name="outer", kind="d", part=MOOD.oid, labels=())
        session = Session(TypeRegistry())
        session.submit(CopyRecords("t", [("ok",)], ["m"]))
        session.data_to_send()
        session.receive_data(backend.described([], [backend.column("m", outer.oid)]))
        session.data_to_send()
        session.receive_data(backend.PARSE_COMPLETE + backend.BIND_COMPLETE + found(outer))
        session.receive_data(backend.complete() + backend.CLOSE_COMPLETE)
        assert b"pg_type" in session.data_to_send()
        session.receive_data(answer(MOOD))
        assert "COPY" in texts(session.data_to_send())[0]

    @pytest.mark.parametrize("was_known", [False, True])
    def test_forgotten_by_another_thread(
        self, monkeypatch: pytest.MonkeyPatch, was_known: bool
    ) -> None:
        session = Session(TypeRegistry())
        catalog = session.registry.catalog
        if was_known:
            catalog.learn([MOOD])
        known, times = CopyRecords._types_known, count()

        def forgetting(operation: CopyRecords) -> None:
            if next(times) == 0:
                catalog.forget()
            known(operation)

        monkeypatch.setattr(CopyRecords, "_types_known", forgetting)
        session.submit(CopyRecords("t", [("ok",)], ["m"]))
        session.data_to_send()
        session.receive_data(self.UNKNOWN)
        assert b"pg_type" in session.data_to_send()
        session.receive_data(answer(MOOD))
        assert texts(session.data_to_send()) == ['COPY "t" ("m") FROM STDIN (FORMAT binary)']


PAIR = TypeInfo(17_001, "public", "pair", "c", attribute_names=("a",), attribute_types=(23,))
WIDER = PAIR._replace(attribute_names=("a", "b"), attribute_types=(23, 23))


def a_pair(*numbers: int) -> bytes:
    fields = b"".join(struct.pack("!iii", 23, 4, number) for number in numbers)
    return struct.pack("!hii", 1, 4 + len(fields), len(numbers)) + fields


class TestChangedTypes:
    """A type that is known as it was, and is not so any more."""

    DESCRIBED = backend.described([], [backend.column("p", PAIR.oid)])

    def started(self, records: Any) -> tuple[Session, CopyRecords]:
        session = Session(TypeRegistry())
        session.registry.catalog.learn([PAIR])
        operation = CopyRecords("t", records, ["p"])
        session.submit(operation)
        session.data_to_send()
        session.receive_data(self.DESCRIBED)
        return session, operation

    @pytest.mark.parametrize("made", [list, iter, Inlet])
    def test_the_first_records_are_encoded_anew(self, made: Any) -> None:
        records = [((1, 2),), ((3, 4),)]
        source = made(records) if made is not Inlet else Inlet(weight_of_record)
        if made is Inlet:
            for record in records:
                source.put(record)
            source.end()
        session, operation = self.started(source)
        assert b"pg_catalog.pg_type" in session.data_to_send()
        session.receive_data(answer(WIDER))
        assert texts(session.data_to_send()) == ['COPY "t" ("p") FROM STDIN (FORMAT binary)']
        session.receive_data(STARTED)
        sent = data(HEADER, a_pair(1, 2), a_pair(3, 4), TRAILER) + END
        assert session.data_to_send() == sent
        session.receive_data(backend.complete("COPY 2") + backend.ready())
        assert operation.result == 2

    def test_those_that_had_fitted_as_well(self) -> None:
        session, operation = self.started([((1,),), ((3, 4),)])
        session.data_to_send()
        session.receive_data(answer(WIDER))
        assert session.data_to_send() == frontend.POISON + frontend.SYNC
        assert "expected 2 fields (a, b), got 1" in str(operation.error)
        assert getattr(operation.error, "record_index", None) == 0

    def test_what_does_not_fit_then_either_is_an_error(self) -> None:
        session, operation = self.started([((1,),), (7,)])
        assert b"pg_catalog.pg_type" in session.data_to_send()
        session.receive_data(answer(PAIR))
        assert session.data_to_send() == frontend.POISON + frontend.SYNC
        assert isinstance(operation.error, DataError)
        assert getattr(operation.error, "record_index", None) == 1

    def test_the_error_of_a_source_is_its_own(self) -> None:
        def source() -> Iterator[Any]:
            yield ((1,),)
            raise DataError("no more")

        session, operation = self.started(source())
        assert session.data_to_send() == frontend.POISON + frontend.SYNC
        assert str(operation.error) == "no more"

    def test_what_comes_later_has_it_looked_up_the_next_time(self) -> None:
        many = [((1,),)] * 10_000
        session, operation = self.started([*many, ((1, 2),)])
        assert texts(session.data_to_send()) == ['COPY "t" ("p") FROM STDIN (FORMAT binary)']
        session.receive_data(STARTED)
        while operation.error is None:
            session.data_to_send()
        assert isinstance(operation.error, DataError)
        assert PAIR.oid not in session.registry.catalog.infos

    def test_so_has_what_the_server_does_not_take(self) -> None:
        session, _ = self.started([((1,),)])
        session.data_to_send()
        session.receive_data(STARTED)
        session.data_to_send()
        session.receive_data(backend.error("42804"))
        assert PAIR.oid not in session.registry.catalog.infos


class TestMuch:
    def test_an_endless_source_is_taken_a_chunk_at_a_time(self) -> None:
        taken = 0

        def source() -> Iterator[tuple[int]]:
            nonlocal taken
            for taken in count():
                yield (taken,)

        session, operation = described(source())
        session.data_to_send()
        first = taken
        assert CHUNK / 10 < first < CHUNK / 5
        session.receive_data(STARTED)
        sizes = [len(session.data_to_send()) for _ in range(5)]
        assert all(CHUNK <= size < 1.5 * CHUNK for size in sizes)
        assert taken > 4 * first
        operation.abandon()
        assert session.data_to_send() == FAIL + frontend.SYNC
        session.receive_data(backend.error("57014") + backend.ready())
        assert operation.done
        assert operation.result is None

    def test_all_of_it_arrives(self) -> None:
        session, _ = begun((n,) for n in range(50_000))
        sent = b""
        while said := session.data_to_send():
            sent += said
        *messages, done, sync = backend.split(sent)
        body = b"".join(message[5:] for message in messages)
        assert body == HEADER + binary(*range(50_000)) + TRAILER
        assert (done, sync) == (DONE, frontend.SYNC)


def test_a_value_longer_than_a_message_goes_in_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgwire.protocol.copying.MOST", 30)
    session, _ = begun([(n,) for n in range(8)])
    *messages, done, sync = backend.split(session.data_to_send())
    assert [len(message) - 5 for message in messages] == [30, 30, 30, 11]
    assert b"".join(message[5:] for message in messages) == HEADER + binary(*range(8)) + TRAILER
    assert (done, sync) == (DONE, frontend.SYNC)


class TestText:
    def test_from_the_first_record_on(self) -> None:
        session, operation = described([("1",), (2,), (None,)])
        assert texts(session.data_to_send()) == ['COPY "t" ("n") FROM STDIN (FORMAT text)']
        session.receive_data(STARTED)
        assert session.data_to_send() == data(b"1\n2\n\\N\n") + END
        session.receive_data(backend.complete("COPY 3") + backend.ready())
        assert operation.result == 3

    @pytest.mark.parametrize("as_inlet", [False, True])
    def test_from_a_later_one_on(self, as_inlet: bool) -> None:
        records: Any = [(1,), (2,), ("3",), (4,)]
        if as_inlet:
            inlet = Inlet(weight_of_record)
            for record in records:
                inlet.put(record)
            inlet.end()
            records = inlet
        session, operation = begun(records)
        assert session.data_to_send() == data(HEADER, binary(1, 2), TRAILER) + DONE + frontend.FLUSH
        assert session.data_to_send() == b""
        session.receive_data(backend.complete("COPY 2"))
        assert texts(session.data_to_send()) == ['COPY "t" ("n") FROM STDIN (FORMAT text)']
        session.receive_data(STARTED)
        assert session.data_to_send() == data(b"3\n4\n") + END
        session.receive_data(backend.complete("COPY 2") + backend.ready())
        assert operation.result == 4

    def test_from_one_in_a_later_chunk(self) -> None:
        session, _ = begun([*((n,) for n in range(10_000)), ("x",)])
        sent = b""
        while said := session.data_to_send():
            sent += said
        assert sent.endswith(TRAILER + DONE + frontend.FLUSH)
        assert sum(len(message) - 5 for message in backend.split(sent)[:-2]) == 10_000 * 10 + 21

    def test_a_chunk_and_nothing_behind_it(self) -> None:
        session, _ = described([("x" * CHUNK,)])
        session.data_to_send()
        session.receive_data(STARTED)
        assert session.data_to_send() == data(b"x" * CHUNK + b"\n")
        assert session.data_to_send() == END

    def test_an_error_at_the_end_of_the_first_part(self) -> None:
        session, operation = begun([(1,), ("x",)])
        session.data_to_send()
        session.receive_data(backend.error("23505", W="COPY t, line 1"))
        assert session.data_to_send() == frontend.SYNC
        session.receive_data(backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_index == 0

    def test_abandoned_between_the_parts(self) -> None:
        session, operation = begun([(1,), ("x",)])
        session.data_to_send()
        operation.abandon()
        session.receive_data(backend.complete("COPY 1"))
        assert session.data_to_send() == frontend.POISON + frontend.SYNC
        session.receive_data(backend.error("26000") + backend.ready())
        assert operation.done

    def test_the_second_part_counts_on(self) -> None:
        session, operation = begun([(1,), (2,), ("x",), ("y",)])
        session.data_to_send()
        session.receive_data(backend.complete("COPY 1"))  # a trigger left one out
        session.data_to_send()
        session.receive_data(STARTED)
        session.data_to_send()
        where = 'COPY t, line 2, column n: "y"'
        session.receive_data(backend.error("22P02", W=where) + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_index == 3


class TestBlame:
    def refused(self, records: Any, *replies: bytes) -> CopyRecords:
        session, operation = described(records)
        session.data_to_send()
        for reply in replies:
            session.receive_data(reply)
            session.data_to_send()
        session.receive_data(backend.error("57014") + backend.ready())
        assert session.in_step
        return operation

    @pytest.mark.parametrize(
        ("bad", "kind"),
        [((2.5,), DataError), ((1, 2), ProgrammingError), ("x", ProgrammingError)],
    )
    def test_a_record_that_does_not_fit(self, bad: Any, kind: type[Error]) -> None:
        operation = self.refused([(1,), bad, (3,)])
        assert isinstance(operation.error, kind)
        assert operation.error.record_index == 1
        assert operation.error.__notes__ == ["in record 1"]

    def test_one_far_behind(self) -> None:
        operation = self.refused([*((n,) for n in range(20_000)), (2.5,)], STARTED, b"", b"")
        assert isinstance(operation.error, DataError)
        assert operation.error.record_index == 20_000

    def test_the_sources_own_exception(self) -> None:
        def source() -> Iterator[tuple[int]]:
            yield (1,)
            raise ZeroDivisionError

        operation = self.refused(source())
        assert isinstance(operation.error, ZeroDivisionError)
        assert operation.error.__notes__ == ["in record 1"]

    @pytest.mark.parametrize(
        ("where", "index", "column"),
        [
            ("COPY t, line 2", 1, None),
            ("COPY t, line 2, column n", 1, "n"),
            ("COPY t, line 2, column m", 1, None),
            ("PL/pgSQL function f()\nCOPY t, Zeile 1, Spalte n: »x«", 0, "n"),
            ("COPY t, line 3", None, None),
            ("COPY t, line 0, column n", None, None),
            ("COPY t, line", None, None),
            ("COPY other, line 1", None, None),
            ("", None, None),
        ],
    )
    def test_the_record_and_the_column_that_the_server_names(
        self, where: str, index: int | None, column: str | None
    ) -> None:
        session, operation = begun([(1,), (2,)])
        session.data_to_send()
        session.receive_data(backend.error("23505", W=where) + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_index == index
        assert operation.error.record_column == column
        assert operation.error.query == 'COPY "t" ("n") FROM STDIN (FORMAT binary)'

    @pytest.mark.parametrize(
        ("where", "column"),
        [
            ('column a: "x b: y"', "a"),
            ('column a: b: "x"', "a: b"),
            ('column b: "x a: y"', "b"),
        ],
    )
    def test_columns_whose_names_and_values_look_alike(self, where: str, column: str) -> None:
        operation = CopyRecords("t", [(1, 2, 3)], ["a", "b", "a: b"])
        session = Session(TypeRegistry())
        session.submit(operation)
        session.data_to_send()
        columns = [backend.column(name) for name in ("a", "b", "a: b")]
        session.receive_data(backend.described([], columns))
        session.data_to_send()
        session.receive_data(STARTED)
        session.data_to_send()
        session.receive_data(backend.error("22P02", W=f"COPY t, line 1, {where}") + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_column == column

    def test_a_place_before_the_columns_are_known(self) -> None:
        operation = CopyRecords("t", [(1,)])
        session = Session(TypeRegistry())
        session.submit(operation)
        session.data_to_send()
        session.receive_data(backend.error("42P01", W="COPY t, line 1, column n") + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_column is None

    def test_an_error_without_a_place(self) -> None:
        session, operation = begun([(1,)])
        session.data_to_send()
        session.receive_data(backend.error("23503") + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.record_index is None

    def test_the_first_error_is_kept(self) -> None:
        session, operation = begun([*((n,) for n in range(10_000)), (2.5,)])
        while session.data_to_send():
            pass
        where = backend.error("22P02", W="COPY t, line 1")
        session.receive_data(where + backend.ready())
        assert isinstance(operation.error, DataError)


class TestWithAnInlet:
    def test_it_asks_as_long_as_there_is_nothing(self) -> None:
        inlet, asked = Inlet(weight_of_record), []
        inlet.on_wanted = lambda: asked.append(1)
        session, operation = described(inlet)
        assert session.data_to_send() == b""
        assert asked == [1]
        inlet.put((1,))
        assert "COPY" in texts(session.data_to_send())[0]
        session.receive_data(STARTED)
        assert session.data_to_send() == data(HEADER, binary(1))
        assert session.data_to_send() == b""
        assert asked == [1, 1]
        inlet.put((2,))
        inlet.end()
        assert session.data_to_send() == data(binary(2), TRAILER) + END
        session.receive_data(backend.complete("COPY 2") + backend.ready())
        assert operation.result == 2

    def test_its_error_is_blamed_on_the_record(self) -> None:
        inlet = Inlet(weight_of_record)
        inlet.put((1,))
        inlet.end(ZeroDivisionError())
        session, operation = described(inlet)
        assert session.data_to_send() == frontend.POISON + frontend.SYNC
        assert isinstance(operation.error, ZeroDivisionError)
        assert operation.error.__notes__ == ["in record 1"]

    def test_nothing_more_comes_and_it_is_abandoned(self) -> None:
        session, operation = described(Inlet(weight_of_record))
        session.data_to_send()
        operation.abandon()
        assert session.data_to_send() == frontend.POISON + frontend.SYNC


def test_the_next_operation_waits_for_the_sync() -> None:
    session, _ = described([(1,)])
    session.submit(Ping())
    assert not session.data_to_send().endswith(frontend.SYNC)
    session.receive_data(STARTED)
    assert session.data_to_send().endswith(END + frontend.SYNC)
