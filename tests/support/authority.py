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

    def issue(self, name: str) -> tuple[Path, Path]:
        """A client's certificate and its key."""
        certificate, key = self.folder / f"{name}.crt", self.folder / f"{name}.key"
        self._serial += 1
        self._openssl(
            *("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}"),
            *("-keyout", key, "-out", f"{name}.csr"),
        )
        self._openssl(
            *("x509", "-req", "-in", f"{name}.csr", "-days", "2", "-out", certificate),
            *("-CA", self.source / "ca.crt", "-CAkey", self.source / "ca.key"),
            *("-set_serial", self._serial),
        )
        key.chmod(0o600)
        return certificate, key

    def encrypt(self, key: Path, password: str) -> Path:
        """The same key, for those who know the password."""
        encrypted = key.with_suffix(".encrypted")
        self._openssl(
            "rsa", "-aes256", "-in", key, "-out", encrypted, "-passout", f"pass:{password}"
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
