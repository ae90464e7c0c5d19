"""Which statements may share a connection, as far as their times tell."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from pgwire.pool.pace import SHORT, Pace

SQL = "select name from users where id = $1"


def paced(*seconds: float) -> Pace:
    """A pace that has seen one statement take so long, each time."""
    pace = Pace()
    for each in seconds:
        pace.note(SQL, each)
    return pace


def test_what_has_never_run_does_not_share() -> None:
    pace = paced(0.0)
    assert pace.may_share("select 1") is False
    assert Pace().may_share(SQL) is False


def test_one_run_tells() -> None:
    assert paced(0.0).may_share(SQL) is True
    assert paced(SHORT).may_share(SQL) is True
    assert paced(SHORT * 1.001).may_share(SQL) is False


def test_a_slow_first_run_is_forgiven_at_once() -> None:
    """The plan was cold, or a lock was held: the next run shows what the statement is like."""
    assert paced(3.0, 0.001).may_share(SQL)


def test_a_single_slow_run_is_no_reason() -> None:
    assert paced(0.0005, 0.010).may_share(SQL)


def test_a_statement_that_becomes_slow_is_noticed() -> None:
    """1 ms, then 10 ms: 1.9 ms after one such run, 2.7 ms after two."""
    assert paced(0.001, 0.010).may_share(SQL)
    assert not paced(0.001, 0.010, 0.010).may_share(SQL)


def test_a_little_too_slow_is_noticed_as_well_but_later() -> None:
    """1 ms, then 3 ms: 3 - 2 * 0.9 ** n ms after n runs."""
    assert paced(0.001, *[0.003] * 6).may_share(SQL)
    assert not paced(0.001, *[0.003] * 7).may_share(SQL)


def test_a_statement_that_has_become_slow_may_recover() -> None:
    pace = paced(0.001, *[0.1] * 50)
    assert not pace.may_share(SQL)
    pace.note(SQL, 0.0015)
    assert pace.may_share(SQL)


def test_what_changes_its_session_never_shares_however_short_it_is() -> None:
    pace = Pace()
    pace.note_private(SQL)
    assert not pace.may_share(SQL)
    pace.note(SQL, 0.0001)
    pace.note(SQL, 0.0)
    assert not pace.may_share(SQL)


def test_a_statement_may_turn_out_to_be_private_later() -> None:
    pace = paced(0.0001)
    pace.note_private(SQL)
    pace.note(SQL, 0.0001)
    assert not pace.may_share(SQL)


def test_the_memory_is_bounded_and_keeps_what_was_run_last() -> None:
    pace = Pace(size=2)
    for sql in ("a", "b", "a", "c"):
        pace.note(sql, 0.001)
    assert [sql for sql in "abc" if pace.may_share(sql)] == ["a", "c"]
    assert len(pace._times) == 2


def test_by_default_it_knows_a_thousand_statements() -> None:
    pace = Pace()
    for number in range(2000):
        pace.note(f"select {number}", 0.001)
    assert [pace.may_share(f"select {number}") for number in (975, 976)] == [False, True]


def test_asking_is_no_run() -> None:
    pace = Pace(size=2)
    pace.note("a", 0.001)
    pace.note("b", 0.001)
    assert pace.may_share("a")
    pace.note("c", 0.001)
    assert not pace.may_share("a")


runs = st.tuples(st.sampled_from("abcde"), st.none() | st.floats(0.0, 0.01))


@given(st.lists(runs, max_size=100), st.integers(1, 6))
@settings(max_examples=100, derandomize=True, deadline=None)
def test_it_is_the_rule_applied_to_all_runs_since_the_statement_was_forgotten(
    story: list[tuple[str, float | None]], size: int
) -> None:
    """None is a run that may have changed the session."""
    pace = Pace(size)
    for number, (sql, seconds) in enumerate(story):
        if seconds is None:
            pace.note_private(sql)
        else:
            pace.note(sql, seconds)
        for each in "abcde":
            assert pace.may_share(each) == ought_to_share(each, story[: number + 1], size)


def ought_to_share(sql: str, story: list[tuple[str, float | None]], size: int) -> bool:
    known: float | None = None
    private = False
    others: set[str] = set()  # run since this one was
    for each, seconds in story:
        if each != sql:
            others.add(each)
            if len(others) == size:
                known, private = None, False
            continue
        others.clear()
        if seconds is None:
            private = True
        elif known is None or seconds < known:
            known = seconds
        else:
            known += (seconds - known) * 0.1
    return known is not None and not private and known <= SHORT
