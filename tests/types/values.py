"""Values for every type that a stock server has, by pg_type's name: strategies of Hypothesis.

Or a reason why there are none: `REASONS`. `test_catalogue` compares both with the catalogue.
"""

from __future__ import annotations

import string
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from ipaddress import ip_interface
from typing import TYPE_CHECKING, Any, NamedTuple

from hypothesis import strategies as st

import pgwire

if TYPE_CHECKING:
    from collections.abc import Iterable

    Values = st.SearchStrategy[Any]

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
_int32, _int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_uint32, _uint64 = st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
_float8 = st.floats(allow_nan=True)
# A circle's radius, a box's corners: what the server would not put right.
_plain = st.floats(-1e6, 1e6)
_point = st.builds(pgwire.Point, _float8, _float8)
_plain_point = st.builds(pgwire.Point, _plain, _plain)
_numeric = (
    st.decimals(allow_infinity=True, allow_nan=False).filter(lambda d: abs(d.adjusted()) < 900)
    | st.decimals(places=3, allow_infinity=False, allow_nan=False)
    | st.just(Decimal("NaN"))
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(-1e15, 1e15) | _text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_text, inner, max_size=3),
    max_leaves=8,
)
_dates = st.dates() | st.sampled_from(
    ["infinity", "-infinity", "0044-03-15 BC", "4714-11-24 BC", "10000-01-01", "5874897-12-31"]
)
_times = st.times().map(lambda t: t.replace(fold=0))  # which has no meaning without a zone
_timestamps = st.datetimes().map(lambda t: t.replace(fold=0)) | st.sampled_from(
    [
        *("infinity", "-infinity", "0044-03-15 12:00:00.000001 BC", "4714-11-24 00:00:00 BC"),
        *("10000-01-01 00:00:00", "294276-12-31 23:59:59.999999"),
    ]
)
_instants = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)).map(
    lambda t: t.replace(fold=0, tzinfo=UTC)
) | st.sampled_from(
    [
        *("infinity", "-infinity", "0044-03-15 12:00:00.000001+00 BC"),
        *("10000-01-01 00:00:00+00", "294276-12-31 23:59:59.999999+00"),
    ]
)
_zones = st.integers(-57_599, 57_599).map(lambda s: timezone(timedelta(seconds=s)))
_bits = st.text("01", max_size=40)
_octets = st.lists(st.integers(0, 255), min_size=8, max_size=8)


def _mac(size: int) -> Values:
    return _octets.map(lambda octets: ":".join(f"{octet:02x}" for octet in octets[:size]))


def _snapshot(numbers: list[int]) -> str:
    low, *running, high = sorted(numbers)
    return f"{low}:{high}:{','.join(map(str, running))}"


_full_xids = st.integers(1, 2**62).filter(lambda number: number % 2**32 != 0)
_snapshots = st.lists(_full_xids, min_size=2, max_size=6, unique=True).map(_snapshot)


def ranges_of(values: Values) -> Values:
    """Ranges whose bounds are in order, unbounded ones and empty ones."""
    bounds = st.sampled_from(["[]", "[)", "(]", "()"])
    in_order = st.tuples(values, values).filter(_is_in_order)
    return (
        st.builds(lambda pair, b: pgwire.Range(pair[0], pair[1], b), in_order, bounds)
        | st.builds(lambda v, b: pgwire.Range(v, None, b), values, bounds)
        | st.builds(lambda v, b: pgwire.Range(None, v, b), values, bounds)
        | st.sampled_from([pgwire.Range(), pgwire.Range.empty()])
    )


def _is_in_order(pair: tuple[Any, Any]) -> bool:
    if isinstance(pair[0], str):
        return pair == ("-infinity", "infinity")
    try:
        return bool(pair[0] <= pair[1])
    except (TypeError, ArithmeticError):  # literals beside values, NaN
        return False


def multiranges_of(values: Values) -> Values:
    return st.lists(ranges_of(values), max_size=3).map(pgwire.Multirange)


class Case(NamedTuple):
    """A type's values. `as_sent`: they come back as they were, and not put in order."""

    values: Values
    as_sent: bool = True
    cast: str = ""  # what to write for the type, where its name will not do


def _texts(*texts: str) -> Case:
    return Case(st.sampled_from(texts))


def _cases() -> Iterable[tuple[str, Case]]:
    yield "bool", Case(st.booleans())
    yield "int2", Case(st.integers(-(2**15), 2**15 - 1))
    yield "int4", Case(_int32)
    yield "int8", Case(_int64)
    yield "oid", Case(_uint32)
    yield "xid", Case(_uint32)
    yield "cid", Case(_uint32)
    yield "xid8", Case(_uint64)
    yield "float4", Case(st.floats(width=32))
    yield "float8", Case(_float8)
    yield "numeric", Case(_numeric, as_sent=False)  # there is no -0, and no 1E+2
    yield "text", Case(_text)
    yield "varchar", Case(_text)
    # As text it has no blanks at its end.
    yield "bpchar", Case(_text.map(lambda text: text.rstrip(" ")))
    yield "name", Case(_text.filter(lambda text: len(text.encode()) < 64))
    yield "refcursor", Case(_text)
    letters = st.sampled_from(string.ascii_letters + string.digits + "\"'{},()")
    yield "char", Case(letters | st.sampled_from(["", "\\351", "\\200"]), cast='"char"')
    yield "bytea", Case(st.binary(max_size=60))
    yield "date", Case(_dates)
    yield "time", Case(_times | st.just("24:00:00"))
    yield "timetz", Case(st.builds(lambda t, z: t.replace(tzinfo=z), _times, _zones))
    yield "timestamp", Case(_timestamps)
    yield "timestamptz", Case(_instants)
    # Of the very last the server cannot read its own text.
    yield (
        "interval",
        Case(
            st.builds(pgwire.Interval, _int32, _int32, _int64.map(lambda n: max(n, -(2**63) + 1)))
        ),
    )
    yield "uuid", Case(st.uuids())
    yield "json", Case(_json.map(pgwire.Json), as_sent=False)
    yield "jsonb", Case(_json.map(pgwire.Json), as_sent=False)
    yield from _network_cases()
    yield from _geometric_cases()
    yield from _range_cases()
    yield from _system_cases()


def _network_cases() -> Iterable[tuple[str, Case]]:
    addresses = st.ip_addresses()
    four = st.tuples(st.ip_addresses(v=4), st.integers(0, 32))
    six = st.tuples(st.ip_addresses(v=6), st.integers(0, 128))
    interfaces = four.map(lambda p: f"{p[0]}/{p[1]}") | six.map(lambda p: f"{p[0]}/{p[1]}")
    yield "inet", Case(addresses | interfaces.map(ip_interface), as_sent=False)
    yield "cidr", Case(interfaces.map(lambda text: ip_interface(text).network))
    yield "macaddr", Case(_mac(6))
    yield "macaddr8", Case(_mac(8))
    yield "bit", Case(st.text("01", min_size=11, max_size=11), cast="bit(11)")
    yield "varbit", Case(_bits)


def _geometric_cases() -> Iterable[tuple[str, Case]]:
    yield "point", Case(_point)
    line = st.builds(pgwire.Line, _plain, _plain, _plain)
    yield "line", Case(line.filter(lambda value: any(abs(x) > 1e-3 for x in value[:2])))
    yield "lseg", Case(st.builds(pgwire.LineSegment, _point, _point))
    yield "box", Case(st.builds(pgwire.Box, _plain_point, _plain_point), as_sent=False)
    points = st.lists(_point, min_size=1, max_size=4)
    yield "path", Case(st.builds(lambda p, c: pgwire.Path(tuple(p), c), points, st.booleans()))
    yield "polygon", Case(points.map(pgwire.Polygon))
    yield "circle", Case(st.builds(pgwire.Circle, _point, st.floats(0, 1e300)))


def _range_cases() -> Iterable[tuple[str, Case]]:
    dates = st.dates(date(1, 1, 3), date(9998, 1, 1))
    for name, bounds in {
        "int4": st.integers(-(2**31) + 1, 2**31 - 2),
        "int8": st.integers(-(2**63) + 1, 2**63 - 2),
        "num": st.decimals(places=2, allow_nan=False, allow_infinity=False),
        "ts": _timestamps,
        "tstz": _instants,
        "date": dates | st.sampled_from(["infinity", "0044-03-15 BC", "10000-01-01"]),
    }.items():
        yield f"{name}range", Case(ranges_of(bounds), as_sent=False)
        yield f"{name}multirange", Case(multiranges_of(bounds), as_sent=False)


def _system_cases() -> Iterable[tuple[str, Case]]:
    cents = st.integers(-(2**62), 2**62)
    money = cents.map(lambda c: f"{'-' if c < 0 else ''}${abs(c) // 100:,}.{abs(c) % 100:02d}")
    yield "money", Case(money)
    yield "jsonpath", _texts("$", '$."a"', '$."a b"[*]?(@ > 1)', 'strict $."x".size()')
    yield "tsvector", _texts("", "'a'", "'a':1A,2 'it''s':3B", "'back\\\\slash'")
    yield "tsquery", _texts("'a'", "'a' & 'b'", "!'a':*A | 'b' <-> 'c'")
    yield "pg_lsn", Case(st.builds("{:X}/{:X}".format, _uint32, _uint32))
    yield "tid", Case(st.builds("({},{})".format, _uint32, st.integers(0, 2**16 - 1)))
    yield "txid_snapshot", Case(_snapshots)
    yield "pg_snapshot", Case(_snapshots)
    yield "int2vector", Case(st.lists(st.integers(-(2**15), 2**15 - 1), max_size=5))
    yield "oidvector", Case(st.lists(_uint32, max_size=5))
    yield "regclass", _texts("pg_class", "information_schema.tables")
    yield "regtype", _texts("integer", "timestamp with time zone", '"char"', "pg_class[]")
    yield "regproc", _texts("now", "array_in")
    yield "regprocedure", _texts("now()", "sum(integer)")
    yield "regoper", _texts("||/", "|/")
    yield "regoperator", _texts("||/(NONE,double precision)", "+(integer,integer)")
    yield "regconfig", _texts("english", "simple")
    yield "regdictionary", _texts("english_stem", "simple")
    yield "regnamespace", _texts("pg_catalog", "public")
    yield "regrole", _texts("pg_monitor")
    yield "regcollation", _texts('"C"', '"default"')
    yield "aclitem", _texts("pg_monitor=r*/pg_monitor", "=w/pg_monitor")


CASES: dict[str, Case] = dict(_cases())

_NO_INPUT = "the server takes no value of it; read in test_catalogue"
_PSEUDO = "a pseudo-type: no column and no result can have it"
REASONS: dict[str, str] = {
    "xml": "only where the server was built with libxml: see test_xml",
    "pg_node_tree": _NO_INPUT,
    "pg_ndistinct": _NO_INPUT,
    "pg_dependencies": _NO_INPUT,
    "pg_mcv_list": _NO_INPUT,
    "pg_brin_bloom_summary": _NO_INPUT,
    "pg_brin_minmax_multi_summary": _NO_INPUT,
    "gtsvector": _NO_INPUT,
    "record": "the server takes no anonymous record; read in tests/shells/test_user_types",
    "cstring": "the server takes none; read in test_catalogue",
    "anyarray": "the server takes none; read in test_catalogue",
    "void": "has no value; read in test_catalogue",
    "unknown": "no parameter can have it",
    **dict.fromkeys(
        [
            *("any", "anyelement", "anynonarray", "anyenum", "anyrange", "anymultirange"),
            *("anycompatible", "anycompatiblearray", "anycompatiblenonarray"),
            *("anycompatiblerange", "anycompatiblemultirange", "trigger", "event_trigger"),
            *("language_handler", "fdw_handler", "index_am_handler", "tsm_handler"),
            *("table_am_handler", "internal", "pg_ddl_command"),
        ],
        _PSEUDO,
    ),
}
