"""Blocks of rows of one width: the same as one row after the other."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.protocol.blocks import LEAST_ROWS, block_decoder
from tests.support.layouts import WIDTHS, outcome, pair, row, shapes_of, value_of

DATE, TIMESTAMPTZ, INT4, UUID = 1082, 1184, 23, 2950
FIXED = list(WIDTHS)
LAST_TIMESTAMP = struct.pack("!q", 2**63 - 1)


@st.composite
def blocks(draw: st.DrawFn) -> tuple[list[int], list[list[bytes | None]]]:
    """Types of fixed width, and the values of many rows, which repeat a few."""
    oids = draw(st.lists(st.sampled_from(FIXED), min_size=1, max_size=5))
    few = draw(st.lists(st.tuples(*map(value_of, oids)), min_size=1, max_size=4))
    count = draw(st.integers(0, 300))
    return oids, [list(few[n % len(few)]) for n in range(count)]


@given(blocks(), st.binary(max_size=12), st.integers(0, 9))
def test_the_same_rows(
    data: tuple[list[int], list[list[bytes | None]]], behind: bytes, before: int
) -> None:
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytes(before) + b"".join(map(row, rows)) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@given(blocks(), st.sets(st.integers(0, 300)), st.data())
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


@given(blocks(), st.integers(0, 3), st.data())
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


def test_a_block_takes_what_it_can_and_leaves_the_rest() -> None:
    block = block_decoder(shapes_of([INT4]))
    numbers = [row([struct.pack("!i", n)]) for n in range(1000)]
    null = row([None])

    def taken(messages: list[bytes]) -> int:
        buffer, rows = b"".join(messages), list[tuple[Any, ...]]()
        end = block(buffer, 0, len(buffer), rows)
        assert end == len(rows) * len(numbers[0])
        assert rows == [(n,) for n in range(len(rows))]
        return len(rows)

    assert taken(numbers) == 1000
    assert taken(numbers[: LEAST_ROWS - 1]) == 0
    assert taken([*numbers[:LEAST_ROWS], numbers[0][:-1]]) == LEAST_ROWS
    # Many at once, as that went well so far; then 64, and eight times as many.
    assert taken([*numbers[:100], null, *numbers[:100]]) == 0
    assert taken([*numbers[:100], null, *numbers[:100]]) == 64
    assert taken([*numbers[:63], null, null]) == 0


@pytest.mark.parametrize("oid", [DATE, TIMESTAMPTZ, UUID, INT4])
def test_the_same_values_in_long_runs(oid: int) -> None:
    plain, generated = pair([oid, INT4])
    filler = bytes(range(16))[: WIDTHS[oid]]
    buffer = b"".join(row([filler, struct.pack("!i", n)]) for n in range(700))
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_what_python_has_no_datetime_for() -> None:
    plain, generated = pair([TIMESTAMPTZ])
    rows = [row([bytes(8)])] * 40
    for number in (LAST_TIMESTAMP, struct.pack("!q", 2**60), struct.pack("!q", 2**62 + 5)):
        buffer = b"".join([*rows, row([number]), *rows])
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_an_error_within_a_block_names_column_and_row() -> None:
    plain, generated = pair([INT4, DATE])
    good = row([bytes(4), bytes(4)])
    bad = row([bytes(4), struct.pack("!i", 2**31 - 2)])
    buffer = good * 50 + bad + good * 50
    found = outcome(generated, buffer, 0)
    assert found == outcome(plain, buffer, 0)
    assert found == (
        "the server's value is not a valid date",
        ["while decoding column 2 of row 51"],
        50,
    )
