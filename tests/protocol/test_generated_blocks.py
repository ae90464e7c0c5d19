"""Blocks of rows of one width: the same as one row after the other.

What holds for any of them is in `test_generated_runs`.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from pgwire.protocol.blocks import LEAST_ROWS, block_decoder
from tests.support.layouts import WIDTHS, outcome, pair, row, shapes_of

DATE, TIMESTAMPTZ, INT4, UUID = 1082, 1184, 23, 2950
LAST_TIMESTAMP = struct.pack("!q", 2**63 - 1)


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
