"""sparsevec: the numbers of a vector that are not 0, however many there are in all."""

from __future__ import annotations

import array
import copy
import math
import pickle
import struct
from typing import Any

import numpy
import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError
from pgwire.pgtypes.extensions import EXTENSIONS
from pgwire.pgtypes.vectors import SparseVector
from tests.pgtypes.helpers import decode, encode, exactly, reason, refused

SPARSEVEC = EXTENSIONS["sparsevec"](70_000, 70_001)
POINT_1 = struct.unpack(">f", struct.pack(">f", 0.1))[0]


def finite(width: int) -> st.SearchStrategy[float]:
    return st.floats(width=width, allow_nan=False, allow_infinity=False)  # type: ignore[arg-type]


sparse_vectors = st.dictionaries(st.integers(1, 10**9), finite(32), max_size=6).map(
    lambda values: SparseVector(10**9, values)
)


@given(sparse_vectors)
def test_both_formats_give_the_sparse_vector(value: SparseVector) -> None:
    for got in (
        decode(SPARSEVEC, encode(SPARSEVEC, value)),
        SPARSEVEC.decode_text(SPARSEVEC.literal(value)),
    ):
        assert got == value
        assert exactly(got) == exactly(value)


@pytest.mark.parametrize(
    ("text", "data", "value"),
    [
        (
            "{1:1.5,3:0.1}/5",
            "00000005 00000002 00000000 00000000 00000002 3fc00000 3dcccccd",
            SparseVector(5, {1: 1.5, 3: POINT_1}),
        ),
        ("{}/5", "00000005 00000000 00000000", SparseVector(5, {})),
        (
            "{1000000000:-1}/1000000000",
            "3b9aca00 00000001 00000000 3b9ac9ff bf800000",
            SparseVector(10**9, {10**9: -1}),
        ),
    ],
)
def test_the_servers_formats_are_read(text: str, data: str, value: SparseVector) -> None:
    assert SPARSEVEC.decode_text(text) == decode(SPARSEVEC, bytes.fromhex(data)) == value
    assert encode(SPARSEVEC, value) == bytes.fromhex(data)


def test_a_list_is_taken_with_its_zeros_left_out() -> None:
    value = decode(SPARSEVEC, encode(SPARSEVEC, [1.5, 0, -0.0, 2, 1e-50]))
    assert value == SparseVector(5, {1: 1.5, 4: 2})
    assert SPARSEVEC.literal([1.5, 0, 0.1]) == f"{{1:1.5,3:{POINT_1!r}}}/3"


def test_a_sparse_vector_is_a_value() -> None:
    entries: dict[Any, Any] = {3: 2, 1: 1.5, 2: 0.0, numpy.int64(4): numpy.float32(-0.0)}
    value = SparseVector(5, entries)
    assert value == SparseVector(5, {1: 1.5, 3: 2.0})
    assert (value.dimensions, dict(value.values)) == (5, {1: 1.5, 3: 2.0})
    assert list(value.values) == [1, 3]
    assert value != SparseVector(6, {1: 1.5, 3: 2.0})
    assert value != SparseVector(5, {1: 1.5})
    assert value != [1.5, 0.0, 2.0, 0.0, 0.0]
    assert hash(value) == hash(SparseVector(5, {1: 1.5, 3: 2.0}))
    assert repr(value) == "SparseVector(5, {1: 1.5, 3: 2.0})"
    assert str(value) == "{1:1.5,3:2.0}/5"
    for twin in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert twin == value


def test_a_sparse_vector_cannot_be_changed() -> None:
    source = {1: 1.5}
    value = SparseVector(5, source)
    source[2] = 2.5
    assert value == SparseVector(5, {1: 1.5})
    with pytest.raises(TypeError):
        value.values[2] = 2.5  # type: ignore[index]
    with pytest.raises(AttributeError):
        value.dimensions = 6  # type: ignore[misc]
    with pytest.raises(AttributeError):
        value.other = 6  # type: ignore[attr-defined]


@given(st.lists(finite(64), min_size=1, max_size=8))
def test_lists_and_sparse_vectors_stand_for_each_other(value: list[float]) -> None:
    assert SparseVector.from_list(value).to_list() == value
    assert SparseVector.from_list(iter(value)) == SparseVector.from_list(numpy.array(value))


@pytest.mark.parametrize(
    ("dimensions", "values", "words"),
    [
        (0, {}, "expected dimensions from 1 to 2147483647, got int 0"),
        (2**31, {}, "expected dimensions from 1 to 2147483647, got int 2147483648"),
        (1.0, {}, "expected int as dimensions of a sparsevec, got float 1.0"),
        (True, {}, "expected int as dimensions of a sparsevec, got bool"),
        (5, {0: 1.5}, "expected an index from 1 to 5, got int 0"),
        (5, {6: 1.5}, "expected an index from 1 to 5, got int 6"),
        (5, {"1": 1.5}, "expected int as an index of a sparsevec, got str"),
        (5, {True: 1.5}, "expected int as an index of a sparsevec, got bool"),
        (5, {1: "secret"}, "expected float, got str"),
        (5, {1: False}, "expected float, got bool"),
        (5, {1: math.nan}, "expected a finite float, got float nan"),
        (5, [1.5], "expected dict of int to float, got list; SparseVector.from_list() takes lists"),
    ],
)
def test_what_is_no_sparse_vector_cannot_be_made(dimensions: Any, values: Any, words: str) -> None:
    assert reason(SparseVector, dimensions, values) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({1: 1.5}, "expected pgwire.SparseVector, or list or tuple of float, got dict"),
        ([], "expected dimensions from 1 to 2147483647, got int 0"),
        (["secret"], "expected float, got str"),
        (SparseVector(5, {1: 1e39}), "expected float within sparsevec's range, got float 1e+39"),
    ],
)
def test_what_is_no_sparsevec_is_refused(value: Any, words: str) -> None:
    assert refused(SPARSEVEC, value) == words
    assert reason(SPARSEVEC.literal, value) == words


@pytest.mark.parametrize(
    "data",
    [
        "",
        "00000005 00000000 000000",
        "00000000 00000000 00000000",  # no dimensions
        "80000000 00000000 00000000",
        "00000005 00000001 00000000",  # more numbers than bytes
        "00000005 7fffffff 00000000 00000000 3fc00000",
        "00000005 ffffffff 00000000",
        "00000005 00000000 00000001",  # what is unused
        "00000005 00000001 00000000 00000000 3fc00000 00",
        "00000005 00000001 00000000 00000005 3fc00000",  # an index beyond the last
        "00000005 00000001 00000000 ffffffff 3fc00000",
        "00000005 00000001 00000000 00000000 00000000",  # a zero
        "00000005 00000001 00000000 00000000 7fc00000",
        "00000005 00000002 00000000 00000000 00000000 3fc00000 3fc00000",  # an index twice
        "00000005 00000002 00000000 00000001 00000000 3fc00000 3fc00000",  # out of order
    ],
)
def test_malformed_sparse_bytes_are_refused(data: str) -> None:
    assert "not a valid sparsevec" in reason(decode, SPARSEVEC, bytes.fromhex(data))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{1:1}/5\n",
        "{1: 1}/5",
        "{}",
        "{}/",
        "{}/0",
        "{}/05",
        "{}/2147483648",
        "{1:1,}/5",
        "{,1:1}/5",
        "{0:1}/5",
        "{6:1}/5",
        "{01:1}/5",
        "{-1:1}/5",
        "{1:0}/5",
        "{1:}/5",
        "{1}/5",
        "{1:1;2:1}/5",
        "{1:1,1:1}/5",
        "{2:1,1:1}/5",
        "{1:NaN}/5",
        "{1:Infinity}/5",
        "{1:1e39}/5",
    ],
)
def test_malformed_sparse_text_is_refused(text: str) -> None:
    assert reason(SPARSEVEC.decode_text, text) == "the server's value is not a valid sparsevec"


@given(
    st.binary(max_size=30)
    | st.binary(max_size=18).map(lambda rest: b"\0\0\0\5\0\0\0\1\0\0\0\0\0\0\0" + rest)
)
def test_any_bytes_give_a_sparse_vector_or_a_data_error(data: bytes) -> None:
    try:
        value = decode(SPARSEVEC, data)
    except DataError:
        return
    assert encode(SPARSEVEC, value) == data


def test_a_sparse_vector_may_be_in_arrays() -> None:
    assert SPARSEVEC.depth == 1
    assert SPARSEVEC.takes_tuple


@given(
    st.text()
    | st.text("0123456789e+-{}:/,", max_size=12)
    | st.text("0123:,").map("{{{}}}/5".format)
)
def test_any_text_gives_a_sparse_vector_or_a_data_error(text: str) -> None:
    try:
        value = SPARSEVEC.decode_text(text)
    except DataError:
        return
    assert SPARSEVEC.decode_text(SPARSEVEC.literal(value)) == value


@pytest.mark.parametrize(
    "value", [[1.5, 0, 2], (1.5, 0.0, 2.0), array.array("f", [1.5, 0, 2]), numpy.array([1.5, 0, 2])]
)
def test_sequences_of_numbers_are_taken(value: Any) -> None:
    assert decode(SPARSEVEC, encode(SPARSEVEC, value)) == SparseVector(3, {1: 1.5, 3: 2})
    assert SPARSEVEC.literal(value) == "{1:1.5,3:2.0}/3"
