"""Generated row decoders: the plain decoder of `decoder`, unrolled for one layout.

There are two. `row_decoder_source` goes column by column and takes whatever comes;
`fused_decoder_source` unpacks neighbouring columns of fixed width, and the lengths around them,
in one call, and hands every row that is not as usual (a NULL among those columns, a length that
is off, bytes that cannot be decoded) to the first. So it makes no errors of its own. Both are
compiled once per layout; only numbers and struct codes get into a source, never names or texts
that came from a user or a server.

The plain decoder is the specification: same rows, same errors, for whatever bytes.

For int4, text and one column of another type the fused source reads:

    def decode_rows(buffer, position, size, rows):
        append = rows.append
        try:
            while size - position >= 19 and buffer[position] == 68:
                length, columns, length_0, value_0, length_1 = run_0(buffer, position + 1)
                end = position + 1 + length
                if end > size:
                    return position
                if length < 6:
                    break
                at = position + 19
                while columns == 3 and at <= end and length_0 == 4:
                    if length_1 >= 0:
                        stop = at + length_1
                        if stop > end:
                            break
                        value_1 = buffer[at:stop].decode()
                        at = stop
                    elif length_1 == -1:
                        value_1 = None
                    else:
                        break
                    …
                    if at != end:
                        break
                    append((value_0, value_1, value_2, ))
                    position = end
                    break
                if position != end:
                    position = by_columns(buffer, position, end, rows)
        except Exception as raised:
            error = raised
        else:
            if size - position < 7 or buffer[position] != 68:
                return position
            return by_columns(buffer, position, size, rows)
        row = len(rows) + 1
        try:
            by_columns(buffer, position, size, rows)  # says in which column, if it raises as well
            blame_row(error, row)
            raise error
        finally:
            del error
"""

from __future__ import annotations

from bisect import bisect
from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.text import decode_utf8
from pgwire.protocol.decoder import blame, blame_row, malformed_row, read_length, read_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
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


def by_columns(kinds: tuple[str, ...], decoders: Sequence[ValueDecoder]) -> RowDecoder:
    """The decoder that goes column by column; `decoders` are those of its columns."""
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


def _joined(kinds: Sequence[str]) -> Iterator[tuple[str, list[str], list[str], int | None]]:
    """Runs of what one call unpacks: struct codes, names, what must hold, and the column behind.

    A run ends with the length of a column that has no fixed width, or with the row.
    """
    codes, names, checks = "iH", ["length", "columns"], [f"columns == {len(kinds)}"]
    for n, kind in enumerate(kinds):
        codes += "i"
        names.append(f"length_{n}")
        if kind in (TEXT, OTHER):
            yield codes, names, checks, n
            codes, names, checks = "", [], []
        else:
            codes += kind
            names.append(f"value_{n}")
            checks.append(f"length_{n} == {Struct('!' + kind).size}")
    if names:
        yield codes, names, checks, None


_ROW = """\
def decode_rows(buffer, position, size, rows):
    append = rows.append
    try:
        while size - position >= {need} and buffer[position] == 68:
            {names} = run_0(buffer, position + 1)
            end = position + 1 + length
            if end > size:
                return position
            if length < 6:
                break
            at = position + {need}
            while at <= end and {checks}:
{columns}
                if at != end:
                    break
                append(({values}))
                position = end
                break
            if position != end:
                position = by_columns(buffer, position, end, rows)
    except Exception as raised:
        error = raised
    else:
        if size - position < 7 or buffer[position] != 68:
            return position
        return by_columns(buffer, position, size, rows)
    row = len(rows) + 1
    try:
        by_columns(buffer, position, size, rows)  # says in which column, if it raises as well
        blame_row(error, row)
        raise error
    finally:
        del error
"""
_RUN = """\
                if at + {width} > end:
                    break
                {names} = run_{number}(buffer, at)
                at += {width}
                if not ({checks}):
                    break
"""
_LENGTH = """\
                if at + {width} > end:
                    break
                {names} = run_{number}(buffer, at)
                at += {width}
"""
_VARIABLE = """\
                if length_{n} >= 0:
                    stop = at + length_{n}
                    if stop > end:
                        break
                    value_{n} = {value}
                    at = stop
                elif length_{n} == -1:
                    value_{n} = None
                else:
                    break
"""


def fused_decoder_source(kinds: Sequence[str]) -> tuple[str, list[str]]:
    """The source of a decoder for rows whose columns are of these kinds, and its runs' codes."""
    runs = list(_joined(kinds))
    pieces = []
    for number, (codes, names, checks, column) in enumerate(runs):
        if number:
            template = _RUN if checks else _LENGTH
            pieces.append(
                template.format(
                    number=number,
                    width=Struct("!" + codes).size,
                    names=", ".join(names) + ",",
                    checks=" and ".join(checks),
                )
            )
        if column is not None:
            text = kinds[column] == TEXT
            value = "buffer[at:stop].decode()" if text else f"decode_{column}(buffer, at, stop)"
            pieces.append(_VARIABLE.format(n=column, value=value))
    source = _ROW.format(
        need=1 + Struct("!" + runs[0][0]).size,
        names=", ".join(runs[0][1]),
        checks=" and ".join(runs[0][2]),
        columns="".join(pieces).rstrip(),
        values="".join(f"value_{n}, " for n in range(len(kinds))),
    )
    return source, [codes for codes, *_ in runs]


@lru_cache(maxsize=512)
def _compiled_fused(kinds: tuple[str, ...]) -> tuple[CodeType, list[str]]:
    source, runs = fused_decoder_source(kinds)
    return compile(source, f"<fused rows of {', '.join(kinds)}>", "exec"), runs


def generate(kinds: tuple[str, ...], decoders: Sequence[ValueDecoder]) -> RowDecoder:
    """A decoder for this layout; `decoders` are those of its columns."""
    made: list[RowDecoder] = []

    def slowly(buffer: bytes, position: int, size: int, rows: list[tuple[Any, ...]]) -> int:
        if not made:  # most statements never need it
            made.append(by_columns(kinds, decoders))
        return made[0](buffer, position, size, rows)

    code, runs = _compiled_fused(kinds)
    names: dict[str, Any] = {"by_columns": slowly, "blame_row": blame_row}
    for n, decode in enumerate(decoders):
        names[f"decode_{n}"] = decode
    for number, codes in enumerate(runs):
        names[f"run_{number}"] = Struct("!" + codes).unpack_from
    exec(code, names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


def kind_of(decode: Callable[..., Any], struct_code: str | None) -> str:
    """What a column whose values this function decodes is to the generator."""
    if decode is decode_utf8:
        return TEXT
    return struct_code or OTHER
