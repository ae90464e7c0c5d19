"""A pool without connections and without time: the core, a clock set by hand, a shell that obeys.

`Simulation` plays the shell. Each of its methods is one input to the core. Afterwards it takes
the effects, compares what it sees with what it saw before, compares everything with the oracle
(`model.py`), and has the invariants checked. It believes nothing: who waits in which order, who
holds what, and how many of what there have been, is kept here, from outside. Connections are
numbers, in the order in which they were opened; so are requests.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pgwire.errors import PoolClosed, PoolDeadlock, PoolFull
from pgwire.pool.core import PoolCore
from pgwire.pool.effects import (
    CheckConnection,
    CloseConnection,
    OpenConnection,
    ResetConnection,
)
from pgwire.pool.histogram import BOUNDS
from pgwire.pool.slots import Slot, SlotState
from pgwire.pool.supply import HEAD_LIMIT, LOOK_AFTER
from pgwire.pool.waiters import Waiter, WaiterState
from tests.pool import invariants
from tests.pool.model import Model

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pgwire.pool.config import PoolConfig
    from pgwire.pool.effects import Effect

OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState

EFFECT_OF: dict[SlotState, type] = {
    OPENING: OpenConnection,
    CHECKING: CheckConnection,
    RESETTING: ResetConnection,
    CLOSING: CloseConnection,
}
COUNTER_OF = {GRANTED: "granted", TIMED_OUT: "timed_out", FAILED: "failed"}


class Times:
    """How long something took, each time: the fold of the trace that a histogram tells of."""

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.sum = 0.0

    def add(self, seconds: float) -> None:
        fits = (place for place, bound in enumerate(BOUNDS) if seconds <= bound)
        self.counts[next(fits, len(BOUNDS))] += 1
        self.sum += seconds


class Simulation:
    """One pool under observation. `watched` may be cleared to get somewhere quickly."""

    def __init__(self, config: PoolConfig, core: type[PoolCore[int]] = PoolCore) -> None:
        self.config = config
        self.watched = True
        self.now = 1000.0
        self.jitter = 0.0
        self.core = core(config, jitter=lambda: self.jitter, is_alive=self._is_alive)
        self.model = Model(config, self.now)

        self.slots: list[Slot[int]] = []  # all but the closed ones
        self.states: dict[Slot[int], SlotState] = {}  # as last seen
        self.idle_since: dict[Slot[int], float] = {}
        self.numbers: dict[Slot[int], int] = {}
        self.requests: dict[Waiter[int], int] = {}
        self.queue: list[Waiter[int]] = []  # who waits, in order of arrival
        self.granted: list[Waiter[int]] = []  # granted, and not yet taken over
        self.gone: list[Waiter[int]] = []  # timed out, failed or abandoned
        self.leases: list[Slot[int]] = []  # taken over; a shared one once for each of its users
        self.users: Counter[Slot[int]] = Counter()  # of shared ones, in flight
        self.spoiled: set[Slot[int]] = set()  # shared, and a user has found it broken
        self.soiled: set[Slot[int]] = set()  # shared, and a user wants it reset
        self.late: list[Slot[int]] = []  # leases that abort() ended behind their holders' backs
        self.dead: set[int] = set()  # what a look would find dead
        self.count: Counter[str] = Counter()  # the fold of the trace
        # Since when it is being opened, leased, or shared under its present head; or waits.
        self.since: dict[Slot[int] | Waiter[int], float] = {}
        self.owners: dict[Slot[int] | Waiter[int], Hashable] = {}  # of leases and of requests
        self.times = {name: Times() for name in ("wait_time", "use_time", "connect_time")}

        self.ending = self.aborted = False
        self.expired_at = self.now
        self.last_size = 0
        self.opened_now = self.passing = 0  # by the last input
        self._input(lambda: self.core.start(self.now), self.model.start)

    @property
    def retry_at(self) -> float:
        """Before this no opening may start; the oracle's word."""
        return self.model.retry_at

    # Requests

    def acquire(
        self, timeout: float | None, owner: Hashable = None, *, shared: bool = False
    ) -> Slot[int] | Waiter[int] | None:
        """A request; None if the core refused it. An owner that waits does nothing else."""
        assert owner is None or owner not in self.who_waits()
        deadline = None if timeout is None else self.now + timeout
        self.count["requests"] += 1
        self.passing = int(timeout is not None and timeout <= 0)
        number = self.count["requests"]
        answer: list[Slot[int] | Waiter[int]] = []
        refusal = PoolClosed if self.ending else PoolFull

        def call() -> None:
            try:
                answer.append(self.core.acquire(self.now, deadline, owner, shared=shared))
            except refusal:
                self.count["rejected"] += 1
                return
            assert not self.ending, "I-28: a pool that is closed took a request"
            if isinstance(answer[0], Waiter):
                assert answer[0].shared is (shared and self.config.max_pipeline > 1)
                self.owners[answer[0]], self.since[answer[0]] = owner, self.now
                self._joined(answer[0], number)
            else:
                self.leases.append(answer[0])
                self._judge_lease(answer[0], owner, self.now, shared=shared)

        self._input(call, lambda: self.model.acquire(number, deadline, owner, shared=shared))
        if not answer:
            assert self.model.outcomes.get(number) in ("full", "closed"), "I-16: wrongly refused"
        elif isinstance(answer[0], Slot):
            assert not self.queue, "I-5: a newcomer overtook"
            assert self.model.outcomes.get(number) == "granted", "a newcomer was served wrongly"
        elif self.passing:
            assert self.model.outcomes.get(number) == "timed out", "I-15: timed out wrongly"
        return answer[0] if answer else None

    def who_waits(self) -> set[Hashable]:
        """The owners of the requests in the queue."""
        return {self.owners[waiter] for waiter in self.queue} - {None}

    def _joined(self, waiter: Waiter[int], number: int) -> None:
        self.requests[waiter] = number
        if self.passing:
            assert waiter.state is TIMED_OUT, "I-15: now or never became later"
            self.count["timed_out"] += 1
            self.gone.append(waiter)
        else:
            self.queue.append(waiter)

    def take(self, waiter: Waiter[int]) -> Slot[int]:
        """The shell takes over what was granted. This is no input: the core is not told."""
        assert waiter.slot is not None, "I-2: a grant without a slot"
        self.granted.remove(waiter)
        (self.late if self.aborted else self.leases).append(waiter.slot)
        return waiter.slot

    def abandon(self, waiter: Waiter[int]) -> None:
        """The caller loses interest, at whatever moment, unless it has taken a grant over."""
        slot, state = waiter.slot, waiter.state
        waited, held = waiter in self.queue, waiter in self.granted and not self.aborted
        if waited:
            self.queue.remove(waiter)
            self.count["abandoned"] += 1
        elif waiter in self.granted:
            self.granted.remove(waiter)
            if held and slot is not None and self.users[slot] > 1:
                self._leaves_unused(slot)
            elif held:
                self._lease_ends(slot)
        number = self.requests[waiter]
        self._input(
            lambda: self.core.abandon(waiter, self.now),
            lambda: self.model.abandon(number),
            ended=slot,
        )
        assert waiter.state is (ABANDONED if waited or held else state), "abandoned wrongly"
        if waited or held:
            self.gone.append(waiter)

    def release(
        self,
        slot: Slot[int],
        *,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        """A lease ends; after abort() its holder may not know that it has ended already.

        `alive`: the server has answered, if it could.
        """
        alive = alive and self.numbers[slot] not in self.dead
        untaken = {self.requests[waiter] for waiter in self.granted}
        if slot in self.late:
            self.late.remove(slot)
        else:
            self.leases.remove(slot)
            if self.users[slot]:
                self._says(slot, reusable=reusable, reset=reset)
            else:
                self.count["discarded"] += not reusable
            self._lease_ends(slot)
        number = self.numbers[slot]
        self._input(
            lambda: self.core.release(slot, self.now, reusable=reusable, reset=reset, alive=alive),
            lambda: self.model.release(
                number, untaken, reusable=reusable, reset=reset, alive=alive
            ),
            ended=slot,
        )

    # Reports

    def _lease_ends(self, slot: Slot[int] | None) -> None:
        assert slot is not None, "I-2: a lease without a slot"
        self.count["released"] += 1
        self.times["use_time"].add(self.now - self.since[slot])
        if self.users[slot]:
            self.users[slot] -= 1
            self.since[slot] = self.now
            self.count["discarded"] += slot in self.spoiled and not self.users[slot]

    def _leaves_unused(self, slot: Slot[int]) -> None:
        """A user of a shared connection, who never was its head."""
        self.count["released"] += 1
        self.times["use_time"].add(0.0)
        self.users[slot] -= 1

    def _says(self, slot: Slot[int], *, reusable: bool, reset: bool) -> None:
        """What a user of a shared connection says of it holds until all have left."""
        if not reusable:
            self.spoiled.add(slot)
        if reset:
            self.soiled.add(slot)

    def opened(self, slot: Slot[int]) -> None:
        self.count["opened"] += 1
        self.times["connect_time"].add(self.now - self.since[slot])
        number = self.numbers[slot]
        self._input(
            lambda: self.core.opened(slot, number, self.now),
            lambda: self.model.opened(number),
        )
        lifetime = self.config.max_lifetime
        if lifetime is not None and slot.state is not CLOSING:
            age = slot.expires_at - self.now
            shortest = lifetime * (1 - self.config.lifetime_spread)
            assert shortest - 1e-6 <= age <= lifetime + 1e-6, "I-25: a lifetime out of its range"

    def open_failed(self, slot: Slot[int], *, mendable: bool = True) -> Exception:
        self.count["open_failures"] += 1
        error = OSError("no server")
        self._input(
            lambda: self.core.open_failed(slot, error, self.now, mendable=mendable),
            lambda: self.model.open_failed(self.numbers[slot], mendable=mendable),
        )
        return error

    def checked(self, slot: Slot[int], *, ok: bool) -> None:
        self.count["lost"] += slot.state is CHECKING and not ok
        self._input(
            lambda: self.core.checked(slot, self.now, ok=ok),
            lambda: self.model.report(self.numbers[slot], ok=ok),
        )

    def reset_done(self, slot: Slot[int], *, ok: bool) -> None:
        self.count["discarded"] += slot.state is RESETTING and not ok
        self._input(
            lambda: self.core.reset_done(slot, self.now, ok=ok),
            lambda: self.model.report(self.numbers[slot], ok=ok),
        )

    def closed(self, slot: Slot[int]) -> None:
        self.count["closed"] += 1
        self._input(
            lambda: self.core.closed(slot, self.now),
            lambda: self.model.closed(self.numbers[slot]),
        )

    def lost(self, slot: Slot[int]) -> None:
        self.count["lost"] += slot.state is IDLE
        self._input(
            lambda: self.core.lost(slot, self.now),
            lambda: self.model.lost(self.numbers[slot]),
        )

    def kill(self, slot: Slot[int]) -> None:
        """The connection dies in silence: only a look will tell. This is no input.

        The last look that saw it alive is too old by then to be relied on.
        """
        self.advance(2 * LOOK_AFTER)
        self.dead.add(self.numbers[slot])
        self.model.dead.add(self.numbers[slot])

    # Time and orders

    def advance(self, seconds: float) -> None:
        """Let time pass, and tell nobody."""
        self.now += seconds
        self.model.now = self.now

    def tick(self) -> None:
        self._input(lambda: self.core.tick(self.now), self.model.tick)
        if self.watched:
            invariants.check_after_tick(self)

    def resize(self, min_size: int, max_size: int) -> None:
        def call() -> None:
            self.core.resize(min_size, max_size, self.now)
            self.config = self.core.config

        self._input(call, lambda: self.model.resized(self.config))

    def expire(self) -> None:
        self.expired_at = self.now
        self._input(lambda: self.core.expire(self.now), self.model.expire)

    def close(self) -> None:
        self.ending = True
        self._input(lambda: self.core.close(self.now), self.model.close)

    def abort(self) -> None:
        self.ending = self.aborted = True
        self.spoiled.clear()  # what is closed now has been retired, whatever was said of it
        for slot in self.slots:
            for _ in range(self.users[slot] or slot.state is LEASED):
                self._lease_ends(slot)
        self.late += self.leases
        self.leases.clear()
        self._input(lambda: self.core.abort(self.now), self.model.abort)

    # Observation

    def _is_alive(self, connection: int) -> bool:
        alive = connection not in self.dead
        self.count["lost"] += not alive
        return alive

    def _input(
        self,
        call: Callable[[], Any],
        tell: Callable[[], Any],
        ended: Slot[int] | None = None,
    ) -> None:
        """Give the core one input, the oracle the same, and see what has become of it."""
        self.last_size = len(self.slots)
        self.model.outcomes.clear()
        leases = [] if self.aborted else [s for s in self.leases if s is not ended or self.users[s]]
        self.model.jitter = self.jitter
        call()
        tell()
        taken = self.core.take_effects()
        expected = self._see_slots(taken) + self._see_waiters()
        carried = [(type(e), e if isinstance(e, Waiter) else e.slot) for e in taken]
        assert len(carried) == len(expected), f"{taken} do not fit what has changed: {expected}"
        assert set(carried) == set(expected), f"{taken} do not fit what has changed: {expected}"
        assert all(s.state in (LEASED, SHARED) for s in leases), "I-25: a lease was interrupted"
        if self.watched:
            self._compare_with_model()
            invariants.check(self)
        self.passing = 0

    def _see_slots(self, taken: list[Effect[int]]) -> list[tuple[type, object]]:
        """Note what has changed; the answer is the effects that belong to it."""
        began = [effect.slot for effect in taken if isinstance(effect, OpenConnection)]
        self.opened_now = len(began)
        for slot in began:
            self.numbers[slot], self.since[slot] = len(self.numbers), self.now
            self.slots.append(slot)
            self.states[slot] = CLOSED
        expected: list[tuple[type, object]] = []
        for slot in self.slots:
            state = slot.state
            if state is not self.states[slot]:
                self.states[slot] = state
                if state in EFFECT_OF:
                    expected.append((EFFECT_OF[state], slot))
                elif state is IDLE:
                    self.idle_since[slot] = self.now
        self.slots = [slot for slot in self.slots if slot.state is not CLOSED]
        return expected

    def _see_waiters(self) -> list[tuple[type, object]]:
        """Take those out of the queue who do not wait any more, and judge how they ended."""
        waiting = [waiter for waiter in self.queue if waiter.state is WAITING]
        settled = [waiter for waiter in self.queue if waiter.state is not WAITING]
        turn = self.queue.index(waiting[0]) if waiting else len(self.queue)
        for waiter in settled:
            due = waiter.deadline is not None and waiter.deadline <= self.now
            if waiter.state is GRANTED:
                assert self.queue.index(waiter) < turn, "I-5: served out of turn"
                assert not due, "I-14: granted after its deadline"
                assert waiter.slot is not None, "I-2: a grant without a slot"
                self.granted.append(waiter)
                self._judge_lease(
                    waiter.slot, self.owners[waiter], self.since[waiter], shared=waiter.shared
                )
            else:
                assert due == (waiter.state is TIMED_OUT), "I-14: not at its deadline"
                assert waiter.error is not None or waiter.state is TIMED_OUT
                self.gone.append(waiter)
                self.count[COUNTER_OF[waiter.state]] += 1
            outcome = self.model.outcomes.get(self.requests[waiter])
            seen = "deadlock" if isinstance(waiter.error, PoolDeadlock) else waiter.state.value
            assert outcome == seen, f"{waiter} ought to be {outcome}, but is {seen}"
        self.queue = waiting
        return [(Waiter, waiter) for waiter in settled]

    def _judge_lease(self, slot: Slot[int], owner: Hashable, asked: float, *, shared: bool) -> None:
        """A connection has just been handed over: was it fit for it?"""
        self.count["granted"] += 1
        self.times["wait_time"].add(self.now - asked)
        if shared and self.config.max_pipeline > 1:
            assert slot.state is SHARED, "I-2: what was granted to share is not shared"
            if not self.users[slot]:
                self._begins_to_be_shared(slot)
            else:
                self._judge_joining(slot)
            self.users[slot] += 1
        else:
            assert slot.state is LEASED, "I-2: what was granted is not leased"
            assert not self.users[slot], "I-2: leased to one, and shared by others"
            self.owners[slot], self.since[slot] = owner, self.now
        if self.users[slot] < 2:
            assert slot.connection not in self.dead, "a dead connection was handed over"
        assert self.now < slot.expires_at, "I-25: handed over past its lifetime"
        assert slot.started_at >= self.expired_at or slot.started_at == self.now, "I-30: expired"
        most = self.config.max_uses
        assert most is None or slot.uses <= most, "handed over too often"
        limit = self.config.check_after
        if limit is not None and self.states[slot] is IDLE and self.users[slot] < 2:
            assert self.now - self.idle_since[slot] <= limit, "handed over without a check"

    def _begins_to_be_shared(self, slot: Slot[int]) -> None:
        self.since[slot] = self.now
        self.spoiled.discard(slot)
        self.soiled.discard(slot)

    def _judge_joining(self, slot: Slot[int]) -> None:
        """Another has been let in on a connection that others use."""
        assert self.users[slot] < self.config.max_pipeline, "I-2: too many share it"
        assert slot not in self.spoiled, "joined a broken connection"
        assert slot not in self.soiled, "I-23: joined a connection that is to be reset"
        assert self.now - self.since[slot] <= HEAD_LIMIT, "joined behind a long head"

    def _compare_with_model(self) -> None:
        model = self.model
        seen = {self.numbers[slot]: slot.state.value for slot in self.slots}
        ought = {connection.number: connection.state for connection in model.connections}
        assert seen == ought, f"states: {seen}, ought to be {ought}"
        queue = [self.requests[waiter] for waiter in self.queue]
        assert queue == [request.number for request in model.queue], "the queue is wrong"
        for waiter in self.granted:
            if waiter.slot is not None and not self.aborted:
                place = model.find(self.numbers[waiter.slot])
                holders = place.users if waiter.shared else [place.holder]
                assert self.requests[waiter] in holders, "I-5: granted to another"
