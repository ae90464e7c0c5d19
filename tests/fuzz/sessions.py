"""Whole sessions that are told anything at all, in the middle of every kind of conversation.

What holds then: nothing raises; the session has failed, with an error of ours and nothing pending,
or it waits, or the next query's answer is its own. And where the server need not be asked before it
speaks, it makes no difference how what it says is cut.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.config import Secret
from pgwire.demands import PROTOCOL_3_0, PROTOCOL_3_2
from pgwire.errors import Error
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol.cleaning import Clean
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.logical import Commit
from pgwire.protocol.many import QueryMany
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.published import PublishedTypes
from pgwire.protocol.query import Query
from pgwire.protocol.replicating import Replicating
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from pgwire.protocol.startup import Startup
from pgwire.protocol.streaming import Streaming
from pgwire.protocol.watching import RoleSession, RoleWatch
from tests.fuzz.feed import Feed
from tests.support import backend, pgoutput
from tests.support.backend_double import check_fit_for_the_next_query
from tests.support.conversations import Outcome, outcome
from tests.support.scram_server import NONCE, SECRET
from tests.support.situations import DESCRIBED, INT4, after, in_transaction

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pgwire.protocol.operation import Operation

    Begun = tuple[Session, list[Operation]]


class Conversation(NamedTuple):
    """How one begins. `is_told`: what may come does not depend on when we write, or take rows."""

    begin: Callable[[], Begun]
    is_told: bool = True


def _fresh(**options: Any) -> Session:
    """With types of its own: what is learned in one run is not to be known in the next."""
    return Session(TypeRegistry(), **options)


def _begun(*operations: Operation, session: Session | None = None) -> Begun:
    session = session or _fresh()
    for operation in operations:
        session.submit(operation)
    return session, list(operations)


def _login(*replies: bytes) -> Begun:
    credentials = Credentials(
        "me", Secret(SECRET), NONCE, exposed=False, token=Secret("token"), max_iterations=4
    )
    startup = Startup({"user": "me"}, credentials, (PROTOCOL_3_0, PROTOCOL_3_2))
    session = after(startup, *replies, session=_fresh()).session
    behind = Query("select $1", [1])
    session.submit(behind)
    return session, [startup, behind]


def _cached() -> Begun:
    first = Query("select $1", [1])
    session = after(first, DESCRIBED, backend.executed(), session=_fresh()).session
    return _begun(Query("select $1", [2]), Query("select $1", [3]), session=session)


# All kinds of decoders: rows of fixed width, texts, and what functions make values of.
_COLUMNS = [
    backend.column(f"c{n}", oid) for n, oid in enumerate((23, 25, 1184, 1700, 1007, 3802, 2950))
]


def _rows() -> Begun:
    """The rows of a statement whose decoder has been generated."""
    session = _fresh()
    for reply in (backend.described([], _COLUMNS), b"", b""):
        after(Query("select"), reply + backend.executed(), session=session)
    return _begun(Query("select"), Ping(), session=session)


def _unknown_types() -> Begun:
    """Types that the server is asked for, in the first answer or in the values."""
    return _begun(Query("select $1", [1]), Prepare("select $1"), SimpleQuery("select"))


def _stream() -> Begun:
    return _begun(Streaming("select $1", [1], fetch_size=1))


def _batch() -> Begun:
    """The second batch of a stream in a transaction, and what comes in between."""
    record = backend.column("r", oids.REST["record"][0])
    described = backend.described([23], [INT4, record])
    suspended = backend.BIND_COMPLETE + backend.message("s") + backend.ready("T")
    session, stream = in_transaction(
        Streaming("select $1", [1], fetch_size=1), described, suspended
    )
    assert isinstance(stream, Streaming)
    return _begun(stream.fetch(), Query("select $1", [1]), session=session)


def _fenced() -> Begun:
    session, operations = _cached()
    session.raise_fence(_asking())
    return session, operations


def _asking() -> Fence:
    fence = Fence()
    fence.requests = 1
    return fence


def _shared() -> Begun:
    """Queries of several callers, one of whom has given up: others may have to begin anew."""
    session, operations = _fenced()
    session.unordered = True
    operations[0].abandon()
    fence = session.pending[-1]
    assert isinstance(fence, Fence)
    fence.lower()
    return session, operations


def _watched() -> Begun:
    """A session that is to be with a primary, while it is cleaned."""
    session = RoleSession(TypeRegistry())
    session.watch("primary", RoleWatch())
    return _begun(Clean("ROLLBACK"), Query("select $1", [1]), session=session)


def _pipeline() -> Begun:
    session, operations = _cached()
    more = SimpleQuery("select"), QueryMany("select $1", [(1,), (2,), (3,)]), Clean("ROLLBACK")
    return session, operations + _begun(*more, session=session)[1]


def _behind_a_pooler() -> Begun:
    return _begun(Query("select $1", [1]), Ping(), session=_fresh(prepare=False))


def _copying_out() -> Begun:
    replies = backend.PARSE_COMPLETE, backend.BIND_COMPLETE, backend.copy_out(0)
    session, copy = after(CopyOut("copy t to stdout"), *replies, session=_fresh())
    session, behind = _begun(Query("select $1", [1]), session=session)
    return session, [copy, *behind]


def _copying_in() -> Begun:
    return _begun(CopyIn("copy t from stdin", [b"1\n", b"2\n"]), Ping())


def _copying_records() -> Begun:
    records = [(1, "a"), ("2", None), (3, "c")]
    return _begun(CopyRecords("t", records), Ping())


def _replicating() -> Begun:
    """The changes of a table whose columns have known types, and one that has not."""
    columns = [("n", oids.INT4, True), ("t", oids.TEXT, False), ("u", 99_999, False)]
    table = pgoutput.xlog_data(pgoutput.relation(1, columns))
    operation = Replicating(
        "slot",
        "START_REPLICATION",
        Lsn(),
        status_interval=10.0,
        clock=float,
        wall_clock=float,
    )
    session = after(operation, backend.copy_both() + table, session=_fresh()).session
    return session, [operation]


CONVERSATIONS: dict[str, Conversation] = {
    "idle": Conversation(_begun),
    "login": Conversation(_login),
    "login_scram": Conversation(partial(_login, backend.sasl("SCRAM-SHA-256", "OAUTHBEARER"))),
    "login_let_in": Conversation(partial(_login, backend.AUTHENTICATION_OK)),
    "query": Conversation(lambda: _begun(Query("select $1", [1]), Query("select $1", [2]))),
    "query_cached": Conversation(_cached),
    "query_rows": Conversation(_rows),
    "query_unknown_types": Conversation(_unknown_types),
    "query_fenced": Conversation(_fenced),
    "query_shared": Conversation(_shared),
    "query_watched": Conversation(_watched),
    "query_many": Conversation(
        lambda: _begun(QueryMany("select $1", [(1,), (2,), (3,)]), Ping()), is_told=False
    ),
    "script": Conversation(lambda: _begun(SimpleQuery("select; select"), Ping())),
    "stream": Conversation(_stream),
    "stream_taken": Conversation(_stream, is_told=False),
    "stream_batch": Conversation(_batch),
    "pipeline": Conversation(_pipeline, is_told=False),
    "pooler": Conversation(_behind_a_pooler),
    "copy_out": Conversation(_copying_out),
    "copy_in": Conversation(_copying_in, is_told=False),
    "copy_records": Conversation(_copying_records, is_told=False),
    "published_types": Conversation(lambda: _begun(PublishedTypes(["p"]), Ping()), is_told=False),
    "replication": Conversation(_replicating),
    "replication_taken": Conversation(_replicating, is_told=False),
}
_MOST_WRITES = 20


def _pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[i : i + size] for i in range(0, len(data), size))


def _said(session: Session) -> bytes:
    """All that the session has to say now."""
    said = b""
    for _ in range(_MOST_WRITES):
        data = session.data_to_send()
        if not data:
            break
        said += data
    if session.pending and isinstance(session.pending[0], Startup):
        session.pending[0].use_pause()  # as shells do
    return said


def _play(begin: Callable[[], Begun], pieces: Iterable[bytes], *, takes: bool = False) -> Any:
    """What came of it: the outcome, the operations' data, what was said, what the session is told.

    `takes`: rows, as they come.
    """
    session, operations = begin()
    said = _said(session)
    for piece in pieces:
        session.receive_data(piece)
        if takes:
            _take(operations)
        said += _said(session)
    _check_state(session, operations)
    came_to = outcome(session, operations)
    copied = [_copied(operation) for operation in operations]
    settings = list(session.parameters.items()), session.backend_key
    check_fit_for_the_next_query(session)
    for operation in operations:
        assert operation.done
        assert operation.error is None or isinstance(operation.error, Error)
    return came_to, copied, said, settings


def _take(operations: list[Operation]) -> None:
    for operation in operations:
        if isinstance(operation, CopyOut):
            operation.take_received()
        elif isinstance(operation, Streaming):
            while operation.is_ready:
                operation.take()
        elif isinstance(operation, Replicating):
            _changes(operation)


def _changes(operation: Replicating) -> list[Any]:
    """All that has come; what ends a transaction is acknowledged, if it still can be."""
    taken: list[Any] = []
    while operation.is_ready:
        try:
            taken += operation.take()
        except Error as error:
            taken.append(repr(error))
    for message in taken:
        if isinstance(message, Commit) and not operation.abandoned:
            operation.acknowledge(message)
    return taken


def _check_state(session: Session, operations: list[Operation]) -> None:
    failure = session.failure
    assert repr(session)
    assert session.server_version >= 0
    if failure is not None:
        assert isinstance(failure, Error)
        assert not session.pending
        assert not session.out
        assert session.floor is None
        assert all(operation.done for operation in operations)
        assert not session.in_step
    # What has been answered stands in front of what has not.
    done = [operation.done for operation in operations]
    assert done == sorted(done, reverse=True)
    for operation in operations:
        assert repr(operation)
        assert operation.done or operation in session.pending


def _copied(operation: Operation) -> Any:
    if isinstance(operation, CopyOut):
        return operation.take_received()
    if isinstance(operation, Streaming):
        return [batch for batch in operation.batches if batch]
    if isinstance(operation, Replicating):
        return _changes(operation)
    return None


def talk(conversation: Conversation, data: bytes) -> None:
    """The first byte says how what follows is cut; it comes whole, or in messages, once more."""
    feed = Feed(data)
    size = 1 + feed.below(64)
    said = feed.rest()
    if not conversation.is_told:
        _play(conversation.begin, backend.split(said), takes=True)
        _play(conversation.begin, _pieces(said, size))
        return
    cut = _play(conversation.begin, _pieces(said, size))
    whole = _play(conversation.begin, (said,))
    if not cut[0].failure:
        assert cut == whole
        return
    # A piece may show but one of two things that are wrong, and not the one that is seen first in
    # the whole; and what is under way may have had an error of its own in an earlier one.
    assert _roughly(cut[0]) == _roughly(whole[0])
    assert cut[2].startswith(whole[2])


def _roughly(came_to: Outcome) -> Outcome:
    return replace(came_to, operations=[], failure=came_to.failure.partition(":")[0])


TARGETS = {
    f"session_{name}": partial(talk, conversation) for name, conversation in CONVERSATIONS.items()
}
