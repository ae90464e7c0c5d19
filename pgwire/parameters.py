"""The connection parameters: what each is called, where it comes from, what it may say.

Knows one row per parameter of libpq (manual: "Parameter Key Words", PostgreSQL 18, and
`servicefile` and `oauth_ca_file` of 19), and the names of our own keyword arguments. Must not know
how strings are parsed (conninfo.py) or what the values add up to (config.py).

A row says which environment variable stands in for the parameter, its default, how its text is
checked (`form`) and, where only certain words are allowed, which (`words`). `served` is the part of
it that this version carries out; whatever else libpq allows raises NotSupportedError rather than
being ignored. To serve more, change that column and read the value in config.py.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypedDict

from pgwire.demands import check_scram_key, parse_require_auth
from pgwire.errors import NotSupportedError, ProgrammingError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping


class Form(enum.Enum):
    """How a parameter's text is checked."""

    TEXT = "any text"
    FILE = "a path"
    WORD = "one of `words`"
    WORD_ANY_CASE = "one of `words`, in upper or lower case"
    INTEGER = "an integer of 32 bits, blanks around it allowed"
    PORTS = "a comma-separated list of ports, 1 to 65535, empty for the default"
    METHODS = "methods of authentication, or with ! those that are forbidden"
    KEY = "base64 of 32 bytes"


_UNCHECKED = Form.TEXT, Form.FILE
ANYTHING = None
NOTHING: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parameter:
    """One row of the table."""

    name: str
    env: str | None = None
    default: str | None = None
    form: Form = Form.TEXT
    words: tuple[str, ...] = ()
    served: frozenset[str] | None = ANYTHING
    secret: bool = False
    reason: str = ""  # why not all of it is served

    def check(self, text: str, source: str) -> None:
        """Refuses what libpq would refuse (ProgrammingError) and what is not served yet.

        `source` is what the messages call the parameter. The text itself is never shown: with a
        wrongly quoted string a piece of a password can end up anywhere.
        """
        if self.served is ANYTHING and self.form in _UNCHECKED:
            return
        text = self.as_word(text)
        match self.form:
            case Form.WORD | Form.WORD_ANY_CASE if text not in self.words:
                raise ProgrammingError(
                    f"{source} must be one of: {', '.join(filter(None, self.words))}"
                )
            case Form.INTEGER if parse_integer(text) is None:
                raise ProgrammingError(f"{source} must be an integer")
            case Form.PORTS if not all(map(_is_port, text.split(","))):
                raise ProgrammingError(f"{source} must be a port number from 1 to 65535")
            case Form.METHODS:
                parse_require_auth(text, source)
            case Form.KEY:
                check_scram_key(text, source)
        if self.served is not ANYTHING and text and text not in self.served:
            choices = ", ".join(sorted(self.served))
            rest = f" with another value than: {choices}" if choices else ""
            raise NotSupportedError(
                f"{source} is not supported by this version of pgwire{rest}: {self.reason}"
            )

    def as_word(self, text: str) -> str:
        """The word that the text stands for; the text itself where none does."""
        if self.form is not Form.WORD_ANY_CASE or text in self.words:
            return text
        return next((word for word in self.words if word.lower() == text.lower()), text)


_BLANKS = " \t\n\v\f\r"


def parse_integer(text: str) -> int | None:
    """The text as libpq reads integers: 32 bits, decimal, a sign and blanks around allowed."""
    stripped = text.strip(_BLANKS)
    digits = stripped[1:] if stripped[:1] in ("+", "-") else stripped
    if not (digits.isascii() and digits.isdigit()) or len(digits.lstrip("0")) > 10:
        return None
    number = int(stripped)
    return number if -(2**31) <= number < 2**31 else None


def _is_port(text: str) -> bool:
    number = parse_integer(text)
    return text == "" or (number is not None and 1 <= number <= 65535)


def _word(
    name: str,
    env: str | None,
    default: str | None,
    words: str,
    served: str = "",
    reason: str = "",
) -> Parameter:
    """A row that allows certain words only; without `served` all of them are carried out."""
    done = frozenset(served.split()) if served else ANYTHING
    return Parameter(name, env, default, Form.WORD, tuple(words.split()), done, reason=reason)


def _not_yet(
    name: str, reason: str, env: str | None = None, form: Form = Form.TEXT, *, secret: bool = False
) -> Parameter:
    return Parameter(name, env, form=form, served=NOTHING, reason=reason, secret=secret)


_OAUTH = "tokens are not fetched here: give oauth_token, a function that returns one"
_GSSAPI = "GSSAPI needs a library in C"

_VERSIONS = "3.0 3.2 latest"
_TLS_VERSIONS = ("", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")

_ROWS = (
    # Where to connect, and as whom.
    Parameter("host", "PGHOST"),
    Parameter("hostaddr", "PGHOSTADDR"),
    Parameter("port", "PGPORT", "5432", Form.PORTS),
    Parameter("dbname", "PGDATABASE"),
    Parameter("user", "PGUSER"),
    Parameter("password", "PGPASSWORD", secret=True),
    Parameter("passfile", "PGPASSFILE", form=Form.FILE),
    Parameter("service", "PGSERVICE"),
    Parameter("servicefile", "PGSERVICEFILE", form=Form.FILE),  # says nothing without `service`
    Parameter("connect_timeout", "PGCONNECT_TIMEOUT", form=Form.INTEGER),
    _word(
        "target_session_attrs",
        "PGTARGETSESSIONATTRS",
        "any",
        "any read-write read-only primary standby prefer-standby",
    ),
    _word("load_balance_hosts", "PGLOADBALANCEHOSTS", "disable", "disable random"),
    # What the server is told.
    Parameter("client_encoding", "PGCLIENTENCODING"),
    Parameter("options", "PGOPTIONS", ""),
    Parameter("application_name", "PGAPPNAME"),
    Parameter("fallback_application_name"),
    Parameter(
        "replication",
        served=frozenset({"database", "false", "off", "no", "0"}),
        reason="physical replication is not spoken",
    ),
    _word("min_protocol_version", "PGMINPROTOCOLVERSION", None, _VERSIONS),
    _word("max_protocol_version", "PGMAXPROTOCOLVERSION", None, _VERSIONS),
    # TCP.
    Parameter("keepalives", default="1", form=Form.INTEGER),
    Parameter("keepalives_idle", form=Form.INTEGER),
    Parameter("keepalives_interval", form=Form.INTEGER),
    Parameter("keepalives_count", form=Form.INTEGER),
    Parameter("tcp_user_timeout", form=Form.INTEGER),
    # TLS. The default of sslmode is "prefer", and more where config.py finds more asked for.
    _word("sslmode", "PGSSLMODE", None, "disable allow prefer require verify-ca verify-full"),
    Parameter("sslrootcert", "PGSSLROOTCERT", form=Form.FILE),
    _word("sslnegotiation", "PGSSLNEGOTIATION", "postgres", "postgres direct"),
    Parameter("sslcompression", "PGSSLCOMPRESSION", "0"),  # ignored by libpq as well
    Parameter("sslcert", "PGSSLCERT", form=Form.FILE),
    Parameter("sslkey", "PGSSLKEY", form=Form.FILE),
    Parameter("sslpassword", secret=True),
    _word(
        "sslcertmode",
        "PGSSLCERTMODE",
        None,
        "disable allow require",
        "disable allow",
        "Python's ssl does not tell whether the server has asked for a certificate",
    ),
    Parameter("sslcrl", "PGSSLCRL", form=Form.FILE),
    Parameter("sslcrldir", "PGSSLCRLDIR", form=Form.FILE),
    _word("sslsni", "PGSSLSNI", "1", "0 1"),
    _not_yet(
        "sslkeylogfile",
        "it would write down the secrets of the session; an ssl_context can, "
        "with its keylog_filename",
        form=Form.FILE,
    ),
    Parameter(
        "ssl_min_protocol_version",
        "PGSSLMINPROTOCOLVERSION",
        "TLSv1.2",
        Form.WORD_ANY_CASE,
        _TLS_VERSIONS,
    ),
    Parameter(
        "ssl_max_protocol_version",
        "PGSSLMAXPROTOCOLVERSION",
        None,
        Form.WORD_ANY_CASE,
        _TLS_VERSIONS,
    ),
    # Authentication.
    _word("channel_binding", "PGCHANNELBINDING", "prefer", "disable prefer require"),
    Parameter("require_auth", "PGREQUIREAUTH", form=Form.METHODS),
    Parameter("requirepeer", "PGREQUIREPEER"),
    Parameter("scram_client_key", form=Form.KEY, secret=True),
    Parameter("scram_server_key", form=Form.KEY, secret=True),
    _not_yet("oauth_issuer", _OAUTH),
    _not_yet("oauth_client_id", _OAUTH),
    _not_yet("oauth_client_secret", _OAUTH, secret=True),
    _not_yet("oauth_scope", _OAUTH),
    _not_yet("oauth_ca_file", _OAUTH, "PGOAUTHCAFILE", Form.FILE),
    # GSSAPI is never used: what only shapes it is accepted, what insists on it is not.
    _word(
        "gssencmode",
        "PGGSSENCMODE",
        "disable",
        "disable prefer require",
        "disable prefer",
        _GSSAPI,
    ),
    Parameter("krbsrvname", "PGKRBSRVNAME"),
    Parameter("gsslib", "PGGSSLIB"),
    _word("gssdelegation", "PGGSSDELEGATION", "0", "0 1", "0", _GSSAPI),
)

PARAMETERS = {row.name: row for row in _ROWS}
SECRET_NAMES = re.compile("|".join(row.name for row in _ROWS if row.secret))
_ESCAPED = re.compile("[\udc80-\udcff]")
_SECRET_BEGINS = re.compile(f"(?:{SECRET_NAMES.pattern})[ \\t]*=")


class FilePath(Protocol):
    """A path object, such as pathlib.Path."""

    def __fspath__(self) -> str: ...


class TLSContext(Protocol):
    """What is looked at of an ssl.SSLContext, which is what to give."""

    @property
    def check_hostname(self) -> bool: ...
    @property
    def verify_mode(self) -> int: ...


class OwnParameters(TypedDict, total=False):
    """The keyword arguments that are pgwire's own: they never stand in a string."""

    database: str | None
    username: str | None
    ssl_context: TLSContext | None
    prepare: bool | None
    statement_cache_size: int | None
    scram_max_iterations: int | None
    allow_cleartext: bool | None
    secure: bool | None
    oauth_token: Callable[[], str] | Callable[[], Awaitable[str]] | None
    timezone: str | None
    json_loads: Callable[[str], Any] | None
    json_dumps: Callable[[Any], str | bytes] | None
    settings: Mapping[str, str | int | float | bool | None] | None


class ConnectionParameters(OwnParameters, total=False):
    """The keyword arguments that describe a connection; None and "" mean: not given."""

    host: str | FilePath | None
    hostaddr: str | None
    port: int | str | None
    dbname: str | None
    user: str | None
    password: str | Callable[[], str] | Callable[[], Awaitable[str]] | None
    passfile: str | FilePath | None
    service: str | None
    servicefile: str | FilePath | None
    connect_timeout: float | str | None
    target_session_attrs: str | None
    load_balance_hosts: str | None
    client_encoding: str | None
    options: str | None
    application_name: str | None
    fallback_application_name: str | None
    replication: bool | str | None
    min_protocol_version: str | None
    max_protocol_version: str | None
    keepalives: bool | int | str | None
    keepalives_idle: int | str | None
    keepalives_interval: int | str | None
    keepalives_count: int | str | None
    tcp_user_timeout: int | str | None
    sslmode: str | None
    sslrootcert: str | FilePath | None
    sslnegotiation: str | None
    sslcompression: bool | int | str | None
    sslcert: str | FilePath | None
    sslkey: str | FilePath | None
    sslpassword: str | None
    sslcertmode: str | None
    sslcrl: str | FilePath | None
    sslcrldir: str | FilePath | None
    sslsni: bool | int | str | None
    sslkeylogfile: str | FilePath | None
    ssl_min_protocol_version: str | None
    ssl_max_protocol_version: str | None
    channel_binding: str | None
    require_auth: str | None
    requirepeer: str | None
    scram_client_key: str | None
    scram_server_key: str | None
    oauth_issuer: str | None
    oauth_client_id: str | None
    oauth_client_secret: str | None
    oauth_scope: str | None
    oauth_ca_file: str | FilePath | None
    gssencmode: str | None
    krbsrvname: str | None
    gsslib: str | None
    gssdelegation: bool | int | str | None


OWN_KEYWORDS = frozenset(OwnParameters.__annotations__)
ALIASES = {"database": "dbname", "username": "user"}

# Settings of the server that are often taken for connection parameters.
_SERVER_SETTINGS = frozenset(
    {
        "datestyle",
        "default_transaction_isolation",
        "default_transaction_read_only",
        "extra_float_digits",
        "idle_in_transaction_session_timeout",
        "idle_session_timeout",
        "intervalstyle",
        "jit",
        "lock_timeout",
        "log_statement",
        "role",
        "search_path",
        "session_authorization",
        "standard_conforming_strings",
        "statement_timeout",
        "synchronous_commit",
        "transaction_timeout",
        "work_mem",
    }
)


# What others call them; of several the first that is known, as only pools have options.
_ELSEWHERE = {
    "charset": ["client_encoding"],
    "max_connections": ["max_size"],
    "max_idle": ["idle_timeout"],
    "pool_size": ["max_size"],
    "schema": ["settings"],
    "server": ["host"],
    "ssl": ["sslmode"],
    "timeout": ["checkout_timeout", "connect_timeout"],
}
# What there is instead of what others have.
_CONNINFO = "the connection string is the first argument, and has no name"
_INSTEAD = {
    "autocommit": "outside of transaction() each statement commits by itself",
    "dsn": _CONNINFO,
    "row_factory": "row= of query() gives rows another shape",
    "uri": _CONNINFO,
    "url": _CONNINFO,
}


def advice(name: str, known: Iterable[str]) -> str:
    """What to say behind "unknown parameter": the nearest known one, or where `name` belongs."""
    if name.lower() in _SERVER_SETTINGS or "." in name:
        return "; a setting of the server goes into options or settings={...}"
    if name in ALIASES:
        return f"; did you mean {ALIASES[name]!r}?"
    if name in _INSTEAD:
        return f"; {_INSTEAD[name]}"
    known = tuple(known)
    for meant in _ELSEWHERE.get(name, ()):
        if meant in known:
            return f"; did you mean {meant!r}?"
    # Imported here because only a mistake needs it.
    from difflib import get_close_matches

    nearest = get_close_matches(name.lower(), known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""


def check_text(text: str, source: str) -> None:
    """Refuses what cannot be sent: NUL ends a string in the protocol, and text goes as UTF-8."""
    if "\0" in text:
        raise ProgrammingError(f"{source} must not contain NUL")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ProgrammingError(
            f"{source} is not valid Unicode (it contains a lone surrogate): as a variable or in a "
            "file, it must be UTF-8"
        )


def check_password(text: str, source: str) -> None:
    """The same of a password, which may be bytes that are no UTF-8, as surrogate escapes."""
    check_text(_ESCAPED.sub("", text), source)


def check_own(text: str, source: str) -> None:
    """Refuses a value that is a secret: to libpq `host= password=x` is a host."""
    if _SECRET_BEGINS.match(text):
        raise ProgrammingError(
            f"{source} is another parameter, with its name and value: its own was left out, perhaps"
        )
