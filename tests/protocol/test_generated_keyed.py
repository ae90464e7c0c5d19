"""Rows with one column of text, unpacked by the length of their message: the same rows."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.protocol import keyed
from pgwire.protocol.blocks import LEAST_ROWS
from pgwire.protocol.generated import generate
from pgwire.protocol.keyed import keyed_source, layouts_of
from tests.support.layouts import WIDTHS, outcome, pair, row, shapes_of, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator

INT4, TEXT, NUMERIC, TIMESTAMPTZ = 23, 25, 1700, 1184
LAST_TIMESTAMP = struct.pack("!q", 2**63 - 1)


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """Without waiting until it is worth it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyed, "WORTH", 0)
        yield


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[int], list[list[bytes | None]]]:
    """Types, one of them without a fixed width, and the values of many rows, which repeat a few."""
    oids = draw(st.lists(st.sampled_from(list(WIDTHS)), max_size=4))
    oids.insert(draw(st.integers(0, len(oids))), draw(st.sampled_from([TEXT, TEXT, NUMERIC])))
    few = draw(st.lists(st.tuples(*map(value_of, oids)), min_size=1, max_size=4))
    count = draw(st.integers(0, 150))
    return oids, [list(few[n % len(few)]) for n in range(count)]


@given(runs(), st.binary(max_size=12), st.integers(0, 9))
def test_the_same_rows(
    data: tuple[list[int], list[list[bytes | None]]], behind: bytes, before: int
) -> None:
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytes(before) + b"".join(map(row, rows)) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@given(runs(), st.sets(st.integers(0, 150)), st.data())
def test_the_same_rows_with_nulls_among_them(
    data: tuple[list[int], list[list[bytes | None]]], odd: set[int], draw: st.DataObject
) -> None:
    oids, rows = data
    for n in odd:
        if n < len(rows):
            rows[n][draw.draw(st.integers(0, len(oids) - 1))] = None
    plain, generated = pair(oids)
    buffer = b"".join(map(row, rows))
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@given(runs(), st.integers(0, 3), st.data())
def test_the_same_errors(
    data: tuple[list[int], list[list[bytes | None]]], damages: int, draw: st.DataObject
) -> None:
    """Bytes changed, removed and added, and the end cut off anywhere."""
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytearray(b"".join(map(row, rows)))
    for _ in range(damages):
        at = draw.draw(st.integers(0, len(buffer)))
        buffer[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    del buffer[draw.draw(st.integers(0, len(buffer))) :]
    damaged = bytes(buffer)
    assert outcome(generated, damaged, 0) == outcome(plain, damaged, 0)


@pytest.mark.parametrize("offset", range(7 + 8 + 20 + 8))
def test_each_byte_is_looked_at(offset: int) -> None:
    """Of 41 rows the last is damaged: its type, its length, its columns, a column's length."""
    plain, generated = pair([INT4, TEXT, INT4])
    good = row([bytes(4), b"x" * 16, bytes(4)])
    for change in (1, 4, 255):
        damaged = bytearray(good)
        damaged[offset] ^= change
        buffer = good * 40 + bytes(damaged)
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@pytest.mark.parametrize("length", [0, 1, 127, 128, 200, 228, 229, 240, 255, 256, 300, 484, 70_000])
def test_short_texts_and_long_ones(length: int) -> None:
    """256 bytes and more are left to others: what is looked up is the last byte of a length."""
    plain, generated = pair([INT4, TEXT, TIMESTAMPTZ])
    short = row([bytes(4), b"short", bytes(8)])
    buffer = short * 33 + row([bytes(4), b"x" * length, bytes(8)]) + short * 33
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_what_python_has_no_datetime_for() -> None:
    plain, generated = pair([TEXT, TIMESTAMPTZ])
    usual = row([b"x", bytes(8)])
    for number in (LAST_TIMESTAMP, struct.pack("!q", 2**60), struct.pack("!q", 2**62 + 5)):
        buffer = usual * 40 + row([b"y", number]) + usual * 40
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@pytest.mark.parametrize("values", [[b"\xff", bytes(4)], [b"x", struct.pack("!i", 2**31 - 2)]])
def test_an_error_names_column_and_row(values: list[bytes]) -> None:
    plain, generated = pair([TEXT, 1082])
    buffer = row([b"x", bytes(4)]) * 50 + row(values)
    found = outcome(generated, buffer, 0)
    assert found == outcome(plain, buffer, 0)
    column = 1 if values[0] == b"\xff" else 2
    assert found[1:] == ([f"while decoding column {column} of row 51"], 50)


def test_it_is_compiled_when_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[Any]()

    def source(kinds: Any) -> str:
        made.append(kinds)
        return keyed_source(kinds)

    monkeypatch.setattr(keyed, "keyed_source", source)
    message = row([bytes(2), b"text", bytes(2)])
    buffer = message * (2 * LEAST_ROWS)
    monkeypatch.setattr(keyed, "WORTH", 3 * len(buffer))
    decode = generate(shapes_of([21, TEXT, 21]))
    rows = list[tuple[Any, ...]]()
    for count in range(1, 6):
        assert decode(buffer, 0, len(buffer), rows) == len(buffer)
        assert rows == [(0, "text", 0)] * (count * 2 * LEAST_ROWS)
        assert len(made) == (count >= 3)


def test_layouts_are_made_once_and_shared() -> None:
    kinds = ("i", "text")
    layouts, layout = layouts_of(kinds)
    made = layout(30)
    assert layouts[30] is made
    assert layouts_of(kinds)[0] is layouts


def test_the_source() -> None:
    """The docstring of the module shows it; here it is whole."""
    assert keyed_source(["i", "text", "q~"]) == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    append = rows.append\n"
        "    last = size - 31\n"
        "    try:\n"
        "        while position <= last and buffer[position] == 68:\n"
        "            key = buffer[position + 4]\n"
        "            unpack, text = layouts[key] or layout(key)\n"
        "            start = position + 1\n"
        "            length, columns, length_0, value_0, length_1, value_1, length_2, value_2 = (\n"
        "                unpack(buffer, start))\n"
        "            if length != key or length_1 != text or (\n"
        "                    columns != 3 or length_0 != 4 or length_2 != 8):\n"
        "                break\n"
        "            try:\n"
        "                value_2 = origin_2 + step_2 * value_2\n"
        "            except OverflowError:\n"
        "                value_2 = convert_2(value_2)\n"
        "            append((value_0, value_1.decode(), value_2, ))\n"
        "            position = start + length\n"
        "    except Exception:\n"
        "        pass  # it is raised again by who decodes the row in another way\n"
        "    return position\n"
    )
