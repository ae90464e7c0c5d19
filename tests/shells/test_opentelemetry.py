"""Spans and metrics of connections and pools, with OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

import pgwire
from pgwire.opentelemetry import DURATION_BUCKETS, SCHEMA, instrument
from tests.support.shells import LoopShell

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan

    from tests.support.shells import Shell

SECRET = "MARKER"


class Telemetry:
    """Providers of its own, and what has been exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.tracers.get_tracer("test")

    def instrument(self, target: Any, **options: Any) -> Any:
        return instrument(
            target, tracer_provider=self.tracers, meter_provider=self.meters, **options
        )

    @property
    def spans(self) -> list[ReadableSpan]:
        return [s for s in self.exporter.get_finished_spans() if s.kind is SpanKind.CLIENT]

    def points(self) -> dict[str, list[Any]]:
        """The data points by the names of the metrics."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


@pytest.fixture
def telemetry() -> Telemetry:
    return Telemetry()


# ---------------------------------------------------------------- spans


def test_a_query(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    telemetry.instrument(conn)
    sql = "select * from pg_class where relname = $1"
    conn.query(sql, [SECRET])
    (span,) = telemetry.spans
    found = dict(span.attributes or {})
    assert span.name == found.pop("db.query.summary") == "SELECT pg_class"
    assert found.pop("db.system.name") == "postgresql"
    assert found.pop("db.query.text") == sql
    assert found.pop("db.namespace") == conn.query("select current_database()").scalar()
    assert "server.address" in found
    assert found.keys() <= {"server.address", "server.port"}
    assert span.status.status_code is StatusCode.UNSET
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "pgwire"
    assert span.instrumentation_scope.schema_url == SCHEMA
    assert span.end_time is not None
    assert span.start_time is not None
    assert 0 < span.end_time - span.start_time < 60e9


def test_the_parent_is_the_span_of_who_asked(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    telemetry.instrument(conn)
    with telemetry.tracer.start_as_current_span("request") as request:
        conn.query("select 1")
    conn.query("select 1")
    child, orphan = telemetry.spans
    assert child.parent is not None
    assert child.parent.span_id == request.get_span_context().span_id
    assert orphan.parent is None


def test_texts_without_values(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    telemetry.instrument(conn)
    conn.query(f"select '{SECRET}', 42 -- {SECRET}")
    conn.script(f"create temporary table t (a text); insert into t values ('{SECRET}')")
    conn.query_many("insert into t values ($1)", [(SECRET,), (SECRET,)])
    conn.query_many("insert into t values ($1)", [(SECRET,)])
    conn.copy_in("copy t from stdin", f"{SECRET}\n")
    with pytest.raises(pgwire.PostgresError):
        conn.query("select $1::text::int", [SECRET])
    told = [(span.name, dict(span.attributes or {})) for span in telemetry.spans]
    assert [name for name, _ in told] == [
        "SELECT", "CREATE TABLE t INSERT t", "BATCH INSERT t", "INSERT t", "COPY t", "SELECT",
    ]  # fmt: skip
    assert told[0][1]["db.query.text"] == "select ?, ?  "
    assert [found.get("db.operation.batch.size") for _, found in told[2:4]] == [2, None]
    assert told[4][1]["db.operation.name"] == "COPY"
    assert SECRET not in repr(told)
    assert not any(SECRET in str(span.to_json()) for span in telemetry.spans)


def test_what_is_asked_for_can_be_had(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    telemetry.instrument(
        conn, sanitize_query_text=False, capture_parameters=True, capture_error_messages=True
    )
    conn.query("select $1::text, 'a'", ["b"])
    conn.query("select 'a'")
    with pytest.raises(pgwire.DivisionByZero):
        conn.query("select 1 / 0")
    values, plain, failed = ((s.attributes or {}, s.status) for s in telemetry.spans)
    assert values[0]["db.query.parameter.0"] == "b"
    assert plain[0]["db.query.text"] == "select 'a'"
    assert failed[1].description == "division by zero"
    other = Telemetry()
    with other.instrument(conn, capture_query_text=False):
        conn.query("select 1")
    assert "db.query.text" not in (other.spans[0].attributes or {})


def test_errors(conn: pgwire.Connection, telemetry: Telemetry, shell: Shell) -> None:
    telemetry.instrument(conn)
    with pytest.raises(pgwire.UndefinedTable):
        conn.query("select * from no_such_table")
    with pytest.raises(pgwire.QueryTimeout):
        conn.query("select pg_sleep(20)", timeout=0.05)
    shell.settle()
    conn.ping()
    server, ours = telemetry.spans
    assert server.status.status_code is ours.status.status_code is StatusCode.ERROR
    assert server.status.description is None
    found = server.attributes or {}
    assert found["error.type"] == found["db.response.status_code"] == "42P01"
    assert (ours.attributes or {})["error.type"] == "QueryTimeout"
    assert "db.response.status_code" not in (ours.attributes or {})


def test_no_more_of_it(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    with telemetry.instrument(conn) as instrumentation:
        conn.query("select 1")
        token = context.attach(context.set_value("suppress_instrumentation", True))
        conn.query("select 2")
        context.detach(token)
    conn.query("select 3")
    instrumentation.uninstrument()
    assert len(telemetry.spans) == 1
    with pytest.raises(pgwire.ProgrammingError, match="a connection or a pool"):
        instrument(42)


def test_how_long_operations_take(conn: pgwire.Connection, telemetry: Telemetry) -> None:
    telemetry.instrument(conn)
    for _ in range(3):
        conn.query("select 1")
    with pytest.raises(pgwire.DivisionByZero):
        conn.query("select 1 / 0")
    points = telemetry.points()["db.client.operation.duration"]
    assert sorted(point.count for point in points) == [1, 3]
    assert all(point.explicit_bounds == DURATION_BUCKETS for point in points)
    well, failed = sorted(points, key=lambda point: -point.count)
    assert well.attributes["db.query.summary"] == "SELECT"
    assert "db.query.text" not in well.attributes
    assert failed.attributes["error.type"] == "22012"


# ---------------------------------------------------------------- pools


def check_pool(points: dict[str, list[Any]], *, idle: int, used: int) -> None:
    name = "db.client.connection."
    by_state = {point.attributes[f"{name}state"]: point.value for point in points[f"{name}count"]}
    assert by_state == {"idle": idle, "used": used}
    for figure, value in {"max": 2, "idle.max": 2, "idle.min": 0, "pending_requests": 0}.items():
        (point,) = points[name + figure]
        assert point.value == value
        assert point.attributes == {f"{name}pool.name": "shop"}


def counts(points: dict[str, list[Any]]) -> dict[str, int]:
    name = "db.client.connection."
    return {
        figure: sum(point.count for point in points.get(name + figure, []))
        for figure in ("create_time", "wait_time", "use_time")
    }


def test_a_pool_of_threads(dsn: str, telemetry: Telemetry) -> None:
    with pgwire.Pool(dsn, max_size=2, name="shop") as pool:
        pool.query("select 0")
        instrumentation = telemetry.instrument(pool)
        with telemetry.tracer.start_as_current_span("request") as request:
            pool.submit("select 1").result(20)
            pool.query("select 2")
        with pool.connect() as lease:
            lease.query("select 3")
            check_pool(telemetry.points(), idle=0, used=1)
            other = pool.connect()
            with pytest.raises(pgwire.PoolTimeout):
                pool.query("select 4", timeout=0.01)
            other.release()
        points = telemetry.points()
        check_pool(points, idle=2, used=0)
        assert counts(points) == {"create_time": 1, "wait_time": 4, "use_time": 4}
        assert points["db.client.connection.timeouts"][0].value == 1
        (waits,) = points["db.client.connection.wait_time"]
        assert waits.sum == pytest.approx(pool.stats().wait_time.sum, abs=60)
        first, second, _, timed_out = telemetry.spans
        for span in (first, second):
            assert span.parent is not None
            assert span.parent.span_id == request.get_span_context().span_id
        assert (timed_out.attributes or {})["error.type"] == "PoolTimeout"
        assert "server.address" not in (timed_out.attributes or {})
        before = pool.stats()
        instrumentation.uninstrument()
        pool.query("select 5")
        after = pool.stats()
        assert after.use_time.count == before.use_time.count + 1
        assert not telemetry.points().get("db.client.connection.count")
        assert counts(telemetry.points())["use_time"] == 4
    assert len(telemetry.spans) == 4


def test_a_pool_of_tasks(dsn: str, telemetry: Telemetry, shell: Shell) -> None:
    if not isinstance(shell, LoopShell):
        return  # there is one of threads

    async def ask(pool: pgwire.AsyncPool, number: int) -> None:
        with telemetry.tracer.start_as_current_span(f"request {number}"):
            await pool.query("select $1::int", [number])

    async def use() -> None:
        async with pgwire.AsyncPool(dsn, max_size=2, max_pipeline=4, name="shop") as pool:
            telemetry.instrument(pool, capture_parameters=True)
            await asyncio.gather(*(ask(pool, number) for number in range(20)))
            async with pool.connect():
                points = telemetry.points()
                stats = pool.stats()
                check_pool(points, idle=stats.idle, used=1)
            points = telemetry.points()
            assert counts(points) == {
                "create_time": stats.opened, "wait_time": 21, "use_time": 21,
            }  # fmt: skip

    shell.loop.run_until_complete(use())
    requests = {
        span.context.span_id: span.name
        for span in telemetry.exporter.get_finished_spans()
        if span.kind is SpanKind.INTERNAL and span.context is not None
    }
    assert len(telemetry.spans) == 20
    for span in telemetry.spans:
        assert span.parent is not None
        number = str((span.attributes or {})["db.query.parameter.0"])
        assert requests[span.parent.span_id] == f"request {number!s}"


def test_a_pool_that_nobody_has_any_more(dsn: str, telemetry: Telemetry) -> None:
    pool = pgwire.Pool(dsn, name="shop")
    telemetry.instrument(pool)
    pool.query("select 1")
    pool.end()
    assert telemetry.points()["db.client.connection.use_time"][0].count == 1
    gone = weakref.ref(pool)
    del pool
    gc.collect()
    assert gone() is None
    assert not telemetry.points().get("db.client.connection.count")


def test_a_pool_in_a_forked_child(dsn: str, telemetry: Telemetry) -> None:
    """It begins anew there, and so do its times."""
    with pgwire.Pool(dsn, name="shop") as pool:
        telemetry.instrument(pool)
        pool._engine.begin_anew()
        telemetry.points()
        pool.query("select 1")
        assert telemetry.points()["db.client.connection.use_time"][0].count == 1


def test_several_pools_with_one_provider(dsn: str, telemetry: Telemetry) -> None:
    with pgwire.Pool(dsn, name="one") as one, pgwire.Pool(dsn, name="two") as two:
        telemetry.instrument(one)
        telemetry.instrument(two)
        threads = [threading.Thread(target=p.query, args=("select 1",)) for p in (one, two, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        names = {
            point.attributes["db.client.connection.pool.name"]
            for point in telemetry.points()["db.client.connection.use_time"]
        }
        assert names == {"one", "two"}
