"""AsyncSubscription: what `pool.listen()` gives to tasks; and the hub that all of them share.

HubCore decides, and the loop does it: what a connection reads is handed on in the loop's next turn,
connections are taken by tasks, and a timer gives the core the time, once a second at least.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import warnings
from contextlib import suppress
from contextvars import Context
from functools import partial
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from pgwire.driving import DriverBase
from pgwire.errors import Error, InterfaceError, OperationalError
from pgwire.log import pool_logger as logger
from pgwire.pool import subscribing
from pgwire.pool.feeds import FeedState
from pgwire.pool.hub import Connect, Disconnect, HubCore, LinkState
from pgwire.pool.options import check_function, check_timeout
from pgwire.protocol.listening import check_wait

if TYPE_CHECKING:
    from asyncio import Future, Task, TimerHandle
    from collections.abc import AsyncIterator, Callable, Generator
    from types import TracebackType

    from pgwire.aio.driver import AsyncDriver
    from pgwire.pool.aio_engine import AsyncEngine
    from pgwire.pool.feeds import Feed, NotificationGap
    from pgwire.pool.hub import Check, Effect, Link, Tell
    from pgwire.pool.slots import Slot
    from pgwire.protocol.messages import Notification

    Event = Notification | NotificationGap
    NotificationCallback = Callable[[Event], object]


WAITING, LIVE, ENDED = FeedState


class AsyncSubscription:
    """What comes for some channels, from `pool.listen()`: an iterator, and a context manager.

    Await it, enter it, or ask for what comes: then it begins. Gives each `Notification`, and a
    `NotificationGap` where some are missing, or may be: when its connection was lost, once another
    listens again; and in the place of those that were dropped, as more than `max_queued` waited.
    Ends when it is closed, and, after what has come, with the pool. Several tasks may take from it:
    each gets others. A step that is cancelled loses nothing.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        feed: Feed[Notification],
        callback: NotificationCallback | None,
        timeout: float | None,
    ) -> None:
        self._engine = engine
        self._feed = feed
        self._callback = callback
        self._timeout = timeout
        self._generation = DriverBase.forks
        self._hub: AsyncHub | None = None  # once it has begun
        self._waiters: list[Future[None]] = []
        self._is_closed = self._is_served = False

    def __repr__(self) -> str:
        state = "closed" if self.closed else self._feed.state.value
        return f"<AsyncSubscription {state}, to {', '.join(self.channels)}>"

    @property
    def channels(self) -> tuple[str, ...]:
        """The channels that it is for, in alphabetical order."""
        return tuple(sorted(self._feed.channels))

    @property
    def closed(self) -> bool:
        """Whether nothing more will come, but for what has come already."""
        return self._is_closed or self._feed.state is ENDED

    async def notifications(self, timeout: float | None = None) -> AsyncIterator[Event]:
        """Take what comes as the subscription does, but end after `timeout` seconds without it."""
        timeout = check_wait(timeout)
        while (event := await self._take(timeout)) is not None:
            yield event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        event = await self._take(None)
        if event is None:
            raise StopAsyncIteration
        return event

    async def close(self) -> None:
        """End it: nothing more comes, and who waits for that goes on. Idempotent, never waits."""
        self._check_process()
        if self._hub is not None and not self.closed:
            self._engine.enter()  # in another loop it would be no end
        self._close()

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._begin().__await__()
        return self

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        if self._hub is not None and not self.closed and self._generation == DriverBase.forks:
            loop = self._engine.loop
            if loop is not None:
                with suppress(RuntimeError):  # it is closed, and with it the connection
                    loop.call_soon_threadsafe(self._hub.leave, self._feed)
            warnings.warn(
                subscribing.NEVER_CLOSED % ", ".join(self.channels),
                ResourceWarning,
                stacklevel=2,
                source=self,
            )

    async def _begin(self) -> None:
        """Have all its channels listened to, or raise why that cannot be."""
        self._check_process()
        engine = self._engine
        loop = engine.enter()
        deadline = None if self._timeout is None else loop.time() + self._timeout
        since = engine.options.clock()
        try:
            if self._hub is None and not self._is_closed:
                self._hub = hub_of(engine)
                self._hub.subscribe(self, self._feed)
            while self._feed.state is WAITING and not self._is_closed:
                seconds = None if deadline is None else deadline - loop.time()
                if seconds is not None and seconds <= 0:
                    waited = engine.options.clock() - since
                    raise engine.timed_out(waited, engine._refusal, asyncio.current_task())
                await self._wait(seconds)
        except BaseException:
            self._close()
            raise
        self._feed.check()
        if self._callback is not None and not self._is_served:
            self._is_served = True
            engine.spawn(self._call_back(self._callback))

    def _close(self) -> None:
        self._is_closed = True
        self._feed.clear()
        self._wake()
        if self._hub is not None:
            self._hub.leave(self._feed)

    async def _take(self, timeout: float | None) -> Event | None:
        """The next; None if there is none in time, or there will be none."""
        self._check_process()
        if self._callback is not None:
            raise InterfaceError("what comes for this subscription goes to its callback")
        if self._hub is None or self._feed.state is WAITING:
            await self._begin()
        self._engine.enter()
        return await self._take_next(timeout)

    async def _take_next(self, timeout: float | None) -> Event | None:
        now = asyncio.get_running_loop().time
        until = None if timeout is None else now() + timeout
        while not self._is_closed:
            # From here to the return nothing is awaited: who is cancelled has taken nothing.
            event = self._feed.take()
            seconds = None if until is None else until - now()
            if event is not None:
                return event
            if self._feed.state is ENDED or (seconds is not None and seconds <= 0):
                break
            await self._wait(seconds)
        return None

    async def _wait(self, seconds: float | None) -> None:
        """Until something has changed, at most so long."""
        change: Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(change)
        try:
            await asyncio.wait((change,), timeout=seconds)
        finally:
            if change in self._waiters:
                self._waiters.remove(change)

    def _wake(self) -> None:
        """The feed has got something, or another state."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _call_back(self, callback: NotificationCallback) -> None:
        while (event := await self._take_next(None)) is not None:
            try:
                with self._engine.listeners.running(callback):
                    result = callback(event)
                    if isawaitable(result):
                        await result
            except Exception:
                logger.exception(subscribing.RAISED, self._engine.options.name)

    def _check_process(self) -> None:
        if self._generation != DriverBase.forks:
            raise subscribing.made_before_fork()


class AsyncHub:
    """See the module. The engine's, which has another in a forked child."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._clock = engine.options.clock
        self._name = engine.options.name
        self._core: HubCore[Notification] = HubCore(
            f"pgwire_{secrets.token_hex(12)}",
            engine.core.config.check_after,
            jitter=random.random,
        )
        self._subscriptions: WeakValueDictionary[Feed[Any], AsyncSubscription]
        self._subscriptions = WeakValueDictionary()
        self._slots: dict[Link[Notification], Slot[AsyncDriver]] = {}
        self._openings: dict[Link[Notification], Task[None]] = {}
        self._timer: TimerHandle | None = None

    def subscribe(self, subscription: AsyncSubscription, feed: Feed[Notification]) -> None:
        self._subscriptions[feed] = subscription
        self._input(self._core.subscribe, feed)

    def leave(self, feed: Feed[Notification]) -> None:
        """Its subscriber wants no more."""
        self._input(self._core.unsubscribe, feed)

    def end(self) -> None:
        """The pool ends. Never waits: the pool does, for the connections."""
        self._input(self._core.end)

    @property
    def slots(self) -> list[Slot[AsyncDriver]]:
        """The connections that it has of the pool."""
        return [*self._slots.values()]

    # ---------------------------------------------------------------- the core

    def _input(self, report: Callable[..., object], *args: Any) -> None:
        """Tell the core, and do what follows."""
        for link, slot in self._slots.items():
            link.expires_at = slot.expires_at  # `expire()` may have changed it
        report(*args, self._clock())
        for effect in self._core.take_effects():
            self._carry_out(effect)
        for feed in self._core.take_changed():
            subscription = self._subscriptions.get(feed)
            if subscription is not None:
                subscription._wake()
        self._plan()

    def _plan(self) -> None:
        """See to it that the core is told the time."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        due = self._core.next_deadline()
        if due is None and not self._slots:
            return
        seconds = subscribing.INTERVAL
        if due is not None:
            seconds = max(0.0, min(seconds, due - self._clock()))
        assert self._engine.loop is not None
        self._timer = self._engine.loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._input(self._core.tick)

    # ---------------------------------------------------------------- carrying out

    def _carry_out(self, effect: Effect[Notification]) -> None:
        link = effect.link
        if isinstance(effect, Connect):
            task = self._engine.spawn(self._connect(link), Context())
            self._openings[link] = task
            task.add_done_callback(partial(self._opening_ended, link))
        elif isinstance(effect, Disconnect):
            self._disconnect(link, effect.reusable)
        elif link in self._slots:
            self._tell(effect)

    async def _connect(self, link: Link[Notification]) -> None:
        try:
            slot = await self._engine.acquire(None)
        except Error as error:
            self._refused(link, error)
            return
        # From here on nothing is awaited.
        self._slots[link] = slot
        driver = slot.connection
        driver.session.events.leave()  # what a hook may have listened with
        inbox = driver.session.events.hear(subscribing.UNBOUNDED)
        inbox.watchers.add(partial(self._heard, link, driver))
        self._input(self._core.connected, link)

    def _opening_ended(self, link: Link[Notification], task: Task[None]) -> None:
        del self._openings[link]
        if task.cancelled() and link.state is LinkState.OPENING:  # not by us
            self._input(self._core.refused, link, InterfaceError("the opening was cancelled"))

    def _refused(self, link: Link[Notification], error: Exception) -> None:
        self._input(self._core.refused, link, error)
        if not self._core.is_idle:
            logger.warning(subscribing.NOT_YET, self._name, error)

    def _heard(self, link: Link[Notification], driver: AsyncDriver) -> None:
        """Something has come, or no more will. It is seen to when the session is at rest."""
        inbox = driver.session.events.inbox
        if inbox is not None and (len(inbox) == 1 or driver.session.failure is not None):
            driver.loop.call_soon(self._hand_on, link)

    def _hand_on(self, link: Link[Notification]) -> None:
        slot = self._slots.get(link)
        if slot is None:
            return
        session = slot.connection.session
        inbox = session.events.hear(subscribing.UNBOUNDED)
        failure: Exception | None = session.failure
        try:
            while (notification := inbox.take()) is not None:
                self._core.notified(link, notification, self._clock())
        except OperationalError as error:  # some were dropped, for want of memory
            failure = error
        self._input(self._core.tick)
        if failure is not None:
            self._lost(link, failure)

    def _lost(self, link: Link[Notification], error: Exception) -> None:
        if link.state is LinkState.OPEN:
            logger.warning(subscribing.LOST, self._name, error)
        self._input(self._core.lost, link, error)

    def _tell(self, effect: Tell[Notification] | Check[Notification]) -> None:
        link = effect.link
        driver = self._slots[link].connection
        try:
            operation = subscribing.operation_for(effect, driver)
        except Error as error:
            self._input(self._core.failed, link, error)
            return
        answer = driver.submit(operation, subscribing.TELL_TIMEOUT)
        answer.add_done_callback(partial(self._told, link))

    def _told(self, link: Link[Notification], answer: Future[Any]) -> None:
        slot = self._slots.get(link)
        if slot is None:
            if not answer.cancelled():
                answer.exception()  # it is of no interest any more
            return
        self._hand_on(link)
        failure = InterfaceError("it was cancelled") if answer.cancelled() else answer.exception()
        if failure is None:
            self._input(self._core.told, link)
        elif isinstance(failure, Exception) and subscribing.is_refusal(failure, slot.connection):
            self._input(self._core.failed, link, failure)
        else:
            assert isinstance(failure, Exception)
            self._lost(link, failure)

    def _disconnect(self, link: Link[Notification], reusable: bool) -> None:
        opening, slot = self._openings.get(link), self._slots.pop(link, None)
        if slot is not None:
            slot.connection.session.events.leave()
            reusable = reusable and subscribing.can_be_reused(self._engine.options)
            self._engine.release(slot, discard=not reusable)
        elif opening is not None:
            opening.cancel()


def hub_of(engine: AsyncEngine) -> AsyncHub:
    """The one that all subscriptions of a pool share."""
    if engine.hub is None:
        engine.hub = AsyncHub(engine)
    return engine.hub


class AsyncListens:
    """What a pool has for it."""

    _engine: AsyncEngine
    _checkout_timeout: float | None

    def listen(
        self,
        *channels: str,
        callback: NotificationCallback | None = None,
        max_queued: int = 1000,
        timeout: float | None = None,
    ) -> AsyncSubscription:
        """Hear of what is sent to channels by NOTIFY, over one connection for all who listen.

        Await or enter what is returned, or iterate: then it begins. It gives `Notification`s, and a
        `NotificationGap` wherever some are, or may be, missing: it listens again by itself. A
        `callback` gets them instead, one at a time, in a task of its own, until it is closed.
        `max_queued` wait at most: beyond that the oldest are dropped. `timeout` (seconds) takes
        the place of `checkout_timeout` for the beginning. The connection is one of `max_size`.

        Raises `ProgrammingError` for names as `Connection.listen` does, and with `max_size=1`;
        when it begins `NotSupportedError` with `prepare=False`, and as `connect`. Manual: "LISTEN".
        """
        feed = subscribing.new_feed(channels, max_queued, self._engine.core.config)
        if callback is not None:
            check_function("callback", callback)
        limit = self._checkout_timeout if timeout is None else check_timeout(timeout)
        return AsyncSubscription(self._engine, feed, callback, limit)
