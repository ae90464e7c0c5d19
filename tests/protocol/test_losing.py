"""What is told of operations whose connection was lost: whether they may have been carried out."""

from __future__ import annotations

import pickle

import pytest

from pgwire.errors import ConnectionLost, Error, InterfaceError, ProtocolError
from pgwire.protocol.query import Query
from pgwire.protocol.roles import question
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from pgwire.sqlstate import AdminShutdown, mixed_in
from tests.support import backend
from tests.support.conversations import REGISTRY

NOBODY_KNOWS = "whether the server has carried it out is not known"


def failed(failure: Error, *operations: Query | SimpleQuery | Ping) -> list[str]:
    """What they are told, when the session fails while the first one's answer is awaited."""
    session = Session(REGISTRY)
    for operation in operations:
        session.submit(operation)
    session.fail(failure)
    assert repr(session.failure) == repr(failure)  # that is about the connection
    for operation in operations:
        assert operation.done
        assert isinstance(operation.error, Error)
    return [str(operation.error) for operation in operations]


def test_of_what_was_under_way_the_outcome_is_not_known() -> None:
    session = Session(REGISTRY)
    session.submit(Query("delete from t"))
    session.receive_data(backend.described())
    session.receive_data(backend.BIND_COMPLETE + backend.complete("DELETE 1") + backend.ready())
    first, second = Query("delete from t"), Query("delete from t")
    session.submit(first)
    session.submit(second)  # pipelined: the statement is known
    session.receive_eof()
    assert str(session.failure) == "the server closed the connection unexpectedly"
    assert str(first.error) == f"{session.failure}; {NOBODY_KNOWS}"
    assert str(second.error) == f"the connection was lost before this was answered; {NOBODY_KNOWS}"
    assert isinstance(first.error, ConnectionLost)
    assert isinstance(second.error, ConnectionLost)
    assert first.error.sent
    assert second.error.sent
    assert second.error.__cause__ is session.failure


def test_what_has_not_been_sent_has_not_been_carried_out() -> None:
    """A query that is to be prepared has the floor until its types are known."""
    fence = Fence()
    session = Session(REGISTRY)
    first, second = Query("delete from t"), Query("delete from u")
    session.submit(first)
    session.submit(second)
    session.raise_fence(fence)
    session.receive_eof()
    assert NOBODY_KNOWS in str(first.error)
    for operation in (fence, second):
        assert str(operation.error) == "the connection was lost before this was sent"
        assert isinstance(operation.error, ConnectionLost)
        assert not operation.error.sent
        assert not pickle.loads(pickle.dumps(operation.error)).sent
        assert operation.error.__cause__ is session.failure


@pytest.mark.parametrize("hint", [None, "come back later"])
def test_a_server_that_says_why_is_quoted_and_the_outcome_is_not_known(hint: str | None) -> None:
    session, query = Session(REGISTRY), SimpleQuery("delete from t")
    session.submit(query)
    fields = [b"SFATAL", b"VFATAL", b"C57P01", b"Mbye", *([f"H{hint}".encode()] if hint else [])]
    session.receive_data(backend.message("E", b"\0".join([*fields, b"", b""])))
    error = query.error
    assert isinstance(error, ConnectionLost)
    assert isinstance(error, AdminShutdown)
    assert (error.message, error.sqlstate, error.severity) == ("bye", "57P01", "FATAL")
    assert error.hint == (f"{hint}\n{NOBODY_KNOWS}" if hint else NOBODY_KNOWS)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert getattr(session.failure, "hint", "") == hint


def test_the_cause_stays() -> None:
    lost = ConnectionLost("the connection was lost: [Errno 104] Connection reset by peer")
    lost.__cause__ = ConnectionResetError()
    query = SimpleQuery("delete from t")
    failed(lost, query)
    assert isinstance(query.error, ConnectionLost)
    assert query.error.__cause__ is lost.__cause__


@pytest.mark.parametrize("error", [ProtocolError("nonsense"), InterfaceError("it is closed")])
def test_what_is_no_loss_is_told_as_it_is(error: Error) -> None:
    query = SimpleQuery("delete from t")
    failed(error, query)
    assert query.error is error


def test_where_it_makes_no_difference_nothing_is_said_of_it() -> None:
    lost = ConnectionLost("it is gone")
    assert failed(lost, Ping(), Ping()) == [
        "it is gone",
        "the connection was lost before this was answered",
    ]
    asking = question("primary", Session(REGISTRY))
    assert asking is not None
    assert failed(lost, asking) == ["it is gone"]


def test_an_error_from_before_the_loss_is_what_has_happened() -> None:
    session, query = Session(REGISTRY), SimpleQuery("delete from t")
    session.submit(query)
    session.receive_data(backend.error("23503"))
    error = query.error
    session.receive_eof()
    assert query.error is error


# ------------------------------------------------------------------ whose each error is


class Uncopied(Exception):
    """One that a copy cannot be made of."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(one)


def raised(error: Error, cause: BaseException | None = None) -> Error:
    """An error that has been raised, and what it came of as well."""
    try:
        try:
            if cause is not None:
                raise cause
        except BaseException:
            raise error from cause
        raise error
    except Error:
        return error


def traces(error: BaseException | None) -> list[object]:
    """Where an error, and what it came of, were raised; None for nowhere."""
    found: list[object] = []
    while error is not None:
        found.append(error.__traceback__)
        error = error.__cause__ or error.__context__
    return found


@pytest.mark.parametrize(
    "failure",
    [
        ProtocolError("nonsense"),
        InterfaceError("it is closed"),
        ConnectionLost("the line is cut"),
        mixed_in(ConnectionLost, AdminShutdown("bye")),
    ],
    ids=lambda failure: type(failure).__name__,
)
@pytest.mark.parametrize("cause", [None, ConnectionResetError(104, "reset")])
def test_what_is_kept_has_nothing_of_where_it_was_raised(
    failure: Error, cause: OSError | None
) -> None:
    """It is kept for as long as the session, and tracebacks keep all that was in their frames."""
    session = Session(REGISTRY)
    operations = [Ping(), Query("select 1"), Ping()]
    for operation in operations:
        session.submit(operation)
    session.fail(raised(failure, cause))
    for _ in range(2):  # and of what is asked for afterwards each is told by an error of its own
        operations.append(Ping())
        session.submit(operations[-1])
    told = [operation.error for operation in operations]
    assert len({id(error) for error in [*told, session.failure]}) == len(operations) + 1
    for error in told:
        assert isinstance(error, Error)
        with pytest.raises(Error):
            raise error
    kept = session.failure
    assert type(kept) is type(failure)
    assert (str(kept), repr(kept.__cause__)) == (str(failure), repr(cause))
    assert not any(traces(kept))
    assert str(told[-1]) == str(failure)
    assert repr(told[-1].__cause__) == repr(cause)  # type: ignore[union-attr]


def test_what_cannot_be_copied_is_not_kept_as_a_cause() -> None:
    session = Session(REGISTRY)
    session.fail(raised(ProtocolError("nonsense"), Uncopied(1, 2)))
    assert repr(session.failure) == "ProtocolError('nonsense')"
    assert traces(session.failure) == [None]
