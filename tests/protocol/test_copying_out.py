"""CopyOut: what the server sends, as it is cut, and who may speak meanwhile."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import InterfaceError, PostgresError, ProgrammingError
from pgwire.protocol import frontend
from pgwire.protocol.copying import FAIL
from pgwire.protocol.copying_out import ENOUGH, CopyOut, writer_of
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping
from tests.support import backend
from tests.support.conversations import REGISTRY

SQL = "copy t to stdout"
ASKED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
STARTED = ASKED + backend.copy_out(0)
END = backend.COPY_DONE + backend.complete("COPY 3") + backend.ready()


def begun(*, holds: bool = False) -> tuple[Session, CopyOut]:
    session = Session(REGISTRY)
    operation = CopyOut(SQL, holds=holds)
    session.submit(operation)
    assert session.data_to_send().endswith(frontend.EXECUTE + frontend.SYNC)
    session.receive_data(STARTED)
    return session, operation


def rows(*pieces: bytes) -> bytes:
    return b"".join(map(backend.copy_data, pieces))


def test_what_has_come_waits_to_be_taken() -> None:
    session, operation = begun()
    ready = operation.is_ready
    session.receive_data(rows(b"1\n", b"2\n"))
    assert (ready, operation.is_ready) == (False, True)
    assert operation.take_received() == b"1\n2\n"
    assert operation.take_received() == b""
    session.receive_data(rows(b"3\n"))
    session.receive_data(rows(b"4\n") + END)
    assert operation.done
    assert operation.take_received() == b"3\n4\n"
    assert operation.result == 3
    assert session.in_step


@given(
    st.lists(st.binary(max_size=20), max_size=20),
    st.lists(st.integers(0, 400), max_size=6),
    st.booleans(),
)
def test_wherever_it_is_cut(pieces: list[bytes], cuts: list[int], notices: bool) -> None:
    session, operation = begun()
    between = backend.notice() if notices else b""
    said = between.join(map(backend.copy_data, pieces)) + END
    ends = sorted(cut for cut in cuts if cut < len(said))
    for start, end in zip([0, *ends], [*ends, len(said)], strict=True):
        session.receive_data(said[start:end])
    assert operation.take_received() == b"".join(pieces)
    assert operation.result == 3


def test_the_run_stops_at_a_length_that_cannot_be() -> None:
    session, operation = begun()
    session.receive_data(rows(b"1\n") + b"d\0\0\0\x03")
    assert session.failure is not None
    assert repr(operation.error) == repr(session.failure)


def test_it_is_full_until_something_is_taken_and_tells_of_what_comes() -> None:
    session, operation = begun()
    heard: list[bool] = []
    operation.listener = lambda: heard.append(operation.is_full)
    session.receive_data(rows(b"x" * (ENOUGH - 1)))
    session.receive_data(rows(b""))
    session.receive_data(rows(b"x"))
    assert heard == [False, True]
    operation.take_received()
    assert not operation.is_full


@pytest.mark.parametrize("listens", [False, True])
def test_abandoned_it_is_read_to_its_end_and_nothing_kept(listens: bool) -> None:
    session, operation = begun(holds=True)
    session.receive_data(rows(b"1\n"))
    heard: list[bool] = []
    if listens:
        operation.listener = lambda: heard.append(operation.is_ready)
    operation.abandon()
    session.receive_data(rows(b"2\n") + END)
    assert not operation.is_ready
    assert operation.result is None
    assert heard == [False] * listens
    assert session.in_step


def test_the_next_operation_waits_for_its_end() -> None:
    session, _ = begun()
    session.submit(Query("select 1"))
    assert session.data_to_send() == b""
    session.receive_data(rows(b"1\n") + END)
    assert b"select 1" in session.data_to_send()


def test_while_it_holds_the_session_others_are_refused_at_once() -> None:
    session, operation = begun(holds=True)
    refused = Query("select 1")
    session.submit(refused)
    assert refused.done
    assert isinstance(refused.error, InterfaceError)
    assert "held by an open iteration" in str(refused.error)
    waiting = Ping()
    waiting.waiter = "somebody"
    session.submit(waiting)
    assert session.take_completed() == [waiting]
    assert list(session.pending) == [operation]
    session.receive_data(rows(b"1\n") + END)
    assert operation.result == 3
    after = Ping()
    session.submit(after)
    assert not after.done


def test_left_by_its_caller_it_holds_no_more() -> None:
    session, operation = begun(holds=True)
    operation.holds = False
    behind = Ping()
    session.submit(behind)
    assert not behind.done
    session.receive_data(END)
    assert session.data_to_send() == frontend.SYNC


def test_an_error_in_the_middle() -> None:
    session, operation = begun()
    session.receive_data(rows(b"1\n") + backend.error("22012") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert operation.error.query == SQL
    assert session.in_step


def test_after_an_error_nothing_more_is_kept() -> None:
    session, operation = begun()
    operation.error = ZeroDivisionError()
    session.receive_data(rows(b"1\n") + END)
    assert not operation.is_ready
    assert operation.result is None


def test_a_copy_from_the_client_is_told_that_nothing_comes() -> None:
    session = Session(REGISTRY)
    operation = CopyOut("copy t from stdin")
    session.submit(operation)
    session.data_to_send()
    session.receive_data(ASKED + backend.copy_in(0))
    assert session.data_to_send() == FAIL + frontend.SYNC
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(operation.error, ProgrammingError)
    assert "copy_in()" in str(operation.error)
    assert session.in_step


def test_a_copy_to_somewhere_else() -> None:
    session = Session(REGISTRY)
    operation = CopyOut("copy t to '/x'")
    session.submit(operation)
    session.data_to_send()
    session.receive_data(ASKED + backend.complete("COPY 5") + backend.ready())
    assert isinstance(operation.error, ProgrammingError)
    assert "has been carried out" in str(operation.error)
    assert operation.result is None


def test_what_is_no_copy_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ProgrammingError, match=r"COPY … TO STDOUT statement.*'table'"):
        CopyOut("table t")


class TestSinks:
    def test_files(self) -> None:
        binary, text = io.BytesIO(), io.StringIO()
        for sink in (binary, text):
            write = writer_of(sink)
            write("aé".encode()[:2])
            write("aé".encode()[2:])
        assert binary.getvalue() == "aé".encode()
        assert text.getvalue() == "aé"

    def test_a_raw_file_may_take_a_part_only(self) -> None:
        class Raw(io.RawIOBase):
            taken = b""

            def write(self, data: Any) -> int:
                self.taken += bytes(data[:3])
                return min(3, len(data))

        raw = Raw()
        writer_of(raw)(b"12345678")
        assert raw.taken == b"12345678"

    def test_a_raw_file_that_is_not_blocking(self) -> None:
        class Raw(io.RawIOBase):
            def write(self, data: Any) -> None:
                assert data

        with pytest.raises(BlockingIOError):
            writer_of(Raw())(b"1")

    def test_what_is_none(self) -> None:
        with pytest.raises(ProgrammingError, match="an open file, not str"):
            writer_of("/tmp/x")
