"""pgvector's vector and halfvec: the stored numbers, the same in both formats; NumPy's arrays."""

from __future__ import annotations

import array
import math
import struct
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy
import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.extensions import EXTENSIONS
from pgwire.pgtypes.vectors import numpy_codec
from tests.pgtypes.helpers import CODECS, decode, encode, exactly, reason, refused

if TYPE_CHECKING:
    from pgwire.pgtypes.codec import Codec

VECTOR = EXTENSIONS["vector"](70_000, 70_001)
HALFVEC = EXTENSIONS["halfvec"](70_002, 70_003)
SPARSEVEC = EXTENSIONS["sparsevec"](70_004, 70_005)
DENSE = {"vector": VECTOR, "halfvec": HALFVEC}
WIDTHS = {"vector": 32, "halfvec": 16}
each = pytest.mark.parametrize("codec", DENSE.values(), ids=DENSE)
with_numpy = pytest.mark.parametrize(
    ("codec", "dtype"), [(VECTOR, "float32"), (HALFVEC, "float16")], ids=DENSE
)
POINT_1 = struct.unpack(">f", struct.pack(">f", 0.1))[0]
HALF_POINT_1 = struct.unpack(">e", struct.pack(">e", 0.1))[0]


def finite(width: int) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]


def numbers(codec: Codec) -> st.SearchStrategy[list[float]]:
    return st.lists(finite(WIDTHS[codec.name]), min_size=1, max_size=8)


class Loud:
    """A number by its `__float__` alone."""

    def __float__(self) -> float:
        return 1.5


# ---------------------------------------------------------------- vector, halfvec


@each
@given(data=st.data())
def test_both_formats_give_the_list(codec: Codec, data: st.DataObject) -> None:
    value = data.draw(numbers(codec))
    for got in (decode(codec, encode(codec, value)), codec.decode_text(codec.literal(value))):
        assert exactly(got) == exactly(value)


# What pgvector 0.8.6 sends, in both formats.
@pytest.mark.parametrize(
    ("codec", "text", "data"),
    [
        (VECTOR, "[1,0.1]", "0002 0000 3f800000 3dcccccd"),
        (VECTOR, "[3.4e+38,1e-45,-0]", "0003 0000 7f7fc99e 00000001 80000000"),
        (VECTOR, "[1.2345679e+08]", "0001 0000 4ceb79a3"),
        (HALFVEC, "[1,0.099975586]", "0002 0000 3c00 2e66"),
        (HALFVEC, "[65504,5.9604645e-08,-0]", "0003 0000 7bff 0001 8000"),
        (HALFVEC, "[0.33325195,6.097555e-05,12344]", "0003 0000 3555 03ff 7207"),
    ],
)
def test_text_and_binary_are_the_same_numbers(codec: Codec, text: str, data: str) -> None:
    value = decode(codec, bytes.fromhex(data))
    assert exactly(codec.decode_text(text)) == exactly(value)
    assert encode(codec, value) == bytes.fromhex(data)


@given(finite(32))
def test_a_float4_reads_the_same_as_an_element(number: float) -> None:
    text = repr(numpy.float32(number)).removeprefix("np.float32(").removesuffix(")")
    text = text.removesuffix(".0")
    assert exactly(VECTOR.decode_text(f"[{text}]")) == exactly([CODECS["float4"].decode_text(text)])


@pytest.mark.parametrize(
    "value",
    [
        [1.5, 2.0],
        (1.5, 2),
        [Decimal("1.5"), 2],
        [Loud(), 2],
        [numpy.float64(1.5), numpy.int8(2)],
        array.array("d", [1.5, 2]),
        numpy.array([1.5, 2], "float32"),
        numpy.array([1.5, 2], "float64"),
        numpy.array([1.5, 2], ">f4"),
        numpy.array([1.5, 9, 2])[::2],
    ],
)
def test_sequences_of_numbers_are_taken(value: Any) -> None:
    for codec, number in ((VECTOR, "f"), (HALFVEC, "e")):
        for twin in (codec, numpy_codec(codec, numpy)):
            assert encode(twin, value) == b"\0\2\0\0" + struct.pack(f">2{number}", 1.5, 2)
            assert twin.literal(value) == "[1.5,2.0]"


def test_numbers_are_rounded_once() -> None:
    assert decode(VECTOR, encode(VECTOR, [0.1, 1e-50])) == [POINT_1, 0.0]
    assert decode(HALFVEC, encode(HALFVEC, [0.1, 1e-9])) == [HALF_POINT_1, 0.0]
    # By way of a float4 it would be half-way, and be rounded to the even 1.0.
    assert decode(HALFVEC, encode(HALFVEC, [1 + 2**-11 + 2**-40])) == [1 + 2**-10]
    assert encode(HALFVEC, [65519]) == encode(HALFVEC, [65504.0])


@each
@pytest.mark.parametrize(
    ("value", "words"),
    [
        (5, "expected list or tuple of float, got int 5"),
        (1.5, "expected list or tuple of float, got float 1.5"),
        ({1.5}, "expected list or tuple of float, got set"),
        (b"secret", "expected list or tuple of float, got bytes"),
        (memoryview(b"secret"), "expected list or tuple of float, got memoryview"),
        (numpy.float32(1.5), "expected list or tuple of float, got float32"),
        ([], "has 1 to 32767 dimensions, not 0"),
        ([0.0] * 32768, "has 1 to 32767 dimensions, not 32768"),
        ([1.5, "secret"], "element [1]: expected float, got str"),
        ([1.5, True], "element [1]: expected float, got bool"),
        ([None], "element [0]: expected float, got NoneType"),
        ([[1.5]], "element [0]: expected float, got list"),
        (numpy.array([[1.5]], "float32"), "element [0]: expected float, got list"),
        (numpy.array([[1.5]], "float16"), "element [0]: expected float, got list"),
        ([1.5, math.nan], "element [1]: expected a finite float, got float nan"),
        ([math.inf, -math.inf], "element [0]: expected a finite float, got float inf"),
        ([Decimal("Infinity")], "element [0]: expected a finite float, got Decimal Infinity"),
        (numpy.array([math.nan], "float32"), "element [0]: expected a finite float"),
        (numpy.array([math.inf], "float16"), "element [0]: expected a finite float"),
        (numpy.array([], "float32"), "has 1 to 32767 dimensions, not 0"),
        (numpy.array([], "float16"), "has 1 to 32767 dimensions, not 0"),
        ([0, 1e39], "range, got float 1e+39"),
        ([0, 10**40], "range, got int 1"),
        ([0, 10**400], "element [1]: expected float within float8's range, got int of 1329 bits"),
        ([Decimal("1e400")], "element [0]: expected float within float8's range, got Decimal"),
    ],
)
def test_others_are_refused(codec: Codec, value: Any, words: str) -> None:
    for twin in (codec, numpy_codec(codec, numpy)):
        assert words in refused(twin, value)
        assert reason(twin.literal, value) == refused(twin, value)
        assert "secret" not in refused(twin, value)


def test_what_overflows_names_the_type() -> None:
    assert refused(VECTOR, [3.5e38]) == (
        "element [0]: expected float within vector's range, got float 3.5e+38"
    )
    assert refused(HALFVEC, [0, 65520]) == (
        "element [1]: expected float within halfvec's range, got int 65520"
    )


@each
@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0\1\0",
        b"\0\0\0\0",  # no dimensions
        b"\0\2\0\0" + bytes(3),
        b"\0\1\0\0" + bytes(3),
        b"\0\1\0\1" + bytes(4),  # the unused half
        b"\0\1\0\1" + bytes(2),
        b"\xff\xff\0\0" + bytes(4),
        b"\0\1\0\0\x7f\xc0\0\0",
        b"\0\1\0\0\x7f\x80\0\0",
        b"\0\1\0\0\x7c\0",
        b"\0\2\0\0\x7c\0\xfc\0",
        b"\0\2\0\0\x7f\x80\0\0\xff\x80\0\0",
    ],
)
def test_malformed_bytes_are_refused(codec: Codec, data: bytes) -> None:
    assert f"not a valid {codec.name}" in reason(decode, codec, data)
    assert f"not a valid {codec.name}" in reason(decode, numpy_codec(codec, numpy), data)


@each
@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "]",
        "1,2",
        "[1,2",
        "1]",
        "[1,]",
        "[1, 2]",
        "[1]\n",
        "[+1]",
        "[1_0]",
        "[nan]",
        "[NaN]",
        "[Infinity]",
        "[-Infinity]",
        "[1e39]",
        "[[1]]",
        "(1)",
        "{1}",
        "[x]",
        "[1;2]",
    ],
)
def test_malformed_text_is_refused(codec: Codec, text: str) -> None:
    assert reason(codec.decode_text, text) == f"the server's value is not a valid {codec.name}"


@pytest.mark.parametrize("text", ["[65520]", "[1e38]", "[0.1]", "[1e-45]", "[1.0001]"])
def test_text_of_no_half_is_no_halfvec(text: str) -> None:
    assert "not a valid halfvec" in reason(HALFVEC.decode_text, text)


@each
@given(data=st.binary(max_size=14) | st.binary(max_size=12).map(lambda b: b"\0\2\0\0" + b))
def test_any_bytes_give_a_list_or_a_data_error(codec: Codec, data: bytes) -> None:
    try:
        value = decode(codec, data)
    except DataError:
        return
    assert encode(codec, value) == data


@given(st.text() | st.text("[],.0123456789e+-", max_size=12))
def test_any_text_gives_a_value_or_a_data_error(text: str) -> None:
    for codec in (VECTOR, HALFVEC):
        try:
            value = codec.decode_text(text)
        except DataError:
            continue
        assert codec.decode_text(codec.literal(value)) == value


@given(st.lists(st.floats() | st.integers() | st.decimals(), min_size=1, max_size=4))
def test_the_quick_way_is_the_plain_way(value: list[Any]) -> None:
    for codec in (VECTOR, HALFVEC):
        plainly = codec.encode.__self__.encode_plainly  # type: ignore[attr-defined]
        try:
            expected = plainly(value)
        except DataError:
            assert refused(codec, value) == reason(plainly, value)
        else:
            assert encode(codec, value) == expected


@each
def test_vectors_are_one_list_deep(codec: Codec) -> None:
    assert codec.depth == 1
    assert codec.takes_tuple
    assert not codec.takes_str


# ---------------------------------------------------------------- NumPy's arrays


@with_numpy
@given(data=st.data())
def test_numpys_arrays_have_the_same_numbers(codec: Codec, dtype: str, data: st.DataObject) -> None:
    value = data.draw(numbers(codec))
    mine = numpy_codec(codec, numpy)
    for got in (decode(mine, encode(codec, value)), mine.decode_text(codec.literal(value))):
        assert type(got) is numpy.ndarray
        assert (got.dtype, got.shape) == (numpy.dtype(dtype), (len(value),))
        assert got.dtype.isnative
        assert exactly(got.tolist()) == exactly(value)
        assert encode(mine, got) == encode(codec, value)
        got[0] = 5  # it is the caller's


@with_numpy
def test_a_codec_of_arrays_is_the_type_otherwise(codec: Codec, dtype: str) -> None:
    mine = numpy_codec(codec, numpy)
    assert (mine.name, mine.oid, mine.array_oid) == (codec.name, codec.oid, codec.array_oid)
    assert mine.depth == 1
    assert mine.gives == f"`numpy.ndarray` of {dtype}"
    assert encode(mine, [1, 2.5]) == encode(codec, [1, 2.5])


@pytest.mark.parametrize(
    "codec", [SPARSEVEC, CODECS["text"], CODECS["int4"]], ids=lambda codec: codec.name
)
def test_no_other_type_is_an_array(codec: Codec) -> None:
    mine = numpy_codec(codec, numpy)
    assert mine.struct_code is None
    for words in (
        reason(mine.decode, b"", 0, 0),
        reason(mine.decode_text, ""),
        reason(mine.encode, numpy.array([1.5])),
        reason(mine.literal, numpy.array([1.5])),
    ):
        assert f"registered for {codec.name}, but can only stand for pgvector's" in words
