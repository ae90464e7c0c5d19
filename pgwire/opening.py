"""What both shells need to open a connection, beside the network: settings, secrets, sessions.

What all connections of one Config can share is made once and kept in an `OpenerBase`: the
types, the TLS context, the SCRAM keys. What is tried, and when to stop, is decided in
`protocol.connecting`.
"""

from __future__ import annotations

import os
import secrets
from base64 import b64decode
from datetime import UTC
from functools import cache
from logging import DEBUG
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from pgwire.config import DEFAULT_SOCKET_DIRECTORIES, Secret, resolve
from pgwire.errors import InterfaceError
from pgwire.files import PassFile, user_files
from pgwire.log import query_logger
from pgwire.observing import log_failed_host, log_opened, log_report
from pgwire.passfile import find_password
from pgwire.pgtypes import TypeRegistry
from pgwire.pgtypes.registration import GLOBAL, Registrations
from pgwire.protocol.connecting import Encryption, EncryptionPlan, failed_attempt
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.hosts import HostList, Search
from pgwire.protocol.observing import Endpoint
from pgwire.protocol.roles import misfit
from pgwire.protocol.scram_keys import KeyCache, ScramKeys
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup
from pgwire.protocol.watching import RoleSession, RoleWatch

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo
    from typing import Any

    from pgwire.addresses import Address
    from pgwire.config import Config, HostSpec, Password
    from pgwire.errors import ConnectionFailed
    from pgwire.protocol.simple import SimpleQuery
    from pgwire.tls import ContextKeeper, TLSLayer


_LEAST_SHARE = 2.0  # seconds, below which no host's share of a time-out goes
_QUICKLY_HASHED = 100_000  # iterations, in less than a tenth of a second


def settings(conninfo: str, parameters: Mapping[str, Any]) -> Config:
    """The Config for a connection string and keyword arguments, in this environment."""
    try:
        return resolve(
            conninfo,
            parameters,
            environ=os.environ,
            default_user=_os_user(),
            files=user_files(os.environ),
        )
    finally:
        del conninfo, parameters  # a traceback may show what this frame holds


def _os_user() -> str | None:
    """The account's name, as libpq takes it; None where there is none."""
    try:
        return _name_of(os.geteuid())
    except (AttributeError, ImportError, KeyError):
        import getpass  # most programs get by without

        try:
            return getpass.getuser()
        except (KeyError, OSError, ImportError):
            return None


@cache
def _name_of(uid: int) -> str:
    """Of a user of this machine. To look it up takes as long as to read a connection string."""
    import pwd

    return pwd.getpwuid(uid).pw_name


def _zone(name: str) -> tzinfo:
    """The time zone of this name; UTC if Python does not know it."""
    from zoneinfo import ZoneInfo  # most programs get by without

    try:
        return UTC if name == "UTC" else ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return UTC


def check_fetched(secret: Secret, name: str, hint: str = "") -> Secret:
    """What a function for the parameter `name` has given, if it can be a secret."""
    kind = type(secret.reveal()).__name__
    if kind != "str":
        if kind == "coroutine":
            secret.reveal().close()  # type: ignore[attr-defined]  # nobody will await it
        raise InterfaceError(f"{name}() gave {kind}, not str{hint}")
    return secret


def without_frames(error: BaseException) -> BaseException:
    """The same error, with what it comes from, and nowhere the frames that it has come through.

    Those of a login hold what was being sent, such as a password, and tracebacks may show it.
    """
    pending: list[BaseException | None] = [error]
    seen: set[int] = set()
    while pending:
        current = pending.pop()
        if current is not None and id(current) not in seen:
            seen.add(id(current))
            current.__traceback__ = None
            pending += [current.__cause__, current.__context__]
    return error


def _ready_keys(config: Config) -> ScramKeys | None:
    """The keys that stand in the password's place."""
    if config.scram_keys is None:
        return None
    return ScramKeys(*(b64decode(key.reveal()) for key in config.scram_keys))


class OpenerBase:
    """See the module. A shell's opener is one of these, and adds the network."""

    def __init__(self, config: Config, *, keeps_keys: bool = False) -> None:
        """`keeps_keys`: of passwords that were accepted, as there will be more connections."""
        self.config = config
        # What is remembered of the hosts, so that those that have failed are tried last.
        shuffle = secrets.SystemRandom().shuffle if config.load_balance else None
        self.hosts = HostList(config.hosts, shuffle)
        self.watches_role = config.target_session_attrs != "any"
        self._role_watch = RoleWatch()
        self._passfile = PassFile(config.passfile) if config.passfile else None
        self.registrations = Registrations(GLOBAL)
        # What is known of the types of each server, as long as there are sessions with it.
        self._registries: WeakValueDictionary[str, TypeRegistry] = WeakValueDictionary()
        self._contexts: ContextKeeper | None = None
        self._keys = _ready_keys(config) or (KeyCache() if keeps_keys else None)

    def registry(self, server: str) -> TypeRegistry:
        """The types of this server's database, shared by all sessions with it."""
        found = self._registries.get(server)
        if found is None:
            found = TypeRegistry(
                json_loads=self.config.json_loads,
                json_dumps=self.config.json_dumps,
                registrations=self.registrations,
            )
            found = self._registries.setdefault(server, found)
        return found

    def refresh_types(self) -> None:
        """Look all types up again when they are needed next."""
        for registry in list(self._registries.values()):
            registry.catalog.forget()

    def limit(self, timeout: float | None) -> float | None:
        """Seconds for each address: the settings' `connect_timeout`, or less.

        `timeout` is for all hosts together: one that is silent leaves time for the others.
        """
        if timeout is not None:
            timeout = max(timeout / len(self.config.hosts), min(timeout, _LEAST_SHARE))
        limits = [t for t in (self.config.connect_timeout, timeout) if t is not None]
        return min(limits) if limits else None

    def search(self) -> Search:
        """A way through the hosts, in the order that is best now."""
        return Search(self.hosts.order(monotonic()), self.config.target_session_attrs)

    def known_password(self, host: HostSpec) -> Password | None:
        """The password for this host, or the function that knows it; None if there is none.

        The password file is read for each connection: it may have been written anew.
        """
        if self.config.password is not None or self._passfile is None:
            return self.config.password
        content = self._passfile.read()
        return None if content is None else find_password(content, host, self.config)

    @property
    def hashes_without_bound(self) -> bool:
        """Whether the server may make us hash a password for longer than a moment."""
        return not 0 < self.config.scram_max_iterations <= _QUICKLY_HASHED

    def failure(self, address: Address, error: Exception) -> ConnectionFailed:
        """What to say of an attempt at this address."""
        ignored = None if self._passfile is None else self._passfile.ignored
        return failed_attempt(str(address), error, self.config.passfile, ignored)

    def new_session(self, address: Address) -> Session:
        """A session that has not begun."""
        kind = RoleSession if self.watches_role else Session
        session = kind(
            self.registry(str(address)),
            statement_cache_size=self.config.statement_cache_size,
            prepare=self.config.prepare,
            zone_of=None if self.config.timezone == "UTC" else _zone,
        )
        session.is_for_replication = self.config.replication
        return session

    def opened(self, host: HostSpec, driver: Any) -> None:
        """A connection with this host is ready."""
        self.hosts.succeeded(host)
        name = host.host or host.hostaddr or DEFAULT_SOCKET_DIRECTORIES[0]
        driver.endpoint = Endpoint(name, host.port, self.config.dbname, self.config.user)
        log_opened(driver)
        if query_logger.isEnabledFor(DEBUG):
            driver.observe(log_report)

    def failed(self, host: HostSpec, began: float, search: Search) -> None:
        """None of this host's addresses will do: the next is tried, if there is one."""
        self.hosts.failed(host, began, monotonic())
        log_failed_host(host.name, search.error)

    def misfit(self, session: Session, demand: str, asked: SimpleQuery | None) -> str | None:
        """In words, what keeps a new session from being what is demanded; else it is watched.

        `asked` is the `roles.question`, which has been answered.
        """
        reason = misfit(demand, session, asked)
        if reason is None and isinstance(session, RoleSession):
            if self._role_watch.is_lost:  # that was about those from before
                self._role_watch = RoleWatch()
            session.watch(demand, self._role_watch)
        return reason

    def startup(
        self,
        address: Address,
        password: Secret | None,
        token: Secret | None,
        tls: TLSLayer | None,
    ) -> Startup:
        """How the session begins: what functions for `password` and `oauth_token` gave is here."""
        config = self.config
        return Startup(
            config.startup_parameters(),
            Credentials(
                user=config.user,
                password=password,
                nonce=secrets.token_urlsafe(24),
                tls=tls is not None,
                certificate=None if tls is None else tls.certificate,
                exposed=tls is None and not address.is_loopback,
                allow_cleartext=config.allow_cleartext,
                secure=config.secure,
                methods=config.auth_methods,
                channel_binding=config.channel_binding,
                max_iterations=config.scram_max_iterations,
                keys=self._keys,
                token=token,
            ),
            config.protocol_versions,
        )

    def tls_layer(self, address: Address) -> TLSLayer:
        """The encryption of a new connection; its handshake has not begun."""
        # Imported here because it takes ssl, and only who has TLS needs that.
        from pgwire.tls import ContextKeeper, TLSLayer

        contexts = self._contexts or ContextKeeper(self.config)
        self._contexts = contexts
        config, context = self.config, contexts.context()
        return TLSLayer(
            context,
            address.host if config.sslsni or context.check_hostname else None,
            needs_alpn=config.sslnegotiation == "direct",
        )

    def tls_layer_ahead(self, address: Address, encryption: Encryption) -> TLSLayer | None:
        """The same, for who waits for the answer to an SSLRequest, if it is likely to be needed.

        The server starts a process meanwhile, and a context takes long.
        """
        if encryption is Encryption.TLS or self._contexts is not None:
            return self.tls_layer(address)
        return None

    def same_encryption(self, *, tls: bool) -> Encryption:
        """For a cancel request: what the connection has that it is about."""
        if not tls:
            return Encryption.PLAIN
        return Encryption.DIRECT if self.config.sslnegotiation == "direct" else Encryption.TLS

    def plan(self, address: Address) -> EncryptionPlan:
        """The ways to try at this address."""
        config = self.config
        return EncryptionPlan(
            config.sslmode, unix_socket=address.is_unix, direct=config.sslnegotiation == "direct"
        )
