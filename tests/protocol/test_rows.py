"""Rows and results."""

from __future__ import annotations

import copy
import gc
import pickle
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import InterfaceError, NoRows, TooManyRows
from pgwire.protocol.messages import Column
from pgwire.protocol.rows import Result, Row, row_class
from tests.support import backend


def row(*values: Any, names: tuple[str, ...]) -> Row:
    return row_class(names)(values)


def result(*rows: tuple[Any, ...], names: tuple[str, ...] = ("a", "b"), tag: str = "") -> Any:
    columns = tuple(Column(name, 23) for name in names)
    made = row_class(names)
    return Result(list(rows), columns, tag or f"SELECT {len(rows)}", made)


# Row.


def test_a_row_is_a_tuple() -> None:
    one = row(1, "x", names=("id", "name"))
    assert isinstance(one, tuple)
    assert one == (1, "x")
    assert hash(one) == hash((1, "x"))
    assert (one[0], one[-1], one[:1], len(one)) == (1, "x", (1,), 2)
    number, name = one
    assert (number, name) == (1, "x")
    assert not row(names=())


def test_a_row_answers_by_name() -> None:
    one = row(1, "x", names=("id", "full name"))
    assert (one.id, one["id"], one["full name"]) == (1, 1, "x")
    assert one._asdict() == {"id": 1, "full name": "x"}
    assert repr(one) == "Row(id=1, full name='x')"
    assert getattr(one, "id") == 1  # noqa: B009


def test_a_column_wins_over_the_tuples_own_method() -> None:
    one: Any = row(7, 8, names=("count", "index"))
    assert (one.count, one.index) == (7, 8)
    assert row(1, names=("a",)).count(1) == 1


def test_of_a_repeated_name_the_last_column_wins() -> None:
    one = row(1, 2, names=("a", "a"))
    assert (one.a, one["a"], one[0], one[1]) == (2, 2, 1, 2)
    assert one._asdict() == {"a": 2}


@pytest.mark.parametrize(
    "name",
    ["__class__", "__reduce__", "__slots__", "_asdict", "_names", "__getitem__", "", "1", "?"],
)
def test_names_that_python_keeps_for_itself_are_reachable_in_brackets(name: str) -> None:
    one = row(5, 6, names=(name, "other"))
    assert one[name] == 5
    assert one.other == 6
    assert one._asdict() == {name: 5, "other": 6}
    assert type(one) is one.__class__
    assert pickle.loads(pickle.dumps(one)) == one


def test_a_name_that_is_not_there() -> None:
    one = row(1, names=("id",))
    with pytest.raises(AttributeError, match="no column 'nam'; there are: id") as attribute:
        _ = one.nam
    assert attribute.value.name == "nam"
    assert attribute.value.obj is one
    with pytest.raises(KeyError, match="no column 'nam'; there are: id"):
        _ = one["nam"]
    with pytest.raises(AttributeError, match="no column 'x'; there are: none"):
        _ = row(names=()).x
    with pytest.raises(IndexError):
        _ = one[1]


def test_a_row_cannot_be_changed() -> None:
    one: Any = row(1, names=("id",))
    with pytest.raises(AttributeError):
        one.id = 2
    with pytest.raises(AttributeError):
        one.other = 2
    with pytest.raises(TypeError):
        one[0] = 2


@given(st.lists(st.text(max_size=5), max_size=4, unique=True), st.sampled_from([0, 2, 4, 5]))
def test_a_row_survives_pickling_and_copying(names: list[str], protocol: int) -> None:
    one = row(*range(len(names)), names=tuple(names))
    for again in (pickle.loads(pickle.dumps(one, protocol)), copy.copy(one), copy.deepcopy(one)):
        assert again == one
        assert type(again) is type(one)
        assert again._asdict() == one._asdict()


def test_rows_with_the_same_names_share_a_class() -> None:
    assert row_class(("a", "b")) is row_class(("a", "b"))
    assert row_class(("a",)) is not row_class(("b",))


# Result.


def test_a_result_is_its_rows() -> None:
    two = result((1, 2), (3, 4))
    assert (len(two), bool(two)) == (2, True)
    assert [r.a for r in two] == [1, 3]
    assert two[1].b == 4
    assert two[-1:] == [(3, 4)]
    assert two.rows == [(1, 2), (3, 4)]
    assert two.rows is two.rows
    assert not result()
    assert repr(two) == "<Result 'SELECT 2', 2 rows>"


def test_one() -> None:
    assert result((1, 2)).one().b == 2
    with pytest.raises(NoRows, match="no row"):
        result().one()
    with pytest.raises(TooManyRows, match="2 rows"):
        result((1, 2), (3, 4)).one()


def test_one_and_first_are_the_rows_that_rows_has() -> None:
    for asked_before in (False, True):
        single = result((1, 2))
        if asked_before:
            _ = single.rows
        assert isinstance(single.one(), Row)
        assert single.one() == single.first() == single.rows[0]


def test_first_scalar_and_scalars() -> None:
    two = result((1, 2), (3, 4))
    assert two.first().b == 2
    assert two.scalar() == 1
    assert two.scalars() == [1, 3]
    nothing = result()
    assert (nothing.first(), nothing.scalar(), nothing.scalars()) == (None, None, [])
    assert result((None, 2)).scalar() is None


def test_rows_without_columns_have_no_first_one() -> None:
    """`select`, or `select from t`: which is not the same as no rows."""
    rows = result((), (), names=())
    assert len(rows) == 2
    for call in (rows.scalar, rows.scalars):
        with pytest.raises(InterfaceError, match="rows without columns"):
            call()
    nothing = result(names=())
    assert (nothing.scalar(), nothing.scalars()) == (None, [])


def test_dicts() -> None:
    assert result((1, 2)).dicts() == [{"a": 1, "b": 2}]
    assert result((1, 2), names=("a", "a")).dicts() == [{"a": 2}]
    assert result(*[()] * 40, names=()).dicts() == [{}] * 40


@given(st.lists(st.sampled_from(["a", "b", "not a name", "n0", "v0", "lambda"]), max_size=120))
def test_many_dicts_are_what_few_are(names: list[str]) -> None:
    rows = [tuple(range(n, n + len(names))) for n in range(40)]
    few = [result(row, names=tuple(names)).dicts()[0] for row in rows]
    many = result(*rows, names=tuple(names))
    assert many.dicts() == many.mapped(dict).rows == few
    assert [[*one] for one in many.dicts()] == [[*one] for one in few]
    assert [row._asdict() for row in many.rows] == few


@pytest.mark.parametrize(
    ("tag", "command", "count"),
    [
        ("SELECT 3", "SELECT", 3),
        ("INSERT 0 12", "INSERT", 12),
        ("CREATE TABLE", "CREATE TABLE", None),
        ("CREATE TABLE AS", "CREATE TABLE AS", None),
        ("SELECT 18446744073709551615", "SELECT", 2**64 - 1),
        ("SELECT " + "9" * 5000, "SELECT", None),
        ("MOVE -1", "MOVE -", None),
        ("", "", None),
    ],
)
def test_command_and_row_count(tag: str, command: str, count: int | None) -> None:
    tagged = result(tag=tag or " ")
    tagged.command_tag = tag
    assert (tagged.command, tagged.row_count) == (command, count)


class Pair(NamedTuple):
    a: int
    b: int


@dataclass
class Thing:
    a: int
    b: int


@pytest.mark.parametrize("make", [Pair, Thing])
def test_rows_as_a_class_of_ones_own(make: type[Any]) -> None:
    mapped = result((1, 2), (3, 4)).mapped(make)
    assert mapped.rows == [make(a=1, b=2), make(a=3, b=4)]
    assert type(mapped.first()) is make
    assert (mapped.command_tag, len(mapped.columns)) == ("SELECT 2", 2)


def test_rows_as_tuples_and_dicts() -> None:
    two = result((1, 2), (3, 4))
    assert two.mapped(tuple).rows == [(1, 2), (3, 4)]
    assert type(two.mapped(tuple).first()) is tuple
    assert two.mapped(dict).rows == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    assert result((1, 2)).mapped(dict).one() == {"a": 1, "b": 2}
    assert two.rows
    assert type(two.mapped(tuple).first()) is tuple


def test_rows_through_any_callable_and_as_rows() -> None:
    two = result((1, 2), (3, 4))
    assert two.mapped(lambda r: r.a + r.b).rows == [3, 7]
    assert two.mapped(Row).rows == [(1, 2), (3, 4)]


def test_a_class_cannot_take_a_repeated_name() -> None:
    with pytest.raises(InterfaceError, match="rows cannot become Pair: a column name is repeated"):
        result((1, 2), names=("a", "a")).mapped(Pair)


def test_a_mapped_result_is_another_one() -> None:
    two = result((1, 2), (3, 4))
    two.mapped(dict)
    assert two.rows == [(1, 2), (3, 4)]


def test_copies_have_lists_of_their_own() -> None:
    two = result((1, 2), (3, 4))
    early, mapped = copy.copy(two), two.mapped(dict)
    two.rows.clear()
    late = copy.copy(two)
    two.rows.append(early[0])
    assert [len(one) for one in (two, early, mapped, late)] == [1, 2, 2, 0]
    assert early.scalars() == mapped.scalars() == [1, 3]


def test_rows_as_rows_keep_their_names() -> None:
    assert result((1, 2)).mapped(Row).one().b == 2


@pytest.mark.parametrize("make", [None, dict, Thing])
def test_a_result_survives_pickling_and_copying(make: type[Any] | None) -> None:
    two = result((1, 2), (3, 4))
    if make is not None:
        two = two.mapped(make)
    for again in (pickle.loads(pickle.dumps(two)), copy.copy(two), copy.deepcopy(two)):
        assert again.rows == two.rows
        assert (again.columns, again.command_tag) == (two.columns, two.command_tag)
        assert type(again[0]) is type(two[0])


@given(st.sampled_from([0, 1, 15, 16, 255, 256, 257, 511, 512, 513, 1024, 1500]))
def test_all_rows_take_the_places_of_their_tuples(count: int) -> None:
    tuples = [(n, str(n)) for n in range(count)]
    many = result(*tuples)
    assert (many.scalars(), len(many), bool(many)) == ([*range(count)], count, count > 0)
    rows = many.rows
    assert rows == tuples
    assert all(type(one) is row_class(("a", "b")) for one in rows)
    assert rows is many.rows
    assert [many[n] is one for n, one in enumerate(rows)] == [True] * count
    assert (many.scalars(), many.dicts()) == ([*range(count)], [one._asdict() for one in rows])
    again = pickle.loads(pickle.dumps(many))
    assert again.rows == tuples
    rows.reverse()
    assert (many.scalars(), again.scalars()) == ([*reversed(range(count))], [*range(count)])


def test_rows_half_of_which_were_made_are_made_again() -> None:
    # As Ctrl-C leaves them.
    made = row_class(("a", "b"))
    half = [made((n, n)) if n < 600 else (n, n) for n in range(1000)]
    many = result(*half)
    assert many.rows == [(n, n) for n in range(1000)]
    assert {type(one) for one in many.rows} == {made}


@pytest.mark.parametrize("enabled", [True, False])
def test_a_great_many_rows_leave_the_collector_as_it_was(enabled: bool) -> None:
    was_enabled = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        result: Result[Row] = Result([(n,) for n in range(20_000)], (backend.column("n"),), "x")
        assert [row.n for row in result.rows] == list(range(20_000))
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if was_enabled else gc.disable)()
