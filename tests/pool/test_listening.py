"""`pool.listen()`: one connection for all who listen, and nothing that is lost without a word."""

from __future__ import annotations

import gc
import threading
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import subscribing
from pgwire.pool.subscribing import NEVER_CLOSED
from tests.pool.support import (
    PATIENCE,
    Thread,
    alive,
    in_vain,
    messages,
    pool,
    run_script,
    until,
)
from tests.support.guards import go_on
from tests.support.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgwire import embedded

Event = Any


@pytest.fixture
def admin(dsn: str) -> Iterator[pgwire.Connection]:
    """Somebody else, who looks, notifies and kills."""
    with pgwire.connect(dsn, application_name="admin") as conn:
        yield conn


def notify(conn: pgwire.Connection, channel: str, *payloads: object) -> None:
    for payload in payloads:
        conn.query("select pg_notify($1, $2)", [channel, str(payload)])


def listeners(admin: pgwire.Connection, name: str) -> list[int]:
    """The backends that this application listens with."""
    found: list[int] = admin.query(
        "select pid from pg_stat_activity where application_name = $1 and state = 'idle'"
        " and query ~ 'LISTEN|NOTIFY' and query !~ 'CLOSE ALL'",  # that is how it is cleaned
        [name],
    ).scalars()
    return found


def the_listener(admin: pgwire.Connection, name: str, *but: int) -> int:
    """Its only one, once there is another than these.

    Read once: a moment later it may be busy, as with the UNLISTEN that ends a replacement.
    """
    found: list[int] = []

    def is_there() -> bool:
        found[:] = listeners(admin, name)
        return len(found) == 1 and found[0] not in but

    until(is_there)
    return found[0]


def kill(admin: pgwire.Connection, pid: int) -> None:
    admin.query("select pg_terminate_backend($1)", [pid])
    until(lambda: not alive(admin, [pid]))


def payloads(events: Iterable[Event]) -> list[str]:
    return [event.payload for event in events]


def is_gap(event: Event) -> bool:
    return isinstance(event, pgwire.NotificationGap)


class TestSubscriptions:
    def test_what_is_sent_comes(self, dsn: str, admin: pgwire.Connection) -> None:
        with pool(dsn) as p, p.listen("news") as subscription:
            notify(admin, "news", "a", "b")
            notify(admin, "weather", "c")
            p.query("select pg_notify('news', 'd')")
            assert payloads(islice(subscription, 3)) == ["a", "b", "d"]
            assert subscription.channels == ("news",)
            assert not subscription.closed
            assert "live, to news" in repr(subscription)

    def test_nothing_is_lost_between_listening_and_the_first_step(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn) as p, p.listen("news") as subscription:
            notify(admin, "news", *range(200))
            assert payloads(islice(subscription, 200)) == [str(n) for n in range(200)]

    def test_all_share_one_connection_which_goes_with_the_last(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn, application_name="shared") as p:
            with p.listen("a", "b") as first, p.listen("b", "c") as second:
                assert p.stats().leased == p.total_count == 1
                assert len(listeners(admin, "shared")) == 1
                for channel in "abc":
                    notify(admin, channel, channel)
                assert payloads(islice(first, 2)) == ["a", "b"]
                assert payloads(islice(second, 2)) == ["b", "c"]
                first.close()
                notify(admin, "b", "again")
                assert payloads(islice(second, 1)) == ["again"]
                assert list(first) == []
            until(lambda: p.stats().leased == 0)
            assert p.query("select count(*) from pg_listening_channels()").scalar() == 0
            assert p.total_count == 1

    def test_it_can_be_begun_again(self, dsn: str, admin: pgwire.Connection) -> None:
        with pool(dsn) as p:
            for n in range(5):
                with p.listen("news") as subscription:
                    notify(admin, "news", n)
                    assert payloads(islice(subscription, 1)) == [str(n)]

    def test_it_ends_after_so_long_without_one(self, dsn: str, admin: pgwire.Connection) -> None:
        with pool(dsn) as p, p.listen("news") as subscription:
            assert list(subscription.notifications(timeout=0.01)) == []
            notify(admin, "news", "a")
            taking = subscription.notifications(timeout=PATIENCE)
            assert payloads([next(taking)]) == ["a"]
            assert list(subscription.notifications(timeout=0)) == []

    def test_who_waits_goes_on_when_it_is_closed(self, dsn: str) -> None:
        with pool(dsn) as p:
            subscription = p.listen("news")
            thread = Thread(lambda: list(subscription))
            subscription.close()
            subscription.close()
            assert thread.outcome() == []
            assert subscription.closed
            assert "closed" in repr(subscription)

    def test_the_oldest_make_room_and_are_counted(self, dsn: str, admin: pgwire.Connection) -> None:
        with pool(dsn) as p, p.listen("news", max_queued=3) as short, p.listen("news") as long:
            notify(admin, "news", *range(10))
            assert payloads(islice(long, 10)) == [str(n) for n in range(10)]
            gap, *rest = islice(short, 4)
            assert gap == pgwire.NotificationGap(dropped=7)
            assert payloads(rest) == ["7", "8", "9"]

    def test_the_connection_is_one_of_max_size(self, dsn: str) -> None:
        with pool(dsn, max_size=2) as p, p.listen("news"), p.connect():
            with pytest.raises(pgwire.PoolTimeout, match="2 of 2 leased"):
                p.connect(timeout=0)
            assert p.total_count == 2

    def test_a_reset_that_would_leave_it_listening(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn, reset="never", application_name="never") as p:
            with p.listen("news"):
                pid = the_listener(admin, "never")
            until(lambda: not alive(admin, [pid]))
            assert p.query("select count(*) from pg_listening_channels()").scalar() == 0


class TestRefusals:
    def test_what_makes_no_sense(self, dsn: str) -> None:
        with pool(dsn) as p:
            for channels, reason in (
                ((), "a channel"),
                (("",), "0 bytes"),
                (("a", "x" * 64), "64 bytes"),
                ((7,), "is a str"),
            ):
                with pytest.raises(pgwire.ProgrammingError, match=reason):
                    p.listen(*channels)
            for most in (0, 1.5, True, None):
                with pytest.raises(pgwire.ProgrammingError, match="max_queued"):
                    p.listen("a", max_queued=most)  # type: ignore[arg-type]
            with pytest.raises(pgwire.ProgrammingError, match="callback"):
                p.listen("a", callback=7)  # type: ignore[arg-type]
            assert p.total_count == 0

    def test_a_pool_of_one(self, dsn: str) -> None:
        with pool(dsn, max_size=1) as p:
            with pytest.raises(pgwire.ProgrammingError, match="make it 2 at least"):
                p.listen("news")

    def test_behind_a_pooler(self, dsn: str) -> None:
        with pool(dsn, prepare=False) as p:
            with pytest.raises(pgwire.NotSupportedError, match="pooler"):
                p.listen("news")
            until(lambda: p.stats().leased == 0)
            assert p.query("select 1").scalar() == 1

    def test_no_connection_in_time(self, dsn: str) -> None:
        with pool(dsn, max_size=2) as p:
            with p.connect(), p.connect():
                with pytest.raises(pgwire.PoolTimeout, match="2 of 2 leased"):
                    p.listen("news", timeout=0.01)
            assert p.waiting_count == 0
            with p.listen("news"):
                pass

    def test_a_server_that_is_not_there(self) -> None:
        with (
            pool("host=127.0.0.1 port=1") as p,
            in_vain(p, lambda: p.listen("news", timeout=PATIENCE)),
            pytest.raises(pgwire.PoolTimeout, match="last attempt to connect failed"),
        ):
            p.listen("news", timeout=0.05)

    def test_what_waiting_cannot_mend(self, dsn: str) -> None:
        with pool(dsn, dbname="no_such_database") as p:
            with pytest.raises(pgwire.InvalidCatalogName):
                p.listen("news")
            with pytest.raises(pgwire.InvalidCatalogName):
                p.listen("news")

    def test_a_pool_that_is_closed(self, dsn: str) -> None:
        p = pgwire.Pool(dsn)
        with p, p.listen("news"):
            pass
        with pytest.raises(pgwire.PoolClosed):
            p.listen("news")
        other = pgwire.Pool(dsn)
        other.end()
        with pytest.raises(pgwire.PoolClosed):
            other.listen("news")

    def test_with_a_callback_there_is_nothing_to_take(self, dsn: str) -> None:
        with pool(dsn) as p, p.listen("news", callback=print) as subscription:
            with pytest.raises(pgwire.InterfaceError, match="goes to its callback"):
                next(subscription)


class TestCallbacks:
    def test_they_get_everything_in_order(self, dsn: str, admin: pgwire.Connection) -> None:
        heard: list[Event] = []
        with pool(dsn, application_name="called") as p:
            with p.listen("news", callback=heard.append):
                notify(admin, "news", *range(50))
                until(lambda: len(heard) == 50)
                kill(admin, the_listener(admin, "called"))
                until(lambda: len(heard) == 51)
                notify(admin, "news", 50)
                until(lambda: len(heard) == 52)
        assert is_gap(heard.pop(50))
        assert payloads(heard) == [str(n) for n in range(51)]

    def test_they_may_use_the_pool_and_close_their_own(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        answers: list[Any] = []
        with pool(dsn) as p:

            def callback(event: Event) -> None:
                answers.append(p.query("select $1::text", [event.payload]).scalar())
                if len(answers) == 2:
                    subscription.close()

            subscription = p.listen("news", callback=callback)
            notify(admin, "news", 1, 2, 3)
            until(lambda: subscription.closed)
            until(lambda: p.stats().leased == 0)
        assert answers == ["1", "2"]

    def test_what_they_raise_is_logged(
        self, dsn: str, admin: pgwire.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        heard: list[str] = []

        def callback(event: Event) -> None:
            heard.append(event.payload)
            raise LookupError(event.payload)

        with pool(dsn, name="mine") as p, p.listen("news", callback=callback):
            notify(admin, "news", 1, 2)
            until(lambda: len(heard) == 2)
        assert messages(caplog.records) == ["mine: a callback for notifications raised"] * 2

    def test_a_slow_one_keeps_nobody(self, dsn: str, admin: pgwire.Connection) -> None:
        go_on = threading.Event()
        with pool(dsn) as p:
            with (
                p.listen("news", callback=lambda _: go_on.wait(PATIENCE)),
                p.listen("news") as other,
            ):
                notify(admin, "news", *range(10))
                assert payloads(islice(other, 10)) == [str(n) for n in range(10)]
                go_on.set()

    def test_one_that_would_wait_for_itself_is_told_so(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        caught: list[BaseException] = []
        with pool(dsn) as p:

            def callback(_event: Event) -> None:
                with pytest.raises(pgwire.InterfaceError, match="would wait for the callback") as e:
                    p.end()
                caught.append(e.value)

            with p.listen("news", callback=callback):
                notify(admin, "news", 1)
                until(lambda: caught)


class TestEnds:
    def test_the_pool_ends_iterations(self, dsn: str, admin: pgwire.Connection) -> None:
        with pool(dsn) as p:
            subscription = p.listen("news")
            thread = Thread(lambda: list(subscription))
        assert thread.outcome() == []
        assert subscription.closed

    def test_what_has_come_can_be_taken_afterwards(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn) as p:
            subscription, witness = p.listen("news"), p.listen("news")
            notify(admin, "news", "a")
            assert next(witness).payload == "a"  # type: ignore[union-attr]
        assert payloads(subscription) == ["a"]
        subscription.close()

    def test_one_that_is_dropped_is_closed_with_a_warning(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn) as p:
            held = [p.listen("news")]
            with pytest.warns(ResourceWarning, match=NEVER_CLOSED % "news"):
                held.clear()
            until(lambda: p.stats().leased == 0)

    def test_one_with_a_callback_stays_until_it_is_closed(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        heard: list[Event] = []
        with pool(dsn) as p:
            p.listen("news", callback=heard.append)
            gc.collect()
            notify(admin, "news", 1)
            until(lambda: heard)

    def test_no_thread_is_left(self, dsn: str) -> None:
        before = set(threading.enumerate())
        with pool(dsn, name="named") as p:
            with p.listen("news"), p.listen("news", callback=print):
                pass
        assert {t for t in threading.enumerate() if t.name.startswith("named")} <= before

    def test_a_child_begins_anew(self, dsn: str) -> None:
        output = run_script(
            """
            with pgwire.Pool(DSN) as pool:
                subscription = pool.listen("news")
                if not os.fork():
                    try:
                        next(subscription)
                    except pgwire.InterfaceError as error:
                        assert "before a fork" in str(error)
                        assert pool.total_count == 0
                        with pool.listen("news") as own:
                            pool.query("select pg_notify('news', 'child')")
                            assert next(own).payload == "child"
                        pool.end()
                        os._exit(0)
                    os._exit(1)
                assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
                print(next(subscription).payload)
                subscription.close()
            """,
            dsn,
        )
        assert output == "child"

    def test_the_interpreter_may_end_in_the_middle_of_it(self, dsn: str) -> None:
        script = "pool = pgwire.Pool(DSN); s = pool.listen('a'); pool.listen('b', callback=print)"
        assert run_script(script, dsn) == ""


class TestLosses:
    def test_there_is_a_gap_when_it_listens_again(
        self, dsn: str, admin: pgwire.Connection, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pool(dsn, application_name="lost", name="mine") as p:
            with p.listen("news") as subscription, p.listen("weather") as other:
                notify(admin, "news", "before")
                # First: the server may end a session before it has told what it was notified of.
                assert next(subscription).payload == "before"  # type: ignore[union-attr]
                kill(admin, the_listener(admin, "lost"))
                gap: Event = next(subscription)
                assert (gap.dropped, type(gap.error)) == (0, type(next(other).error))  # type: ignore[union-attr]
                assert isinstance(gap.error, pgwire.AdminShutdown)
                assert isinstance(gap.error, pgwire.ConnectionLost)
                assert "the connection was lost: terminating" in gap.reason
                notify(admin, "news", "after")  # it listens already
                assert next(subscription).payload == "after"  # type: ignore[union-attr]
                assert p.total_count <= 2
        [message] = messages(caplog.records)
        assert message.startswith("mine: the connection that listens for all was lost")

    def test_who_listens_while_there_is_no_connection_waits_for_it(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn, application_name="waits") as p, p.listen("news") as first:
            kill(admin, the_listener(admin, "waits"))
            with p.listen("weather") as second:
                notify(admin, "weather", 1)
                assert next(second).payload == "1"  # type: ignore[union-attr]
            assert is_gap(next(first))

    def test_a_server_that_restarts(
        self, fresh_server: embedded.Server, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pool(fresh_server.url) as p, p.listen("news") as subscription:
            fresh_server.stop()
            fresh_server.start()
            assert is_gap(next(subscription))
            p.query("select pg_notify('news', 'after')")
            assert next(subscription).payload == "after"  # type: ignore[union-attr]

    def test_a_peer_that_falls_silent_is_noticed(
        self, dsn: str, admin: pgwire.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscribing, "TELL_TIMEOUT", 0.1)
        monkeypatch.setattr("pgwire.blocking.driver.PATIENCE", 0.2)
        monkeypatch.setattr("pgwire.blocking.driver.CLOSE_PATIENCE", 0.2)
        port = admin.query("select current_setting('port')::int").scalar()
        with Proxy("127.0.0.1", port) as proxy:
            with pool(proxy.dsn(dsn), check_after=0.05) as p, p.listen("news") as subscription:
                proxy.swallow()
                assert is_gap(next(subscription))
                # On a busy machine one that is there may be silent for so long as well.
                assert all(is_gap(event) for event in _events_until(admin, subscription))

    def test_more_at_once_than_there_is_memory_for(
        self, dsn: str, admin: pgwire.Connection, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(subscribing, "UNBOUNDED", 5)
        with pool(dsn) as p, p.listen("news") as subscription:
            admin.query("select pg_notify('news', n::text) from generate_series(1, 100) n")
            gap: Event = next(event for event in subscription if is_gap(event))
            assert "dropped here" in gap.reason
            notify(admin, "news", "after")
            assert payloads([next(subscription)]) == ["after"]

    def test_expiring_replaces_it_without_a_gap(self, dsn: str, admin: pgwire.Connection) -> None:
        with (
            pool(dsn, application_name="expires") as p,
            p.listen("news", max_queued=1_000_000) as subscription,
        ):
            pid = the_listener(admin, "expires")
            numbers = count()
            for _ in range(5):
                p.expire()
                while pid in listeners(admin, "expires"):
                    notify(admin, "news", next(numbers))
                pid = the_listener(admin, "expires", pid)
            last = next(numbers)
            notify(admin, "news", last)
            assert payloads(islice(subscription, last + 1)) == [str(n) for n in range(last + 1)]

    def test_a_lifetime_that_ends_replaces_it_as_well(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        with pool(dsn, application_name="lifetime", max_lifetime=0.5) as p:
            with p.listen("news") as subscription:
                pid = the_listener(admin, "lifetime")
                until(lambda: pid not in listeners(admin, "lifetime"))
                notify(admin, "news", "a")
                assert next(subscription).payload == "a"  # type: ignore[union-attr]

    def test_a_hundred_killed_backends_lose_nothing_without_a_word(
        self, dsn: str, admin: pgwire.Connection
    ) -> None:
        """Some of them in the middle of being replaced."""
        stop = threading.Event()

        def publish() -> int:
            with pgwire.connect(dsn) as conn:
                for number in count():
                    notify(conn, "news", number)
                    if stop.is_set():
                        return number
            raise AssertionError

        with pool(dsn, application_name="killed", max_size=4) as p:
            subscription = p.listen("news", max_queued=1_000_000)
            publisher = Thread(publish)
            pid = 0
            for number in range(100):
                go_on()
                until(lambda: set(listeners(admin, "killed")) - {pid})  # noqa: B023
                if number % 3 == 0:
                    p.expire()
                pid = next(iter(set(listeners(admin, "killed")) - {pid}), 0)
                admin.query("select pg_terminate_backend($1)", [pid])
            until(lambda: listeners(admin, "killed"))
            stop.set()
            last = publisher.outcome()
            # What is sent from now on certainly comes, or a gap does behind it.
            events = _events_until(admin, subscription)
            subscription.close()
        gaps = _check(events, last)
        assert 1 <= gaps <= 100


def _events_until(admin: pgwire.Connection, subscription: Any) -> list[Event]:
    """All up to a last one, which is sent again where it may have been lost."""
    notify(admin, "news", "end")
    events: list[Event] = []
    for event in subscription:
        if not is_gap(event) and event.payload == "end":
            return events
        events.append(event)
        if is_gap(event):
            notify(admin, "news", "end")
    raise AssertionError


def _check(events: list[Event], last: int) -> int:
    """Each number has come, in order and once, or lies where a gap was; how many gaps."""
    expected = gaps = 0
    in_gap = False
    for event in events:
        if is_gap(event):
            assert (event.dropped, in_gap) == (0, False) or event.error is not None
            gaps, in_gap = gaps + 1, True
            continue
        number = int(event.payload)
        assert number >= expected, "twice, or out of order"
        assert number == expected or in_gap, f"{expected} to {number - 1} were lost"
        expected, in_gap = number + 1, False
    assert expected == last + 1 or in_gap
    return gaps
