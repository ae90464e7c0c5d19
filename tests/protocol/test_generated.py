"""Generated row decoders: what the plain decoder says, they say."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError, ProtocolError
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.decoder import column_decoders, plain_decoder
from pgwire.protocol.generated import (
    OTHER,
    by_columns,
    fused_decoder_source,
    generate,
    kind_of,
    row_decoder_source,
)
from pgwire.protocol.messages import Column

REGISTRY = TypeRegistry()
# bool, bytea, int8, int2, int4, text, oid, float4, float8, timestamptz, uuid, numeric (text)
OIDS = [16, 17, 20, 21, 23, 25, 26, 700, 701, 1184, 2950, 1700]
WIDTHS = {16: 1, 20: 8, 21: 2, 23: 4, 26: 4, 700: 4, 701: 8, 1184: 8, 2950: 16}


def pair(oids: list[int], generate: Any = generate) -> tuple[Any, Any]:
    """The plain decoder and a generated one for columns of these types."""
    columns = [Column(f"c{n}", oid) for n, oid in enumerate(oids)]
    codecs = [REGISTRY.codec(oid) for oid in oids]
    formats = [int(codec.binary_results) for codec in codecs]
    decoders = column_decoders(columns, formats, REGISTRY)
    kinds = tuple(
        kind_of(decode, codec.struct_code if codec.binary_results else None)
        for decode, codec in zip(decoders, codecs, strict=True)
    )
    return plain_decoder(decoders), generate(kinds, decoders)


def row(values: list[bytes | None]) -> bytes:
    body = struct.pack("!H", len(values))
    for value in values:
        body += struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
    return b"D" + struct.pack("!i", 4 + len(body)) + body


def outcome(decode: Any, buffer: bytes, position: int) -> Any:
    """Where it stopped and what it gave, or what it raised; floats compared by their bits."""
    rows: list[tuple[Any, ...]] = []
    try:
        end = decode(buffer, position, len(buffer), rows)
    except (ProtocolError, struct.error) as error:
        return type(error), len(rows)  # `skip_rows` will find the words for it
    except DataError as error:
        return str(error), error.__notes__, len(rows)
    return end, repr(rows)


def value_of(oid: int) -> st.SearchStrategy[bytes | None]:
    if oid == 1700:
        data = st.decimals(allow_nan=False, allow_infinity=False).map(lambda d: str(d).encode())
    elif oid in WIDTHS:
        data = st.binary(min_size=WIDTHS[oid], max_size=WIDTHS[oid])
    elif oid == 25:
        data = st.text().map(str.encode)
    else:
        data = st.binary(max_size=20)
    return st.one_of(st.none(), data)


@st.composite
def layouts_and_rows(draw: st.DrawFn) -> tuple[list[int], list[bytes]]:
    oids = draw(st.lists(st.sampled_from(OIDS), max_size=8))
    rows = draw(st.lists(st.tuples(*map(value_of, oids)), max_size=6))
    return oids, [row(list(values)) for values in rows]


@given(layouts_and_rows(), st.binary(max_size=12), st.integers(0, 9))
def test_the_same_rows(data: tuple[list[int], list[bytes]], behind: bytes, before: int) -> None:
    """Whatever the types, with NULLs, something before, and something else behind them."""
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytes(before) + b"".join(rows) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


@given(layouts_and_rows(), st.data())
def test_the_same_errors(data: tuple[list[int], list[bytes]], draw: st.DataObject) -> None:
    """Bytes changed, removed and added: the same rows, or the same error at the same place."""
    oids, rows = data
    plain, generated = pair(oids)
    buffer = bytearray(b"".join(rows))
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


def test_the_fused_source_is_made_for_eyes() -> None:
    """The docstring of the module shows it; here it is whole."""
    source, runs = fused_decoder_source(["i", "text", "other"])
    assert runs == ["iHiii", "i"]
    assert source == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    append = rows.append\n"
        "    try:\n"
        "        while size - position >= 19 and buffer[position] == 68:\n"
        "            length, columns, length_0, value_0, length_1 = run_0(buffer, position + 1)\n"
        "            end = position + 1 + length\n"
        "            if end > size:\n"
        "                return position\n"
        "            if length < 6:\n"
        "                break\n"
        "            at = position + 19\n"
        "            while at <= end and columns == 3 and length_0 == 4:\n"
        "                if length_1 >= 0:\n"
        "                    stop = at + length_1\n"
        "                    if stop > end:\n"
        "                        break\n"
        "                    value_1 = buffer[at:stop].decode()\n"
        "                    at = stop\n"
        "                elif length_1 == -1:\n"
        "                    value_1 = None\n"
        "                else:\n"
        "                    break\n"
        "                if at + 4 > end:\n"
        "                    break\n"
        "                length_2, = run_1(buffer, at)\n"
        "                at += 4\n"
        "                if length_2 >= 0:\n"
        "                    stop = at + length_2\n"
        "                    if stop > end:\n"
        "                        break\n"
        "                    value_2 = decode_2(buffer, at, stop)\n"
        "                    at = stop\n"
        "                elif length_2 == -1:\n"
        "                    value_2 = None\n"
        "                else:\n"
        "                    break\n"
        "                if at != end:\n"
        "                    break\n"
        "                append((value_0, value_1, value_2, ))\n"
        "                position = end\n"
        "                break\n"
        "            if position != end:\n"
        "                position = by_columns(buffer, position, end, rows)\n"
        "    except Exception as raised:\n"
        "        error = raised\n"
        "    else:\n"
        "        if size - position < 7 or buffer[position] != 68:\n"
        "            return position\n"
        "        return by_columns(buffer, position, size, rows)\n"
        "    row = len(rows) + 1\n"
        "    try:\n"
        "        by_columns(buffer, position, size, rows)"
        "  # says in which column, if it raises as well\n"
        "        blame_row(error, row)\n"
        "        raise error\n"
        "    finally:\n"
        "        del error\n"
    )


@pytest.mark.parametrize("length", [-(2**31), -1, 0, 4, 5])
def test_an_impossible_length_is_an_error_and_no_endless_loop(length: int) -> None:
    for oids in ([], [23], [25], [1700]):
        plain, generated = pair(oids)
        buffer = b"D" + struct.pack("!i", length) + bytes(60)
        assert outcome(generated, buffer, 0) == outcome(plain, buffer, 0)


def test_the_runs_of_fused_columns() -> None:
    kinds = ["q", "i", "text", "?", "other", "text", "h", "d"]
    assert fused_decoder_source(kinds)[1] == ["iHiqiii", "i?i", "i", "ihid"]
    assert fused_decoder_source([])[1] == ["iH"]
    assert fused_decoder_source(["text"])[1] == ["iHi"]


@given(layouts_and_rows(), st.binary(max_size=12), st.integers(0, 9))
def test_column_by_column_the_same_rows(
    data: tuple[list[int], list[bytes]], behind: bytes, before: int
) -> None:
    oids, rows = data
    plain, generated = pair(oids, by_columns)
    buffer = bytes(before) + b"".join(rows) + behind
    assert outcome(generated, buffer, before) == outcome(plain, buffer, before)


def test_a_decoder_that_raises_but_once_is_heard() -> None:
    failures = [ZeroDivisionError()]

    def decode(buffer: bytes, start: int, end: int) -> bytes:
        if failures:
            raise failures.pop()
        return buffer[start:end]

    generated = generate((OTHER,), (decode,))
    good = row([b"x"])
    with pytest.raises(ZeroDivisionError) as caught:
        generated(good, 0, len(good), [])
    assert caught.value.__notes__ == ["while decoding row 1"]


def test_the_source_is_made_for_eyes() -> None:
    assert row_decoder_source(["i", "text", "other"]) == (
        "def decode_rows(buffer, position, size, rows):\n"
        "    append = rows.append\n"
        "    try:\n"
        "        while size - position >= 7 and buffer[position] == 68:\n"
        "            length, columns = head(buffer, position + 1)\n"
        "            end = position + 1 + length\n"
        "            if end > size:\n"
        "                return position\n"
        "            if columns != 3:\n"
        "                raise malformed_row()\n"
        "            at = position + 7\n"
        "            if at + 8 <= end and (pair := pair_0(buffer, at))[0] == 4:\n"
        "                value_0 = pair[1]\n"
        "                at += 8\n"
        "            else:\n"
        "                value_0, at = value(buffer, at, end, decode_0)\n"
        "            length = read_length(buffer, at)[0]\n"
        "            stop = at + 4 + length\n"
        "            if length >= 0 and stop <= end:\n"
        "                try:\n"
        "                    value_1 = buffer[at + 4 : stop].decode()\n"
        "                except UnicodeDecodeError:\n"
        "                    decode_1(buffer, at + 4, stop)  # has the words for it\n"
        "                at = stop\n"
        "            else:\n"
        "                value_1, at = value(buffer, at, end, decode_1)\n"
        "            value_2, at = value(buffer, at, end, decode_2)\n"
        "            if at != end:\n"
        "                raise malformed_row()\n"
        "            append((value_0, value_1, value_2, ))\n"
        "            position = end\n"
        "    except Exception as error:\n"
        "        column = bisect((12, 17, 27), error.__traceback__.tb_lineno)\n"
        "        blame(error, column, len(rows) + 1)\n"
        "        raise\n"
        "    return position\n"
    )
