"""Extension types through a connection: what the server prints is what they are.

Each extension is in a schema of its own in a database of its own, none is on the search path:
types are found by what the server says of them, and by nothing else.
"""

from __future__ import annotations

import contextlib
import math
import struct
from typing import TYPE_CHECKING, Any

import numpy
import pytest

import pgwire
from pgwire.pgtypes.vectors import SparseVector
from tests.pgtypes.helpers import exactly

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgwire import Connection, embedded

SCHEMAS = {"hstore": "its hstore", "citext": "its_citext", "ltree": "Trees", "vector": "a.b"}
HSTORE, CITEXT = '"its hstore".hstore', '"its_citext".citext'
LTREE, LQUERY, LTXTQUERY = '"Trees".ltree', '"Trees".lquery', '"Trees".ltxtquery'
VECTOR, HALFVEC, SPARSEVEC = '"a.b".vector', '"a.b".halfvec', '"a.b".sparsevec'
GEOMETRY, GEOGRAPHY = '"on earth".geometry', '"on earth".geography'

LITERALS = {
    HSTORE: [
        "",
        "a=>1,b=>NULL",
        '"a b"=>"x\\"\\\\y", "k,\\"" => "n\nl", nul=>"NULL", ""=>"", "=>"=>", "',
        "é=>\N{PILE OF POO}",
        "bb=>2,a=>1,ccc=>3",
    ],
    CITEXT: ["", "Straße", 'a"b\\c,{}', "NULL"],
    LTREE: ["", "Top.Science.Astronomy"],
    LQUERY: ["*.Science{1,2}.!x|y@*", "a.b"],
    LTXTQUERY: ["Europe & Russia*@ & !Transportation"],
    VECTOR: [
        "[1]",
        "[0.1,-0,3.4e38,1e20,1e-45,1.17549435e-38,123456789,1.0000000596046448]",
        "[9.999999,16777217,5e-324,0.3,33554434]",
    ],
    HALFVEC: ["[1]", "[65504,0.1,-0,1e-7,6.1e-5,0.33325195,65519,12345,6e-8,1e-9]"],
    SPARSEVEC: ["{1:1.5,3:0.1}/5", "{}/1000000000", "{3:-1e-45,1:2,2:0}/3"],
}
EVERY_LITERAL = [(sql_type, text) for sql_type, texts in LITERALS.items() for text in texts]

# What Python's values become in the server's own words.
VALUES = [
    (HSTORE, {}, ""),
    (HSTORE, {"b": None, "a": '"\\'}, '"a"=>"\\"\\\\", "b"=>NULL'),
    (CITEXT, "Straße", "Straße"),
    (LTREE, "Top.Science", "Top.Science"),
    (VECTOR, [1, 0.1], "[1,0.1]"),
    (VECTOR, numpy.array([1, 0.1]), "[1,0.1]"),
    (VECTOR, numpy.array([1, 0.1], "float16"), "[1,0.099975586]"),
    (VECTOR, (0, 1, 2), "[0,1,2]"),
    (HALFVEC, [1, 0.1], "[1,0.099975586]"),
    (HALFVEC, numpy.array([1, 0.1], "float32"), "[1,0.099975586]"),
    (SPARSEVEC, SparseVector(5, {3: 0.1, 1: 1.5}), "{1:1.5,3:0.1}/5"),
    (SPARSEVEC, [1.5, 0, 0.1, 1e-50], "{1:1.5,3:0.1}/4"),
]


@contextlib.contextmanager
def _database(server: embedded.Server, name: str, schemas: dict[str, str]) -> Iterator[Connection]:
    with pgwire.connect(server.url) as admin:
        admin.query(f"create database {name}")
        try:
            with pgwire.connect(server.url, dbname=name) as conn:
                for extension, schema in schemas.items():
                    conn.query(f'create schema "{schema}"')
                    conn.query(f'create extension {extension} schema "{schema}"')
                yield conn
        finally:
            admin.query(f"drop database {name} with (force)")


@pytest.fixture(scope="module")
def conn(extension_server: embedded.Server) -> Iterator[Connection]:
    with _database(extension_server, "extension_types", SCHEMAS) as conn:
        yield conn


@pytest.fixture(scope="module")
def earth(postgis_server: embedded.Server) -> Iterator[Connection]:
    with _database(postgis_server, "extension_types", {"postgis": "on earth"}) as conn:
        yield conn


def _round_trips(conn: Connection, sql_type: str, literal: str) -> Any:
    """The literal's value, after it went all ways there are."""
    printed = conn.query(f"select ($1::{sql_type})::text", [literal]).scalar()
    value = conn.query(f"select $1::{sql_type}", [literal]).scalar()
    [in_text] = conn.script(f"select {pgwire.quote_literal(literal)}::{sql_type}")
    assert exactly(in_text.scalar()) == exactly(value)
    assert conn.query(f"select ($1::{sql_type})::text", [value]).scalar() == printed
    _round_trips_in_arrays(conn, sql_type, value, printed)
    _round_trips_in_rows(conn, sql_type, value, printed)
    return value


def _round_trips_in_arrays(conn: Connection, sql_type: str, value: Any, printed: str) -> None:
    # A list in a list of a type whose values may be lists themselves is taken for a value.
    deep: list[list[Any]] = [] if isinstance(value, SparseVector) else [[[value, value]]]
    for array in ([value, None, value], [], *deep):
        sql = f"select $1::{sql_type}[], ($1::{sql_type}[])::text"
        got, text = conn.query(sql, [array]).one()
        assert exactly(got) == exactly(array)
        [in_text] = conn.script(f"select {pgwire.quote_literal(text)}::{sql_type}[]")
        assert exactly(in_text.scalar()) == exactly(array)
    first = f"select (($1::{sql_type}[])[1])::text"
    assert conn.query(first, [[value]]).scalar() == printed


def _round_trips_in_rows(conn: Connection, sql_type: str, value: Any, printed: str) -> None:
    """In a composite type that is sent as text, for it has a part that is nothing else."""
    conn.query("drop type if exists pg_temp.both")
    conn.query(f"create type pg_temp.both as (inside {sql_type}, other tsvector)")
    sql = "select $1::pg_temp.both, (($1::pg_temp.both).inside)::text"
    got, text = conn.query(sql, [(value, "word")]).one()
    assert exactly(got.inside) == exactly(value)
    assert text == printed


@pytest.mark.parametrize(("sql_type", "literal"), EVERY_LITERAL)
def test_the_servers_values_round_trip(conn: Connection, sql_type: str, literal: str) -> None:
    _round_trips(conn, sql_type, literal)


@pytest.mark.parametrize(("sql_type", "value", "printed"), VALUES)
def test_pythons_values_are_what_the_server_prints(
    conn: Connection, sql_type: str, value: Any, printed: str
) -> None:
    assert conn.query(f"select ($1::{sql_type})::text", [value]).scalar() == printed
    assert conn.query(f"select (($1::{sql_type}[])[1])::text", [[value]]).scalar() == printed
    with_text = f"select (($1::{sql_type}[])[2])::text"
    assert conn.query(with_text, [[printed, printed]]).scalar() == printed


def test_values_are_of_pythons_types(conn: Connection) -> None:
    row = conn.query(
        f"select 'a=>1,b=>NULL'::{HSTORE}, 'x'::{CITEXT}, 'a.b'::{LTREE}, '[1,2]'::{VECTOR},"
        f" '[1,2]'::{HALFVEC}, '{{1:2}}/3'::{SPARSEVEC}"
    ).one()
    sparse = SparseVector(3, {1: 2})
    expected = ({"a": "1", "b": None}, "x", "a.b", [1.0, 2.0], [1.0, 2.0], sparse)
    assert exactly(tuple(row)) == exactly(expected)


def test_the_server_refuses_what_it_calls_no_vector(conn: Connection) -> None:
    with pytest.raises(pgwire.PostgresError, match="cannot have more than 16000 dimensions"):
        conn.query(f"select $1::{VECTOR}", [[0.0] * 16001])
    with pytest.raises(pgwire.PostgresError, match="expected 3 dimensions, not 2"):
        conn.query(f"select $1::{VECTOR}(3)", [[1, 2]])
    with pytest.raises(pgwire.DataError, match=r"element \[1\]: expected a finite float"):
        conn.query(f"select $1::{VECTOR}", [[1, math.nan]])
    assert conn.query("select 1").scalar() == 1


def test_every_half_is_read_alike_in_both_formats(conn: Connection) -> None:
    halves = [half for (half,) in struct.iter_unpack(">e", bytes(_every_finite_half()))]
    assert len(halves) == 2 * 31 * 1024
    for start in range(0, len(halves), 15872):
        value = halves[start : start + 15872]
        got, text = conn.query(f"select $1::{HALFVEC}, ($1::{HALFVEC})::text", [value]).one()
        assert exactly(got) == exactly(value)
        [in_text] = conn.script(f"select '{text}'::{HALFVEC}")
        assert exactly(in_text.scalar()) == exactly(value)


def _every_finite_half() -> Iterator[int]:
    for sign in (0x0000, 0x8000):
        for number in range(0x7C00):
            yield from (sign | number).to_bytes(2, "big")


@pytest.mark.parametrize(
    ("name", "sql_type", "dtype"), [("vector", VECTOR, "f4"), ("halfvec", HALFVEC, "f2")]
)
def test_numpys_arrays_stand_for_vectors(
    extension_server: embedded.Server, conn: Connection, name: str, sql_type: str, dtype: str
) -> None:
    with pgwire.connect(extension_server.url, dbname="extension_types") as mine:
        mine.register_type(name, numpy.ndarray)
        value = numpy.array([1, 0.1, -0.0], dtype)
        sql = f"select $1::{sql_type}, array[$1::{sql_type}]"
        got, array = mine.query(sql, [value]).one()
        [in_text] = mine.script(f"select '[1,{value[1]!s},-0]'::{sql_type}")
        for each in (got, *array, in_text.scalar()):
            assert type(each) is numpy.ndarray
            assert each.dtype == value.dtype
            assert exactly(each.tolist()) == exactly(value.tolist())
        assert len(mine.query(f"select $1::{sql_type}[]", [[value, value]]).scalar()) == 2
        assert type(conn.query(sql, [value]).one()[0]) is list


@pytest.mark.parametrize("sql_type", [GEOMETRY, GEOGRAPHY])
@pytest.mark.parametrize(
    "literal",
    [
        "POINT(1 2)",
        "SRID=4326;POINT Z (1 2 3)",
        "POINT EMPTY",
        "POLYGON EMPTY",
        "LINESTRING(0 0,1 1,2 1)",
        "GEOMETRYCOLLECTION(POINT(1 2),POLYGON((0 0,1 0,1 1,0 0)))",
    ],
)
def test_geometries_round_trip(earth: Connection, sql_type: str, literal: str) -> None:
    value = _round_trips(earth, sql_type, literal)
    assert type(value) is bytes
    printed = earth.query(f"select ($1::{sql_type})::text", [value]).scalar()
    assert printed == value.hex().upper()


def test_wkb_of_others_is_taken(earth: Connection) -> None:
    sql = f'select "on earth".st_astext($1::{GEOMETRY})'
    for order, name in (("<", 1), (">", 0)):
        wkb = struct.pack(f"{order}BIdd", name, 1, 1.5, 2.5)
        assert earth.query(sql, [wkb]).scalar() == "POINT(1.5 2.5)"
    assert earth.query(sql, [memoryview(wkb)]).scalar() == "POINT(1.5 2.5)"
    assert earth.query(sql, ["POINT(1 2)"]).scalar() == "POINT(1 2)"


def test_what_else_postgis_has_is_text(earth: Connection) -> None:
    sql = 'select $1::"on earth".box2d, \'BOX3D(1 2 3,4 5 6)\'::"on earth".box3d'
    assert tuple(earth.query(sql, ["BOX(1 2,3 4)"]).one()) == (
        "BOX(1 2,3 4)",
        "BOX3D(1 2 3,4 5 6)",
    )
