"""Several operations in one turn of a driver, on a line that says and takes what it is told.

Time is the test's own: it passes while something is waited for, and only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

import pgwire
from pgwire.blocking import together
from pgwire.blocking.net import Deadline
from pgwire.driving import ASK_AGAIN, GRACE, PATIENCE
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.cleaning import Clean
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from tests.support import backend

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pgwire.protocol.operation import Operation

READY = backend.ready()
EMPTY = backend.message("I") + READY  # the answer to an empty query
CANCELED = backend.error("57014") + READY
SYNC = backend.message("S")


class World:
    """Driver, channel and crowd in one. `said`: what comes, in this order; then nothing does.

    An exception among it is raised in its place.
    """

    tls = None

    def __init__(self, monkeypatch: pytest.MonkeyPatch, said: Iterable[bytes | Exception]) -> None:
        monkeypatch.setattr(together, "monotonic", self.clock)
        self.session = Session(TypeRegistry())
        self.channel = self
        self.now: float = 0.0
        self.said = [*said]
        self.sent: list[bytes] = []
        self.sent_at: list[float] = []
        self.pumped: list[bytes] = []
        self.cancels: list[float] = []
        self.aborted: float | None = None
        self.joining: list[tuple[float, list[Operation]]] = []
        self.deadlines: dict[Operation, float] = {}
        self.settled: list[Operation] = []
        self.looking = False
        self.heard: list[object] = []

    def run(self, *operations: Operation) -> list[BaseException | None]:
        self.joining.insert(0, (0.0, [*operations]))
        together.SharedRun(cast("Any", self), self).run()
        return [operation.error for operation in operations]

    def clock(self) -> float:
        return self.now

    # The crowd

    def take(self) -> list[Operation]:
        come = [some for at, some in self.joining if at <= self.now]
        self.joining = [(at, some) for at, some in self.joining if at > self.now]
        operations = [operation for some in come for operation in some]
        for operation in operations:
            operation.waiter = self
        return operations

    def settle(self, operations: Sequence[Operation]) -> None:
        self.settled += operations

    def next_deadline(self) -> float | None:
        return min((at for each, at in self.deadlines.items() if not each.abandoned), default=None)

    def next_look(self) -> float | None:
        return self.now + 0.25 if self.looking else None

    def expire(self, now: float) -> None:
        for operation, at in self.deadlines.items():
            if at <= now:
                operation.abandon()

    # The channel and the driver

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        self.sent_at.append(self.now)

    def _pump(self, data: bytes, _deadline: float | None) -> None:
        self.pumped.append(data)
        while self.said:
            self.session.receive_data(self.receive())

    def wait_readable(self, deadline: float | None) -> None:
        if self.said:
            return
        assert deadline is not None, "it waits for ever"
        self.now = max(self.now, deadline)
        raise Deadline

    def receive(self) -> bytes:
        said = self.said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    def send_cancel_request(self, _deadline: float) -> None:
        self.cancels.append(self.now)

    def catch_up(self) -> bool:
        while self.said:
            self.session.receive_data(self.receive())
        return False

    def abort_when_gone(self) -> None:
        self.aborted = self.now
        self.session.fail(pgwire.InterfaceError("the connection is closed"))

    def deliver_events(self) -> None:
        self.heard += self.session.events
        self.session.events.clear()
        raise ZeroDivisionError("a listener of the connection")


class Plain(SimpleQuery):
    """Any query that lets others write behind it."""

    def begin(self, session: Session) -> bool:
        super().begin(session)
        return False


def queries(count: int, size: int = 0) -> list[Plain]:
    return [Plain(" " * size) for _ in range(count)]


def test_who_is_answered_is_settled_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [EMPTY * 2, EMPTY])
    some = queries(3)
    assert world.run(*some) == [None] * 3
    assert world.settled == some
    assert len(world.sent) == 1
    assert world.aborted is None


def test_what_a_listener_raises_goes_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [backend.notice() + EMPTY])
    assert world.run(*queries(1)) == [None]
    assert len(world.heard) == 1


def test_who_joins_while_nothing_comes_is_written_at_the_next_look(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [])
    first, second = queries(2)
    world.looking = True
    world.joining = [(1.0, [second])]
    world.deadlines = {first: 2.0, second: 2.0}
    world.run(first)
    assert world.sent_at == [0.0, 1.0]
    assert world.settled == [first, second]


def test_a_server_that_does_not_answer_is_asked_again_and_given_up_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request may have overtaken its query. Each further timeout began the patience anew."""
    world = World(monkeypatch, [])
    some = queries(4)
    world.deadlines = {each: 1.0 + n * 0.75 * PATIENCE for n, each in enumerate(some[:3])}
    outcome = world.run(*some)
    assert world.cancels == pytest.approx([1.0 + GRACE + n * ASK_AGAIN for n in range(4)])
    assert world.aborted == 1.0 + PATIENCE
    assert world.settled == some
    assert isinstance(outcome[3], pgwire.ConnectionLost)
    assert "did not answer a cancel request" in str(outcome[3].__cause__)


def test_each_that_is_unwanted_is_canceled_when_it_is_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [])
    some = queries(3)
    world.deadlines = {some[0]: 1.0, some[1]: 1.0}
    plain = world.send_cancel_request

    def cancel(deadline: float) -> None:
        plain(deadline)
        last = len(world.cancels) == 2
        world.said = [CANCELED + EMPTY, READY, READY] if last else [CANCELED]

    monkeypatch.setattr(world, "send_cancel_request", cancel)
    outcome = world.run(*some)
    assert world.cancels == pytest.approx([1.0 + GRACE, 1.0 + 2 * GRACE])
    assert outcome[2] is None
    assert world.settled == some
    assert world.aborted is None
    assert world.session.in_step


def test_what_is_unwanted_is_written_before_it_is_canceled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request that the server had before its query hit nothing: that ran, and held us up."""
    world = World(monkeypatch, [])
    (query,) = queries(1)
    world.session.submit(query)
    query.abandon()
    written: list[bytes] = []

    def cancel(_deadline: float) -> None:
        written.extend(world.sent)
        world.said = [CANCELED, READY]

    monkeypatch.setattr(world, "send_cancel_request", cancel)
    world.run()
    assert len(written) == 1
    assert world.aborted is None
    assert world.session.in_step


def test_what_ends_by_itself_soon_is_not_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It had been canceled at once, and as like as not the request hit the one behind it."""
    world = World(monkeypatch, [])
    first, second = queries(2)
    world.deadlines = {first: 1.0}
    plain = world.expire

    def expire(now: float) -> None:
        plain(now)
        world.said = [EMPTY, EMPTY, READY]

    monkeypatch.setattr(world, "expire", expire)
    assert world.run(first, second) == [None, None]
    assert world.cancels == []
    assert world.sent[-1] == SYNC
    assert world.session.in_step


def test_what_does_not_stop_answering_is_canceled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time passes, though something can be read at any time."""
    world = World(monkeypatch, [])
    (first,) = queries(1)
    world.deadlines = {first: 1.0}
    world.joining = [(1.0, [])]
    rows = [backend.row_description(backend.column("n")), *[backend.row(backend.int4(7))] * 20]
    plain = world.receive

    def receive() -> bytes:
        world.now += GRACE / 8
        return plain()

    def expire(_now: float) -> None:
        first.abandon()
        world.said = [*rows]

    def cancel(_deadline: float) -> None:
        world.cancels.append(world.now)
        world.said = [CANCELED, READY]

    monkeypatch.setattr(world, "receive", receive)
    monkeypatch.setattr(world, "expire", expire)
    monkeypatch.setattr(world, "send_cancel_request", cancel)
    world.run(first)
    [asked_at] = world.cancels
    assert 1.0 + GRACE <= asked_at <= 1.0 + GRACE * 1.25
    assert world.session.in_step


def test_who_joins_while_something_is_canceled_is_written_behind_the_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [])
    first, second = queries(2)
    world.deadlines = {first: 1.0}
    world.looking = True
    world.joining = [(1.0 + GRACE / 2, [second])]

    def cancel(_deadline: float) -> None:
        assert len(world.sent) == 1
        world.said = [CANCELED, READY, EMPTY]

    monkeypatch.setattr(world, "send_cancel_request", cancel)
    world.run(first)
    assert second.error is None
    assert world.sent[1] == SYNC
    assert world.settled == [first, second]


@pytest.mark.parametrize("sent", [True, False])
def test_a_request_that_cannot_be_delivered(monkeypatch: pytest.MonkeyPatch, sent: bool) -> None:
    """One that is on its way, for all that is known, may hit whoever comes next."""
    world = World(monkeypatch, [])
    first, second = queries(2)
    world.deadlines = {first: 1.0}

    def cancel(_deadline: float) -> None:
        world.cancels.append(world.now)
        if sent:
            world.said = [EMPTY]
            raise Deadline
        if len(world.cancels) > 1:
            world.said = [CANCELED, EMPTY, READY]
        raise OSError("no route")

    monkeypatch.setattr(world, "send_cancel_request", cancel)
    outcome = world.run(first, second)
    assert len(world.cancels) == (1 if sent else 2)
    assert (world.aborted is None) is not sent
    assert (outcome[1] is None) is not sent


def test_a_fence_that_is_not_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [])
    first, second = queries(2)
    world.deadlines = {first: 1.0}
    monkeypatch.setattr(
        world, "send_cancel_request", lambda _deadline: world.said.append(CANCELED + EMPTY)
    )
    assert world.run(first, second)[1] is None
    assert world.sent[-1] == SYNC
    assert world.aborted == 1.0 + GRACE + PATIENCE


@pytest.mark.parametrize("answer", [EMPTY, b""])
def test_a_cleaning_in_front_is_not_canceled(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    """It is nobody's; but who waits behind it does not wait for ever."""
    world = World(monkeypatch, [])
    clean = Clean("")
    world.session.submit(clean)
    (query,) = queries(1)
    if answer:
        world.said = [answer, answer]
    else:
        world.deadlines = {query: 1.0}
    world.run(query)
    assert world.cancels == []
    assert world.settled == [query]
    assert world.aborted == (None if answer else 1.0 + PATIENCE)


def test_much_that_is_unanswered_is_written_while_reading(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server reads nothing as long as nobody reads its answers."""
    world = World(monkeypatch, [])
    first, second, third, fourth = queries(4, size=20_000)
    world.looking = True
    world.joining = [(0.25, [second]), (0.5, [third]), (0.75, [fourth])]
    plain = world.take

    def take() -> list[Operation]:
        if world.now == 0.5:
            world.said = [EMPTY * 3]
        come = plain()
        if fourth in come:
            world.said = [EMPTY]
        return come

    monkeypatch.setattr(world, "take", take)
    monkeypatch.setattr(world, "settle", lambda some: settle(some))

    def settle(some: Sequence[Operation]) -> None:
        world.settled.extend(some)
        world.now = max(world.now, 0.75)

    assert world.run(first) == [None]
    assert world.settled == [first, second, third, fourth]
    assert len(world.sent) == 2  # the first one, and the last: what was before it is answered
    assert len(world.pumped) == 2


def test_what_is_unwanted_becomes_the_head_while_writing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It was canceled only after something else had been read, which may be never."""
    world = World(monkeypatch, [])
    first, second = queries(2)
    (third,) = queries(1, size=40_000)
    world.deadlines = {second: 0.5}
    world.joining = [(0.5, [third])]
    plain = world.expire

    def expire(now: float) -> None:
        plain(now)
        world.said = [EMPTY]  # is read while the third is written

    monkeypatch.setattr(world, "expire", expire)
    monkeypatch.setattr(world, "send_cancel_request", lambda _deadline: cancels())

    def cancels() -> None:
        world.cancels.append(world.now)
        world.said = [CANCELED + EMPTY, READY]

    world.run(first, second)
    assert world.cancels == [0.5 + GRACE]
    assert third.error is None
    assert world.settled == [first, second, third]
    assert world.aborted is None


@pytest.mark.parametrize("error", [OSError("cut"), pgwire.ProtocolError("no"), ValueError("bug")])
def test_what_goes_wrong_is_told_to_everybody(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """Whatever it is: nothing is raised, and nobody waits for ever."""
    world = World(monkeypatch, [EMPTY, error])
    some = queries(3)
    first, second, third = world.run(*some)
    assert first is None
    assert isinstance(second, pgwire.Error)
    assert isinstance(third, pgwire.ConnectionLost)
    assert world.settled == some
    assert world.aborted is not None


def test_the_servers_last_words_are_read_when_the_line_breaks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World(monkeypatch, [OSError("reset"), EMPTY + backend.fatal()])
    first, second = world.run(*queries(2))
    assert first is None
    assert isinstance(second, pgwire.ConnectionLost)
    assert "shutting down" in str(second)


def test_half_a_record_of_tls_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [cast("Any", None), EMPTY])
    assert world.run(*queries(1)) == [None]


def test_the_end_of_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(monkeypatch, [EMPTY, b""])
    first, second = world.run(*queries(2))
    assert first is None
    assert isinstance(second, pgwire.ConnectionLost)
