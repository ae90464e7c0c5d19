"""HubCore: which channels one connection listens to for all, and what becomes of its notifications.

It must not know SQL, clocks, locks, threads, tasks or sockets: every input carries `now` (monotonic
seconds). A shell calls it under one lock (or from one loop), then carries out `take_effects()`,
reports what came of them, and wakes those in `take_changed()`.

As long as there are feeds there is a connection (`Link`), or one is on its way. Each has one thing
to do at a time: to listen, to listen no more, to be checked when nothing was heard of it for
`check_after`. When it is lost another is opened; once that listens to all channels, and no sooner,
every feed that was live gets a gap: who looks at his tables then misses nothing.

A connection that has had its time is replaced without a gap. The server delivers notifications in
one order to all, so a mark among them divides them: both connections listen, and to a channel of
the hub's own; the new one sends the mark there; up to it the old one's count, behind it the new
one's. Whoever comes to it first has what follows held back until the other is there as well.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum
from math import inf
from typing import TYPE_CHECKING, Generic, TypeAlias

from pgwire.errors import OperationalError, PoolClosed
from pgwire.pool.backoff import Backoff
from pgwire.pool.feeds import Feed, FeedState, M, NotificationGap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# A connection that is lost so soon after it began to listen is not replaced without a pause.
NEWBORN = 1.0  # seconds
# How long a mark may be on its way.
MARK_PATIENCE = 10.0  # seconds
# So many notifications are held back for the sake of order, or while a connection begins.
MOST_HELD = 10_000

WAITING, LIVE, ENDED = FeedState


class LinkState(Enum):
    """Where a connection of the hub stands."""

    OPENING = "opening"
    OPEN = "open"
    GONE = "gone"  # given back, or never had


OPENING, OPEN, GONE = LinkState


class Link(Generic[M]):
    """A connection of the hub, from the wish to have it until it is given back."""

    __slots__ = (
        *("busy", "channels", "expires_at", "has_passed", "heard_at", "held", "is_live"),
        *("started_at", "state", "telling"),
    )

    def __init__(self, started_at: float) -> None:
        self.state = OPENING
        self.started_at = self.heard_at = started_at
        self.expires_at = inf  # the shell's to set
        self.channels: frozenset[str] = frozenset()  # that it listens to
        self.telling: frozenset[str] = frozenset()  # that it will listen to when it has been told
        self.busy = False
        self.is_live = False  # its notifications are delivered
        self.has_passed = False  # the mark
        self.held: deque[M] = deque(maxlen=MOST_HELD)

    def __repr__(self) -> str:
        return f"<Link {self.state.value}, {'live, ' * self.is_live}{sorted(self.channels)}>"


@dataclass(frozen=True, slots=True)
class Connect(Generic[M]):
    """Take a connection from the pool; then `connected` or `refused`."""

    link: Link[M]


@dataclass(frozen=True, slots=True)
class Tell(Generic[M]):
    """Have it listen, listen no more, and send a notification; then `told`, `failed` or `lost`."""

    link: Link[M]
    listen: tuple[str, ...] = ()
    unlisten: tuple[str, ...] = ()
    notify: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Check(Generic[M]):
    """See whether the server answers, within a time of the shell's choice; `told` or `lost`."""

    link: Link[M]


@dataclass(frozen=True, slots=True)
class Disconnect(Generic[M]):
    """Give it back, or stop waiting for it. No report; what is still reported does not count."""

    link: Link[M]
    reusable: bool


Effect: TypeAlias = Connect[M] | Tell[M] | Check[M] | Disconnect[M]


class HubCore(Generic[M]):
    """See the module. `mark_channel` is a name that nobody else can know."""

    def __init__(
        self, mark_channel: str, check_after: float | None, *, jitter: Callable[[], float]
    ) -> None:
        self._mark_channel = mark_channel
        self._check_after = inf if check_after is None else check_after
        self._backoff = Backoff(jitter)
        self._wanted: dict[str, dict[Feed[M], None]] = {}  # by channel; none is empty
        self._feeds: dict[Feed[M], None] = {}
        self._current: Link[M] | None = None
        self._next: Link[M] | None = None  # what is to replace it
        self._loss: Exception | None = None  # live feeds have not been told of yet
        self._mark = 0  # the number of the last one
        self._mark_due = inf  # while one is on its way
        self._changed: dict[Feed[M], None] = {}
        self.pending: list[Effect[M]] = []
        self.ending = False

    # Subscribers

    def subscribe(self, feed: Feed[M], now: float) -> None:
        """A new feed: it stays WAITING until all its channels are listened to."""
        if self.ending:
            self._end_feed(feed, PoolClosed("the pool is closed and takes no new subscriptions"))
            return
        self._feeds[feed] = None
        for channel in feed.channels:
            self._wanted.setdefault(channel, {})[feed] = None
        self._go_on(now)

    def unsubscribe(self, feed: Feed[M], now: float) -> None:
        """Its subscriber wants no more; more than once does no harm."""
        self._end_feed(feed, None)
        feed.clear()
        self._go_on(now)

    def end(self, now: float) -> None:
        """The pool ends: feeds have what they have got, and get no more. Who waits is told so."""
        self.ending = True
        for feed in tuple(self._feeds):
            waits = feed.state is WAITING
            self._end_feed(feed, PoolClosed(_UNHEARD) if waits else None)
        self._go_on(now)

    # Reports about connections

    def connected(self, link: Link[M], now: float) -> None:
        """Connect has succeeded."""
        if link.state is OPENING:
            link.state, link.started_at, link.heard_at = OPEN, now, now
            self._go_on(now)

    def refused(self, link: Link[M], error: Exception, now: float) -> None:
        """Connect has failed. Who waits for his first connection is told; others wait on."""
        if link.state is OPENING:
            self._backoff.failed(link.started_at, now)
            self._drop(link, error)
            self._go_on(now)

    def told(self, link: Link[M], now: float) -> None:
        """Tell has been carried out, or Check was answered."""
        if link.state is not OPEN:
            return
        link.busy, link.heard_at, link.channels = False, now, link.telling
        if link is self._current and not link.is_live:
            self._begin(link)
        self._go_on(now)

    def failed(self, link: Link[M], error: Exception, now: float) -> None:
        """The server has refused what Tell said, and nothing of it was done."""
        if link.state is not OPEN:
            return
        link.busy, link.telling = False, link.channels
        waiting = [feed for feed in self._feeds if feed.state is WAITING]
        if link is self._current and link.is_live and waiting:
            for feed in waiting:
                self._end_feed(feed, error)
        else:
            self._backoff.failed(link.started_at, now)
            self._lose(link, error)
        self._go_on(now)

    def lost(self, link: Link[M], error: Exception, now: float) -> None:
        """The connection is gone, or is of no more use."""
        if link.state is not OPEN:
            return
        if not link.is_live or now - link.started_at < NEWBORN:
            self._backoff.failed(link.started_at, now)
        self._lose(link, error)
        self._go_on(now)

    def notified(self, link: Link[M], message: M, now: float) -> None:
        """A notification has come."""
        link.heard_at = now
        if link.state is not OPEN:
            return
        if message.channel == self._mark_channel:
            if self._mark_due != inf and message.payload == str(self._mark):
                link.has_passed = True
                self._switch()
                self._go_on(now)
        elif link is self._current and link.is_live and not link.has_passed:
            self._deliver(message)
        elif link is self._current or link.has_passed:
            link.held.append(message)
            if link.has_passed and len(link.held) == MOST_HELD:
                self._lose(self._other(link), _TOO_LATE)
                self._go_on(now)

    # The passing of time

    def tick(self, now: float) -> None:
        """Do what is due; to be called when `next_deadline` has come, harmless otherwise."""
        if now >= self._mark_due and self._next is not None:
            self._backoff.failed(self._next.started_at, now)
            self._lose(self._next, _TOO_LATE)
        self._go_on(now)

    def next_deadline(self) -> float | None:
        """When `tick` is to be called; None if nothing will be due by itself."""
        due = self._mark_due
        current = self._current
        if not self._feeds:
            return None
        if current is None:
            due = min(due, self._backoff.retry_at)
        elif current.is_live:
            if not current.busy:
                due = min(due, current.heard_at + self._check_after)
            if self._next is None:
                due = min(due, max(current.expires_at, self._backoff.retry_at))
        return None if due == inf else due

    # What the shell reads

    def take_effects(self) -> list[Effect[M]]:
        """What is to be carried out, in this order; each is given out once."""
        taken, self.pending = self.pending, []
        return taken

    def take_changed(self) -> Iterable[Feed[M]]:
        """The feeds that have got something, or another state."""
        taken, self._changed = self._changed, {}
        return taken

    @property
    def feeds(self) -> tuple[Feed[M], ...]:
        """All that have not ended."""
        return tuple(self._feeds)

    @property
    def is_idle(self) -> bool:
        """Whether there is nobody to listen for, and nothing to do."""
        return not (self._feeds or self.pending)

    # What follows

    def _go_on(self, now: float) -> None:
        """Leave nothing undone."""
        if not self._feeds:
            self._loss = None
            for link in (self._next, self._current):
                if link is not None:
                    self._give_back(link, reusable=True)
            self._current, self._next, self._mark_due = None, None, inf
            return
        current = self._current
        if current is None:
            if now >= self._backoff.retry_at:
                self._current = self._connect(now)
            return
        if current.state is OPEN and self._mark_due == inf:
            self._keep_channels(current)
            self._replace(current, now)
        self._enliven(current)
        is_quiet = current.is_live and not current.busy
        if is_quiet and now >= current.heard_at + self._check_after:
            current.busy = True
            self.pending.append(Check(current))

    def _connect(self, now: float) -> Link[M]:
        link: Link[M] = Link(now)
        self.pending.append(Connect(link))
        return link

    def _keep_channels(self, link: Link[M]) -> None:
        """Have it listen to what is wanted, and to nothing else."""
        wanted = frozenset(self._wanted)
        if self._next is not None and self._next.state is OPEN:
            wanted |= {self._mark_channel}
        if not link.busy and wanted != link.channels:
            link.busy, link.telling = True, wanted
            listen, unlisten = wanted - link.channels, link.channels - wanted
            self.pending.append(Tell(link, tuple(sorted(listen)), tuple(sorted(unlisten))))

    def _replace(self, current: Link[M], now: float) -> None:
        """Have another in its place, where it has had its time, step by step."""
        other = self._next
        if other is None:
            is_due = current.is_live and now >= current.expires_at
            if is_due and now >= self._backoff.retry_at:
                self._next = self._connect(now)
        elif other.state is OPEN:
            self._keep_channels(other)
            if not (current.busy or other.busy):
                other.busy = True
                self._mark += 1
                self._mark_due = now + MARK_PATIENCE
                self.pending.append(Tell(other, notify=(self._mark_channel, str(self._mark))))

    def _switch(self) -> None:
        """Both may have come to the mark: then the new one takes over."""
        old, new = self._current, self._next
        if old is not None and new is not None and old.has_passed and new.has_passed:
            self._give_back(old, reusable=True)
            self._take_over(new)

    def _take_over(self, link: Link[M]) -> None:
        self._current, self._next, self._mark_due = link, None, inf
        link.has_passed, link.is_live = False, True
        self._backoff.succeeded()
        self._release_held(link)

    def _begin(self, link: Link[M]) -> None:
        """It listens to all that is wanted: feeds that were live before are told of the loss."""
        link.is_live = True
        self._backoff.succeeded()
        loss, self._loss = self._loss, None
        if loss is not None:
            self._tell_of_loss(loss)
        self._release_held(link)

    def _tell_of_loss(self, error: Exception) -> None:
        for feed in self._feeds:
            if feed.state is LIVE:
                feed.put_gap(NotificationGap(error=error))
                self._changed[feed] = None

    def _release_held(self, link: Link[M]) -> None:
        while link.held:
            self._deliver(link.held.popleft())

    def _deliver(self, message: M) -> None:
        for feed in self._wanted.get(message.channel, ()):
            feed.put(message)
            self._changed[feed] = None

    def _enliven(self, current: Link[M]) -> None:
        """Who waited for channels that are listened to now need not wait any more."""
        if current.is_live:
            channels = current.channels & current.telling  # and will be
            for feed in self._feeds:
                if feed.state is WAITING and feed.channels <= channels:
                    feed.state = LIVE
                    self._changed[feed] = None

    # What goes

    def _lose(self, link: Link[M], error: Exception) -> None:
        """An open one is gone. What was held for its sake is not any more."""
        self._give_back(link, reusable=False)
        current, other = self._current, self._next
        if link is other:
            self._next, self._mark_due = None, inf
            if current is not None and current.has_passed:
                current.has_passed = False
                self._release_held(current)
        elif other is not None and other.has_passed:
            self._tell_of_loss(error)  # of what was sent before the mark
            self._take_over(other)
        else:
            self._drop(link, error)

    def _drop(self, link: Link[M], error: Exception) -> None:
        """It is not there any more: what is being opened to replace it does so."""
        link.state = GONE
        other, self._next, self._mark_due = self._next, None, inf
        if link is other:
            return
        if link.is_live:
            self._loss = error
        else:  # who was live waits on
            for feed in [feed for feed in self._feeds if feed.state is WAITING]:
                self._end_feed(feed, error)
        if other is not None and other.state is OPEN:
            # It listens already, and nobody knows how far behind it is: it might say things twice.
            self._give_back(other, reusable=True)
            other = None
        self._current = other

    def _give_back(self, link: Link[M], *, reusable: bool) -> None:
        link.state = GONE
        self.pending.append(Disconnect(link, reusable))

    def _end_feed(self, feed: Feed[M], error: Exception | None) -> None:
        if feed in self._feeds:
            del self._feeds[feed]
            for channel in feed.channels:
                del self._wanted[channel][feed]
                if not self._wanted[channel]:
                    del self._wanted[channel]
        if feed.state is not ENDED:
            feed.state, feed.error = ENDED, error
            self._changed[feed] = None

    def _other(self, link: Link[M]) -> Link[M]:
        other = self._current if link is self._next else self._next
        assert other is not None  # while a mark is on its way there are two
        return other


_UNHEARD = "the pool was closed before the channels were listened to"
_TOO_LATE = OperationalError("a connection did not keep up with the one that was to replace it")
