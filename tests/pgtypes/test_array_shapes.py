"""Which Python values are arrays, what their dimensions are, and what they hold."""

from __future__ import annotations

import array
import copy
import pickle
from collections import UserList, deque
from dataclasses import replace
from typing import Any, NamedTuple

import pytest

from pgwire.pgtypes import Array, Literal
from pgwire.pgtypes.array_shapes import flattened
from pgwire.pgtypes.arrays import array_codec
from pgwire.pgtypes.composites import Field, composite_codec
from pgwire.pgtypes.text import literal_codec
from tests.pgtypes.helpers import CODECS, exactly, reason, refused, round_trip

INT4S, TEXTS, JSONBS = CODECS["int4[]"], CODECS["text[]"], CODECS["jsonb[]"]
PAIR = composite_codec(
    "pair", 70_000, 70_001, [Field("a", CODECS["int4"]), Field("b", CODECS["text"])]
)
PAIRS = array_codec(PAIR)
# Domains over arrays have arrays, whose elements are lists.
ROW = replace(INT4S, name="row", oid=70_002, array_oid=70_003)
ROWS = array_codec(ROW)
TABLE = replace(ROWS, name="table", oid=70_004, array_oid=70_005)
TABLES = array_codec(TABLE)


class Matrix:
    """As NumPy's arrays are."""

    def __init__(self, items: Any) -> None:
        self.items = items

    def tolist(self) -> Any:
        return self.items


class Two(NamedTuple):
    a: int
    b: str


@pytest.mark.parametrize(
    ("value", "items"),
    [
        ([1, 2], [1, 2]),
        ((1, 2), [1, 2]),
        ({1}, [1]),
        (frozenset([1]), [1]),
        (range(3), [0, 1, 2]),
        (deque([1, 2]), [1, 2]),
        (UserList([1, 2]), [1, 2]),
        ({1: "a"}.keys(), [1]),
        ({"a": 1}.values(), [1]),
        (array.array("i", [1, 2]), [1, 2]),
        (Matrix([[1], [2]]), [[1], [2]]),
        (Matrix([]), []),
        (set(), []),
        (Two(1, 2), [1, 2]),  # type: ignore[arg-type]
    ],
    ids=lambda case: type(case).__name__,
)
def test_collections_are_arrays(value: Any, items: list[Any]) -> None:
    assert exactly(round_trip(INT4S, value)) == exactly(items)
    assert exactly(INT4S.decode_text(INT4S.literal(value))) == exactly(items)


@pytest.mark.parametrize(
    "value",
    [
        1,
        None,
        {},
        {1: 2},
        b"ab",
        bytearray(b"ab"),
        memoryview(b"ab"),
        iter([1]),
        (number for number in (1, 2)),
        map(str, ()),
        Matrix(1),
        Matrix,
        object(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_collection_is_no_array(value: Any) -> None:
    """Nor is what can be gone through once only: a statement may have to be sent again."""
    for codec in (INT4S, TEXTS, JSONBS, PAIRS, ROWS):
        assert refused(codec, value).startswith("expected list or tuple, got ")
        assert reason(codec.literal, value) == refused(codec, value)


def test_only_lists_and_tuples_are_dimensions() -> None:
    assert "element [0]: expected int, got set" in refused(INT4S, [{1}])
    assert "element [0]: expected int, got deque" in refused(INT4S, [deque([1])])
    assert "element [0]: expected int, got Two" in refused(INT4S, [Two(1, "x")])


# Lower bounds


def test_an_array_is_a_list_with_lower_bounds() -> None:
    value = Array([[1, 2]], [-1, 5])
    assert value == [[1, 2]]
    assert value.lower_bounds == (-1, 5)
    assert repr(value) == "Array([[1, 2]], (-1, 5))"
    assert Array() == []
    assert Array().lower_bounds == ()
    for other in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value))):
        assert exactly(other) == exactly(value)


@pytest.mark.parametrize("bounds", [(0,), (-5,), (-(2**31),), (2**31 - 3,)])
def test_lower_bounds_come_back(bounds: tuple[int, ...]) -> None:
    value = Array([7, None], bounds)
    for codec in (INT4S, TEXTS):
        items = value if codec is INT4S else Array(["7", None], bounds)
        assert exactly(round_trip(codec, items)) == exactly(items)
        assert exactly(codec.decode_text(codec.literal(items))) == exactly(items)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Array([1], [0, 0]), "the array has 1 dimensions, but lower_bounds (0, 0)"),
        (Array([[1]], [0]), "the array has 2 dimensions, but lower_bounds (0,)"),
        (Array([1], [-(2**31) - 1]), "-2147483649 cannot be the lower bound of 1 elements"),
        (Array([1, 2], [2**31 - 2]), "2147483646 cannot be the lower bound of 2 elements"),
        (Array([1], [2**31 - 1]), "2147483647 cannot be the lower bound of 1 elements"),
        (Array([1], [2**70]), "cannot be the lower bound"),
        (Array([1], [True]), "True cannot be the lower bound of 1 elements"),
        (Array([1], ["0"]), "'0' cannot be the lower bound of 1 elements"),  # type: ignore[list-item]
        (Array([[1], [2]], [1, 1.0]), "1.0 cannot be the lower bound of 1 elements"),  # type: ignore[list-item]
    ],
)
def test_lower_bounds_that_cannot_be_are_refused(value: Any, expected: str) -> None:
    assert expected in refused(INT4S, value)
    assert expected in reason(INT4S.literal, value)


def test_an_empty_array_has_no_bounds() -> None:
    assert INT4S.encode(Array([], [5])) == INT4S.encode([])
    assert INT4S.literal(Array([], [5])) == "{}"


# Elements that are tuples or lists themselves


def test_a_tuple_may_be_an_element() -> None:
    pairs = [(1, "a"), None, Two(2, "b")]
    assert round_trip(PAIRS, pairs) == pairs
    assert round_trip(PAIRS, tuple(pairs)) == pairs
    assert round_trip(PAIRS, [[(1, "a")], [(2, "b")]]) == [[(1, "a")], [(2, "b")]]
    assert PAIRS.decode_text(PAIRS.literal(pairs)) == pairs
    assert "got int 1" in refused(PAIRS, (1, "a"))  # it is an array of two
    assert "expected 2 fields (a, b), got 1 of them" in refused(PAIRS, [((1, "a"),)])


@pytest.mark.parametrize("name", ["int2vector[]", "oidvector[]"])
def test_arrays_of_vectors_are_lists_of_lists(name: str) -> None:
    codec = CODECS[name]
    values: list[Any] = [[[1, 2], [3]], [[]], [[], [1, 2]], [[[1], [2, 3]], [[], [4]]], []]
    for value in [*values, [None, [1]]]:
        assert exactly(round_trip(codec, value)) == exactly(value)
        assert exactly(codec.decode_text(codec.literal(value))) == exactly(value)
    assert round_trip(codec, ((1, 2), [3])) == [[1, 2], [3]]
    assert round_trip(codec, [Matrix([1, 2])]) == [[1, 2]]


def test_arrays_of_vectors_with_text_are_text() -> None:
    literal = CODECS["int2vector[]"].encode([[1, 2], "3 4"])
    assert exactly(literal) == exactly(Literal('{"1 2","3 4"}'))
    assert round_trip(CODECS["int2vector[]"], [[1, 2], "3 4"]) == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1], "element [0]: expected list or tuple, got int 1"),
        ([[1], 2], "element [1]: expected list or tuple, got int 2"),
        ([[1, None]], "element [0]: int2vector has no NULLs"),
        ([[[1], [2]], [[3]]], "must all have the same length"),
        ([[[1]], [2]], "element [1][0]: expected list or tuple, got int 2"),
        ([[[[1]]], 2], "must all have the same length"),
        ([[1], [[2]]], "element [1]: int2vector has one dimension, not 2"),
    ],
)
def test_misfits_among_vectors_are_refused(value: Any, expected: str) -> None:
    assert expected in refused(CODECS["int2vector[]"], value)


def test_arrays_of_a_domain_over_arrays() -> None:
    """All lists inside belong to the elements, which may have any dimensions."""
    values: list[Any] = [[[1, 2], [3]], [[]], [None, [1, None]], [[[1, 2]], [[3], [4]]]]
    for value in [*values, [Array([1], [0])]]:
        assert exactly(round_trip(ROWS, value)) == exactly(value)
        assert exactly(ROWS.decode_text(ROWS.literal(value))) == exactly(value)
    for value in ([[[1], []], [], None], [[None, [2]]]):
        assert exactly(round_trip(TABLES, value)) == exactly(value)
    texts = array_codec(replace(TEXTS, name="texts", oid=70_008, array_oid=70_009))
    assert round_trip(texts, [["a", "b"], ["c"]]) == [["a", "b"], ["c"]]
    assert round_trip(texts, ['{"x"}', ["c"]]) == [["x"], ["c"]]
    assert "element [0]: expected list or tuple, got int 1" in refused(ROWS, [1])


def test_arrays_of_a_domain_over_arrays_of_composites() -> None:
    domain = replace(PAIRS, name="pairs", oid=70_006, array_oid=70_007)
    value = [[("1", "a"), None], [], [(2, "b")]]
    assert PAIRS.encode(value[0])  # a str comes first
    value[0] = [(1, "a"), None]
    assert round_trip(array_codec(domain), value) == value


def test_json_lists_are_dimensions() -> None:
    assert round_trip(JSONBS, [[1], [2]]) == [[1], [2]]
    assert JSONBS.literal([[1], [2]]) == '{{"1"},{"2"}}'


# Elements that can be text only


def test_arrays_of_text_only_types_are_text() -> None:
    codec = array_codec(literal_codec("box3d", 70_010, 70_011, ";"))
    assert not codec.has_binary
    assert not codec.binary_results
    for value in (["a;b", None, 'q"', ""], [["a"], ["b"]], []):
        literal = codec.encode(value)
        assert type(literal) is Literal
        assert literal == codec.literal(value)
        assert codec.decode_text(literal) == value
    assert codec.literal(["a", "b"]) == '{"a";"b"}'
    assert codec.decode_text("{a,b;c}") == ["a,b", "c"]
    assert "not a valid box3d[]" in reason(codec.decode_text, "{a;}")


@pytest.mark.parametrize("delimiter", ["", ",", ";", "]", "^", "-", "\\", "ab", "{", "}", '"', "é"])
def test_any_delimiter_can_be_read_past(delimiter: str) -> None:
    """A server that lies may name any: there is a value or a `DataError`, and an end."""
    codec = array_codec(literal_codec("odd", 70_012, 70_013, delimiter))
    if len(delimiter) == 1 and delimiter not in '{}"\\':
        assert codec.decode_text(codec.literal(["a", "b"])) == ["a", "b"]
        assert codec.decode_text(f"{{a{delimiter}NULL}}") == ["a", None]
    else:
        assert "not a valid odd[]" in reason(codec.decode_text, f"{{a{delimiter}{delimiter}")


# Flat and not flat


def test_an_endless_list_of_vectors_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    assert "at most 6 dimensions" in refused(CODECS["int2vector[]"], endless)
    assert "at most 6 dimensions" in refused(ROWS, endless)


def test_texts_are_flattened_without_an_element() -> None:
    assert flattened([]) == ([], [])
    assert flattened([["a"], [None]]) == ([2, 1], ["a", None])
