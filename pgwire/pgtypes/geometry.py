"""point, line, lseg, box, path, polygon and circle: tuples of floats, with names.

Knows both formats of these types. Must not know any other type but float8, nor geometry: that
corners have an order and a radius no sign is for the server to say.

A coordinate is a float8 in every respect: NaN, infinities, and what may be passed as one. Plain
tuples are taken where no other type could be meant; a path needs its class, as points alone do
not say whether they end where they began. PostgreSQL has neither paths nor polygons without
points. The manual: "Geometric Types".
"""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

from pgwire.errors import DataError
from pgwire.pgtypes import fixed, oids
from pgwire.pgtypes.codec import Codec, malformed, misfit, wrong_length

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Self


# What may stand in place of a number; whether it is one is for float8 to say.
_NUMBER = r"[^][(){}<>,]++"
_POINT = rf"\({_NUMBER},{_NUMBER}\)"
_are_points = re.compile(f"{_POINT}(?:,{_POINT})*+").fullmatch
_find_numbers = re.compile(_NUMBER).findall

_path_header = struct.Struct(">Bi")  # is closed, number of points
_polygon_header = struct.Struct(">i")


class Point(NamedTuple):
    """PostgreSQL's point: `x` and `y`, two floats."""

    x: float
    y: float


class Line(NamedTuple):
    """PostgreSQL's line, without ends: all points with `a`·x + `b`·y + `c` = 0.

    The server refuses lines whose `a` and `b` are both 0.
    """

    a: float
    b: float
    c: float


class _Ends(NamedTuple):
    start: Point
    end: Point


class LineSegment(_Ends):
    """PostgreSQL's lseg: the line from `start` to `end`, two `Point`s."""

    __slots__ = ()

    def __new__(cls, start: tuple[float, float], end: tuple[float, float]) -> Self:
        return super().__new__(cls, _as_point(start), _as_point(end))


class _Corners(NamedTuple):
    high: Point
    low: Point


class Box(_Corners):
    """PostgreSQL's box: a rectangle between the `Point`s `high` and `low`.

    Results have the upper right corner in `high`. Parameters may have any two opposite corners
    in any order: the server sorts them, which is why a box may not come back as it was sent.
    """

    __slots__ = ()

    def __new__(cls, high: tuple[float, float], low: tuple[float, float]) -> Self:
        return super().__new__(cls, _as_point(high), _as_point(low))


class _Course(NamedTuple):
    points: tuple[Point, ...]
    closed: bool


class Path(_Course):
    """PostgreSQL's path: `points`, a tuple of `Point`s, and whether it is `closed`.

    A closed path leads from its last point back to the first. There is at least one point.
    """

    __slots__ = ()

    def __new__(cls, points: Iterable[tuple[float, float]], closed: bool) -> Self:
        return super().__new__(cls, tuple(map(_as_point, points)), closed)


class Polygon(tuple[Point, ...]):
    """PostgreSQL's polygon: a tuple of `Point`s, as in `Polygon([(0, 0), (4, 0), (0, 3)])`.

    There is at least one. Unlike a closed path a polygon has an area.
    """

    __slots__ = ()

    def __new__(cls, points: Iterable[tuple[float, float]] = ()) -> Self:
        return super().__new__(cls, map(_as_point, points))

    def __repr__(self) -> str:
        return f"Polygon({list(map(tuple, self))!r})"


class _Disk(NamedTuple):
    center: Point
    radius: float


class Circle(_Disk):
    """PostgreSQL's circle: its `center`, a `Point`, and its `radius`."""

    __slots__ = ()

    def __new__(cls, center: tuple[float, float], radius: float) -> Self:
        return super().__new__(cls, _as_point(center), radius)


def _as_point(pair: tuple[float, float]) -> Point:
    return pair if isinstance(pair, Point) else Point(*pair)


# How each is written as a plain tuple.
_SHAPES: dict[type, str] = {
    Point: "(x, y)",
    Line: "(a, b, c)",
    LineSegment: "((x, y), (x, y))",
    Box: "((x, y), (x, y))",
    Circle: "((x, y), radius)",
}


# Values to numbers, and numbers to values


def _number(value: Any) -> float:
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            pass  # float8 has the words for it
    return float(fixed.FLOAT8.literal(value))


def _parts(kind: type[tuple[Any, ...]], count: int, value: Any) -> tuple[Any, ...]:
    """The parts of a value, not looked at yet. A box is no line segment, though it looks like one.

    Any other subclass of tuple has a meaning of its own as well, and is refused.
    """
    if (type(value) is tuple or isinstance(value, kind)) and len(value) == count:
        parts: tuple[Any, ...] = value
        return parts
    raise misfit(f"pgwire.{kind.__name__}, or a tuple {_SHAPES[kind]}", value)


def _point_numbers(value: Any) -> list[float]:
    return [_number(part) for part in _parts(Point, 2, value)]


def _line_numbers(value: Any) -> list[float]:
    return [_number(part) for part in _parts(Line, 3, value)]


def _numbers_of_two(kind: type[LineSegment | Box]) -> Callable[[Any], list[float]]:
    def numbers(value: Any) -> list[float]:
        first, second = _parts(kind, 2, value)
        return _point_numbers(first) + _point_numbers(second)

    return numbers


def _circle_numbers(value: Any) -> list[float]:
    center, radius = _parts(Circle, 2, value)
    return [*_point_numbers(center), _number(radius)]


def _numbers_of_points(points: Any) -> list[float]:
    if not isinstance(points, list | Polygon) and type(points) is not tuple:
        raise misfit("pgwire.Polygon, or a list or tuple of points", points)
    numbers = []
    for index, point in enumerate(points):
        try:
            numbers += _point_numbers(point)
        except DataError as error:
            raise DataError(f"point {index}: {error}") from None
    if not numbers:
        raise DataError("expected at least one point, got none")
    return numbers


def _path_numbers(value: Any) -> list[float]:
    if not isinstance(value, Path):
        is_points = isinstance(value, list | tuple)
        hint = "pass pgwire.Path(points, closed=…)" if is_points else ""
        raise misfit("pgwire.Path", value, hint)
    if not isinstance(value.closed, bool):
        raise misfit("bool for whether the path is closed", value.closed)
    return _numbers_of_points(value.points)


def _points_of(numbers: Iterable[float]) -> tuple[Point, ...]:
    each = iter(numbers)
    return tuple(map(Point, each, each))


# Numbers to the wire and back


def _points_text(numbers: Iterable[float]) -> str:
    texts = map(fixed.float_text, numbers)
    return ",".join([f"({x},{y})" for x, y in zip(texts, texts, strict=True)])


def _parsed(name: str, texts: Iterable[str]) -> list[float]:
    try:
        return [fixed.FLOAT8.decode_text(text) for text in texts]
    except DataError:
        raise malformed(name) from None


def _parsed_points(name: str, text: str) -> tuple[Point, ...]:
    if not _are_points(text):
        raise malformed(name)
    return _points_of(_parsed(name, _find_numbers(text)))


def _packed(header: bytes, numbers: Sequence[float]) -> bytes:
    return header + struct.pack(f">{len(numbers)}d", *numbers)


def _read_points(name: str, count: int, buffer: bytes, at: int, end: int) -> tuple[Point, ...]:
    """So many points, which are all that is left."""
    if count < 1 or end - at != 16 * count:
        raise malformed(name)
    return _points_of(struct.unpack_from(f">{2 * count}d", buffer, at))


def _decode_path(buffer: bytes, start: int, end: int) -> Path:
    if end - start < 5:
        raise wrong_length("path", end - start)
    closed, count = _path_header.unpack_from(buffer, start)
    if closed > 1:
        raise malformed("path")
    return Path(_read_points("path", count, buffer, start + 5, end), closed == 1)


def _decode_path_text(text: str) -> Path:
    brackets = text[:1] + text[-1:]
    if brackets not in ("()", "[]"):
        raise malformed("path")
    return Path(_parsed_points("path", text[1:-1]), brackets == "()")


def _encode_path(value: Any) -> bytes:
    numbers = _path_numbers(value)
    return _packed(_path_header.pack(value.closed, len(numbers) // 2), numbers)


def _path_literal(value: Any) -> str:
    points = _points_text(_path_numbers(value))
    return f"({points})" if value.closed else f"[{points}]"


def _decode_polygon(buffer: bytes, start: int, end: int) -> Polygon:
    if end - start < 4:
        raise wrong_length("polygon", end - start)
    (count,) = _polygon_header.unpack_from(buffer, start)
    return Polygon(_read_points("polygon", count, buffer, start + 4, end))


def _decode_polygon_text(text: str) -> Polygon:
    if text[:1] + text[-1:] != "()":
        raise malformed("polygon")
    return Polygon(_parsed_points("polygon", text[1:-1]))


def _encode_polygon(value: Any) -> bytes:
    numbers = _numbers_of_points(value)
    return _packed(_polygon_header.pack(len(numbers) // 2), numbers)


def _polygon_literal(value: Any) -> str:
    return f"({_points_text(_numbers_of_points(value))})"


def _codec(
    name: str,
    text: str,
    kind: type,
    value_of: Callable[..., Any],
    numbers_of: Callable[[Any], list[float]],
    delimiter: str = ",",
) -> Codec:
    """The codec of a type with a fixed count of numbers, each a "%s" in its text."""
    count = text.count("%s")
    layout = struct.Struct(f">{count}d")
    match = re.compile(re.escape(text).replace("%s", f"({_NUMBER})")).fullmatch

    def decode(buffer: bytes, start: int, end: int) -> Any:
        if end - start != layout.size:
            raise wrong_length(name, end - start)
        return value_of(*layout.unpack_from(buffer, start))

    def decode_text(text: str) -> Any:
        found = match(text)
        if found is None:
            raise malformed(name)
        return value_of(*_parsed(name, found.groups()))

    def encode(value: Any) -> bytes:
        return layout.pack(*numbers_of(value))

    def literal(value: Any) -> str:
        return text % tuple(map(fixed.float_text, numbers_of(value)))

    return Codec(
        name,
        *oids.REST[name],
        decode,
        decode_text,
        encode,
        literal,
        delimiter=delimiter,
        takes_tuple=True,
        gives=f"`pgwire.{kind.__name__}`",
        takes=f"`pgwire.{kind.__name__}`, `tuple`: `{_SHAPES[kind]}`",
    )


def _segment_of(x1: float, y1: float, x2: float, y2: float) -> LineSegment:
    return LineSegment(Point(x1, y1), Point(x2, y2))


def _box_of(x1: float, y1: float, x2: float, y2: float) -> Box:
    return Box(Point(x1, y1), Point(x2, y2))


def _circle_of(x: float, y: float, radius: float) -> Circle:
    return Circle(Point(x, y), radius)


CODECS = (
    _codec("point", "(%s,%s)", Point, Point, _point_numbers),
    _codec("line", "{%s,%s,%s}", Line, Line, _line_numbers),
    _codec("lseg", "[(%s,%s),(%s,%s)]", LineSegment, _segment_of, _numbers_of_two(LineSegment)),
    _codec("box", "(%s,%s),(%s,%s)", Box, _box_of, _numbers_of_two(Box), ";"),
    _codec("circle", "<(%s,%s),%s>", Circle, _circle_of, _circle_numbers),
    Codec(
        "path",
        *oids.REST["path"],
        _decode_path,
        _decode_path_text,
        _encode_path,
        _path_literal,
        gives="`pgwire.Path`",
        takes="`pgwire.Path`",
    ),
    Codec(
        "polygon",
        *oids.REST["polygon"],
        _decode_polygon,
        _decode_polygon_text,
        _encode_polygon,
        _polygon_literal,
        depth=2,
        takes_tuple=True,
        gives="`pgwire.Polygon`",
        takes="`pgwire.Polygon`, `list` or `tuple` of points, each `pgwire.Point` or `(x, y)`",
    ),
)
