"""The pool as one would write it who need not be quick: the oracle for outcomes.

Lists, scanned anew each time; states are words; connections and requests are numbers. It has no
effects, no counters and no fast paths, and shares no code with the core. After every input the
two must agree on the state of every connection, on who holds it, on the queue, and on how each
request has ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable

    from pgwire.pool.config import PoolConfig

USED = ("leased", "shared")
FREE_SOON = ("checking", "resetting")
OPEN = ("idle", "checking", "leased", "shared", "resetting")
HEAD_LIMIT = 0.050
LOOK_AFTER = 0.0001


@dataclass
class Connection:
    number: int
    started: float
    state: str = "opening"
    expires: float = inf
    idle_since: float = 0.0
    looked_at: float = -inf
    uses: int = 0
    holder: int | None = None
    owner: Hashable = None
    # While it is shared:
    users: list[int] = field(default_factory=list)  # in the order in which they joined
    busy_since: float = 0.0
    broken: bool = False
    soiled: bool = False  # to be reset


@dataclass
class Request:
    number: int
    deadline: float | None
    owner: Hashable
    shared: bool


class Model:
    """What ought to be. `now`, and the set of `dead` connections, are set from outside."""

    def __init__(self, config: PoolConfig, now: float) -> None:
        self.config = config
        self.now = now
        self.dead: set[int] = set()
        self.connections: list[Connection] = []
        self.opened_so_far = 0
        self.idle: list[Connection] = []  # the one used last comes last
        self.shared: list[Connection] = []  # in the order in which they came to be so
        self.queue: list[Request] = []
        self.outcomes: dict[int, str] = {}  # of the last input
        self.ending = False
        self.jitter = 0.0
        self.pause = self.pause_before = 0.0
        self.retry_at = -inf
        self.next_look = -inf
        self.looked = False  # at the idle ones, by the last tick

    # Inputs

    def start(self) -> None:
        self.next_look = self.now + 1
        self.settle()

    def acquire(
        self, number: int, deadline: float | None, owner: Hashable, *, shared: bool
    ) -> None:
        if self.ending:
            self.outcomes[number] = "closed"
            return
        request = Request(number, deadline, owner, shared and self.config.max_pipeline > 1)
        if self.time_out() and request.shared:
            self.settle()
        limit = self.config.max_waiting
        closing = self.in_state("closing")
        place = None if self.queue else self.place_for(request)
        if place is not None:
            self.hand_over(place, request)
            if self.in_state("closing") > closing:
                self.settle()
            return
        if deadline is not None and deadline <= self.now:
            self.outcomes[number] = "timed out"
            self.settle(request)
        elif limit is not None and len(self.queue) == limit:
            self.outcomes[number] = "full"
        else:
            self.queue.append(request)
            self.settle()

    def abandon(self, number: int) -> None:
        for request in self.queue:
            if request.number == number:
                self.queue.remove(request)
                return self.settle()
        for connection in self.connections:
            if connection.holder == number:
                connection.uses -= 1
                return self.give_back(connection)
            if number in connection.users:
                connection.uses -= 1
                return self.end_use(connection, number, connection.busy_since)
        return None

    def release(
        self, number: int, untaken: set[int], *, reusable: bool, reset: bool, alive: bool
    ) -> None:
        """By one who has taken the connection over; `untaken` are the requests that have not."""
        if not any(c.number == number and c.state in USED for c in self.connections):
            return  # abort() was quicker
        connection = self.find(number)
        if alive:
            connection.looked_at = self.now
        if connection.state == "shared":
            connection.broken |= not reusable
            connection.soiled |= reset
            user = next(user for user in connection.users if user not in untaken)
            self.end_use(connection, user, self.now)
        else:
            self.take_back(connection, reusable=reusable, reset=reset)

    def end_use(self, connection: Connection, user: int, busy_since: float) -> None:
        connection.users.remove(user)
        connection.busy_since = busy_since
        if not connection.users:
            self.shared.remove(connection)
            self.take_back(connection, reusable=not connection.broken, reset=connection.soiled)
        elif self.queue:
            self.settle()

    def take_back(self, connection: Connection, *, reusable: bool, reset: bool) -> None:
        if not reusable:
            self.close_connection(connection)
            self.settle()
        elif reset and not self.is_over(connection) and not self.has_surplus():
            connection.state, connection.holder = "resetting", None
            if self.queue or self.ending or self.has_surplus():
                self.settle()
        else:
            self.give_back(connection)

    def give_back(self, connection: Connection) -> None:
        """What is returned in good order, with nobody waiting for it, changes nothing else."""
        self.free(connection)
        if self.queue or self.ending or self.has_surplus() or connection.state == "closing":
            self.settle()

    def opened(self, number: int) -> None:
        connection = self.find(number)
        self.pause_before, self.pause, self.retry_at = self.pause, 0.0, -inf
        if self.config.max_lifetime is not None and connection.expires == inf:
            share = 1 - self.config.lifetime_spread * self.jitter
            connection.expires = self.now + self.config.max_lifetime * share
        self.free(connection)
        self.settle()

    def open_failed(self, number: int, *, mendable: bool) -> None:
        connection = self.find(number)
        self.connections.remove(connection)
        self.time_out()
        some_are_open = any(c.state in OPEN for c in self.connections)
        if self.queue and not mendable and not some_are_open:
            self.outcomes[self.queue.pop(0).number] = "failed"
        else:
            self.back_off(connection)
        self.settle()

    def back_off(self, connection: Connection) -> None:
        if connection.started >= self.retry_at:
            self.pause = 0.1 if self.pause == 0 else min(self.pause * 2, 5.0)
            self.retry_at = self.now + self.pause * (1 - self.jitter / 2)

    def bury(self, connection: Connection) -> None:
        """It died while nobody had it."""
        if connection.uses == 0 and self.now - connection.idle_since < 1.0:
            self.pause = max(self.pause, self.pause_before)
            self.back_off(connection)
        self.close_connection(connection)

    def report(self, number: int, *, ok: bool) -> None:
        """A check or a reset has ended."""
        connection = self.find(number)
        if connection.state == "closing":
            return  # abort() was quicker
        if ok:
            self.free(connection)
        elif connection.state == "checking":
            self.bury(connection)
        else:
            self.close_connection(connection)
        self.settle()

    def closed(self, number: int) -> None:
        self.connections.remove(self.find(number))
        self.settle()

    def lost(self, number: int) -> None:
        if self.find(number).state == "idle":
            self.bury(self.find(number))
            self.settle()

    def tick(self) -> None:
        self.looked = bool(self.idle) and self.now >= self.next_look
        if self.looked:
            self.next_look = self.now + 1
            for connection in list(self.idle):
                if self.is_over(connection):
                    self.close_connection(connection)
            for connection in list(self.idle):
                if connection.number in self.dead:
                    self.bury(connection)
            limit = self.config.idle_timeout
            while (
                limit is not None
                and self.idle
                and self.now - self.idle[0].idle_since > limit
                and self.live() > self.config.min_size
            ):
                self.close_connection(self.idle[0])
        self.settle()

    def resized(self, config: PoolConfig) -> None:
        self.config = config
        self.settle()

    def expire(self) -> None:
        for connection in list(self.connections):
            if connection.started < self.now:
                connection.expires = -inf
                if connection.state == "idle":
                    self.close_connection(connection)
        self.settle()

    def close(self) -> None:
        self.ending = True
        self.settle()

    def abort(self) -> None:
        self.time_out()
        self.ending = True
        while self.queue:
            self.outcomes[self.queue.pop(0).number] = "failed"
        for connection in self.connections:
            if connection.state in OPEN:
                self.close_connection(connection)
                connection.users.clear()
        self.shared.clear()
        self.settle()

    # Consequences

    def settle(self, *passing: Request) -> None:
        """Leave nothing undone; `passing` wants a connection, but does not wait for it."""
        self.time_out()
        self.shed()
        while requests := (*self.queue, *passing):
            place = self.place_for(requests[0])
            if place is not None:
                self.hand_over(place, self.queue.pop(0))
            elif self.idle and self.in_state("checking") < self.wanted(*passing):
                self.idle.pop().state = "checking"
            else:
                break
        self.shed()
        while self.is_short(*passing) and self.now >= self.retry_at:
            self.connections.append(Connection(self.opened_so_far, self.now))
            self.opened_so_far += 1
        if self.is_deadlocked():
            holders = [connection.owner for connection in self.connections]
            victim = [r for r in self.queue if r.deadline is None and r.owner in holders][-1]
            self.queue.remove(victim)
            self.outcomes[victim.number] = "deadlock"

    def time_out(self) -> bool:
        due = False
        for request in list(self.queue):
            if request.deadline is not None and request.deadline <= self.now:
                self.queue.remove(request)
                self.outcomes[request.number] = "timed out"
                due = True
        return due

    def free(self, connection: Connection) -> None:
        connection.holder = None
        if self.is_over(connection):
            self.close_connection(connection)
        else:
            connection.state = "idle"
            connection.idle_since = self.now
            self.idle.append(connection)

    def hand_over(self, connection: Connection, request: Request) -> None:
        self.outcomes[request.number] = "granted"
        connection.uses += 1
        if connection.state == "idle":
            self.idle.remove(connection)
            connection.state, connection.holder = "leased", request.number
            connection.owner = request.owner
            if request.shared:
                self.begin_to_share(connection)
        if request.shared:
            connection.users.append(request.number)

    def begin_to_share(self, connection: Connection) -> None:
        connection.state, connection.holder, connection.owner = "shared", None, None
        connection.busy_since = self.now
        connection.broken = connection.soiled = False
        self.shared.append(connection)

    def place_for(self, request: Request) -> Connection | None:
        """Where it could go at once; a connection that is not fresh is no such place."""
        room = [c for c in self.shared if request.shared and self.has_room(c)]
        if room:
            return max(room, key=lambda c: len(c.users))
        fit = self.newest_fit()
        return fit if fit is not None and self.is_fresh(fit) else None

    def newest_fit(self) -> Connection | None:
        while self.idle:
            connection = self.idle[-1]
            if self.is_over(connection):
                self.close_connection(connection)
            elif self.now - connection.looked_at < LOOK_AFTER:
                return connection  # whatever it is
            elif connection.number in self.dead:
                self.bury(connection)
            else:
                connection.looked_at = self.now
                return connection
        return None

    def close_connection(self, connection: Connection) -> None:
        if connection in self.idle:
            self.idle.remove(connection)
        connection.state = "closing"
        connection.holder = None

    def shed(self) -> None:
        while self.idle and self.has_surplus():
            self.close_connection(self.idle[0])

    # Questions

    def find(self, number: int) -> Connection:
        return next(c for c in self.connections if c.number == number)

    def in_state(self, *states: str) -> int:
        return sum(c.state in states for c in self.connections)

    def live(self) -> int:
        return self.in_state("opening", *OPEN)

    def is_over(self, connection: Connection) -> bool:
        worn = self.config.max_uses is not None and connection.uses >= self.config.max_uses
        return worn or connection.expires <= self.now

    def is_fresh(self, connection: Connection) -> bool:
        limit = self.config.check_after
        return limit is None or self.now - connection.idle_since <= limit

    def has_room(self, connection: Connection) -> bool:
        """Whether another may join those who share it."""
        sound = not (connection.broken or connection.soiled or self.is_over(connection))
        short = self.now - connection.busy_since <= HEAD_LIMIT
        free = len(connection.users) < self.config.max_pipeline
        return sound and short and free and not self.has_surplus()

    def has_surplus(self) -> bool:
        return (self.ending and not self.queue) or self.live() > self.config.max_size

    def is_deadlocked(self) -> bool:
        """No room, nothing but leases, and whoever has one waits for another, for ever."""
        stuck = [r.owner for r in self.queue if r.deadline is None and r.owner is not None]
        full = len(self.connections) >= self.config.max_size
        return full and all(c.state == "leased" and c.owner in stuck for c in self.connections)

    def wanted(self, *passing: Request) -> int:
        """How many connections all who want one would need."""
        requests = (*self.queue, *passing)
        sharing = sum(request.shared for request in requests)
        return len(requests) - sharing + ceil(sharing / self.config.max_pipeline)

    def is_short(self, *passing: Request) -> bool:
        """Whether another connection ought to be opened, if there is no pause."""
        wanted = self.wanted(*passing) > self.in_state("opening", *FREE_SOON)
        below = not self.ending and self.live() < self.config.min_size
        room = len(self.connections) < self.config.max_size
        return (wanted or below) and room and self.in_state("opening") < self.config.max_opening
