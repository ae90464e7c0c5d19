"""The hub's core, told by hand: what it wants done when, and what its feeds get."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from pgwire.errors import ConnectionLost, InsufficientPrivilege, OperationalError, PoolClosed
from pgwire.pool.feeds import Feed, FeedState, NotificationGap
from pgwire.pool.hub import (
    MARK_PATIENCE,
    MOST_HELD,
    Check,
    Connect,
    Disconnect,
    HubCore,
    Link,
    LinkState,
    Tell,
)

MARK = "the mark"
KILLED = ConnectionLost("killed")
REFUSED = OperationalError("refused")


class Sent(NamedTuple):
    channel: str
    payload: str


class Hub:
    """A core and its shell; what is to be carried out waits for the test."""

    def __init__(self, check_after: float | None = 30.0) -> None:
        self.core: HubCore[Sent] = HubCore(MARK, check_after, jitter=lambda: 0.0)
        self.now = 100.0

    def subscribe(self, *channels: str, max_queued: int = 100) -> Feed[Sent]:
        feed: Feed[Sent] = Feed(channels, max_queued)
        self.core.subscribe(feed, self.now)
        return feed

    def effects(self) -> list[object]:
        return list(self.core.take_effects())

    def connect(self) -> Link[Sent]:
        """Carry out the one Connect that is to be."""
        [effect] = self.core.take_effects()
        assert isinstance(effect, Connect)
        self.core.connected(effect.link, self.now)
        return effect.link

    def listen(self) -> Link[Sent]:
        """The same, and have it listen."""
        link = self.connect()
        self.tell()
        return link

    def tell(self) -> Tell[Sent]:
        """Carry out the one Tell that is to be."""
        [effect] = self.core.take_effects()
        assert isinstance(effect, Tell)
        self.core.told(effect.link, self.now)
        return effect

    def send(self, link: Link[Sent], *payloads: object, channel: str = "a") -> None:
        for payload in payloads:
            self.core.notified(link, Sent(channel, str(payload)), self.now)

    def tick(self, seconds: float = 0.0) -> None:
        self.now += seconds
        self.core.tick(self.now)

    def due_in(self) -> float | None:
        due = self.core.next_deadline()
        return None if due is None else due - self.now

    def replacing(self) -> tuple[Link[Sent], Link[Sent]]:
        """The connection, and the one that is to replace it; the mark is on its way."""
        old = self.listen()
        old.expires_at = self.now
        self.tick()
        new = self.connect()
        first, second = self.core.take_effects()
        assert first == Tell(old, (MARK,), ())
        assert second == Tell(new, ("a", MARK), ())
        self.core.told(old, self.now)
        self.core.told(new, self.now)
        [mark] = self.core.take_effects()
        assert mark == Tell(new, notify=(MARK, "1"))
        self.core.told(new, self.now)
        return old, new

    def mark(self, link: Link[Sent]) -> None:
        self.send(link, 1, channel=MARK)


def taken(feed: Feed[Sent]) -> list[str | NotificationGap]:
    """The payloads, and the gaps."""
    found: list[str | NotificationGap] = []
    while (got := feed.take()) is not None:
        found.append(got if isinstance(got, NotificationGap) else got.payload)
    return found


def is_live(feed: Feed[Sent]) -> bool:
    return feed.state is FeedState.LIVE


@pytest.fixture
def hub() -> Hub:
    return Hub()


class TestOneConnection:
    def test_nobody_listens_and_nothing_is_done(self, hub: Hub) -> None:
        assert hub.core.is_idle
        assert hub.due_in() is None
        hub.tick(1000)
        assert hub.effects() == []

    def test_it_is_opened_with_the_first_and_given_back_with_the_last(self, hub: Hub) -> None:
        first, second = hub.subscribe("a"), hub.subscribe("a", "b")
        link = hub.connect()
        assert hub.tell() == Tell(link, ("a", "b"), ())
        assert [is_live(first), is_live(second)] == [True, True]
        assert set(hub.core.take_changed()) == {first, second} == set(hub.core.feeds)
        hub.core.unsubscribe(second, hub.now)
        assert hub.tell() == Tell(link, (), ("b",))
        hub.core.unsubscribe(first, hub.now)
        assert hub.effects() == [Disconnect(link, True)]
        assert hub.core.is_idle

    def test_it_is_not_waited_for_any_more(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        [connect] = hub.core.take_effects()
        hub.core.unsubscribe(feed, hub.now)
        assert hub.effects() == [Disconnect(connect.link, True)]
        hub.core.connected(connect.link, hub.now)
        hub.core.refused(connect.link, REFUSED, hub.now)
        assert hub.effects() == []

    def test_it_is_told_one_thing_at_a_time(self, hub: Hub) -> None:
        hub.subscribe("a")
        link = hub.connect()
        late = hub.subscribe("b")
        assert hub.tell() == Tell(link, ("a",), ())
        assert not is_live(late)
        assert hub.tell() == Tell(link, ("b",), ())
        assert is_live(late)

    def test_who_comes_while_its_channel_is_left_waits(self, hub: Hub) -> None:
        hub.subscribe("a")
        first = hub.subscribe("b")
        link = hub.listen()
        hub.core.unsubscribe(first, hub.now)
        second = hub.subscribe("b")
        assert hub.tell() == Tell(link, (), ("b",))
        assert not is_live(second)
        assert hub.tell() == Tell(link, ("b",), ())
        assert is_live(second)

    def test_each_feed_gets_what_it_asked_for(self, hub: Hub) -> None:
        a, b, both = hub.subscribe("a"), hub.subscribe("b"), hub.subscribe("a", "b")
        link = hub.listen()
        hub.send(link, 1)
        hub.send(link, 2, channel="b")
        hub.send(link, 3, channel="c")
        hub.send(link, 4, channel=MARK)
        assert (taken(a), taken(b), taken(both)) == (["1"], ["2"], ["1", "2"])

    def test_what_comes_while_it_begins_is_kept(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.connect()
        hub.send(link, 1)
        assert taken(feed) == []
        hub.tell()
        assert taken(feed) == ["1"]

    def test_the_end(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.send(link, 1)
        hub.core.end(hub.now)
        assert (feed.state, feed.error) == (FeedState.ENDED, None)
        assert taken(feed) == ["1"]
        assert hub.effects() == [Disconnect(link, True)]
        late = hub.subscribe("a")
        assert (late.state, type(late.error)) == (FeedState.ENDED, PoolClosed)
        hub.core.unsubscribe(feed, hub.now)
        assert hub.core.is_idle

    def test_whoever_waits_at_the_end_has_never_listened(self, hub: Hub) -> None:
        """He was told nothing, and may have taken it for a subscription that had its time."""
        live = hub.subscribe("a")
        hub.listen()
        waiting = hub.subscribe("b")
        hub.core.end(hub.now)
        assert (live.state, live.error) == (FeedState.ENDED, None)
        assert (waiting.state, type(waiting.error)) == (FeedState.ENDED, PoolClosed)


class TestQueues:
    def test_the_oldest_make_room_and_are_counted(self, hub: Hub) -> None:
        feed = hub.subscribe("a", max_queued=2)
        other = hub.subscribe("a")
        link = hub.listen()
        hub.send(link, *range(5))
        assert len(feed) == 3
        assert taken(feed) == [NotificationGap(dropped=3), "3", "4"]
        assert taken(other) == ["0", "1", "2", "3", "4"]

    def test_a_gap_on_either_side_becomes_one_with_it(self) -> None:
        feed: Feed[Sent] = Feed(["a"], 2)
        feed.put(Sent("a", "1"))
        feed.put_gap(NotificationGap(error=KILLED))
        feed.put_gap(NotificationGap(error=REFUSED))
        for n in "23":
            feed.put(Sent("a", n))
        assert taken(feed) == [NotificationGap(1, REFUSED), "2", "3"]
        for n in "4567":
            feed.put(Sent("a", n))
        assert taken(feed) == [NotificationGap(2), "6", "7"]

    def test_of_a_feed_that_is_left_nothing_is_kept(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        hub.send(hub.listen(), 1)
        hub.core.unsubscribe(feed, hub.now)
        assert (taken(feed), len(feed)) == ([], 0)

    def test_what_can_be_read(self) -> None:
        assert NotificationGap(1).reason.startswith("1 notification was dropped")
        both = NotificationGap(7, KILLED).reason
        assert both.startswith("7 notifications were")
        assert both.endswith("; the connection was lost: killed")
        assert repr(Feed(["b", "a"], 1)) == "<Feed waiting, 0 waiting, of ['a', 'b']>"
        assert repr(Link(0.0)) == "<Link opening, []>"


class TestLosses:
    def test_the_gap_comes_when_it_listens_again_and_no_sooner(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.send(link, 1)
        hub.now += 10
        hub.core.lost(link, KILLED, hub.now)
        disconnect, connect = hub.core.take_effects()
        assert disconnect == Disconnect(link, False)
        late = hub.subscribe("a")
        hub.core.connected(connect.link, hub.now)
        assert taken(feed) == ["1"]
        hub.send(connect.link, 2)
        hub.tell()
        assert taken(feed) == [NotificationGap(error=KILLED), "2"]
        assert taken(late) == ["2"]

    def test_one_that_was_lost_at_once_is_replaced_after_a_pause(self, hub: Hub) -> None:
        hub.subscribe("a")
        link = hub.listen()
        hub.core.lost(link, KILLED, hub.now)
        assert hub.effects() == [Disconnect(link, False)]
        assert hub.due_in() == pytest.approx(0.1)
        hub.tick(0.11)
        hub.connect()

    def test_who_waits_for_the_first_is_told_why_there_is_none(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        [connect] = hub.core.take_effects()
        hub.core.refused(connect.link, REFUSED, hub.now)
        assert (feed.state, feed.error) == (FeedState.ENDED, REFUSED)
        assert hub.core.is_idle

    def test_each_who_is_told_has_an_error_of_his_own(self, hub: Hub) -> None:
        """One that several threads raise would have the frames of all of them."""
        feeds = [hub.subscribe("a"), hub.subscribe("b")]
        [connect] = hub.core.take_effects()
        hub.core.refused(connect.link, REFUSED, hub.now)
        told = []
        for feed in feeds:
            with pytest.raises(OperationalError, match=str(REFUSED)) as caught:
                feed.check()
            told.append(caught.value)
        assert told[0] is not told[1]
        hub.subscribe("a").check()  # one that waits has nothing to tell
        assert REFUSED.__traceback__ is None

    def test_who_was_live_waits_until_it_is_there_again(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.now += 10
        hub.core.lost(link, KILLED, hub.now)
        _, connect = hub.core.take_effects()
        late = hub.subscribe("a")
        hub.core.refused(connect.link, REFUSED, hub.now)
        assert (feed.state, late.error) == (FeedState.LIVE, REFUSED)
        for pause in (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0):
            assert hub.due_in() == pytest.approx(pause)
            hub.tick(pause + 0.001)
            [connect] = hub.core.take_effects()
            hub.core.refused(connect.link, REFUSED, hub.now)
        hub.tick(5)
        hub.listen()
        assert taken(feed) == [NotificationGap(error=KILLED)]

    def test_losses_that_follow_each_other_are_one_gap(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.now += 10
        hub.core.lost(link, KILLED, hub.now)
        _, connect = hub.core.take_effects()
        hub.core.connected(connect.link, hub.now)
        hub.core.lost(connect.link, REFUSED, hub.now)
        hub.effects()
        hub.tick(1)
        hub.listen()
        assert taken(feed) == [NotificationGap(error=KILLED)]

    def test_a_channel_that_is_refused(self, hub: Hub) -> None:
        """The others go on."""
        feed = hub.subscribe("a")
        link = hub.listen()
        late = hub.subscribe("b")
        error = InsufficientPrivilege("no")
        assert hub.effects() == [Tell(link, ("b",), ())]
        hub.core.failed(link, error, hub.now)
        assert (feed.state, late.error) == (FeedState.LIVE, error)
        assert hub.effects() == []

    def test_a_server_where_nobody_can_listen(self, hub: Hub) -> None:
        """A standby, say. Who was live before is not told before there is another."""
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.now += 10
        hub.core.lost(link, KILLED, hub.now)
        _, connect = hub.core.take_effects()
        late = hub.subscribe("a")
        hub.core.connected(connect.link, hub.now)
        hub.effects()
        hub.core.failed(connect.link, REFUSED, hub.now)
        assert hub.effects() == [Disconnect(connect.link, False)]
        assert (feed.state, late.error) == (FeedState.LIVE, REFUSED)

    def test_one_that_does_not_even_leave_a_channel_is_given_up(self, hub: Hub) -> None:
        hub.subscribe("a")
        leaving = hub.subscribe("b")
        link = hub.listen()
        hub.core.unsubscribe(leaving, hub.now)
        assert hub.effects() == [Tell(link, (), ("b",))]
        hub.core.failed(link, REFUSED, hub.now)
        assert hub.effects()[0] == Disconnect(link, False)

    def test_late_reports_do_not_count(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.core.unsubscribe(feed, hub.now)
        hub.effects()
        hub.core.told(link, hub.now)
        hub.core.failed(link, REFUSED, hub.now)
        hub.core.lost(link, KILLED, hub.now)
        hub.send(link, 1)
        assert hub.effects() == []
        assert link.state is LinkState.GONE


class TestChecks:
    def test_one_of_which_nothing_is_heard_is_checked(self, hub: Hub) -> None:
        hub.subscribe("a")
        link = hub.listen()
        hub.now += 20
        hub.send(link, 1)
        assert hub.due_in() == 30
        hub.tick(29)
        assert hub.effects() == []
        hub.tick(1)
        assert hub.effects() == [Check(link)]
        assert hub.due_in() is None  # the shell has its own patience
        hub.tick(100)
        assert hub.effects() == []
        hub.core.told(link, hub.now)
        assert hub.due_in() == 30

    def test_one_that_does_not_answer_is_lost(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        link = hub.listen()
        hub.tick(30)
        hub.effects()
        hub.core.lost(link, KILLED, hub.now)
        assert hub.effects()[0] == Disconnect(link, False)
        assert feed.state is FeedState.LIVE

    def test_without_check_after(self) -> None:
        hub = Hub(None)
        hub.subscribe("a")
        hub.listen()
        assert hub.due_in() is None
        hub.tick(1e6)
        assert hub.effects() == []


class TestReplacing:
    """Of a connection that has had its time, by another, with a mark between the two."""

    def test_the_old_one_counts_up_to_the_mark_and_the_new_one_behind_it(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.send(new, 1, 2)
        hub.send(old, 1, 2)
        hub.mark(old)
        hub.send(old, 3)
        assert taken(feed) == ["1", "2"]
        hub.mark(new)
        hub.send(new, 3)
        assert taken(feed) == ["3"]
        assert hub.effects() == [Disconnect(old, True), Tell(new, (), (MARK,))]

    def test_what_went_wrong_before_is_forgotten_then(self, hub: Hub) -> None:
        hub.subscribe("a")
        old = hub.listen()
        old.expires_at = hub.now
        for pause in (0.1, 0.2, 0.4):
            hub.tick()
            [connect] = hub.core.take_effects()
            hub.core.refused(connect.link, REFUSED, hub.now)
            assert hub.due_in() == pytest.approx(pause)
            hub.now += pause + 0.001
        hub.tick()
        new = hub.connect()
        for _ in range(2):
            for effect in hub.core.take_effects():
                hub.core.told(effect.link, hub.now)
        hub.mark(old)
        hub.mark(new)
        hub.effects()
        hub.core.lost(new, KILLED, hub.now)
        assert hub.due_in() == pytest.approx(0.1)

    def test_a_new_one_that_comes_to_it_first_waits(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.mark(new)
        hub.send(new, 2)
        hub.send(old, 1)
        assert taken(feed) == ["1"]
        hub.mark(old)
        assert taken(feed) == ["2"]

    def test_who_comes_meanwhile_waits_for_its_end(self, hub: Hub) -> None:
        hub.subscribe("a")
        old, new = hub.replacing()
        late = hub.subscribe("b")
        assert hub.effects() == []
        hub.mark(old)
        hub.mark(new)
        assert hub.effects() == [Disconnect(old, True), Tell(new, ("b",), (MARK,))]
        hub.core.told(new, hub.now)
        assert is_live(late)

    def test_the_new_one_is_lost_before_the_mark(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.mark(old)
        hub.send(old, 1)
        hub.core.lost(new, KILLED, hub.now)
        hub.send(old, 2)
        assert taken(feed) == ["1", "2"]
        assert hub.effects() == [Disconnect(new, False), Tell(old, (), (MARK,))]
        hub.core.told(old, hub.now)
        assert hub.due_in() == pytest.approx(0.1)  # then it is tried again

    def test_the_old_one_is_lost_when_the_new_one_is_there(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.send(old, 1)
        hub.mark(new)
        hub.send(new, 3)
        hub.core.lost(old, KILLED, hub.now)
        assert taken(feed) == ["1", NotificationGap(error=KILLED), "3"]
        assert hub.effects() == [Disconnect(old, False), Tell(new, (), (MARK,))]

    def test_the_old_one_is_lost_before_anything_is_certain(self, hub: Hub) -> None:
        """What the new one would say might have been said before."""
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.send(old, 1)
        hub.now += 10
        hub.core.lost(old, KILLED, hub.now)
        assert hub.effects()[:2] == [Disconnect(old, False), Disconnect(new, True)]
        assert taken(feed) == ["1"]

    def test_one_that_is_being_opened_anyhow_takes_its_place(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old = hub.listen()
        old.expires_at = hub.now
        hub.tick()
        [connect] = hub.core.take_effects()
        hub.core.lost(old, KILLED, hub.now)
        assert hub.effects() == [Disconnect(old, False)]
        hub.core.connected(connect.link, hub.now)
        hub.tell()
        assert taken(feed) == [NotificationGap(error=KILLED)]

    def test_one_that_cannot_be_had_is_tried_again(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old = hub.listen()
        old.expires_at = hub.now + 5
        assert hub.due_in() == 5
        hub.tick(5)
        [connect] = hub.core.take_effects()
        hub.core.refused(connect.link, REFUSED, hub.now)
        assert feed.state is FeedState.LIVE
        hub.send(old, 1)
        assert taken(feed) == ["1"]
        assert hub.due_in() == pytest.approx(0.1)
        hub.tick(0.11)
        assert isinstance(hub.effects()[0], Connect)

    def test_a_mark_that_does_not_come(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        _, new = hub.replacing()
        assert hub.due_in() == MARK_PATIENCE
        hub.tick(MARK_PATIENCE - 1)
        assert hub.effects() == []
        hub.tick(1)
        assert hub.effects()[0] == Disconnect(new, False)
        assert taken(feed) == []

    def test_a_mark_that_is_refused(self, hub: Hub) -> None:
        hub.subscribe("a")
        old = hub.listen()
        old.expires_at = hub.now
        hub.tick()
        new = hub.connect()
        hub.effects()
        hub.core.told(old, hub.now)
        hub.core.told(new, hub.now)
        hub.effects()
        hub.core.failed(new, REFUSED, hub.now)
        assert hub.effects() == [Disconnect(new, False), Tell(old, (), (MARK,))]

    @pytest.mark.parametrize("first", ["old", "new"])
    def test_there_is_a_limit_to_what_is_held_back(self, hub: Hub, first: str) -> None:
        feed = hub.subscribe("a", max_queued=2 * MOST_HELD)
        old, new = hub.replacing()
        ahead, behind = (old, new) if first == "old" else (new, old)
        hub.mark(ahead)
        hub.send(ahead, *range(MOST_HELD + 5))
        assert hub.effects()[0] == Disconnect(behind, False)
        found = taken(feed)
        if first == "new":  # what the old one had to say is missing
            assert isinstance(gap := found.pop(0), NotificationGap)
            assert "did not keep up" in gap.reason
        assert found == [str(n) for n in range(MOST_HELD + 5)]

    def test_the_last_one_leaves_meanwhile(self, hub: Hub) -> None:
        feed = hub.subscribe("a")
        old, new = hub.replacing()
        hub.core.unsubscribe(feed, hub.now)
        assert hub.effects() == [Disconnect(new, True), Disconnect(old, True)]
        hub.mark(old)
        assert hub.core.is_idle
