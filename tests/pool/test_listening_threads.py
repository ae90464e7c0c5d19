"""Subscriptions among threads: Ctrl-C, who shares them, and what callbacks of the pool see."""

from __future__ import annotations

import logging
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool.listening import hub_of
from tests.pool.support import Thread, messages, pool, until
from tests.support.signals import Interrupted, interrupted_after, interrupted_when

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def admin(dsn: str) -> Iterator[pgwire.Connection]:
    with pgwire.connect(dsn) as conn:
        yield conn


def notify(conn: pgwire.Connection | pgwire.Pool, *payloads: object) -> None:
    for payload in payloads:
        conn.query("select pg_notify('news', $1)", [str(payload)])


def taken(subscription: pgwire.Subscription, number: int) -> list[str]:
    events: Any = islice(subscription, number)
    return [event.payload for event in events]


def test_several_threads_share_what_comes(dsn: str, admin: pgwire.Connection) -> None:
    with pool(dsn) as p, p.listen("news") as subscription:
        threads = [Thread(lambda: taken(subscription, 100)) for _ in range(4)]
        notify(admin, *range(400))
        found = [thread.outcome() for thread in threads]
    assert sorted(int(payload) for part in found for payload in part) == list(range(400))
    for part in found:
        assert [int(n) for n in part] == sorted(int(n) for n in part)


def test_many_who_come_and_go(dsn: str, admin: pgwire.Connection) -> None:
    """Each hears what was sent while he was there."""

    def come_and_go(name: str) -> None:
        for number in range(20):
            with p.listen("news", name) as subscription:
                p.query("select pg_notify($1, $2)", [name, str(number)])
                events: Any = subscription
                assert next(e for e in events if e.channel == name).payload == str(number)

    with pool(dsn) as p:
        threads = [Thread(lambda n=n: come_and_go(f"own {n}")) for n in range(5)]  # type: ignore[misc]
        notify(admin, *range(200))
        for thread in threads:
            thread.outcome()
        until(lambda: p.stats().leased == 0)


def test_ctrl_c_while_waiting(dsn: str, admin: pgwire.Connection) -> None:
    with pool(dsn) as p, p.listen("news") as subscription:
        with pytest.raises(Interrupted), interrupted_when(lambda: subscription._sleepers):
            next(subscription)
        notify(admin, "a")
        assert taken(subscription, 1) == ["a"]


# Where it strikes between the call and the name there is nobody to close it.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_ctrl_c_at_any_moment_leaves_nobody_listening(dsn: str) -> None:

    def come_and_go() -> None:
        for _ in range(30):
            with p.listen("news") as subscription:
                list(subscription.notifications(timeout=0))

    strikes = 0
    with pool(dsn) as p:
        for number in range(120):
            try:
                with interrupted_after(0.0003 + 0.00005 * number):
                    come_and_go()
            except Interrupted:
                strikes += 1
            until(lambda: p.stats().leased == 0)
        assert strikes
        with p.listen("news") as subscription:
            notify(p, "a")
            assert taken(subscription, 1) == ["a"]


def test_callbacks_of_the_pool_see_its_connection(dsn: str) -> None:
    seen: list[tuple[str, int]] = []
    with pool(dsn) as p:
        p.on("acquire", lambda conn: seen.append(("acquire", conn.backend_pid)))
        p.on("release", lambda conn: seen.append(("release", conn.backend_pid)))
        with p.listen("news"):
            pass
        until(lambda: len(seen) == 2)
        (first, pid), (second, again) = seen
        assert (first, second, pid) == ("acquire", "release", again)


@pytest.mark.parametrize("error", [LookupError, SystemExit, KeyboardInterrupt])
def test_a_connections_callback_that_raises_is_logged(
    dsn: str, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """Whatever it is: the thread that calls it listens for everybody else as well."""

    def broken(_notification: object) -> None:
        raise error("no")

    with (
        pool(dsn, name="mine", on_connect=lambda conn: conn.on("notification", broken)) as p,
        p.listen("news", timeout=10) as subscription,
    ):
        with pgwire.connect(dsn) as other:
            notify(other, 1, 2)
            assert taken(subscription, 2) == ["1", "2"]
        until(lambda: messages(caplog.records))
    assert set(messages(caplog.records)) == {"mine: a callback for notifications raised"}


def test_no_thread_can_be_had(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pool(dsn) as p:
        p.query("select 1")
        hub = hub_of(p._engine)

        def fail(*_: object) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(p._engine.crew, "start", fail)
            with pytest.raises(RuntimeError, match="new thread"):
                p.listen("news")
        assert not hub._runs
        with p.listen("news") as subscription:
            notify(p, "a")
            assert taken(subscription, 1) == ["a"]


def test_it_says_what_goes_wrong_and_goes_on(
    dsn: str, admin: pgwire.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """While the role may not log in no connection can be had, and waiting does not mend it."""
    caplog.set_level(logging.WARNING)
    admin.script("drop role if exists hub_role; create role hub_role login password 'x'")
    with pool(dsn, name="mine", user="hub_role", password="x", application_name="role") as p:
        with p.listen("news") as subscription:
            admin.query("alter role hub_role nologin")
            admin.query(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'role'"
            )
            until(lambda: any("is tried again" in text for text in messages(caplog.records)))
            admin.query("alter role hub_role login")
            assert isinstance(next(subscription), pgwire.NotificationGap)
            notify(admin, "after")
            assert taken(subscription, 1) == ["after"]
    admin.query("drop role hub_role")
