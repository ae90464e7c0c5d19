"""Names and texts as SQL."""

from __future__ import annotations

import pytest

from pgwire.errors import ProgrammingError
from pgwire.protocol.quoting import quote_identifier, quote_literal


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("t", '"t"'), ("Select", '"Select"'), ('weird"name', '"weird""name"'), ("a.b", '"a.b"')],
)
def test_identifiers(name: str, quoted: str) -> None:
    assert quote_identifier(name) == quoted


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "''"),
        ("plain", "'plain'"),
        ("it's", "'it''s'"),
        ("back\\slash", " E'back\\\\slash'"),
        ("\\'", " E'\\\\'''"),
    ],
)
def test_literals(text: str, quoted: str) -> None:
    assert quote_literal(text) == quoted


@pytest.mark.parametrize("text", ["a\0b", "a\ud800"])
def test_what_cannot_be_sent(text: str) -> None:
    with pytest.raises(ProgrammingError, match="the identifier holds a"):
        quote_identifier(text)
    with pytest.raises(ProgrammingError, match="the literal holds a"):
        quote_literal(text)
