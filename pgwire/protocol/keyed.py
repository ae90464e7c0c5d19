"""The source of a decoder of rows with one column of text, all others of a fixed width.

The length of such a row's message tells how long its text is, if nothing in it is NULL. So there is
one Struct for each length, which unpacks the whole row in one call; what it unpacks says whether it
was the right one. A row for which it is not (NULLs, 256 bytes and more) is left to others, and so
is one whose values cannot be made: no errors are made here.

For int4, text and timestamptz the source reads:

    def decode_rows(buffer, position, size, rows):
        append = rows.append
        last = size - 31
        try:
            while position <= last and buffer[position] == 68:
                key = buffer[position + 4]
                unpack, text = layouts[key] or layout(key)
                start = position + 1
                length, columns, length_0, value_0, length_1, value_1, length_2, value_2 = (
                    unpack(buffer, start))
                if length != key or length_1 != text or (
                        columns != 3 or length_0 != 4 or length_2 != 8):
                    break
                try:
                    value_2 = origin_2 + step_2 * value_2
                except OverflowError:
                    value_2 = convert_2(value_2)
                append((value_0, value_1.decode(), value_2, ))
                position = start + length
        except Exception:
            pass  # it is raised again by who decodes the row in another way
        return position
"""

from __future__ import annotations

from functools import lru_cache
from struct import Struct
from typing import TYPE_CHECKING, Any

from pgwire.protocol.fused import checks_of, conversion_of, indented
from pgwire.protocol.shapes import PARSED, TEXT, is_fixed, struct_code, width

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    # What unpacks a row, and how long its text is.
    Layout = tuple[Callable[..., tuple[Any, ...]], int]

# It takes so many bytes of rows until compiling the source has paid.
WORTH = 200_000
_KEYED = """\
def decode_rows(buffer, position, size, rows):
    append = rows.append
    last = size - {need}
    try:
        while position <= last and buffer[position] == 68:
            key = buffer[position + 4]
            unpack, text = layouts[key] or layout(key)
            start = position + 1
            length, columns, {names} = (
                unpack(buffer, start))
            if length != key or length_{text} != text or (
                    {checks}):
                break
{conversions}            append(({values}))
            position = start + length
    except Exception:
        pass  # it is raised again by who decodes the row in another way
    return position
"""
_VALUES = {
    TEXT: "value_{n}.decode(), ",
    PARSED: "convert_{n}(value_{n}.decode()), ",
}


@lru_cache(maxsize=64)
def layouts_of(kinds: tuple[str, ...]) -> tuple[list[Layout | None], Callable[[int], Layout]]:
    """The layouts that are known, by the length of the message, and what makes the others.

    They are for all who have rows of these kinds.
    """
    codes = ["i" + (struct_code(kind) if is_fixed(kind) else "%ds") for kind in kinds]
    all_codes = "!iH" + "".join(codes)
    rest = Struct(all_codes % 0).size
    layouts: list[Layout | None] = [None] * 256

    def layout(key: int) -> Layout:
        text = key - rest  # below 0 there is no such Struct
        made = layouts[key] = Struct(all_codes % text).unpack_from, text
        return made

    return layouts, layout


def keyed_source(kinds: Sequence[str]) -> str:
    """The source for rows whose columns are of these kinds."""
    fixed = [n for n, kind in enumerate(kinds) if is_fixed(kind)]
    (text,) = {*range(len(kinds))}.difference(fixed)
    return _KEYED.format(
        need=7 + sum(4 + width(struct_code(kinds[n])) for n in fixed) + 4,
        names=", ".join(f"length_{n}, value_{n}" for n in range(len(kinds))),
        text=text,
        checks=" or ".join([f"columns != {len(kinds)}", *checks_of(kinds, fixed)]),
        conversions=indented("".join(conversion_of(n, kinds[n]) for n in fixed), 3),
        values="".join(
            _VALUES.get(kind, "value_{n}, ").format(n=n) for n, kind in enumerate(kinds)
        ),
    )
