"""Range and Multirange: what they say of themselves, and that they are plain data."""

from __future__ import annotations

import copy
import pickle
from decimal import Decimal
from typing import Any

import pytest

from pgwire.pgtypes.ranges import Multirange, Range
from tests.pgtypes.helpers import exactly

BOUNDS = ("[]", "[)", "(]", "()")


def test_an_unbounded_side_is_never_inclusive() -> None:
    assert Range(None, 5, "[]") == Range(None, 5, "(]")
    assert Range(5, None, "[]") == Range(5)
    assert Range(None, None, "[]").bounds == "()"
    assert {Range(bounds=bounds) for bounds in BOUNDS} == {Range()}


def test_ranges_tell_what_they_are() -> None:
    closed: Range[int] = Range(1, 5, "[]")
    assert (closed.lower, closed.upper, closed.bounds) == (1, 5, "[]")
    assert (closed.lower_inc, closed.upper_inc, closed.lower_inf) == (True, True, False)
    half: Range[int] = Range(None, 5)
    assert (half.lower_inc, half.upper_inc, half.lower_inf, half.upper_inf) == (
        *(False, False, True, False),
    )
    empty: Range[int] = Range.empty()
    assert (empty.lower, empty.upper, empty.is_empty) == (None, None, True)
    assert not any((empty.lower_inc, empty.upper_inc, empty.lower_inf, empty.upper_inf))
    assert not empty
    assert half
    assert Range()
    match closed:
        case Range(lower, upper, "[]"):
            assert (lower, upper) == (1, 5)
        case _:
            pytest.fail("the pattern should match")


def test_values_are_looked_for_in_ranges() -> None:
    inside = {bounds: [n for n in range(7) if n in Range(1, 3, bounds)] for bounds in BOUNDS}
    assert inside == {"[]": [1, 2, 3], "[)": [1, 2], "(]": [2, 3], "()": [2]}
    assert [n for n in range(4) if n in Range(None, 2)] == [0, 1]
    assert [n for n in range(4) if n in Range(2)] == [2, 3]
    assert 5 in Range()
    assert None not in Range()
    assert 5 not in Range.empty()
    assert 2 not in Range(3, 1)
    with pytest.raises(TypeError):
        assert "a" in Range(1, 2)


@pytest.mark.parametrize("bounds", ["", "[", "[[", ")(", "[]]", None, 5])
def test_other_bounds_are_refused(bounds: Any) -> None:
    with pytest.raises(ValueError, match=r"bounds must be one of \[\], \[\), \(\], \(\), not "):
        Range(1, 2, bounds)


def test_ranges_are_equal_when_all_of_them_is() -> None:
    assert Range(1, 2) == Range(1.0, Decimal(2))
    different: list[Range[int]] = [
        *(Range(1, 2), Range(1, 3), Range(0, 2), Range(1, 2, "[]"), Range(), Range.empty()),
    ]
    assert len(set(different)) == len(different)
    assert Range(1, 2) != (1, 2)
    assert Range(1, 2) != "[1,2)"


@pytest.mark.parametrize(
    ("value", "text", "representation"),
    [
        (Range(1, 5), "[1,5)", "Range(1, 5, '[)')"),
        (Range(None, "a", "(]"), "(,a]", "Range(None, 'a', '(]')"),
        (Range.empty(), "empty", "Range.empty()"),
        (Multirange(), "{}", "Multirange([])"),
        (
            Multirange(iter([Range(1, 2), Range(5)])),
            "{[1,2),[5,)}",
            "Multirange([Range(1, 2, '[)'), Range(5, None, '[)')])",
        ),
        (Multirange[int]([Range[int](1), Range[int].empty()]), "{[1,),empty}", None),
    ],
)
def test_ranges_are_plain_data(value: Any, text: str, representation: str | None) -> None:
    assert str(value) == text
    assert representation in (None, repr(value))
    twins = [pickle.loads(pickle.dumps(value, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*twins, copy.copy(value), copy.deepcopy(value), eval(repr(value))):
        assert twin == value
        assert exactly(twin) == exactly(value)
        assert hash(twin) == hash(value)
    for name in ("lower", "other"):
        with pytest.raises(AttributeError):
            setattr(value, name, 5)
        with pytest.raises(AttributeError):
            delattr(value, name)
