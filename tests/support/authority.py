"""A certificate authority for tests: signs, revokes and lists, with the openssl tool."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_CONFIGURATION = """
[ca]
default_ca = ca
[ca]
database = index.txt
crlnumber = crlnumber
default_md = sha256
default_crl_days = 30
"""


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


def found(folder: Path) -> Authority:
    """A new authority, that nobody vouches for."""
    command = ("openssl", "req", "-x509", *_KEY, "-days", "2", "-subj", "/CN=authority")
    files = ("-keyout", "ca.key", "-out", "ca.crt")
    subprocess.run([*command, *files], cwd=folder, check=True, capture_output=True)
    return Authority(folder, folder)


class Authority:
    """Signs with `ca.crt` and `ca.key` of a folder; what it makes lies in another."""

    def __init__(self, source: Path, folder: Path) -> None:
        self.source = source
        self.folder = folder
        (folder / "ca.cnf").write_text(_CONFIGURATION)
        (folder / "index.txt").touch()
        (folder / "crlnumber").write_text("01\n")
        self._serial = 100

    def _openssl(self, *arguments: object) -> None:
        subprocess.run(
            ["openssl", *map(str, arguments)], cwd=self.folder, check=True, capture_output=True
        )

    def issue(
        self, name: str, *, subject: str | None = None, extension: str = "", days: int = 2
    ) -> tuple[Path, Path]:
        """A certificate and its key: a client's, unless there is an `extension`.

        It is valid for so many days; where that is negative it has expired.
        """
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        self._serial += 1
        (self.folder / "extension.cnf").write_text(extension)
        self._openssl(
            *("req", *_KEY, "-subj", f"/CN={name}" if subject is None else subject),
            *("-keyout", key, "-out", f"{name}.csr"),
        )
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-days", days, "-out", certificate),
            *("-CA", self.source / "ca.crt", "-CAkey", self.source / "ca.key"),
            *("-set_serial", self._serial, "-extfile", "extension.cnf"),
        )
        key.chmod(0o600)
        return certificate, key

    def branch(self, folder: Path) -> Authority:
        """Another authority, which this one vouches for."""
        folder.mkdir()
        self.issue("ca", subject="/CN=branch", extension="basicConstraints=critical,CA:TRUE")
        for name in ("ca.crt", "ca.key"):
            (self.folder / name).rename(folder / name)
        return Authority(folder, folder)

    def in_der(self, key: Path) -> Path:
        """The same key in the other format."""
        der = key.with_suffix(".der")
        self._openssl("pkey", "-in", key, "-outform", "DER", "-out", der)
        der.chmod(0o600)
        return der

    def encrypt(self, key: Path, password: str) -> Path:
        """The same key, for those who know the password."""
        encrypted = key.with_suffix(".encrypted")
        self._openssl(
            "ec", "-aes256", "-in", key, "-out", encrypted, "-passout", f"pass:{password}"
        )
        encrypted.chmod(0o600)
        return encrypted

    def _signing(self) -> tuple[object, ...]:
        return (
            *("ca", "-config", "ca.cnf"),
            *("-cert", self.source / "ca.crt", "-keyfile", self.source / "ca.key"),
        )

    def revoke(self, certificate: Path) -> None:
        self._openssl(*self._signing(), "-revoke", certificate)

    def revocations(self, name: str) -> Path:
        """The list of what has been revoked so far."""
        path = self.folder / name
        self._openssl(*self._signing(), "-gencrl", "-out", path)
        return path

    def directory_of(self, revocations: Path) -> Path:
        """A directory with that list, as OpenSSL finds it."""
        directory = self.folder / f"{revocations.name}.d"
        directory.mkdir()
        (directory / "crl.pem").write_bytes(revocations.read_bytes())
        self._openssl("rehash", directory)
        return directory
