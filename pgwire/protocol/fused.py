"""The sources of three row decoders that take what is usual, and make no errors of their own.

`fused_source` unpacks neighbouring columns of fixed width, and the lengths around them, in one
call; `single_source` does so with a row that no other follows, as most answers have, and leaves all
else to that one. `stepwise_source` is for rows with NULLs among such columns: it unpacks each value
together with the length of the next. A row that is not as they expect (a length that is off, an
error) ends them, at its beginning. Where others may take many rows at once (`blocks`, `keyed`) the
fused one has them try first. Only numbers and struct codes get into a source.

For int4, text and timestamptz the fused source reads:

    def decode_rows(buffer, position, size, rows):
        append = rows.append
        last = size - 19
        most, came = 2, len(rows)
        while True:
            if most < 64 and size - position >= 260 and (
                buffer[position + 3] or buffer[position + 1 + buffer[position + 4]] == 68
            ):
                position = keyed(buffer, position, size, rows)
            try:
                while position <= last and buffer[position] == 68:
                    length, columns, length_0, value_0, length_1 = run_0(buffer, position + 1)
                    end = position + 1 + length
                    if end > size or columns != 3 or length_0 != 4:
                        break
                    at = position + 19
                    if length_1 >= 0:
                        stop = at + length_1
                        value_1 = buffer[at:stop].decode()
                    elif length_1 == -1:
                        value_1 = None
                        stop = at
                    else:
                        break
                    length_2, value_2, = run_1(buffer, stop)
                    if length_2 != 8:
                        break
                    stop += 12
                    try:
                        value_2 = origin_2 + step_2 * value_2
                    except OverflowError:
                        value_2 = convert_2(value_2)
                    if stop != end:
                        break
                    append((value_0, value_1, value_2, ))
                    position = end
            except StructError:
                pass  # a row at the end of the buffer that is shorter than usual
            except Exception as raised:
                error = raised
                break
            if (
                size - position < 7
                or buffer[position] != 68
                or position + int_at(buffer, position + 1)[0] >= size
            ):
                return position
            most = 1 if len(rows) - came > 4 * most else min(2 * most, 64)
            before = position
            position = stepwise(buffer, position, size, rows, most)
            if position == before:
                return by_columns(buffer, position, size, rows)
            came = len(rows)
        try:
            fail(error, buffer, position, size, rows)
        finally:
            del error

Nothing is decided before it must be: a text whose length is off may be sliced far behind its row,
but as `stop` never goes back, it does not meet `end` any more. Only functions of types are kept
from bytes that are not theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.pgtypes.generating import TEXT, conversion_of, indented, struct_code, width
from pgwire.protocol.blocks import LEAST_ROWS
from pgwire.protocol.shapes import PARSED, all_fixed, has_layouts, is_fixed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# As many rows are taken by their layouts, if there are; a call more must pay.
LEAST_KEYED = 4
# A row of less than 256 bytes ends within so many, and so does the type of what is behind it.
LEAST_BYTES = 260

_FUSED = """\
def decode_rows(buffer, position, size, rows):
    append = rows.append
    last = size - {need}
    most, came = 2, len(rows)
    while True:{many}
        try:
            while position <= last and buffer[position] == 68:
                {names} = run_0(buffer, position + 1)
                end = position + 1 + length
                if end > size or {checks}:
                    break
                {at} = position + {need}
{columns}                if stop != end:
                    break
                append(({values}))
                position = end
        except StructError:
            pass  # a row at the end of the buffer that is shorter than usual
        except Exception as raised:
            error = raised
            break
        if (
            size - position < 7
            or buffer[position] != 68
            or position + int_at(buffer, position + 1)[0] >= size
        ):
            return position
        most = 1 if len(rows) - came > 4 * most else min(2 * most, 64)
        before = position
        position = stepwise(buffer, position, size, rows, most)
        if position == before:
            return by_columns(buffer, position, size, rows)
        came = len(rows)
    try:
        fail(error, buffer, position, size, rows)
    finally:
        del error
"""
# Of many rows the second is asked for first: there may be as many answers of one row each.
_BLOCK = """
        if size - position >= {least} and buffer[position + {row}] == 68:
            position = block(buffer, position, size, rows)"""
_KEYED = """
        if most < 64 and size - position >= {least} and (
            buffer[position + 3] or buffer[position + 1 + buffer[position + 4]] == 68
        ):
            position = keyed(buffer, position, size, rows)"""
# The loop is there to be left.
_SINGLE = """\
def decode_rows(buffer, position, size, rows):
    error = None
    try:
        while True:
            {names} = run_0(buffer, position + 1)
            end = position + 1 + length
            if buffer[position] != 68 or end >= size or buffer[end] == 68 or {checks}:
                break
            {at} = position + {need}
{columns}            if stop != end:
                break
            rows.append(({values}))
            return end
    except StructError:
        pass  # it has not come as a whole yet
    except Exception as raised:
        error = raised
    if error is None:
        return many(buffer, position, size, rows)
    try:
        fail(error, buffer, position, size, rows)
    finally:
        del error
"""
_STEPWISE = """\
def decode_rows(buffer, position, size, rows, most):
    append = rows.append
    last = size - {need}
    try:
        for _ in range(most):
            if position > last or buffer[position] != 68:
                return position
            {names} = run_0(buffer, position + 1)
            end = position + 1 + length
            if end > size or {checks}:
                return position
            stop = position + {need}
{columns}            if stop != end:
                return position
            append(({values}))
            position = end
        return position
    except Exception as raised:
        error = raised
    try:
        fail(error, buffer, position, size, rows)
    finally:
        del error
"""
# Pieces for one column each; {leave} is how a row is given up.
_RUN = """\
{names} = run_{number}(buffer, stop)
if {checks}:
    {leave}
"""
_LENGTH = """\
{names} = run_{number}(buffer, stop)
"""
_VARIABLE = """\
if length_{n} >= 0:
    stop = at + length_{n}
{value}
elif length_{n} == -1:
    value_{n} = None
    stop = at
else:
    {leave}
"""
_VALUES = {
    TEXT: """\
    value_{n} = buffer[at:stop].decode()""",
    PARSED: """\
    if stop > end:
        {leave}
    value_{n} = convert_{n}(buffer[at:stop].decode())""",
}
_OTHER_VALUE = """\
    if stop > end:
        {leave}
    value_{n} = decode_{n}(buffer, at, stop)"""
_STEP = """\
if length_{n} == {width}:
    {names} = value_of_{n}(buffer, stop)
    stop += {both}
{conversion}elif length_{n} == -1:
    value_{n} = None
{next}else:
    {leave}
"""
_NEXT = """\
length_{n}, = int_at(buffer, stop)
stop += 4
"""


def _values(count: int) -> str:
    return "".join(f"value_{n}, " for n in range(count))


def _variable(n: int, kind: str, leave: str) -> str:
    value = _VALUES.get(kind, _OTHER_VALUE).format(n=n, leave=leave)
    return _VARIABLE.format(n=n, value=value, leave=leave)


def runs(kinds: Sequence[str]) -> Iterator[tuple[str, list[int], int | None]]:
    """What one call unpacks: struct codes, the columns of fixed width, and the column behind.

    A run ends with the length of a column that has no fixed width, or with the row.
    """
    codes, columns = "iH", list[int]()
    for n, kind in enumerate(kinds):
        codes += "i"
        if is_fixed(kind):
            codes += struct_code(kind)
            columns.append(n)
        else:
            yield codes, columns, n
            codes, columns = "", []
    if codes:
        yield codes, columns, None


def fused_source(kinds: Sequence[str]) -> str:
    """The source for rows whose columns are of these kinds."""
    return _FUSED.format(many=_many(kinds), **_pieces(kinds, 4))


def single_source(kinds: Sequence[str]) -> str:
    """The source for a row of its own."""
    return _SINGLE.format(**_pieces(kinds, 3))


def _pieces(kinds: Sequence[str], levels: int) -> dict[str, object]:
    """What the two have in common, so far indented."""
    first, *others = runs(kinds)
    codes, fixed, behind = first
    pieces = [_behind_run(kinds, fixed, behind)]
    for number, (more, fixed_there, behind_there) in enumerate(others, 1):
        pieces.append(
            (_RUN if fixed_there else _LENGTH).format(
                names=", ".join(_names(fixed_there, behind_there)) + ",",
                number=number,
                checks=" or ".join(checks_of(kinds, fixed_there)),
                leave="break",
            )
        )
        begin = "stop +=" if behind_there is None else "at = stop +"
        pieces.append(f"{begin} {width(more)}\n")
        pieces.append(_behind_run(kinds, fixed_there, behind_there))
    return {
        "need": 1 + width(codes),
        "names": ", ".join(["length, columns", *_names(fixed, behind)]),
        "checks": " or ".join([f"columns != {len(kinds)}", *checks_of(kinds, fixed)]),
        "at": "stop" if behind is None else "at",
        "columns": indented("".join(pieces), levels),
        "values": _values(len(kinds)),
    }


def _many(kinds: Sequence[str]) -> str:
    """The calls of what takes many rows at once, where there is such a thing for them."""
    row = 7 + sum(4 + (width(struct_code(kind)) if is_fixed(kind) else 0) for kind in kinds)
    calls = _BLOCK.format(least=LEAST_ROWS * row, row=row) if all_fixed(kinds) else ""
    if has_layouts(kinds):
        calls += _KEYED.format(least=max(LEAST_KEYED * row, LEAST_BYTES))
    return calls


def _names(fixed: Sequence[int], behind: int | None) -> list[str]:
    names = [f"length_{n}, value_{n}" for n in fixed]
    return names if behind is None else [*names, f"length_{behind}"]


def checks_of(kinds: Sequence[str], fixed: Sequence[int]) -> list[str]:
    return [f"length_{n} != {width(struct_code(kinds[n]))}" for n in fixed]


def _behind_run(kinds: Sequence[str], fixed: Sequence[int], behind: int | None) -> str:
    """What is done with what a run has unpacked, and with the column behind it."""
    source = "".join([conversion_of(n, kinds[n]) for n in fixed])
    return source if behind is None else source + _variable(behind, kinds[behind], "break")


def stepwise_source(kinds: Sequence[str]) -> str:
    """The source for rows whose columns are of these kinds, with NULLs anywhere."""
    leave = "return position"
    last = len(kinds) - 1
    pieces = []
    for n, kind in enumerate(kinds):
        following = "" if n == last else _NEXT.format(n=n + 1)
        if not is_fixed(kind):
            pieces += ["at = stop\n", _variable(n, kind, leave), following]
            continue
        size = width(struct_code(kind))
        pieces.append(
            _STEP.format(
                n=n,
                width=size,
                names=f"value_{n}," if n == last else f"value_{n}, length_{n + 1}",
                both=size if n == last else size + 4,
                conversion=indented(conversion_of(n, kind), 1),
                next=indented(following, 1),
                leave=leave,
            )
        )
    return _STEPWISE.format(
        need=7 + 4 * bool(kinds),
        names="length, columns" + ", length_0" * bool(kinds),
        checks=f"columns != {len(kinds)}",
        columns=indented("".join(pieces), 3),
        values=_values(len(kinds)),
    )


def step_codes(kinds: Sequence[str]) -> dict[int, str]:
    """What `stepwise_source` unpacks for the columns of fixed width."""
    last = len(kinds) - 1
    return {
        n: struct_code(kind) + "i" * (n != last) for n, kind in enumerate(kinds) if is_fixed(kind)
    }
