"""Generated row decoders: the plain decoder of `decoder`, unrolled for one layout.

What decodes most rows is fused (`fused`), for one row or for many, takes them by their length
(`keyed`), or many at once (`blocks`), and hands a row that is not as usual to one that goes column
by column, which is made by `row_decoder_source` here, takes whatever comes, and says what is wrong.
All are compiled once per layout, and those that are not needed yet, not yet. Only numbers and
struct codes get into a source, never names or texts that came from a user or a server.

The plain decoder is the specification: same rows, same errors, for whatever bytes.
"""

from __future__ import annotations

from bisect import bisect
from functools import lru_cache, partial
from struct import Struct, error as StructError
from typing import TYPE_CHECKING, Any

from pgwire.pgtypes.generating import TEXT, struct_code, width
from pgwire.protocol import keyed
from pgwire.protocol.blocks import block_decoder
from pgwire.protocol.decoder import blame, blame_row, malformed_row, read_length, read_value
from pgwire.protocol.fused import fused_source, runs, single_source, step_codes, stepwise_source
from pgwire.protocol.shapes import all_fixed, has_layouts, is_fixed, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import CodeType

    from pgwire.protocol.decoder import RowDecoder
    from pgwire.protocol.shapes import Shape

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
    line = 1 + len(pieces)
    for n, kind in enumerate(kinds):
        first_lines.append(line)
        template = _TEXT if kind == TEXT else _FIXED if _is_plain(kind) else _OTHER
        size = width(kind) if template is _FIXED else 0
        pieces.append(template.format(n=n, size=size, width=4 + size))
        line += template.count("\n")
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


def _is_plain(kind: str) -> bool:
    """Whether a value is what is unpacked."""
    return is_fixed(kind) and kind == struct_code(kind)


@lru_cache(maxsize=512)
def _compiled(kinds: tuple[str, ...]) -> CodeType:
    return compile(row_decoder_source(kinds), f"<rows of {', '.join(kinds)}>", "exec")


def by_columns(shapes: Sequence[Shape]) -> RowDecoder:
    """The decoder of these columns that goes from one to the next."""
    names: dict[str, Any] = {
        "bisect": bisect,
        "blame": blame,
        "head": Struct("!iH").unpack_from,
        "malformed_row": malformed_row,
        "read_length": read_length,
        "value": read_value,
    }
    for n, shape in enumerate(shapes):
        names[f"decode_{n}"] = shape.decode
        if _is_plain(shape.kind):
            names[f"pair_{n}"] = Struct("!i" + shape.kind).unpack_from
    exec(_compiled(tuple([shape.kind for shape in shapes])), names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


@lru_cache(maxsize=512)
def _compiled_fused(kinds: tuple[str, ...]) -> CodeType:
    return compile(fused_source(kinds), f"<fused rows of {', '.join(kinds)}>", "exec")


@lru_cache(maxsize=512)
def _compiled_single(kinds: tuple[str, ...]) -> CodeType:
    return compile(single_source(kinds), f"<single rows of {', '.join(kinds)}>", "exec")


@lru_cache(maxsize=512)
def _compiled_stepwise(kinds: tuple[str, ...]) -> CodeType:
    return compile(stepwise_source(kinds), f"<rows with NULLs of {', '.join(kinds)}>", "exec")


def generate(shapes: Sequence[Shape]) -> RowDecoder:
    """A decoder for rows with such columns."""
    kinds = tuple([shape.kind for shape in shapes])
    names = names_of(shapes)
    for number, (codes, _, _) in enumerate(runs(kinds)):
        names[f"run_{number}"] = Struct("!" + codes).unpack_from
    names["StructError"] = StructError
    for_many = names.copy()
    _put_when_needed(names, "many", lambda: _fused(shapes, kinds, for_many))
    _put_when_needed(names, "by_columns", lambda: by_columns(shapes))
    names["fail"] = partial(_fail, names)
    exec(_compiled_single(kinds), names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


def _fused(shapes: Sequence[Shape], kinds: tuple[str, ...], names: dict[str, Any]) -> RowDecoder:
    """The decoder of as many rows as there are; `names` becomes its own."""
    names["int_at"] = read_length
    _put_when_needed(names, "by_columns", lambda: by_columns(shapes))
    _put_when_needed(names, "stepwise", lambda: _stepwise(kinds, names))
    names["fail"] = partial(_fail, names)
    if all_fixed(kinds):
        names["block"] = block_decoder(shapes)
    if has_layouts(kinds):
        _put_when_worth(names, len(kinds), "keyed", lambda: _keyed(kinds, names))
    exec(_compiled_fused(kinds), names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


def _stepwise(kinds: tuple[str, ...], names: dict[str, Any]) -> Callable[..., int]:
    """The decoder of rows with NULLs; `names` are those of the fused one."""
    names = names | {"run_0": Struct("!iHi" if kinds else "!iH").unpack_from}
    for n, codes in step_codes(kinds).items():
        names[f"value_of_{n}"] = Struct("!" + codes).unpack_from
    exec(_compiled_stepwise(kinds), names)
    decoder: Callable[..., int] = names["decode_rows"]
    return decoder


@lru_cache(maxsize=512)
def _compiled_keyed(kinds: tuple[str, ...]) -> CodeType:
    return compile(keyed.keyed_source(kinds), f"<keyed rows of {', '.join(kinds)}>", "exec")


def _keyed(kinds: tuple[str, ...], names: dict[str, Any]) -> RowDecoder:
    """The decoder that takes rows by their layout; `names` are those of the fused one."""
    layouts = keyed.layouts_of(kinds)
    learner = keyed.Learner(layouts)
    names = names | {
        "layouts": layouts.by_key,
        "learn": learner.learn,
        "odd": keyed.ODD,
        "rests": learner.rests,
    }
    exec(_compiled_keyed(kinds), names)
    decoder: RowDecoder = names["decode_rows"]
    return decoder


def _put_when_needed(
    names: dict[str, Any], name: str, make: Callable[[], Callable[..., int]]
) -> None:
    """Have `make` make the function of this name when it is first called."""

    def call(*args: Any) -> int:
        made = names[name] = make()
        return made(*args)

    names[name] = call


def _put_when_worth(
    names: dict[str, Any], columns: int, name: str, make: Callable[[], RowDecoder]
) -> None:
    """Have `make` make the decoder of this name when so much has come that it is worth it."""
    left = keyed.WORTH + keyed.WORTH_PER_COLUMN * columns

    def call(buffer: bytes, position: int, size: int, rows: list[tuple[Any, ...]]) -> int:
        nonlocal left
        left -= size - position
        if left > 0:
            return position
        made = names[name] = make()
        return made(buffer, position, size, rows)

    names[name] = call


def _fail(
    names: dict[str, Any],
    error: Exception,
    buffer: bytes,
    position: int,
    size: int,
    rows: list[tuple[Any, ...]],
) -> None:
    """Raise what went wrong in the row at `position`, or behind it."""
    row = len(rows) + 1
    try:
        # It says in which column, if it raises as well.
        names["by_columns"](buffer, position, size, rows)
        blame_row(error, row)
        raise error
    finally:
        del error
