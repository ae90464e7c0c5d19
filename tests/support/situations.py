"""Every operation in every one of its phases: where tests of all messages start from.

`WAYS` has a line for each way that leads to a phase. A new operation, or a new phase, must be
added here: `tests/protocol/test_phases.py` compares with what the operations declare.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.config import Secret
from pgwire.demands import PROTOCOL_3_0, PROTOCOL_3_2
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol.cleaning import Clean
from pgwire.protocol.copying import CopyIn
from pgwire.protocol.copying_out import CopyOut
from pgwire.protocol.copying_records import CopyRecords
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.fetching import ClosePortal, Fetch
from pgwire.protocol.many import QueryMany
from pgwire.protocol.operation import Idle
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.published import PublishedTypes
from pgwire.protocol.query import Query
from pgwire.protocol.replicating import Replicating
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence, Ping, SimpleQuery
from pgwire.protocol.sources import Inlet, weight_of, weight_of_record
from pgwire.protocol.startup import Startup
from pgwire.protocol.streaming import Streaming
from tests.support import backend, pgoutput
from tests.support.catalogue import MOOD, found
from tests.support.conversations import REGISTRY
from tests.support.scram_server import NONCE, SECRET, Server

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation, Phase

INT4 = backend.column("n")
RECORD = backend.column("r", oids.REST["record"][0])
DESCRIBED = backend.described([23], [INT4])
COLUMNS = backend.row_description(INT4)


class Situation(NamedTuple):
    """An operation in the phase that is to be tried."""

    session: Session
    operation: Operation


def after(operation: Operation, *replies: bytes, session: Session | None = None) -> Situation:
    """The situation once the operation has had these replies."""
    session = session or Session(REGISTRY)
    session.submit(operation)
    for reply in replies:
        session.data_to_send()
        session.receive_data(reply)
    session.data_to_send()
    assert session.failure is None
    return Situation(session, operation)


def cached(*replies: bytes) -> Situation:
    """A query whose statement the session knows already."""
    session = after(Query("select $1", [1]), DESCRIBED, backend.executed()).session
    return after(Query("select $1", [2]), *replies, session=session)


def idle() -> Situation:
    session = Session(REGISTRY)
    return Situation(session, Idle(session))


def fence(*, lowered: bool) -> Situation:
    session = Session(REGISTRY)
    operation = Fence()
    session.raise_fence(operation)
    if lowered:
        operation.lower()
    session.data_to_send()
    return Situation(session, operation)


def strike(session: Session) -> None:
    """A cancel request for an earlier operation hits whatever is the next to be answered."""
    fence = Fence()
    session.raise_fence(fence)
    fence.requests = 1
    session.receive_data(backend.error("57014"))


def struck() -> Situation:
    """A query that was canceled in place of another."""
    session, operation = after(Query("select $1", [1]), DESCRIBED, backend.BIND_COMPLETE)
    strike(session)
    return Situation(session, operation)


def parted() -> Situation:
    """A query that was prepared while an answer was outstanding, and waits for its Sync's."""
    session = Session(REGISTRY)
    session.submit(Ping())
    operation = Query("select $1", [1])
    session.submit(operation)
    session.data_to_send()
    session.receive_data(backend.ready() + DESCRIBED)
    return Situation(session, operation)


def startup(*replies: bytes) -> Situation:
    token = Secret("token")
    credentials = Credentials("me", Secret(SECRET), NONCE, exposed=False, token=token)
    versions = (PROTOCOL_3_0, PROTOCOL_3_2)
    return after(Startup({"user": "me"}, credentials, versions), *replies)


def scram(steps: int) -> Situation:
    server = Server(SECRET.encode(), iterations=1)
    session, operation = startup(backend.sasl("SCRAM-SHA-256"))
    first = server.first(b"n,,n=*,r=" + NONCE.encode())
    if steps == 1:
        return Situation(session, operation)
    session.receive_data(backend.authentication(11, first))
    answer = session.data_to_send()
    if steps == 3:
        session.receive_data(backend.authentication(12, server.final(answer[5:])))
    return Situation(session, operation)


FRESH = Query, ("select $1", [1])
WAYS: list[tuple[type[Operation], Phase, Callable[[], Situation]]] = [
    (Idle, Idle.IDLE, idle),
    (Ping, Ping.WAITING, lambda: after(Ping())),
    (Fence, Fence.RAISED, partial(fence, lowered=False)),
    (Fence, Fence.WAITING, partial(fence, lowered=True)),
    (Query, Query.STRUCK, struck),
    (Startup, Startup.AUTHENTICATING, startup),
    (Startup, Startup.VERSION_AGREED, lambda: startup(backend.negotiation(PROTOCOL_3_0))),
    (Startup, Startup.SCRAM_BEGUN, lambda: scram(1)),
    (Startup, Startup.SCRAM_ANSWERED, lambda: scram(2)),
    (Startup, Startup.PASSWORD_SENT, lambda: scram(3)),
    (Startup, Startup.PASSWORD_SENT, lambda: startup(backend.authentication(3))),
    (Startup, Startup.PASSWORD_SENT, lambda: startup(backend.authentication(5, b"salt"))),
    (Startup, Startup.TOKEN_SENT, lambda: startup(backend.sasl("OAUTHBEARER"))),
    (
        Startup,
        Startup.TOKEN_REFUSED,
        lambda: startup(backend.sasl("OAUTHBEARER"), backend.authentication(11, b"{}")),
    ),
    (Startup, Startup.STARTING, lambda: startup(backend.AUTHENTICATION_OK)),
    (
        Startup,
        Startup.STARTING,
        lambda: startup(backend.AUTHENTICATION_OK, backend.key_data()),
    ),
]


UNKNOWN = backend.described([23], [backend.column("m", MOOD.oid)])
ASKED = backend.PARSE_COMPLETE, backend.BIND_COMPLETE
FOUND = found(MOOD)
LOOKUPS: list[tuple[str, tuple[bytes, ...]]] = [
    ("LOOKUP_PARSING", ()),
    ("LOOKUP_BINDING", ASKED[:1]),
    ("LOOKUP_FETCHING", ASKED),
    ("LOOKUP_FETCHING", (*ASKED, FOUND)),
    ("LOOKUP_CLOSING", (*ASKED, FOUND, backend.complete())),
]
LATE: list[tuple[str, tuple[bytes, ...]]] = [
    *LOOKUPS,
    ("LOOKUP_ENDING", (*ASKED, FOUND, backend.complete(), backend.CLOSE_COMPLETE)),
    ("LOOKUP_ENDING", (backend.error("57014"),)),
]


def fresh(operation: Callable[[], Operation], *replies: bytes) -> Situation:
    """With types of its own: what is learned here is not to be known elsewhere."""
    return after(operation(), *replies, session=Session(TypeRegistry()))


def _lookup_ways() -> None:
    record = backend.described([23], [RECORD])
    field = backend.int4(1) + backend.int4(MOOD.oid) + backend.int4(2) + b"ok"
    read = (backend.row(field), backend.complete(), backend.ready())
    moods = backend.row_description(backend.column("m", MOOD.oid)), backend.row(b"ok")
    many = partial(QueryMany, "select $1", [(1,)])
    copied = backend.described([], [backend.column("m", MOOD.oid)])
    early: list[tuple[Callable[[], Operation], tuple[bytes, ...]]] = [
        (partial(Query, "select $1", [1]), (UNKNOWN,)),
        (many, (UNKNOWN,)),
        (partial(CopyRecords, "t", [("ok",)], ["m"]), (copied,)),
    ]
    late: list[tuple[Callable[[], Operation], tuple[bytes, ...]]] = [
        (partial(Query, "select $1", [1]), (record, backend.BIND_COMPLETE, *read)),
        (many, (record, backend.BIND_COMPLETE, *read)),
        (partial(Prepare, "select $1"), (UNKNOWN, backend.ready())),
        (partial(SimpleQuery, "x"), (*moods, backend.complete(), backend.ready())),
    ]
    called = UNKNOWN, *ASKED, FOUND, backend.complete(), backend.CLOSE_COMPLETE
    call = partial(fresh, partial(Query, "call p($1)", [1]), *called)
    WAYS.append((Query, Query.LOOKED_UP, call))
    WAYS.append((Query, Query.LOOKED_UP, parted))
    for ways, lookups in ((early, LOOKUPS), (late, LATE)):
        for operation, before in ways:
            kind = type(operation())
            for name, replies in lookups:
                way = partial(fresh, operation, *before, *replies)
                WAYS.append((kind, getattr(kind, name), way))


def _way(
    kind: Callable[..., Operation], arguments: tuple[Any, ...], replies: tuple[bytes, ...]
) -> Situation:
    return after(kind(*arguments), *replies)


def _simple_ways(operation: type[SimpleQuery | PublishedTypes]) -> None:
    ways: list[tuple[Phase, tuple[bytes, ...]]] = [
        (operation.RUNNING, ()),
        (operation.RUNNING, (COLUMNS, backend.complete())),
        (operation.FETCHING, (COLUMNS,)),
        (operation.FETCHING, (COLUMNS, backend.row(b"1"))),
        (operation.COPYING_OUT, (backend.copy_out(0),)),
        (operation.COPYING_BOTH, (backend.copy_both(),)),
        (operation.FAILED, (backend.error("22012"),)),
        (operation.FAILED, (backend.copy_in(0),)),
    ]
    for phase, replies in ways:
        WAYS.append((operation, phase, partial(_way, operation, ("x",), replies)))


def _extended_ways() -> None:
    bound = DESCRIBED, backend.BIND_COMPLETE
    first_flight: list[tuple[str, tuple[bytes, ...]]] = [
        ("PARSING", ()),
        ("DESCRIBING_PARAMETERS", (backend.PARSE_COMPLETE,)),
        (
            "DESCRIBING_COLUMNS",
            (backend.PARSE_COMPLETE, backend.parameter_description(23)),
        ),
        ("ENDING", (backend.error("42601"),)),
    ]
    for name, replies in first_flight:
        for operation, arguments in (FRESH, (Prepare, ("select $1",))):
            way = partial(_way, operation, arguments, replies)
            WAYS.append((operation, getattr(operation, name), way))
    WAYS.append((Prepare, Prepare.ENDING, lambda: after(Prepare("select $1"), DESCRIBED)))
    second_flight: list[tuple[Phase, tuple[bytes, ...]]] = [
        (Query.BINDING, bound[:1]),
        (Query.EXECUTING, bound),
        (Query.EXECUTING, (*bound, backend.row(backend.int4(1)))),
        (Query.COPYING_OUT, (*bound, backend.copy_out(0))),
        (Query.COMPLETE, (*bound, backend.complete())),
        (Query.ENDING, (*bound, backend.error("22012"))),
        (Query.ENDING, (*bound, backend.copy_in(0))),
        (Query.STALE, (backend.error("42P05"),)),
    ]
    for phase, replies in second_flight:
        WAYS.append((Query, phase, partial(_way, *FRESH, replies)))
    many = QueryMany, ("select $1", [(1,)])
    for name, replies in first_flight:
        WAYS.append((QueryMany, getattr(QueryMany, name), partial(_way, *many, replies)))
    records: list[tuple[Phase, tuple[bytes, ...]]] = [
        (QueryMany.BINDING, bound[:1]),
        (QueryMany.EXECUTING, bound),
        (QueryMany.EXECUTING, (*bound, backend.row(backend.int4(1)))),
        (QueryMany.COMPLETE, (*bound, backend.complete())),
        (QueryMany.ENDING, (*bound, backend.error("22012"))),
    ]
    for phase, replies in records:
        WAYS.append((QueryMany, phase, partial(_way, *many, replies)))
    WAYS.append((Query, Query.BINDING, cached))
    WAYS.append((Query, Query.STALE, lambda: cached(backend.error("26000"))))
    WAYS.append((Query, Query.EXECUTING, lambda: cached(backend.BIND_COMPLETE)))


def _copy_in(*, is_open: bool) -> CopyIn:
    """Where it `is_open` its source is not at its end yet."""
    return CopyIn("copy t from stdin", Inlet(weight_of) if is_open else b"")


def _copy_records(*records: tuple[Any, ...], is_open: bool = False) -> CopyRecords:
    if not is_open:
        return CopyRecords("t", records, ["n"])
    inlet = Inlet(weight_of_record)
    for record in records:
        inlet.put(record)
    return CopyRecords("t", inlet, ["n"])


def _copy_ways() -> None:
    start: list[tuple[str, tuple[bytes, ...]]] = [
        ("COPY_PARSING", ()),
        ("COPY_BINDING", ASKED[:1]),
        ("COPY_STARTING", ASKED),
    ]
    copying = *ASKED, backend.copy_in(0)
    sending: list[tuple[str, tuple[bytes, ...]]] = [
        *start,
        ("FINISHING", copying),
        ("DRAINING", (*ASKED, backend.copy_out(0))),
        ("COMPLETE", (*copying, backend.complete("COPY 1"))),
        ("ENDING", (*ASKED, backend.complete("COPY 1"))),
        ("ENDING", (*copying, backend.error("22P02"))),
    ]
    described = backend.described([], [INT4])
    for name, replies in sending:
        way = partial(_made, partial(_copy_in, is_open=False), replies)
        WAYS.append((CopyIn, getattr(CopyIn, name), way))
        way = partial(_made, partial(_copy_records, (1,)), (described, *replies))
        WAYS.append((CopyRecords, getattr(CopyRecords, name), way))
    waiting = partial(_made, partial(_copy_in, is_open=True), copying)
    WAYS.append((CopyIn, CopyIn.COPYING, waiting))
    typing: list[tuple[str, tuple[bytes, ...]]] = [
        ("PARSING", ()),
        ("DESCRIBING_PARAMETERS", (backend.PARSE_COMPLETE,)),
        ("DESCRIBING_COLUMNS", (backend.PARSE_COMPLETE, backend.parameter_description())),
        ("ENDING", (backend.error("42P01"),)),
        ("GATHERING", (described,)),
    ]
    for name, replies in typing:
        way = partial(_made, partial(_copy_records, is_open=True), replies)
        WAYS.append((CopyRecords, getattr(CopyRecords, name), way))
    for phase, make in (
        (CopyRecords.COPYING, partial(_copy_records, (1,), is_open=True)),
        (CopyRecords.PARTING, partial(_copy_records, (1,), ("2",))),
    ):
        WAYS.append((CopyRecords, phase, partial(_made, make, (described, *copying))))
    for name, replies in LOOKUPS[:2]:  # which columns are generated
        way = partial(_made, partial(CopyRecords, "t", [(1,)]), (described, *replies))
        WAYS.append((CopyRecords, getattr(CopyRecords, name), way))
    out: list[tuple[str, tuple[bytes, ...]]] = [
        *start,
        ("COPYING", (*ASKED, backend.copy_out(0))),
        ("COPYING", (*ASKED, backend.copy_out(0), backend.copy_data(b"1\n"))),
        ("FINISHING", (*ASKED, backend.copy_out(0), backend.COPY_DONE)),
        ("COMPLETE", (*ASKED, backend.complete("COPY 1"))),
        ("ENDING", (*ASKED, backend.copy_in(0))),
        ("ENDING", (backend.error("42601"),)),
    ]
    for name, replies in out:
        way = partial(_way, CopyOut, ("copy t to stdout",), replies)
        WAYS.append((CopyOut, getattr(CopyOut, name), way))


SUSPENDED = backend.message("s")
_stream = partial(Streaming, "select $1", [1], fetch_size=1)


def in_transaction(operation: Operation, *replies: bytes) -> Situation:
    """With types of its own, as in `fresh`."""
    session = after(Ping(), backend.ready("T"), session=Session(TypeRegistry())).session
    return after(operation, *replies, session=session)


def stream_struck() -> Situation:
    session, operation = after(_stream(), DESCRIBED, backend.BIND_COMPLETE)
    strike(session)
    session.data_to_send()
    return Situation(session, operation)


def fetching(columns: bytes, *replies: bytes) -> Situation:
    """The second batch of a stream inside of a transaction."""
    first = DESCRIBED if columns == COLUMNS else backend.described([23], [RECORD])
    answer = backend.BIND_COMPLETE + SUSPENDED + backend.ready("T")
    session, stream = in_transaction(_stream(), first, answer)
    assert isinstance(stream, Streaming)
    return after(stream.fetch(), *replies, session=session)


def _stream_ways() -> None:
    bound = DESCRIBED, backend.BIND_COMPLETE
    row = backend.row(backend.int4(1))
    ways: list[tuple[str, tuple[bytes, ...]]] = [
        ("PARSING", ()),
        ("DESCRIBING_PARAMETERS", (backend.PARSE_COMPLETE,)),
        ("DESCRIBING_COLUMNS", (backend.PARSE_COMPLETE, backend.parameter_description(23))),
        ("ENDING", (backend.error("42601"),)),
        ("BINDING", bound[:1]),
        ("EXECUTING", bound),
        ("EXECUTING", (*bound, row)),
        ("EXECUTING", (*bound, row, SUSPENDED)),
        ("WAITING", (*bound, row, SUSPENDED, row, SUSPENDED)),
        ("COPYING_OUT", (*bound, backend.copy_out(0))),
        ("COMPLETE", (*bound, row, backend.complete())),
        ("ENDING", (*bound, row, backend.error("22012"))),
        ("ENDING", (*bound, backend.copy_in(0))),
        ("STALE", (backend.error("42P05"),)),
    ]
    for name, replies in ways:
        WAYS.append((Streaming, getattr(Streaming, name), partial(_made, _stream, replies)))
    called = UNKNOWN, *ASKED, FOUND, backend.complete(), backend.CLOSE_COMPLETE
    call = partial(fresh, partial(Streaming, "call p($1)", [1]), *called)
    WAYS.append((Streaming, Streaming.LOOKED_UP, call))
    WAYS.append((Streaming, Streaming.STRUCK, stream_struck))
    suspended = partial(_late_stream, (DESCRIBED, backend.BIND_COMPLETE, SUSPENDED))
    WAYS.append((Streaming, Streaming.COMPLETE, suspended))
    record = backend.row(backend.int4(1) + backend.int4(MOOD.oid) + backend.int4(2) + b"ok")
    read = backend.described([23], [RECORD]), backend.BIND_COMPLETE, record, SUSPENDED
    for name, replies in LOOKUPS:
        way = partial(fresh, _stream, UNKNOWN, *replies)
        WAYS.append((Streaming, getattr(Streaming, name), way))
        way = partial(fresh, _stream, *read, *replies)
        WAYS.append((Streaming, getattr(Streaming, name), way))
    for name, replies in LATE:
        late = *read, backend.ready("T"), *replies
        WAYS.append((Streaming, getattr(Streaming, name), partial(_late_stream, late)))
        way = partial(fetching, b"", record, SUSPENDED, backend.ready("T"), *replies)
        WAYS.append((Fetch, getattr(Fetch, name), way))
    WAYS.append((Fetch, Fetch.FETCHING, partial(fetching, COLUMNS)))
    WAYS.append((Fetch, Fetch.FETCHING, partial(fetching, COLUMNS, row)))
    WAYS.append((Fetch, Fetch.ENDING, partial(fetching, COLUMNS, SUSPENDED)))
    WAYS.append((Fetch, Fetch.ENDING, partial(fetching, COLUMNS, backend.error("22012"))))
    close = partial(ClosePortal, b"portal\0")
    WAYS.append((ClosePortal, ClosePortal.CLOSING, partial(_made, close, ())))
    WAYS.append((ClosePortal, ClosePortal.ENDING, partial(_made, close, (backend.CLOSE_COMPLETE,))))


def _late_stream(replies: tuple[bytes, ...]) -> Situation:
    return in_transaction(_stream(), *replies)


def _made(make: Callable[[], Operation], replies: tuple[bytes, ...]) -> Situation:
    return after(make(), *replies)


def _replicating() -> Replicating:
    keywords: Any = {"status_interval": 10.0, "clock": float, "wall_clock": float}
    return Replicating("s", "START_REPLICATION", Lsn(0), **keywords)


def _replication_ways() -> None:
    both = backend.copy_both()
    ways: list[tuple[str, tuple[bytes, ...]]] = [
        ("STARTING", ()),
        ("STREAMING", (both,)),
        ("STREAMING", (both, pgoutput.xlog_data(pgoutput.begin()))),
        ("ENDING", (backend.error("42704"),)),
        ("ENDING", (both, backend.COPY_DONE)),
        ("ENDING", (both, backend.complete("COPY 0"))),
    ]
    for name, replies in ways:
        way = partial(_made, _replicating, replies)
        WAYS.append((Replicating, getattr(Replicating, name), way))


_copy_ways()
_replication_ways()
_stream_ways()
_simple_ways(SimpleQuery)
_simple_ways(Clean)
_simple_ways(PublishedTypes)
_extended_ways()
_lookup_ways()
