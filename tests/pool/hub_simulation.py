"""A server made up for the hub's core, and what is to be true of it whatever happens.

The server has one list of all that was sent, and each session that listens a place in it. What is
asserted of every feed, at every step:

- what it gets comes in the order in which it was sent, and nothing twice;
- once it is live nothing of its channels is left out but where a gap stands;
- a gap for want of room says exactly how many it stands for;
- no more than `max_queued` notifications wait in it, and no two gaps are neighbours.

And of the whole: one connection, or two while one replaces the other; what is not wanted any more
is given back; when everything is carried out, every feed has everything.
"""

from __future__ import annotations

from itertools import count, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from pgwire.errors import ConnectionLost, InsufficientPrivilege, OperationalError
from pgwire.pool.feeds import Feed, FeedState, NotificationGap
from pgwire.pool.hub import Check, Connect, Disconnect, HubCore, Link, Tell

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")

MARK = "the mark"
CHANNELS = ["a", "b", "c"]
CHECK_AFTER = 30.0


class Sent(NamedTuple):
    """A notification; `number` is its place in the order."""

    channel: str
    payload: str
    number: int


class Session:
    """What the server knows of a connection of the hub."""

    def __init__(self) -> None:
        self.channels: set[str] = set()
        self.place = 0  # what comes before has been delivered, or was not for it
        self.has_done: object = None  # which has not been answered yet


class Subscriber:
    """What a feed has given, and what is to be thought of it."""

    def __init__(self, feed: Feed[Sent], max_queued: int) -> None:
        self.feed = feed
        self.max_queued = max_queued
        self.expects_from: int | None = None  # once it is live: the first that may not be missed
        self.last = -1
        self.gap: NotificationGap | None = None


def pick(things: Sequence[T], which: int) -> Sequence[T]:
    """One of them, or none if there is none."""
    return things[which % len(things) :][:1] if things else ()


class HubSimulation:
    """The core, the server, and what the subscribers are to think of both."""

    def __init__(self) -> None:
        self.now = 100.0
        self.core: HubCore[Sent] = HubCore(MARK, CHECK_AFTER, jitter=lambda: 0.5)
        self.sent: list[Sent] = []
        self.sessions: dict[Link[Sent], Session] = {}
        self.opening: list[Link[Sent]] = []
        self.to_do: list[Tell[Sent] | Check[Sent]] = []
        self.subscribers: list[Subscriber] = []
        self.payloads = map(str, count())

    # What the shell does.

    def after_input(self) -> None:
        for effect in self.core.take_effects():
            match effect:
                case Connect(link):
                    self.opening.append(link)
                case Disconnect(link, _):
                    self.sessions.pop(link, None)
                    self.opening = [each for each in self.opening if each is not link]
                    self.to_do = [each for each in self.to_do if each.link is not link]
                case Tell(link) | Check(link):
                    assert link in self.sessions
                    assert link not in [each.link for each in self.to_do], "one at a time"
                    self.to_do.append(effect)
        changed = set(self.core.take_changed())
        for subscriber in self.subscribers:
            feed = subscriber.feed
            if feed.state is FeedState.LIVE and subscriber.expects_from is None:
                assert feed in changed
                subscriber.expects_from = len(self.sent)

    def carry_out(self, effect: Tell[Sent] | Check[Sent]) -> None:
        """The server does it, and answers when this is called again."""
        link = effect.link
        session = self.sessions[link]
        if session.has_done is effect or isinstance(effect, Check):
            self.to_do.remove(effect)
            self.core.told(link, self.now)
            self.after_input()
            return
        if effect.listen and not session.channels:
            session.place = len(self.sent)
        self.deliver(link, len(self.sent))  # what was sent before comes before
        if link not in self.sessions:
            return
        session.has_done = effect
        session.channels |= set(effect.listen)
        session.channels -= set(effect.unlisten)
        if effect.notify is not None:
            self.sent.append(Sent(*effect.notify, len(self.sent)))

    def deliver(self, link: Link[Sent], most: int) -> None:
        session = self.sessions[link]
        while session.place < len(self.sent) and most:
            message = self.sent[session.place]
            session.place += 1
            if message.channel in session.channels:
                most -= 1
                self.core.notified(link, message, self.now)
                self.after_input()
                if link not in self.sessions:
                    return

    # What may happen.

    def subscribe(self, channels: set[str], most: int) -> None:
        if len(self.subscribers) < 5:
            feed: Feed[Sent] = Feed(channels, most)
            self.core.subscribe(feed, self.now)
            self.subscribers.append(Subscriber(feed, most))
            self.after_input()

    def unsubscribe(self, which: int) -> None:
        for subscriber in pick(self.subscribers, which):
            self.subscribers.remove(subscriber)
            self.core.unsubscribe(subscriber.feed, self.now)
            assert subscriber.feed.state is FeedState.ENDED
            self.core.unsubscribe(subscriber.feed, self.now)
            self.after_input()

    def send(self, channel: str, times: int) -> None:
        for _ in range(times):
            self.sent.append(Sent(channel, next(self.payloads), len(self.sent)))

    def open(self, which: int, well: bool) -> None:
        for link in pick(self.opening, which):
            self.opening.remove(link)
            if well:
                self.sessions[link] = Session()
                self.core.connected(link, self.now)
            else:
                self.core.refused(link, OperationalError("refused"), self.now)
            self.after_input()
            self.forget_ended()

    def do(self, which: int) -> None:
        for effect in pick(self.to_do, which):
            self.carry_out(effect)

    def refuse(self, which: int) -> None:
        for effect in pick(self.to_do, which):
            if isinstance(effect, Tell) and self.sessions[effect.link].has_done is not effect:
                self.to_do.remove(effect)
                self.core.failed(effect.link, InsufficientPrivilege("no"), self.now)
                self.after_input()
                self.forget_ended()

    def receive(self, which: int, most: int) -> None:
        for link in pick(list(self.sessions), which):
            self.deliver(link, most)

    def lose(self, which: int) -> None:
        for link in pick(list(self.sessions), which):
            del self.sessions[link]
            self.to_do = [each for each in self.to_do if each.link is not link]
            self.core.lost(link, ConnectionLost("killed"), self.now)
            self.after_input()
            self.forget_ended()
            for report in (self.core.told, self.core.connected):  # comes late, and does not count
                report(link, self.now)
            for bad_report in (self.core.lost, self.core.failed, self.core.refused):
                bad_report(link, ConnectionLost("again"), self.now)
            self.core.notified(link, Sent("a", "late", -1), self.now)
            assert not self.core.pending

    def expire(self, which: int) -> None:
        for link in pick(list(self.sessions), which):
            link.expires_at = self.now
            self.core.tick(self.now)
            self.after_input()

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.after_input()

    def take(self, which: int, most: int) -> None:
        for subscriber in pick(self.subscribers, which):
            for _ in range(most):
                self.take_one(subscriber)

    # What is to be thought of it.

    def take_one(self, subscriber: Subscriber) -> bool:
        taken = subscriber.feed.take()
        if taken is None:
            return False
        if isinstance(taken, NotificationGap):
            assert taken.reason
            assert taken.dropped or taken.error
            before = subscriber.gap  # taken when nothing else was there
            subscriber.gap = taken if before is None else before.and_then(taken)
            return True
        assert taken.channel in subscriber.feed.channels
        assert taken.number > subscriber.last, "twice, or out of order"
        missing = self.missing(subscriber, taken.number)
        gap, subscriber.gap = subscriber.gap, None
        if gap is None:
            assert not missing, f"{missing} were lost without a word"
        elif gap.error is None and subscriber.expects_from is not None:
            assert gap.dropped >= len(missing)
        subscriber.last = taken.number
        return True

    def missing(self, subscriber: Subscriber, before: int) -> list[Sent]:
        if subscriber.expects_from is None:
            return []
        first = max(subscriber.last + 1, subscriber.expects_from)
        return [m for m in self.sent[first:before] if m.channel in subscriber.feed.channels]

    def forget_ended(self) -> None:
        """Those that were waiting when something failed have been told why."""
        for subscriber in list(self.subscribers):
            if subscriber.feed.state is FeedState.ENDED:
                assert subscriber.feed.error is not None
                assert subscriber.expects_from is None, "one that was live has been ended"
                self.subscribers.remove(subscriber)

    def check(self) -> None:
        self._nothing_is_kept_for_nobody()
        self._queues_are_bounded()

    def _nothing_is_kept_for_nobody(self) -> None:
        links = len(self.sessions) + len(self.opening)
        assert links <= 2
        if not self.subscribers:
            assert links == 0
            assert self.core.is_idle
            assert self.core.next_deadline() is None

    def _queues_are_bounded(self) -> None:
        for subscriber in self.subscribers:
            queue: list[Any] = list(subscriber.feed._queue)
            gaps = [isinstance(each, NotificationGap) for each in queue]
            assert gaps.count(False) <= subscriber.max_queued
            assert not any(here and there for here, there in pairwise(gaps))

    def finish(self) -> None:
        """Everything is carried out: then everybody has everything."""
        for _ in range(200):
            if not (self.opening or self.to_do or self.undelivered() or self.is_due()):
                break
            for link in list(self.opening):
                self.opening.remove(link)
                self.sessions[link] = Session()
                self.core.connected(link, self.now)
                self.after_input()
            for effect in list(self.to_do):
                if effect in self.to_do:
                    self.carry_out(effect)
            for link in list(self.sessions):
                if link in self.sessions:
                    self.deliver(link, len(self.sent))
            if self.is_due():
                self.now += 0.1
                self.core.tick(self.now)
                self.after_input()
        else:
            raise AssertionError("it does not come to rest")
        for subscriber in self.subscribers:
            assert subscriber.feed.state is FeedState.LIVE
            while self.take_one(subscriber):
                pass
            if subscriber.gap is None:
                assert not self.missing(subscriber, len(self.sent))
        assert len(self.sessions) == bool(self.subscribers)

    def undelivered(self) -> bool:
        return any(
            message.channel in session.channels
            for session in self.sessions.values()
            for message in self.sent[session.place :]
        )

    def is_due(self) -> bool:
        due = self.core.next_deadline()
        return due is not None and due < self.now + 10
