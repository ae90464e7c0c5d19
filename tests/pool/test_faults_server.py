"""The pool on a real server, when the network, the server or its processes misbehave.

Faults of the network come from `tests.support.proxy`. Around every test: no thread and no
descriptor is left when the pool has ended; where the server lives, it never sees more backends
than `max_size`, and in the end none.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors
from tests.pool.support import PATIENCE, kill, until
from tests.pool.watching import (
    SLEEP,
    Call,
    ask,
    burst,
    nothing_left,
    open_connections,
    running,
    seen_by_server,
    within,
)
from tests.support import backend
from tests.support.guards import go_on
from tests.support.proxy import Link, Proxy
from tests.support.scripted import Line, ScriptedServer, serve
from tests.support.shells import LATE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire import embedded

pytestmark = pytest.mark.slow

_numbers = count()


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture
def proxy(embedded_server: embedded.Server) -> Iterator[Proxy]:
    with Proxy(embedded_server.host, embedded_server.port) as made:
        yield made


@contextmanager
def pool(
    server: embedded.Server, proxy: Proxy | None = None, most: int | None = None, **options: Any
) -> Iterator[pgwire.Pool]:
    """A pool, by way of the proxy, watched by the server.

    `most` is how many backends the server may see where it cannot know of a connection's end.
    """
    name = f"faults-{next(_numbers)}"
    dsn = server.url if proxy is None else proxy.dsn(server.url)
    most = most or options.get("max_size", 10)
    with seen_by_server(server.socket_url, name, most, between=proxy):
        with pgwire.Pool(dsn, application_name=name, **options) as made:
            yield made


# ------------------------------------------------------------------ the network


@pytest.mark.parametrize("how", [Proxy.cut, Proxy.reset])
def test_connections_cut_while_idle_cost_no_error(
    embedded_server: embedded.Server, proxy: Proxy, how: Callable[[Proxy], None]
) -> None:
    with pool(embedded_server, proxy, max_size=20, max_opening=20, most=40) as p:
        open_connections(p, 20)
        how(proxy)
        burst(p, 20)


def test_an_idle_connection_whose_peer_has_vanished(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    """Nothing tells that it has. The next query ends in time, and those after are served."""
    with pool(embedded_server, proxy, max_size=2, most=4) as p:
        open_connections(p, 2)
        proxy.swallow()
        for _ in range(2):
            with within(LATE), pytest.raises(pgwire.QueryTimeout):
                p.query("select 1", timeout=0.2)
        burst(p, 4)
        proxy.cut()


def test_the_check_finds_a_peer_that_has_vanished_and_nobody_else_does(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgwire.pool.chores.CHECK_TIMEOUT", 0.1)
    with pool(embedded_server, proxy, max_size=2, most=4, check_after=0) as p:
        open_connections(p, 2)
        proxy.swallow()
        burst(p, 4)
        until(lambda: p.stats().lost >= 2)  # more, where the machine is busy for so long
        proxy.cut()


def test_a_network_that_is_gone_and_comes_back(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    with pool(embedded_server, proxy, max_size=2, most=4) as p:
        open_connections(p, 2)
        proxy.stall()
        for error in (pgwire.QueryTimeout, pgwire.QueryTimeout, pgwire.PoolTimeout):
            with within(LATE), pytest.raises(error):
                p.query("select 1", timeout=0.2)
        proxy.flow()
        burst(p, 4)


def test_a_network_that_delivers_single_bytes_slowly(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    proxy.split, proxy.delay = True, 0.001
    with pool(embedded_server, proxy, max_size=3) as p:
        burst(p, 12)


def conversation(p: pgwire.Pool) -> None:
    """What a pooled connection goes through, until the line breaks."""
    with suppress(pgwire.ConnectionLost):
        with p.connect() as conn:
            assert conn.query("select 'first'").scalar() == "first"
            conn.query("begin")
            conn.query("set application_name = 'changed'")
    with suppress(pgwire.ConnectionLost):
        assert p.query("select 'second'").scalar() == "second"
        assert p.query("show application_name").scalar() == "sweep"


@pytest.mark.parametrize(("how", "step"), [(Link.cut, 1), (Link.reset, 7)])
def test_a_line_that_breaks_anywhere_in_a_conversation(
    embedded_server: embedded.Server, proxy: Proxy, how: Callable[[Link], None], step: int
) -> None:
    """At every byte; afterwards, and meanwhile, every answer is that of its own query."""
    url = embedded_server.url_for("trusted")
    with pgwire.Pool(proxy.dsn(url), max_size=1, application_name="sweep") as p:
        p.wait()
        start = proxy.links[0].received
        conversation(p)
        for size in range(start, proxy.links[0].received, step):
            go_on()
            proxy.break_after(size, how)
            p.expire()
            conversation(p)
            # What is asked for before a cleaning is answered takes some bytes more.
            with suppress(pgwire.ConnectionLost):
                p.query("select 'marker'")
            assert p.query("select 'marker'").scalar() == "marker"
        assert proxy.accepted > 200 / step


def test_a_line_that_breaks_while_connecting(
    embedded_server: embedded.Server, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgwire.pool.backoff.BASE", 0.001)
    with pgwire.Pool(proxy.dsn(embedded_server.url), max_size=1) as p:
        p.wait()
        for size in range(0, proxy.links[0].received, 7):
            go_on()
            proxy.break_after(size)
            p.expire()
            assert p.query("select 'marker'").scalar() == "marker"


# ------------------------------------------------------------------ backends die


def test_all_killed_while_idle(embedded_server: embedded.Server) -> None:
    with pool(embedded_server, max_size=20, max_opening=20) as p:
        kill(embedded_server.socket_url, open_connections(p, 20))
        burst(p, 20)


def test_all_killed_under_load(embedded_server: embedded.Server) -> None:
    """Each query that was running fails once, clearly; nothing else does."""
    with pool(embedded_server, max_size=5, max_opening=5) as p:
        victims = [Call(p.query, SLEEP, [n]) for n in range(5)]
        until(lambda: len(running(embedded_server, SLEEP)) == 5)
        waiting = [Call(ask, p, n) for n in range(20)]
        until(lambda: p.waiting_count == 20)
        kill(embedded_server.socket_url, running(embedded_server, SLEEP))
        for victim in victims:
            error = victim.ending()
            assert isinstance(error, pgwire.ConnectionLost)
            assert isinstance(error, errors.AdminShutdown)
            assert error.sqlstate == "57P01"
        assert [thread.outcome() for thread in waiting] == list(range(20))
        burst(p, 20)
        stats = p.stats()
        assert (stats.leased, stats.waiting, stats.open_failures) == (0, 0, 0)


def test_a_dying_connection_and_a_queue_behind_it(embedded_server: embedded.Server) -> None:
    served: list[int] = []
    with pool(embedded_server, max_size=1) as p:

        def work(n: int) -> None:
            with p.connect() as conn:
                served.append(n)
                conn.query("select 1")

        with p.connect() as conn:
            waiting = []
            for n in range(5):
                waiting.append(Call(work, n))
                until(lambda n=n: p.waiting_count == n + 1)  # type: ignore[misc]
            kill(embedded_server.socket_url, [conn.backend_pid])
            with pytest.raises(pgwire.ConnectionLost):
                conn.query("select 1")
        for thread in waiting:
            thread.outcome()
        assert served == list(range(5))


# ------------------------------------------------------------------ the server is not there


def test_a_restart_under_load(fresh_server: embedded.Server) -> None:
    """Who waits is served, in time; who was running hears of it, once for each connection."""
    lost: list[pgwire.Error] = []
    done = 0
    is_back = threading.Event()

    def work(number: int) -> None:
        nonlocal done
        for i in range(number, 2**31):
            if is_back.is_set():
                break
            try:
                assert ask(p, i) == i
            except pgwire.ConnectionLost as error:
                lost.append(error)
            done += 1

    with pgwire.Pool(fresh_server.url, max_size=4, checkout_timeout=PATIENCE) as p:
        threads = [Call(work, n) for n in range(8)]
        until(lambda: done > 200)
        fresh_server.stop("fast")
        waits = Call(ask, p, 7)
        until(lambda: p.waiting_count == 9)
        fresh_server.start()
        assert waits.outcome() == 7
        is_back.set()
        for thread in threads:
            thread.outcome()
        assert len(lost) <= 4
        assert p.total_count <= 4


def test_a_port_that_refuses_for_a_while(embedded_server: embedded.Server, proxy: Proxy) -> None:
    proxy.refuse()
    with pool(embedded_server, proxy, max_size=3) as p:
        threads = [Call(ask, p, n) for n in range(6)]
        until(lambda: p.stats().open_failures >= 3)
        with pytest.raises(pgwire.PoolTimeout) as caught:
            p.query("select 1", timeout=0.05)
        assert isinstance(caught.value.__cause__, pgwire.ConnectionFailed)
        proxy.accept()
        assert [thread.outcome() for thread in threads] == list(range(6))


@pytest.mark.parametrize("tells", [True, False])
def test_a_new_connection_that_is_lost_under_its_hook_is_an_opening_that_failed(
    embedded_server: embedded.Server, tells: bool
) -> None:
    """As in a restart: it was told to a caller as the loss of his own query, never sent."""
    victims: list[int] = []

    def use(conn: pgwire.Connection) -> None:
        if len(victims) < 2:
            victims.append(conn.backend_pid)
            kill(embedded_server.socket_url, victims[-1:])
        with suppress(*([] if tells else [pgwire.ConnectionLost])):
            conn.query("select 1")

    with pool(embedded_server, max_size=1, on_connect=use) as p:
        assert ask(p, 1) == 1
        stats = p.stats()
        assert (stats.failed, stats.open_failures, stats.opened) == (0, 2, 1)


def test_and_so_is_one_that_is_lost_under_a_callback(embedded_server: embedded.Server) -> None:
    victims: list[int] = []

    def use(conn: pgwire.Connection) -> None:
        if not victims:
            victims.append(conn.backend_pid)
            kill(embedded_server.socket_url, victims)
        conn.query("select 1")  # what it raises is logged

    with pool(embedded_server, max_size=1) as p:
        p.on("connect", use)
        assert ask(p, 1) == 1
        stats = p.stats()
        assert (stats.failed, stats.open_failures, stats.opened) == (0, 1, 1)


def test_one_hung_connect_delays_nobody_else(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    with pool(embedded_server, proxy, max_size=3) as p:
        proxy.hold(1)
        with within(LATE):
            burst(p, 10)
        until(lambda: p.stats().opening == 1)
        proxy.flow()
        until(lambda: p.stats().opening == 0)
        burst(p, 3)


def test_a_connect_that_outlives_its_requester_is_used_by_others(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    with pool(embedded_server, proxy, max_size=1) as p:
        proxy.hold()
        with pytest.raises(pgwire.PoolTimeout):
            p.connect(timeout=0.05)
        waits = Call(ask, p, 1)
        until(lambda: p.waiting_count == 1)
        proxy.flow()
        assert waits.outcome() == 1
        assert p.stats().opened == proxy.accepted == 1


def test_a_server_that_is_full(embedded_server: embedded.Server) -> None:
    """53300: those that got in serve all."""
    with pgwire.connect(embedded_server.socket_url) as conn:
        conn.query("drop role if exists few")
        password = pgwire.quote_literal(embedded_server.password)
        conn.query(f"create role few login connection limit 2 password {password}")
        with pgwire.Pool(embedded_server.url_for("few"), max_size=5, max_opening=5) as p:
            held = p.connect(), p.connect()
            waiting = [Call(ask, p, n) for n in range(10)]
            until(lambda: p.stats().open_failures >= 3)
            with pytest.raises(pgwire.PoolTimeout) as caught:
                p.query("select 1", timeout=0.01)
            assert getattr(caught.value.__cause__, "sqlstate", "") == "53300"
            for lease in held:
                lease.release()
            assert [thread.outcome() for thread in waiting] == list(range(10))
        conn.query("drop role few")


ANSWERS = {"marker": (backend.column("v", 25), [b"MARKER"])}


@pytest.mark.parametrize(
    "refusal",
    [
        backend.fatal("57P03", "the database system is starting up"),
        backend.fatal("53300", "sorry, too many clients already"),
        b"SSH-2.0-OpenSSH_9.2\r\n",
        backend.AUTHENTICATION_OK + b"\xff" * 20,
        b"",
    ],
    ids=["starting up", "full", "not PostgreSQL", "nonsense", "hangs up"],
)
def test_a_server_that_comes_round(refusal: bytes) -> None:
    """It refuses twice, or speaks nonsense, and then lets everybody in."""
    refusals = [refusal, refusal]

    def script(line: Line) -> None:
        if refusals:
            line.send(refusals.pop())
            line.finish()
        else:
            line.let_in()
            serve(line, ANSWERS)

    with (
        ScriptedServer(script) as server,
        pgwire.Pool(server.dsn, max_size=1, reset="never") as p,
    ):
        threads = [Call(p.query, "marker") for _ in range(3)]
        for thread in threads:
            assert thread.outcome().scalar() == "MARKER"
        assert p.stats().open_failures == 2


def test_a_wrong_password_fails_each_request_at_once(embedded_server: embedded.Server) -> None:
    url = embedded_server.url_for("postgres", password="wrong")
    with pgwire.Pool(url, max_size=3, checkout_timeout=60) as p, within(LATE):
        threads = [Call(ask, p, n) for n in range(6)]
        for thread in threads:
            assert isinstance(thread.ending(), pgwire.AuthenticationError)


# ------------------------------------------------------------------ the end meets an opening


def test_the_end_waits_for_an_opening(embedded_server: embedded.Server, proxy: Proxy) -> None:
    proxy.hold()
    p = pgwire.Pool(proxy.dsn(embedded_server.url), max_size=1)
    waits = Call(ask, p, 1)
    until(lambda: proxy.accepted == 1)
    ends = Call(p.end)
    until(lambda: p._engine.core.ending)
    proxy.flow()
    assert waits.outcome() == 1
    ends.outcome()
    assert p.total_count == 0


def test_the_bounded_end_does_not_wait_for_an_opening(
    embedded_server: embedded.Server, proxy: Proxy
) -> None:
    proxy.hold()
    p = pgwire.Pool(proxy.dsn(embedded_server.url), max_size=2)
    waits = Call(ask, p, 1)
    until(lambda: proxy.accepted == 1)
    with within(LATE), pytest.raises(pgwire.PoolTimeout):
        p.end(timeout=0.1)
    assert isinstance(waits.ending(), pgwire.PoolClosed)
    assert p.total_count == 0
