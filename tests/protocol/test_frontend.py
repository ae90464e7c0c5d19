"""Messages that we send: exact bytes, and what is refused before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgwire.errors import DataError, ProgrammingError
from pgwire.protocol import frontend

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (frontend.SYNC, b"S\0\0\0\x04"),
        (frontend.FLUSH, b"H\0\0\0\x04"),
        (frontend.TERMINATE, b"X\0\0\0\x04"),
        (frontend.SSL_REQUEST, b"\0\0\0\x08\x04\xd2\x16\x2f"),
        (frontend.EXECUTE, b"E\0\0\0\x09\0\0\0\0\0"),
        (
            frontend.startup_message({"user": "me", "database": "é"}),
            b"\0\0\0\x1d\0\x03\0\0user\0me\0database\0\xc3\xa9\0\0",
        ),
        (
            frontend.cancel_request(258, b"key!"),
            b"\0\0\0\x10\x04\xd2\x16\x2e\0\0\x01\x02key!",
        ),
        (
            frontend.cancel_request(1, bytes(32)),
            b"\0\0\0\x2c\x04\xd2\x16\x2e\0\0\0\x01" + bytes(32),
        ),
        (frontend.password_message(b"pencil"), b"p\0\0\0\x0bpencil\0"),
        (
            frontend.sasl_initial_response("SCRAM-SHA-256", b"n,,"),
            b"p\0\0\0\x19SCRAM-SHA-256\0\0\0\0\x03n,,",
        ),
        (frontend.sasl_response(b"c=biws"), b"p\0\0\0\x0ac=biws"),
        (frontend.query(b"select 1\0"), b"Q\0\0\0\x0dselect 1\0"),
        (frontend.parse(b"s\0", b"select 1\0"), b"P\0\0\0\x11s\0select 1\0\0\0"),
        (frontend.describe_statement(b"s\0"), b"D\0\0\0\x07Ss\0"),
        (frontend.close_statement(b"s\0"), b"C\0\0\0\x07Ss\0"),
        (frontend.bind(b"\0s\0\0\0\0\0\0\0"), b"B\0\0\0\x0d\0s\0\0\0\0\0\0\0"),
        (frontend.copy_fail("no"), b"f\0\0\0\x07no\0"),
    ],
)
def test_bytes_of_a_message(message: bytes, expected: bytes) -> None:
    assert message == expected


def test_a_string_is_utf_8_and_ends_with_nul() -> None:
    assert frontend.cstring("naïve", "it") == b"na\xc3\xafve\0"
    assert frontend.cstring("", "it") == b"\0"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("select\0 1", "the SQL holds a NUL character at index 6; PostgreSQL cannot take it"),
        ("é\0", "the SQL holds a NUL character at index 1; PostgreSQL cannot take it"),
        ("a\ud800", "the SQL holds a lone surrogate at index 1; it cannot be sent as UTF-8"),
        (b"select 1", "the SQL must be a str, not bytes"),
        (None, "the SQL must be a str, not NoneType"),
    ],
)
def test_a_string_that_cannot_be_sent(text: object, reason: str) -> None:
    with pytest.raises(ProgrammingError) as caught:
        frontend.cstring(text, "the SQL")  # type: ignore[arg-type]
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        ({"user\0": "x"}, "the name of a startup parameter holds a NUL"),
        ({"user": "x\0database\0postgres"}, "the startup parameter 'user' holds a NUL"),
        ({"": "x"}, "a startup parameter has an empty name"),
    ],
)
def test_startup_parameters_that_would_smuggle_in_others(
    parameters: dict[str, str], reason: str
) -> None:
    with pytest.raises(ProgrammingError, match=reason):
        frontend.startup_message(parameters)


@pytest.mark.parametrize(
    ("make", "room"),
    [
        (lambda n: frontend.startup_message({"o": "x" * n}), 10_000 - 12),
        (lambda n: frontend.password_message(b"x" * n), 65_535 - 5),
        (lambda n: frontend.sasl_response(b"x" * n), 65_535 - 4),
        (lambda n: frontend.describe_statement(b"x" * n), 10_000 - 5),
        (lambda n: frontend.close_statement(b"x" * n), 10_000 - 5),
        (lambda n: frontend.copy_fail("x" * n), 10_000 - 5),
    ],
)
def test_a_message_longer_than_the_server_takes_is_refused(
    make: Callable[[int], bytes], room: int
) -> None:
    """The server would drop the connection without a word; one byte less is fine."""
    message = make(room)
    with pytest.raises(DataError, match="bytes is more than the server takes"):
        make(room + 1)
    assert len(message) in (10_000, 10_001, 65_536)


@pytest.mark.parametrize(
    "make",
    [
        lambda body: frontend.query(body),
        lambda body: frontend.parse(b"\0", body),
        lambda body: frontend.bind(body),
    ],
)
def test_a_large_message_has_the_servers_bound_too(make: Callable[[bytes], bytes]) -> None:
    class Gigabyte(bytes):
        """Bytes that only say that they are many."""

        def __len__(self) -> int:
            return 2**30

        def __add__(self, _: object) -> Gigabyte:
            return self

        def __radd__(self, _: object) -> Gigabyte:
            return self

    with pytest.raises(DataError, match=r"a message of 1,073,741,828 bytes is more than"):
        make(Gigabyte())
