"""Many rows that are decoded together, by blocks or by layouts: the same as one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import given, strategies as st

from tests.support.layouts import WIDTHS, at_once, outcome, pair, row, value_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEXT, NUMERIC = 25, 1700
MOST = 300


class Kind(NamedTuple):
    """Of what columns the rows are, how many there are at most, and whether with NULLs."""

    oids: Sequence[int]
    most: int
    nulls: bool


# Types of fixed width; and, most of them, of none, which take longer.
KINDS = {
    "blocks": Kind([*WIDTHS], MOST, nulls=False),
    "keyed": Kind([*WIDTHS, *[TEXT, NUMERIC] * 6], MOST // 2, nulls=True),
}


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> Iterator[Kind]:
    found: Kind = KINDS[request.param]
    if request.param == "keyed":
        with at_once():
            yield found
    else:
        yield found


def draw_run(data: st.DataObject, kind: Kind) -> tuple[list[int], list[list[bytes | None]]]:
    """Types, and the values of many rows, which repeat a few."""
    draw = data.draw
    oids = draw(st.lists(st.sampled_from(kind.oids), min_size=1, max_size=5))
    values: list[st.SearchStrategy[bytes | None]] = []
    for oid in oids:
        with_nulls = kind.nulls and draw(st.booleans())
        values.append(st.none() | value_of(oid) if with_nulls else value_of(oid))
    few = draw(st.lists(st.tuples(*values), min_size=1, max_size=4))
    count = draw(st.integers(0, kind.most))
    return oids, [list(few[n % len(few)]) for n in range(count)]


@given(st.data(), st.binary(max_size=12), st.integers(0, 9))
def test_the_same_rows(kind: Kind, data: st.DataObject, behind: bytes, before: int) -> None:
    oids, rows = draw_run(data, kind)
    plain, generated = pair(oids)
    buffer = bytes(before) + b"".join(map(row, rows)) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@given(st.data(), st.sets(st.integers(0, MOST)))
def test_the_same_rows_with_nulls_among_them(
    kind: Kind, data: st.DataObject, odd: set[int]
) -> None:
    oids, rows = draw_run(data, kind)
    for n in odd:
        if n < len(rows):
            rows[n][data.draw(st.integers(0, len(oids) - 1))] = None
    plain, generated = pair(oids)
    buffer = b"".join(map(row, rows))
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@given(st.data(), st.integers(0, 3))
def test_the_same_errors(kind: Kind, data: st.DataObject, damages: int) -> None:
    """Bytes changed, removed and added, and the end cut off anywhere."""
    oids, rows = draw_run(data, kind)
    plain, generated = pair(oids)
    buffer = bytearray(b"".join(map(row, rows)))
    for _ in range(damages):
        at = data.draw(st.integers(0, len(buffer)))
        buffer[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    del buffer[data.draw(st.integers(0, len(buffer))) :]
    damaged = bytes(buffer)
    assert outcome(generated, damaged, 0) == outcome(plain, damaged, 0)
