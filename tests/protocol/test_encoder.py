"""Parameters: to the body of a Bind message, or an error that names the culprit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import DataError, ProgrammingError
from pgwire.pgtypes import oids
from pgwire.protocol.encoder import check_parameters
from pgwire.protocol.statement import Statement
from tests.support.conversations import REGISTRY

if TYPE_CHECKING:
    from collections.abc import Sequence

HEAD, TAIL = b"\0\0", b"\0\0"  # the unnamed portal and statement; no result columns


def encoded(types: Sequence[int], params: Sequence[Any]) -> bytes:
    """Formats, count and values, as they stand in the Bind message."""
    message = Statement(b"\0", "select", tuple(types), (), REGISTRY).bind(params)
    assert message[:1] == b"B"
    assert int.from_bytes(message[1:5]) == len(message) - 1
    assert message[5:7] == HEAD
    assert message[-2:] == TAIL
    return message[7:-2]


def test_no_parameters() -> None:
    assert encoded([], []) == b"\0\0\0\0"


def test_values_in_binary_take_one_format_for_all() -> None:
    assert encoded([oids.INT4, oids.TEXT, oids.BOOL], [-2, "é", True]) == (
        b"\0\1\0\1\0\3\0\0\0\4\xff\xff\xff\xfe\0\0\0\2\xc3\xa9\0\0\0\1\1"
    )


def test_null_for_any_type() -> None:
    null = b"\xff\xff\xff\xff"
    for oid in (oids.INT4, oids.TEXT, oids.JSONB, oids.INT4_ARRAY):
        assert encoded([oid], [None]) == b"\0\1\0\1" + b"\0\1" + null


def test_null_of_a_type_that_the_server_may_not_read_in_binary() -> None:
    null = b"\xff\xff\xff\xff"
    for oid in (oids.REST["aclitem"][0], 99_999):
        assert encoded([oid], [None]) == b"\0\1\0\0" + b"\0\1" + null
        assert encoded([oid, oids.INT4], [None, None]) == (b"\0\2\0\0\0\1" + b"\0\2" + null + null)


def test_a_str_for_another_type_is_sent_as_postgresqls_literal() -> None:
    """Each parameter then has a format of its own."""
    assert encoded([oids.INT4, oids.DATE, oids.TEXT], [1, "today", "t"]) == (
        b"\0\3\0\1\0\0\0\1\0\3\0\0\0\4\0\0\0\1\0\0\0\5today\0\0\0\1t"
    )


def test_a_type_that_nobody_knows_takes_literals() -> None:
    assert encoded([99_999], ["(1,2)"]) == b"\0\1\0\0" + b"\0\1" + b"\0\0\0\5(1,2)"


def test_a_value_that_its_type_sends_as_a_literal() -> None:
    """An array of str, where the elements are of another type."""
    assert encoded([oids.INT4, oids.INT4_ARRAY], [5, ["1", "2"]]) == (
        b'\0\2\0\1\0\0\0\2\0\0\0\4\0\0\0\5\0\0\0\x09{"1","2"}'
    )


@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.none(), max_size=9))
def test_integers(numbers: list[int | None]) -> None:
    body = encoded([oids.INT4] * len(numbers), numbers)
    values = b"".join(
        b"\xff" * 4 if n is None else b"\0\0\0\4" + n.to_bytes(4, signed=True) for n in numbers
    )
    head = b"\0\1\0\1" + len(numbers).to_bytes(2) if numbers else b"\0\0\0\0"
    assert body == head + values


@pytest.mark.parametrize(
    ("oid", "value", "reason"),
    [
        (
            oids.INT2,
            32_768,
            "parameter $2 (int2): expected int from -32768 to 32767, got int 32768",
        ),
        (oids.INT8, 2**63, "parameter $2 (int8): expected int from"),
        (oids.INT4, 1.5, "parameter $2 (int4): expected int, got float 1.5"),
        (oids.INT4, True, "parameter $2 (int4): expected int, got bool"),
        (oids.BOOL, 1, "parameter $2 (bool): expected bool, got int 1"),
        (oids.TEXT, b"x", "parameter $2 (text): expected str, got bytes"),
        (oids.INT4, "1\0", "parameter $2 (int4): str with a NUL character at index 1"),
        (oids.INT4, "\ud800", "parameter $2 (int4): str with a lone surrogate at index 0"),
        (99_999, 5, "parameter $2 (type 99999): "),
    ],
)
def test_a_misfit_is_named_by_position_type_and_what_was_given(
    oid: int, value: Any, reason: str
) -> None:
    with pytest.raises(DataError) as caught:
        encoded([oids.INT4, oid, oids.INT4], [1, value, 2])
    assert str(caught.value).startswith(reason)


def test_an_error_that_is_not_about_the_value_comes_through_as_it_is() -> None:
    """json_dumps is the user's own function."""

    with pytest.raises((TypeError, DataError)):
        encoded([oids.JSONB], [object()])


@pytest.mark.parametrize(
    ("count", "given_", "words"),
    [(0, 1, "0 parameters, 1 given"), (1, 0, "1 parameter, 0 given"), (2, 3, "2 parameters, 3")],
)
def test_a_wrong_number_of_parameters(count: int, given_: int, words: str) -> None:
    with pytest.raises(ProgrammingError, match=f"the statement has {words}"):
        encoded([oids.INT4] * count, [1] * given_)


@pytest.mark.parametrize("params", [[], (), [1], (1, 2), ["a"]])
def test_lists_and_tuples_are_taken_as_they_are(params: Any) -> None:
    assert check_parameters(params) is params


@pytest.mark.parametrize("params", [range(3), iter([0, 1, 2]), (n for n in range(3))])
def test_any_other_iterable_is_counted(params: Any) -> None:
    assert check_parameters(params) == (0, 1, 2)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ("abc", "not str; for a single parameter write [value]"),
        (b"abc", "not bytes; for a single parameter write [value]"),
        (bytearray(b"a"), "not bytearray; for a single parameter write [value]"),
        (memoryview(b"a"), "not memoryview; for a single parameter write [value]"),
        ({"a": 1}, "in the order of $1, $2, …, not dict"),
        ({1}, "in the order of $1, $2, …, not set"),
        (frozenset({1}), "in the order of $1, $2, …, not frozenset"),
        (7, "params must be a sequence of values, not int; for a single parameter write [value]"),
        (None, "params must be a sequence of values, not NoneType"),
    ],
)
def test_what_is_no_sequence_of_parameters(params: Any, words: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        check_parameters(params)
    assert words in str(caught.value)


def test_more_parameters_than_the_protocol_takes() -> None:
    assert len(check_parameters([None] * 65_535)) == 65_535
    with pytest.raises(ProgrammingError, match="65,536 parameters, but the protocol takes 65,535"):
        check_parameters([None] * 65_536)


def test_as_many_parameters_as_the_protocol_takes() -> None:
    count = 65_535
    body = encoded([oids.INT4] * count, ["1"] + [None] * (count - 1))
    assert body[:2] == b"\xff\xff"
    assert len(body) == 2 + 2 * count + 2 + 5 + 4 * (count - 1)
