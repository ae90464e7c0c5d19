"""Options: what users tell a pool, judged and sorted; the same for both shells."""

from __future__ import annotations

from inspect import iscoroutinefunction
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from pgwire.errors import ProgrammingError
from pgwire.parameters import OWN_KEYWORDS, PARAMETERS, advice
from pgwire.pool.config import PoolConfig, check_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgwire.config import Config

    ConnectionEvent = Literal["connect", "acquire", "release", "remove", "leak"]
    PoolEvent = ConnectionEvent | Literal["error", "query"]

EVENTS = ("connect", "acquire", "release", "remove", "error", "leak", "query")

# Leaving the pool's `with` block.
END_TIMEOUT = 30.0
# How long connections may take to close once they have been cut.
ABORT_TIMEOUT = 5.0
# An opening must not hold its slot for ever, nor `on_connect` after it.
OPEN_TIMEOUT = 30.0
# How long callbacks may take that are shown a connection while it is nobody's.
CALLBACK_TIMEOUT = 30.0
# How long an idle connection may take to answer a ping before it is given up.
CHECK_TIMEOUT = 5.0
# How long a reset that cannot be left to the next lease may take.
RESET_TIMEOUT = 5.0
# Thirty years: whoever waits for longer waits for ever, and no clock is asked for more.
_FOR_EVER = 1e9

_numbers = count(1)


class Options(NamedTuple):
    """What is a shell's business and not the core's."""

    name: str
    clock: Callable[[], float]
    checkout_timeout: float | None = 30.0
    query_timeout: float | None = None
    always_reset: bool | None = None  # None: where a statement may have changed the session
    reset: Callable[[Any], object] | None = None
    on_connect: Callable[[Any], object] | None = None
    leak_after: float | None = None

    @property
    def is_hooked(self) -> bool:
        """Whether user code has a say when a connection is given back."""
        return self.reset is not None or self.on_connect is not None

    @property
    def leaves_be(self) -> bool:
        """Whether a connection without a past may be given back as it is."""
        return not self.is_hooked and self.always_reset is not True

    def judge(self, driver: Any) -> tuple[bool, bool]:
        """Whether a connection can be kept, and whether it needs a reset by hooks first.

        Where it needs none, its cleaning has been written. `driver` is a `DriverBase` that can
        `clean`.
        """
        always = self.always_reset
        if not self.is_hooked:
            return bool(driver.clean(always)), False
        changed = driver.session.changed if always is None else always
        if self.reset is None and not changed:
            return bool(driver.clean(False)), False
        return bool(driver.is_in_step), True


OPTION_NAMES = frozenset(
    {*("checkout_timeout", "query_timeout", "reset", "on_connect", "leak_after", "name", "clock")}
    | {*PoolConfig.__dataclass_fields__}
)


def sorted_options(
    given: dict[str, Any], names: Iterable[str], check_hook: Callable[[str, object], None]
) -> tuple[PoolConfig, Options]:
    """The pool's keyword arguments, for the core and for the shell.

    `names` are those of the connection parameters; `check_hook` judges hooks. Raises
    ProgrammingError for what makes no sense.
    """
    check_names(names)
    check_plain_function("clock", given["clock"])
    reset = given["reset"]
    if given["on_connect"] is not None:
        check_hook("on_connect", given["on_connect"])
    if callable(reset):
        check_hook("reset", reset)
    options = Options(
        name=given["name"] or f"pool-{next(_numbers)}",
        clock=given["clock"],
        checkout_timeout=check_seconds("checkout_timeout", given["checkout_timeout"]),
        query_timeout=check_seconds("query_timeout", given["query_timeout"]),
        always_reset=_reset_mode(reset),
        reset=reset if callable(reset) else None,
        on_connect=given["on_connect"],
        leak_after=check_seconds("leak_after", given["leak_after"]),
    )
    fields = PoolConfig.__dataclass_fields__
    return PoolConfig(**{name: given[name] for name in fields}), options


def check_poolable(config: Config) -> Config:
    """The same settings; refuses those that make connections of no use for a pool."""
    if config.replication:
        raise ProgrammingError(
            "replication=database is for connect() and connect_async(): what a pool does with "
            "connections, none for replication can do"
        )
    return config


def _reset_mode(reset: object) -> bool | None:
    """None: where a statement may have changed the session; True: always; False: never."""
    if callable(reset):
        return None
    modes = {"auto": None, "always": True, "never": False}
    if not isinstance(reset, str) or reset not in modes:
        raise ProgrammingError(
            f"reset is {reset!r}; it must be 'auto', 'always', 'never' or a callable"
        )
    return modes[reset]


def check_names(parameters: Iterable[str]) -> None:
    """Raise ProgrammingError for a keyword that neither pools nor connections have."""
    known = PARAMETERS.keys() | OWN_KEYWORDS
    for name in parameters:
        if name not in known:
            hint = advice(name, known | OPTION_NAMES)
            raise ProgrammingError(f"unknown option or connection parameter {name!r}{hint}")


def check_timeout(timeout: float | None) -> float | None:
    """What a call was given as its time, as seconds from 0 up, or None for no limit.

    Less than nothing is nothing: it is what a program gets that computes what is left.
    """
    if timeout is None:
        return None
    is_number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not is_number or timeout != timeout:  # NaN
        raise ProgrammingError(f"timeout is {timeout!r}; it must be a number of seconds, or None")
    return None if timeout > _FOR_EVER else max(timeout, 0.0)


def check_retries(retries: int) -> None:
    """Raise ProgrammingError for what is no number of times."""
    if not isinstance(retries, int) or isinstance(retries, bool) or retries < 0:
        raise ProgrammingError(f"retries is {retries!r}; it must be an integer of at least 0")


def check_function(name: str, function: object) -> None:
    """Raise ProgrammingError for what cannot be called."""
    if not callable(function):
        raise ProgrammingError(f"{name} is {function!r}; it must be a callable")


def check_plain_function(name: str, function: object) -> None:
    """Raise ProgrammingError for what a thread cannot call, and get something done by it."""
    check_function(name, function)
    if iscoroutinefunction(function):
        raise ProgrammingError(f"{name} is a coroutine function; they are for AsyncPool")


def check_event(event: str) -> None:
    """Raise ProgrammingError for an event that pools do not have."""
    if event not in EVENTS:
        raise ProgrammingError(f"no event {event!r}; there are: {', '.join(EVENTS)}")
