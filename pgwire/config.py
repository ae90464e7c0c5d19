"""From a connection string, keyword arguments and the environment to one frozen `Config`.

Knows which source wins, how lists of hosts, addresses and ports belong together, and which
settings contradict each other. Must not know the machine: the environment and the name of the
operating system's user are arguments, and no file is looked at.

`resolve` collects the text of every parameter (keyword arguments before the connection string
before the environment before defaults), has each checked by its row in parameters.py, and then
reads the ones that are carried out. Nothing that was asked for is left out in silence: what this
version does not do is refused by the row.

Messages name parameters and show no value. `resolve` raises from a frame that has let go of its
arguments, and a password is a `Secret` from here on: tracebacks that print local variables, logs
and debuggers show neither.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn, TypeAlias

from pgwire.conninfo import conninfo_to_dict
from pgwire.demands import ALL_METHODS, PROTOCOL_3_0, read_demands
from pgwire.environment import STANDING_IN, merge_settings, variables
from pgwire.errors import NotSupportedError, ProgrammingError
from pgwire.keywords import read_keywords
from pgwire.parameters import (
    PARAMETERS,
    ConnectionParameters,
    check_own,
    check_password,
    check_text,
    parse_integer,
)
from pgwire.secret import Secret
from pgwire.services import find_service

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

__all__ = ["Config", "ConnectionParameters", "HostSpec", "Secret", "UserFiles", "resolve"]

DEFAULT_PORT = 5432
# Where servers put their Unix sockets: Debian's place, then upstream's.
DEFAULT_SOCKET_DIRECTORIES = ("/var/run/postgresql", "/tmp")
# There values come as text, written as the session's settings say: so that they can be read.
_FOR_REPLICATION = {
    "datestyle": "ISO",
    "intervalstyle": "postgres",
    "extra_float_digits": "3",
    "bytea_output": "hex",
}

Password: TypeAlias = "Secret | Callable[[], str] | Callable[[], Awaitable[str]]"


def _no_file(path: str) -> str | None:
    return None


class UserFiles(NamedTuple):
    """The files that are looked into when none is named, and how to read one.

    `read` gives the text of a file, or None where it cannot be read.
    """

    passfile: str | None = None
    services: str | None = None
    read: Callable[[str], str | None] = _no_file


_NO_FILES = UserFiles()


class HostSpec(NamedTuple):
    """One host to try. `hostaddr` is connected to where given, `host` is what TLS verifies.

    Without both it is the platform's default directory of sockets; a `host` that begins with
    "/" is such a directory, one with "@" an abstract socket. A name may have many addresses.
    """

    host: str | None
    hostaddr: str | None
    port: int

    @property
    def name(self) -> str:
        """What to call it."""
        return self.host or self.hostaddr or "the default socket"


@dataclass(frozen=True, slots=True)
class Config:
    """Everything that describes how to connect; durations are in seconds.

    `passfile` is where passwords may be; None where `password` is known. `load_balance` takes
    hosts, and the addresses of each, in random order. `replication` is logical replication.
    Of `keepalives_*` and `tcp_user_timeout` (milliseconds) None is the system's own value. With
    `sslmode` verify-ca or verify-full and without `sslrootcert` the user's default file holds the
    trusted certificates; "system" stands for the system's. `auth_methods` are those of
    authentication that the server may use, with "none" for letting in without one; `secure` leaves
    SCRAM alone. `scram_keys`, as base64, stand in the password's place. `protocol_versions` are the
    oldest and the newest to speak. Cannot be pickled.
    """

    hosts: tuple[HostSpec, ...]
    dbname: str
    user: str
    password: Password | None = field(default=None, repr=False)
    passfile: str | None = None
    connect_timeout: float | None = None
    target_session_attrs: str = "any"
    load_balance: bool = False
    application_name: str = ""
    options: str = ""
    replication: bool = False
    settings: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    keepalives: bool = True
    keepalives_idle: int | None = None
    keepalives_interval: int | None = None
    keepalives_count: int | None = None
    tcp_user_timeout: int | None = None
    requirepeer: str | None = None
    sslmode: str = "prefer"
    sslrootcert: str | None = None
    sslnegotiation: str = "postgres"
    sslcert: str | None = None
    sslkey: str | None = None
    sslpassword: Secret | None = field(default=None, repr=False)
    sslcertmode: str = "allow"
    sslcrl: str | None = None
    sslcrldir: str | None = None
    sslsni: bool = True
    ssl_min_protocol_version: str = "TLSv1.2"
    ssl_max_protocol_version: str = ""
    ssl_context: Any = field(default=None, repr=False)  # ssl.SSLContext, which is not imported here
    channel_binding: str = "prefer"
    auth_methods: frozenset[str] = ALL_METHODS
    scram_keys: tuple[Secret, Secret] | None = field(default=None, repr=False)
    oauth_token: Password | None = field(default=None, repr=False)
    protocol_versions: tuple[int, int] = (PROTOCOL_3_0, PROTOCOL_3_0)
    secure: bool = False
    allow_cleartext: bool = False
    scram_max_iterations: int = 100_000
    prepare: bool = True
    statement_cache_size: int = 256
    timezone: Literal["UTC", "session"] = "UTC"
    json_loads: Callable[[str], Any] | None = field(default=None, repr=False)
    json_dumps: Callable[[Any], str | bytes] | None = field(default=None, repr=False)

    def startup_parameters(self) -> dict[str, str]:
        """What the StartupMessage says (manual: "Message Formats"), in the order of sending."""
        parameters = {"user": self.user, "database": self.dbname}
        if self.options:
            parameters["options"] = self.options
        if self.application_name:
            parameters["application_name"] = self.application_name
        settings = dict(self.settings)
        if self.replication:
            parameters["replication"] = "database"
            others = {n: v for n, v in settings.items() if n.lower() not in _FOR_REPLICATION}
            settings = others | _FOR_REPLICATION
        return {**parameters, "client_encoding": "UTF8", **settings}

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Config cannot be pickled: it may hold a password and a TLS context")


def resolve(
    conninfo: str = "",
    params: Mapping[str, Any] | None = None,
    *,
    environ: Mapping[str, str],
    default_user: str | None,
    files: UserFiles = _NO_FILES,
) -> Config:
    """The configuration that all sources add up to.

    Args:
        conninfo: a URI or keyword/value string.
        params: keyword arguments (`ConnectionParameters`), which win over `conninfo`.
        environ: the process's environment, for the PG* variables.
        default_user: who to connect as when nothing says so; the operating system's user.
        files: where passwords and services are looked for. Only a service's file is read here.

    Raises:
        ProgrammingError: a string or service file that cannot be read, an unknown parameter or
            service, a value that is not allowed, or parameters that contradict each other.
        NotSupportedError: a parameter asks for something that this version does not do.
    """
    try:
        return _resolve(conninfo, params or {}, environ, default_user, files)
    except (ProgrammingError, NotSupportedError) as error:
        del conninfo, params, environ
        raise error.with_traceback(None) from None


def _resolve(
    conninfo: str,
    params: Mapping[str, Any],
    environ: Mapping[str, str],
    default_user: str | None,
    files: UserFiles,
) -> Config:
    own, texts = read_keywords(params)
    explicit = conninfo_to_dict(conninfo) | texts
    environ = variables(environ)
    service = _read_service(explicit, environ, files)
    values = _collect((explicit, service, environ), own)
    _check_encoding(values.get("client_encoding", ""))
    user = values.get("user") or default_user
    if not user:
        raise ProgrammingError("user is not given, and the operating system's user has no name")
    application_name = values.get("application_name") or values.get("fallback_application_name")
    password = own.get("password") or values.get("password")
    read = {
        "password": Secret(values["password"]) if values.get("password") else None,
        "passfile": None if password else values.get("passfile") or files.passfile,
        "connect_timeout": _positive(values, "connect_timeout"),
        **_read_tcp(values),
        **_read_tls(values, explicit, environ, own),
        **read_demands(values, secure=bool(own.get("secure"))),
        **own,
        "settings": merge_settings(environ, own.get("settings", {})),
    }
    config = Config(
        hosts=_read_hosts(values),
        dbname=values.get("dbname") or user,
        user=user,
        application_name=application_name or "",
        options=values["options"],
        requirepeer=values.get("requirepeer") or None,
        replication=values.get("replication") == "database",
        target_session_attrs=values["target_session_attrs"],
        load_balance=values["load_balance_hosts"] == "random",
        channel_binding=values["channel_binding"],
        **read,
    )
    _check_contradictions(config)
    return config


def _read_service(
    explicit: Mapping[str, str], environ: Mapping[str, str], files: UserFiles
) -> dict[str, str]:
    """What the service that is asked for sets; nothing where none is."""
    if "service" not in explicit and "PGSERVICE" not in environ:
        return {}
    name, _ = _given("service", (explicit, {}, environ))
    file, _ = _given("servicefile", (explicit, {}, environ))
    if not name:
        return {}
    return find_service(
        name, file or None, environ=environ, user_file=files.services, read=files.read
    )


_Sources: TypeAlias = "tuple[Mapping[str, str], Mapping[str, str], Mapping[str, str]]"


def _given(name: str, sources: _Sources) -> tuple[str | None, str]:
    """A parameter's text, if it has one, and what to call it.

    `sources`: what is said explicitly, by the service, and by the environment.
    """
    explicit, service, environ = sources
    row = PARAMETERS[name]
    source = name
    text = explicit.get(name)
    if text is None and name in service:
        text = service[name]
        source = f"{name} (from the service file)"
    if text is None and row.env is not None:
        text = environ.get(row.env)
        source = f"{name} (from the environment's {row.env})"
    if text is None:
        text = row.default
    if text is not None:
        (check_password if name == "password" else check_text)(text, source)
        if not row.secret:
            check_own(text, source)
    return text, source


# Those that need no look: they pass their own checks.
_DEFAULTS = {row.name: row.default for row in PARAMETERS.values() if row.default is not None}


def _collect(sources: _Sources, taken: Mapping[str, Any]) -> dict[str, str]:
    """The checked text of every parameter that has one and is not `taken` already."""
    explicit, service, environ = sources
    named = {STANDING_IN[variable] for variable in environ if variable in STANDING_IN}
    named.update(explicit, service)
    named.difference_update(taken)
    values = {name: text for name, text in _DEFAULTS.items() if name not in taken}
    for name in filter(named.__contains__, PARAMETERS):
        text, source = _given(name, sources)
        assert text is not None  # one of the sources names it
        PARAMETERS[name].check(text, source)
        values[name] = text
    return values


def _positive(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name)
    number = parse_integer(text) if text else None
    return number if number is not None and number > 0 else None


def _check_encoding(text: str) -> None:
    if not text:
        return
    # The server compares the names of encodings by their letters and digits only.
    plain = re.sub("[^a-z0-9]", "", text.lower())
    if plain not in ("", "auto", "utf8", "unicode"):
        raise NotSupportedError("client_encoding is always UTF8")


def _read_hosts(values: Mapping[str, str]) -> tuple[HostSpec, ...]:
    """The lists of hosts, addresses and ports, item by item."""
    hosts, addresses, ports = (
        values[name].split(",") if values.get(name) else [] for name in ("host", "hostaddr", "port")
    )
    if hosts and addresses and len(hosts) != len(addresses):
        raise ProgrammingError(f"{len(hosts)} items in host, but {len(addresses)} in hostaddr")
    count = len(hosts) or len(addresses) or 1
    if len(ports) > 1 and len(ports) != count:
        raise ProgrammingError(f"{len(ports)} items in port, but {count} hosts")
    if any("@" in host[1:] and host[0] not in "/@" for host in hosts):  # errors name hosts
        raise ProgrammingError('host has an "@" in it: that of a password is %40 in a URI')
    return tuple(
        HostSpec(host or None, address or None, parse_integer(port) or DEFAULT_PORT)
        for host, address, port in zip(
            hosts or [""] * count,
            addresses or [""] * count,
            ports if len(ports) == count else (ports or [""]) * count,
            strict=True,
        )
    )


def _read_tcp(values: Mapping[str, str]) -> dict[str, Any]:
    names = ("keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout")
    return {
        "keepalives": parse_integer(values["keepalives"]) != 0,
        **{name: _positive(values, name) for name in names},
    }


# What an ssl_context brings, so that it cannot be asked for beside it.
_OF_A_CONTEXT = (
    *("sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "sslcrldir"),
    *("ssl_min_protocol_version", "ssl_max_protocol_version"),
)


def _read_tls(
    values: Mapping[str, str],
    explicit: Mapping[str, str],
    environ: Mapping[str, str],
    own: Mapping[str, Any],
) -> dict[str, Any]:
    """The sslmode, which other parameters can raise where it was not chosen, and the roots."""
    mode = values.get("sslmode")
    root = values.get("sslrootcert") or None
    chosen = explicit.get("sslmode")
    if mode is None and environ.get("PGREQUIRESSL", "").startswith("1"):
        mode = "require"
    if own.get("ssl_context") is not None:
        if much := next((name for name in _OF_A_CONTEXT if explicit.get(name)), None):
            raise ProgrammingError(f"ssl_context has all that itself: {much} is too much")
        root = None
        if chosen is None and mode in (None, "allow", "prefer"):
            mode = "require"
    if own.get("secure"):
        if chosen not in (None, "verify-full"):
            raise ProgrammingError("secure=True is sslmode=verify-full; another one contradicts it")
        mode = "verify-full"
    if mode is None:
        mode = "verify-full" if root == "system" else "prefer"
    password = values.get("sslpassword")
    return {
        "sslmode": mode,
        "sslrootcert": root,
        "sslnegotiation": values["sslnegotiation"],
        "sslpassword": Secret(password) if password else None,
        "sslcertmode": values.get("sslcertmode", "allow"),
        "sslsni": values["sslsni"] == "1",
        "ssl_min_protocol_version": _version(values, "ssl_min_protocol_version"),
        "ssl_max_protocol_version": _version(values, "ssl_max_protocol_version"),
        **{name: values.get(name) or None for name in ("sslcert", "sslkey", "sslcrl", "sslcrldir")},
    }


def _version(values: Mapping[str, str], name: str) -> str:
    return PARAMETERS[name].as_word(values.get(name, ""))


def _check_tls(config: Config) -> None:
    """Refuses settings of TLS that are fine alone and senseless or unsafe together."""
    mode = config.sslmode
    if config.sslnegotiation == "direct" and mode in ("disable", "allow", "prefer"):
        raise ProgrammingError("sslnegotiation=direct needs sslmode=require or better")
    lowest, highest = config.ssl_min_protocol_version, config.ssl_max_protocol_version
    if highest and lowest > highest:
        raise ProgrammingError("ssl_min_protocol_version is above ssl_max_protocol_version")
    if mode == "verify-full" and not config.sslsni:
        raise NotSupportedError(
            "sslsni=0 is not supported with sslmode=verify-full: Python's ssl cannot verify "
            "the name of a host without telling it to the server"
        )


def _check_contradictions(config: Config) -> None:
    """Refuses what is fine alone and senseless or unsafe together."""
    mode, context = config.sslmode, config.ssl_context
    _check_tls(config)
    if config.sslrootcert == "system" and mode != "verify-full":
        raise ProgrammingError("sslrootcert=system needs sslmode=verify-full")
    if mode == "verify-full" and any(h.hostaddr and not h.host for h in config.hosts):
        raise ProgrammingError("sslmode=verify-full needs a host beside each hostaddr")
    if context is not None:
        if mode == "disable":
            raise ProgrammingError("ssl_context contradicts sslmode=disable")
        if mode == "verify-full" and not context.check_hostname:
            raise ProgrammingError("sslmode=verify-full needs ssl_context.check_hostname")
        if mode == "verify-ca" and context.verify_mode == 0:
            raise ProgrammingError("sslmode=verify-ca needs an ssl_context that verifies")
    if config.secure and config.allow_cleartext:
        raise ProgrammingError("allow_cleartext contradicts secure=True")
    if config.secure and config.oauth_token is not None:
        raise ProgrammingError("secure=True is SCRAM only: oauth_token contradicts it")
    if config.secure and config.channel_binding == "disable":
        raise ProgrammingError("channel_binding=disable contradicts secure=True")
