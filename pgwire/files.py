"""The user's own files: where they are, and whether they are safe to read.

What a password file says is a `Secret` from the beginning.
"""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from pgwire.config import Secret, UserFiles

if TYPE_CHECKING:
    from collections.abc import Mapping


def user_files(environ: Mapping[str, str]) -> UserFiles:
    """Where this user's passwords and services are, by libpq's rules."""
    if sys.platform == "win32":  # pragma: no cover
        directory = os.path.join(environ.get("APPDATA", ""), "postgresql")
        return UserFiles(
            os.path.join(directory, "pgpass.conf"),
            os.path.join(directory, ".pg_service.conf"),
            read_text,
        )
    home = _home(environ)
    if home is None:
        return UserFiles(read=read_text)
    return UserFiles(f"{home}/.pgpass", f"{home}/.pg_service.conf", read_text)


def _home(environ: Mapping[str, str]) -> str | None:
    if home := environ.get("HOME"):
        return home
    try:
        import pwd

        return pwd.getpwuid(os.geteuid()).pw_dir
    except (ImportError, KeyError):
        return None


def read_text(path: str) -> str | None:
    """The text of a file; None where there is none, or it cannot be read."""
    try:
        with open(path, "rb") as file:
            return _decoded(file.read())
    except (OSError, ValueError):  # ValueError: a path with NUL
        return None


class PassFile:
    """A password file, read anew whenever it is asked for: what it says may change.

    One that cannot be read is as good as empty. One that others may read, or that is no plain
    file, is left alone, which is told once for each reason (a warning on the logger `pgwire`).
    `ignored` is what was told of it the last time, None where it was read.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.ignored: str | None = None
        self._told: set[str] = set()

    def read(self) -> Secret | None:
        """What it says; None where it is not to be used."""
        self.ignored = None
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
        try:
            with open(os.open(self.path, flags), "rb") as file:
                # Looked at when it is open already: nobody can exchange it in between, and a
                # named pipe has held nobody up.
                reason = _unsafe(os.fstat(file.fileno()).st_mode)
                if reason is None:
                    return Secret(_decoded(file.read()))
        except (OSError, ValueError):  # ValueError: a path with NUL
            return None
        self._complain(reason)
        return None

    def _complain(self, reason: str) -> None:
        self.ignored = f"the password file {self.path} is ignored: {reason}"
        if reason in self._told:
            return
        self._told.add(reason)
        # Imported here because only a mistake needs it.
        import logging

        logging.getLogger("pgwire").warning("%s", self.ignored)


def _unsafe(mode: int) -> str | None:
    """Why a file with this mode is not to be trusted with passwords."""
    if sys.platform == "win32":  # pragma: no cover
        return None
    if not stat.S_ISREG(mode):
        return "it is no plain file"
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return "others than its owner have access to it; chmod 0600 mends that"
    return None


def _decoded(content: bytes) -> str:
    """Text, in which bytes that are no UTF-8 are kept as they are for a password's sake."""
    return content.decode("utf-8", "surrogateescape")
