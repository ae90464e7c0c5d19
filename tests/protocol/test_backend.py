"""Messages that we receive: what they say, and that nothing but whole ones are taken."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, strategies as st

from pgwire.errors import ProtocolError
from pgwire.protocol import backend as parsers
from pgwire.protocol.messages import BackendKeyData, Column, Notification
from tests.support import backend

if TYPE_CHECKING:
    from collections.abc import Callable

texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
int16 = st.integers(-(2**15), 2**15 - 1)
int32 = st.integers(-(2**31), 2**31 - 1)
uint32 = st.integers(0, 2**32 - 1)
columns = st.builds(
    Column,
    name=texts,
    type_oid=uint32,
    type_modifier=int32,
    table_oid=uint32,
    column_number=int16,
    type_size=int16,
    format=st.sampled_from([0, 1]),
)


def parsed(parse: Callable[..., Any], message: bytes) -> Any:
    """The body parsed in the middle of a buffer: what is around it must not matter."""
    outcomes = []
    for before, behind in ((b"", b""), (b"\xff" * 9, b"\0" * 90), (b"\0", b"\xff" * 90)):
        buffer = before + message + behind
        start = len(before) + 5
        end = start + len(message) - 5
        try:
            outcomes.append(parse(buffer, start, end))
        except ProtocolError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1] == outcomes[2]
    return outcomes[0]


def notice_fields(buffer: bytes, start: int, end: int) -> dict[str, str]:
    return parsers.parse_fields(buffer, start, end, "NOTICE_RESPONSE")


def copy_in_response(buffer: bytes, start: int, end: int) -> None:
    parsers.check_copy_response(buffer, start, end, "COPY_IN_RESPONSE")


def copy_out_response(buffer: bytes, start: int, end: int) -> None:
    parsers.check_copy_response(buffer, start, end, "COPY_OUT_RESPONSE")


def sasl_mechanisms(buffer: bytes, start: int, end: int) -> list[str]:
    return parsers.parse_sasl_mechanisms(buffer[start:end])


WHOLE: list[tuple[Callable[..., Any], bytes, Any, str]] = [
    (
        parsers.parse_fields,
        backend.error("42601", "no", P="7", q=""),
        {"S": "ERROR", "V": "ERROR", "C": "42601", "M": "no", "P": "7", "q": ""},
        "ERROR_RESPONSE",
    ),
    (
        notice_fields,
        backend.notice("é"),
        {"S": "NOTICE", "V": "NOTICE", "C": "00000", "M": "é"},
        "NOTICE_RESPONSE",
    ),
    (
        parsers.parse_parameter_status,
        backend.parameter_status("TimeZone", ""),
        ("TimeZone", ""),
        "PARAMETER_STATUS",
    ),
    (
        parsers.parse_notification,
        backend.notification("news", "pay load", 77),
        Notification("news", "pay load", 77),
        "NOTIFICATION_RESPONSE",
    ),
    (
        parsers.parse_parameter_description,
        backend.parameter_description(23, 4294967295),
        (23, 4294967295),
        "PARAMETER_DESCRIPTION",
    ),
    (
        parsers.parse_row_description,
        backend.row_description(Column("a", 23, -1, 16384, 2, 4, 1), Column("", 25)),
        (Column("a", 23, -1, 16384, 2, 4, 1), Column("", 25)),
        "ROW_DESCRIPTION",
    ),
    (parsers.parse_command_tag, backend.complete("INSERT 0 1"), "INSERT 0 1", "COMMAND_COMPLETE"),
    (copy_in_response, backend.copy_in(0, 1, 1), None, "COPY_IN_RESPONSE"),
    (copy_out_response, backend.copy_out(), None, "COPY_OUT_RESPONSE"),
    (
        sasl_mechanisms,
        backend.message("R", b"SCRAM-SHA-256-PLUS\0SCRAM-SHA-256\0\0"),
        ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"],
        "AUTHENTICATION",
    ),
]
each = pytest.mark.parametrize(
    ("parse", "message", "value", "name"), WHOLE, ids=[name for *_, name in WHOLE]
)


@each
def test_what_a_message_says(
    parse: Callable[..., Any], message: bytes, value: Any, name: str
) -> None:
    assert parsed(parse, message) == value
    assert parsed(parse, message) == value  # again, from whatever may be remembered


@each
def test_every_message_that_is_cut_short_is_malformed(
    parse: Callable[..., Any], message: bytes, value: Any, name: str
) -> None:
    for end in range(5, len(message)):
        assert parsed(parse, message[:end]) == f"the server sent a malformed {name}"


@each
@pytest.mark.parametrize("more", [b"\0", b"x", b"\0\0", b"Mmore\0"])
def test_every_message_with_something_behind_it_is_malformed(
    parse: Callable[..., Any], message: bytes, value: Any, name: str, more: bytes
) -> None:
    assert parsed(parse, message + more) == f"the server sent a malformed {name}"


@given(st.lists(columns, max_size=4))
def test_row_descriptions_of_any_kind(described: list[Column]) -> None:
    assert parsed(parsers.parse_row_description, backend.row_description(*described)) == tuple(
        described
    )


@pytest.mark.parametrize("fmt", [-1, 2])
def test_a_format_that_does_not_exist(fmt: int) -> None:
    message = backend.row_description(Column("a", 23, format=fmt))
    assert parsed(parsers.parse_row_description, message) == (
        "the server sent a malformed ROW_DESCRIPTION"
    )


@given(
    st.lists(
        st.tuples(st.characters(min_codepoint=1, max_codepoint=126), texts),
        min_size=1,
        unique_by=lambda field: field[0],
    )
)
def test_error_fields_of_any_letter(fields: list[tuple[str, str]]) -> None:
    body = b"".join(letter.encode() + backend.string(text) for letter, text in fields) + b"\0"
    assert parsed(parsers.parse_fields, backend.message("E", body)) == dict(fields)


def test_an_error_without_any_field_is_malformed() -> None:
    assert parsed(parsers.parse_fields, backend.message("E", b"\0")) == (
        "the server sent a malformed ERROR_RESPONSE"
    )


def test_text_that_is_not_utf_8_never_hides_what_the_server_says() -> None:
    """Errors before the encoding is settled come in the server's own."""
    message = backend.message("E", b"SFATAL\0C28000\0Mk\xf6nnte\0\0")
    assert parsed(parsers.parse_fields, message)["M"] == "k\\xf6nnte"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\0\0\1\2key!", BackendKeyData(258, b"key!")),
        (b"\0\0\0\1" + bytes(256), BackendKeyData(1, bytes(256))),
        (b"", "the server sent a malformed BACKEND_KEY_DATA"),
        (b"\0\0\0\1key", "the server sent a malformed BACKEND_KEY_DATA"),
        (b"\0\0\0\1" + bytes(257), "the server sent a malformed BACKEND_KEY_DATA"),
    ],
)
def test_the_key_has_4_to_256_bytes(body: bytes, value: object) -> None:
    assert parsed(parsers.parse_backend_key_data, backend.message("K", body)) == value


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"\0\0\0\0", (0, b"")),
        (b"\0\0\0\5salt", (5, b"salt")),
        (b"\xff\xff\xff\xff", (-1, b"")),
        (b"\0\0\0", "the server sent a malformed AUTHENTICATION"),
        (b"", "the server sent a malformed AUTHENTICATION"),
    ],
)
def test_authentication_is_a_code_and_its_data(body: bytes, value: object) -> None:
    assert parsed(parsers.parse_authentication, backend.message("R", body)) == value


@pytest.mark.parametrize(
    "data", [b"", b"\0", b"\0\0", b"A", b"A\0", b"A\0B\0", b"A\0\0B\0\0", b"\0A\0\0", b"A\0\0\0"]
)
def test_a_list_of_mechanisms_ends_with_one_empty_name(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="malformed AUTHENTICATION"):
        parsers.parse_sasl_mechanisms(data)


def test_command_tags_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is remembered, a server cannot fill the memory with it."""
    monkeypatch.setattr(parsers, "command_tags", {})
    tracemalloc.start()
    try:
        for number in range(3000):
            tag = f"SELECT {number} {'x' * 1000 * (number % 2)}"
            body = backend.complete(tag)[5:]
            assert parsers.parse_command_tag(body, 0, len(body)) == tag
        remembered, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert remembered < 500_000
