"""Progress: when callbacks are called, with what, and what becomes of what they raise."""

from __future__ import annotations

import struct
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import PostgresError, ProgrammingError
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol import frontend
from pgwire.protocol.copying import DONE, FAIL, CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.many import QueryMany
from pgwire.protocol.progress import Meter, Progress
from pgwire.protocol.records import BinaryRecords
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence
from pgwire.protocol.sources import CHUNK, Inlet, weight_of
from pgwire.protocol.streaming import Streaming
from tests.support import backend
from tests.support.catalogue import MOOD, answer
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation

COPY_STARTED = backend.PARSE_COMPLETE + backend.BIND_COMPLETE
SUSPENDED = backend.message("s")
INSERTED = backend.BIND_COMPLETE + backend.complete("INSERT 0 1")
FRAME = len(BinaryRecords.header) + len(BinaryRecords.trailer)


class Told(list[Progress]):
    """What a callback has been told; it raises at a call of this number."""

    def __init__(self, raises_at: int = -1) -> None:
        super().__init__()
        self._raises_at = raises_at

    def __call__(self, progress: Progress) -> None:
        self.append(progress)
        if len(self) == self._raises_at:
            raise ZeroDivisionError


def submitted(operation: Operation, said: bytes) -> Session:
    """A session with this operation, that has heard so much."""
    session = Session(REGISTRY)
    session.submit(operation)
    session.data_to_send()
    session.receive_data(said)
    return session


def all_sent(session: Session) -> bytes:
    return b"".join(iter(session.data_to_send, b""))


def number(value: int) -> bytes:
    return backend.row(backend.int4(value))


# ---------------------------------------------------------------- each kind of operation


def test_copy_in_knows_bytes_and_at_its_end_rows() -> None:
    told = Told()
    operation = CopyIn("copy t from stdin", [b"x" * CHUNK, b"y" * 10], told)
    session = submitted(operation, COPY_STARTED + backend.copy_in(0))
    all_sent(session)
    assert told == [(None, CHUNK), (None, CHUNK + 10)]
    session.receive_data(backend.complete("COPY 7") + backend.ready())
    assert told[2:] == [(7, CHUNK + 10)]
    assert (told[-1].rows, told[-1].bytes) == (operation.result, CHUNK + 10)


def test_copy_in_of_what_comes_by_itself_is_told_for_each_piece() -> None:
    told = Told()
    inlet = Inlet(weight_of)
    operation = CopyIn("copy t from stdin", inlet, told)
    session = submitted(operation, COPY_STARTED + backend.copy_in(0))
    for piece in ("1\n", "2\n"):
        all_sent(session)
        inlet.put(piece)
    inlet.end()
    all_sent(session)
    assert told == [(None, 2), (None, 4)]


def test_copy_out_is_told_when_data_are_taken() -> None:
    told = Told()
    operation = CopyOut("copy t to stdout", progress=told)
    session = submitted(operation, COPY_STARTED + backend.copy_out(0))
    session.receive_data(backend.copy_data(b"id\n") + backend.copy_data(b"1\n"))
    assert told == []
    operation.take_received()
    operation.tell_progress()
    session.receive_data(backend.copy_data(b"2\n") + backend.COPY_DONE + backend.complete("COPY 2"))
    operation.take_received()
    operation.tell_progress()
    operation.tell_end()
    assert told == [(2, 5), (3, 7)]  # a header counts, and it is not done
    session.receive_data(backend.ready())
    operation.tell_end()
    assert told[2:] == [(2, 7)]


def test_nobody_is_told_of_a_copy_out_that_is_left() -> None:
    told = Told()
    operation = CopyOut("copy t to stdout", progress=told)
    session = submitted(operation, COPY_STARTED + backend.copy_out(0) + backend.copy_data(b"1\n"))
    operation.abandon()
    session.receive_data(backend.COPY_DONE + backend.complete("COPY 2") + backend.ready())
    operation.tell_end()
    assert told == []


def test_copy_records_counts_what_has_been_sent() -> None:
    told = Told()
    records = [(n,) for n in range(20_000)]
    operation = CopyRecords("t", records, ["n"], progress=told)
    session = submitted(operation, backend.described([], [backend.column("n")]))
    session.data_to_send()
    session.receive_data(COPY_STARTED + backend.copy_in(1))
    all_sent(session)
    whole = FRAME + 20_000 * struct.calcsize("!hii")
    assert told[-1] == (20_000, whole)
    assert len(told) == -(-whole // (CHUNK + 1024 * 10)) >= 3
    assert [rows for rows, _ in told] == sorted({rows or 0 for rows, _ in told})
    session.receive_data(backend.complete("COPY 19999") + backend.ready())  # a trigger, say
    assert told[-1] == (19_999, whole)


def test_copy_records_that_go_on_as_text() -> None:
    told = Told()
    operation = CopyRecords("t", [(1,), ("2",), (3,)], ["n"], progress=told)
    session = submitted(operation, backend.described([], [backend.column("n")]))
    session.data_to_send()
    session.receive_data(COPY_STARTED + backend.copy_in(1))
    all_sent(session)
    session.receive_data(backend.complete("COPY 1"))
    all_sent(session)
    session.receive_data(COPY_STARTED + backend.copy_in(0))
    all_sent(session)
    session.receive_data(backend.complete("COPY 2") + backend.ready())
    binary = FRAME + 10
    assert told == [(1, binary), (3, binary + len(b"2\n3\n")), (3, binary + 4)]


def test_query_many_counts_records() -> None:
    told = Told()
    operation = QueryMany("insert into t values ($1)", ((n,) for n in range(5000)), progress=told)
    session = submitted(operation, backend.described([23]))
    sent = all_sent(session).removesuffix(frontend.SYNC)
    session.receive_data(INSERTED * 5000 + backend.ready())
    assert operation.result.row_count == 5000
    assert told[-2:] == [(5000, len(sent)), (5000, len(sent))]
    assert len(told) == len(sent) // CHUNK + 2 >= 4


def test_query_many_of_no_records_tells_its_end() -> None:
    told = Told()
    operation = QueryMany("insert into t values ($1)", [], progress=told)
    session = submitted(operation, backend.described([23]))
    all_sent(session)
    session.receive_data(backend.ready())
    assert told == [(0, 0)]


def stream(told: Told, fetch_size: int = 2) -> tuple[Session, Streaming]:
    operation = Streaming("select n from t", fetch_size=fetch_size, progress=told)
    session = submitted(operation, backend.described([], [backend.column("n")]))
    session.data_to_send()
    return session, operation


def take(operation: Streaming) -> list[tuple[Any, ...]]:
    rows = operation.take()
    operation.tell_progress()
    return rows


def test_a_stream_is_told_of_each_batch_when_it_is_taken() -> None:
    told = Told()
    session, operation = stream(told)
    session.receive_data(backend.BIND_COMPLETE + number(1) + number(2) + SUSPENDED)
    session.receive_data(number(3) + number(4) + SUSPENDED)  # waits as well
    assert told == []
    take(operation)
    session.receive_data(number(5) + backend.complete("SELECT 1") + backend.ready())
    take(operation)
    take(operation)
    operation.tell_end()
    size = len(number(1))
    assert told == [(2, 2 * size), (4, 4 * size), (5, 5 * size), (5, 5 * size)]


def test_a_stream_inside_of_a_transaction() -> None:
    told = Told()
    session = Session(REGISTRY)
    session.transaction_status = session.transaction_status.IN_TRANSACTION
    operation = Streaming("select n from t", fetch_size=1, progress=told)
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described([], [backend.column("n")]))
    session.receive_data(backend.BIND_COMPLETE + number(1) + SUSPENDED + backend.ready("T"))
    take(operation)
    session.submit(operation.fetch())
    session.receive_data(number(2) + backend.complete("SELECT 1") + backend.ready("T"))
    take(operation)
    operation.tell_end()
    assert told == [(1, len(number(1))), (2, 2 * len(number(1))), (2, 2 * len(number(1)))]


def test_a_stream_that_begins_anew_is_counted_anew() -> None:
    told = Told()
    session, operation = stream(told)
    fence = Fence()
    session.raise_fence(fence)
    fence.requests = 1
    session.receive_data(backend.BIND_COMPLETE + number(1) + backend.error("57014"))
    session.data_to_send()
    session.receive_data(backend.ready())
    fence.lower()
    session.data_to_send()
    session.receive_data(backend.ready())
    session.data_to_send()
    session.receive_data(backend.BIND_COMPLETE + number(7) + backend.complete() + backend.ready())
    assert take(operation) == [(7,)]
    assert told == [(1, len(number(7)))]


def test_rows_that_are_read_late_count_once_and_those_of_the_catalogue_not_at_all() -> None:
    def record(label: bytes) -> bytes:
        value = backend.int4(1) + backend.int4(MOOD.oid) + backend.int4(len(label)) + label
        return backend.row(value)

    told = Told()
    session = Session(TypeRegistry())
    operation = Streaming("select row(m) from t", fetch_size=1, progress=told)
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described([], [backend.column("r", 2249)]))
    session.data_to_send()
    session.receive_data(backend.BIND_COMPLETE + record(b"ok") + SUSPENDED)
    session.data_to_send()
    session.receive_data(answer(MOOD))
    session.receive_data(record(b"sad") + backend.complete() + backend.ready())
    assert operation.error is None
    take(operation)
    take(operation)
    assert told == [(1, len(record(b"ok"))), (2, len(record(b"ok") + record(b"sad")))]


def test_nobody_is_told_of_the_end_of_a_stream_that_failed() -> None:
    told = Told()
    session, operation = stream(told)
    session.receive_data(backend.BIND_COMPLETE + backend.error("22012"))
    session.data_to_send()
    session.receive_data(backend.ready())
    operation.tell_end()
    assert told == []


# ---------------------------------------------------------------- callbacks that raise


def copy_in(told: Told) -> tuple[Operation, bytes]:
    return CopyIn("copy t from stdin", b"x" * 3 * CHUNK, told), COPY_STARTED + backend.copy_in(0)


def query_many(told: Told) -> tuple[Operation, bytes]:
    records = [(n,) for n in range(50_000)]
    return QueryMany("insert into t values ($1)", records, progress=told), backend.described([23])


@pytest.mark.parametrize(
    ("make", "end"), [(copy_in, FAIL), (query_many, frontend.POISON)], ids=["copy_in", "many"]
)
def test_what_is_raised_on_the_way_undoes_all(
    make: Callable[[Told], tuple[Operation, bytes]], end: bytes
) -> None:
    told = Told(raises_at=2)
    operation, said = make(told)
    session = submitted(operation, said)
    sent = all_sent(session)
    assert sent.endswith(end + frontend.SYNC)
    if end == frontend.POISON:
        session.receive_data(INSERTED * (told[-1].rows or 0))
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)
    assert not hasattr(operation.error, "record_index")  # no record is to blame
    assert len(told) == 2
    assert session.in_step


def test_what_is_raised_while_records_are_copied_is_no_records_fault() -> None:
    told = Told(raises_at=1)
    operation = CopyRecords("t", ((n,) for n in range(50_000)), ["n"], progress=told)
    session = submitted(operation, backend.described([], [backend.column("n")]))
    session.data_to_send()
    session.receive_data(COPY_STARTED + backend.copy_in(1))
    assert all_sent(session).endswith(FAIL + frontend.SYNC)
    session.receive_data(backend.error("57014") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)
    assert not hasattr(operation.error, "record_index")
    assert session.in_step


def test_what_is_raised_at_the_end_comes_through_though_all_is_done() -> None:
    told = Told(raises_at=2)
    operation = CopyIn("copy t from stdin", b"1\n", told)
    session = submitted(operation, COPY_STARTED + backend.copy_in(0))
    assert all_sent(session).endswith(DONE + frontend.SYNC)
    session.receive_data(backend.complete("COPY 1") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)
    assert session.in_step


def test_a_source_that_raises_while_types_are_unknown_is_told() -> None:
    """It is the answer to what was sent in vain that comes last."""

    def records() -> Any:
        yield from [()] * CHUNK
        raise ZeroDivisionError

    session = Session(TypeRegistry())
    operation = QueryMany("select row('ok'::mood)", records())
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.described([], [backend.column("r", 2249)]))
    assert len(session.data_to_send()) >= CHUNK
    session.receive_data(
        backend.BIND_COMPLETE
        + backend.row(backend.int4(1) + backend.int4(MOOD.oid) + backend.int4(2) + b"ok")
        + backend.complete()
    )
    all_sent(session)
    session.receive_data(backend.error("26000") + backend.ready())
    assert isinstance(operation.error, ZeroDivisionError)


# ---------------------------------------------------------------- what callbacks are


class Asynchronous:
    async def __call__(self, progress: Progress) -> None: ...


async def coroutine(progress: Progress) -> None: ...


@pytest.mark.parametrize(
    ("callback", "reason"),
    [
        (7, "must be a callable"),
        (coroutine, "coroutine function"),
        (partial(coroutine), "coroutine function"),
        (Asynchronous(), "coroutine function"),
    ],
)
def test_what_nobody_can_call(callback: Any, reason: str) -> None:
    for make in (
        lambda: CopyIn("copy t from stdin", b"", callback),
        lambda: CopyOut("copy t to stdout", progress=callback),
        lambda: CopyRecords("t", [], progress=callback),
        lambda: QueryMany("select", [], progress=callback),
        lambda: Streaming("select", progress=callback),
    ):
        with pytest.raises(ProgrammingError, match=reason):
            make()


def test_any_plain_callable_will_do() -> None:
    for callback in (print, Told(), partial(Told()), lambda _progress: None):
        Meter(callback)


def test_an_error_of_the_server_has_no_end() -> None:
    told = Told()
    operation = CopyIn("copy t from stdin", b"x", told)
    session = submitted(operation, COPY_STARTED + backend.copy_in(0))
    all_sent(session)
    session.receive_data(backend.error("22P02") + backend.ready())
    assert isinstance(operation.error, PostgresError)
    assert told == [(None, 1)]


def test_without_a_callback_nobody_is_told() -> None:
    for operation in (CopyOut("copy t to stdout"), Streaming("select")):
        operation.tell_progress()
        operation.tell_end()
        assert operation.meter is None


@pytest.mark.parametrize("kind", [StopIteration, StopAsyncIteration])
def test_a_callback_ends_no_iteration(kind: type[Exception]) -> None:
    """`next()` raises that in a function that finds nothing; its caller would see an end."""

    def callback(_progress: Progress) -> None:
        raise kind

    with pytest.raises(RuntimeError, match=f"raised {kind.__name__}") as caught:
        Meter(callback).tell(1)
    assert isinstance(caught.value.__cause__, kind)
