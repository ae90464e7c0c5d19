"""What queries and scripts have in common: rows, and COPY where nobody expects it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest

from pgwire.errors import DataError, NotSupportedError, ProtocolError
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.protocol.collector import go_on_after_fork, uncollected
from pgwire.protocol.decoder import LARGE
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.reading import Reading

COLUMN = backend.column("n")
GOOD, BAD = backend.row(backend.int4(1)), backend.row(b"xyz")


def query() -> tuple[Session, Reading]:
    session, operation = Session(REGISTRY), Query("select")
    session.submit(operation)
    session.receive_data(backend.described((), [COLUMN]))
    session.data_to_send()
    session.receive_data(backend.BIND_COMPLETE)
    return session, operation


def script() -> tuple[Session, Reading]:
    session, operation = Session(REGISTRY), SimpleQuery("select")
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.row_description(COLUMN._replace(format=1)))
    return session, operation


both = pytest.mark.parametrize("begin", [query, script])


def rows_of(operation: Reading) -> Any:
    result = operation.result
    return (result[0] if isinstance(result, list) else result).rows


@both
def test_rows_may_come_in_any_number_of_runs(begin: Callable[[], tuple[Session, Reading]]) -> None:
    session, operation = begin()
    for data in (GOOD * 2, GOOD[:9], GOOD[9:] + GOOD, backend.notice(), GOOD + backend.notice()):
        session.receive_data(data)
    session.receive_data(backend.complete() + backend.ready())
    assert rows_of(operation) == [(1,)] * 5


@both
def test_a_value_that_cannot_be_decoded_is_the_operations_own_error(
    begin: Callable[[], tuple[Session, Reading]],
) -> None:
    session, operation = begin()
    session.receive_data(GOOD * 3 + BAD + GOOD * 2)
    session.receive_data(GOOD + backend.complete() + backend.ready())
    assert isinstance(operation.error, DataError)
    assert operation.error.__notes__[0].endswith("row 4")
    assert not operation.result
    assert session.in_step


@both
def test_an_abandoned_operation_decodes_nothing_and_reads_to_the_end(
    begin: Callable[[], tuple[Session, Reading]],
) -> None:
    session, operation = begin()
    session.receive_data(GOOD)
    operation.abandon()
    session.receive_data(BAD + GOOD + backend.complete() + backend.ready())
    assert operation.done
    assert operation.error is None
    assert session.in_step


@both
@pytest.mark.parametrize("state", ["fresh", "abandoned", "spoilt"])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\0",
        b"\0\0",
        b"\0\2",
        b"\0\1",
        b"\0\1\0\0",
        b"\0\1\0\0\0\4\0\0\0",
        b"\0\1\0\0\0\4\0\0\0\0\0",
        b"\0\1\xff\xff\xff\xff\0",
        b"\0\1\xff\xff\xff\xfe",
        b"\0\1\x7f\xff\xff\xff\0\0\0\0",
        b"\xff\xff\xff\xff\xff\xff",
    ],
)
def test_a_row_whose_lengths_are_wrong_fails_the_session_whoever_reads_it(
    begin: Callable[[], tuple[Session, Reading]], state: str, body: bytes
) -> None:
    for behind in (b"", GOOD * 3):
        session, operation = begin()
        if state == "abandoned":
            operation.abandon()
        elif state == "spoilt":
            session.receive_data(BAD)
        session.receive_data(GOOD + backend.message("D", body) + behind)
        assert isinstance(session.failure, ProtocolError)
        assert str(session.failure) == "the server sent a malformed DATA_ROW"
        assert operation.done
        assert isinstance(operation.error, DataError if state == "spoilt" else ProtocolError)


@pytest.mark.parametrize("make", [SimpleQuery, Query])
@pytest.mark.parametrize(
    ("reply", "instead"),
    [
        (backend.copy_in(0), "FROM STDIN needs copy_in(), or copy_records() for Python values"),
        (backend.copy_out(0), "TO STDOUT needs copy_out()"),
    ],
)
def test_copy_is_refused_with_what_to_use_instead(
    make: type[SimpleQuery] | type[Query], reply: bytes, instead: str
) -> None:
    session, operation = Session(REGISTRY), make("copy")
    session.submit(operation)
    if make is Query:
        session.receive_data(backend.described() + backend.BIND_COMPLETE)
    session.receive_data(reply)
    assert isinstance(operation.error, NotSupportedError)
    assert str(operation.error) == f"COPY {instead}"
    assert not operation.done


def test_the_error_before_a_copy_is_kept() -> None:
    """A script whose first statement gave a value that cannot be decoded."""
    session, operation = script()
    session.receive_data(BAD + backend.complete() + backend.copy_out(0) + backend.COPY_DONE)
    session.receive_data(backend.complete("COPY 0") + backend.ready())
    assert isinstance(operation.error, DataError)


@pytest.mark.parametrize("code", ["G", "H"])
@pytest.mark.parametrize("body", [b"", b"\0\0", b"\0\0\1", b"\0\0\1\0", b"\0\0\0\0", b"\0\0\2\0\0"])
@pytest.mark.parametrize("make", [SimpleQuery, Query])
def test_a_malformed_copy_response(
    make: type[SimpleQuery] | type[Query], body: bytes, code: str
) -> None:
    session, operation = Session(REGISTRY), make("copy")
    session.submit(operation)
    if make is Query:
        session.receive_data(backend.described() + backend.BIND_COMPLETE)
    session.receive_data(backend.message(code, body))
    name = {"G": "COPY_IN_RESPONSE", "H": "COPY_OUT_RESPONSE"}[code]
    assert str(session.failure) == f"the server sent a malformed {name}"
    assert repr(operation.error) == repr(session.failure)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("rows", [[b"\1[1]"] * 5_000, [b"\1[1]"] * 5_000 + [b"\1no"]])
def test_the_collector_rests_while_a_long_run_is_decoded(enabled: bool, rows: list[bytes]) -> None:
    """Each row has a list, so that it would run seven times; and once when all is there."""
    session, operation = Session(REGISTRY), Query("select")
    session.submit(operation)
    session.receive_data(backend.described((), [backend.column("j", oids.JSONB)]))
    session.data_to_send()
    run = backend.BIND_COMPLETE + b"".join(map(backend.row, rows))
    runs: list[str] = []
    was_enabled, note = gc.isenabled(), lambda phase, _info: runs.append(phase)
    gc.callbacks.append(note)
    try:
        (gc.enable if enabled else gc.disable)()
        session.receive_data(run)
        assert gc.isenabled() is enabled
        assert len(runs) <= 2 * enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
        gc.callbacks.remove(note)
    session.receive_data(backend.complete() + backend.ready())
    assert isinstance(operation.error, DataError) is (len(rows) > 5_000)
    assert session.in_step


def test_in_a_forked_child_the_collector_goes_on() -> None:
    """Be it that another thread had it rest, which is not there any more, or that `make` forks."""
    was_enabled, seen = gc.isenabled(), []

    def fork() -> None:
        seen.append(gc.isenabled())
        go_on_after_fork()
        seen.append(gc.isenabled())

    try:
        gc.enable()
        uncollected(fork)
        assert (*seen, gc.isenabled()) == (False, True, True)
        gc.disable()
        go_on_after_fork()
        assert not gc.isenabled()  # as the program wants it
        uncollected(fork)
        assert not gc.isenabled()
    finally:
        (gc.enable if was_enabled else gc.disable)()


@pytest.mark.parametrize(("rows", "rests"), [(1, False), (2, True), (1_000, True)])
def test_the_collector_does_not_rest_for_one_short_row(rows: int, rests: bool) -> None:
    """However much comes behind it: the answers of a pipeline, say."""
    seen: list[bool] = []

    def loads(_text: str) -> None:
        seen.append(gc.isenabled())

    session = Session(TypeRegistry(json_loads=loads))
    operations = [Query("select"), Query("select"), Query("select")]
    session.submit(operations[0])
    session.receive_data(backend.described((), [backend.column("j", oids.JSONB)]))
    run = backend.BIND_COMPLETE + backend.row(b"\1[1]") * rows + backend.complete()
    session.receive_data(run + backend.ready())
    seen.clear()
    for operation in operations[1:]:
        session.submit(operation)
    long = backend.BIND_COMPLETE + backend.row(b"\1" + b" " * 5_000) + backend.complete()
    session.receive_data(run + backend.ready() + long + backend.ready())
    assert [operation.done and operation.error for operation in operations] == [None] * 3
    assert seen == [not rests] * rows + [False]
    assert gc.isenabled()


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 2**31 - 1])
@pytest.mark.parametrize("at_once", [False, True])
def test_a_first_row_that_lies_of_its_length(at_once: bool, length: int) -> None:
    """Nothing is read from where it would lead to."""
    session, first = query()
    session.receive_data(GOOD + backend.complete() + backend.ready())
    session.submit(operation := Query("select"))
    lie = b"D" + length.to_bytes(4, "big", signed=True) + b"D" * 5_000
    if not at_once:
        session.receive_data(backend.BIND_COMPLETE)
    session.receive_data(lie if not at_once else backend.BIND_COMPLETE + lie)
    assert first.done
    assert isinstance(session.failure, ProtocolError) is operation.done is (length < 2**31 - 1)


# Large rows


SMALL = backend.row(backend.int4(1), b"x")


def used_again(oid: int = oids.TEXT) -> tuple[Session, Query]:
    """A query whose statement is known, and its decoder generated."""
    session = Session(REGISTRY)
    session.submit(Query("select"))
    columns = [backend.column("n"), backend.column("t", oid)]
    session.receive_data(backend.described((), columns))
    session.receive_data(backend.executed(backend.row(backend.int4(1), b"")))
    session.data_to_send()
    operation = Query("select")
    session.submit(operation)
    session.data_to_send()
    return session, operation


@pytest.mark.parametrize("size", [LARGE - 12, LARGE, 1_000_000])
@pytest.mark.parametrize("letter", ["x", "é"])
@pytest.mark.parametrize("piece", [65_536, 10_000_000])
def test_large_rows_among_small_ones(size: int, letter: str, piece: int) -> None:
    session, operation = used_again()
    text = letter * size
    large = backend.row(backend.int4(2), text.encode())
    data = backend.executed(SMALL * 2 + large * 2 + SMALL + large)
    for at in range(0, len(data), piece):
        session.receive_data(data[at : at + piece])
    assert rows_of(operation) == [(1, "x")] * 2 + [(2, text)] * 2 + [(1, "x"), (2, text)]
    assert session.in_step


def used_first(oid: int) -> tuple[Session, Query]:
    session, operation = Session(REGISTRY), Query("select")
    session.submit(operation)
    columns = [backend.column("n"), backend.column("t", oid)]
    session.receive_data(backend.described((), columns))
    session.data_to_send()
    return session, operation


@pytest.mark.parametrize("oid", [oids.TEXT, oids.BYTEA])
@pytest.mark.parametrize("begin", [used_first, used_again])
def test_a_large_value_is_copied_no_more_often_than_it_must(
    oid: int, begin: Callable[[int], tuple[Session, Query]]
) -> None:
    """Beside the row itself there is nothing but the value."""
    session, operation = begin(oid)
    data = backend.executed(backend.row(backend.int4(2), b"x" * 2_000_000))
    tracemalloc.start()
    session.receive_data(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(rows_of(operation)[0][1]) == 2_000_000
    assert peak < 2_100_000


@pytest.mark.parametrize("damage", [b"\xff", b"\xc3"])
def test_a_large_text_that_is_none(damage: bytes) -> None:
    session, operation = used_again()
    large = backend.row(backend.int4(2), b"x" * 200_000 + damage)
    data = backend.executed(SMALL + large + SMALL)
    session.receive_data(data[: len(SMALL) + 9])
    session.receive_data(data[len(SMALL) + 9 :])
    assert str(operation.error) == "the server's value is not a valid text in UTF-8"
    assert operation.error is not None
    assert operation.error.__notes__ == ["while decoding column 2 of row 2"]
    assert session.in_step


@both
def test_large_rows_of_what_is_read_but_once(
    begin: Callable[[], tuple[Session, Reading]],
) -> None:
    session, operation = begin()
    large = backend.row(b"x" * 200_000)
    session.receive_data(GOOD + large + GOOD + backend.complete() + backend.ready())
    assert isinstance(operation.error, DataError)
    assert session.in_step


def test_a_large_row_of_a_statement_that_is_not_what_it_was() -> None:
    """Its own decoder is another by now."""
    session, operation = used_again()
    assert operation.statement is not None
    operation.statement.use(REGISTRY)
    session.receive_data(backend.executed(backend.row(backend.int4(2), b"x" * 200_000)))
    assert rows_of(operation) == [(2, "x" * 200_000)]


def test_a_short_text_in_a_large_row() -> None:
    session = Session(REGISTRY)
    columns = [backend.column("t", oids.TEXT), backend.column("b", oids.BYTEA)]
    row = backend.row("é".encode(), b"x" * 200_000), backend.row(None, b"x" * 200_000)
    session.submit(Query("select"))
    session.receive_data(backend.described((), columns))
    for _ in range(2):
        session.receive_data(backend.executed(b"".join(row)))
        operation = Query("select")
        session.submit(operation)
    session.receive_data(backend.executed(b"".join(row)))
    assert rows_of(operation) == [("é", b"x" * 200_000), (None, b"x" * 200_000)]


def test_a_large_row_of_another_shape_breaks_the_connection() -> None:
    session, _ = used_again()
    large = backend.row(backend.int4(2), b"x" * 200_000, b"y")
    session.receive_data(backend.executed(large))
    assert isinstance(session.failure, ProtocolError)
