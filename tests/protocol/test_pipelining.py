"""Operations in flight together, against a server that follows the protocol."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError, NotSupportedError, PostgresError, ProtocolError
from pgwire.protocol.messages import TransactionStatus
from pgwire.protocol.preparing import Prepare
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Ping, SimpleQuery
from tests.support.backend_double import FAILURES, BackendDouble, converse, run
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.protocol.operation import Operation


class Kind(NamedTuple):
    """An operation, made from a number, and the check that an answer is its own."""

    make: Callable[[int], Operation]
    check: Callable[[int, Operation], bool]


def _value(number: int, operation: Operation) -> bool:
    return operation.error is None and operation.result.scalars() == [number]


def _sqlstate(sqlstate: str) -> Callable[[int, Operation], bool]:
    def check(_: int, operation: Operation) -> bool:
        return isinstance(operation.error, PostgresError) and operation.error.sqlstate == sqlstate

    return check


def _error(kind: type[Exception]) -> Callable[[int, Operation], bool]:
    return lambda _, operation: type(operation.error) is kind and operation.result is None


def _failing(stage: str, *, cached: bool) -> Kind:
    def make(number: int) -> Operation:
        return Query(f"fail {stage}" if cached else f"fail {stage} /* {number} */")

    return Kind(make, _sqlstate(FAILURES[stage]))


def _tags(*tags: str) -> Callable[[int, Operation], bool]:
    return lambda _, operation: [result.command_tag for result in operation.result] == [*tags]


def _all(*checks: Callable[[int, Operation], bool]) -> Callable[[int, Operation], bool]:
    return lambda number, operation: all(check(number, operation) for check in checks)


KINDS = {
    "cached": Kind(lambda n: Query("echo", [n]), _value),
    "uncached": Kind(lambda n: Query(f"echo /* {n} */", [n]), _value),
    "rows": Kind(
        lambda n: Query(f"rows {n % 5}"),
        lambda n, o: o.error is None and o.result.scalars() == list(range(1, n % 5 + 1)),
    ),
    "empty": Kind(lambda _: Query("empty"), lambda _, o: o.result.command_tag == ""),
    "misfit": Kind(lambda _: Query("echo", [1.5]), _error(DataError)),
    "uncached misfit": Kind(lambda n: Query(f"echo /* misfit {n} */", [1.5]), _error(DataError)),
    "copy out": Kind(lambda _: Query("copy out"), _error(NotSupportedError)),
    "prepare": Kind(
        lambda n: Prepare(f"echo /* own {n} */"), lambda n, o: f"own {n}" in o.result.sql
    ),
    "prepare failing": Kind(lambda _: Prepare("fail parse"), _sqlstate("42601")),
    "ping": Kind(lambda _: Ping(), lambda _, o: o.error is None),
    "script": Kind(lambda _: SimpleQuery("rows 2; ; nothing"), _tags("SELECT 2", "NOTHING")),
    "script failing": Kind(
        lambda _: SimpleQuery("rows 1; fail execute; rows 2"),
        _all(_sqlstate("22012"), _tags("SELECT 1")),
    ),
    "script with copy": Kind(
        lambda _: SimpleQuery("copy out; rows 1"), lambda _, o: type(o.error) is NotSupportedError
    ),
    **{
        f"{stage} {'cached' if cached else 'uncached'}": _failing(stage, cached=cached)
        for stage in FAILURES
        for cached in (True, False)
    },
}


class Wire:
    """A session and a server with bytes under way in both directions, moved at random."""

    def __init__(self, seed: int, cache_size: int = 256) -> None:
        self.random = random.Random(seed)
        self.session = Session(REGISTRY, statement_cache_size=cache_size)
        self.server = BackendDouble()
        self.to_server = b""
        self.to_client = b""

    def move(self) -> bool:
        """Let one side read a few of the bytes that wait for it; False if there are none."""
        self.to_server += self.session.data_to_send()
        if self.to_server and (not self.to_client or self.random.random() < 0.5):
            count = self.random.randint(1, len(self.to_server))
            taken, self.to_server = self.to_server[:count], self.to_server[count:]
            self.to_client += self.server.receive(taken)
        elif self.to_client:
            count = self.random.randint(1, min(len(self.to_client), 40))
            taken, self.to_client = self.to_client[:count], self.to_client[count:]
            self.session.receive_data(taken)
        else:
            return False
        return True

    def check_all_said(self, operations: list[Operation]) -> None:
        """Everything is done, in step, and each operation that began had one Sync answered.

        A query has had another, where it was prepared while answers were outstanding.
        """
        assert all(operation.done for operation in operations), self.session
        assert self.session.failure is None
        assert self.session.in_step
        own = sum(isinstance(o, Prepare) and o.statement is not None for o in operations)
        begun = sum(hasattr(operation, "session") for operation in operations)
        assert self.server.syncs == begun + self.server.syncs_of_preparing - own


mixes = st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=12)
seeds = st.integers(0, 2**32)


@given(mixes, seeds, st.sampled_from([0, 1, 2, 256]))
def test_each_operation_of_a_random_mix_gets_its_own_answer(
    names: list[str], seed: int, cache_size: int
) -> None:
    wire = Wire(seed, cache_size)
    operations = []
    for number, name in enumerate(names):
        operations.append(KINDS[name].make(number))
        wire.session.submit(operations[-1])
        while wire.random.random() < 0.5 and wire.move():
            pass
    while wire.move():
        pass
    wire.check_all_said(operations)
    for number, (name, operation) in enumerate(zip(names, operations, strict=True)):
        assert KINDS[name].check(number, operation), (name, operation, operation.error)


@given(mixes, seeds)
def test_the_same_mix_one_by_one_gives_the_same_answers(names: list[str], seed: int) -> None:
    wire = Wire(seed)
    operations = []
    for number, name in enumerate(names):
        operations.append(KINDS[name].make(number))
        wire.session.submit(operations[-1])
        while wire.move():
            pass
        assert wire.session.in_step
        assert KINDS[name].check(number, operations[-1]), (name, operations[-1])
    wire.check_all_said(operations)


@given(mixes, seeds)
@example(["uncached", "uncached"], 0)
def test_abandoned_operations_take_nothing_from_the_others(names: list[str], seed: int) -> None:
    """Abandoned at random moments: queued, in any phase, or when it is too late."""
    wire = Wire(seed)
    operations: list[Operation] = []

    def abandon_sometimes() -> None:
        if wire.random.random() < 0.2:
            wire.random.choice(operations).abandon()

    for number, name in enumerate(names):
        operations.append(KINDS[name].make(number))
        wire.session.submit(operations[-1])
        abandon_sometimes()
        while wire.random.random() < 0.5 and wire.move():
            abandon_sometimes()
    while wire.move():
        abandon_sometimes()
    wire.check_all_said(operations)
    for number, (name, operation) in enumerate(zip(names, operations, strict=True)):
        if not operation.abandoned:
            assert KINDS[name].check(number, operation), (name, operation, operation.error)
    _check_marker(wire.session, wire.server)


@given(st.lists(st.sampled_from(["cached", "uncached", "ping", "forget"]), max_size=12), seeds)
def test_statements_that_vanish_heal_or_are_reported_by_their_own_query(
    names: list[str], seed: int
) -> None:
    """DEALLOCATE ALL behind our back at any moment: each answer is its own, or 26000."""
    wire = Wire(seed)
    operations = []
    for number, name in enumerate(names):
        if name == "forget":
            # Not between the flights of one query: the server runs nothing else there.
            if wire.session.in_step:
                wire.server.forget_statements()
            continue
        operation = KINDS[name].make(number)
        operations.append((number, name, operation))
        wire.session.submit(operation)
        while wire.random.random() < 0.6 and wire.move():
            pass
    while wire.move():
        pass
    assert wire.session.in_step
    for number, name, operation in operations:
        assert KINDS[name].check(number, operation) or _sqlstate("26000")(number, operation)
    _check_marker(wire.session, wire.server)


def _check_marker(session: Session, server: BackendDouble) -> None:
    marker = Query("echo /* marker */", [7_654_321])
    run(session, server, marker)
    assert marker.result.scalars() == [7_654_321]


@pytest.mark.parametrize("name", [*sorted(KINDS)])
@pytest.mark.parametrize("warm", [False, True], ids=["first time", "cached"])
def test_abandoned_after_every_byte_of_the_answer(name: str, warm: bool) -> None:
    """Then the rest is drained, and the query behind it gets its own answer."""
    position = 0
    while True:
        session, server = Session(REGISTRY), BackendDouble()
        if warm:
            run(session, server, KINDS[name].make(3))
        operation, behind = KINDS[name].make(3), Query("echo /* behind */", [position])
        session.submit(operation)
        session.submit(behind)
        if position == 0:
            operation.abandon()
        taken = 0
        while data := session.data_to_send():
            for byte in server.receive(data):
                session.receive_data(bytes([byte]))
                taken += 1
                if taken == position:
                    operation.abandon()
        assert operation.done
        assert behind.result.scalars() == [position]
        assert session.in_step
        if taken < position:
            break
        position += 1
    assert position > 5


def test_what_is_abandoned_before_it_has_begun_is_never_said() -> None:
    session, server = Session(REGISTRY), BackendDouble()
    first, second, third = (Query(f"echo /* {n} */", [n]) for n in range(3))
    for operation in (first, second, third):
        session.submit(operation)
    second.abandon()
    converse(session, server)
    assert (first.result.scalar(), third.result.scalar()) == (0, 2)
    assert second.done
    assert not hasattr(second, "session")
    assert server.syncs == 2 + server.syncs_of_preparing == 3


def test_what_is_brief_is_said_all_the_same() -> None:
    """A ROLLBACK that nobody waits for any more must not leave the transaction open."""
    session, server = Session(REGISTRY), BackendDouble()
    run(session, server, SimpleQuery("begin"))
    echo, rollback = Query("echo", [1]), SimpleQuery("rollback")
    rollback.is_brief = True
    session.submit(echo)
    session.submit(rollback)
    rollback.abandon()
    converse(session, server)
    assert rollback.done
    assert session.transaction_status is TransactionStatus.IDLE


def test_an_abandoned_query_is_not_executed_if_there_is_time() -> None:
    """Between its two flights it says Sync instead of Bind."""
    session, server = Session(REGISTRY), BackendDouble()
    query = Query("echo", [1])
    session.submit(query)
    described = server.receive(session.data_to_send())
    query.abandon()
    session.receive_data(described)
    assert session.data_to_send() == b"S\0\0\0\4"


def test_without_the_floor_rule_the_replies_would_come_in_a_wrong_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two queries that are not cached, submitted together.

    If the second one wrote while the first waits for its types, the server would answer its
    Parse before the first one's Bind, and both would wait for what has gone to the other.
    """

    def outcome() -> list[Any]:
        session, server = Session(REGISTRY), BackendDouble()
        queries = [Query("echo /* a */", [1]), Query("echo /* b */", [2])]
        run(session, server, *queries)
        return [query.error or query.result.scalar() for query in queries]

    assert outcome() == [1, 2]

    begin = Query.begin

    def begin_and_pass_the_floor(query: Query, session: Session) -> bool:
        begin(query, session)
        return False

    monkeypatch.setattr(Query, "begin", begin_and_pass_the_floor)
    first, _ = outcome()
    assert isinstance(first, ProtocolError)
    assert str(first) == "PARSE_COMPLETE not expected by Query in phase BINDING"


def test_one_sync_for_each_operation_whatever_becomes_of_it() -> None:
    """Counted by the server; a healed query speaks twice."""
    for name, kind in KINDS.items():
        for warm in (False, True):
            session, server = Session(REGISTRY), BackendDouble()
            if warm:
                run(session, server, kind.make(2))
            before = server.syncs
            operation = kind.make(2)
            run(session, server, operation)
            assert server.syncs - before == hasattr(operation, "session"), (name, warm)
    session, server = Session(REGISTRY), BackendDouble()
    run(session, server, Query("echo", [1]))
    server.forget_statements()
    run(session, server, Query("echo", [1]))
    assert server.syncs == 3


@pytest.mark.parametrize("make", [lambda: Query("copy in"), lambda: SimpleQuery("copy in; rows 1")])
def test_copy_from_stdin_alone_is_refused_and_the_session_goes_on(
    make: Callable[[], Operation],
) -> None:
    session, server = Session(REGISTRY), BackendDouble()
    for _ in range(2):
        operation = make()
        run(session, server, operation)
        assert isinstance(operation.error, NotSupportedError)
        assert not server.copying_in
        _check_marker(session, server)
    assert server.syncs == 4


@pytest.mark.parametrize("behind", ["cached", "uncached", "ping", "script"])
def test_copy_from_stdin_in_front_of_others_ends_the_session(behind: str) -> None:
    """The server skips their Sync, or gives up: they can never be answered."""
    session, server = Session(REGISTRY), BackendDouble()
    run(session, server, Query("copy in"))
    first, second = Query("copy in"), KINDS[behind].make(1)
    session.submit(first)
    session.submit(second)
    converse(session, server)
    assert isinstance(session.failure, NotSupportedError)
    assert isinstance(first.error, NotSupportedError)
    assert second.done
    assert second.error is not None


@pytest.mark.parametrize("behind", ["cached", "uncached", "ping", "script"])
def test_copy_from_stdin_in_a_script_in_front_of_others_is_refused(behind: str) -> None:
    """A script keeps the floor, so that nobody has written behind it."""
    session, server = Session(REGISTRY), BackendDouble()
    first, second = SimpleQuery("copy in"), KINDS[behind].make(1)
    session.submit(first)
    session.submit(second)
    converse(session, server)
    assert isinstance(first.error, NotSupportedError)
    assert second.done
    assert second.error is None
    _check_marker(session, server)
