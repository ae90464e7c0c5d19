"""Generated row decoders: the plain decoder of `decoder`, unrolled for one layout.

`row_decoder_source` writes Python for a layout; `generate` compiles it, once per layout, and
binds a statement's codecs. Only numbers and struct codes get into the source, never names or
texts that came from a user or a server.

The plain decoder is the specification: same rows, same errors, for whatever bytes.

For a layout of int4, text and one codec of another type the source reads:

    def decode_rows(buffer, position, size, rows):
        try:
            while size - position >= 7 and buffer[position] == 68:
                length, columns = head(buffer, position + 1)
                end = position + 1 + length
                if end > size:
                    return position
                if columns != 3:
                    raise malformed_row()
                at = position + 7
                if at + 8 <= end and (pair := pair_0(buffer, at))[0] == 4:
                    value_0 = pair[1]
                    at += 8
                else:
                    value_0, at = value(buffer, at, end, decode_0)
                …
"""

from __future__ import annotations

from bisect import bisect
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol.decoder import blame, malformed_row, read_length, read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from pgwire.protocol.decoder import RowDecoder, ValueDecoder

# What a column is to the generator: a struct code, text, or anything else.
TEXT = "text"
OTHER = "other"

_FIXED = """\
            if at + {width} <= end and (pair := pair_{n}(buffer, at))[0] == {size}:
                value_{n} = pair[1]
                at += {width}
            else:
                value_{n}, at = value(buffer, at, end, decode_{n})
"""
_TEXT = """\
            length = read_length(buffer, at)[0]
            stop = at + 4 + length
            if length >= 0 and stop <= end:
                try:
                    value_{n} = buffer[at + 4 : stop].decode()
                except UnicodeDecodeError:
                    decode_{n}(buffer, at + 4, stop)  # has the words for it
                at = stop
            else:
                value_{n}, at = value(buffer, at, end, decode_{n})
"""
_OTHER = """\
            value_{n}, at = value(buffer, at, end, decode_{n})
"""


def row_decoder_source(kinds: Sequence[str]) -> str:
    """The source of a decoder for rows whose columns are of these kinds."""
    pieces = [
        "def decode_rows(buffer, position, size, rows):\n",
        "    append = rows.append\n",
        "    try:\n",
        "        while size - position >= 7 and buffer[position] == 68:\n",
        "            length, columns = head(buffer, position + 1)\n",
        "            end = position + 1 + length\n",
        "            if end > size:\n",
        "                return position\n",
        f"            if columns != {len(kinds)}:\n",
        "                raise malformed_row()\n",
        "            at = position + 7\n",
    ]
    # Where the code of each column begins: an error's line number tells its column.
    first_lines = []
    for n, kind in enumerate(kinds):
        first_lines.append("".join(pieces).count("\n") + 1)
        template = {TEXT: _TEXT, OTHER: _OTHER}.get(kind, _FIXED)
        size = 0 if template is not _FIXED else Struct("!" + kind).size
        pieces.append(template.format(n=n, size=size, width=4 + size))
    values = "".join(f"value_{n}, " for n in range(len(kinds)))
    pieces += [
        "            if at != end:\n",
        "                raise malformed_row()\n",
        f"            append(({values}))\n",
        "            position = end\n",
        "    except Exception as error:\n",
        f"        column = bisect({tuple(first_lines)!r}, error.__traceback__.tb_lineno)\n",
        "        blame(error, column, len(rows) + 1)\n",
        "        raise\n",
        "    return position\n",
    ]
    return "".join(pieces)


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...]) -> CodeType:
    return compile(row_decoder_source(kinds), f"<rows of {', '.join(kinds)}>", "exec")


def generate(kinds: tuple[str, ...], decoders: Sequence[ValueDecoder]) -> RowDecoder:
    """A decoder for this layout; `decoders` are those of its columns."""
    names: dict[str, Any] = {
        "bisect": bisect,
        "blame": blame,
        "head": Struct("!iH").unpack_from,
        "malformed_row": malformed_row,
        "read_length": read_length,
        "value": read_value,
    }
    for n, (kind, decode) in enumerate(zip(kinds, decoders, strict=True)):
        names[f"decode_{n}"] = decode
        if kind not in (TEXT, OTHER):
            names[f"pair_{n}"] = Struct("!i" + kind).unpack_from
    exec(_compiled(kinds), names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


def kind_of(decode: Callable[..., Any], struct_code: str | None) -> str:
    """What a column whose values this function decodes is to the generator."""
    if decode is decode_utf8:
        return TEXT
    return struct_code or OTHER
