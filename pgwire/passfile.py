"""Password files: whose password a line is (manual: "The Password File").

Knows the file's notation, as libpq reads it, and nothing of the machine: the text comes as a
`Secret` from whoever has read it. The first line that matches wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.config import DEFAULT_SOCKET_DIRECTORIES, Secret

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pgwire.config import Config, HostSpec


def find_password(content: Secret, host: HostSpec, config: Config) -> Secret | None:
    """The password for one host of the settings; None if no line is about it, or it is empty."""
    keys = host_keys(host)
    rest = (str(host.port), config.dbname, config.user)
    # In one expression: no variable of this frame ever holds what the file says.
    found = next(
        (
            Secret(password)
            for line in content.reveal().split("\n")
            if (password := _password_of(line, keys, rest)) is not None
        ),
        None,
    )
    return found if found is not None and found.reveal() else None


def host_keys(host: HostSpec) -> tuple[str, ...]:
    """What a line may call the host: the name before the address, and any default socket
    "localhost"."""
    name = host.host or host.hostaddr
    if name is None:
        return ("localhost",)
    return (name, "localhost") if name in DEFAULT_SOCKET_DIRECTORIES else (name,)


def _password_of(line: str, hosts: Iterable[str], others: Iterable[str]) -> str | None:
    """The line's password, if it has one and is about this host, port, database and user."""
    if line.startswith("#"):
        return None
    line = line.partition("\0")[0].rstrip("\r")
    rest = next((rest for host in hosts if (rest := _behind(line, host)) is not None), None)
    for field in others:
        if rest is not None:
            rest = _behind(rest, field)
    return None if rest is None else _unescaped(rest)


def _behind(line: str, field: str) -> str | None:
    """What follows the line's first field if that is `*` or this one.

    A colon in it need not be escaped, so that addresses of IPv6 can be written as they are.
    """
    if line.startswith("*:"):
        return line[2:]
    position = 0
    for character in field:
        position += line.startswith("\\", position)
        if not line.startswith(character, position):
            return None
        position += 1
    return line[position + 1 :] if line.startswith(":", position) else None


def _unescaped(text: str) -> str:
    """The password, which ends at a colon."""
    password, position = "", 0
    while position < len(text) and text[position] != ":":
        position += text[position] == "\\" and position + 1 < len(text)
        password += text[position]
        position += 1
    return password
