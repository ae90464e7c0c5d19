"""Writes the table of all types in docs/types.md, from what their codecs say of themselves.

    python tools/generate_types.py            rewrite what stands between the markers
    python tools/generate_types.py --check    exit status 1 where that would change the file

Types with the same values in the same format share a row. Those that users and extensions make
are described to the registry as the catalogue of a database would.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.catalog import TypeInfo
from pgwire.pgtypes.extensions import EXTENSIONS
from pgwire.pgtypes.families import RANGES
from pgwire.pgtypes.registration import Registrations

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pgwire.pgtypes.codec import Codec

TARGET = Path(__file__).parent.parent / "docs" / "types.md"
BEGIN = f"<!-- types:begin, written by tools/{Path(__file__).name} -->\n"
END = "<!-- types:end -->\n"

# These come first, and in this order; all others behind them, by name.
_FIRST = (
    *("bool", "int2", "int4", "int8", "oid", "float4", "float8", "numeric", "money"),
    *("text", "varchar", "bpchar", "name", "char", "bytea", "uuid"),
    *("date", "time", "timetz", "timestamp", "timestamptz", "interval"),
    *("json", "jsonb", "jsonpath", "xml", "inet", "cidr", "macaddr", "macaddr8", "bit", "varbit"),
    *("point", "line", "lseg", "box", "path", "polygon", "circle", "tsvector", "tsquery"),
)
_SQL_NAMES = {"bpchar": "char(n)", "char": '"char"'}

# What a database could have besides; its numbers are of no account.
_ENUM, _COMPOSITE, _DOMAIN, _RANGE, _MULTIRANGE, _FIRST_OF_EXTENSIONS = range(20_000, 20_006)
_SAMPLES = (
    TypeInfo(_ENUM, "public", "mood", "e", labels=("sad",)),
    TypeInfo(
        _COMPOSITE, "public", "pair", "c", attribute_names=("a",), attribute_types=(oids.INT4,)
    ),
    TypeInfo(_DOMAIN, "public", "amount", "d", part=oids.NUMERIC),
    TypeInfo(_RANGE, "public", "floats", "r", part=oids.FLOAT8),
    TypeInfo(_MULTIRANGE, "public", "multifloats", "m", part=_RANGE),
    *(
        TypeInfo(_FIRST_OF_EXTENSIONS + number, "public", name, "b")
        for number, name in enumerate(sorted(EXTENSIONS))
    ),
)


class Row(NamedTuple):
    """Types and what there is to say of each of them."""

    types: str
    gives: str
    takes: str
    format: str


def built_in(registry: TypeRegistry) -> Iterator[Codec]:
    """The codecs of all types with a number of their own, but for ranges."""
    numbers = [
        number
        for name, number in vars(oids).items()
        if isinstance(number, int) and not name.endswith("_ARRAY")
    ]
    names = {info.name for info in RANGES.values()}
    numbers += [oid for name, (oid, _) in oids.REST.items() if name not in names]
    ranks = {name: rank for rank, name in enumerate(_FIRST)}
    codecs = [registry.codec(oid) for oid in numbers if oid != oids.REST["record"][0]]
    yield from sorted(codecs, key=lambda codec: (ranks.get(codec.name, len(ranks)), codec.name))


def rows_of(codecs: Iterable[Codec]) -> list[Row]:
    """A row for all that are alike, where the first of them stands."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for codec in codecs:
        found.setdefault((codec.gives, codec.takes, _format(codec)), []).append(codec.name)
    return [Row(_names(names), *key) for key, names in found.items()]


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{_SQL_NAMES.get(name, name)}`" for name in names)


def _format(codec: Codec) -> str:
    if codec.binary_results:
        return "binary"
    return "text, in records binary" if codec.has_binary else "text"


def made_of_others(registry: TypeRegistry) -> Iterator[Row]:
    """Arrays, ranges, and what users make: a row for each kind."""
    single = [info.name for info in RANGES.values() if info.kind == "r"]
    multi = [info.name for info in RANGES.values() if info.kind == "m"]
    record, _ = oids.REST["record"]

    def row(types: str, format: str, *numbers: int) -> Row:
        (found,) = {row._replace(types="") for row in rows_of(map(registry.codec, numbers))}
        return found._replace(types=types, format=format.format(found.format))

    yield row("arrays", "as elements are", oids.INT4_ARRAY, oids.TEXT_ARRAY)
    for names, own, other in ((single, _RANGE, "ranges"), (multi, _MULTIRANGE, "multiranges")):
        numbers = [oids.REST[name][0] for name in names if not name.startswith("num")]
        yield row(f"{_names(names)}, your own {other}", "as bounds are", *numbers, own)
    yield row("enums", "{}", _ENUM)
    yield row("composite types, rows of tables", "{} if all attributes can be", _COMPOSITE)
    yield row("anonymous records", "{}", record)


def domains(registry: TypeRegistry) -> Row:
    domain, base = registry.codec(_DOMAIN), registry.codec(oids.NUMERIC)
    assert (domain.gives, domain.takes) == (base.gives, base.takes)
    return Row("domains", *["as what it is made of"] * 3)


def table() -> str:
    registry = TypeRegistry(registrations=Registrations())
    registry.catalog.learn(_SAMPLES)
    extensions = [registry.codec(info.oid) for info in _SAMPLES if info.name in EXTENSIONS]
    unknown = registry.codec(_FIRST_OF_EXTENSIONS + len(extensions))
    rows = [
        *rows_of(built_in(registry)),
        *made_of_others(registry),
        domains(registry),
        *rows_of(extensions),
        Row("`ltree` and every other type", *rows_of([unknown])[0][1:]),
    ]
    head = "| PostgreSQL | results | parameters, beside `str` and `None` | results come as |\n"
    return head + "| --- | --- | --- | --- |\n" + "".join(map(_line, rows))


def _line(row: Row) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n"


def main(arguments: list[str]) -> int:
    """Rewrites the target, or with --check says whether it is current."""
    current = TARGET.read_text(encoding="utf-8")
    head, begin, rest = current.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"docs/{TARGET.name} has lost its markers: {BEGIN}{END}")
    wanted = f"{head}{BEGIN}\n{table()}\n{END}{tail}"
    if arguments == ["--check"]:
        if current != wanted:
            print(f"docs/{TARGET.name} is not current: run python tools/{Path(__file__).name}")
        return int(current != wanted)
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
