"""Cancel requests at any moment, on a server that carries out one query after the other.

Whoever gives up does what the shells do: raises a fence, sends requests, lowers the fence once none
is on its way any more. Whom they hit is up to the server; what comes of it is not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import example, given, settings, strategies as st

from pgwire.errors import PostgresError
from pgwire.protocol.query import Query
from pgwire.protocol.session import Session
from pgwire.protocol.simple import Fence
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from pgwire.protocol.operation import Operation

SQL = "select $1"
DESCRIBED = backend.described([23], [backend.column("n")])
CANCELED = backend.error("57014")
# As often as they are here.
ACTIONS = [*["answer", "request arrives"] * 4, *["give up", "submit", "write"] * 2]
ACTIONS += ["lower", "ask again"]


class Server:
    """What it has been asked for and has not answered; what it has carried out."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []  # up to a Sync, each; of a fence it is all there is
        self.struck = False  # what it is at has been canceled
        self.carried_out: list[int] = []
        self.hit: list[int] = []

    def read(self, data: bytes) -> None:
        asked = b""
        for message in backend.split(data):
            asked += message
            if message[:1] == b"S":
                self.asked.append(asked)
                asked = b""
        assert not asked

    def strike(self) -> None:
        self.struck = bool(self.asked)

    def answer(self) -> bytes:
        if not self.asked:
            return b""
        asked, struck, self.struck = self.asked.pop(0), self.struck, False
        number = 0
        for message in backend.split(asked):
            if message[:1] == b"B":
                number = int.from_bytes(message[-8:-4])
        if struck:
            self.hit.append(number)
            return CANCELED + backend.ready()
        if not number:
            return backend.ready()
        self.carried_out.append(number)
        return backend.executed(backend.row(backend.int4(number)))


class World:
    """A session, the server, and a shell that gives up."""

    def __init__(self, *, unordered: bool) -> None:
        self.server = Server()
        self.session = Session(REGISTRY)
        self.session.submit(Query(SQL, [0]))
        self.session.receive_data(DESCRIBED + backend.executed())
        self.session.data_to_send()
        self.session.unordered = unordered
        self.queries: list[Query] = []
        self.recovering: Operation | None = None
        self.fences: list[Fence] = []  # that have not been lowered
        self.on_their_way = 0

    def act(self, action: str, number: int) -> None:
        match action:
            case "submit":
                query = Query(SQL, [len(self.queries) + 1])
                self.queries.append(query)
                self.session.submit(query)
            case "write":
                self.server.read(self.session.data_to_send())
            case "answer":
                self.session.receive_data(self.server.answer())
            case "give up":
                left = [query for query in self.queries if not query.done and not query.abandoned]
                if left:
                    left[number % len(left)].abandon()
            case "ask again":
                self._ask()
            case "request arrives" if self.on_their_way:
                self.on_their_way -= 1
                self.server.strike()
            case "lower":
                self._lower()
        self._recover_head()

    def _recover_head(self) -> None:
        pending = self.session.pending
        if pending and pending[0].abandoned and pending[0] is not self.recovering:
            self.recovering = pending[0]
            self.fences.append(fence := Fence())
            self.session.raise_fence(fence)
            self._ask()

    def _ask(self) -> None:
        """Of those who have asked once the last goes on until it is answered."""
        if self.fences and self.recovering is not None and not self.recovering.done:
            self.fences[-1].requests += 1
            self.on_their_way += 1

    def _lower(self) -> None:
        """None while a request is on its way, nor while what is to be canceled runs."""
        if self.on_their_way or (self.recovering is not None and not self.recovering.done):
            return
        for fence in self.fences:
            fence.lower()
        self.fences.clear()

    def run_down(self) -> None:
        for _ in range(10 + 10 * len(self.queries)):
            for action in ("request arrives", "write", "answer", "lower"):
                self.act(action, 0)
        assert not self.session.pending
        assert self.session.failure is None


@given(
    st.booleans(),
    st.integers(0, 6),
    st.lists(st.tuples(st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=40),
)
@example(True, 3, [("give up", 0), ("answer", 0), ("request arrives", 0), ("answer", 0)])
@example(False, 3, [("give up", 0), ("answer", 0), ("request arrives", 0), ("answer", 0)])
@example(False, 2, [("give up", 0), ("answer", 0), ("request arrives", 0), ("answer", 0)])
@settings(max_examples=300)  # most harm nobody anyway
def test_nobody_is_harmed(unordered: bool, count: int, actions: list[tuple[str, int]]) -> None:
    world = World(unordered=unordered)
    for action, number in [*[("submit", 0)] * count, ("write", 0), *actions]:
        world.act(action, number)
    world.run_down()
    server = world.server
    assert len(set(server.carried_out)) == len(server.carried_out), "none is carried out twice"
    if not unordered:
        assert server.carried_out == sorted(server.carried_out), "and none overtakes another"
    last = max((n for n, query in enumerate(world.queries, 1) if query.done), default=0)
    for number, query in enumerate(world.queries, 1):
        assert query.done
        if query.abandoned:
            continue
        if query.error is None:
            assert query.result.scalar() == number
            continue
        assert isinstance(query.error, PostgresError)
        assert query.error.stray
        assert number in server.hit
        assert not unordered
        assert number < last, "what nobody was behind begins anew"
