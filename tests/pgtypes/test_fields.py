"""Generated code for the fields of composites and records: what the plain code says, it says."""

from __future__ import annotations

import struct
import tracemalloc
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import IntEnum
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import example, given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import Literal, TypeRegistry, fields, oids
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.codec import UnknownTypes
from pgwire.pgtypes.composites import Field, composite_codec
from pgwire.pgtypes.generating import OTHER, TEXT
from tests.pgtypes.helpers import CODECS, encode, exactly

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgwire.pgtypes import Codec

OID = 80_000
USUAL = ["int4", "text", "timestamptz", "uuid"]
SEVEN = b"\0\0\0\7"
MOMENTS = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 0, -1])
INNER = composite_codec("inner", 80_100, 80_101, [Field("n", CODECS["int4"])])


def packed(code: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return values.map(lambda value: struct.pack(f">{code}", value))


def encoding(name: str) -> Callable[[Any], bytes]:
    return partial(encode, CODECS[name])


# What fields may be, and their bytes.
FIELDS: dict[str, tuple[Codec, st.SearchStrategy[bytes]]] = {
    "int4": (CODECS["int4"], st.binary(min_size=4, max_size=4)),
    "float8": (CODECS["float8"], packed("d", st.floats())),
    "bool": (CODECS["bool"], st.sampled_from([b"\0", b"\1"])),
    "date": (CODECS["date"], packed("i", st.integers(-(2**31), 2**31 - 1) | st.integers(0, 9999))),
    "timestamptz": (CODECS["timestamptz"], packed("q", MOMENTS)),
    "uuid": (CODECS["uuid"], st.binary(min_size=16, max_size=16)),
    "text": (CODECS["text"], st.text(max_size=9).map(str.encode) | st.just(b"\xff")),
    "bytea": (CODECS["bytea"], st.binary(max_size=9)),
    "numeric": (
        CODECS["numeric"],
        st.decimals(allow_nan=False, allow_infinity=False, places=2).map(encoding("numeric")),
    ),
    "int4[]": (
        CODECS["int4[]"],
        st.lists(st.integers(0, 99) | st.none(), max_size=3).map(encoding("int4[]")),
    ),
    "inner": (INNER, st.sampled_from([encode(INNER, (7,)), encode(INNER, (None,)), b""])),
    "record": (CODECS["record"], st.just(encode(INNER, (7,)))),
}
NAMES = st.lists(st.sampled_from(sorted(FIELDS)), min_size=1, max_size=5)


@contextmanager
def generating(worth: int | None) -> Iterator[None]:
    """Have codecs made here generate code for their second value; None: never."""
    with pytest.MonkeyPatch.context() as patch:
        if worth is None:
            patch.setattr(fields, "MOST_FIELDS", 0)
        else:
            patch.setattr(fields, "WORTH", worth)
        yield


def made(names: Sequence[str], worth: int | None) -> Codec:
    with generating(worth):
        return composite_codec("row", OID, 0, [Field(f"f{n}", c) for n, c in enumerate(of(names))])


def of(names: Sequence[str]) -> list[Codec]:
    return [FIELDS[name][0] for name in names]


def row(names: Sequence[str], values: Sequence[bytes | None]) -> bytes:
    data = struct.pack(">i", len(names))
    for codec, value in zip(of(names), values, strict=True):
        data += struct.pack(">Ii", codec.oid, -1 if value is None else len(value)) + (value or b"")
    return data


@st.composite
def layouts(draw: st.DrawFn) -> tuple[list[str], list[bytes]]:
    """Fields, and rows of them: some with NULLs, some damaged."""
    names = draw(NAMES)
    values = [FIELDS[name][1] for name in names]
    rows = []
    for kind in draw(st.lists(st.sampled_from(["usual", "nulls", "damaged"]), min_size=1)):
        maybe = values if kind == "usual" else [value | st.none() for value in values]
        data = bytearray(row(names, draw(st.tuples(*maybe))))
        for _ in range(draw(st.integers(1, 2)) if kind == "damaged" else 0):
            at = draw(st.integers(0, len(data)))
            data[at : at + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
        rows.append(bytes(data))
    return names, rows


def outcome(function: Any, *arguments: Any) -> str:
    try:
        return exactly(function(*arguments))
    except UnknownTypes as error:
        return f"{error} {sorted(error.oids)}"
    except DataError as error:
        return str(error)


@given(layouts(), st.binary(max_size=40), st.binary(max_size=40))
@example((["int4", "text"], [row(["int4", "text"], [None, b"x"])] * 4), b"", b"")
@example((["text"], [row(["text"], [None])] * 4), b"", b"")
def test_composites_are_read_as_by_the_plain_decoder(
    layout: tuple[list[str], list[bytes]], before: bytes, behind: bytes
) -> None:
    names, rows = layout
    plain, generated = made(names, None), made(names, 0)
    for data in rows * 2:
        where = before + data + behind, len(before), len(before) + len(data)
        assert outcome(generated.decode, *where) == outcome(plain.decode, *where)


@given(st.lists(layouts(), max_size=3), st.integers(0, 3))
def test_records_are_read_as_by_the_plain_decoder(
    several: list[tuple[list[str], list[bytes]]], worth: int
) -> None:
    """Of whatever layouts, in turns."""
    registry = registry_with_inner()
    with generating(None):
        plain = registry.codec(CODECS["record"].oid)
    registry.reset()
    registry._codecs[INNER.oid] = INNER
    generated = registry.codec(CODECS["record"].oid)
    for turn in range(5):
        for names, rows in several:
            data = rows[turn % len(rows)]
            with generating(worth):
                found = outcome(generated.decode, data + b"\0", 0, len(data))
            with generating(None):
                assert found == outcome(plain.decode, data + b"\0", 0, len(data)), names


def registry_with_inner() -> TypeRegistry:
    registry = TypeRegistry()
    registry._codecs[INNER.oid] = INNER
    return registry


def test_a_thousand_values() -> None:
    """Through all that is made on the way, with nothing changed."""
    names = ["int4", "text", "timestamptz"]
    codec, record = made(names, fields.WORTH), TypeRegistry().codec(CODECS["record"].oid)
    for n in range(1000):
        moment = None if n % 3 == 0 else datetime(2024, 1, 1, tzinfo=UTC) + timedelta(n)
        value = (n, None if n % 5 == 0 else f"é {n}", moment)
        data = encode(codec, value)
        assert exactly(tuple(codec.decode(data, 0, len(data)))) == exactly(value)
        assert codec.decode(data, 0, len(data)).f1 == value[1]
        assert exactly(record.decode(data, 0, len(data))) == exactly(value)


def test_more_layouts_than_are_remembered() -> None:
    record = TypeRegistry().codec(CODECS["record"].oid)
    for turn in range(2):
        for count in range(1, 80):
            names = ["int4", *["text"] * count]
            data = row(names, [bytes((0, 0, 0, turn)), *[b"x"] * count])
            assert record.decode(data, 0, len(data)) == (turn, *"x" * count)


def test_records_without_fields_leave_nothing_behind() -> None:
    """What stands behind one is another value, which was remembered with it."""
    record = TypeRegistry().codec(CODECS["record"].oid)
    buffers = [bytes(4) + struct.pack("!i", n) for n in range(2_000)]

    def read_all() -> None:
        for buffer in buffers:
            assert record.decode(buffer, 0, 4) == ()

    read_all()
    buffers = [bytes(4) + struct.pack("!i", -n) for n in range(1, 2_000)]
    tracemalloc.start()
    try:
        read_all()
        assert tracemalloc.get_traced_memory()[0] < 20_000
    finally:
        tracemalloc.stop()


def test_a_registry_that_is_reset_forgets_what_records_were_made_of() -> None:
    registry = registry_with_inner()
    record = registry.codec(CODECS["record"].oid)
    data = row(["inner"], [encode(INNER, (7,))])
    for _ in range(2 * fields.WORTH + 9):
        assert record.decode(data, 0, len(data)) == ((7,),)
    registry.reset()
    registry._codecs[INNER.oid] = replace(INNER, decode=lambda *_: "new")
    record = registry.codec(CODECS["record"].oid)
    for _ in range(2 * fields.WORTH + 9):
        assert record.decode(data, 0, len(data)) == ("new",)


@pytest.mark.parametrize("last", [SEVEN, None])
def test_what_is_nested_is_decoded_once_on_each_level(last: bytes | None) -> None:
    """And not twice, as that would be a thousand million times on the thirtieth."""
    counted = 0

    def decode(buffer: bytes, start: int, end: int) -> bytes:
        nonlocal counted
        counted += 1
        return buffer[start:end]

    codec = replace(CODECS["bytea"], decode=decode)
    data = b"x"
    with generating(0):
        for depth in range(30):
            inner = codec
            codec = composite_codec(
                "level", 90_000 + depth, 0, [Field("in", inner), Field("n", CODECS["int4"])]
            )
            rest = -1 if last is None else 4
            data = struct.pack(">iIi", 2, inner.oid, len(data)) + data
            data += struct.pack(">Ii", oids.INT4, rest) + (last or b"")
        for _ in range(5):
            counted = 0
            value = codec.decode(data, 0, len(data))
            assert counted == 1
    for _ in range(30):
        assert value[1] == (None if last is None else 7)
        value = value[0]
    assert value == b"x"


# Writing


class Number(IntEnum):
    SEVEN = 7


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "int4": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([2**31, True, Number.SEVEN, "7"]),
    "float8": st.floats() | st.sampled_from([1, Decimal("1.5"), "x"]),
    "bool": st.booleans() | st.just(1),
    "date": st.dates() | st.sampled_from([datetime(2024, 1, 1), "infinity"]),
    "timestamptz": st.datetimes() | st.datetimes(timezones=st.just(UTC)) | st.just("now"),
    "uuid": st.uuids() | st.just("x"),
    "text": st.text(max_size=5) | st.sampled_from(["\0", "\ud800", b"x", "é"]),
    "bytea": st.binary(max_size=5) | st.sampled_from([bytearray(b"x"), "\\x00", 1]),
    "numeric": st.decimals(allow_nan=True, places=2) | st.sampled_from([1, 1.5, "1"]),
    "int4[]": st.lists(st.integers(0, 99) | st.none(), max_size=3) | st.sampled_from(["{}", ["1"]]),
    "inner": st.sampled_from([(7,), (None,), ("7",), {"n": 7}, 7, "(7)"]),
}


@st.composite
def tuples(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]]]:
    names = draw(st.lists(st.sampled_from(sorted(VALUES)), min_size=1, max_size=5))
    values = [VALUES[name] for name in names]
    usual = st.tuples(*values)
    return names, draw(st.lists(usual | st.tuples(*[v | st.none() for v in values]), min_size=1))


@given(tuples())
@example((["int4", "text"], [(2**31, "x")] * 3))
@example((["int4"], [(1,), (2,), ("3",)]))
def test_composites_are_written_as_by_the_plain_encoder(
    sample: tuple[list[str], list[tuple[Any, ...]]],
) -> None:
    names, values = sample
    plain, generated = made(names, None), made(names, 0)
    for value in values * 2:
        assert outcome(generated.encode, value) == outcome(plain.encode, value)
        as_dict = {f"f{n}": item for n, item in enumerate(value)}
        assert outcome(generated.encode, as_dict) == outcome(plain.encode, value)


def test_what_is_usual_is_not_written_field_by_field() -> None:
    """And what is not, is."""

    def plain(_values: Sequence[Any]) -> bytes:
        return b"plain"

    codecs = of(USUAL)
    with generating(0):
        write = fields.encoder(codecs, plain)
        usual = (7, "x", datetime(2024, 1, 1, tzinfo=UTC), UUID(int=7))
        assert [write(usual), write(usual)] == [b"plain", encode(made(USUAL, None), usual)]
        for value in [(2**31, *usual[1:]), (None, *usual[1:]), (*usual[:3], "x")]:
            assert write(value) == b"plain"


def test_what_is_usual_is_not_read_field_by_field() -> None:
    def plain(*_where: Any) -> str:
        return "plain"

    codecs = of(USUAL)
    with generating(0):
        read = fields.decoder([codec.oid for codec in codecs], codecs, None, plain)
        values = [SEVEN, b"x", bytes(8), bytes(16)]
        usual = row(USUAL, values)
        with_null = row(USUAL, [None, *values[1:]])
        assert read(usual, 0, len(usual)) == "plain"
        found = (7, "x", datetime(2000, 1, 1, tzinfo=UTC), UUID(int=0))
        assert read(usual, 0, len(usual)) == found
        assert read(with_null, 0, len(with_null)) == "plain"
        assert read(with_null, 0, len(with_null)) == (None, *found[1:])
        assert read(usual[:-1], 0, len(usual) - 1) == "plain"


def test_a_str_inside_makes_it_text() -> None:
    codec = made(["int4", "date"], 0)
    for _ in range(3):
        assert exactly(codec.encode(("7", date(2024, 1, 1)))) == exactly(
            Literal('("7","2024-01-01")')
        )
        assert type(codec.encode((7, date(2024, 1, 1)))) is bytes


def test_no_code_is_made_of_names_or_of_too_many_fields() -> None:
    source, runs = fields.decode_source(["i", TEXT, "q~", OTHER, "16s<"], False)
    assert runs == ["12siIi", "8sqIi", "8s16s"]
    compile(source, "source", "exec")
    source, packs = fields.encode_source(["i", TEXT, "q<", OTHER, "d"])
    assert packs == ["12si4si", "8sq4si", "8sd"]
    compile(source, "source", "exec")
    many = [CODECS["int4"]] * (fields.MOST_FIELDS + 1)

    def plain(*_where: Any) -> bytes:
        raise AssertionError

    assert fields.decoder([codec.oid for codec in many], many, None, plain) is plain
    assert fields.encoder(many, plain) is plain


def test_arrays_of_composites() -> None:
    codec = made(["int4", "text"], 0)
    pairs = array_codec(replace(codec, array_oid=OID + 1))
    for value in ([(n, str(n)) for n in range(50)], [(1, None), None], [[(1, "x")], [(2, "y")]]):
        data = pairs.encode(value)
        assert isinstance(data, bytes)
        assert pairs.decode(data, 0, len(data)) == value
