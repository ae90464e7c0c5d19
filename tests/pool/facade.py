"""AsyncPool with the face of Pool, so that tests of the one can be run on the other.

The pool lives in an event loop in a thread of its own (`LoopThread`). A call on the facade is made
in the loop, as a task; the caller waits for its end. Whatever can wait (leases, transactions)
comes back in a facade as well. User code that the pool calls is the tests' own and blocking: a
hook, or what `run_transaction` calls, runs in a thread that the loop does not wait for. An event's
callback runs where it would run without the facade; the loop waits until it has ended, or has
called the pool: the rest of it is a coroutine then.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from importlib import import_module
from inspect import isawaitable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from pgwire.aio.connection import AsyncConnection
from pgwire.pool.aio import AsyncPool

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

_PATIENCE = 20.0


class Call:
    """Something to be done in the loop; whoever asked for it waits for its end.

    It alone has the result: the task must not keep a lease alive that the caller loses.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function = function
        self.ended = threading.Event()
        self.result: Any = None
        self.error: BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    async def carry_out(self, loop: LoopThread) -> None:
        try:
            self.result = self.function()
            if isawaitable(self.result):
                self.result = await self.result
            self.result = loop.wrapped(self.result)
        except BaseException as error:
            self.error = error
        finally:
            self.ended.set()

    def outcome(self) -> Any:
        assert self.ended.wait(_PATIENCE), "the event loop hangs"
        try:
            if self.error is not None:
                raise self.error
            return self.result
        finally:
            self.result = self.error = None


class LoopThread:
    """An event loop in a thread. `errors` is what it had to report."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.loop = make()
        self.errors: list[dict[str, Any]] = []
        self.guests: list[threading.Thread] = []  # what runs beside it, and tells it of its end
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))
        self._executor = ThreadPoolExecutor(1)  # its thread is there from the start
        self._executor.submit(int).result()
        self.loop.set_default_executor(self._executor)
        self.loop.run_until_complete(self._warm_up())
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True, name="loop")
        self.thread.start()

    async def _warm_up(self) -> None:
        """Have the loop open what it keeps open from its first use on."""
        ours, theirs = socket.socketpair()
        with theirs:
            transport, _ = await self.loop.create_connection(asyncio.Protocol, sock=ours)
            transport.close()
            await self.loop.getaddrinfo("127.0.0.1", 1)
            await asyncio.sleep(0.001)

    def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call it in the loop, wait for what it gives to wait for."""
        assert threading.current_thread() is not self.thread, "the loop would wait for itself"
        call = Call(partial(function, *args, **options))
        bridge = getattr(threading.current_thread(), "bridge", None)
        if bridge is not None:
            bridge.in_need.set()
        self.loop.call_soon_threadsafe(self._begin, call, bridge)
        return call.outcome()

    def _begin(self, call: Call, bridge: Bridge | None) -> None:
        call.task = self.loop.create_task(call.carry_out(self))
        if bridge is not None:
            bridge.call = call.task

    def stop(self) -> None:
        """Nothing may be left: no task, no thread, and no error that nobody has heard of."""
        for guest in self.guests:  # one that nobody waits for has been let go just now
            guest.join(_PATIENCE)
            assert not guest.is_alive(), "a callback hangs"
        left = self.call(self._left)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(_PATIENCE)
        assert not self.thread.is_alive(), "the event loop hangs"
        self._executor.shutdown()
        self.loop.close()
        assert not self.errors, f"the loop had to report: {self.errors}"
        assert not left, f"tasks are left: {left}"

    def _left(self) -> list[str]:
        return [repr(t) for t in asyncio.all_tasks() if t is not asyncio.current_task()]

    def wrapped(self, value: Any) -> Any:
        if isinstance(value, AsyncConnection) or hasattr(value, "__aenter__"):
            return Facade(self, value)
        if hasattr(value, "__anext__"):
            return Facade(self, value)
        if type(value).__name__ == "AsyncStatement":
            return Facade(self, value)
        return value


class Bridge:
    """Blocking code in a thread, of which a coroutine of the loop awaits the end."""

    def __init__(self, loop: LoopThread, function: Callable[..., Any], args: Any) -> None:
        self.loop = loop
        self.in_need = threading.Event()  # it has ended, or waits for the loop
        self.has_ended = False
        self.ended: asyncio.Future[None] = loop.loop.create_future()
        self.call: asyncio.Task[None] | None = None
        self.result: Any = None
        self.error: BaseException | None = None
        context = copy_context()
        work = partial(function, *map(loop.wrapped, args))
        self.thread = threading.Thread(target=context.run, args=(self._run, work), daemon=True)
        self.thread.bridge = self  # type: ignore[attr-defined]
        self.thread.start()
        loop.guests.append(self.thread)

    def _run(self, work: Callable[[], Any]) -> None:
        try:
            self.result = work()
        except BaseException as error:
            self.error = error
        del work
        self.has_ended = True
        self.in_need.set()
        self.loop.loop.call_soon_threadsafe(self._end)

    def _end(self) -> None:
        self.thread.join(_PATIENCE)
        if not self.ended.done():
            self.ended.set_result(None)

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result

    async def finish(self) -> Any:
        try:
            await asyncio.shield(self.ended)
        except asyncio.CancelledError:
            if self.call is not None:
                self.call.cancel()
            raise
        return self.outcome()


class Facade:
    """An object of the loop; see the module."""

    def __init__(self, loop: LoopThread, target: Any) -> None:
        self.__dict__["_loop"] = loop
        self.__dict__["_target"] = target

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._target, name)
        if callable(value) and not name.startswith("_"):
            return partial(self._loop.call, value)
        return value

    def __repr__(self) -> str:
        return repr(self._target)

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        # What ends it must not end the coroutine that asks for it.
        found = self._loop.call(_next_of, self._target)
        if found is _END:
            raise StopIteration
        return found

    def __enter__(self) -> Any:
        entered = self._loop.call(self._target.__aenter__)
        return self if getattr(entered, "_target", None) is self._target else entered

    def __exit__(self, *why: Any) -> Any:
        return self._loop.call(self._target.__aexit__, *why)


_END = object()


async def _next_of(target: Any) -> Any:
    try:
        return await target.__anext__()
    except StopAsyncIteration:
        return _END


class FacadePool(Facade):
    """`pgwire.Pool` as a test sees it, on an AsyncPool."""

    def __init__(self, loop: LoopThread, conninfo: str = "", **options: Any) -> None:
        for name in ("on_connect", "reset"):
            if callable(options.get(name)):
                options[name] = partial(_hook, loop, options[name])
        super().__init__(loop, loop.call(lambda: [AsyncPool(conninfo, **options)])[0])
        self.__dict__["_callbacks"] = {}

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def connect(self, *, timeout: float | None = None) -> Any:
        # Here and not in the loop: it notes from where it is called.
        checkout = self._target.connect(timeout=timeout)

        async def take() -> Any:
            return await checkout

        return self._loop.call(take)

    def listen(self, *channels: str, **options: Any) -> Any:
        if callable(callback := options.get("callback")):
            options["callback"] = partial(_hook, self._loop, callback)
        return self._loop.call(self._target.listen, *channels, **options)

    def run_transaction(self, function: Callable[..., Any], **options: Any) -> Any:
        return self._loop.call(
            self._target.run_transaction, partial(_hook, self._loop, function), **options
        )

    def on(self, event: str, callback: Callable[..., Any]) -> None:
        wrapped = self._callbacks.setdefault(callback, _Callback(self._loop, callback))
        self._loop.call(self._target.on, event, wrapped)

    def off(self, event: str, callback: Callable[..., Any]) -> None:
        self._loop.call(self._target.off, event, self._callbacks.get(callback))

    def submit(self, sql: str, params: Any = (), *, timeout: float | None = None) -> Future[Any]:
        """What `query` is in the loop."""
        outer: Future[Any] = Future()

        def begin() -> None:
            inner = self._target.query(sql, params, timeout=timeout)
            inner.add_done_callback(partial(_hand_on, outer))

        self._loop.call(begin)
        return outer


def _hand_on(outer: Future[Any], inner: asyncio.Future[Any]) -> None:
    if error := inner.exception():
        outer.set_exception(error)
    else:
        outer.set_result(inner.result())


async def _hook(loop: LoopThread, function: Callable[..., Any], *args: Any) -> Any:
    return await Bridge(loop, function, args).finish()


class _Callback:
    def __init__(self, loop: LoopThread, callback: Callable[..., Any]) -> None:
        self.loop = loop
        self.callback = callback

    def __call__(self, *args: Any) -> Any:
        bridge = Bridge(self.loop, self.callback, args)
        assert bridge.in_need.wait(_PATIENCE), "a callback hangs"
        return bridge.outcome() if bridge.has_ended else bridge.finish()


TWINS = {
    "pgwire.pool.chores": ("pgwire.pool.aio_chores",),
    "pgwire.pool.engine": ("pgwire.pool.aio_engine", "pgwire.pool.aio_ending"),
    "pgwire.blocking.driver": ("pgwire.aio.driver", "pgwire.aio.giving_up"),
    "pgwire.pool.blocking": ("pgwire.pool.aio",),
    "pgwire.pool.listening": ("pgwire.pool.aio_listening",),
}


class Twins:
    """`monkeypatch.setattr` that patches the asyncio pool's modules in place of Pool's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._setattr = monkeypatch.setattr

    def setattr(self, target: Any, *rest: Any) -> None:
        module = getattr(target, "__name__", "")
        if isinstance(target, str):
            module, _, name = target.rpartition(".")
            if module in TWINS:
                rest = name, *rest
        if module not in TWINS:
            self._setattr(target, *rest)
            return
        name, value = rest
        if name == "time":  # what sleeps there
            name, value = "asyncio", SimpleNamespace(sleep=partial(_sleep, value.sleep))
        twins = [import_module(each) for each in TWINS[module]]
        self._setattr(next(twin for twin in twins if hasattr(twin, name)), name, value)


async def _sleep(sleep: Callable[[float], object], seconds: float) -> None:
    """What a test does in place of sleeping may take its time."""
    await asyncio.get_running_loop().run_in_executor(None, sleep, seconds)
