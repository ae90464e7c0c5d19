"""What the guard's paths ask a server, and what it answers: ready-made bytes.

Nothing here waits, or depends on chance.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUERIES = 100  # of the paths that are one query or one lease, in one run
SQL = "select $1"


class Path(NamedTuple):
    """`run` does it once; figures are divided by `operations`. What it returns is the result."""

    name: str
    run: Callable[[], Any]
    operations: int = 1


# ---------------------------------------------------------------- what a server says


class Kind(NamedTuple):
    """A type of a column: its OID, and the value of row n in either format."""

    oid: int
    binary: Callable[[int], bytes]
    text: Callable[[int], bytes]


_TEXT_OF = "item number %d".__mod__
_AT = 757_382_400_000_000  # microseconds from 2000 to 2024
INT4 = Kind(23, lambda n: pack("!i", n), lambda n: b"%d" % n)
INT8 = Kind(20, lambda n: pack("!q", n * 1_000_003), lambda n: b"%d" % (n * 1_000_003))
FLOAT8 = Kind(701, lambda n: pack("!d", n / 7), lambda n: repr(n / 7).encode())
BOOL = Kind(16, lambda n: pack("!?", n % 3 == 0), lambda n: b"ft"[n % 3 == 0 :][:1])
TEXT = Kind(25, lambda n: _TEXT_OF(n).encode(), lambda n: _TEXT_OF(n).encode())
LONG = Kind(25, lambda n: b"word " * (n % 12) + b"%d" % n, lambda n: b"word " * (n % 12))
FOREIGN = Kind(25, lambda n: "café %d".__mod__(n).encode(), lambda n: b"-")
AT = Kind(1184, lambda n: pack("!q", _AT + n * 61_500_000), lambda n: b"2024-01-01 12:00:00.25+00")
# 1.37 times n, as four digits of base 10,000 would have it, for n below 10,000.
NUMERIC = Kind(
    1700,
    lambda n: pack("!4h2h", 2, 0, 0, 2, n * 137 // 100, n * 137 % 100 * 100),
    lambda n: b"%d.%02d" % divmod(n * 137, 100),
)
UUID = Kind(2950, lambda n: pack("!2Q", n, n), lambda n: b"%08x-0000-0000-0000-%012x" % (n, n))
_JSON = b'{"id": %d, "ok": true, "tags": ["a", %d]}'
JSONB = Kind(3802, lambda n: b"\1" + _JSON % (n, n), lambda n: _JSON % (n, n))
TEXTS = Kind(
    1009,
    lambda n: pack("!5i", 1, 0, 25, 2, 1) + pack("!i3si4s", 3, b"red", 4, b"blue"),
    lambda n: b"{red,blue}",
)

MIXED = (INT4, TEXT, FLOAT8, INT8, AT, BOOL)
LAYOUTS = {
    "numbers": (INT4, INT8, FLOAT8),
    "mixed": MIXED,
    "three texts": (TEXT, LONG, FOREIGN),
    "half NULL": MIXED,
    "wide": (INT4, TEXT) * 25,
    "rich": (NUMERIC, UUID, JSONB, TEXTS, AT),
}


def message(code: bytes, body: bytes = b"") -> bytes:
    return code + pack("!i", len(body) + 4) + body


def described(kinds: Sequence[Kind], parameters: Sequence[Kind] = ()) -> bytes:
    oids = pack(f"!H{len(parameters)}I", len(parameters), *[kind.oid for kind in parameters])
    columns = b"".join(
        b"column_%d\0" % number + pack("!IhIhih", 0, 0, kind.oid, -1, -1, 0)
        for number, kind in enumerate(kinds)
    )
    columns = pack("!H", len(kinds)) + columns
    return message(b"1") + message(b"t", oids) + message(b"T", columns)


def row(values: Sequence[bytes | None]) -> bytes:
    fields = [pack("!i", -1) if one is None else pack("!i", len(one)) + one for one in values]
    return message(b"D", pack("!H", len(values)) + b"".join(fields))


BOUND = message(b"2")
READY = message(b"Z", b"I")


def executed(rows: Sequence[bytes]) -> bytes:
    return BOUND + b"".join(rows) + message(b"C", b"SELECT %d\0" % len(rows)) + READY


ONE_VALUE = executed([row([INT4.binary(7)])])
