"""Rows as whatever the caller wants them to be (`row=`)."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import functools
import gc
import types
import weakref
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NotRequired, TypedDict, TypeVar

import attrs
import pydantic
import pytest
from hypothesis import given, strategies as st

from pgwire.errors import InterfaceError
from pgwire.pgtypes.row import Row
from pgwire.protocol import mapping as module
from pgwire.protocol.mapping import check_callable, check_row, mapping

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def mapped(make: Any, *rows: tuple[Any, ...], names: str = "id name") -> list[Any]:
    return mapping(make, tuple(names.split()))(rows)


def refused(make: Any, names: str) -> str:
    """The message of the error; the same before any row is made, and for each who asks."""
    with pytest.raises(InterfaceError) as first:
        check_row(make, tuple(names.split()))
    with pytest.raises(InterfaceError) as again:
        mapping(make, tuple(names.split()))
    assert str(first.value) == str(again.value)
    return str(first.value)


# What the library knows by name.


def test_dict_tuple_and_row() -> None:
    assert mapped(dict, (1, "a"), (2, "b")) == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
    assert mapped(dict, (1, 2), names="a a") == [{"a": 2}]
    rows = mapped(tuple, (1, "a"))
    assert (rows, type(rows[0])) == ([(1, "a")], tuple)
    (row,) = mapped(Row, (1, "a"))
    assert (row.id, row["name"], isinstance(row, Row)) == (1, "a", True)


def test_a_class_with_parameters_is_what_it_is_of() -> None:
    assert mapped(dict[str, Any], (1, "a")) == [{"id": 1, "name": "a"}]
    assert mapped(tuple[int, str], (1, "a")) == [(1, "a")]

    @dataclasses.dataclass
    class Page(Generic[T]):
        id: T

    assert mapped(Page[int], (1,), names="id") == [Page(1)]
    assert "rows cannot become Page: " in refused(Page[int], "idd")


# Other callables.


def as_text(row: Row) -> str:
    return f"{row.id} {row.name}"


@pytest.mark.parametrize(
    "make",
    [as_text, lambda row: as_text(row), functools.partial(as_text), "{0.id} {0.name}".format],
)
def test_any_other_callable_gets_the_row(make: Callable[..., Any]) -> None:
    assert mapped(make, (1, "a"), (2, "b")) == ["1 a", "2 b"]


def test_an_unhashable_callable() -> None:
    class Maker:
        __hash__ = None  # type: ignore[assignment]

        def __call__(self, row: Row) -> Any:
            return row.id

    assert mapped(Maker(), (1, "a")) == [1]


def test_an_unhashable_class() -> None:
    class Meta(type):
        __hash__ = None  # type: ignore[assignment]

    class Thing(metaclass=Meta):
        def __init__(self, id: int) -> None:
            self.id = id

    assert [thing.id for thing in mapped(Thing, (1,), names="id")] == [1]


@pytest.mark.parametrize(
    ("make", "shown"),
    [
        (3, "int"),
        ("dict", "str 'dict'"),
        ({"id": int}, "dict"),
        (int | str, type(int | str).__name__),
    ],
)
def test_what_cannot_be_called(make: Any, shown: str) -> None:
    expected = f"row must be a class, or a function that takes a Row, not {shown}"
    with pytest.raises(InterfaceError) as caught:
        check_callable(make)
    assert str(caught.value) == expected
    assert refused(make, "id") == expected


def test_what_can_be_called() -> None:
    for make in (dict, User, as_text):
        check_callable(make)


# Classes by their signatures.


@dataclasses.dataclass
class Base:
    id: int


@dataclasses.dataclass
class User(Base):
    name: str
    age: int = 0
    tags: list[str] = dataclasses.field(default_factory=list)
    email: str = dataclasses.field(default="", kw_only=True)
    initial: dataclasses.InitVar[str] = ""
    label: str = dataclasses.field(init=False, default="")

    def __post_init__(self, initial: str) -> None:
        self.label = initial + self.name


class Pair(NamedTuple):
    id: int
    name: str = "?"


@attrs.define
class Account:
    id: int
    _secret: str
    name: str = attrs.field(default="x", alias="called")
    made: list[int] = attrs.field(factory=list, kw_only=True)
    count: int = attrs.field(init=False, default=7)


class Plain:
    def __init__(self, id: int, *rest: Any, name: str) -> None:
        self.values = (id, rest, name)


class Open:
    def __init__(self, id: int, **more: Any) -> None:
        self.values = (id, more)


def test_a_dataclass() -> None:
    made = mapped(User, ("x@y", "a", 1, "q"), names="email name id initial")
    assert made == [User(1, "a", email="x@y", initial="q")]
    assert made[0].label == "qa"
    assert mapped(User, names="id name") == []


def test_a_named_tuple() -> None:
    assert mapped(Pair, ("a", 1), names="name id") == [Pair(1, "a")]
    assert mapped(Pair, (1,), names="id") == [Pair(1, "?")]


def test_attrs() -> None:
    made = mapped(Account, (1, "s", "n", [5]), names="id secret called made")
    assert made == [Account(1, "s", called="n", made=[5])]
    assert refused(Account, "id _secret count") == (
        "rows cannot become Account: it has no field for columns '_secret', 'count'; "
        "field 'secret' has no column "
        "(columns: id, _secret, count; fields: id, secret, called, made)"
    )


def test_other_classes() -> None:
    assert mapped(Plain, (1, "a"))[0].values == (1, (), "a")
    assert mapped(Open, (1, "a"))[0].values == (1, {"name": "a"})
    assert mapped(decimal.Decimal, ("1.5",), names="value") == [decimal.Decimal("1.5")]


def test_classes_that_tell_nothing() -> None:
    assert mapped(types.SimpleNamespace, (1, "a")) == [types.SimpleNamespace(id=1, name="a")]
    ordered = mapped(collections.OrderedDict, (1, "a"))
    assert ordered == [collections.OrderedDict(id=1, name="a")]
    assert mapped(datetime.date, (2026, 1, 2), names="year month day") == [
        datetime.date(2026, 1, 2)
    ]


def test_no_columns() -> None:
    class Nothing:
        pass

    made = mapped(Nothing, (), (), names="")
    assert [type(one) for one in made] == [Nothing, Nothing]
    assert refused(Nothing, "id") == (
        "rows cannot become Nothing: it has no field for column 'id' (columns: id; fields: none)"
    )
    assert refused(Pair, "") == (
        "rows cannot become Pair: field 'id' has no column (columns: none; fields: id, name)"
    )


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (
            "id nmae",
            "it has no field for column 'nmae' (did you mean 'name'?); field 'name' has no column "
            "(columns: id, nmae; fields: id, name, age, tags, initial, email)",
        ),
        (
            "id name label",
            "it has no field for column 'label' "
            "(columns: id, name, label; fields: id, name, age, tags, initial, email)",
        ),
        (
            "age",
            "fields 'id', 'name' have no column "
            "(columns: age; fields: id, name, age, tags, initial, email)",
        ),
        (
            "id name ?column?",
            "it has no field for column '?column?', which AS gives a name "
            "(columns: id, name, ?column?; fields: id, name, age, tags, initial, email)",
        ),
        (
            "id name id",
            "a column name is repeated (id, name, id); give each its own name with AS",
        ),
    ],
)
def test_columns_that_do_not_fit(names: str, message: str) -> None:
    assert refused(User, names) == f"rows cannot become User: {message}"


def test_capital_letters_that_sql_has_folded() -> None:
    @dataclasses.dataclass
    class Camel:
        userId: int

    assert "column 'userid' (did you mean 'userId'?); field 'userId'" in refused(Camel, "userid")


def test_an_error_does_not_name_a_thousand_columns() -> None:
    message = refused(Pair, " ".join(f"c{number}" for number in range(1000)))
    assert message.count("… 970 more") == 2
    assert "… 1 more" not in refused(Pair, " ".join(f"c{number}" for number in range(30)))


class ByPosition:
    def __init__(self, x: int, /, y: int) -> None:
        raise AssertionError


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (int, "it takes no keywords; use a function: row=lambda row: int(row[0])"),
        (str, "it takes no keywords; use a function: row=lambda row: str(row[0])"),
        (list, "it takes no keywords; use a function: row=lambda row: list(row)"),
        (set, "it takes no keywords; use a function: row=lambda row: set(row)"),
        (
            ByPosition,
            "it takes 'x' by position only; use a function: row=lambda row: ByPosition(*row)",
        ),
    ],
)
def test_classes_that_take_no_keywords(make: type[Any], reason: str) -> None:
    assert refused(make, "x y") == f"rows cannot become {make.__name__}: {reason}"


def test_what_may_be_given_by_position_only_is_no_field() -> None:
    class Thing:
        def __init__(self, x: int = 0, /, y: int = 0) -> None:
            self.y = y

    assert mapped(Thing, (5,), names="y")[0].y == 5
    assert "no field for column 'x'" in refused(Thing, "x")


# Typed dicts.


class Movie(TypedDict):
    id: int
    name: NotRequired[str]


Real = TypedDict("Real", {"id": int, "name": NotRequired[str]})  # noqa: UP013 (not as a string)
Odd = TypedDict("Odd", {"full name": str, "class": int})


@pytest.mark.parametrize("make", [Movie, Real])
def test_a_typed_dict(make: Any) -> None:
    assert mapped(make, (1, "a")) == [{"id": 1, "name": "a"}]
    assert mapped(make, (1,), names="id") == [{"id": 1}]


def test_typed_dicts_that_do_not_fit() -> None:
    assert mapping(Odd, ("class", "full name"))([(1, "a")]) == [{"class": 1, "full name": "a"}]
    assert refused(Movie, "name year") == (
        "rows cannot become Movie: it has no field for column 'year'; "
        "field 'id' has no column (columns: name, year; fields: id, name)"
    )


# pydantic.


class Model(pydantic.BaseModel):
    id: int
    name: str = pydantic.Field("?", alias="called")
    deep: int = pydantic.Field(
        0,
        validation_alias=pydantic.AliasChoices("depth", pydantic.AliasPath("where", 1)),
    )


def test_a_model() -> None:
    (made,) = mapped(Model, ("1", "a", 3), names="id called depth")
    assert (made.id, made.name, made.deep) == (1, "a", 3)
    assert mapped(Model, (1, [4, 5]), names="id where")[0].deep == 5
    assert refused(Model, "name other") == (
        "rows cannot become Model: it has no field for columns 'name', 'other'; "
        "field 'id' has no column (columns: name, other; fields: id, called, depth)"
    )


def test_a_model_by_name() -> None:
    class ByName(Model):
        model_config = pydantic.ConfigDict(populate_by_name=True)

    assert mapped(ByName, (1, "a"))[0].name == "a"
    assert mapped(ByName, (1, "a"), names="id called")[0].name == "a"

    class Strictly(Model):
        model_config = pydantic.ConfigDict(validate_by_alias=False, validate_by_name=True)

    assert mapped(Strictly, (1, "a"))[0].name == "a"
    assert "no field for column 'called'" in refused(Strictly, "id called")


@pytest.mark.parametrize("extra", ["allow", "ignore"])
def test_a_model_that_says_so_takes_more(extra: Any) -> None:
    class Loose(pydantic.BaseModel):
        model_config = pydantic.ConfigDict(extra=extra)
        id: int

    (made,) = mapped(Loose, (1, "a"))
    assert made == Loose(id=1, name="a")  # type: ignore[call-arg]
    assert "field 'id' has no column" in refused(Loose, "name")


def test_a_model_that_looks_for_itself() -> None:
    class Before(pydantic.BaseModel):
        full: str

        @pydantic.model_validator(mode="before")
        @classmethod
        def join(cls, data: dict[str, str]) -> dict[str, str]:
            return {"full": data["first"] + data["last"]}

    assert mapped(Before, ("a", "b"), names="first last")[0].full == "ab"

    class After(pydantic.BaseModel):
        id: int

        @pydantic.model_validator(mode="after")
        def same(self) -> After:
            return self

    assert "no field for column 'x'" in refused(After, "id x")

    class Own(pydantic.BaseModel):
        id: int

        def __init__(self, number: int) -> None:
            super().__init__(id=number)

    assert mapped(Own, (1,), names="number")[0].id == 1


def test_a_dataclass_of_pydantic() -> None:
    @pydantic.dataclasses.dataclass
    class Data:
        id: int
        name: str = pydantic.Field(alias="called")
        seen: int = pydantic.Field(default=3, init=False)

    (made,) = mapped(Data, ("1", "a"), names="id called")
    assert (made.id, made.name, made.seen) == (1, "a", 3)
    assert "columns 'name', 'seen'; field 'called'" in refused(Data, "id name seen")

    @pydantic.dataclasses.dataclass(config=pydantic.ConfigDict(extra="ignore"))
    class Loose:
        id: int

    assert mapped(Loose, (1, "a")) == [Loose(1)]


def test_a_model_of_an_older_pydantic() -> None:
    field = types.SimpleNamespace(validation_alias=None, is_required=lambda: True)

    class Old:
        __pydantic_decorators__ = types.SimpleNamespace(model_validators={})
        model_fields = {"id": field}

        def __init__(self, **values: Any) -> None:
            self.values = values

    assert mapped(Old, (1,), names="id")[0].values == {"id": 1}
    assert "field 'id' has no column" in refused(Old, "")


# What the class says itself.


def test_what_the_class_raises_says_which_row() -> None:
    with pytest.raises(pydantic.ValidationError) as model:
        mapped(Model, (1,), (2,), ("x",), (3,), names="id")
    assert model.value.__notes__ == ["in row 3 of 4"]
    with pytest.raises(ZeroDivisionError) as function:
        mapped(lambda row: 1 / row.id, (0, "a"))
    assert function.value.__notes__ == ["in row 1 of 1"]

    class Refusing:
        def __init__(self, **values: Any) -> None:
            raise TypeError

    with pytest.raises(TypeError) as own:
        mapped(Refusing, (1, "a"))
    assert own.value.__notes__ == ["in row 1 of 1"]


def test_an_exception_that_takes_no_notes() -> None:
    class Silent(Exception):
        def add_note(self, note: str, /) -> None:
            raise RuntimeError

    def make(row: Row) -> None:
        raise Silent

    with pytest.raises(Silent):
        mapped(make, (1, "a"))


# How it is done.


def test_it_is_found_out_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def counting(kind: Any) -> Any:
        asked.append(kind)
        return shape(kind)

    shape = module._shape
    monkeypatch.setattr(module, "_shape", counting)

    @dataclasses.dataclass
    class Local:
        id: int

    for _ in range(3):
        assert mapped(Local, (1,), names="id") == [Local(1)]
        check_row(Local, ("id",))
    assert asked == [Local]


def test_classes_and_functions_are_not_kept_for_ever() -> None:
    def make(number: int) -> tuple[Any, Any]:
        local = dataclasses.make_dataclass(f"Local{number}", ["id"])

        def function(row: Row) -> Any:
            return row.id

        mapped(local, (1,), names="id")
        mapped(function, (1,), names="id")
        return weakref.ref(local), weakref.ref(function)

    made = [make(number) for number in range(2 * module._REMEMBERED)]
    gc.collect()
    assert sum(ref() is not None for ref, _ in made) <= module._REMEMBERED
    assert not any(ref() for _, ref in made)


NAMES = ["id", "a b", "class", "__debug__", "ﬁ", "é", "x", "None", "_", "v0", "make", "rows"]


@given(st.lists(st.sampled_from(NAMES), unique=True), st.integers(0, 3))
def test_generated_calls_are_what_plain_ones_are(chosen: list[str], count: int) -> None:
    names = tuple(chosen)
    rows = [tuple((number, name) for name in names) for number in range(count)]
    kind: Any = TypedDict("kind", dict.fromkeys(names, object))  # type: ignore[misc]
    plainly = module._call_plainly(names)(kind, iter(rows))
    assert mapping(kind, names)(rows) == plainly
    assert plainly == [dict(zip(names, row, strict=True)) for row in rows]


@pytest.mark.parametrize("name", ["id", "v0", "make", "_x1"])
def test_calls_are_written_out_where_that_is_possible(name: str) -> None:
    assert module._is_plain(name)


@pytest.mark.parametrize("name", ["a b", "class", "__debug__", "ﬁ", "", "1", "?column?"])
def test_what_cannot_be_written_out(name: str) -> None:
    assert not module._is_plain(name)
