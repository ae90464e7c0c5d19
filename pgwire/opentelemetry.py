"""OpenTelemetry: spans of queries, and the metrics of pools. Needs `pgwire[opentelemetry]`.

    import pgwire.opentelemetry

    pool = pgwire.Pool(…)
    pgwire.opentelemetry.instrument(pool)

By the semantic conventions for databases, version 1.44.0: those for spans and for
`db.client.operation.duration` are stable, those for pools (`db.client.connection.*`) are not yet.

A span is made of the report of an operation (`QueryReport`) once that has ended, with its times,
and as a child of the span that was current where the operation was asked for. So nothing is added
to a query's own way, and it does not matter in which thread or task of a pool it was run.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from time import time_ns
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakKeyDictionary, ref

from opentelemetry import context, metrics, trace
from opentelemetry.metrics import Observation
from opentelemetry.trace import SpanKind, Status, StatusCode

import pgwire
from pgwire.errors import ProgrammingError
from pgwire.pool.times import Times
from pgwire.sqltext import redacted, summary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType

    from opentelemetry.metrics import CallbackOptions, Meter, MeterProvider
    from opentelemetry.trace import TracerProvider

    from pgwire.pool.config import PoolStats
    from pgwire.pool.times import TimesTaken
    from pgwire.protocol.observing import QueryReport

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
# Seconds; as the conventions want them.
DURATION_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)

_DEFAULT_PORT = 5432
_LONGEST = 255
_COPIES = ("copy_in", "copy_out", "copy_records")


def instrument(
    target: Any,
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    capture_query_text: bool = True,
    sanitize_query_text: bool = True,
    capture_parameters: bool = False,
    capture_error_messages: bool = False,
) -> Instrumentation:
    """Have spans and metrics of a connection or a pool; `uninstrument()` ends it.

    Without providers the global ones are taken. The text of a query whose values travel apart from
    it is captured as it stands; of any other, literals are replaced by `?` and comments dropped,
    unless `sanitize_query_text` is false. `capture_parameters` adds the values themselves, and
    `capture_error_messages` what the server says of an error, where values may be in: both off
    unless asked for. Of a lease's instrumentation nothing is left when it is released.

    Raises `ProgrammingError` for what is neither a connection nor a pool.
    """
    if not hasattr(target, "on"):
        raise ProgrammingError(f"instrument() takes a connection or a pool, not {target!r}")
    tracer = trace.get_tracer("pgwire", pgwire.__version__, tracer_provider, SCHEMA)
    instruments = _instruments_of(meter_provider or metrics.get_meter_provider())
    captured = _Captured(
        capture_query_text, sanitize_query_text, capture_parameters, capture_error_messages
    )
    return Instrumentation(target, tracer, instruments, captured)


class Instrumentation:
    """What `instrument` gives: leaving it as a context manager uninstruments as well."""

    def __init__(
        self, target: Any, tracer: trace.Tracer, instruments: _Instruments, captured: _Captured
    ) -> None:
        self._target = target
        self._tracer = tracer
        self._instruments = instruments
        self._captured = captured
        target.on("query", self._query_ended)
        self._pool = _ObservedPool(target) if hasattr(target, "stats") else None
        if self._pool is not None:
            instruments.pools.append(self._pool)

    def uninstrument(self) -> None:
        """Have no more of it. Idempotent."""
        self._target.off("query", self._query_ended)
        if self._pool is not None:
            self._instruments.forget(self._pool, self._target)
            self._pool = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.uninstrument()

    def _query_ended(self, report: QueryReport) -> None:
        if context.get_value("suppress_instrumentation"):
            return
        end = time_ns()
        common = _common_attributes(report)
        span = self._tracer.start_span(
            common.get("db.query.summary") or "postgresql",
            kind=SpanKind.CLIENT,
            attributes=common | self._captured.attributes(report),
            start_time=end - int(report.duration * 1e9),
        )
        if report.error is not None and span.is_recording():
            span.set_status(Status(StatusCode.ERROR, self._captured.message(report.error)))
        span.end(end)
        self._instruments.duration.record(report.duration, common)


class _Captured:
    """What of a report goes into a span beside the common attributes."""

    def __init__(self, text: bool, sanitized: bool, parameters: bool, messages: bool) -> None:
        self._text, self._sanitized = text, sanitized
        self._parameters, self._messages = parameters, messages

    def attributes(self, report: QueryReport) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if self._text:
            as_it_is = report.parameterized or not self._sanitized
            found["db.query.text"] = report.sql if as_it_is else redacted(report.sql)
        if report.batch_size not in (None, 1):
            found["db.operation.batch.size"] = report.batch_size
        if self._parameters:
            for index, value in enumerate(report.reveal_parameters() or ()):
                found[f"db.query.parameter.{index}"] = str(value)
        return found

    def message(self, error: BaseException) -> str | None:
        return str(error) if self._messages else None


def _common_attributes(report: QueryReport) -> dict[str, Any]:
    """What a span and the metric of its duration have in common: few different values of each."""
    found: dict[str, Any] = {"db.system.name": "postgresql"}
    if report.database:
        found["db.namespace"] = report.database
    if report.host:
        found["server.address"] = report.host
        if report.port not in (None, _DEFAULT_PORT) and report.host[0] not in "/@":
            found["server.port"] = report.port
    brief = summary(report.sql)
    if report.operation == "query_many" and report.batch_size != 1:
        brief = f"BATCH {brief}"[:_LONGEST]
    if brief:
        found["db.query.summary"] = brief
    if report.operation in _COPIES:
        found["db.operation.name"] = "COPY"
    if report.error is not None:
        found |= _error_attributes(report.error)
    return found


def _error_attributes(error: BaseException) -> dict[str, str]:
    """The SQLSTATE, if the server has said so; else the name of the exception's class."""
    state = getattr(error, "sqlstate", None)
    if state:
        return {"error.type": state, "db.response.status_code": state}
    return {"error.type": type(error).__name__}


# ---------------------------------------------------------------- metrics


class _ObservedPool:
    """One pool: its figures as the conventions have them. Does not keep it alive."""

    def __init__(self, pool: Any) -> None:
        self.pool = ref(pool)
        self.attributes: Mapping[str, Any] = {"db.client.connection.pool.name": pool.name}
        self._times = self._begin(pool._engine)

    @staticmethod
    def _begin(engine: Any) -> Times:
        with _lock_of(engine):
            return Times(engine.core, engine.core.stats().granted)

    def take_times(self, pool: Any) -> TimesTaken:
        engine = pool._engine
        if engine.core is not self._times.core:  # the pool of a forked child
            self._times = self._begin(engine)
        with _lock_of(engine):
            return self._times.take(engine.core.stats().granted)

    def stop(self, pool: Any) -> None:
        with _lock_of(pool._engine):
            self._times.stop()


def _lock_of(engine: Any) -> AbstractContextManager[Any]:
    """What keeps the core's threads apart; in an event loop there is one thread."""
    lock: AbstractContextManager[Any] = getattr(engine, "lock", nullcontext())
    return lock


class _Instruments:
    """The instruments of one meter provider, which all that is instrumented shares.

    A second observable one of the same name would be ignored, and with it whom it asks.
    """

    def __init__(self, meter: Meter) -> None:
        self.pools: list[_ObservedPool] = []
        self.duration = meter.create_histogram(
            "db.client.operation.duration", "s", "Duration of database client operations.",
            explicit_bucket_boundaries_advisory=DURATION_BUCKETS,
        )  # fmt: skip
        self._create_time, self._wait_time, self._use_time = (
            meter.create_histogram(f"db.client.connection.{name}", "s", text)
            for name, text in (
                ("create_time", "The time it took to create a new connection."),
                ("wait_time", "The time it took to obtain an open connection from the pool."),
                ("use_time", "The time between borrowing a connection and returning it."),
            )
        )
        meter.create_observable_up_down_counter(
            "db.client.connection.count", [self._count], "{connection}",
            "The number of connections that are currently in the state.",
        )  # fmt: skip
        for name, unit, text, figure in _FIGURES:
            meter.create_observable_up_down_counter(
                f"db.client.connection.{name}", [self._observe(figure)], unit, text
            )
        meter.create_observable_counter(
            "db.client.connection.timeouts", [self._observe(lambda s: s.timed_out)], "{timeout}",
            "The number of requests for a connection that have timed out.",
        )  # fmt: skip

    def forget(self, observed: _ObservedPool, pool: Any) -> None:
        """It is not observed any more."""
        self.pools.remove(observed)
        self._record_times(observed, pool)
        observed.stop(pool)

    def _alive(self) -> Iterable[tuple[_ObservedPool, Any]]:
        """Those that somebody still has."""
        for observed in tuple(self.pools):
            pool = observed.pool()
            if pool is not None:
                yield observed, pool
            else:
                self.pools.remove(observed)

    def _count(self, _options: CallbackOptions) -> Iterable[Observation]:
        for observed, pool in self._alive():
            self._record_times(observed, pool)
            stats = pool.stats()
            in_use = stats.leased + stats.shared
            idle = stats.size - in_use - stats.opening - stats.closing
            for state, number in (("idle", idle), ("used", in_use)):
                yield Observation(
                    number, {**observed.attributes, "db.client.connection.state": state}
                )

    def _observe(
        self, figure: Callable[[PoolStats], int]
    ) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return [Observation(figure(p.stats()), seen.attributes) for seen, p in self._alive()]

        return observe

    def _record_times(self, observed: _ObservedPool, pool: Any) -> None:
        times = observed.take_times(pool)
        for histogram, values in (
            (self._create_time, times.connect),
            (self._wait_time, times.wait),
            (self._use_time, times.use),
        ):
            for value in values:
                histogram.record(value, observed.attributes)


_FIGURES: tuple[tuple[str, str, str, Callable[[PoolStats], int]], ...] = (
    ("max", "{connection}", "The most open connections allowed.", lambda s: s.max_size),
    ("idle.max", "{connection}", "The most idle connections allowed.", lambda s: s.max_size),
    ("idle.min", "{connection}", "The fewest idle connections kept.", lambda s: s.min_size),
    ("pending_requests", "{request}", "Requests that wait for a connection.", lambda s: s.waiting),
)

_all: WeakKeyDictionary[Any, _Instruments] = WeakKeyDictionary()
_all_lock = Lock()


def _instruments_of(provider: MeterProvider) -> _Instruments:
    with _all_lock:
        found = _all.get(provider)
        if found is None:
            meter = provider.get_meter("pgwire", pgwire.__version__, SCHEMA)
            found = _all[provider] = _Instruments(meter)
        return found
