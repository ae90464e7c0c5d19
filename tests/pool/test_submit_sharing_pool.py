"""Shared connections and the rest of the pool: cleaning, events, leases, sizes, the end, forks."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import pgwire
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
from tests.pool.support import PATIENCE, Thread, pid_of, run_script, threads_of, until
from tests.pool.watching import Call, nothing_left

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(name="gate")
def _gate(dsn: str) -> Iterator[Gate]:
    with gate(dsn) as made:
        yield made


# ------------------------------------------------------------------ cleaning, hooks, events

BEHIND = """
    create or replace function leave_behind(n int) returns int language plpgsql as
    $$begin perform set_config('application_name', 'left', false); return n; end$$
"""


def test_reset_always_cleans_after_the_last_of_a_line(dsn: str, gate: Gate) -> None:
    leave = "select leave_behind($1::int)"
    with pgwire.connect(dsn) as conn:
        conn.query(BEHIND)
    hooked: list[int] = []

    def on_connect(conn: pgwire.Connection) -> None:
        hooked.append(conn.backend_pid)
        conn.query("set application_name = 'hooked'")

    for hook, name in ((None, ""), (on_connect, "hooked")):
        options = {"reset": "always", "on_connect": hook}
        with sharing(dsn, [PASS, leave], **options) as (p, _):
            gate.close()
            futures = ask(p, [0], PASS) + ask(p, range(1, 5), leave)
            assert p.stats().sharing == 5
            before = len(hooked)
            gate.open()
            assert answers(futures) == list(range(5))
            with p.connect() as lease:
                assert lease.query("show application_name").scalar() == name
            assert len(hooked) >= before
            assert p.stats().opened == 1
            check_whole(p)
    assert len(hooked) > 1
    assert len(set(hooked)) == 1


def test_a_reset_function_is_called_after_the_last_of_a_line(dsn: str, gate: Gate) -> None:
    seen: list[int] = []
    with sharing(dsn, [PASS], reset=lambda conn: seen.append(conn.backend_pid)) as (p, _):
        pid = pid_of(p)
        check_whole(p)
        before = len(seen)
        gate.close()
        futures = ask(p, range(5), PASS)
        gate.open()
        assert answers(futures) == list(range(5))
        check_whole(p)
        assert seen[before:] == [pid]


def test_events_are_balanced(dsn: str, gate: Gate) -> None:
    """I-33: for those that fail, run out of time or are cancelled as well."""
    divide = "select 1 / $1::int"
    seen: list[str] = []
    with sharing(dsn, [PASS, divide]) as (p, clock):
        p.on("acquire", lambda _conn: seen.append("acquire"))
        p.on("release", lambda _conn: seen.append("release"))
        before = p.stats().granted
        gate.close()
        futures = [p.submit(PASS, [1], timeout=1), p.submit(divide, [0]), p.submit(divide, [1])]
        with p._submitter.sharing.lock:
            late = p.submit(PASS, [1])
            late.cancel()
        gate.wait_for(1)
        clock.now += 1
        errors(futures)
        gate.open()
        check_whole(p)
        lease = p.connect()
        alone = p.submit("select 4")
        p.on("acquire", lambda _conn: alone.cancel())  # it is granted already
        lease.release()
        check_whole(p)
        assert alone.cancelled()
        granted = p.stats().granted - before
        assert granted == 6
        until(lambda: seen.count("release") == granted)
        assert seen.count("acquire") == granted


def test_a_callback_that_raises_ends_no_line(
    dsn: str, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """I-31: whatever it raises."""

    def leave(_future: object) -> None:
        raise SystemExit

    with sharing(dsn, [PASS]) as (p, clock):
        gate.close()
        futures = [p.submit(PASS, [0], timeout=1), *ask(p, range(1, 5), PASS)]
        for future in futures:
            future.add_done_callback(leave)
        gate.wait_for(1)
        clock.now += 1
        assert isinstance(futures[0].exception(PATIENCE), pgwire.QueryTimeout)
        gate.open()
        assert answers(futures[1:]) == list(range(1, 5))
        check_whole(p)


# ------------------------------------------------------------------ leases


def test_a_lease_waits_for_the_line_and_nobody_overtakes_it(dsn: str, gate: Gate) -> None:
    """I-5: what comes after it does not join, however much room there is."""
    with sharing(dsn, [PASS, ASK]) as (p, _):
        gate.close()
        first = ask(p, range(3), PASS)
        waiting = Thread(p.connect)
        until(lambda: p.waiting_count == 1)
        later = ask(p, range(3, 6))
        assert (p.waiting_count, p.stats().sharing) == (4, 3)
        gate.open()
        lease = waiting.outcome()
        assert lease.query("select 7").scalar() == 7
        assert not any(future.done() for future in later)
        lease.release()
        assert answers(first + later) == list(range(6))
        check_whole(p)


def test_leases_do_not_starve(dsn: str) -> None:
    over = threading.Event()

    def keep_asking(base: int) -> None:
        while not over.is_set():
            markers = range(base, base + 12)
            assert answers(ask(p, markers)) == list(markers)

    with sharing(dsn, [ASK], max_size=2) as (p, _):
        users = [Call(keep_asking, base) for base in range(0, 400, 100)]
        for n in range(100):
            with p.connect(timeout=PATIENCE) as lease:
                assert lease.transaction_status is pgwire.TransactionStatus.IDLE
                assert lease.query(ASK, [n]).scalar() == n
        over.set()
        for user in users:
            user.outcome()
        check_whole(p)


# ------------------------------------------------------------------ sizes and the end


def test_a_connection_that_has_expired_is_joined_by_nobody(dsn: str, gate: Gate) -> None:
    """I-30"""
    with sharing(dsn, [PASS], max_size=2) as (p, clock):
        gate.close()
        clock.now += 1e-6
        old = ask(p, range(3), PASS)
        p.expire()
        new = ask(p, range(3, 6), PASS)
        until(lambda: p.stats().shared == 2)
        gate.open()
        assert answers(old + new) == list(range(6))
        check_whole(p)
        until(lambda: p.total_count == 1)
        assert p.stats().retired == 1


def test_a_pool_that_is_made_smaller(dsn: str, gate: Gate) -> None:
    """I-1"""
    with sharing(dsn, [PASS, ASK], max_size=3, max_pipeline=4) as (p, _):
        gate.close()
        futures = ask(p, range(20), PASS)
        until(lambda: p.stats().sharing == 12)
        p.resize(0, 1)
        gate.open()
        assert answers(futures) == list(range(20))
        until(lambda: p.total_count == 1)
        assert answers(ask(p, range(5))) == list(range(5))
        check_whole(p)


def test_the_end_waits_for_lines(dsn: str, gate: Gate) -> None:
    """I-28: and for what waits in the queue behind them."""
    with nothing_left():
        with sharing(dsn, [PASS]) as (p, _):
            gate.close()
            futures = ask(p, range(12), PASS)
            assert (p.stats().sharing, p.waiting_count) == (8, 4)
            ending = Thread(p.end)
            until(lambda: isinstance(p.submit(ASK, [1]).exception(PATIENCE), pgwire.PoolClosed))
            assert not any(future.done() for future in futures)
            gate.open()
            ending.outcome()
            assert [future.result(0).scalar() for future in futures] == list(range(12))
            check_ended(p)
            assert not threads_of(p)


def test_a_bounded_end_cuts_lines_off(dsn: str, gate: Gate) -> None:
    """I-29: everybody is told, once."""
    with nothing_left():
        with sharing(dsn, [PASS], max_size=2) as (p, _):
            gate.close()
            futures = ask(p, range(20), PASS)
            until(lambda: p.stats().sharing == 16)
            gate.wait_for(2)
            told = Told(futures)
            with pytest.raises(pgwire.PoolTimeout):
                p.end(timeout=0.01)
            assert all(isinstance(future.exception(0), pgwire.Error) for future in futures)
            assert told.wait_for(20) == list(range(20))
            check_ended(p)
            until(lambda: not threads_of(p))
            gate.open()


def test_a_fork_while_lines_run(dsn: str) -> None:
    """I-34: the child begins anew, the parent's line goes on."""
    out = run_script(
        """
        from tests.pool.lines import PASS, answers, ask, gate, sharing

        with gate(DSN) as gate, sharing(DSN, [PASS]) as (pool, clock):
            gate.close()
            futures = ask(pool, range(5), PASS)
            gate.wait_for(1)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                child = os.fork()
            if not child:
                ok = pool.total_count == 0 and not pool._submitter.sharing.lines
                own = pool.submit("select 7").result(PATIENCE).scalar()
                own += sum(answers([pool.submit("select 7") for _ in range(20)]))
                pool.end()
                os._exit(0 if ok and own == 147 else 1)
            print(os.waitpid(child, 0)[1])
            gate.open()
            print(answers(futures), pool.stats().opened)
        """,
        dsn,
    )
    assert out.splitlines() == ["0", "[0, 1, 2, 3, 4] 1"]
