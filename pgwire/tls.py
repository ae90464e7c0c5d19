"""TLS for both shells: settings to an SSLContext, and a layer that never touches a socket.

`TLSLayer` sits between the network and the session: bytes from the wire go in, plain bytes
come out, and the other way round. It does no I/O (ssl.MemoryBIO), so one layer serves the
blocking and the asyncio shell. Manual: "SSL Support" in the chapter on libpq.
"""

from __future__ import annotations

import os
import ssl
import stat
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from pgwire.errors import ConnectionLost, ProgrammingError, TLSError
from pgwire.protocol.connecting import final

if TYPE_CHECKING:
    from pgwire.config import Config
    from pgwire.secret import Secret

_ALPN = "postgresql"
_CHUNK = 65_536


def default_file(name: str) -> str | None:
    """The file in ~/.postgresql that libpq looks for when none is named; None without it."""
    # Not by pathlib: it is looked for four times per connection, which would take a tenth of it.
    path = os.path.join(os.path.expanduser("~"), ".postgresql", name)
    return path if os.path.exists(path) else None


def ssl_context(config: Config) -> ssl.SSLContext:
    """The context for these settings. Takes some 30 ms: see `ContextKeeper`.

    Raises TLSError, after which nothing is tried without TLS: for files that were named and
    cannot be used, and for keys that others may read.
    """
    if isinstance(config.ssl_context, ssl.SSLContext):
        return config.ssl_context
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    _bound_versions(context, config)
    context.set_alpn_protocols([_ALPN])
    context.check_hostname = config.sslmode == "verify-full"
    _load_roots(context, config)
    _load_revocations(context, config)
    if config.sslcertmode != "disable":
        _load_certificate(context, config)
    return context


class ContextKeeper:
    """The context for these settings, made once, and anew when one of its files has changed.

    Certificates are exchanged while programs run. A new file that cannot be used is an error, as
    it is for who begins with it.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._context: ssl.SSLContext | None = None
        self._stamps: list[object] = []

    def context(self) -> ssl.SSLContext:
        stamps = [_stamp(file) for file in _files(self._config)]
        context = self._context
        if context is None or stamps != self._stamps:
            context = self._context = ssl_context(self._config)
            self._stamps = stamps
        return context


def _files(config: Config) -> list[str | None]:
    """What `ssl_context` may read. A directory of CRLs is looked into with each handshake."""
    if config.ssl_context is not None:
        return []
    root = config.sslrootcert or default_file("root.crt")
    return [
        None if root == "system" else root,
        config.sslcrl or default_file("root.crl"),
        config.sslcert or default_file("postgresql.crt"),
        config.sslkey or default_file("postgresql.key"),
    ]


def _stamp(file: str | None) -> object:
    """What changes whenever the file does; None where there is none."""
    try:
        found = None if file is None else os.stat(file)
    except OSError:
        return None
    return found and (found.st_mtime_ns, found.st_size, found.st_ino, found.st_dev)


_VERSIONS = {
    "": None,
    "TLSv1": ssl.TLSVersion.TLSv1,
    "TLSv1.1": ssl.TLSVersion.TLSv1_1,
    "TLSv1.2": ssl.TLSVersion.TLSv1_2,
    "TLSv1.3": ssl.TLSVersion.TLSv1_3,
}


def _bound_versions(context: ssl.SSLContext, config: Config) -> None:
    lowest = _VERSIONS[config.ssl_min_protocol_version]
    highest = _VERSIONS[config.ssl_max_protocol_version]
    with warnings.catch_warnings():  # whoever asks for an old version by name knows its age
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = lowest or ssl.TLSVersion.MINIMUM_SUPPORTED
        if highest is not None:
            context.maximum_version = highest


def _load_roots(context: ssl.SSLContext, config: Config) -> None:
    root = config.sslrootcert or default_file("root.crt")
    try:
        if root == "system":
            context.load_default_certs()
        elif root is not None:
            context.load_verify_locations(cafile=root)
        elif config.sslmode in ("verify-ca", "verify-full"):
            raise TLSError(
                f"sslmode={config.sslmode} needs the certificate of an authority: set "
                "sslrootcert to its file or to 'system', or put it at ~/.postgresql/root.crt"
            )
        else:  # require, prefer, allow: encrypted, but to whom is not asked
            context.verify_mode = ssl.CERT_NONE
    except (OSError, ssl.SSLError) as error:
        raise _unusable("sslrootcert", root, error) from error


def _load_revocations(context: ssl.SSLContext, config: Config) -> None:
    file, directory = config.sslcrl, config.sslcrldir
    name = "sslcrl" if file else "sslcrldir"
    if context.verify_mode == ssl.CERT_NONE:
        if file or directory:
            raise final(TLSError(f"{name} means nothing without sslrootcert: nobody is verified"))
        return
    if not file and not directory and config.sslrootcert != "system":
        file, name = default_file("root.crl"), "sslcrl"
    if not file and not directory:
        return
    try:
        if directory and not Path(directory).is_dir():
            raise NotADirectoryError("it is no directory")
        context.load_verify_locations(cafile=file, capath=directory)
    except (OSError, ssl.SSLError) as error:
        raise _unusable(name, file or directory, error) from error
    context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_CHAIN


def _load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Ours, if there is one, with its key.

    A file that is not there is no certificate, even if it was named: that is how one says not to
    send the one in ~/.postgresql. A server that demands one refuses.
    """
    certificate = config.sslcert or default_file("postgresql.crt")
    key = config.sslkey or default_file("postgresql.key")
    password = _KeyPassword(config.sslpassword)
    try:
        if certificate is None or not Path(certificate).exists():
            return
        if key is None:
            raise OSError("a certificate needs its key: set sslkey")
        _check_key(key)
        context.load_cert_chain(certificate, key, password=password)
    except (OSError, ValueError) as error:
        # Which of the two files it is, Python does not tell.
        shown = f"{certificate}, {key}"
        raise _unusable("sslcert, sslkey", shown, password.explain(error)) from None


class _KeyPassword:
    """Gives OpenSSL the key's password. Without it OpenSSL would ask at the terminal."""

    def __init__(self, secret: Secret | None) -> None:
        self._secret = secret
        self._was_asked = False

    def __call__(self) -> str:
        self._was_asked = True
        return "" if self._secret is None else self._secret.reveal()

    def explain(self, error: Exception) -> object:
        """What to say when the key could not be loaded."""
        if not self._was_asked:
            if getattr(error, "reason", "") is None:  # OpenSSL's own reader has not understood it
                return "one of the two is no PEM file, and Python's ssl reads no other"
            return error
        return "the key is encrypted, and sslpassword is " + (
            "not set" if self._secret is None else "not its password"
        )


def _check_key(path: str) -> None:
    """Refuses a private key that others have access to, as libpq does."""
    info = os.stat(path)
    if not stat.S_ISREG(info.st_mode):
        raise OSError("the key is no plain file")
    if sys.platform == "win32":  # pragma: no cover
        return
    # The system's administrator may let a group read it.
    if info.st_mode & (0o037 if info.st_uid == 0 else 0o077):
        raise OSError(
            "others have access to the key; its mode may be 0600 at most, or 0640 if it is root's"
        )


def _unusable(name: str, path: str | None, error: object) -> TLSError:
    return final(TLSError(f"{name}: {path}: {error}"))


class TLSLayer:
    """One TLS connection over bytes. Create it, then `handshake()` until that returns True."""

    def __init__(
        self, context: ssl.SSLContext, host: str | None, *, needs_alpn: bool = False
    ) -> None:
        self._needs_alpn = needs_alpn
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
        self._check_protocol()
        return True

    def _check_protocol(self) -> None:
        """It may be anything that speaks TLS: a web server, say, whose answers somebody steers."""
        chosen = self._tls.selected_alpn_protocol()
        if chosen is None and self._needs_alpn:
            raise TLSError(
                "sslnegotiation=direct: the server did not agree to speak PostgreSQL's protocol "
                "(ALPN); PostgreSQL does from version 17 on"
            )
        if chosen not in (None, _ALPN):  # which only an ssl_context can have offered
            raise final(TLSError(f"the server chose to speak {chosen!r} (ALPN), not PostgreSQL's"))

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

    def __repr__(self) -> str:
        return f"<TLSLayer {self.version or 'handshake'} {self.cipher or ''}>".replace(" >", ">")

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
