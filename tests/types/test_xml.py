"""xml, where the server was built with libxml; the embedded one of the package is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgwire

if TYPE_CHECKING:
    from pgwire import embedded

TEXTS = [
    "<a>1</a>",
    "<ä b='ü'>é</ä>",
    '<?xml version="1.1"?><a/>',  # of 1.0 the server prints no declaration
    "text & more".replace("&", "&amp;"),
    "",
]


def test_xml_is_its_text(tls_server: embedded.Server) -> None:
    with pgwire.connect(tls_server.url) as conn:
        for text in TEXTS:
            one = conn.query("select $1::xml, $1::xml::text", [text]).one()
            assert one == (text, text)
            value = [text, None]
            one = conn.query("select $1::xml[], $1::xml[]::text[]", [value]).one()
            assert one == (value, value)
            assert conn.query("select row($1::xml)", [text]).scalar() == (text,)


def test_a_declaration_of_another_encoding_changes_no_letter(tls_server: embedded.Server) -> None:
    declared = '<?xml version="1.0" encoding="LATIN1"?><a>é</a>'
    with pgwire.connect(tls_server.url) as conn:
        got = conn.query("select $1::xml", [declared]).scalar()
        (text,) = conn.script(f"select {pgwire.quote_literal(declared)}::xml")
        assert got == text.scalar()
        assert "<a>é</a>" in got
