"""Handle: what the connections of both shells tell about themselves, and whom they tell.

A connection is a handle on a driver, which owns the session and the line. That makes a lease of
the pool cheap (another handle on the same driver) and dead after its release (its driver is
taken away). Nothing here waits.
"""

from __future__ import annotations

from functools import partial
from inspect import iscoroutinefunction
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, overload

from pgwire.errors import ConnectionLost, InterfaceError, ProgrammingError
from pgwire.pgtypes.registration import RegistersTypes
from pgwire.protocol.events import EVENT_NAMES, event_name
from pgwire.protocol.transaction import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Literal, NoReturn

    from pgwire.errors import PostgresError
    from pgwire.pgtypes.registration import Registration
    from pgwire.protocol.events import Event, EventName as EventName, Inbox, ParameterChange
    from pgwire.protocol.messages import Notification, TransactionStatus
    from pgwire.protocol.observing import QueryReport
    from pgwire.protocol.session import Session
    from pgwire.protocol.statement import Statement
    from pgwire.tls import TLSLayer

# The callbacks of who has none.
NOBODY: Mapping[str, list[Callable[[Any], object]]] = MappingProxyType({})


class _OfTheOutcome:
    """An attribute that only the outcome has. It is none: whoever looks for it is told so."""

    def __init__(self, name: str, how: str) -> None:
        self._name = name
        self._how = how

    def __get__(self, instance: object, owner: type) -> NoReturn:
        raise AttributeError(
            f"{owner.__name__!r} object has no attribute {self._name!r}; what comes of it has: "
            f"{self._how}.{self._name}"
        )


def point_to_outcome(kind: type, outcome: type, how: str) -> None:
    """Have errors about attributes that only the outcome has say how to come by it: by `await`.

    They stand in the class: with a `__getattr__` every other attribute would be slower to find.
    """
    for name in dir(outcome):
        if not name.startswith("_") and not hasattr(kind, name):
            setattr(kind, name, _OfTheOutcome(name, how))


class Handle(RegistersTypes):
    """See the module. `_driver` is a `DriverBase` that has `tls` as well."""

    # What every lease reads has no value here: CPython 3.11 is slow to find one in the class.
    _driver: Any
    _default_timeout: float | None
    _callbacks: Mapping[str, list[Callable[[Any], object]]]
    # Made when they are needed first, which is seldom in a lease.
    _open_blocks: Blocks | None = None

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._default_timeout = None
        self._callbacks = NOBODY

    def __repr__(self) -> str:
        if self._driver.is_released:
            return f"<{type(self).__name__} released>"
        state = "closed" if self.closed else self.transaction_status.name
        return f"<{type(self).__name__} pid={self.backend_pid} {state}>"

    @property
    def _session(self) -> Session:
        session: Session = self._driver.session
        return session

    @property
    def _blocks(self) -> Blocks:
        """The transaction blocks that are open, the outermost first."""
        if self._open_blocks is None:
            self._open_blocks = Blocks()
        return self._open_blocks

    def _close_statement(self, statement: Statement) -> None:
        self._session.statements.forget(statement)

    # ---------------------------------------------------------------- events

    @overload
    def on(self, event: Literal["notice"], callback: Callable[[PostgresError], object]) -> None: ...
    @overload
    def on(
        self, event: Literal["notification"], callback: Callable[[Notification], object]
    ) -> None: ...
    @overload
    def on(
        self, event: Literal["parameter"], callback: Callable[[ParameterChange], object]
    ) -> None: ...
    @overload
    def on(self, event: Literal["query"], callback: Callable[[QueryReport], object]) -> None: ...
    @overload
    def on(self, event: EventName, callback: Callable[[Any], object]) -> None: ...
    def on(self, event: EventName, callback: Callable[[Any], object]) -> None:
        """Call `callback` for every "notice", "notification", "parameter" or "query" from now on.

        It gets the notice (a `PostgresError`, not raised), the `Notification`, or the changed
        parameter (`.name`, `.value`), after the operation under way: in the thread that
        happens to read it, whose call raises what it raises (as the context of its own error, if
        it has one); or in the event loop, which reports what it raises.

        For "query" it gets a `QueryReport` of each operation that was begun here afterwards, once,
        when that has ended, however it did; before its caller goes on, and in his context
        (`contextvars`). What it raises is logged, and what it asks for itself is not reported to
        it. It cannot use this connection.
        """
        if event not in EVENT_NAMES:
            raise ProgrammingError(f"no event {event!r}; there are: {', '.join(EVENT_NAMES)}")
        if not callable(callback):
            raise ProgrammingError(f"callback is {callback!r}; it must be a callable")
        if iscoroutinefunction(callback):
            raise ProgrammingError(
                "a connection's callback cannot be a coroutine function, as nobody waits for it; "
                "those of an AsyncPool can"
            )
        self._attend()
        if event == "query":
            self._driver.observe(callback)
        else:
            # Not a method of this handle, which would be kept: a lease may be dropped.
            self._driver.listener = partial(_deliver, self._callbacks)
        self._callbacks[event].append(callback)

    def off(self, event: EventName, callback: Callable[[Any], object]) -> None:
        """Undo `on`; nothing happens if the callback is not there."""
        callbacks = self._callbacks.get(event, [])
        if callback in callbacks:
            callbacks.remove(callback)
            if event == "query" and callback not in callbacks:
                self._driver.stop_observing(callback)

    def _fall_silent(self, driver: Any) -> None:
        """The driver is taken away: what was asked for with `on` ends."""
        for callback in self._callbacks["query"]:
            driver.stop_observing(callback)

    def _attend(self) -> None:
        """What the server says by itself is from now on of interest here."""
        if not self._callbacks:
            self._callbacks = {name: [] for name in EVENT_NAMES}

    def _hear(self) -> Inbox:
        """Where notifications wait to be taken, from now on."""
        if not isinstance(self._session.failure, ConnectionLost):  # what came before it is there
            self._driver.check_usable()
        self._attend()
        return self._session.events.hear()

    # ---------------------------------------------------------------- types

    def _register(self, name: str, registration: Registration) -> None:
        self._driver.check_usable()
        self._session.register(name, registration)

    def refresh_types(self) -> None:
        """Look enums, composites and the like up again when they are needed next.

        For all connections of the pool with this server. Types that were dropped and made anew
        are noticed without it, and so are attributes that a composite type has got or lost;
        what needs it is an attribute's new name.
        """
        self._driver.check_usable()
        self._session.registry.catalog.forget()

    # ---------------------------------------------------------------- state

    @property
    def transaction_status(self) -> TransactionStatus:
        """Where the session stands, as its last answer said."""
        return self._session.transaction_status

    @property
    def parameters(self) -> Mapping[str, str]:
        """The settings that the server reports, as they are now (`TimeZone`, …)."""
        return dict(self._session.parameters)

    @property
    def server_version(self) -> int:
        """The server's version as a number: 180006 for 18.6. 0 if the server did not say."""
        return self._session.server_version

    @property
    def backend_pid(self) -> int:
        """The process id of the server's end; 0 where a pooler in between does not tell."""
        key = self._session.backend_key
        return 0 if key is None else key.pid

    @property
    def closed(self) -> bool:
        """Whether the connection is closed or lost, as far as is known."""
        return bool(self._driver.closed) or self._session.failure is not None

    @property
    def tls(self) -> TLSLayer | None:
        """`.version` and `.cipher` of the encryption in use, None without."""
        layer: TLSLayer | None = self._driver.tls
        return layer

    def __reduce__(self) -> Any:
        raise InterfaceError("a connection cannot be pickled or copied")


def _deliver(
    callbacks: Mapping[str, list[Callable[[Any], object]]],
    event: Event,
    rest: Iterator[Callable[[Any], object]] | None = None,
) -> None:
    rest = rest or iter(tuple(callbacks.get(event_name(event), ())))
    for callback in rest:
        try:
            callback(event)
        except Exception:
            _deliver(callbacks, event, rest)  # the others hear of it all the same
            raise
