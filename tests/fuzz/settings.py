"""Connection strings and the user's files: read as libpq reads them, and never shown.

libpq itself, which psycopg brings along, is the reference for connection strings. A secret is
put in where `SECRET` stands; whatever is wrong around it, no message shows a piece of it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from psycopg import OperationalError, pq

from pgwire.config import Config, HostSpec, Secret, UserFiles, resolve
from pgwire.conninfo import conninfo_to_dict, make_conninfo
from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.parameters import PARAMETERS
from pgwire.passfile import find_password
from pgwire.services import parse_service
from tests.fuzz.feed import Feed
from tests.support.leaks import all_that_shows

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names that this libpq knows; those that are newer are refused by it alone.
_KNOWN = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
_NEWER = PARAMETERS.keys() - _KNOWN
SECRET = "Hunter2"


def _as_libpq_reads(text: str) -> dict[str, str] | None:
    try:
        options = pq.Conninfo.parse(text.encode())
    except OperationalError:
        return None
    return {o.keyword.decode(): o.val.decode() for o in options if o.val is not None}


def _as_we_read(text: str) -> dict[str, str] | None:
    try:
        return conninfo_to_dict(text)
    except ProgrammingError as error:
        assert len(str(error)) < 300
        return None


def conninfo(data: bytes) -> None:
    """Any text; and what it sets can be written down, and read again."""
    text = Feed(data).long().decode(errors="surrogateescape")
    read = _as_we_read(text)
    if read is not None:
        assert conninfo_to_dict(make_conninfo(**read)) == read
    with suppress(UnicodeError):  # of which libpq and we have different opinions
        unquote_to_bytes(text).decode()
        if "\0" not in text and not any(name in text for name in _NEWER):
            assert read == _as_libpq_reads(text)


def make(data: bytes) -> None:
    """Any values of any parameters."""
    feed = Feed(data)
    names = sorted(PARAMETERS)
    params = {feed.choose(names): feed.text() for _ in range(feed.below(8))}
    try:
        text = make_conninfo(**params)
    except ProgrammingError:
        assert not all(map(_can_be_sent, params.values()))
        return
    assert conninfo_to_dict(text) == params


def _can_be_sent(text: str) -> bool:
    return "\0" not in text and text == text.encode(errors="ignore").decode()


# Where a password begins, and what it may be put into; the rest is the fuzzer's.
_BEFORE = ["password=", "password='", "password = ", "sslpassword=", "postgresql://u:"]
_BEFORE += ["postgres://h?password=", "user=u password=", "postgres://u@h/d?sslpassword="]


def secrets(data: bytes) -> None:
    """A password with something wrong about it: what is told shows none of it.

    The password has any characters in it, before and behind those that are looked for.
    """
    feed = Feed(data)
    text = feed.text() + feed.choose(_BEFORE) + feed.text() + SECRET + feed.text()
    text += feed.rest().decode(errors="surrogateescape")
    environ: Mapping[str, str] = {}
    try:
        read = conninfo_to_dict(text)
        if any(SECRET in read[name] for name in read if not PARAMETERS[name].secret):
            return  # it got into one of which nobody would think that it is to be hidden
        assert SECRET not in repr(resolve(text, environ=environ, default_user="u"))
    except (ProgrammingError, NotSupportedError) as error:
        assert SECRET not in all_that_shows(error)


def passfile(data: bytes) -> None:
    """Any file, asked for any host, as libpq's sources read it."""
    feed = Feed(data)
    host, port, dbname, user = feed.text() or "h", 1 + feed.below(9), feed.text(), feed.text()
    content = feed.long().decode(errors="surrogateescape")
    spec = HostSpec(host, None, port)
    config = Config((spec,), dbname=dbname or "d", user=user or "u")
    found = find_password(Secret(content), spec, config)
    wanted = _password_in(content, [host, str(port), config.dbname, config.user])
    assert (None if found is None else found.reveal()) == (wanted or None)


def _password_in(content: str, fields: list[str]) -> str | None:
    """`passwordFromFile` in libpq's fe-connect.c, in plain steps."""
    hosts = [fields[0], "localhost"] if fields[0] in ("/tmp", "/var/run/postgresql") else fields[:1]
    for raw in content.split("\n"):
        line = raw.split("\0")[0].rstrip("\r")
        if line.startswith("#"):
            continue
        for host in hosts:
            rest: str | None = line
            for field in (host, *fields[1:]):
                rest = None if rest is None else _behind(rest, field)
            if rest is not None:
                return _until_colon(rest)
    return None


def _behind(line: str, field: str) -> str | None:
    if line[:2] == "*:":
        return line[2:]
    at, matched = 0, 0
    while at < len(line):
        if line[at] == ":" and matched == len(field):
            return line[at + 1 :]
        if line[at] == "\\":
            at += 1
        if matched == len(field) or line[at : at + 1] != field[matched]:
            return None
        at, matched = at + 1, matched + 1
    return None


def _until_colon(text: str) -> str:
    found, characters = "", iter(text)
    for character in characters:
        if character == ":":
            break
        found += next(characters, "\\") if character == "\\" else character
    return found


def service(data: bytes) -> None:
    """Any file of services: what is wrong with it is told without what stands there."""
    feed = Feed(data)
    name = feed.text() or "s"
    content = feed.long().decode(errors="surrogateescape").replace("~", SECRET)
    try:
        found = parse_service(content, name, "services.conf")
    except (ProgrammingError, NotSupportedError) as error:
        assert SECRET not in str(error)
        assert len(str(error)) < 300
        return
    assert (found is not None) is any(
        line.strip(" \t\n\v\f\r").startswith(f"[{name}]") for line in content.split("\n")
    )
    if found is not None:
        assert found.keys() <= PARAMETERS.keys() - {"service", "servicefile"}


def configuration(data: bytes) -> None:
    """A string, services and the environment: a `Config`, or a word about what is wrong."""
    feed = Feed(data)
    variables = sorted({row.env for row in PARAMETERS.values() if row.env is not None})
    environ = {feed.choose(variables): feed.text() for _ in range(feed.below(6))}
    content = feed.text()
    text = feed.rest().decode(errors="surrogateescape")
    files = UserFiles(services="services.conf", read=lambda path: content)
    try:
        config = resolve(text, environ=environ, default_user="u", files=files)
    except (ProgrammingError, NotSupportedError):
        return
    assert all(1 <= host.port <= 65535 for host in config.hosts)
    assert config.sslmode in PARAMETERS["sslmode"].words
    assert not any("\0" in item for pair in config.startup_parameters().items() for item in pair)


TARGETS = {
    "conninfo": conninfo,
    "conninfo_make": make,
    "conninfo_secrets": secrets,
    "configuration": configuration,
    "passfile": passfile,
    "service": service,
}
