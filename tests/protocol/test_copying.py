"""CopyIn: the data's way to the server, and all that may come in between."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import ConnectionLost, Error, PostgresError, ProgrammingError
from pgwire.protocol import frontend
from pgwire.protocol.copying import DONE, FAIL, CopyIn, count_of
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.sources import CHUNK, Inlet, weight_of
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Iterator

SQL = "copy t from stdin"
STARTED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE + backend.copy_in(0)
END = DONE + frontend.SYNC
GIVEN_UP = FAIL + frontend.SYNC


def begun(source: Any, sql: str = SQL) -> tuple[Session, CopyIn]:
    """The session and the operation once the server waits for data."""
    session = Session(REGISTRY)
    operation = CopyIn(sql, source)
    session.submit(operation)
    sent = session.data_to_send()
    assert sent.startswith(b"P")
    assert sent.endswith(frontend.EXECUTE + frontend.FLUSH)  # a Sync would be skipped
    session.receive_data(STARTED)
    return session, operation


def data(*pieces: bytes) -> bytes:
    return b"".join(map(backend.copy_data, pieces))


def test_from_the_first_byte_to_the_number_of_rows() -> None:
    session, operation = begun([b"1\n", "2\n"])
    assert session.data_to_send() == data(b"1\n2\n") + END
    session.receive_data(backend.complete("COPY 2"))
    assert not operation.done
    session.receive_data(backend.ready())
    assert operation.result == 2
    assert session.in_step


def test_nothing_at_all_is_a_copy_as_well() -> None:
    session, operation = begun(b"")
    assert session.data_to_send() == END
    session.receive_data(backend.complete("COPY 0") + backend.ready())
    assert operation.result == 0


@pytest.mark.parametrize("piece", [10, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_messages_are_of_one_length_whatever_the_pieces_are(piece: int) -> None:
    session, _ = begun([b"x" * piece] * 5)
    sent = []
    while said := session.data_to_send():
        sent += backend.split(said)
    *full, last, done, sync = sent
    assert {len(message) - 5 for message in full} <= {CHUNK}
    assert sum(len(message) - 5 for message in [*full, last]) == 5 * piece
    assert (done, sync) == (DONE, frontend.SYNC)


def test_an_endless_source_is_taken_a_chunk_at_a_time() -> None:
    session, operation = begun(repeat(b"x" * 1000))
    assert len(session.data_to_send()) == CHUNK + 5
    assert session.data_to_send(more=False) == b""
    operation.abandon()
    assert session.data_to_send() == GIVEN_UP
    session.receive_data(backend.error("57014") + backend.ready())
    assert operation.done
    assert operation.result is None
    assert session.in_step


def test_abandoned_before_the_server_asks_for_data() -> None:
    session = Session(REGISTRY)
    operation = CopyIn(SQL, b"1\n")
    session.submit(operation)
    session.data_to_send()
    operation.abandon()
    session.receive_data(STARTED)
    assert session.data_to_send() == GIVEN_UP


def test_abandoned_when_all_is_written_it_has_no_result() -> None:
    session, operation = begun(b"1\n")
    session.data_to_send()
    operation.abandon()
    session.receive_data(backend.complete("COPY 1") + backend.ready())
    assert operation.done
    assert operation.result is None


def test_a_raising_source_gives_up_and_comes_through() -> None:
    def source() -> Iterator[bytes]:
        yield b"x" * CHUNK
        raise ZeroDivisionError

    session, operation = begun(source())
    session.data_to_send()
    assert session.data_to_send() == GIVEN_UP
    session.receive_data(backend.error("57014", "COPY from stdin failed") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)
    assert session.in_step


def test_an_error_of_the_server_ends_the_taking() -> None:
    closed = []

    def source() -> Iterator[bytes]:
        try:
            yield from repeat(b"x" * CHUNK)
        finally:
            closed.append(True)

    session, operation = begun(source())
    session.data_to_send()
    session.receive_data(backend.error("22P02", W="COPY t, line 1"))
    assert closed
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.where == "COPY t, line 1"
    assert operation.error.query == SQL


def test_an_error_when_all_is_written() -> None:
    session, operation = begun(b"1\n")
    session.data_to_send()
    session.receive_data(backend.error("23503") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert session.data_to_send() == b""


def test_a_fatal_error_ends_it() -> None:
    session, operation = begun(repeat(b"x"))
    session.receive_data(backend.fatal())
    assert operation.done
    assert isinstance(session.failure, ConnectionLost)
    assert isinstance(operation.error, type(session.failure))
    assert session.data_to_send() == b""


def test_the_next_operation_waits_for_the_sync() -> None:
    session, _ = begun([b"x" * CHUNK])
    behind = Query("select 1")
    session.submit(behind)
    assert b"select 1" not in session.data_to_send()
    assert session.data_to_send().startswith(END + b"P")


def test_a_copy_to_the_client_is_read_to_its_end() -> None:
    session = Session(REGISTRY)
    operation = CopyIn("copy t to stdout", b"1\n")
    session.submit(operation)
    session.data_to_send()
    session.receive_data(STARTED[:-10] + backend.copy_out(0))
    assert session.data_to_send() == frontend.SYNC
    session.receive_data(data(b"1\n", b"2\n") + backend.COPY_DONE + backend.complete("COPY 2"))
    session.receive_data(backend.ready())
    assert isinstance(operation.error, ProgrammingError)
    assert "copy_out()" in str(operation.error)
    assert session.in_step


def test_the_first_error_is_kept() -> None:
    session = Session(REGISTRY)
    operation = CopyIn("copy t from '/x'", b"")
    session.submit(operation)
    session.data_to_send()
    session.receive_data(STARTED[:-10] + backend.complete("COPY 5"))
    assert session.data_to_send() == frontend.POISON + frontend.SYNC
    session.receive_data(backend.error("26000") + backend.ready())
    assert isinstance(operation.error, ProgrammingError)
    assert operation.result is None


@pytest.mark.parametrize("sql", ["select 1", "", "delete from t", "-- copy", "copyx t"])
def test_what_is_no_copy_is_refused_before_anything_is_sent(sql: str) -> None:
    with pytest.raises(ProgrammingError, match=r"COPY … FROM STDIN statement"):
        CopyIn(sql, b"")


@pytest.mark.parametrize("sql", ["copy t from stdin", " /* a */ -- b\n COPY\nt from stdin"])
def test_what_is_one(sql: str) -> None:
    assert CopyIn(sql, b"").sql == sql


@pytest.mark.parametrize(("sql", "message"), [("copy\0", "NUL"), (b"copy", "must be a str")])
def test_sql_that_cannot_be_sent(sql: Any, message: str) -> None:
    with pytest.raises(ProgrammingError, match=message):
        CopyIn(sql, b"")


def test_a_copy_does_not_mark_the_session_unless_it_names_what_does() -> None:
    session, _ = begun(b"")
    assert not session.changed
    session, _ = begun(b"", "copy pg_temp.t from stdin")
    assert session.changed


@pytest.mark.parametrize(
    ("tag", "count"), [("COPY 5", 5), ("COPY", 0), ("COPY x", 0), ("COPY ²", 0), ("", 0)]
)
def test_the_number_in_a_tag(tag: str, count: int) -> None:
    assert count_of(tag) == count


class TestWithAnInlet:
    def test_it_asks_when_it_has_nothing_and_ends_when_that_does(self) -> None:
        inlet, asked = Inlet(weight_of), []
        inlet.on_wanted = lambda: asked.append(1)
        session, operation = begun(inlet)
        assert session.data_to_send() == b""
        assert asked == [1]
        inlet.put(b"1\n")
        assert session.data_to_send() == data(b"1\n")
        inlet.put(b"2\n")
        inlet.end()
        assert session.data_to_send() == data(b"2\n") + END
        session.receive_data(backend.complete("COPY 2") + backend.ready())
        assert operation.result == 2

    def test_its_error_gives_up(self) -> None:
        inlet = Inlet(weight_of)
        session, operation = begun(inlet)
        inlet.put(b"1\n")
        inlet.end(ZeroDivisionError())
        assert session.data_to_send() == GIVEN_UP
        session.receive_data(backend.error("57014") + backend.ready())
        assert isinstance(operation.error, ZeroDivisionError)
        assert not isinstance(operation.error, Error)
