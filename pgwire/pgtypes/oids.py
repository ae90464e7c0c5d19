"""The object identifiers of PostgreSQL's built-in types, as in its catalog pg_type.

They are the same in every PostgreSQL, written into its sources (`pg_type.dat`). A name
with `_ARRAY` is the array of that type; `REST` has type and array of those that nobody needs to
name, by pg_type's typname. What an initdb or a user has made has numbers from 10000 on.
"""

from __future__ import annotations

from typing import Final

BOOL: Final = 16
BYTEA: Final = 17
CHAR: Final = 18
NAME: Final = 19
INT8: Final = 20
INT2: Final = 21
INT4: Final = 23
TEXT: Final = 25
OID: Final = 26
JSON: Final = 114
FLOAT4: Final = 700
FLOAT8: Final = 701
UNKNOWN: Final = 705
BPCHAR: Final = 1042
VARCHAR: Final = 1043
DATE: Final = 1082
TIME: Final = 1083
TIMESTAMP: Final = 1114
TIMESTAMPTZ: Final = 1184
INTERVAL: Final = 1186
TIMETZ: Final = 1266
NUMERIC: Final = 1700
VOID: Final = 2278
UUID: Final = 2950
JSONB: Final = 3802

JSON_ARRAY: Final = 199
BOOL_ARRAY: Final = 1000
BYTEA_ARRAY: Final = 1001
CHAR_ARRAY: Final = 1002
NAME_ARRAY: Final = 1003
INT2_ARRAY: Final = 1005
INT4_ARRAY: Final = 1007
TEXT_ARRAY: Final = 1009
BPCHAR_ARRAY: Final = 1014
VARCHAR_ARRAY: Final = 1015
INT8_ARRAY: Final = 1016
FLOAT4_ARRAY: Final = 1021
FLOAT8_ARRAY: Final = 1022
OID_ARRAY: Final = 1028
TIMESTAMP_ARRAY: Final = 1115
DATE_ARRAY: Final = 1182
TIME_ARRAY: Final = 1183
TIMESTAMPTZ_ARRAY: Final = 1185
INTERVAL_ARRAY: Final = 1187
NUMERIC_ARRAY: Final = 1231
TIMETZ_ARRAY: Final = 1270
UUID_ARRAY: Final = 2951
JSONB_ARRAY: Final = 3807

REST: Final[dict[str, tuple[int, int]]] = {
    "int2vector": (22, 1006),
    "regproc": (24, 1008),
    "tid": (27, 1010),
    "xid": (28, 1011),
    "cid": (29, 1012),
    "oidvector": (30, 1013),
    "xml": (142, 143),
    "pg_node_tree": (194, 0),
    "point": (600, 1017),
    "lseg": (601, 1018),
    "path": (602, 1019),
    "box": (603, 1020),
    "polygon": (604, 1027),
    "line": (628, 629),
    "cidr": (650, 651),
    "circle": (718, 719),
    "macaddr8": (774, 775),
    "money": (790, 791),
    "macaddr": (829, 1040),
    "inet": (869, 1041),
    "aclitem": (1033, 1034),
    "bit": (1560, 1561),
    "varbit": (1562, 1563),
    "refcursor": (1790, 2201),
    "regprocedure": (2202, 2207),
    "regoper": (2203, 2208),
    "regoperator": (2204, 2209),
    "regclass": (2205, 2210),
    "regtype": (2206, 2211),
    "record": (2249, 2287),
    "cstring": (2275, 1263),
    "anyarray": (2277, 0),
    "txid_snapshot": (2970, 2949),
    "pg_lsn": (3220, 3221),
    "pg_ndistinct": (3361, 0),
    "pg_dependencies": (3402, 0),
    "tsvector": (3614, 3643),
    "tsquery": (3615, 3645),
    "gtsvector": (3642, 3644),
    "regconfig": (3734, 3735),
    "regdictionary": (3769, 3770),
    "int4range": (3904, 3905),
    "numrange": (3906, 3907),
    "tsrange": (3908, 3909),
    "tstzrange": (3910, 3911),
    "daterange": (3912, 3913),
    "int8range": (3926, 3927),
    "jsonpath": (4072, 4073),
    "regnamespace": (4089, 4090),
    "regrole": (4096, 4097),
    "regcollation": (4191, 4192),
    "int4multirange": (4451, 6150),
    "nummultirange": (4532, 6151),
    "tsmultirange": (4533, 6152),
    "tstzmultirange": (4534, 6153),
    "datemultirange": (4535, 6155),
    "int8multirange": (4536, 6157),
    "pg_brin_bloom_summary": (4600, 0),
    "pg_brin_minmax_multi_summary": (4601, 0),
    "pg_mcv_list": (5017, 0),
    "pg_snapshot": (5038, 5039),
    "xid8": (5069, 271),
}
