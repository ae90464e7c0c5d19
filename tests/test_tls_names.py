"""Whose certificate a server's is, with verify-full: TLS over bytes, without a server."""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from pgwire.config import resolve
from pgwire.errors import TLSError
from pgwire.tls import TLSLayer, ssl_context
from tests.support import authority

if TYPE_CHECKING:
    from pathlib import Path

# A certificate's common name, its alternative names, the hosts that are its and those that are
# not. The common name counts where there is no DNS name beside it, and never for an address.
NAMES = [
    ("db.test", "", ["db.test", "DB.Test"], ["other.test", "a.db.test", "db.tes", "xdb.test"]),
    ("192.0.2.1", "", [], ["192.0.2.1", "192.000.002.001"]),
    ("*.db.test", "", ["a.db.test"], ["db.test", "a.b.db.test"]),
    ("db.test", "DNS:one.test, DNS:two.test", ["one.test", "two.test"], ["db.test"]),
    ("", "DNS:*.db.test", ["a.db.test", "A.DB.TEST"], ["db.test", "a.b.db.test", "adb.test"]),
    ("", "DNS:a*.db.test", [], ["ab.db.test", "a.db.test"]),
    ("", "DNS:*", [], ["localhost", "db.test"]),
    ("", "DNS:192.0.2.1", [], ["192.0.2.1"]),
    (
        "db.test",
        "IP:192.0.2.1, IP:2001:db8::1",
        ["192.0.2.1", "2001:DB8::1", "2001:db8:0:0:0:0:0:1", "2001:db8::0.0.0.1", "db.test"],
        ["192.0.2.2", "::1", "2001:db8::1/128"],
    ),
    ("192.0.2.1", "IP:192.0.2.2", ["192.0.2.2"], ["192.0.2.1"]),
    ("", "", [], ["db.test", "192.0.2.1"]),
]


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> authority.Authority:
    return authority.found(tmp_path_factory.mktemp("authority"))


def told(client: TLSLayer, certificate: Path, key: Path) -> str:
    """What the client says of a server with this certificate; nothing if it trusts it."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(certificate, key)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = theirs.wrap_bio(incoming, outgoing, server_side=True)
    try:
        while not client.handshake():
            incoming.write(client.take_wire())
            with suppress(ssl.SSLWantReadError):
                server.do_handshake()
            client.feed(outgoing.read())
    except TLSError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(("common", "alternatives", "its", "others"), NAMES)
def test_the_name_of_the_host(
    signer: authority.Authority, common: str, alternatives: str, its: list[str], others: list[str]
) -> None:
    certificate, key = signer.issue(
        "server",
        subject=f"/O=tests/CN={common}" if common else "/O=tests",
        extension=f"subjectAltName={alternatives}" if alternatives else "",
    )
    for mode, hosts in (("verify-full", its), ("verify-full", others), ("verify-ca", others)):
        settings = {"sslmode": mode, "sslrootcert": str(signer.source / "ca.crt"), "host": "x"}
        context = ssl_context(resolve("", settings, environ={}, default_user="me"))
        for host in hosts:
            reason = told(TLSLayer(context, host), certificate, key)
            is_found_out = mode == "verify-full" and hosts is others
            words = "the server's certificate is not trusted" if is_found_out else ""
            assert (host, reason[: len(words) or None]) == (host, words)
