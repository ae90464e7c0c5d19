"""Passwords as PostgreSQL prepares them for SCRAM: text in, bytes out.

Knows the rules of SASLprep (RFC 4013) in PostgreSQL's reading of them; must not know SCRAM.

A password that is changed by preparation can be typed in several ways; one that is prepared
otherwise than on the server never logs in. PostgreSQL's reading differs from the RFC's:

- the RFC refuses passwords with prohibited or unassigned characters, or with a forbidden mix
  of writing directions, and ones that vanish; PostgreSQL takes their bytes as they are;
- U+200B ZERO WIDTH SPACE is in two tables of RFC 3454; here it becomes a space, not nothing;
- the checks look at the text before normalisation, not after it;
- bytes that are not UTF-8 are a password too. Python hands them over (from the environment,
  say) as surrogate escapes, and they leave as the bytes that they were.

The tables are those of Unicode 3.2, as RFC 3454 demands; normalisation uses today's Unicode.
For characters of 3.2, all that get so far, its versions agree except where 3.2 was in error.
"""

from __future__ import annotations

import unicodedata
from stringprep import (
    in_table_a1,
    in_table_b1,
    in_table_c3,
    in_table_c4,
    in_table_c6,
    in_table_c7,
    in_table_c8,
    in_table_c9,
    in_table_c12,
    in_table_c21_c22,
    in_table_d1,
    in_table_d2,
)


def prepare(password: str) -> bytes:
    """The bytes that PostgreSQL hashes for this password. Every str has some; never raises."""
    raw = encode_password(password)
    if raw.isascii():
        return raw
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    # Spaces come first: U+200B is also among what is mapped to nothing.
    spaced = (" " if in_table_c12(character) else character for character in text)
    mapped = "".join(character for character in spaced if not in_table_b1(character))
    if not mapped or any(map(_is_prohibited, mapped)) or _mixes_directions(mapped):
        return raw
    return unicodedata.normalize("NFKC", mapped).encode()


def encode_password(password: str) -> bytes:
    """The password's own bytes: UTF-8, or what surrogate escapes stand for. Never raises.

    A surrogate that stands for no byte is encoded like any other code point. No server knows
    such a password, and its refusal is better than an exception that quotes the password.
    """
    try:
        return password.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return password.encode("utf-8", "surrogatepass")


def _is_prohibited(character: str) -> bool:
    """RFC 4013, 2.3 and 2.5; C.1.2 is mapped by now, and C.5 (surrogates) is not in UTF-8."""
    return (
        in_table_c21_c22(character)
        or in_table_c3(character)
        or in_table_c4(character)
        or in_table_c6(character)
        or in_table_c7(character)
        or in_table_c8(character)
        or in_table_c9(character)
        or in_table_a1(character)
    )


def _mixes_directions(text: str) -> bool:
    """RFC 3454, 6: with any right-to-left character, no left-to-right one, and both ends so."""
    if not any(map(in_table_d1, text)):
        return False
    return any(map(in_table_d2, text)) or not (in_table_d1(text[0]) and in_table_d1(text[-1]))
