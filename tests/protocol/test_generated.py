"""Generated row decoders: what the plain decoder says, they say."""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.generating import OTHER
from pgwire.protocol.generated import by_columns, generate
from pgwire.protocol.shapes import Shape, shape_of
from tests.support.layouts import (
    REGISTRY,
    WIDTHS,
    layouts_and_rows,
    outcome,
    pair,
    row,
    shapes_of,
    value_of,
)

COMPLETE = b"C\0\0\0\x0dSELECT 1\0"


@given(layouts_and_rows(), st.binary(max_size=12), st.integers(0, 9))
def test_the_same_rows(data: tuple[list[int], list[bytes]], behind: bytes, before: int) -> None:
    """Whatever the types, with NULLs, something before, and something else behind them."""
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytes(before) + b"".join(rows) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@given(layouts_and_rows(), st.data())
def test_one_row_by_itself(data: tuple[list[int], list[bytes]], draw: st.DataObject) -> None:
    """With the end of an answer behind it, all of which comes, or some; whole, or damaged."""
    oids, rows = data
    plain, generated = pair(oids)
    for each in rows:
        answer = bytearray(each + COMPLETE)
        for _ in range(draw.draw(st.integers(0, 2))):
            at = draw.draw(st.integers(1, len(each) - 1))
            answer[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
        come = bytes(answer[: len(answer) - draw.draw(st.integers(0, len(COMPLETE) + 4))])
        if len(come) >= 7:
            assert outcome(generated, come, 0) == outcome(plain, come, 0)


@given(layouts_and_rows(), st.sampled_from([b"", COMPLETE]), st.data())
def test_the_same_errors(
    data: tuple[list[int], list[bytes]], behind: bytes, draw: st.DataObject
) -> None:
    """Bytes changed, removed and added: the same rows, or the same error at the same place."""
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytearray(b"".join(rows) + behind)
    for _ in range(draw.draw(st.integers(1, 3))):
        at = draw.draw(st.integers(0, len(buffer)))
        buffer[at : at + draw.draw(st.integers(0, 3))] = draw.draw(st.binary(max_size=3))
    damaged = bytes(buffer)
    if len(damaged) >= 7 and damaged[:1] == b"D":
        assert outcome(generated, damaged, 0) == outcome(plain, damaged, 0)


@given(layouts_and_rows(), st.integers(0, 400))
def test_the_same_stop_at_an_incomplete_row(data: tuple[list[int], list[bytes]], cut: int) -> None:
    oids, rows = data
    plain, generated = pair(oids)
    buffer = b"".join(rows)[:cut]
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_an_error_names_column_and_row() -> None:
    _, generated = pair([23, 25, 2950])
    good, bad = row([b"\0\0\0\1", b"x", bytes(16)]), row([b"\0\0\0\1", b"x", bytes(15)])
    with pytest.raises(DataError) as caught:
        generated(good + bad, 0, len(good + bad), [])
    assert caught.value.__notes__ == ["while decoding column 3 of row 2"]
    bad = row([b"\0\0\0\1", b"\xff", bytes(16)])
    with pytest.raises(DataError) as caught:
        generated(bad, 0, len(bad), [])
    assert caught.value.__notes__ == ["while decoding column 2 of row 1"]


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 4, 5])
def test_an_impossible_length_is_an_error_and_no_endless_loop(length: int) -> None:
    for oids in ([], [23], [25], [1700]):
        plain, generated = pair(oids)
        buffer = b"D" + struct.pack("!i", length) + bytes(60)
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@given(layouts_and_rows(), st.binary(max_size=12), st.integers(0, 9))
def test_column_by_column_the_same_rows(
    data: tuple[list[int], list[bytes]], behind: bytes, before: int
) -> None:
    oids, rows = data
    plain, generated = pair(oids, by_columns)
    buffer = bytes(before) + b"".join(rows) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@pytest.mark.parametrize("behind", [b"", COMPLETE])
def test_a_decoder_that_raises_but_once_is_heard(behind: bytes) -> None:
    failures = [ZeroDivisionError()]

    def decode(buffer: bytes, start: int, end: int) -> bytes:
        if failures:
            raise failures.pop()
        return buffer[start:end]

    generated = generate([Shape(OTHER, decode)])
    good = row([b"x"]) + behind
    with pytest.raises(ZeroDivisionError) as caught:
        generated(good, 0, len(good), [])
    assert caught.value.__notes__ == ["while decoding row 1"]


@given(layouts_and_rows(most=80))
def test_long_runs_with_nulls(data: tuple[list[int], list[bytes]]) -> None:
    oids, rows = data
    plain, generated = pair(oids)
    buffer = b"".join(rows)
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11, 12, 13, 70, 300])
def test_nulls_come_and_go(count: int) -> None:
    plain, generated = pair([23, 25, 20])
    null = row([None, b"x", bytes(8)])
    full = row([bytes(4), None, bytes(8)])
    for buffer in (null * count, (null * count + full * count) * 3, full * count + null):
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_an_error_behind_nulls_names_column_and_row() -> None:
    plain, generated = pair([23, 25])
    good, bad = row([None, b"x"]), row([None, b"\xff"])
    found = outcome(generated, good * 3 + bad, 0)
    assert found == outcome(plain, good * 3 + bad, 0)
    assert found[1:] == (["while decoding column 2 of row 4"], 3)


def test_a_null_at_the_end_of_the_buffer_is_no_error() -> None:
    """Less than the usual width of the columns is left to be unpacked."""
    plain, generated = pair([25, 20])
    buffer = row([b"x", bytes(8)]) + row([b"y", None])
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)
    rows: list[tuple[Any, ...]] = []
    assert generated(buffer, 0, len(buffer), rows) == len(buffer)
    assert rows == [("x", 0), ("y", None)]


def refuse(*_args: Any) -> Any:
    raise AssertionError


def test_what_is_usual_is_not_decoded_column_by_column() -> None:
    """NULLs, infinities, a row that is cut: by_columns would be several times as slow."""
    plain, generated = pair([1184, 25, 16])
    generated.__globals__["by_columns"] = refuse
    rows = [
        row([bytes(8), b"x", b"\1"]),
        row([None, b"", b"\0"]),
        row([struct.pack("!q", 2**63 - 1), None, None]),
        row([struct.pack("!q", -(2**63)), "é".encode(), b"\1"]),
    ]
    buffer = b"".join(rows * 20)[:-3]
    assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_a_row_that_is_cut_needs_no_other_decoder() -> None:
    _, generated = pair([23, 25])
    generated.__globals__["stepwise"] = generated.__globals__["by_columns"] = refuse
    whole = row([bytes(4), b"xyz"])
    for cut in range(len(whole)):
        buffer = whole + whole[:cut]
        assert generated(buffer, 0, len(buffer), []) == len(whole)


def test_a_type_with_another_decoder_is_not_taken_for_what_it_was() -> None:
    codec = replace(REGISTRY.codec(1184), decode=lambda buffer, start, end: end - start)
    assert shape_of(REGISTRY.codec(1184).decode, REGISTRY.codec(1184)).kind == "q~"
    assert shape_of(codec.decode, codec).kind == OTHER
    assert shape_of(codec.decode, REGISTRY.codec(1184)).kind == OTHER
    assert shape_of(REGISTRY.codec(23).decode, REGISTRY.codec(20)).kind == OTHER


def test_datetimes_in_another_zone() -> None:
    registry = TypeRegistry(timezone=timezone(timedelta(hours=-8)))
    assert shapes_of([1184], registry)[0].kind == "q<"
    plain, generated = pair([1184, 25], registry=registry)
    for number in (0, -63_082_281_600_000_000, 2**63 - 1, 10**15):
        buffer = row([struct.pack("!q", number), b"x"])
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


@pytest.mark.parametrize("oid", [oid for oid in WIDTHS if REGISTRY.codec(oid).converted])
@given(data=st.data())
def test_what_a_codec_says_of_its_decoder_holds(oid: int, data: st.DataObject) -> None:
    codec = REGISTRY.codec(oid)
    steps = codec.converted
    assert steps is not None
    assert steps.decode is codec.decode
    assert steps.convert is not None
    buffer = data.draw(value_of(oid) | st.binary(min_size=WIDTHS[oid], max_size=WIDTHS[oid]))
    (unpacked,) = struct.unpack("!" + steps.code, buffer)
    try:
        value = codec.decode(buffer, 0, len(buffer))
    except DataError as error:
        with pytest.raises(DataError, match=f"^{re.escape(str(error))}$"):
            steps.convert(unpacked)
        return
    assert repr(steps.convert(unpacked)) == repr(value)
    if steps.step is not None:
        with suppress(OverflowError):
            assert repr(steps.origin + steps.step * unpacked) == repr(value)
