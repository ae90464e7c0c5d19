"""Shared connections on servers that lie, hang, and hang up; and on lines that do."""

from __future__ import annotations

import json
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.blocking import together
from tests.pool.lines import (
    ASK,
    PASS,
    answers,
    ask,
    check_ended,
    check_whole,
    errors,
    gate,
    sharing,
)
from tests.pool.support import PATIENCE, until
from tests.pool.watching import nothing_left, within
from tests.support import backend
from tests.support.proxy import Proxy
from tests.support.scripted import HungUp, ScriptedServer, serve

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgwire import embedded
    from tests.support.scripted import Line

SQL = [f"select {n}" for n in range(3)]
ANSWERS = {sql: (backend.column(), [backend.int4(n)]) for n, sql in enumerate(SQL)}


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    with nothing_left():
        yield


@pytest.fixture(name="proxy")
def _proxy(embedded_server: embedded.Server, _nothing_left: None) -> Iterator[Proxy]:
    with Proxy(embedded_server.host, embedded_server.port) as proxy:
        yield proxy


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "PATIENCE", 0.05)


class Panic(BaseException):
    """What no program catches."""


def test_a_value_that_panics_costs_nobody_anything(dsn: str) -> None:
    """Those that are taken along by the same thread have their answers, and it goes on."""
    panics = False

    def unless(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def call(value: Any) -> Any:
            if panics:
                raise Panic
            return function(value)

        return call

    known = ["select $1::json", ASK]
    functions = {"json_dumps": unless(json.dumps), "json_loads": unless(json.loads)}
    with sharing(dsn, known, **functions) as (p, _):
        panics = True
        values: list[Any] = [{}, "{}"]  # a string is sent as it is, and comes back
        for value in values:
            (wrong,), right = ask(p, [value], "select $1::json"), ask(p, range(3))
            assert isinstance(wrong.exception(PATIENCE), pgwire.DataError)
            assert answers(right) == [0, 1, 2]
        check_whole(p)
        assert p.stats().opened == 1


@pytest.mark.parametrize("event", ["notice", "query"])
def test_a_callback_that_panics_costs_nobody_anything(dsn: str, event: Any) -> None:
    """Nor one that wants to end the program: it is not its thread to do so."""
    panics: list[type[BaseException]] = []
    raised: list[type[BaseException]] = []

    def callback(_event: object) -> None:
        if panics:
            raised.append(panics[-1])
            raise panics[-1]

    say = (
        "create function say(int) returns int language plpgsql immutable as "
        "$$begin raise notice 'said'; return $1; end$$"
    )
    with pgwire.connect(dsn) as other, sharing(dsn, [ASK]) as (p, _):
        other.query(say)
        p.on("acquire", lambda conn: conn.on(event, callback))
        try:
            assert answers(ask(p, [1], "select say($1)")) == [1]
            for stop in (Panic, SystemExit):
                panics.append(stop)
                futures = ask(p, range(3), "select say($1)") + ask(p, range(3))
                assert answers(futures) == [0, 1, 2] * 2
        finally:
            other.query("drop function say")
        check_whole(p)
        assert p.stats().opened == 1
        assert {*raised} == {Panic, SystemExit}


class Script:
    """Answers at once; or when it has read so many queries (`batch`), and then as it is told."""

    def __init__(self) -> None:
        self.batch = 0
        self.then: Callable[[Line, list[bytes]], object] = lambda line, held: None
        self._held: list[bytes] = []

    def __call__(self, line: Line) -> None:
        line.let_in()
        serve(line, ANSWERS, partial(self._say, line))

    def _say(self, line: Line, out: bytes) -> None:
        if not self.batch:
            line.send(out)
            return
        self._held.append(out)
        if len(self._held) == self.batch:
            held, self._held, self.batch = self._held, [], 0
            self.then(line, held)


def cut_at(limit: int, line: Line, held: list[bytes]) -> None:
    line.send(b"".join(held)[:limit])
    line.cut()
    raise HungUp


# ------------------------------------------------------------------ scripted servers


def test_a_line_that_is_cut_at_any_byte() -> None:
    """What has been answered is answered, and all others are lost; the pool goes on."""
    script = Script()
    answer = len(backend.executed(backend.row(backend.int4(1))))
    with ScriptedServer(script) as server, sharing(server.dsn, SQL) as (p, _):
        for limit in range(3 * answer + 1):
            for n in range(3):
                assert p.submit(SQL[n]).result(PATIENCE).scalar() == n
            script.then, script.batch = partial(cut_at, limit), 3
            futures = [p.submit(sql) for sql in SQL]
            outcome = errors(futures)
            whole = limit // answer
            assert [error is None for error in outcome] == [n < whole for n in range(3)]
            assert all(isinstance(error, pgwire.ConnectionLost) for error in outcome[whole:])
            assert [future.result(0).scalar() for future in futures[:whole]] == list(range(whole))
        check_whole(p)
    check_ended(p)


class Cancelled:
    """Three queries are under way, and the first runs out of time; what the server does then."""

    def __init__(self, on_cancel: Callable[[Line, list[bytes]], object]) -> None:
        self._on_cancel = on_cancel
        self._read, self._asked = threading.Event(), threading.Event()
        self.script = Script()
        self.script.then = self._wait

    def _wait(self, line: Line, held: list[bytes]) -> None:
        self._read.set()
        if self._asked.wait(PATIENCE):
            self._on_cancel(line, held)

    def _cancel(self, line: Line) -> None:
        line.cut()  # until then the client waits here, and reads no answers
        self._asked.set()

    def play(self, check: Callable[[pgwire.Pool, list[BaseException | None]], None]) -> int:
        with ScriptedServer(self.script, on_cancel=self._cancel, unix=True) as server:
            with sharing(server.dsn, SQL) as (p, clock):
                self.script.batch = 3
                futures = [p.submit(SQL[0], timeout=1), p.submit(SQL[1]), p.submit(SQL[2])]
                assert self._read.wait(PATIENCE)
                clock.now += 1
                check(p, errors(futures))
                assert p.submit(SQL[0]).result(PATIENCE).scalar() == 0
                check_whole(p)
            check_ended(p)
        return len(server.cancels)


CANCELED = backend.error("57014", "canceling statement due to user request") + backend.ready()


def test_a_cancel_request_that_strikes_a_neighbour_harms_nobody() -> None:
    """It begins anew, though others have been written behind it."""

    def strike(line: Line, held: list[bytes]) -> None:
        line.send(held[0], CANCELED)
        line.wait_until_read()
        line.send(held[2])

    def check(p: pgwire.Pool, outcome: list[BaseException | None]) -> None:
        assert isinstance(outcome[0], pgwire.QueryTimeout)
        assert outcome[1:] == [None, None]
        assert p.stats().opened == 1

    assert Cancelled(strike).play(check) == 1


def test_a_cancel_request_that_strikes_nobody_harms_nobody() -> None:
    def strike(line: Line, held: list[bytes]) -> None:
        line.send(*held, backend.error("57014"))

    def check(p: pgwire.Pool, outcome: list[BaseException | None]) -> None:
        assert isinstance(outcome[0], pgwire.QueryTimeout)
        assert outcome[1:] == [None, None]
        assert p.stats().opened == 1

    assert Cancelled(strike).play(check) == 1


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_a_cancel_request_is_given_up() -> None:
    def check(p: pgwire.Pool, outcome: list[BaseException | None]) -> None:
        assert isinstance(outcome[0], pgwire.QueryTimeout)
        for error in outcome[1:]:
            assert isinstance(error, pgwire.ConnectionLost)
            assert "did not answer a cancel request" in str(error.__cause__)
        assert p.stats().discarded == 1

    assert Cancelled(lambda line, held: line.wait_for_hang_up()).play(check) == 1


@pytest.mark.usefixtures("impatient")
def test_a_server_that_never_answers_a_fence_is_given_up() -> None:
    """But what it has answered counts."""

    def go_silent(line: Line, held: list[bytes]) -> None:
        script = cancelled.script
        script.then, script.batch = lambda line, held: None, 1
        line.send(CANCELED, *held[1:])

    def check(p: pgwire.Pool, outcome: list[BaseException | None]) -> None:
        assert isinstance(outcome[0], pgwire.QueryTimeout)
        assert outcome[1:] == [None, None]
        until(lambda: p.stats().discarded == 1)

    cancelled = Cancelled(go_silent)
    assert cancelled.play(check) == 1


# ------------------------------------------------------------------ lines


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", [Proxy.swallow, Proxy.stall])
def test_a_peer_that_has_gone_quiet(
    embedded_server: embedded.Server, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    """Who is impatient is told in time, and then the connection is given up."""
    with sharing(proxy.dsn(embedded_server.url)) as (p, clock):
        fault(proxy)
        impatient = [p.submit(ASK, [n], timeout=1) for n in range(3)]
        (patient,) = ask(p, [3])
        until(patient.running)  # and so are those before it
        clock.now += 1
        with within(PATIENCE / 2):
            for error in errors(impatient):
                assert isinstance(error, pgwire.QueryTimeout)
            assert isinstance(patient.exception(PATIENCE), pgwire.ConnectionLost)
        proxy.flow()
        assert answers(ask(p, range(5))) == list(range(5))
        check_whole(p)


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.reset])
def test_a_line_that_breaks_under_way(
    embedded_server: embedded.Server, proxy: Proxy, fault: Callable[[Proxy], None]
) -> None:
    with gate(embedded_server.url) as closed:
        with sharing(proxy.dsn(embedded_server.url), [PASS]) as (p, _):
            closed.close()
            futures = ask(p, range(5), PASS)
            closed.wait_for(1)
            fault(proxy)
            for error in errors(futures):
                assert isinstance(error, pgwire.ConnectionLost)
            closed.open()
            assert answers(ask(p, range(5), PASS)) == list(range(5))
            check_whole(p)


def test_answers_that_come_byte_by_byte(embedded_server: embedded.Server, proxy: Proxy) -> None:
    with sharing(proxy.dsn(embedded_server.url)) as (p, _):
        proxy.split = True
        assert answers(ask(p, range(100))) == list(range(100))
        check_whole(p)
