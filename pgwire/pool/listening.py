"""The hub that all subscriptions of a pool of threads share.

HubCore decides, one daemon thread does it: it has the core for itself, sleeps on the sockets of the
hub's connections and on a waker, and ends with the last subscription. Other threads leave it
requests, and take from their feeds under the hub's lock. A destructor only leaves a request.
Callbacks have a thread each, which takes from its feed as everybody does.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from pgwire.blocking.connection import Connection
from pgwire.blocking.net import Waker
from pgwire.blocking.notifying import catch_up
from pgwire.errors import Error, InterfaceError, OperationalError
from pgwire.log import pool_logger as logger
from pgwire.pool import subscribing
from pgwire.pool.feeds import FeedState
from pgwire.pool.hub import Connect, Disconnect, HubCore, LinkState
from pgwire.pool.options import check_plain_function, check_timeout
from pgwire.pool.slots import Slot
from pgwire.pool.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgwire.blocking.driver import Driver
    from pgwire.pool.engine import Engine
    from pgwire.pool.feeds import Feed, NotificationGap
    from pgwire.pool.hub import Check, Effect, Link, Tell
    from pgwire.pool.waiters import Waiter
    from pgwire.protocol.messages import Notification

    Event = Notification | NotificationGap
    NotificationCallback = Callable[[Event], object]


WAITING, LIVE, ENDED = FeedState


class Hub:
    """See the module. The engine's, which has another in a forked child."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._clock = engine.options.clock
        self._name = engine.options.name
        self.lock = threading.RLock()
        self._core: HubCore[Notification] = HubCore(
            f"pgwire_{secrets.token_hex(12)}",
            engine.core.config.check_after,
            jitter=random.random,
        )
        self._requests: deque[Callable[[], object]] = deque()
        self._waker = Waker()
        self._runs = False
        self._subscriptions: WeakValueDictionary[Feed[Any], Subscription] = WeakValueDictionary()
        self._slots: dict[Link[Notification], Slot[Driver]] = {}
        self._waiters: dict[Link[Notification], tuple[Waiter[Driver], float]] = {}

    # ---------------------------------------------------------------- for other threads

    def subscribe(
        self,
        feed: Feed[Notification],
        callback: NotificationCallback | None,
        timeout: float | None,
    ) -> Subscription:
        """See Pool.listen."""
        since = self._clock()
        subscription = Subscription(self, feed, callback is not None)
        with self.lock:
            self._subscriptions[feed] = subscription
        try:
            self._ask(partial(self._core_input, self._core.subscribe, feed))
            if not subscription._wait_until_live(timeout):
                raise self._engine.timed_out(self._clock() - since, self._engine._refusal)
            if callback is not None:
                self._engine.crew.start(self._call_back, subscription, callback)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def leave(self, feed: Feed[Notification]) -> None:
        """Its subscriber wants no more. Never waits, and takes no lock."""
        self._requests.append(partial(self._core_input, self._core.unsubscribe, feed))
        self._waker.wake()

    def end(self) -> None:
        """The pool ends. Never waits: the pool does, for the connections."""
        with self.lock:
            if not self._runs:  # nobody listens, and nobody will
                self._core.end(self._clock())
                return
        self._ask(partial(self._core_input, self._core.end))

    def _ask(self, request: Callable[[], object]) -> None:
        """Have the thread do it; there is one from now on."""
        with self.lock:
            self._requests.append(request)
            if not self._runs:
                self._engine.crew.start(self._run)
        self._waker.wake()

    def _call_back(self, subscription: Subscription, callback: NotificationCallback) -> None:
        threading.current_thread().name = f"{self._name}-callback"
        while (event := subscription._take_next(None)) is not None:
            try:
                with self._engine.listeners.running(callback):
                    callback(event)
            except BaseException:  # SystemExit too: it is nobody's main program
                logger.exception(subscribing.RAISED, self._name)

    # ---------------------------------------------------------------- the thread

    def _run(self) -> None:
        with self.lock:
            if self._runs:  # more than one may have been started for it
                return
            self._runs = True
        threading.current_thread().name = f"{self._name}-notifications"
        while self._has_more_to_do():
            with self.lock:
                effects = self._core.take_effects()
            for effect in effects:
                self._carry_out(effect)
            if not (effects or self._requests):
                self._waker.wait(
                    [slot.connection.channel.sock for slot in self._slots.values()],
                    self._seconds_to_sleep(),
                )
            for link in tuple(self._slots):
                self._read(link)

    def _has_more_to_do(self) -> bool:
        with suppress(IndexError):
            while True:
                self._requests.popleft()()
        for feed in self._core.feeds:
            if feed not in self._subscriptions:  # Ctrl-C has struck in its destructor
                self._core_input(self._core.unsubscribe, feed)
        for link, slot in self._slots.items():
            link.expires_at = slot.expires_at  # `expire()` may have changed it
        self._core_input(self._core.tick)
        with self.lock:
            self._runs = bool(self._requests or not self._core.is_idle)
        return self._runs

    def _core_input(self, report: Callable[..., object], *args: Any) -> None:
        """Tell the core, and wake whom it has made something of."""
        with self.lock:
            report(*args, self._clock())
            for feed in self._core.take_changed():
                subscription = self._subscriptions.get(feed)
                if subscription is not None:
                    subscription._wake()

    def _seconds_to_sleep(self) -> float:
        due = self._core.next_deadline()
        if due is None:
            return subscribing.INTERVAL
        return max(0.0, min(subscribing.INTERVAL, due - self._clock()))

    def _read(self, link: Link[Notification]) -> None:
        """Hand on what has come."""
        driver = self._slots[link].connection
        try:
            catch_up(driver)
        except BaseException as error:  # a callback's, SystemExit too; or the pool has closed it
            if not isinstance(error, Error):
                logger.exception(subscribing.RAISED, self._name)
        self._hand_on(link, driver)
        failure = driver.session.failure
        if failure is not None or driver.closed:
            self._lost(link, failure or InterfaceError("the connection is closed"))

    def _hand_on(self, link: Link[Notification], driver: Driver) -> None:
        inbox = driver.session.events.hear(subscribing.UNBOUNDED)
        try:
            while (notification := inbox.take()) is not None:
                self._core_input(self._core.notified, link, notification)
        except OperationalError as error:  # some were dropped, for want of memory
            self._lost(link, error)

    def _lost(self, link: Link[Notification], error: Exception) -> None:
        if link.state is LinkState.OPEN:
            logger.warning(subscribing.LOST, self._name, error)
        self._core_input(self._core.lost, link, error)

    # ---------------------------------------------------------------- carrying out

    def _carry_out(self, effect: Effect[Notification]) -> None:
        if isinstance(effect, Connect):
            self._connect(effect.link)
        elif isinstance(effect, Disconnect):
            self._disconnect(effect.link, effect.reusable)
        elif effect.link in self._slots:
            self._tell(effect)

    def _connect(self, link: Link[Notification]) -> None:
        def wake(_waiter: Waiter[Driver]) -> None:
            self._requests.append(partial(self._granted, link))
            self._waker.wake()

        since = self._clock()
        try:
            answer = self._engine.request(None, wake)
        except Error as error:
            self._refused(link, error)
            return
        if isinstance(answer, Slot):
            self._begin(link, answer)
        else:
            self._waiters[link] = answer, since

    def _granted(self, link: Link[Notification]) -> None:
        """A request to the pool waits no more."""
        waiter, since = self._waiters.pop(link, (None, 0.0))
        if waiter is None:
            return
        try:
            slot = self._engine.outcome(waiter, since)
        except Exception as error:
            self._refused(link, error)
        else:
            self._begin(link, slot)

    def _refused(self, link: Link[Notification], error: Exception) -> None:
        self._core_input(self._core.refused, link, error)
        if not self._core.is_idle:
            logger.warning(subscribing.NOT_YET, self._name, error)

    def _begin(self, link: Link[Notification], slot: Slot[Driver]) -> None:
        driver = slot.connection
        self._slots[link] = slot
        self._engine.listeners.emit("acquire", Connection(driver))
        driver.session.events.leave()  # what a hook may have listened with
        driver.session.events.hear(subscribing.UNBOUNDED)
        self._core_input(self._core.connected, link)

    def _tell(self, effect: Tell[Notification] | Check[Notification]) -> None:
        link = effect.link
        driver = self._slots[link].connection
        failure = None
        try:
            operation = subscribing.operation_for(effect, driver)
            driver.run(operation, subscribing.TELL_TIMEOUT)
        except Error as error:
            failure = error
        except BaseException:  # a callback's, SystemExit too: it is nobody's main program
            logger.exception(subscribing.RAISED, self._name)
            if isinstance(operation.error, Error):
                failure = operation.error
        self._hand_on(link, driver)
        if failure is None:
            self._core_input(self._core.told, link)
        elif subscribing.is_refusal(failure, driver):
            self._core_input(self._core.failed, link, failure)
        else:
            self._lost(link, failure)

    def _disconnect(self, link: Link[Notification], reusable: bool) -> None:
        waiter, since = self._waiters.pop(link, (None, 0.0))
        slot = self._slots.pop(link, None)
        if waiter is not None and not self._engine.withdraw(waiter):
            with suppress(Error):
                slot = self._engine.outcome(waiter, since)
        if slot is not None:
            slot.connection.session.events.leave()
            reusable = reusable and subscribing.can_be_reused(self._engine.options)
            self._engine.release(slot, discard=not reusable)


def hub_of(engine: Engine) -> Hub:
    """The one that all subscriptions of a pool share."""
    with engine.lock:
        if engine.hub is None:
            engine.hub = Hub(engine)
        return engine.hub


class Listens:
    """What a pool has for it."""

    _engine: Engine
    _checkout_timeout: float | None

    def listen(
        self,
        *channels: str,
        callback: NotificationCallback | None = None,
        max_queued: int = 1000,
        timeout: float | None = None,
    ) -> Subscription:
        """Hear of what is sent to channels by NOTIFY, over one connection for all who listen.

        Returns when they are listened to, and gives `Notification`s, and a
        `NotificationGap` wherever some are, or may be, missing: it listens again by itself. A
        `callback` gets them instead, one at a time, in a thread of its own, until it is closed.
        `max_queued` wait at most: beyond that the oldest are dropped. `timeout` (seconds) takes
        the place of `checkout_timeout` for the beginning. The connection is one of `max_size`.

        Raises `ProgrammingError` for names as `Connection.listen` does, and with `max_size=1`;
        `NotSupportedError` with `prepare=False`, and as `connect`. Manual: "LISTEN", "NOTIFY".
        """
        feed = subscribing.new_feed(channels, max_queued, self._engine.core.config)
        if callback is not None:
            check_plain_function("callback", callback)
        limit = self._checkout_timeout if timeout is None else check_timeout(timeout)
        return hub_of(self._engine).subscribe(feed, callback, limit)
