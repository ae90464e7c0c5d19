"""PoolCore: who gets which connection, and when.

It must not know SQL, clocks, locks, threads, tasks, sockets, logs or dice, and never touches a
connection: every input carries `now` (monotonic seconds), randomness and the look at an idle
connection are injected; one seed replays everything. A shell calls it under one lock (or from
one loop), then carries out `take_effects()`, and reports what came of them by further inputs.

    OPENING -> IDLE <-> LEASED -> RESETTING -> IDLE        any -> CLOSING -> CLOSED
               IDLE <-> CHECKING

A waiter is served by whatever becomes free first: it is never tied to the connection that was
opened on its account, nor is an opening called off because its waiter left. A grant is a change
of state here; `WakeWaiter` only delivers the news, and may come late.

The two paths that matter for speed, `acquire` with something idle and `release` with nobody
waiting, change one slot's state and nothing else. All others end in `_serve`, which leaves
nothing undone: so between two inputs someone waits only while nothing fit is idle, and while
something is on its way or a time to try again is set. Idle connections are used last in, first
out: they are in order of age, so if the newest has idled for too long, all have.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Generic

from pgwire.errors import PoolClosed, PoolFull
from pgwire.pool import effects
from pgwire.pool.backoff import Backoff
from pgwire.pool.config import Counters, PoolConfig, PoolStats
from pgwire.pool.deadlock import deadlock_error, holds_lease, youngest_in_deadlock
from pgwire.pool.slots import C, Slot, SlotState, SlotTable, require
from pgwire.pool.waiters import Waiter, WaiterState, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

LOOK_INTERVAL = 1.0  # seconds between two looks at the idle connections

# An enumeration's attribute costs ten times as much to read as a name of the module.
OPENING, IDLE, CHECKING, LEASED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


class PoolCore(Generic[C]):
    """The pool's state machine; `C` is whatever a connection is to the shell.

    `jitter()` gives numbers in [0, 1) for lifetimes and back-off. `is_alive(connection)` is a
    free and immediate look at an idle connection. Neither may raise, or call the core.

    Every report must fit the slot's state: one that does not is the shell's mistake, raises
    InterfaceError and changes nothing. After `abort`, what was under way may still report, and
    leases may be released: nobody listens any more.
    """

    def __init__(
        self,
        config: PoolConfig,
        *,
        jitter: Callable[[], float],
        is_alive: Callable[[C], bool] = lambda connection: True,
    ) -> None:
        self.config = config
        self._jitter = jitter
        self._is_alive = is_alive
        self._max_uses = inf if config.max_uses is None else config.max_uses
        self._check_after = inf if config.check_after is None else config.check_after

        self._slots: SlotTable[C] = SlotTable()
        self._move, self._lend = self._slots.move, self._slots.lend  # nothing else changes states
        self._idle = self._slots.idle
        self._waiting: WaitQueue[C] = WaitQueue()
        self._effects: list[effects.Effect[C]] = []

        self.aborted = False  # closing need not be polite any more
        self.ending = False
        self._restless = False  # a release may be more than a change of state
        self._next_look = -inf
        self._backoff = Backoff(jitter)
        self._retry_wanted = False  # an opening waits for the back-off to end
        self._count = Counters()

    # Requests

    def start(self, now: float) -> None:
        """Open `min_size` connections in the background."""
        self._next_look = now + LOOK_INTERVAL
        self._serve(now)

    def acquire(
        self, now: float, deadline: float | None, owner: Hashable = None
    ) -> Slot[C] | Waiter[C]:
        """A slot to use at once, or a waiter, which WakeWaiter will tell of.

        `deadline` is absolute; None waits for ever; `now` or earlier is now or never, where the
        waiter has timed out already, but what would have served it is set going. `owner`: a thread
        or a task that does nothing while it waits, and will release the lease itself (`deadlock`
        says why). Raises PoolClosed, and PoolFull when `max_waiting` are queued.
        """
        if self._idle and not self._waiting:
            slot = self._newest_fit(now)
            if slot is not None and now - slot.idle_since <= self._check_after:
                self._lend(slot, owner, now)
                if self._restless:  # others were not fit and have been closed
                    self._serve(now)
                return slot
        return self._request(now, deadline, owner)

    def abandon(self, waiter: Waiter[C], now: float) -> None:
        """The caller was cancelled, or has timed out by itself, and wants nothing any more.

        Whoever waits leaves the queue; what was granted, and not yet taken over (that ends with
        `release`), goes to the next in line. Whoever ended otherwise stays as it is.
        """
        if waiter.state is WAITING:
            del self._waiting[waiter]
            self._count.abandoned += 1
            waiter.state = ABANDONED
            self._serve(now)
        elif (slot := waiter.slot) is not None and slot.state is LEASED:
            waiter.slot, waiter.state = None, ABANDONED
            slot.uses -= 1
            self.release(slot, now)

    def release(
        self, slot: Slot[C], now: float, *, reusable: bool = True, reset: bool = False
    ) -> None:
        """The lease has ended; `reusable=False` closes, `reset=True` has it reset first."""
        if slot.state is not LEASED and self._is_late(slot, LEASED):
            return
        self._count.use_time.add(now - slot.leased_at)
        slot.owner = None  # what is idle keeps nobody alive
        if not reusable:
            self._close(slot)
        elif now >= slot.expires_at or slot.uses >= self._max_uses:
            self._retire(slot)
        elif reset and not self._has_surplus():
            self._move(slot, RESETTING)
            self._effects.append(effects.ResetConnection(slot))
        else:
            slot.idle_since = now
            self._move(slot, IDLE)
        if self._waiting or self._restless:
            self._serve(now)

    # Reports about connections

    def opened(self, slot: Slot[C], connection: C, now: float) -> None:
        """OpenConnection succeeded."""
        require(slot, OPENING)
        slot.connection = connection
        self._count.connect_time.add(now - slot.started_at)
        self._backoff.succeeded()
        if self.config.max_lifetime is not None and slot.expires_at == inf:  # see expire()
            spread = self.config.lifetime_spread * self._jitter()
            slot.expires_at = now + self.config.max_lifetime * (1 - spread)
        self._offer(slot, now)

    def open_failed(self, slot: Slot[C], error: Exception, now: float, *, mendable: bool) -> None:
        """OpenConnection failed; `mendable` tells whether waiting can help.

        If it cannot, and no other connection is open, the first waiter fails with the error,
        and the next gets an attempt of its own. All others wait until their deadlines.
        """
        require(slot, OPENING)
        self._move(slot, CLOSED)
        self._count.open_failures += 1
        self._backoff.last_error = error
        self._expire_waiters(now)
        if mendable or not self._waiting or self._slots.open_count > 0:
            self._backoff.failed(slot.started_at, now)
        else:
            self._fail(next(iter(self._waiting)), error)
        self._serve(now)
        self._break_deadlock()

    def checked(self, slot: Slot[C], now: float, *, ok: bool) -> None:
        """CheckConnection has its answer."""
        if self._is_late(slot, CHECKING):
            return
        if ok:
            self._offer(slot, now)
        else:
            self._bury(slot)
            self._serve(now)

    def reset_done(self, slot: Slot[C], now: float, *, ok: bool) -> None:
        """ResetConnection has ended; unless `ok`, the connection is closed."""
        if self._is_late(slot, RESETTING):
            return
        if ok:
            self._offer(slot, now)
        else:
            self._close(slot)
            self._serve(now)

    def closed(self, slot: Slot[C], now: float) -> None:
        """CloseConnection has been carried out; only now is there room for another."""
        require(slot, CLOSING)
        self._move(slot, CLOSED)
        self._count.closed += 1
        self._serve(now)
        self._break_deadlock()

    def lost(self, slot: Slot[C], now: float) -> None:
        """The connection died by itself. Unless it is idle, whoever has it will notice."""
        if slot.state is IDLE:
            self._bury(slot)
            self._serve(now)

    # The passing of time, and orders

    def tick(self, now: float) -> None:
        """Do what is due; to be called when `next_deadline` has come, harmless otherwise."""
        if self._idle and now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            self._look(now)
        self._serve(now)

    def resize(self, min_size: int, max_size: int, now: float) -> None:
        """Set the sizes anew, as PoolConfig allows; what is leased and too many closes later."""
        self.config = replace(self.config, min_size=min_size, max_size=max_size)
        self._restless = True
        self._serve(now)
        self._break_deadlock()

    def expire(self, now: float) -> None:
        """Retire all whose opening began before `now`: idle ones at once, others when free."""
        for slot in self._slots:
            if slot.started_at < now:
                slot.expires_at = -inf
        self._retire_expired(now)
        self._serve(now)

    def close(self, now: float) -> None:
        """Take no new requests, serve those that wait, close the rest; then `ended` is true."""
        self.ending = self._restless = True
        self._serve(now)

    def abort(self, now: float) -> None:
        """End at once: waiters fail with PoolClosed, connections close, leased ones as well."""
        self._expire_waiters(now)
        self.ending = self.aborted = self._restless = True
        for waiter in list(self._waiting):
            self._fail(waiter, PoolClosed("the pool was closed before a connection was free"))
        for slot in list(self._slots):
            if slot.state is LEASED:
                self._count.use_time.add(now - slot.leased_at)
            if slot.state is not OPENING and slot.state is not CLOSING:
                self._retire(slot)
        self._serve(now)

    # What the shell reads

    def take_effects(self) -> list[effects.Effect[C]]:
        """What is to be carried out, in this order; each is given out once."""
        taken, self._effects = self._effects, []
        return taken

    def next_deadline(self) -> float | None:
        """When `tick` is to be called; None if nothing will be due by itself."""
        due = self._waiting.next_deadline()
        if self._idle:
            due = min(due, self._next_look)
        if self._retry_wanted:
            due = min(due, self._backoff.retry_at)
        return None if due == inf else due

    @property
    def total_count(self) -> int:
        """Connections at the server or on their way there, closing ones included."""
        return self._slots.size

    @property
    def idle_count(self) -> int:
        """Connections that nobody uses."""
        return len(self._idle)

    @property
    def waiting_count(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def waiter_of(self, owner: Hashable) -> Waiter[C] | None:
        """The request in the queue that this owner made last; None if there is none."""
        return next((w for w in reversed(self._waiting) if w.owner is owner), None)

    def connections(self) -> list[C]:
        """Every connection that has been opened and not been closed."""
        return [slot.connection for slot in self._slots if slot.state is not OPENING]

    @property
    def ended(self) -> bool:
        """Whether `close` or `abort` was called, and nothing is left of the pool."""
        return self.ending and not self._waiting and self.total_count == 0

    def stats(self) -> PoolStats:
        """All gauges and counters, as of this instant."""
        gauges = {state.value: len(slots) for state, slots in self._slots.by_state.items()}
        return self._count.stats(self.config, gauges, len(self._waiting))

    # The queue

    def _request(self, now: float, deadline: float | None, owner: Hashable) -> Waiter[C]:
        if self.ending:
            self._count.rejected += 1
            raise PoolClosed("the pool is closed and takes no new requests")
        self._expire_waiters(now)
        waiter: Waiter[C] = Waiter(now, deadline, owner)
        if deadline is not None and deadline <= now:
            self._count.timed_out += 1
            waiter.state, waiter.error = TIMED_OUT, self._backoff.last_error
            self._serve(now, passing=1)
            return waiter
        queued, limit = len(self._waiting), self.config.max_waiting
        if limit is not None and queued >= limit:
            self._count.rejected += 1
            raise PoolFull(f"{queued} requests wait for a connection already (max_waiting)")
        self._waiting.join(waiter)
        self._serve(now)
        if deadline is None and holds_lease(owner, self._slots):
            self._break_deadlock()
        return waiter

    def _expire_waiters(self, now: float) -> None:
        while waiter := self._waiting.pop_due(now):
            self._count.timed_out += 1
            self._settle(waiter, TIMED_OUT, self._backoff.last_error)

    def _break_deadlock(self) -> None:
        """Fail whoever came last, who then can give a connection back."""
        if waiter := youngest_in_deadlock(self._slots, self._waiting, self.config.max_size):
            self._fail(waiter, deadlock_error(self._slots, self._waiting))

    def _fail(self, waiter: Waiter[C], error: Exception) -> None:
        del self._waiting[waiter]
        self._count.failed += 1
        self._settle(waiter, FAILED, error)

    def _settle(self, waiter: Waiter[C], state: WaiterState, error: Exception | None) -> None:
        waiter.state, waiter.error = state, error
        self._effects.append(effects.WakeWaiter(waiter))

    def _serve(self, now: float, passing: int = 0) -> None:
        """Leave nothing undone. `passing` requests want a connection, but do not wait for it."""
        self._expire_waiters(now)
        if self._restless:
            self._shed()
        demand = len(self._waiting) + passing
        while demand and (slot := self._newest_fit(now)):
            if now - slot.idle_since <= self._check_after:
                demand -= 1
                waiter = self._waiting.pop_head()
                waiter.slot = slot
                self._lend(slot, waiter.owner, now)
                self._count.wait_time.add(now - waiter.since)
                self._settle(waiter, GRANTED, None)
            elif len(self._slots.checking) < demand:
                self._move(slot, CHECKING)
                self._effects.append(effects.CheckConnection(slot))
            else:
                break
        if self._restless:
            self._shed()  # again: serving the last waiter may have been all that a close waited for
            self._restless = self.ending or self._has_surplus()
        self._grow(demand, now)

    def _newest_fit(self, now: float) -> Slot[C] | None:
        """The idle connection used last; those that are dead or past their time are closed."""
        while self._idle:
            slot = self._slots.newest_idle()
            if now >= slot.expires_at:
                self._retire(slot)
            elif not self._is_alive(slot.connection):
                self._bury(slot)
            else:
                return slot
        return None

    def _grow(self, demand: int, now: float) -> None:
        """Open what is missing: for requests that have nothing on its way, and for the floor."""
        slots, config = self._slots, self.config
        # What is being checked or reset will be free sooner than a new one could be open.
        demand -= len(slots.checking) + len(slots.resetting)
        floor = 0 if self.ending else config.min_size
        self._retry_wanted = False
        while len(slots.opening) < demand or slots.live_count < floor:
            if len(slots.opening) >= config.max_opening or slots.size >= config.max_size:
                break
            if now < self._backoff.retry_at:
                self._retry_wanted = True
                break
            slot: Slot[C] = Slot(now)
            self._move(slot, OPENING)
            self._effects.append(effects.OpenConnection(slot))

    def _has_surplus(self) -> bool:
        """Whether a connection is to be closed as soon as nobody uses it."""
        if self.ending and not self._waiting:
            return True
        return self._slots.live_count > self.config.max_size

    def _shed(self) -> None:
        for slot in list(self._idle):
            if not self._has_surplus():
                break
            self._retire(slot)

    def _look(self, now: float) -> None:
        """Close what has died, what is past its lifetime, and what has idled for too long."""
        self._retire_expired(now)
        for slot in list(self._idle):
            if not self._is_alive(slot.connection):
                self._bury(slot)
        limit = inf if self.config.idle_timeout is None else self.config.idle_timeout
        for slot in list(self._idle):  # the oldest first
            if now - slot.idle_since <= limit or self._slots.live_count <= self.config.min_size:
                break
            self._retire(slot)

    def _retire_expired(self, now: float) -> None:
        for slot in list(self._idle):
            if now >= slot.expires_at:
                self._retire(slot)

    def _offer(self, slot: Slot[C], now: float) -> None:
        """Nobody has the connection any more, and it is fit for use."""
        if now >= slot.expires_at:
            self._retire(slot)
        else:
            slot.idle_since = now
            self._move(slot, IDLE)
        self._serve(now)

    def _bury(self, slot: Slot[C]) -> None:
        self._count.lost += 1
        self._close(slot)

    def _retire(self, slot: Slot[C]) -> None:
        self._count.retired += 1
        self._close(slot)

    def _close(self, slot: Slot[C]) -> None:
        self._move(slot, CLOSING)
        self._effects.append(effects.CloseConnection(slot))
        self._restless = True

    def _is_late(self, slot: Slot[C], state: SlotState) -> bool:
        """Whether the report comes after `abort` took the connection away; else it must fit."""
        if self.aborted and slot.state in (CLOSING, CLOSED):
            return True
        require(slot, state)
        return False
