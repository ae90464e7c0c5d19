"""A replication's conversation: what is told and when, how it ends, and what is handed out."""

from __future__ import annotations

from struct import unpack
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import (
    ConnectionLost,
    DataError,
    InterfaceError,
    NotSupportedError,
    OperationalError,
    PostgresError,
    ProgrammingError,
    ProtocolError,
)
from pgwire.pgtypes import oids
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol import frontend, logical
from pgwire.protocol.published import PublishedTypes
from pgwire.protocol.replicating import ENOUGH, Replicating
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from pgwire.sqlstate import QueryCanceled, UndefinedObject
from tests.support import backend, pgoutput
from tests.support.conversations import REGISTRY
from tests.support.pgoutput import keepalive, xlog_data

T = 16_384
TABLE = xlog_data(pgoutput.relation(T, [("n", oids.INT4, True)]))
COPY_DONE = b"c\0\0\0\x04"
END = backend.COPY_DONE + backend.complete("COPY 0")
END += backend.complete("START_REPLICATION") + backend.ready()
SQL = "START_REPLICATION …"
EPOCH = 946_684_800


class Clocks:
    """Both of them; seconds."""

    now = 1000.0
    wall = EPOCH + 1.5


def transaction(end: int, *, start: int = 0, values: tuple[int, ...] = (1,)) -> bytes:
    rows = [pgoutput.insert(T, pgoutput.row(pgoutput.text(str(n)))) for n in values]
    changes = b"".join(xlog_data(row, start) for row in rows)
    return (
        xlog_data(pgoutput.begin(end - 1), start)
        + changes
        + xlog_data(pgoutput.commit(end - 1, end), end)
    )


def made(
    clocks: Clocks | None = None, start: int = 0, status_interval: float | None = 10.0
) -> Replicating:
    clocks = clocks or Clocks()
    return Replicating(
        "slot",
        SQL,
        Lsn(start),
        status_interval=status_interval,
        clock=lambda: clocks.now,
        wall_clock=lambda: clocks.wall,
    )


def begun(clocks: Clocks | None = None, **keywords: Any) -> tuple[Session, Replicating]:
    session, operation = Session(REGISTRY), made(clocks, **keywords)
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.copy_both() + TABLE)
    assert session.data_to_send() == b""
    assert operation.has_begun
    operation.take()
    return session, operation


def statuses(data: bytes) -> list[int]:
    """The places that status updates tell."""
    found = []
    for message in backend.split(data):
        assert message[:6] == b"d" + (38).to_bytes(4) + b"r"
        written, flushed, applied, _, wants_reply = unpack("!QQQqB", message[6:])
        assert written == flushed == applied
        assert wants_reply == 0
        found.append(written)
    return found


class TestBeginning:
    def test_the_command_is_sent(self) -> None:
        session, operation = Session(REGISTRY), made()
        session.submit(operation)
        assert session.data_to_send() == frontend.query(SQL.encode() + b"\0")
        assert not operation.has_begun
        assert operation.seconds_to_status() is None

    def test_what_is_to_be_asked_before(self) -> None:
        operation = made()
        assert isinstance(operation.types(), PublishedTypes)
        assert operation.types() is not operation.types()

    def test_others_are_refused_at_once(self) -> None:
        session, _ = begun()
        other = Ping()
        session.submit(other)
        assert isinstance(other.error, InterfaceError)

    def test_the_listener_hears_of_it(self) -> None:
        session, operation = Session(REGISTRY), made()
        heard: list[bool] = []
        operation.listener = lambda: heard.append(operation.has_begun)
        session.submit(operation)
        session.receive_data(backend.copy_both())
        assert heard == [True]

    def test_the_server_refuses(self) -> None:
        session, operation = Session(REGISTRY), made()
        session.submit(operation)
        session.data_to_send()
        session.receive_data(backend.error("42704") + backend.ready())
        assert isinstance(operation.error, UndefinedObject)
        assert operation.error.query == SQL
        assert operation.done
        assert session.in_step

    def test_on_a_connection_that_is_none_for_it(self) -> None:
        session, operation = Session(REGISTRY), made()
        session.submit(operation)
        session.receive_data(backend.error("42601", P="1") + backend.ready())
        assert isinstance(operation.error, PostgresError)
        assert operation.error.hint == (
            'Replication has connections of its own: connect(replication="database").'
        )

    def test_left_before_it_has_begun(self) -> None:
        session, operation = Session(REGISTRY), made()
        session.submit(operation)
        session.data_to_send()
        operation.abandon()
        assert session.data_to_send() == b""
        session.receive_data(backend.copy_both())
        assert session.data_to_send() == COPY_DONE
        session.receive_data(END)
        assert session.in_step

    @pytest.mark.parametrize("wrong", [0, -1, float("nan")])
    def test_intervals_that_cannot_be(self, wrong: float) -> None:
        with pytest.raises(ProgrammingError, match="status_interval"):
            made(status_interval=wrong)


class TestMessages:
    def test_they_are_handed_out_in_order(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20, values=(1, 2)))
        assert operation.is_ready
        kinds = [type(message) for message in operation.take()]
        assert kinds == [logical.Begin, logical.Insert, logical.Insert, logical.Commit]
        assert operation.take() == []
        assert operation.received == Lsn(20)

    @given(st.lists(st.integers(0, 400), max_size=5))
    def test_wherever_it_is_cut(self, cuts: list[int]) -> None:
        session, operation = begun()
        said = transaction(20) + keepalive(25) + backend.notice() + transaction(30)
        ends = sorted(cut for cut in cuts if cut < len(said))
        for start, end in zip([0, *ends], [*ends, len(said)], strict=True):
            session.receive_data(said[start:end])
        assert len(operation.take()) == 6
        assert operation.received == Lsn(30)
        assert operation.acknowledged == Lsn(0)

    def test_it_is_full_until_they_are_taken(self) -> None:
        session, operation = begun()
        large = pgoutput.message(1, "", b"x" * (ENOUGH // 2), transactional=False)
        full = []
        for _ in range(2):
            session.receive_data(xlog_data(large))
            full.append(operation.is_full)
        operation.take()
        assert [*full, operation.is_full] == [False, True, False]

    def test_what_cannot_be_read_raises_in_its_turn(self) -> None:
        session, operation = begun()
        wrong = xlog_data(pgoutput.insert(T, pgoutput.row(pgoutput.text("x"))), 5)
        session.receive_data(transaction(20) + wrong + transaction(30))
        assert len(operation.take()) == 3
        assert operation.is_ready
        with pytest.raises(DataError) as caught:
            operation.take()
        assert caught.value.__notes__[-1] == (
            "at 0/5 in the log; the replication can be gone on with"
        )
        assert len(operation.take()) == 3
        assert session.failure is None

    @pytest.mark.parametrize(
        "data",
        [b"", b"w", b"w" + bytes(23), b"k" + bytes(16), b"k" + bytes(18), b"x" + bytes(17)],
    )
    def test_frames_that_cannot_be(self, data: bytes) -> None:
        session, operation = begun()
        session.receive_data(backend.copy_data(data))
        assert isinstance(session.failure, ProtocolError)
        assert str(session.failure) == "the server sent a malformed COPY_DATA"
        assert repr(operation.error) == repr(session.failure)

    def test_messages_that_cannot_be(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20) + xlog_data(b"nonsense"))
        assert isinstance(session.failure, ProtocolError)
        assert len(operation.take()) == 3


class TestTelling:
    def test_when_it_is_due(self) -> None:
        clocks = Clocks()
        session, operation = begun(clocks)
        assert operation.seconds_to_status() == 10.0
        clocks.now += 9
        assert session.data_to_send() == b""
        operation.tick()
        assert operation.seconds_to_status() == 1.0
        assert session.data_to_send() == b""
        clocks.now += 3
        assert operation.seconds_to_status() == 0.0
        assert statuses(session.data_to_send()) == [0]
        assert operation.seconds_to_status() == 10.0
        clocks.now += 10
        operation.tick()
        assert statuses(session.data_to_send(more=False)) == [0]
        assert operation.seconds_to_status() == 10.0

    def test_with_the_time(self) -> None:
        session, operation = begun()
        operation.tell()
        assert session.data_to_send()[-9:-1] == (1_500_000).to_bytes(8)

    def test_whenever_the_server_asks(self) -> None:
        session, _ = begun()
        session.receive_data(keepalive(5) + keepalive(7, wants_reply=True))
        assert statuses(session.data_to_send(more=False)) == [7]

    def test_where_it_began_is_not(self) -> None:
        """The slot may be further than that, or have been meant to stay behind."""
        session, operation = begun(start=7)
        assert operation.acknowledged == 7
        session.receive_data(keepalive(5, wants_reply=True))
        assert statuses(session.data_to_send(more=False)) == [0]
        assert session.data_to_send() == b""
        session.receive_data(transaction(20))
        operation.acknowledge(*operation.take()[-1:])
        assert statuses(session.data_to_send()) == [20]

    @pytest.mark.parametrize("interval", [None, 1e9, float("inf")])
    def test_only_then(self, interval: float | None) -> None:
        clocks = Clocks()
        session, operation = begun(clocks, status_interval=interval)
        clocks.now += 1e6
        assert operation.seconds_to_status() is None
        operation.tick()
        assert session.data_to_send() == b""
        session.receive_data(keepalive(wants_reply=True))
        assert statuses(session.data_to_send()) == [0]

    def test_what_is_acknowledged(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20) + transaction(30))
        _, _, commit, *_, last = operation.take()
        operation.acknowledge(commit)
        operation.acknowledge(commit)
        assert operation.acknowledged == Lsn(20)
        assert statuses(session.data_to_send()) == [20]
        assert session.data_to_send() == b""
        operation.acknowledge("0/1E")
        operation.acknowledge(last)
        operation.acknowledge(15)  # what is told is never taken back
        assert statuses(session.data_to_send()) == [30]

    def test_nothing_else_is(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20))
        begin, insert, _ = operation.take()
        for message in (begin, insert):
            with pytest.raises(ProgrammingError, match="not the end of a transaction"):
                operation.acknowledge(message)
        with pytest.raises(ProgrammingError, match=r"0/15 has not been received yet; up to 0/14"):
            operation.acknowledge(21)
        with pytest.raises(DataError):
            operation.acknowledge("nonsense")
        operation.tell()
        assert statuses(session.data_to_send()) == [0]

    def test_a_message_outside_of_transactions(self) -> None:
        session, operation = begun()
        session.receive_data(xlog_data(pgoutput.message(9, "", b"", transactional=False), 9))
        operation.acknowledge(*operation.take())
        assert operation.acknowledged == Lsn(10)


class TestKeepalives:
    """They move what is acknowledged where nothing has come that is not."""

    def test_nothing_has_come(self) -> None:
        session, operation = begun(start=5)
        session.receive_data(keepalive(50))
        assert operation.acknowledged == operation.received == Lsn(50)
        session.receive_data(keepalive(40, wants_reply=True))
        assert statuses(session.data_to_send()) == [50]

    def test_all_that_has_come_is_acknowledged(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20) + keepalive(50))
        assert operation.acknowledged == Lsn(0)
        operation.take()
        session.receive_data(keepalive(51))
        assert operation.acknowledged == Lsn(0)
        operation.acknowledge(20)
        session.receive_data(keepalive(52))
        assert operation.acknowledged == Lsn(52)

    def test_not_while_something_waits_to_be_taken(self) -> None:
        session, operation = begun()
        session.receive_data(xlog_data(pgoutput.begin()) + keepalive(50))
        assert operation.acknowledged == Lsn(0)

    def test_what_could_not_be_read_is_in_a_transaction_too(self) -> None:
        session, operation = begun()
        wrong = xlog_data(pgoutput.insert(T, pgoutput.row(pgoutput.text("x"))), 5)
        end = xlog_data(pgoutput.commit(19, 20), 20)
        session.receive_data(xlog_data(pgoutput.begin()) + wrong + end)
        operation.take()
        with pytest.raises(DataError):
            operation.take()
        operation.take()
        session.receive_data(keepalive(50))
        assert operation.acknowledged == Lsn(0)


class TestEnding:
    def test_it_is_left(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20))
        operation.acknowledge(20)
        heard: list[bool] = []
        operation.listener = lambda: heard.append(operation.is_ready)
        operation.abandon()
        sent = session.data_to_send()
        assert statuses(sent[: -len(COPY_DONE)]) == [20]
        assert sent.endswith(COPY_DONE)
        assert heard == [False]
        with pytest.raises(InterfaceError, match="this replication is over"):
            operation.acknowledge(20)
        # In the middle of a large transaction the server goes on with it.
        rest = transaction(30) + backend.COPY_DONE + transaction(40)
        session.receive_data(rest + END[len(backend.COPY_DONE) :])
        assert operation.done
        assert operation.take() == []
        assert session.in_step
        assert session.data_to_send() == b""

    def test_left_with_nothing_new_to_tell(self) -> None:
        session, operation = begun()
        operation.abandon()
        operation.abandon()
        operation.tell()
        operation.tick()
        assert session.data_to_send() == COPY_DONE

    def test_it_is_canceled(self) -> None:
        session, operation = begun()
        session.receive_data(backend.error("57014") + backend.ready())
        assert isinstance(operation.error, QueryCanceled)
        assert session.in_step
        after = Ping()
        session.submit(after)
        assert not after.done

    @pytest.mark.parametrize("end", [backend.COPY_DONE, backend.complete("COPY 0")])
    def test_by_a_server_that_is_shut_down(self, end: bytes) -> None:
        session, operation = begun()
        session.receive_data(transaction(20) + end)
        answers = end == backend.COPY_DONE
        assert session.data_to_send() == (COPY_DONE if answers else b"")
        session.receive_eof()
        assert len(operation.take()) == 3
        assert isinstance(operation.error, ConnectionLost)
        assert "shut down" in str(operation.error)

    def test_by_a_server_that_goes_on(self) -> None:
        session, operation = begun()
        session.receive_data(END)
        assert type(operation.error) is OperationalError
        assert "connect anew for each" in str(operation.error)
        assert session.data_to_send() == COPY_DONE  # which it ignores now
        assert session.in_step

    def test_with_a_fatal_error(self) -> None:
        session, operation = begun()
        session.receive_data(transaction(20) + backend.fatal())
        assert isinstance(operation.error, ConnectionLost)
        assert isinstance(operation.error, PostgresError)
        operation.explain(operation.error)
        assert operation.error.__notes__ == [
            "the server was last told that the slot 'slot' is acknowledged up to 0/0: what was "
            "committed after that will come again"
        ]

    def test_with_the_line(self) -> None:
        session, operation = begun()
        session.receive_eof()
        assert isinstance(operation.error, ConnectionLost)
        operation.tell()
        operation.abandon()
        assert session.data_to_send() == b""


class TestScript:
    """START_REPLICATION by `script()`."""

    def test_it_is_refused_and_the_session_goes_on(self) -> None:
        session, operation = Session(REGISTRY), SimpleQuery("start_replication …")
        session.submit(operation)
        session.data_to_send()
        session.receive_data(backend.copy_both() + TABLE)
        assert session.data_to_send() == COPY_DONE
        session.receive_data(transaction(20) + END)
        assert isinstance(operation.error, NotSupportedError)
        assert str(operation.error) == "START_REPLICATION needs replicate()"
        assert session.in_step
