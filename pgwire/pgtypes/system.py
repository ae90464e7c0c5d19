"""The types of PostgreSQL's own catalogs and functions, and others that are `str` in Python.

Knows the formats of numbers of transactions and of places (xid, tid, pg_lsn and the like), of
the names of objects (regclass), of jsonpath; and which types have no value in Python but their
text. Must not know what any of them means. Nor is any other type known here.

The regtypes are OIDs that PostgreSQL prints as names, which only the server knows, so results
are asked for as text. Inside an anonymous record they come in binary all the same, and are the
OID as `str` then: PostgreSQL takes that for the name.

The types that are text only have a binary format that no program could use (or none), or one
that does not have all of the value: money's does not say the currency. The manual: "Object
Identifier Types", "pg_lsn Type", "Text Search Types", "Monetary Types", "XML Type".
"""

from __future__ import annotations

import re
import struct
from dataclasses import replace
from operator import index
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes import oids
from pgwire.pgtypes.codec import Codec, Converted, malformed, misfit, text_only, wrong_length
from pgwire.pgtypes.fixed import integer_codec
from pgwire.pgtypes.lsn import lsn_text
from pgwire.pgtypes.text import decode_utf8, literal_codec, text_codec

if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_UINT32 = 2**32 - 1
_MAX_UINT64 = 2**64 - 1
_LAST_XID8 = 2**63 - 1  # of snapshots

_tid = struct.Struct(">IH")
_snapshot_head = struct.Struct(">IQQ")  # how many are in progress, xmin, xmax

_NUMBER = "(?:0|[1-9][0-9]{0,18})"
_match_tid = re.compile(r"\((0|[1-9][0-9]{0,9}),(0|[1-9][0-9]{0,4})\)", re.ASCII).fullmatch
_match_lsn = re.compile(r"([0-9A-F]{1,8})/([0-9A-F]{1,8})", re.ASCII).fullmatch
_is_snapshot = re.compile(f"{_NUMBER}:{_NUMBER}:(?:{_NUMBER}(?:,{_NUMBER})*)?", re.ASCII).fullmatch
_find_numbers = re.compile("[0-9]+", re.ASCII).findall


def _same(text: str) -> str:
    return text


def _unsigned(value: Any, expected: str, largest: int) -> int:
    """The int that the value is; `DataError` where it is none from 0 to `largest`."""
    if isinstance(value, bool):
        raise misfit(expected, value, "pass int(value)")
    try:
        number = index(value)
    except TypeError:
        raise misfit(expected, value) from None
    if not 0 <= number <= largest:
        raise misfit(f"{expected} from 0 to {largest}", value)
    return number


def _refusal(expected: str, hint: str = "") -> Callable[[Any], str]:
    """The `literal` of a type that has no values but `str`."""

    def literal(value: Any) -> str:
        raise misfit(expected, value, hint)

    return literal


# tid: a row's place in its table


def _decode_tid(buffer: bytes, start: int, end: int) -> str:
    if end - start != _tid.size:
        raise wrong_length("tid", end - start)
    block, offset = _tid.unpack_from(buffer, start)
    return f"({block},{offset})"


def _decode_tid_text(text: str) -> str:
    match = _match_tid(text)
    if match is None or int(match[1]) > _MAX_UINT32 or int(match[2]) > 0xFFFF:
        raise malformed("tid")
    return text


_tid_literal = _refusal('str like "(0,1)"')


# pg_lsn: a place in the write-ahead log


def _decode_lsn(buffer: bytes, start: int, end: int) -> str:
    if end - start != 8:
        raise wrong_length("pg_lsn", end - start)
    return lsn_text(int.from_bytes(buffer[start:end], "big"))


def _decode_lsn_text(text: str) -> str:
    match = _match_lsn(text)
    if match is None:
        raise malformed("pg_lsn")
    # Servers differ in whether they pad the second half with zeros.
    return lsn_text(int(match[1], 16) << 32 | int(match[2], 16))


def _lsn_number(value: Any) -> int:
    return _unsigned(value, 'str like "16/B374D848", or int', _MAX_UINT64)


def _encode_lsn(value: Any) -> bytes:
    return _lsn_number(value).to_bytes(8, "big")


def _lsn_literal(value: Any) -> str:
    return lsn_text(_lsn_number(value))


# Snapshots: xmin, xmax, and which of those between are in progress


def _snapshot_codec(name: str) -> Codec:
    def decode(buffer: bytes, start: int, end: int) -> str:
        size = end - start
        if size < _snapshot_head.size:
            raise wrong_length(name, size)
        count, xmin, xmax = _snapshot_head.unpack_from(buffer, start)
        if size != _snapshot_head.size + 8 * count:
            raise malformed(name)
        running = struct.unpack_from(f">{count}Q", buffer, start + _snapshot_head.size)
        if max(xmin, xmax, *running) > _LAST_XID8:
            raise malformed(name)
        return f"{xmin}:{xmax}:{','.join(map(str, running))}"

    def decode_text(text: str) -> str:
        # What the pattern lets pass has at most 19 digits, so no conversion is slow.
        if not _is_snapshot(text) or max(map(int, _find_numbers(text))) > _LAST_XID8:
            raise malformed(name)
        return text

    literal = _refusal('str like "10:20:10,14,15"')
    own = oids.REST[name]
    gives = '`str`: "10:20:10,14,15"'
    return Codec(name, *own, decode, decode_text, text_only(literal), literal, gives=gives)


# Names of objects


def _name_codec(name: str) -> Codec:
    """The codec of one of the regtypes."""
    expected = "str, or int (the OID)"

    def decode(buffer: bytes, start: int, end: int) -> str:
        if end - start != 4:
            raise wrong_length(name, end - start)
        return str(int.from_bytes(buffer[start:end], "big"))

    def encode(value: Any) -> bytes:
        return _unsigned(value, expected, _MAX_UINT32).to_bytes(4, "big")

    def literal(value: Any) -> str:
        return str(_unsigned(value, expected, _MAX_UINT32))

    return Codec(
        name,
        *oids.REST[name],
        decode,
        _same,
        encode,
        literal,
        binary_results=False,
        has_binary=False,
        gives="`str`, the name",
        takes="`int`, the OID",
    )


# jsonpath and xml


def _decode_jsonpath(buffer: bytes, start: int, end: int) -> str:
    # The first byte is the version of the format, which is text after that.
    if start == end or buffer[start] != 1:
        raise malformed("jsonpath")
    return decode_utf8(buffer, start + 1, end)


_jsonpath_literal = _refusal('str like "$.a[*]"')
_xml_literal = _refusal("str")


# Everything that is text only


def _money_codec() -> Codec:
    literal = _refusal(
        "str, PostgreSQL's literal of the type",
        "for a Decimal or an int write $1::numeric::money, as the text of money depends on "
        "lc_monetary",
    )
    codec = literal_codec("money", *oids.REST["money"])
    return replace(codec, encode=text_only(literal), literal=literal)


_NAMES = (
    "regproc",
    "regprocedure",
    "regoper",
    "regoperator",
    "regclass",
    "regtype",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regrole",
    "regcollation",
)
_TEXT_ONLY = (
    "aclitem",
    "tsvector",
    "tsquery",
    "gtsvector",
    "pg_node_tree",
    "pg_ndistinct",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
)
CODECS = (
    integer_codec("xid", *oids.REST["xid"], "I", 0, _MAX_UINT32),
    integer_codec("cid", *oids.REST["cid"], "I", 0, _MAX_UINT32),
    integer_codec("xid8", *oids.REST["xid8"], "Q", 0, _MAX_UINT64),
    Codec(
        "tid",
        *oids.REST["tid"],
        _decode_tid,
        _decode_tid_text,
        text_only(_tid_literal),
        _tid_literal,
        gives='`str`: "(0,1)"',
    ),
    Codec(
        "pg_lsn",
        *oids.REST["pg_lsn"],
        _decode_lsn,
        _decode_lsn_text,
        _encode_lsn,
        _lsn_literal,
        converted=Converted("Q", _decode_lsn, lsn_text),
        gives='`str`: "16/B374D848"',
        takes="`int`, the number of bytes",
    ),
    _snapshot_codec("txid_snapshot"),
    _snapshot_codec("pg_snapshot"),
    *map(_name_codec, _NAMES),
    text_codec("refcursor", *oids.REST["refcursor"]),
    text_codec("cstring", *oids.REST["cstring"]),
    Codec(
        "jsonpath",
        *oids.REST["jsonpath"],
        _decode_jsonpath,
        _same,
        text_only(_jsonpath_literal),
        _jsonpath_literal,
        gives="`str`",
    ),
    Codec(
        "xml",
        *oids.REST["xml"],
        decode_utf8,  # which may say the encoding, as the text does not
        _same,
        text_only(_xml_literal),
        _xml_literal,
        binary_results=False,
        has_binary=False,
        gives="`str`",
    ),
    _money_codec(),
    *(literal_codec(name, *oids.REST[name]) for name in _TEXT_ONLY),
)
