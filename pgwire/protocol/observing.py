"""Observing: what a session can tell of the operations that it has been asked for.

A session is observed by making it one of another class: `observe` puts `ObservedSession` in front
of its own. So the code of a session that nobody observes is what it would be without any of this;
decision 22 has the numbers, and what else was tried.

An observed session notes each operation that has a `kind` when it is submitted, looks after every
input which of them are done, and keeps a report of each (`take_reports`). Among its `events` stands
a mark then, so that whoever delivers these after the batch delivers the reports as well.

Knows no callbacks, and no clock but the one that it is given.
"""

from __future__ import annotations

from collections import deque
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pgwire.protocol.events import ReportsAreThere
from pgwire.protocol.fetching import Fetch
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.rows import Result
from pgwire.protocol.session import Session
from pgwire.protocol.streaming import Streaming
from pgwire.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextvars import Context

    from pgwire.errors import Error
    from pgwire.protocol.operation import Operation


class Endpoint(NamedTuple):
    """Where a session is, as the settings have it; `port` belongs to a socket's name as well."""

    host: str = ""
    port: int | None = None
    database: str = ""
    user: str = ""


class Asked:
    """That somebody has asked for an operation. Made by who is asked first: pool or session."""

    __slots__ = ("at", "context", "granted_at", "is_reported", "pipelined")

    def __init__(self, at: float) -> None:
        self.at = at
        self.context: Context = copy_context()
        self.granted_at: float | None = None  # when a pool had a connection for it
        self.pipelined = False
        self.is_reported = False


@dataclass(frozen=True, repr=False)
class QueryReport:
    """One operation that has ended, as callbacks for "query" get it.

    `operation` is the method that was called: "query", "query_many", "script" (transactions'
    BEGIN and COMMIT are ones), "prepare", "stream", "copy_in", "copy_out" or "copy_records".
    `duration` is in seconds, from the call to the end of the answer: waiting included, for a
    pool's connection (`waited` seconds of it; None where no pool was asked) or for other queries,
    and what the caller did between two rows of a stream.

    `error` is what the caller was told: the server's error, `QueryTimeout`, `CancelledError`,
    `KeyboardInterrupt`, `PoolTimeout`, …; None for a stream that was left early. Its text may have
    values in it. `row_count` is what the server counted, of a stream the rows that came; None where
    nothing was counted. `byte_count` is of COPY's data, `batch_size` the number of records of
    a `query_many`. `parameterized`: values travelled apart from the SQL, which has none of those.
    `pipelined`: something else was under way on its connection when it was sent. `retried`: its
    prepared statement was stale, and was prepared again.

    `host`, `port`, `database` and `user` are those of the settings; empty, as `backend_pid` is 0,
    where a pool had no connection for it. `pool` is the pool's name.
    """

    operation: str
    sql: str
    duration: float
    row_count: int | None = None
    command_tag: str = ""
    error: BaseException | None = None
    byte_count: int | None = None
    batch_size: int | None = None
    parameterized: bool = False
    pipelined: bool = False
    retried: bool = False
    waited: float | None = None
    host: str = ""
    port: int | None = None
    database: str = ""
    user: str = ""
    backend_pid: int = 0
    pool: str | None = None

    def __repr__(self) -> str:
        outcome = f"{type(self.error).__name__}" if self.error else self.command_tag or "done"
        return f"<QueryReport {self.operation} {outcome} in {self.duration:.6f} s>"

    def reveal_parameters(self) -> tuple[Any, ...] | None:
        """The values that went with the SQL, for whoever must have them; None without any.

        They are in nothing else of the report. Those of a `query_many` are not kept.
        """
        secret: Secret | None = self.__dict__.get("_values")
        return None if secret is None else tuple(secret.reveal())


# A report, and the context of who asked: in it callbacks are to be called.
Observation = tuple[QueryReport, "Context"]


class ObservedSession(Session):
    """See the module. Only ever in front of another class of sessions, by `observe`."""

    clock: Callable[[], float]
    endpoint: Endpoint
    pool: str | None
    is_muted: bool  # nobody observes any more
    _is_apart = False  # whether what is withdrawn will be told of together
    _place: dict[str, Any]  # what is the same in each report, once there is one
    _watched: deque[Operation]  # in the order in which they were submitted
    _streams: list[Streaming]  # those inside of a transaction, between two batches
    _reports: list[Observation]

    def take_reports(self) -> list[Observation]:
        """What has ended since the last call."""
        reports, self._reports = self._reports, []
        return reports

    # ---------------------------------------------------------------- what goes in

    def submit(self, operation: Operation) -> None:
        if self.is_muted and not self._watched and not self._streams:
            self._be_plain()  # here, where nobody else runs it
            self.submit(operation)
            return
        if operation.kind is not None:
            asked = operation.asked
            if asked is None:
                operation.asked = asked = Asked(self.clock())
            else:
                asked.granted_at = self.clock()
            asked.pipelined = bool(self.pending)
            self._watched.append(operation)
        elif isinstance(operation, Fetch):
            operation.stream.last_fetch = operation
        super().submit(operation)
        watched = self._watched
        if operation.done and watched and watched[-1] is operation:
            watched.pop()  # refused, or a misfit: whatever is before it goes on
            self._end(operation)
            self._look()
        elif watched and watched[0].done:
            self._look()

    def _be_plain(self) -> None:
        kind = type(self).__bases__[1]
        self.__class__ = kind
        if not self.is_muted:  # another thread has begun to observe it meanwhile
            self.__class__ = cast("type[ObservedSession]", _in_front_of(kind))

    def receive_data(self, data: bytes) -> None:
        super().receive_data(data)
        self._look()

    def fail(self, error: Error) -> None:
        super().fail(error)
        self._look()

    def data_to_send(self, more: bool = True) -> bytes:
        data = super().data_to_send(more)
        if self._watched and self._watched[0].done:
            self._look()
        return data

    def _withdraw(self, operation: Operation) -> None:
        super()._withdraw(operation)
        if not self._is_apart and operation in self._watched:
            self._watched.remove(operation)
            self._end(operation)
            self._look()

    def _withdraw_unwanted(self, first: Operation) -> None:
        self._look()  # then what is done among these has been withdrawn
        super()._withdraw_unwanted(first)
        self._sort_out()

    def _pass_floor_apart(self) -> None:
        self._look()
        self._is_apart = True  # else each would be looked for here
        try:
            super()._pass_floor_apart()
        finally:
            self._is_apart = False
            self._sort_out()

    def _sort_out(self) -> None:
        watched, self._watched = self._watched, deque()
        for operation in watched:
            if operation.done:
                self._end(operation)
            else:
                self._watched.append(operation)
        self._look()

    # ---------------------------------------------------------------- what comes out

    def _look(self) -> None:
        """See which of them are done, and that the reports that there are will be taken."""
        watched = self._watched
        while watched and watched[0].done:
            operation = watched.popleft()
            if isinstance(operation, Streaming) and operation.lives_on:
                self._streams.append(operation)
            else:
                self._end(operation)
        if self._streams:
            self._look_at_streams()
        events = self.events
        if self._reports and not (events and events[-1] is ReportsAreThere):
            events.add(ReportsAreThere, 0)

    def _look_at_streams(self) -> None:
        """A stream inside of a transaction ends with that, if not before."""
        is_over = self.failure is not None or self.transaction_status is TransactionStatus.IDLE
        for stream in tuple(self._streams):
            if is_over or stream.is_exhausted:
                self._streams.remove(stream)
                self._end(stream)

    def _end(self, operation: Operation) -> None:
        asked = operation.asked
        assert asked is not None
        if asked.is_reported or self.is_muted:
            return
        if not self._place:
            pid = 0 if self.backend_key is None else self.backend_key.pid
            self._place = self.endpoint._asdict() | {"backend_pid": pid, "pool": self.pool}
        error = _error_of(operation, self.failure)
        self._reports.append(reported(operation, self.clock(), error, self._place))


def observe(
    session: Session, clock: Callable[[], float], endpoint: Endpoint, pool: str | None
) -> None:
    """Have a session keep reports of what it is asked for from now on. Any thread may call.

    What a pool has said of itself stays, whoever else observes its connection.
    """
    observed = cast("ObservedSession", session)
    is_new = not isinstance(session, ObservedSession)
    if is_new or pool is not None:  # a pool's clock is the one that its queries are asked by
        observed.clock, observed.endpoint, observed.pool = clock, endpoint, pool
        observed._place = {}
    observed.is_muted = False
    if is_new:
        observed._watched, observed._streams, observed._reports = deque(), [], []
        session.__class__ = _in_front_of(type(session))


def stop_observing(session: Session) -> None:
    """Have it keep none any more. Any thread may call; the session is what it was once it can."""
    if isinstance(session, ObservedSession):
        session.is_muted = True


_classes: dict[type[Session], type[Session]] = {}


def _in_front_of(kind: type[Session]) -> type[Session]:
    if kind not in _classes:
        _classes[kind] = type(f"Observed{kind.__name__}", (ObservedSession, kind), {})
    return _classes[kind]


# ---------------------------------------------------------------- reports


def reported(
    operation: Operation, now: float, error: BaseException | None, place: Mapping[str, Any]
) -> Observation:
    """The report of an operation that has ended, whoever has seen to it, and that it has been made.

    `place` has the fields that say where it was.
    """
    asked = operation.asked
    assert asked is not None
    asked.is_reported = True
    values: Any = operation.values
    fields = {
        **place,
        "operation": operation.kind,
        "sql": operation.sql,
        "duration": now - asked.at,
        "error": error,
        "byte_count": operation.byte_count,
        "batch_size": operation.batch_size,
        "parameterized": bool(values) or operation.kind == "query_many",
        "pipelined": asked.pipelined,
        "retried": operation.is_retried,
        "waited": None if asked.granted_at is None else asked.granted_at - asked.at,
        "row_count": None,
        "command_tag": "",
    }
    if isinstance(operation, Streaming):
        fields["row_count"] = operation.row_count
    elif error is None:
        fields["row_count"], fields["command_tag"] = _counted(operation)
    if values:
        fields["_values"] = Secret(values)
    # Its `__init__` would set each field by a call of its own, as it is frozen.
    report = object.__new__(QueryReport)
    object.__setattr__(report, "__dict__", fields)
    return report, asked.context


def _counted(operation: Operation) -> tuple[int | None, str]:
    """The number of rows and the command tag; a script's are their sum, and the last one."""
    result = operation.result
    if isinstance(result, Result):
        return result.row_count, result.command_tag
    if isinstance(result, list):
        counts = [each.row_count for each in result if each.row_count is not None]
        return sum(counts) if counts else None, result[-1].command_tag if result else ""
    if isinstance(result, int):
        return result, f"COPY {result}"
    return None, ""


def _error_of(operation: Operation, failure: Error | None) -> BaseException | None:
    """What its caller was told, which may be more than the server has said."""
    if operation.is_left:
        return None
    if operation.abandoned:  # where it was given up behind his back nobody has told him
        return operation.told or operation.error
    if operation.error is not None or not isinstance(operation, Streaming):
        return operation.error
    last = operation.last_fetch
    if last is not None and (last.told or last.error):
        return last.told or last.error
    return None if operation.is_exhausted else failure
