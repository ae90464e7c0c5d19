"""TLS for both shells: settings to an SSLContext, and a layer that never touches a socket.

`TLSLayer` sits between the network and the session: bytes from the wire go in, plain bytes
come out, and the other way round. It does no I/O (ssl.MemoryBIO), so one layer serves the
blocking and the asyncio shell. Manual: "SSL Support" in the chapter on libpq.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost, ProgrammingError, TLSError
from pgwire.protocol.connecting import final

if TYPE_CHECKING:
    from pgwire.config import Config

_ALPN = "postgresql"
_CHUNK = 65_536


def default_root_certificate() -> Path | None:
    """The file that libpq looks for when `sslrootcert` is not set; None where it cannot be."""
    try:
        path = Path.home() / ".postgresql" / "root.crt"
        return path if path.exists() else None
    except (OSError, RuntimeError):  # a home of somebody else's, or none at all
        return None


def ssl_context(config: Config) -> ssl.SSLContext:
    """The context for these settings. Takes some 30 ms: make it once, not per connection."""
    if isinstance(config.ssl_context, ssl.SSLContext):
        return config.ssl_context
    mode = config.sslmode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([_ALPN])
    context.check_hostname = mode == "verify-full"
    root = config.sslrootcert
    if root is None and (default := default_root_certificate()) is not None:
        root = str(default)
    try:
        if root == "system":
            context.load_default_certs()
        elif root is not None:
            context.load_verify_locations(cafile=root)
        elif mode in ("verify-ca", "verify-full"):
            raise TLSError(
                f"sslmode={mode} needs the certificate of an authority: set sslrootcert to its "
                "file or to 'system', or put it at ~/.postgresql/root.crt"
            )
        else:  # require, prefer, allow: encrypted, but to whom is not asked
            context.verify_mode = ssl.CERT_NONE
    except (OSError, ssl.SSLError) as error:
        raise final(TLSError(f"sslrootcert: {root}: {error}")) from error
    return context


class TLSLayer:
    """One TLS connection over bytes. Create it, then `handshake()` until that returns True."""

    def __init__(self, context: ssl.SSLContext, host: str | None) -> None:
        if context.check_hostname and not host:
            raise ProgrammingError(
                "sslmode=verify-full compares the host's name: set host, beside hostaddr"
            )
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        try:
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        except ValueError as error:  # an empty label, say, or one that is too long
            raise TLSError(f"the host name {host!r} cannot be sent by TLS: {error}") from None
        self.closed = False  # the other side has said good-bye

    def handshake(self) -> bool:
        """Go on as far as possible; False means more bytes from the server are needed."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.CertificateError as error:
            raise TLSError(f"the server's certificate is not trusted: {_reason(error)}") from error
        except (ssl.SSLError, OSError) as error:
            raise TLSError(f"the TLS handshake failed: {_reason(error)}") from error
        return True

    def feed(self, wire: bytes) -> None:
        """Bytes from the network; empty means that the other side has closed its end."""
        if wire:
            self._incoming.write(wire)
        else:
            self._incoming.write_eof()

    def decrypt(self) -> bytes:
        """All plain bytes that are complete; empty when none are."""
        plain = []
        try:
            while data := self._tls.read(_CHUNK):
                plain.append(data)
                if not self._incoming.pending and not self._tls.pending():
                    break  # the next read would only raise
            else:
                self.closed = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            raise ConnectionLost(f"TLS broke down: {_reason(error)}") from error
        return b"".join(plain)

    def encrypt(self, plain: bytes) -> None:
        """Encrypt; the result is in `take_wire()`."""
        if plain:
            try:
                self._tls.write(plain)
            except ssl.SSLError as error:
                raise ConnectionLost(f"TLS broke down: {_reason(error)}") from error

    def take_wire(self) -> bytes:
        """What is to be sent to the network now (TLS itself has things to say, too)."""
        return self._outgoing.read()

    @property
    def version(self) -> str | None:
        """The protocol in use, such as "TLSv1.3"."""
        return self._tls.version()

    @property
    def certificate(self) -> bytes | None:
        """The server's certificate as DER, verified or not."""
        return self._tls.getpeercert(binary_form=True)

    @property
    def cipher(self) -> str | None:
        cipher = self._tls.cipher()
        return cipher[0] if cipher else None


def _reason(error: Exception) -> str:
    message = getattr(error, "verify_message", None) or getattr(error, "reason", None)
    return str(message or error)
