"""Scripts of what happens to a pool, to be played by its core alone and by either shell. I-39.

A script is a function of its seed: who asks for a connection at which time, for how long, who
gives up, how long each opening takes and whether it fails, when the pool is resized, expired and
ended. A *trace* is what came of it: for every request what it ended with, when, and on which
connection, counted in the order of the attempts to open one. No two things happen at one time.
"""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import ConnectionFailed, ProgrammingError
from pgwire.pool.config import PoolConfig
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import CloseConnection, OpenConnection
from pgwire.pool.slots import Slot
from pgwire.pool.waiters import Waiter, WaiterState

if TYPE_CHECKING:
    from collections.abc import Callable

START = 1000.0
CLOSING = 0.0013  # how long a connection takes to close

# A request's number, what became of it, when, and on which connection (0: on none).
Outcome = tuple[int, str, float, int]


class Request(NamedTuple):
    """A lease, or a single query, whose future can be cancelled while it waits in the queue."""

    number: int
    at: float
    holds: float
    timeout: float | None  # leases only: a query has the pool's `checkout_timeout`
    is_query: bool
    cancelled_at: float | None
    discards: bool


class Opening(NamedTuple):
    """The n-th attempt to open a connection."""

    takes: float
    error: Exception | None


class Script:
    """What happens, in times since the pool was made. `ageing`: connections grow old as well."""

    def __init__(self, seed: int, *, ageing: bool = True) -> None:
        self._random = random = Random(seed)
        self._times: set[float] = set()
        max_size = random.choice((1, 2, 3))
        self.options: dict[str, Any] = {
            "min_size": random.randint(0, max_size),
            "max_size": max_size,
            "max_waiting": random.choice((None, None, 3)),
            "max_opening": random.choice((1, 2)),
            "max_uses": random.choice((None, None, 2)),
            "max_lifetime": random.choice((None, 1.1)),
            "idle_timeout": random.choice((None, 0.7)),
            "check_after": None,
        }
        if not ageing:
            self.options |= {"max_lifetime": None, "idle_timeout": None}
        self.checkout_timeout = random.choice((None, 0.31, 3.0))
        self.failing = random.choice((0.0, 0.0, 0.3, 0.7))
        self.length = random.choice((0.2, 1.0, 4.0))
        self.requests = [self._request(number) for number in range(random.randint(3, 25))]
        self.orders: list[tuple[float, str, tuple[int, ...]]] = []
        for _ in range(random.randint(0, 3)):
            size = random.randint(1, 3)
            what = random.choice((("expire", ()), ("resize", (random.randint(0, size), size))))
            self.orders.append((self._time(self.length), *what))
        self.ends_at = self.length * 0.6 + self._time(self.length)
        self.openings: list[Opening] = []

    def opening(self, number: int) -> Opening:
        """The same in every play, however many there are."""
        while len(self.openings) <= number:
            takes = self._time(0.2)
            error: Exception | None = None
            if self._random.random() < self.failing:
                hopeless = self._random.random() < 0.2
                error = (ProgrammingError if hopeless else ConnectionFailed)("nobody is there")
            self.openings.append(Opening(takes, error))
        return self.openings[number]

    def _request(self, number: int) -> Request:
        chance = self._random.random
        at = self._time(self.length)
        is_query = chance() < 0.4
        return Request(
            number,
            at,
            holds=self._time(0.3),
            timeout=None if is_query else self._random.choice((None, None, 0.0, self._time(0.2))),
            is_query=is_query,
            cancelled_at=at + self._time(0.2) if is_query and chance() < 0.3 else None,
            discards=not is_query and chance() < 0.15,
        )

    def _time(self, most: float) -> float:
        """One that nothing else happens at."""
        while True:
            time = round(self._random.random() * most, 7)
            if time not in self._times:
                self._times.add(time)
                return time


def outcome(number: int, what: str, now: float, connection: int = 0) -> Outcome:
    return number, what, round(now - START, 6), connection


class Play:
    """The core alone, with a list of what is to happen next."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.now = START
        self.core: PoolCore[int] = PoolCore(PoolConfig(**script.options), jitter=lambda: 0.5)
        self.trace: list[Outcome] = []
        self._agenda: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()
        self._opened = 0
        self._waiting: dict[Waiter[int], Request] = {}

    def run(self) -> list[Outcome]:
        core, script = self.core, self.script
        core.start(self.now)
        self._carry_out()
        for request in script.requests:
            self._at(START + request.at, lambda request=request: self._ask(request))  # type: ignore[misc]
        for at, what, arguments in script.orders:
            self._at(START + at, lambda what=what, a=arguments: getattr(core, what)(*a, self.now))  # type: ignore[misc]
        self._at(START + script.ends_at, lambda: core.close(self.now))
        while not core.ended:
            self._step()
        self.trace.append(outcome(-1, "ended", self.now))
        while self._agenda:
            self._step()
        return sorted(self.trace)

    def _at(self, when: float, what: Callable[[], object]) -> None:
        heappush(self._agenda, (when, next(self._numbers), what))

    def _step(self) -> None:
        due = self.core.next_deadline()
        if due is not None and (not self._agenda or due <= self._agenda[0][0]):
            self.now = max(self.now, due)
            self.core.tick(self.now)
        else:
            self.now, _, what = heappop(self._agenda)
            what()
        self._carry_out()

    def _ask(self, request: Request) -> None:
        timeout = request.timeout
        if timeout is None:
            timeout = self.script.checkout_timeout
        deadline = None if timeout is None else self.now + timeout
        try:
            answer = self.core.acquire(self.now, deadline)
        except Exception as error:
            self._note(request, type(error).__name__)
            return
        if isinstance(answer, Slot):
            self._use(request, answer)
        elif answer.state is WaiterState.WAITING:
            self._waiting[answer] = request
            if request.cancelled_at is not None:
                self._at(START + request.cancelled_at, lambda: self._cancel(answer))
        else:
            self._end_of(request, answer)

    def _cancel(self, waiter: Waiter[int]) -> None:
        request = self._waiting.pop(waiter, None)
        if request is not None:
            self.core.abandon(waiter, self.now)
            self._note(request, "cancelled")

    def _use(self, request: Request, slot: Slot[int]) -> None:
        self._note(request, "granted", slot.connection)
        self._at(
            self.now + request.holds,
            lambda: self.core.release(slot, self.now, reusable=not request.discards),
        )

    def _end_of(self, request: Request, waiter: Waiter[int]) -> None:
        if waiter.state is WaiterState.GRANTED:
            assert waiter.slot is not None
            self._use(request, waiter.slot)
        elif waiter.state is WaiterState.TIMED_OUT:
            self._note(request, "PoolTimeout")
        else:
            self._note(request, type(waiter.error).__name__)

    def _note(self, request: Request, what: str, connection: int = 0) -> None:
        self.trace.append(outcome(request.number, what, self.now, connection))

    def _carry_out(self) -> None:
        while effects := self.core.take_effects():
            for effect in effects:
                if isinstance(effect, Waiter):
                    request = self._waiting.pop(effect, None)
                    if request is not None:
                        self._end_of(request, effect)
                elif isinstance(effect, OpenConnection):
                    self._open(effect.slot)
                else:
                    assert isinstance(effect, CloseConnection)
                    slot = effect.slot
                    self._at(
                        self.now + CLOSING,
                        lambda slot=slot: self.core.closed(slot, self.now),  # type: ignore[misc]
                    )

    def _open(self, slot: Slot[int]) -> None:
        opening = self.script.opening(self._opened)
        self._opened += 1
        number = self._opened
        core, error = self.core, opening.error

        def ended() -> None:
            if error is None:
                core.opened(slot, number, self.now)
            else:
                mendable = not isinstance(error, ProgrammingError)
                core.open_failed(slot, error, self.now, mendable=mendable)

        self._at(self.now + opening.takes, ended)
