"""The families of built-in types that few programs meet: read in when one of them is needed.

Knows which types belong to which module, by name and number. Must not know any format.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from pgwire.pgtypes import oids
from pgwire.pgtypes.catalog import TypeInfo

if TYPE_CHECKING:
    from pgwire.pgtypes.codec import Codec

_MODULES = {
    "bits": ("bit", "varbit"),
    "geometry": ("point", "line", "lseg", "box", "path", "polygon", "circle"),
    "network": ("inet", "cidr", "macaddr", "macaddr8"),
    "system": (
        *("regproc", "regprocedure", "regoper", "regoperator", "regclass", "regtype"),
        *("regconfig", "regdictionary", "regnamespace", "regrole", "regcollation"),
        *("tid", "xid", "cid", "xid8", "pg_lsn", "txid_snapshot", "pg_snapshot"),
        *("refcursor", "cstring", "jsonpath", "xml", "money", "aclitem", "tsvector", "tsquery"),
        *("gtsvector", "pg_node_tree", "pg_ndistinct", "pg_dependencies", "pg_mcv_list"),
        *("pg_brin_bloom_summary", "pg_brin_minmax_multi_summary"),
    ),
}
# In which module a type is, by OID.
HOMES = {oids.REST[name][0]: home for home, names in _MODULES.items() for name in names}

_BOUNDS = {
    "int4": oids.INT4,
    "int8": oids.INT8,
    "num": oids.NUMERIC,
    "ts": oids.TIMESTAMP,
    "tstz": oids.TIMESTAMPTZ,
    "date": oids.DATE,
}


def _range(name: str, kind: str, part: int) -> TypeInfo:
    oid, array_oid = oids.REST[name]
    return TypeInfo(oid, "pg_catalog", name, kind, array_oid, part=part)


# The ranges and multiranges, described as the catalogue would.
RANGES = {
    info.oid: info
    for name, bound in _BOUNDS.items()
    for info in (
        _range(f"{name}range", "r", bound),
        _range(f"{name}multirange", "m", oids.REST[f"{name}range"][0]),
    )
}
# What their arrays are made of, by OID.
ELEMENTS = {
    array_oid: oid
    for oid, array_oid in oids.REST.values()
    if array_oid and (oid in HOMES or oid in RANGES)
}


@cache
def family(home: str) -> dict[int, Codec]:
    """The codecs of a module, by OID."""
    return {codec.oid: codec for codec in import_module(f"pgwire.pgtypes.{home}").CODECS}
