"""Passwords are prepared as PostgreSQL's own client and server prepare them."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from pgwire.protocol.saslprep import encode_password, prepare

any_text = st.lists(st.integers(0, 0x10FFFF)).map(lambda points: "".join(map(chr, points)))
"""Every str that Python has, surrogates included."""

MAPPED = [
    ("I\u00adX", "IX"),  # a soft hyphen vanishes
    ("\u2168", "IX"),  # ROMAN NUMERAL NINE, by compatibility
    ("\u00aa", "a"),
    ("e\u0301", "é"),
    ("\u212b", "Å"),
    ("a\u00a0b\u3000c", "a b c"),  # every kind of space becomes the ASCII one
    ("a\u200bb", "a b"),  # in the table of spaces and in that of nothing: a space
    ("a\u200cb\u2060c\ufeff", "abc"),
    ("\u1806a\ufe0f", "a"),
    ("\u0627\u0031\u0628", "\u0627\u0031\u0628"),  # right-to-left at both ends
    ("\u05d0\u00ad", "\u05d0"),  # both ends are looked at after the mapping
    ("\uac00", "\uac00"),
    ("\u1100\u1161", "\uac00"),
    ("\U0002f868", "\u36fc"),  # Unicode 3.2 had this one wrong; today's normalisation counts
]

RAW = [
    ("\u00ad\u200c", "nothing would be left"),
    ("é\x07", "C.2.1"),
    ("é\u0080", "C.2.2"),
    ("é\ue000", "C.3"),
    ("é\ufdd0", "C.4"),
    ("é\ufffd", "C.6"),
    ("é\u2ff0", "C.7"),
    ("é\u0340", "C.8, although normalisation would mend it"),
    ("é\U000e0001", "C.9"),
    ("pass😀word", "A.1: unassigned in Unicode 3.2"),
    ("\u20bf\u2168", "A.1 spares the rest from normalisation, too"),
    ("foo\u06271bar", "left-to-right characters beside a right-to-left one"),
    ("\u0627a\u0628", "a left-to-right character between right-to-left ones"),
    ("\u0627\u0031", "the last is not right-to-left"),
    ("\u0031\u0627", "the first is not right-to-left"),
    ("\u2168\udc80", "bytes that are not UTF-8"),
]


@pytest.mark.parametrize(("password", "prepared"), MAPPED)
def test_what_saslprep_maps_is_mapped(password: str, prepared: str) -> None:
    assert prepare(password) == prepared.encode()


@pytest.mark.parametrize(("password", "reason"), RAW)
def test_what_saslprep_refuses_is_taken_as_it_is(password: str, reason: str) -> None:
    """With a soft hyphen in it, which would vanish if the password were prepared after all."""
    password = password[0] + "\u00ad" + password[1:]
    assert prepare(password) == password.encode("utf-8", "surrogateescape"), reason


@given(st.text(st.characters(max_codepoint=127)))
def test_ascii_is_never_touched(password: str) -> None:
    """Control characters included: what SASLprep forbids is used as it is."""
    assert prepare(password) == password.encode("ascii")


@given(any_text)
def test_every_string_has_bytes(password: str) -> None:
    """No password raises, because an exception would quote it."""
    assert isinstance(prepare(password), bytes)


@given(st.binary())
def test_bytes_that_came_in_as_surrogate_escapes_leave_as_bytes(raw: bytes) -> None:
    assert encode_password(raw.decode("utf-8", "surrogateescape")) == raw


def test_escaped_bytes_that_make_up_utf_8_are_prepared_like_text() -> None:
    assert prepare("\udce2\udc85\udca8") == prepare("\u2168") == b"IX"


def test_a_surrogate_that_stands_for_no_byte_is_encoded_all_the_same() -> None:
    assert prepare("a\ud800") == encode_password("a\ud800") == b"a\xed\xa0\x80"
