"""Service files: settings under a name (manual: "The Connection Service File").

Knows where a service is looked for, and what a file says of it, as libpq does. Must not know the
machine: how a file is read is an argument. A file may hold passwords, so messages name the file
and the line, and show nothing of what stands there.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.parameters import PARAMETERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    Read = Callable[[str], str | None]

# Where libpq looks when PGSYSCONFDIR does not say: Debian's build, then upstream's.
_SYSTEM_DIRECTORIES = ("/etc/postgresql-common", "/usr/local/pgsql/etc")
_FILE = "pg_service.conf"
_LONGEST_LINE = 1022  # bytes, the line's end included; libpq takes no more
_BLANK = " \t\n\v\f\r"


def find_service(
    name: str, file: str | None, *, environ: Mapping[str, str], user_file: str | None, read: Read
) -> dict[str, str]:
    """The settings of a service, from the first file that has it.

    Args:
        name: the service.
        file: the file that the settings name; it must be there.
        environ: the environment, for PGSYSCONFDIR.
        user_file: the user's own file, where `file` is None; it need not be there.
        read: a file's text, or None where it cannot be read.

    Raises:
        ProgrammingError: there is no such file or service, or it cannot be read.
        NotSupportedError: it refers to LDAP.
    """
    looked_into = []
    for path, required in _paths(file, environ, user_file):
        text = read(path)
        if text is None:
            if required:
                raise ProgrammingError(f"the service file {path!r} cannot be read")
            continue
        looked_into.append(path)
        found = parse_service(text, name, path)
        if found is not None:
            return found
    where = f"in {' nor in '.join(looked_into)}" if looked_into else "as there is no service file"
    raise ProgrammingError(f"the service {name!r} is not defined {where}")


def _paths(
    file: str | None, environ: Mapping[str, str], user_file: str | None
) -> Iterator[tuple[str, bool]]:
    """The files to look into, and whether each must be there."""
    if file is not None:
        yield file, True
    elif user_file is not None:
        yield user_file, False
    directory = environ.get("PGSYSCONFDIR")
    for system in _SYSTEM_DIRECTORIES if directory is None else (directory,):
        yield f"{system}/{_FILE}", False


def parse_service(text: str, name: str, path: str) -> dict[str, str] | None:
    """What the section `[name]` sets, of a repeated name the first; None without that section."""
    settings: dict[str, str] | None = None
    for number, raw in enumerate(re.findall(r"[^\n]*\n|[^\n]+", text), 1):
        place = f"service file {path!r}, line {number}"
        if len(raw.encode("utf-8", "surrogateescape")) > _LONGEST_LINE:
            raise ProgrammingError(f"{place}: the line is too long")
        line = raw.strip(_BLANK)
        if line.startswith("["):
            if settings is not None:
                break
            if line.startswith(f"[{name}]"):
                settings = {}
        elif settings is not None and line and not line.startswith("#"):
            settings.setdefault(*_parse_line(line, place))
    return settings


def _parse_line(line: str, place: str) -> tuple[str, str]:
    """`key=value`: neither blanks around "=" nor quotes mean anything."""
    if line.startswith("ldap"):
        raise NotSupportedError(f"{place}: looking settings up by LDAP is not supported")
    key, separator, value = line.partition("=")
    if not separator:
        raise ProgrammingError(f'{place}: "=" is missing')
    if key in ("service", "servicefile"):
        raise ProgrammingError(f"{place}: {key} cannot be set in a service file")
    if key not in PARAMETERS:
        # Its name is not shown: it may be the rest of a password in the line before.
        raise ProgrammingError(
            f'{place}: this is no connection parameter (blanks before "=" count)'
        )
    return key, value
