"""AsyncDriver: one session on one transport, whose operations pipeline by themselves.

`start` queues an operation in the session, `data_received` feeds it what has come; whatever is
to be written is joined, once per turn of the loop, unless nothing is under way. Operations carry
a `QueryFuture`, which is settled when they are done.

What happens when nobody wants an outcome any more is in `giving_up`.
"""

from __future__ import annotations

import asyncio
import select
from asyncio import InvalidStateError, Protocol, _get_running_loop
from typing import TYPE_CHECKING, Any, cast

from pgwire.aio.future import QueryFuture, hear, query_future
from pgwire.aio.giving_up import GivingUp, within
from pgwire.aio.loops import RECEIVE, check_loop, read_little
from pgwire.driving import CLOSE_PATIENCE, ENDED, DriverBase, lost
from pgwire.errors import Error, InterfaceError, PostgresError
from pgwire.protocol import frontend
from pgwire.protocol.cleaning import cleaning
from pgwire.protocol.listening import check_wait

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task, TimerHandle
    from collections.abc import Awaitable, Callable

    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session
    from pgwire.tls import TLSLayer

# How long a session may take to be cleaned, if nobody waits for it sooner.
CLEANING_PATIENCE = 5.0


class AsyncDriver(GivingUp, Protocol):
    """See the module. `cancel_request` opens a second connection and asks for a cancel."""

    # What is set at the end only stands here. An object with 30 attributes of its own has them
    # looked up in a dict of its own, which a query of one value would notice.
    _closing: Task[None] | None = None
    _reads_no_more = False  # for now
    _last_wait: TimerHandle | None = None  # for the server's end, when it has said why

    def __init__(
        self,
        loop: AbstractEventLoop,
        session: Session,
        tls: TLSLayer | None,
        cancel_request: Callable[[Any], Awaitable[None]],
    ) -> None:
        super().__init__(session, loop, cancel_request)
        self.tls = tls
        self.gone: Future[None] = loop.create_future()  # the transport is closed
        self.lost_listener: Callable[[], object] | None = None  # hears of it while idle
        self.reads = 0  # how often something has been read
        self.timed_read = -1  # in which of these a pool that shares has timed a query last
        self._transport: asyncio.Transport = cast("Any", None)
        self._settling = self._paused = self._flush_planned = False
        self._when_idle: list[Callable[[], object]] = []

    def __repr__(self) -> str:
        return f"<AsyncDriver {self.session!r}>"

    # ---------------------------------------------------------------- operations

    def submit(
        self,
        operation: Operation,
        timeout: float | None = None,
        row: Callable[..., Any] | None = None,
    ) -> QueryFuture:
        """Queue an operation; errors come out of the future, but for a foreign loop's."""
        if _get_running_loop() is not self.loop:
            check_loop(self.loop, "connection")
        future = query_future(self.loop, operation, self, row)
        self.start(future, timeout)
        return future

    def start(self, future: QueryFuture, timeout: float | None = None) -> None:
        """Queue the operation of a future that exists already."""
        session = self.session
        operation = future.operation
        if timeout is not None:
            timeout = check_wait(timeout)  # before anything is queued
        if (
            session.failure is not None
            or self.closed
            or self.generation != DriverBase.forks
            or (timeout is not None and timeout <= 0)
        ):
            self._refuse(operation)
            return
        alone = not session.pending
        try:
            session.submit(operation)
            if session.completed:  # a misfit: nothing was written
                self._settle()
                self.tell_observers()
            if timeout is not None and not operation.done:
                future.entry = self._deadlines.add(timeout, future)
            if not self._receiving:
                if alone:
                    self._flush()
                elif not self._flush_planned:
                    self._flush_soon()
        except BaseException:  # Ctrl-C, say: nobody knows how far it came, and has the future
            future.add_done_callback(hear)
            self.abort()
            raise

    def _refuse(self, operation: Operation) -> None:
        try:
            self.refuse()
        except Error as error:
            operation.error = error
        operation.done = True
        self._settle_one(operation)

    def _settle(self) -> None:
        """Hand on what is done; pools start the next operation from here."""
        if self._settling:
            return  # it goes on there, and not deeper and deeper
        self._settling = True
        completed = self.session.completed
        try:
            while completed:
                self._settle_one(completed[0])
                del completed[0]
        except BaseException:  # Ctrl-C, say: what has not been told yet stays
            if completed and completed[0].waiter is None:
                del completed[0]
            if self.lost_listener is not None:
                self.loop.call_soon(self.lost_listener)  # a pool, which may not know of its end
            raise
        finally:
            self._settling = False

    def _settle_one(self, operation: Operation) -> None:
        future: QueryFuture = operation.waiter
        if future.entry is not None:
            self._deadlines.remove(future.entry)
        if future.extra is None and operation.error is None:
            try:  # noqa: SIM105
                future.set_result(operation.result)
            except InvalidStateError:
                pass  # it was cancelled
        else:
            future.settle()
        operation.waiter = None  # else they would hold each other until the garbage collector comes
        finished = future.finished
        if finished is not None:
            finished(future)

    # ---------------------------------------------------------------- the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        read_little(self._transport)
        self.send = self._transport.write if self.tls is None else self._encrypt_and_send
        self._hangup = _hangup_poll(transport.get_extra_info("socket").fileno())

    def take_over(self) -> None:
        """The session is ready: from now on the transport's calls come here (see `login`)."""
        self._transport.set_protocol(self)
        if self.session.events:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        session = self.session
        self.reads += 1
        self._receiving = True
        try:
            if self.tls is None:
                session.receive_data(data)
            else:
                self._receive_wire(data)
            if session.completed:
                self._settle()
            if session.events or session.failure or self._abandoned or self._when_idle:
                self._go_on()
            self._receiving = False
            if session.out:
                self._flush()
            elif session.floor is not None:  # it may have more to write, but others have their turn
                self._flush_soon()
        except BaseException:  # Ctrl-C, say: nobody knows how far it came
            self._receiving = False
            self.abort()
            raise
        if len(data) > RECEIVE and not (self._reads_no_more or self._transport.is_closing()):
            # Without `max_size`, that is uvloop's, which would read on at once, many times.
            self._transport.pause_reading()
            self.loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if not (self._reads_no_more or self._transport.is_closing()):
            self._transport.resume_reading()

    def _receive_wire(self, wire: bytes) -> None:
        session = self.session
        try:
            session.receive_data(self.decrypted(wire))
        except Error as error:
            session.fail(error)
        else:
            if self.tls is not None and self.tls.closed:
                session.receive_eof()

    def decrypted(self, wire: bytes) -> bytes:
        """What these bytes say, and those before them; raises TLSError where they are wrong."""
        tls = self.tls
        assert tls is not None
        if wire:
            tls.feed(wire)
        plain = tls.decrypt()
        if answer := tls.take_wire():  # TLS's own talk: a key update, an alert
            self._transport.write(answer)
        return plain

    def _go_on(self) -> None:
        """Something has been read, or the line is gone: what follows from that."""
        session = self.session
        if session.completed:
            self._settle()
        if session.events:
            self._deliver()
        if session.failure is not None:
            self._fail()
        elif self._abandoned:
            self._recover_head()
        while self._when_idle and not session.pending:
            self._when_idle[0]()  # again, if Ctrl-C strikes there
            del self._when_idle[0]

    def _deliver(self) -> None:
        while self.session.events:
            try:
                self.deliver_events()
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException as error:  # as the loop does with its own callbacks
                self.loop.call_exception_handler(
                    {"message": "a callback of a connection raised", "exception": error}
                )

    def eof_received(self) -> None:
        try:
            self.session.receive_eof()
            self._go_on()
        except BaseException:  # Ctrl-C
            self.abort()
            raise

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            if exc is None:
                self.session.receive_eof()
            else:
                self.session.fail(lost(exc))
            self._go_on()
        except BaseException:  # Ctrl-C
            self.abort()
            raise
        self._deadlines.end()
        if self._last_wait is not None:
            self._last_wait.cancel()
        if not self.gone.done():
            self.gone.set_result(None)

    def _fail(self) -> None:
        """The session has failed: nothing more can be said here.

        A server that said so is about to end. The line is kept until it has, or there might be one
        backend more than are counted; whoever closes the connection waits for that.
        """
        self.closed = True
        if not isinstance(self.session.failure, PostgresError):
            self._transport.abort()
        elif self._last_wait is None:
            self._last_wait = self.loop.call_later(CLOSE_PATIENCE, self._transport.abort)
        self.note_end()
        if self.lost_listener is not None:
            self.lost_listener()

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._flush_soon()

    # ---------------------------------------------------------------- writing

    def _flush_soon(self) -> None:
        if not self._flush_planned:
            self._flush_planned = True
            self.loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what there is; what an operation takes from elsewhere bit by bit, turn by turn."""
        session = self.session
        self._flush_planned = False
        if self._paused or session.failure is not None:
            return
        try:
            if data := session.data_to_send():
                self.send(data)
                if session.floor is not None:
                    self._flush_soon()
        except BaseException:  # Ctrl-C, say: nobody knows how much was written
            self.abort()
            raise
        if session.completed:  # a source raised before anything was written
            self._go_on()

    def write_soon(self) -> None:
        """Somebody has more to write: it is asked for that in the loop's next turn."""
        self._flush_soon()

    def pause_reading(self, pause: bool) -> None:
        """Read no more for now, or go on reading."""
        self._reads_no_more = pause
        if not self._transport.is_closing():
            if pause:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def _encrypt_and_send(self, data: bytes) -> None:
        assert self.tls is not None
        try:
            self.tls.encrypt(data)
        except Error as error:
            self.session.fail(error)
            self._go_on()
            return
        self._transport.write(self.tls.take_wire())

    # ---------------------------------------------------------------- between operations

    def is_alive(self) -> bool:
        """A free look at an idle connection: whether the server's end is still there.

        The loop hears of an end by itself, but not as long as somebody keeps it busy.
        """
        return self.session.failure is None and not self.closed and not self._hangup(0)

    async def say_why_lost(self) -> Error | None:
        """Why the connection was lost, once all that the server has said of it was read."""
        if not self.closed and self._hangup(0):
            await within(self.gone, CLOSE_PATIENCE)
        return self.session.failure

    def when_idle(self, callback: Callable[[], object]) -> None:
        """Call it once nothing is under way any more; at once if nothing is."""
        if self.session.pending:
            self._when_idle.append(callback)
            held = self.session.floor
            # It would wait for its caller.
            if held is not None and held.holds and held.waiter.cancel():
                held.told = InterfaceError(ENDED)
        else:
            callback()

    async def see_through(self, operation: Operation) -> None:
        """Wait for the end of one that is alone in the session; raises its error.

        For what comes before anybody else has the connection: it is not abandoned, and whoever is
        cancelled here aborts it all.
        """
        if not operation.done:
            await self._idle()
        if operation.error is not None:
            raise operation.error

    async def wait_idle(self, seconds: float) -> bool:
        """Wait until nothing is under way any more, at most so long; whether it is so."""
        return await within(self._idle(), seconds)

    def clean(self, reset: bool | None = None) -> bool:
        """Write what makes the session fit for its next user, without waiting.

        `reset` as in `protocol.cleaning`. Returns False where the connection is of no more
        use: it is lost, or something is under way.
        """
        if not self.is_in_step:
            return False
        clean = cleaning(self.session, reset)
        if clean is not None:
            future = query_future(self.loop, clean, self)
            future.add_done_callback(hear)
            self.start(future, CLEANING_PATIENCE)
        return self.session.failure is None

    # ---------------------------------------------------------------- the end

    async def close(self) -> None:
        """Terminate, read to the server's end (at most 2 s), close. Idempotent.

        What is under way is waited for first. Cancelling the caller does not undo it.
        """
        if self.is_inherited:
            self.drop()
            return
        check_loop(self.loop, "connection")
        if self._closing is None or self._closing.cancelled():  # with all tasks, at a program's end
            self.closed = True
            self._closing = self._spawn(self._close())
        await asyncio.shield(self._closing)

    async def _close(self) -> None:
        try:
            if self.session.pending:
                await self._idle()
            if self.session.failure is None:
                self.send(frontend.TERMINATE)
                self.session.fail(InterfaceError("the connection is closed"))
            await within(self.gone, CLOSE_PATIENCE)
        finally:
            self.abort()
        await within(self.gone, CLOSE_PATIENCE)

    def drop(self) -> None:
        """Forget a connection that belongs to the parent process.

        The transport is not touched: what it is registered with is the parent's as well.
        """
        self.closed = True

    def abort(self, why: str = "the connection is closed") -> None:
        """Close the socket now, without a word."""
        self.closed = True
        if self.loop.is_closed():
            return  # whoever waits for something waits for ever; the transport says so, if anybody
        self.session.fail(InterfaceError(why))
        self._go_on()
        self._transport.abort()


def _hangup_poll(fileno: int) -> Callable[[int], list[tuple[int, int]]]:
    """A poll that finds nothing as long as the other end of a socket is open."""
    hangup = getattr(select, "POLLRDHUP", None)
    if hangup is None:  # not on Linux: the loop will hear of it
        return lambda _timeout: []
    poller = select.poll()
    poller.register(fileno, hangup | select.POLLHUP | select.POLLERR)
    return poller.poll
