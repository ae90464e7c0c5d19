"""Runs of rows: to tuples, or past them."""

from __future__ import annotations

from struct import error as StructError, pack
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError, ProtocolError
from pgwire.pgtypes import oids
from pgwire.protocol.decoder import (
    column_decoders,
    decode_rows,
    from_text,
    plain_decoder,
    result_formats,
    skip_rows,
)
from pgwire.protocol.messages import BINARY, TEXT
from tests.support import backend
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Callable

values = st.none() | st.binary(max_size=12)


def piece(buffer: bytes, start: int, end: int) -> bytes:
    """A decoder that shows what it was given."""
    return buffer[start:end]


def tables(width: int) -> st.SearchStrategy[list[list[bytes | None]]]:
    return st.lists(st.lists(values, min_size=width, max_size=width), max_size=6)


@given(
    st.integers(0, 4).flatmap(lambda width: st.tuples(st.just(width), tables(width))),
    st.sampled_from([b"", b"\xff" * 9, b"D"]),
    st.sampled_from([b"", backend.complete(), b"D\0\0", b"D\0\0\0\x0a\0\1", b"\0"]),
)
def test_a_run_ends_where_something_else_or_half_a_row_begins(
    table: tuple[int, list[list[bytes | None]]], before: bytes, behind: bytes
) -> None:
    width, rows = table
    run = b"".join(backend.row(*row) for row in rows)
    buffer = before + run + behind
    end = len(before) + len(run)
    decoded: list[tuple[Any, ...]] = []
    assert decode_rows([piece] * width, buffer, len(before), len(buffer), decoded) == end
    assert decoded == [tuple(row) for row in rows]
    assert skip_rows(width, buffer, len(before), len(buffer)) == end


@given(st.lists(values, min_size=1, max_size=3), st.data())
def test_decoding_and_skipping_agree_on_what_is_malformed(
    row: list[bytes | None], data: st.DataObject
) -> None:
    """Every row with a few bytes changed behind its length word."""
    message = bytearray(backend.row(*row))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(5, len(message) - 1))] = data.draw(st.integers(0, 255))
    buffer = bytes(message) + backend.row(*row) + bytes(40)
    outcomes: list[int | str] = []
    ways: list[Callable[[], int]] = [
        lambda: decode_rows([piece] * len(row), buffer, 0, len(message), []),
        lambda: skip_rows(len(row), buffer, 0, len(message)),
    ]
    for go in ways:
        try:
            outcomes.append(go())
        except ProtocolError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0] in (len(message), "the server sent a malformed DATA_ROW")


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0",
        b"\0\2" + bytes(8),
        b"\0\1",
        b"\0\1\0\0\0",
        b"\0\1\0\0\0\2x",
        b"\0\1\0\0\0\2xyz",
        b"\0\1" + pack("!i", -2),
        b"\0\1" + pack("!i", -(2**31)),
        b"\0\1" + pack("!i", 2**31 - 1) + b"x",
        b"\0\1\xff\xff\xff\xff\0",
    ],
)
def test_malformed_rows(body: bytes) -> None:
    for behind in (b"", backend.row(b"x") * 2, bytes(100)):
        buffer = backend.row(b"ok") + backend.message("D", body) + behind
        with pytest.raises(ProtocolError, match="the server sent a malformed DATA_ROW"):
            skip_rows(1, buffer, 0, len(buffer))
        with pytest.raises((ProtocolError, StructError)):  # the latter where nothing is behind
            decode_rows([piece], buffer, 0, len(buffer), [])


@pytest.mark.parametrize("length", [-1, -7, 0, 3, 5])
def test_length_words_that_are_too_small_are_no_endless_loop(length: int) -> None:
    buffer = b"D" + pack("!i", length) + b"\0\0" + bytes(20)
    with pytest.raises(ProtocolError):
        decode_rows([], buffer, 0, len(buffer), [])
    with pytest.raises(ProtocolError):
        skip_rows(0, buffer, 0, len(buffer))


def test_a_decoder_gets_its_value_and_null_never() -> None:
    seen: list[bytes] = []

    def decode(buffer: bytes, start: int, end: int) -> int:
        seen.append(buffer[start:end])
        return len(seen)

    rows: list[tuple[Any, ...]] = []
    buffer = backend.row(b"a", None, b"") + backend.row(None, b"b", None)
    decode_rows([decode] * 3, buffer, 0, len(buffer), rows)
    assert rows == [(1, None, 2), (None, 3, None)]
    assert seen == [b"a", b"", b"b"]


def test_an_error_says_which_row() -> None:
    def decode(buffer: bytes, start: int, end: int) -> str:
        return buffer[start:end].decode("ascii")

    rows: list[tuple[Any, ...]] = []
    buffer = backend.row(b"a", b"b") + backend.row(None, b"\xff")
    with pytest.raises(UnicodeDecodeError) as caught:
        decode_rows([decode] * 2, buffer, 0, len(buffer), rows)
    assert caught.value.__notes__[0].endswith("row 2")
    assert rows == [("a", "b")]


def test_the_decoder_of_a_layout_follows_types_and_formats() -> None:
    columns = [
        backend.column("a", oids.INT4),
        backend.column("b", oids.INT4),
        backend.column("c", oids.NUMERIC),
        backend.column("d", 99_999),
    ]
    formats = [BINARY, TEXT, TEXT, TEXT]
    decode = plain_decoder(column_decoders(columns, formats, REGISTRY))
    rows: list[tuple[Any, ...]] = []
    buffer = backend.row(backend.int4(-5), b"-6", b"1.50", b"(1,2)")
    assert decode(buffer, 0, len(buffer), rows) == len(buffer)
    assert repr(rows) == "[(-5, -6, Decimal('1.50'), '(1,2)')]"


def test_the_formats_to_ask_for_are_the_types_own() -> None:
    asked = [oids.INT4, oids.TEXT, oids.UUID, oids.INT4_ARRAY, 99_999]
    columns = [backend.column("x", oid) for oid in asked]
    assert result_formats(columns, REGISTRY) == [
        int(REGISTRY.codec(oid).binary_results) for oid in asked
    ]
    assert result_formats(columns, REGISTRY)[-1] == TEXT


def test_text_that_is_not_utf_8() -> None:
    decode = from_text(str.upper)
    assert decode(b"xabcx", 1, 4) == "ABC"
    with pytest.raises(DataError, match="not a valid text in UTF-8"):
        decode(b"\xff", 0, 1)
