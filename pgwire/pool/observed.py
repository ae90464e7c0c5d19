"""ObservedPool: what a blocking pool is as long as somebody listens to its "query".

Its single queries say when they were asked for, so that what they wait for is known. A pool that
nobody observes has none of this, not even a question whether it does (decision 22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.protocol.observing import Asked

if TYPE_CHECKING:
    from pgwire.pool.blocking import Pool
    from pgwire.protocol.operation import Operation

_classes: dict[type[Pool], type[Pool]] = {}


def watch_all(pool: Pool) -> None:
    """Begin or end to observe: the pool itself, and the connections that it has. Under its lock."""
    engine = pool._engine
    engine.listeners.watch_all(engine.core.connections(), engine.options.clock)
    kind = type(pool)
    is_observed = kind in _classes.values()
    if "query" in engine.listeners and not is_observed:
        pool.__class__ = _observed(kind)
    elif "query" not in engine.listeners and is_observed:
        pool.__class__ = kind.__bases__[0]


def _observed(kind: type[Pool]) -> type[Pool]:
    if kind not in _classes:
        run = kind._run

        # By its name and not by `super`: the pool may be what it was again at any moment.
        def _run(self: Pool, operation: Operation, timeout: float | None) -> Any:
            engine = self._engine
            operation.asked = Asked(engine.options.clock())
            try:
                return run(self, operation, timeout)
            except BaseException as error:
                engine.listeners.never_run(operation, error, engine.options.clock())
                raise

        _classes[kind] = type(kind.__name__, (kind,), {"_run": _run, "__doc__": kind.__doc__})
    return _classes[kind]
