"""`max_pipeline`: submitted queries that are short, known and harmless share connections."""

from __future__ import annotations

import threading
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
from tests.pool.support import PATIENCE, Thread, kill, pid_of, run_script, threads_of, until
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
