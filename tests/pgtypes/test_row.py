"""Rows as composite values have them; those of results are in tests/protocol."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.pgtypes.row import Row, row_class


def test_rows_with_the_same_names_have_one_class() -> None:
    assert row_class(("a", "b")) is row_class(("a", "b"))
    assert row_class(("a",)) is not row_class(("b",))
    assert issubclass(row_class(()), Row)


def test_a_row_is_a_tuple_with_names() -> None:
    row: Any = row_class(("id", "count", "not a name"))((1, 2, 3))
    assert row == (1, 2, 3)
    assert hash(row) == hash((1, 2, 3))
    assert (row.id, row.count, row["not a name"], row[-1], row[:2]) == (1, 2, 3, 3, (1, 2))
    assert row._asdict() == {"id": 1, "count": 2, "not a name": 3}
    assert repr(row) == "Row(id=1, count=2, not a name=3)"


def test_the_last_of_repeated_names_wins() -> None:
    row = row_class(("a", "a"))((1, 2))
    assert row.a == row["a"] == 2
    assert row[0] == 1


@pytest.mark.parametrize(
    "name",
    ["__class__", "__init__", "__slots__", "_asdict", "_names", "__getitem__", "", "1", "\0"],
)
def test_names_that_are_kept_are_reachable_as_keys(name: str) -> None:
    row = row_class((name, "b"))((1, 2))
    assert row[name] == 1
    assert row.b == 2
    assert row._asdict() == {name: 1, "b": 2}
    assert isinstance(row, Row)


def test_a_name_that_is_not_there() -> None:
    row = row_class(("a", "b"))((1, 2))
    with pytest.raises(AttributeError, match=r"^no column 'c'; there are: a, b$") as caught:
        _ = row.c
    assert (caught.value.name, caught.value.obj) == ("c", row)
    with pytest.raises(KeyError, match="no column 'c'; there are: a, b"):
        _ = row["c"]
    with pytest.raises(AttributeError, match="there are: none"):
        _ = row_class(())(()).c


@given(st.lists(st.sampled_from(["a", "b", "0", "1", "-1", "not a name", "count", ""]), max_size=6))
def test_columns_by_index_by_slice_and_by_name(names: list[str]) -> None:
    values = tuple(range(10, 10 + len(names)))
    row: Any = row_class(tuple(names))(values)
    for key in (*range(-len(names), len(names)), slice(1, None), slice(None, None, -1), True > 2):
        if names or isinstance(key, slice):
            assert row[key] == values[key]
    for name in names:
        assert row[name] == dict(zip(names, values, strict=True))[name]
        assert not name.isidentifier() or getattr(row, name) == row[name]


@pytest.mark.parametrize("key", [2, -3, 2**70, "c", None, (0,), b"a", [0]])
def test_what_is_no_column(key: Any) -> None:
    """The tuple's own errors but for names, and nothing that was tried before them."""
    row = row_class(("a", "b"))((1, 2))
    with pytest.raises((IndexError, TypeError, KeyError)) as caught:
        _ = row[key]
    if isinstance(key, str):
        assert caught.type is KeyError
    else:
        with pytest.raises(caught.type) as own:
            _ = (1, 2)[key]
        assert str(caught.value) == str(own.value)
        assert caught.value.__context__ is None


def test_rows_can_be_copied_and_pickled() -> None:
    row = row_class(("a", "b"))((1, [2]))
    for other in (pickle.loads(pickle.dumps(row)), copy.copy(row), copy.deepcopy(row)):
        assert other == row
        assert type(other) is type(row)
