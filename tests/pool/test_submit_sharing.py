"""`max_pipeline`: submitted queries that are short, known and harmless share connections.

It is off by default (PP-58).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire.pool import sharing as sharing_module
from tests.pool.lines import (
    ASK,
    PASS,
    Gate,
    Told,
    answers,
    ask,
    check_ended,
    check_whole,
    errors,
    gate,
    sharing,
)
from tests.pool.support import PATIENCE, kill, pid_of, until
from tests.pool.watching import Call, nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.pool.lines import Answer


@pytest.fixture(name="gate")
def _gate(dsn: str) -> Iterator[Gate]:
    with gate(dsn) as made:
        yield made


# ------------------------------------------------------------------ who shares


def test_what_is_known_shares(dsn: str, gate: Gate) -> None:
    with sharing(dsn, [PASS, ASK], max_size=4) as (p, _):
        gate.close()
        futures = ask(p, range(3), PASS) + ask(p, range(3, 7))
        stats = p.stats()
        assert (stats.shared, stats.sharing, stats.leased, stats.size) == (1, 7, 0, 1)
        gate.open()
        assert answers(futures) == list(range(7))
        check_whole(p)
        assert p.stats().opened == 1


def test_a_full_line_is_followed_by_another(dsn: str, gate: Gate) -> None:
    with sharing(dsn, [PASS], max_size=2, max_pipeline=3) as (p, _):
        gate.close()
        futures = ask(p, range(10), PASS)
        until(lambda: p.stats().sharing == 6)
        assert (p.stats().shared, p.waiting_count) == (2, 4)
        gate.open()
        assert answers(futures) == list(range(10))
        check_whole(p)


def test_what_is_unknown_does_not_share(dsn: str, gate: Gate) -> None:
    with sharing(dsn, max_size=2) as (p, _):
        gate.close()
        futures = ask(p, range(2), PASS)
        until(lambda: p.stats().leased == 2)
        assert p.stats().shared == 0
        gate.open()
        assert answers(futures) == [0, 1]


def test_what_is_long_does_not_share(dsn: str, gate: Gate) -> None:
    with sharing(dsn, max_size=2) as (p, clock):
        gate.close()
        futures = ask(p, [0], PASS)
        gate.wait_for(1)
        clock.now += 0.01
        gate.open()
        assert answers(futures) == [0]
        gate.close()
        futures = ask(p, range(2), PASS)
        until(lambda: p.stats().leased == 2)
        assert p.stats().shared == 0
        gate.open()
        assert answers(futures) == [0, 1]


def test_nobody_joins_behind_what_has_been_running_for_long(dsn: str, gate: Gate) -> None:
    with sharing(dsn, [PASS, ASK], max_size=2) as (p, clock):
        gate.close()
        (slow,) = ask(p, [0], PASS)
        gate.wait_for(1)
        clock.now += 0.1
        assert answers(ask(p, [1, 2])) == [1, 2]
        gate.open()
        assert answers([slow]) == [0]


@pytest.mark.parametrize(
    "sql",
    [
        "begin",
        "set application_name = 'mine'",
        "select set_config('application_name', 'mine', false)",
        "create temporary table if not exists mine (n int)",
        "select pg_advisory_lock(4711)",
        "listen to_me",
        "select 1; select 2",
    ],
)
def test_what_changes_its_session_has_it_alone(dsn: str, gate: Gate, sql: str) -> None:
    """I-23: however often it has been run."""
    with sharing(dsn, [PASS], max_size=2) as (p, _):
        for _ in range(3):
            p.submit(sql).exception(PATIENCE)
        gate.close()
        (slow,) = ask(p, [0], PASS)
        p.submit(sql).exception(PATIENCE)  # in that line it would wait for the gate
        assert p.stats().sharing == 1
        gate.open()
        assert answers([slow]) == [0]
        assert p.query("show application_name").scalar() != "mine"


def test_without_max_pipeline_nobody_shares(dsn: str, gate: Gate) -> None:
    with sharing(dsn, [PASS], max_size=2, max_pipeline=1) as (p, _):
        gate.close()
        futures = ask(p, range(2), PASS)
        until(lambda: p.stats().leased == 2)
        assert p.stats().shared == 0
        gate.open()
        assert answers(futures) == [0, 1]


# ------------------------------------------------------------------ whose answer


def test_every_answer_is_its_own(dsn: str, gate: Gate) -> None:
    """Six threads, and every third query is a mistake."""
    divide = "select 60 / $1::int from gate"
    number = 400

    def user(base: int) -> None:
        markers = range(base, base + number)
        futures = ask(p, markers)
        mistakes = [p.submit(divide, [n % 2]) for n in markers]
        assert answers(futures) == list(markers)
        for n, future in zip(markers, mistakes, strict=True):
            if n % 2:
                assert future.result(PATIENCE).scalar() == 60
            else:
                assert isinstance(future.exception(PATIENCE), pgwire.errors.DivisionByZero)

    with nothing_left():
        with sharing(dsn, [PASS, ASK], max_size=3) as (p, _):
            assert p.submit(divide, [1]).result(PATIENCE).scalar() == 60
            gate.close()
            first = ask(p, range(30), PASS)
            until(lambda: p.stats().sharing == 24)
            users = [Call(user, base) for base in range(0, 6000, 1000)]
            until(lambda: p.waiting_count > number)
            gate.open()
            for thread in users:
                thread.outcome()
            assert answers(first) == list(range(30))
            check_whole(p)
            assert p.stats().opened == 3
        check_ended(p)


def test_errors_are_each_ones_own(dsn: str, gate: Gate) -> None:
    bad = "select 1 / $1::int"
    with sharing(dsn, [PASS, ASK, bad]) as (p, _):
        gate.close()
        (head,) = ask(p, [0], PASS)
        mixed = [p.submit(bad, [n % 2]) for n in range(4)]
        misfit = p.submit(ASK, ["no number"])
        (last,) = ask(p, [7])
        assert p.stats().sharing == 7
        gate.open()
        assert answers([head, last]) == [0, 7]
        assert [type(error).__name__ for error in errors(mixed)] == [
            "DivisionByZero",
            "NoneType",
        ] * 2
        assert isinstance(misfit.exception(PATIENCE), pgwire.Error)
        check_whole(p)
        assert p.stats().opened == 1


def test_who_is_answered_is_told_though_others_join(
    dsn: str, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last of a line was told at the line's end, which under load there was none of."""
    plain = sharing_module.SharedLine.settle
    joined: list[Answer] = []

    def settle(self: Any, operations: Any) -> None:
        plain(self, operations)
        if not joined:
            joined.extend(ask(p, [2], PASS))

    with sharing(dsn, [PASS, ASK]) as (p, _):
        gate.close()
        monkeypatch.setattr(sharing_module.SharedLine, "settle", settle)
        assert answers(ask(p, [1])) == [1]
        assert p.stats().sharing == 1
        gate.open()
        assert answers(joined) == [2]


# ------------------------------------------------------------------ time


def test_who_is_too_slow_gets_his_timeout_and_the_others_their_answers(
    dsn: str, gate: Gate
) -> None:
    with sharing(dsn, [PASS, ASK]) as (p, clock):
        pid = pid_of(p)
        gate.close()
        slow = p.submit(PASS, [0], timeout=1)
        neighbours = ask(p, range(1, 7))
        gate.wait_for(1)
        clock.now += 1
        with pytest.raises(pgwire.QueryTimeout):
            slow.result(PATIENCE)
        assert answers(neighbours) == list(range(1, 7))
        assert pid_of(p) == pid
        gate.open()
        check_whole(p)


def test_who_waits_behind_a_slow_one_gets_his_timeout_in_time(dsn: str, gate: Gate) -> None:
    """Who joined while nothing was read was not looked at until something was."""
    with sharing(dsn, [PASS, ASK]) as (p, clock):
        pid = pid_of(p)
        gate.close()
        (slow,) = ask(p, [0], PASS)
        gate.wait_for(1)
        impatient = p.submit(ASK, [1], timeout=1)
        (patient,) = ask(p, [2])
        clock.now += 1
        with pytest.raises(pgwire.QueryTimeout):
            impatient.result(PATIENCE)
        assert not slow.done()
        gate.open()
        assert answers([slow, patient]) == [0, 2]
        assert pid_of(p) == pid
        check_whole(p)


def test_all_of_a_line_run_out_of_time(dsn: str, gate: Gate) -> None:
    """Each is canceled when it is its turn, those that are hit by mistake begin anew."""
    with sharing(dsn, [PASS, ASK]) as (p, clock):
        pid = pid_of(p)
        gate.close()
        futures = [p.submit(PASS, [n], timeout=1) for n in range(4)]
        (patient,) = ask(p, [4])
        gate.wait_for(1)
        clock.now += 1
        for error in errors(futures):
            assert isinstance(error, pgwire.QueryTimeout)
        assert answers([patient]) == [4]
        assert pid_of(p) == pid
        gate.open()
        check_whole(p)


def test_a_timeout_in_the_queue_is_told_in_time(dsn: str, gate: Gate) -> None:
    """All workers were busy, and nobody was left to tell."""
    with sharing(dsn, [PASS], max_pipeline=2) as (p, clock):
        gate.close()
        futures = ask(p, range(2), PASS)
        queued = p.submit(PASS, [2], timeout=1)
        clock.now += 1
        with pytest.raises(pgwire.PoolTimeout):
            queued.result(PATIENCE)
        assert not futures[0].done()
        gate.open()
        assert answers(futures) == [0, 1]


# ------------------------------------------------------------------ going away


def test_what_is_cancelled_before_it_has_begun_never_runs(dsn: str, gate: Gate) -> None:
    divide = "select 1 / $1::int"
    futures: list[Answer] = []

    def cancel(_conn: object) -> None:
        if len(futures) == 3 and futures[1].cancel():
            cancelled.append(1)

    cancelled: list[int] = []
    with sharing(dsn, [PASS, divide]) as (p, _):
        gate.close()
        (head,) = ask(p, [0], PASS)
        gate.wait_for(1)
        with p._submitter.sharing.lock:  # nobody is taken along meanwhile
            futures += [p.submit(divide, [n]) for n in (1, 0, 1)]
            p.on("acquire", cancel)
        until(lambda: cancelled)
        gate.open()
        assert answers([head, futures[0], futures[2]]) == [0, 1, 1]
        assert futures[1].cancelled()
        check_whole(p)


def test_a_killed_backend_fails_what_was_in_flight_there_and_nothing_else(
    dsn: str, gate: Gate
) -> None:
    with nothing_left():
        with sharing(dsn, [PASS, ASK], max_size=2) as (p, _):
            gate.close()
            futures = ask(p, range(20), PASS)
            until(lambda: p.stats().sharing == 16)
            gate.wait_for(2)
            told = Told(futures)
            with pgwire.connect(dsn) as conn:
                pids = conn.query(
                    "select pid from pg_stat_activity where query = $1 order by backend_start",
                    [PASS],
                ).scalars()
            kill(dsn, pids[:1])
            told.wait_for(8)
            gate.open()
            outcome = errors(futures)
            lost = [n for n, error in enumerate(outcome) if error is not None]
            assert lost == list(range(8))
            assert all(isinstance(outcome[n], pgwire.ConnectionLost) for n in lost)
            assert answers(futures[8:]) == list(range(8, 20))
            assert told.wait_for(20) == list(range(20))
            check_whole(p)
        check_ended(p)
