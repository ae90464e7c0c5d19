"""Geometric types: named tuples, in both formats the same, and strictly read."""

from __future__ import annotations

import copy
import pickle
import struct
from decimal import Decimal
from math import inf, nan
from typing import Any, NamedTuple

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.geometry import (
    CODECS as GEOMETRY,
    Box,
    Circle,
    Line,
    LineSegment,
    Path,
    Point,
    Polygon,
)
from tests.pgtypes.helpers import decode, encode, exactly, reason, refused, round_trip

CODECS = {codec.name: codec for codec in GEOMETRY}
CLASSES: dict[str, Any] = {
    "point": Point,
    "line": Line,
    "lseg": LineSegment,
    "box": Box,
    "path": Path,
    "polygon": Polygon,
    "circle": Circle,
}

# From PostgreSQL 18.
VECTORS: list[tuple[str, str, str, Any]] = [
    ("point", "3ff8000000000000c000000000000000", "(1.5,-2)", Point(1.5, -2.0)),
    ("point", "7ff80000000000007ff0000000000000", "(NaN,Infinity)", Point(nan, inf)),
    ("point", "fff00000000000008000000000000000", "(-Infinity,-0)", Point(-inf, -0.0)),
    (
        "point",
        "01a56e1fc2f8f3597fefffffffffffff",
        "(1e-300,1.7976931348623157e+308)",
        Point(1e-300, 1.7976931348623157e308),
    ),
    ("point", "00000000000000013fb999999999999a", "(5e-324,0.1)", Point(5e-324, 0.1)),
    (
        "point",
        "430c6bf526340000437b69b4ba630f35",
        "(1e+15,1.2345678901234568e+17)",
        Point(1e15, 1.2345678901234568e17),
    ),
    (
        "line",
        "7ff80000000000007ff00000000000008000000000000000",
        "{NaN,Infinity,-0}",
        Line(nan, inf, -0.0),
    ),
    (
        "line",
        "0000000000000000bff00000000000003fe0000000000000",
        "{0,-1,0.5}",
        Line(0.0, -1.0, 0.5),
    ),
    (
        "lseg",
        "3ff00000000000003ff000000000000000000000000000007ff8000000000000",
        "[(1,1),(0,NaN)]",
        LineSegment((1.0, 1.0), (0.0, nan)),
    ),
    (
        "box",
        "400800000000000040100000000000003ff00000000000004000000000000000",
        "(3,4),(1,2)",
        Box((3.0, 4.0), (1.0, 2.0)),
    ),
    (
        "path",
        "0000000002000000000000000000000000000000003ff00000000000003ff0000000000000",
        "[(0,0),(1,1)]",
        Path([(0.0, 0.0), (1.0, 1.0)], closed=False),
    ),
    (
        "path",
        "0100000003000000000000000000000000000000003ff00000000000003ff00000000000004000000000000000"
        "3fe0000000000000",
        "((0,0),(1,1),(2,0.5))",
        Path([(0.0, 0.0), (1.0, 1.0), (2.0, 0.5)], closed=True),
    ),
    (
        "path",
        "01000000013ff00000000000004000000000000000",
        "((1,2))",
        Path([(1.0, 2.0)], closed=True),
    ),
    (
        "path",
        "00000000017ff8000000000000fff0000000000000",
        "[(NaN,-Infinity)]",
        Path([(nan, -inf)], closed=False),
    ),
    (
        "polygon",
        "0000000300000000000000000000000000000000401000000000000000000000000000000000000000000000"
        "4008000000000000",
        "((0,0),(4,0),(0,3))",
        Polygon([(0.0, 0.0), (4.0, 0.0), (0.0, 3.0)]),
    ),
    ("polygon", "000000013ff00000000000004000000000000000", "((1,2))", Polygon([(1.0, 2.0)])),
    (
        "circle",
        "3ff000000000000040000000000000004008000000000000",
        "<(1,2),3>",
        Circle((1.0, 2.0), 3.0),
    ),
    (
        "circle",
        "7ff80000000000007ff00000000000007ff8000000000000",
        "<(NaN,Infinity),NaN>",
        Circle((nan, inf), nan),
    ),
    (  # what circle(point(0, 0), -1) gives, though no circle can be sent like that
        "circle",
        "00000000000000000000000000000000bff0000000000000",
        "<(0,0),-1>",
        Circle((0.0, 0.0), -1.0),
    ),
]

floats = st.floats()
pairs = st.tuples(floats, floats)
outlines = st.lists(pairs, min_size=1, max_size=5)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "point": st.builds(Point, floats, floats),
    "line": st.builds(Line, floats, floats, floats),
    "lseg": st.builds(LineSegment, pairs, pairs),
    "box": st.builds(Box, pairs, pairs),
    "path": st.builds(Path, outlines, st.booleans()),
    "polygon": st.builds(Polygon, outlines),
    "circle": st.builds(Circle, pairs, floats),
}
every_type = pytest.mark.parametrize("name", CODECS)


def test_all_types_are_there() -> None:
    assert set(CODECS) == set(VALUES) == set(CLASSES) == {name for name, *_ in VECTORS}
    assert {name for name, codec in CODECS.items() if not codec.takes_tuple} == {"path"}
    assert {name: c.delimiter for name, c in CODECS.items() if c.delimiter != ","} == {"box": ";"}


@pytest.mark.parametrize(("name", "data", "text", "value"), VECTORS)
def test_what_a_server_sent(name: str, data: str, text: str, value: Any) -> None:
    codec = CODECS[name]
    assert exactly(decode(codec, bytes.fromhex(data))) == exactly(value)
    assert exactly(codec.decode_text(text)) == exactly(value)
    assert encode(codec, value).hex() == data


@every_type
@given(data=st.data())
def test_both_formats_round_trip(name: str, data: st.DataObject) -> None:
    codec = CODECS[name]
    value = data.draw(VALUES[name])
    assert exactly(round_trip(codec, value)) == exactly(value)
    assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


@pytest.mark.parametrize(
    ("name", "value", "literal"),
    [
        ("point", (1, nan), "(1.0,NaN)"),
        ("line", (1, inf, -inf), "{1.0,Infinity,-Infinity}"),
        ("lseg", ((0, 0), (1, 1e300)), "[(0.0,0.0),(1.0,1e+300)]"),
        ("box", ((1, 2), (3, 4)), "(1.0,2.0),(3.0,4.0)"),
        ("path", Path([(0, 0), (1, -0.0)], closed=True), "((0.0,0.0),(1.0,-0.0))"),
        ("path", Path([(0, 0)], closed=False), "[(0.0,0.0)]"),
        ("polygon", [(0, 0), (1, 1)], "((0.0,0.0),(1.0,1.0))"),
        ("circle", ((0, 0), 5), "<(0.0,0.0),5.0>"),
    ],
)
def test_literals(name: str, value: Any, literal: str) -> None:
    codec = CODECS[name]
    assert codec.literal(value) == literal
    assert exactly(round_trip(codec, value)) == exactly(codec.decode_text(literal))


class Real:
    def __float__(self) -> float:
        return 0.25


class Whole:
    def __index__(self) -> int:
        return 3


class FloatLike(float):
    def __repr__(self) -> str:
        return "no number"


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("point", (Decimal("1.5"), 2), Point(1.5, 2)),
        ("point", (Real(), Whole()), Point(0.25, 3)),
        ("point", Point(FloatLike(1.5), FloatLike(-2)), Point(1.5, -2)),
        ("line", (1, 2, 3), Line(1, 2, 3)),
        ("lseg", (Point(0, 1), (2, 3)), LineSegment((0, 1), (2, 3))),
        ("box", ((1, 2), (3, 4)), Box((1, 2), (3, 4))),
        ("circle", ((1, 2), 3), Circle((1, 2), 3)),
        ("polygon", ((0, 0), Point(1, 1)), Polygon([(0, 0), (1, 1)])),
        ("polygon", [(0, 0)], Polygon([(0, 0)])),
        ("path", Path._make(([(0, 1)], True)), Path([(0, 1)], closed=True)),
    ],
)
def test_tuples_and_other_numbers_are_taken(name: str, value: Any, expected: Any) -> None:
    codec = CODECS[name]
    for found in (round_trip(codec, value), codec.decode_text(codec.literal(value))):
        assert found == expected
        assert type(found) is type(expected)


class Other(NamedTuple):
    x: float
    y: float


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("point", 5, "expected pgwire.Point, or a tuple (x, y), got int 5"),
        ("point", (1, 2, 3), "expected pgwire.Point, or a tuple (x, y), got tuple"),
        ("point", [1, 2], "expected pgwire.Point, or a tuple (x, y), got list"),
        ("point", Other(1, 2), "expected pgwire.Point, or a tuple (x, y), got Other"),
        ("point", (1, True), "expected float, got bool"),
        ("point", ("1", 2), "expected float, got str"),
        ("point", (None, 2), "expected float, got NoneType"),
        ("point", (10**400, 2), "expected float within float8's range, got int of 1329 bits"),
        ("line", (1, 2), "expected pgwire.Line, or a tuple (a, b, c), got tuple"),
        (
            "lseg",
            Box((1, 1), (0, 0)),
            "expected pgwire.LineSegment, or a tuple ((x, y), (x, y)), got Box",
        ),
        ("lseg", ((0, 0), 1), "expected pgwire.Point, or a tuple (x, y), got int 1"),
        (
            "box",
            LineSegment((1, 1), (0, 0)),
            "expected pgwire.Box, or a tuple ((x, y), (x, y)), got LineSegment",
        ),
        ("circle", (1, 2, 3), "expected pgwire.Circle, or a tuple ((x, y), radius), got tuple"),
        ("circle", ((1, 2), "3"), "expected float, got str"),
        ("path", [(0, 0)], "expected pgwire.Path, got list; pass pgwire.Path(points, closed=…)"),
        ("path", Polygon([(0, 0)]), "got Polygon; pass pgwire.Path(points, closed=…)"),
        ("path", 5, "expected pgwire.Path, got int 5"),
        ("path", Path([], closed=True), "expected at least one point, got none"),
        ("path", Path._make(([(0, "0")], True)), "point 0: expected float, got str"),
        ("path", Path([(0, 0)], "no"), "expected bool for whether the path is closed, got str"),  # type: ignore[arg-type]
        ("path", Path._make((5, True)), "expected pgwire.Polygon, or a list or tuple of points"),
        ("polygon", [], "expected at least one point, got none"),
        ("polygon", (1, 2), "point 0: expected pgwire.Point, or a tuple (x, y), got int 1"),
        ("polygon", [(0, 0), (1, None)], "point 1: expected float, got NoneType"),
        (
            "polygon",
            Path([(0, 0)], closed=True),
            "expected pgwire.Polygon, or a list or tuple of points, got Path",
        ),
        ("polygon", iter([(0, 0)]), "got list_iterator"),
    ],
)
def test_misfits_are_refused(name: str, value: Any, expected: str) -> None:
    codec = CODECS[name]
    assert expected in refused(codec, value)
    assert reason(codec.literal, value) == refused(codec, value)


POINT = struct.pack(">dd", 1, 2)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        *[(name, b"") for name in CODECS],
        *[(name, bytes(15)) for name in CODECS],
        ("point", bytes(17)),
        ("line", bytes(23)),
        ("lseg", bytes(16)),
        ("box", bytes(33)),
        ("circle", bytes(32)),
        ("path", b"\1\0\0\0"),
        ("path", b"\1\0\0\0\0"),
        ("path", b"\2\0\0\0\1" + POINT),
        ("path", b"\1\0\0\0\2" + POINT),
        ("path", b"\1\0\0\0\1" + POINT + b"x"),
        ("path", b"\1\x7f\xff\xff\xff" + POINT),
        ("path", b"\1\xff\xff\xff\xff" + POINT),
        ("polygon", b"\0\0\0"),
        ("polygon", b"\0\0\0\0"),
        ("polygon", b"\0\0\0\2" + POINT),
        ("polygon", b"\0\0\0\1" + POINT[:-1]),
        ("polygon", b"\x7f\xff\xff\xff" + POINT),
        ("polygon", b"\xff\xff\xff\xff"),
    ],
)
def test_malformed_bytes_are_refused(name: str, data: bytes) -> None:
    assert f"not a valid {name}" in reason(decode, CODECS[name], data)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *[(name, text) for name in CODECS for text in ("", "(", "1", "()", "[]", "(1,2")],
        *[("point", text) for text in ("1,2", "(1, 2)", " (1,2)", "(1,2)x", "(1,2,3)", "[1,2]")],
        *[("point", text) for text in ("(1,)", "(,2)", "(x,2)", "(1,nan)", "(1,inf)", "(1_0,2)")],
        *[("point", text) for text in ("(+1,2)", "(\u0661,2)", "((1),2)", "(1,2)\n")],
        *[("line", text) for text in ("{1,2}", "(1,2,3)", "{1,2,3,4}", "{1,2,}")],
        *[("lseg", text) for text in ("(1,2),(3,4)", "((1,2),(3,4))", "[(1,2)]", "[(1,2),(3,x)]")],
        *[("box", text) for text in ("((1,2),(3,4))", "(1,2);(3,4)", "(1,2),(3,4),(5,6)")],
        *[("circle", text) for text in ("((1,2),3)", "<1,2,3>", "<(1,2)>", "<(1,2),3>>")],
        *[("path", text) for text in ("(1,2)", "[1,2]", "[(1,2))", "((1,2)]", "[(1,2),]")],
        *[("path", text) for text in ("[(1,2)(3,4)]", "[(1,2),(3)]", "[(1,x)]", "[[1,2]]")],
        *[("polygon", text) for text in ("[(1,2)]", "((1,2)", "((1,2),)", "((1,2),(3,y))")],
        ("polygon", "(" * 100_000 + ")"),
        ("polygon", "(" + "(1,2)," * 100_000 + ")"),
    ],
    ids=lambda text: text[:20],
)
def test_malformed_texts_are_refused(name: str, text: str) -> None:
    assert f"not a valid {name}" in reason(CODECS[name].decode_text, text)


@every_type
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_value_or_refused(name: str, data: bytes) -> None:
    codec = CODECS[name]
    try:
        value = decode(codec, data)
    except DataError:
        return
    assert type(value) is CLASSES[name]
    assert exactly(round_trip(codec, value)) == exactly(value)


@every_type
@given(text=st.text("()[]{}<>,;.-+eE019InfityNa ", max_size=30) | st.text())
def test_any_text_is_a_value_or_refused(name: str, text: str) -> None:
    codec = CODECS[name]
    try:
        value = codec.decode_text(text)
    except DataError:
        return
    assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)


ARRAYS = {name: array_codec(codec) for name, codec in CODECS.items()}
SOME_VALUES = {name: st.lists(values | st.none(), max_size=3) for name, values in VALUES.items()}


@every_type
@given(data=st.data())
def test_values_stand_in_arrays(name: str, data: st.DataObject) -> None:
    codec, value = ARRAYS[name], data.draw(SOME_VALUES[name])
    # Lists of nothing but NULLs could be dimensions or polygons.
    nested = [value, value] if any(item is not None for item in value) else []
    for items in (value, nested):
        assert exactly(round_trip(codec, items)) == exactly(items)
        assert exactly(codec.decode_text(codec.literal(items))) == exactly(items)


def test_plain_tuples_stand_in_arrays() -> None:
    assert round_trip(ARRAYS["point"], [(1, 2), (3, 4)]) == [Point(1, 2), Point(3, 4)]
    assert round_trip(ARRAYS["lseg"], [((1, 2), (3, 4))]) == [LineSegment((1, 2), (3, 4))]
    outline = [(0, 0), (1, 1)]
    for item in (outline, tuple(outline)):
        found = round_trip(ARRAYS["polygon"], [item, item])
        assert exactly(found) == exactly([Polygon([(0.0, 0.0), (1.0, 1.0)])] * 2)


def test_the_boxes_of_an_array_stand_between_semicolons() -> None:
    codec = ARRAYS["box"]
    boxes = [Box((3, 4), (1, 2)), Box((1, 1), (0, 0))]
    assert codec.decode_text("{(3,4),(1,2);(1,1),(0,0)}") == boxes
    assert codec.literal(boxes) == '{"(3.0,4.0),(1.0,2.0)";"(1.0,1.0),(0.0,0.0)"}'


@pytest.mark.parametrize(
    "value",
    [
        Point(1.5, 2.5),
        Line(1, 2, 3),
        LineSegment((0, 0), (1, 1)),
        Box((3, 4), (1, 2)),
        Path([(0, 0), (1, 1)], closed=True),
        Polygon([(0, 0), (4, 0)]),
        Polygon(),
        Circle((0, 0), 1.5),
    ],
)
def test_values_are_plain_data(value: Any) -> None:
    twins = [pickle.loads(pickle.dumps(value, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*twins, copy.copy(value), copy.deepcopy(value), eval(repr(value))):
        assert exactly(twin) == exactly(value)
        assert twin == value
        assert hash(twin) == hash(value)
    with pytest.raises(AttributeError):
        value.other = 5


def test_points_are_made_of_pairs() -> None:
    for value in (
        *LineSegment((0, 1), (2, 3)),
        *Box((0, 1), (2, 3)),
        *Path(iter([(0, 1)]), closed=True).points,
        *Polygon(iter([(0, 1)])),
        Circle((0, 1), 2).center,
    ):
        assert type(value) is Point
    assert repr(Polygon([(0, 0), Point(1, 1)])) == "Polygon([(0, 0), (1, 1)])"
    assert (Circle((0, 1), 2).center.y, Box((3, 4), (1, 2)).low.x) == (1, 1)
