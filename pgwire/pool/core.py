"""PoolCore: who gets which connection, and when.

It must not know SQL, clocks, locks, threads, tasks, sockets, logs or dice, and never touches a
connection: every input carries `now` (monotonic seconds), randomness and the look at an idle
connection are injected; one seed replays everything. A shell calls it under one lock (or from
one loop), then carries out `take_effects()`, and reports what came of them by further inputs.

    OPENING -> IDLE <-> LEASED -> RESETTING -> IDLE        any -> CLOSING -> CLOSED
               IDLE <-> SHARED -> RESETTING
               IDLE <-> CHECKING

A waiter is served by whatever becomes free first: it is never tied to the connection that was
opened on its account, nor is an opening called off because its waiter left. A grant is a change
of state here; that the waiter is among the effects only delivers the news, and may come late.

Up to `max_pipeline` requests that are `shared` may use one connection at a time, which is SHARED
then. One that is in use is filled before the next is touched, unless its head has been running
for long (`HEAD_LIMIT`). There is one queue for both kinds, and nobody overtakes: while its head
wants a connection for itself, nobody joins a shared one, and so these run dry for it.

The paths that matter for speed, `acquire` with something idle or with room and `release` with
nobody waiting, change one slot's state and nothing else. All others end in `_serve`, which leaves
nothing undone: so between two inputs someone waits only while nothing fit is idle, and while
something is on its way or a time to try again is set. Idle connections are used last in, first
out: they are in order of age, so if the newest has idled for too long, all have.

Wherever Ctrl-C strikes an input is done, or not done, or what is left of it is done by the next
one: for that all changes are made in steps, and `slots` says what these are.

The connections themselves (which are fit, too many or missing) are the matter of `supply`.
"""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING

from pgwire.errors import PoolClosed, PoolFull
from pgwire.pool import effects
from pgwire.pool.deadlock import deadlock_error, holds_lease, youngest_in_deadlock
from pgwire.pool.reasons import bare
from pgwire.pool.slots import C, Slot, SlotState, require
from pgwire.pool.supply import Supply
from pgwire.pool.waiters import Waiter, WaiterState

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pgwire.pool.config import PoolConfig, PoolStats

LOOK_INTERVAL = 1.0  # seconds between two looks at the idle connections

# An enumeration's attribute costs ten times as much to read as a name of the module.
OPENING, IDLE, CHECKING, LEASED, SHARED, RESETTING, CLOSING, CLOSED = SlotState
WAITING, GRANTED, TIMED_OUT, FAILED, ABANDONED = WaiterState


class PoolCore(Supply[C]):
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
        super().__init__(config, jitter=jitter, is_alive=is_alive)
        self.aborted = False  # closing need not be polite any more
        self.next_look = -inf  # at what is idle, if anything is

    # Requests

    def start(self, now: float) -> None:
        """Open `min_size` connections in the background."""
        self.next_look = now + LOOK_INTERVAL
        self._serve(now)

    def acquire(
        self, now: float, deadline: float | None, owner: Hashable = None, shared: bool = False
    ) -> Slot[C] | Waiter[C]:
        """A slot to use at once, or a waiter, which will be among the effects when it has ended.

        `deadline` is absolute; None waits for ever; `now` or earlier is now or never, where the
        waiter has timed out already, but what would have served it is set going. `owner`: a thread
        or a task that does nothing while it waits, and will release the lease itself (`deadlock`
        says why). `shared`: it is one short query, and up to `max_pipeline` of these may be in
        flight on one connection. Raises PoolClosed, and PoolFull when `max_waiting` are queued.
        """
        if shared and self._max_pipeline > 1:
            return self._acquire_shared(now, deadline, owner)
        if self._idle and not self._waiting:
            slot = self._newest_fit(now)
            if slot is not None and now - slot.idle_since <= self._check_after:
                self._slots.lend(slot, owner, now)
                if self._restless:  # others were not fit and have been closed
                    self._serve(now)
                return slot
        return self._request(Waiter(now, deadline, owner))

    def abandon(self, waiter: Waiter[C], now: float) -> None:
        """The caller was cancelled, or has timed out by itself, and wants nothing any more.

        Whoever waits leaves the queue; what was granted, and not yet taken over (that ends with
        `release`), goes to the next in line. Whoever ended otherwise stays as it is.
        """
        if waiter.state is WAITING:
            self._waiting.leave(waiter)
            self._count.abandoned += 1
            waiter.state = ABANDONED
            self._waiting.forget(waiter)
            self._serve(now)
        elif (slot := waiter.slot) and slot.state is (SHARED if waiter.shared else LEASED):
            if slot.users <= 1:
                self._end_use(slot, now, waiter=waiter)
            else:
                # It has sent nothing, so the head is another's, and the time of that goes on.
                self._count.use_time.add(0.0)
                waiter.slot, waiter.state = None, ABANDONED
                slot.users -= 1
                slot.uses -= 1
            if self._waiting or self._restless:
                self._serve(now)

    def release(
        self,
        slot: Slot[C],
        now: float,
        reusable: bool = True,
        reset: bool = False,
        alive: bool = False,
    ) -> None:
        """The lease has ended; `reusable=False` closes, `reset=True` has it reset first.

        `alive=True`: the other end has just answered, which is as good as a look at it.
        On a shared connection one of its users has ended, and this happens after the last; until
        then nobody joins them.
        """
        if alive:
            slot.looked_at = now
        if slot.state is not LEASED:
            if slot.state is not SHARED:
                self._is_late(slot, LEASED)
                return
            if slot.users > 1:
                self._leave(slot, now, reusable, reset)
            else:
                self._end_use(slot, now, reusable, reset)
        elif reusable and not reset and now < slot.expires_at and slot.uses < self._max_uses:
            self._slots.give_back(slot, IDLE, now, self._count.use_time)
        else:
            self._end_use(slot, now, reusable, reset)
        if self._waiting or self._restless:
            self._serve(now)

    # Reports about connections

    def opened(self, slot: Slot[C], connection: C, now: float) -> None:
        """OpenConnection succeeded."""
        require(slot, OPENING)
        slot.connection = connection
        self._backoff.succeeded()
        if self.config.max_lifetime is not None and slot.expires_at == inf:  # see expire()
            spread = self.config.lifetime_spread * self._jitter()
            slot.expires_at = now + self.config.max_lifetime * (1 - spread)
        self._slots.open(slot, now, self._count.connect_time)
        if now >= slot.expires_at:
            self._retire(slot)
        self._serve(now)

    def open_failed(self, slot: Slot[C], error: Exception, now: float, *, mendable: bool) -> None:
        """OpenConnection failed; `mendable` tells whether waiting can help.

        If it cannot, and no other connection is open, the first waiter fails with the error,
        and the next gets an attempt of its own. All others wait until their deadlines.
        """
        require(slot, OPENING)
        self._backoff.last_error = bare(error)
        self._expire_waiters(now)
        hopeless = not mendable and self._waiting and not self._slots.open_count
        if not hopeless:
            self._backoff.failed(slot.started_at, now)
        self._slots.move(slot, CLOSED)
        self._count.open_failures += 1
        if hopeless:
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
            self._bury(slot, now)
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
        self._slots.move(slot, CLOSED)
        self._count.closed += 1
        self._serve(now)
        self._break_deadlock()

    def lost(self, slot: Slot[C], now: float) -> None:
        """The connection died by itself. Unless it is idle, whoever has it will notice."""
        if slot.state is IDLE:
            self._bury(slot, now)
            self._serve(now)

    # The passing of time, and orders

    def tick(self, now: float) -> None:
        """Do what is due; to be called when `next_deadline` has come, harmless otherwise."""
        if self._idle and now >= self.next_look:
            self._look(now)
            self.next_look = now + LOOK_INTERVAL
        self._serve(now)
        self._break_deadlock()  # Ctrl-C may have struck where it was to be seen

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
            while slot.users > 1:
                self._leave(slot, now, True, False)
            if slot.state is LEASED or slot.state is SHARED:
                slot.expires_at, slot.becomes = -inf, IDLE
                self._end_use(slot, now)
            elif slot.state is not OPENING and slot.state is not CLOSING:
                self._retire(slot)
        self._serve(now)

    # What the shell reads

    def take_effects(self) -> list[effects.Effect[C]]:
        """What is to be carried out, in this order; each is given out once."""
        taken, self.pending = self.pending, []
        return taken

    def next_deadline(self) -> float | None:
        """When `tick` is to be called, or before; None if nothing will be due by itself."""
        due = self._waiting.earliest
        if self._idle and self.next_look < due:
            due = self.next_look
        if self._retry_wanted and self._backoff.retry_at < due:
            due = self._backoff.retry_at
        return None if due == inf else due

    @property
    def waiting_count(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def ended(self) -> bool:
        """Whether `close` or `abort` was called, and nothing is left of the pool."""
        return self.ending and not self._waiting and self.total_count == 0

    def stats(self) -> PoolStats:
        """All gauges and counters, as of this instant."""
        gauges = {state.value: len(slots) for state, slots in self._slots.by_state.items()}
        sharing = sum(slot.users for slot in self._slots.shared)
        return self._count.stats(self.config, gauges, sharing, len(self._waiting))

    # The queue

    def _acquire_shared(
        self, now: float, deadline: float | None, owner: Hashable
    ) -> Slot[C] | Waiter[C]:
        """Join others, or else begin to share an idle connection, or else wait."""
        waiting = self._waiting
        if waiting.earliest <= now and waiting.next_deadline() <= now and not self.ending:
            self._serve(now)  # who is due stands in nobody's way
        if not waiting:
            slot = self._with_room(now) or self._newest_fit(now)
            if slot is not None and (slot.users or now - slot.idle_since <= self._check_after):
                self._slots.join(slot, now)
                if self._restless:  # others were not fit and have been closed
                    self._joined[owner] = slot
                    self._serve(now)
                    del self._joined[owner]
                return slot
        return self._request(Waiter(now, deadline, owner, shared=True))

    def _request(self, waiter: Waiter[C]) -> Waiter[C]:
        now, deadline = waiter.since, waiter.deadline
        if self.ending:
            self._count.rejected += 1
            raise PoolClosed("the pool is closed and takes no new requests")
        if self._waiting.earliest <= now:
            self._expire_waiters(now)
        if deadline is not None and deadline <= now:
            self._count.timed_out += 1
            waiter.state, waiter.error = TIMED_OUT, self._backoff.last_error
            self._serve(now, passing=waiter)
            return waiter
        queued, config = len(self._waiting), self.config
        if config.max_waiting is not None and queued >= config.max_waiting:
            self._count.rejected += 1
            raise PoolFull(f"{queued} requests wait for a connection already (max_waiting)")
        self._waiting.join(waiter)
        if not queued or self._idle or self._restless or self._slots.size < config.max_size:
            self._serve(now)  # else what could not be done for the others cannot for this one
        if deadline is None and holds_lease(waiter.owner, self._slots):
            self._break_deadlock()
        return waiter

    def _expire_waiters(self, now: float) -> None:
        while waiter := self._waiting.due(now):
            self._settle(waiter, TIMED_OUT, self._backoff.last_error)

    def _break_deadlock(self) -> None:
        """Fail whoever came last, who then can give a connection back."""
        if waiter := youngest_in_deadlock(self._slots, self._waiting, self.config.max_size):
            self._fail(waiter, deadlock_error(self._slots, self._waiting))

    def _fail(self, waiter: Waiter[C], error: Exception) -> None:
        self._settle(waiter, FAILED, error)

    def _settle(self, waiter: Waiter[C], state: WaiterState, error: Exception | None) -> None:
        """Somebody waits no more, and has no connection."""
        self._waiting.leave(waiter)
        waiter.state, waiter.error = state, error
        if state is TIMED_OUT:
            self._count.timed_out += 1
        else:
            self._count.failed += 1
        self.pending.append(waiter)
        self._waiting.forget(waiter)

    def _serve(self, now: float, passing: Waiter[C] | None = None) -> None:
        """Leave nothing undone. `passing` wants a connection, but does not wait for it."""
        if self._waiting.earliest <= now:
            self._expire_waiters(now)
        if self._restless:
            self._shed()
        if self._idle or self._waiting.shared:
            self._hand_out(now, passing)
        if self._restless:
            self._shed()  # again: serving the last waiter may have been all that a close waited for
            self._restless = self.ending or self._has_surplus()
        if self._slots.size < self.config.max_size:
            self._retry_wanted = self._grow(self._demand(passing), now)
        else:
            self._retry_wanted = False

    def _hand_out(self, now: float, passing: Waiter[C] | None) -> None:
        """Give what is free, or has room, to the first in the queue, again and again."""
        waiting = self._waiting
        while waiting or passing:
            slot = None
            if waiting.shared and next(iter(waiting)).shared:
                slot = self._with_room(now)
            if slot is None and self._idle:
                slot = self._newest_fit(now)
            if slot is None:
                break
            if slot.users or now - slot.idle_since <= self._check_after:
                self._grant(slot, now)
            elif len(self._slots.checking) < self._demand(passing):
                effect = effects.CheckConnection(slot)
                self._slots.move(slot, CHECKING)
                self.pending.append(effect)
            else:
                break

    def _grant(self, slot: Slot[C], now: float) -> None:
        """The head of the queue gets it."""
        waiting = self._waiting
        for waiter in waiting:  # noqa: B007 - as next(iter()), in no calls # pragma: no branch
            break
        self._slots.grant(slot, waiter, now, self._count.wait_time)
        del waiting[waiter]  # no call of `leave`: the step goes on
        waiting.shared -= waiter.shared
        if not waiting:
            waiting.earliest = inf
        waiter.state = GRANTED
        self.pending.append(waiter)
        waiting.forget(waiter)

    def _demand(self, passing: Waiter[C] | None) -> int:
        """How many connections it would take to serve all who want one now."""
        requests, shared = len(self._waiting), self._waiting.shared
        if passing:
            requests, shared = requests + 1, shared + passing.shared
        return requests - shared - -shared // self._max_pipeline

    def _offer(self, slot: Slot[C], now: float) -> None:
        """Nobody has the connection any more, and it is fit for use."""
        if now >= slot.expires_at:
            self._retire(slot)
        else:
            self._slots.rest(slot, now)
        self._serve(now)

    def _is_late(self, slot: Slot[C], state: SlotState) -> bool:
        """Whether the report comes after `abort` took the connection away; else it must fit."""
        if self.aborted and slot.state in (CLOSING, CLOSED):
            return True
        require(slot, state)
        return False
