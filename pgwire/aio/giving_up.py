"""What a driver does when nobody wants an outcome any more: a cancelled task, a timeout.

The caller goes on at once, and the rest is done behind its back:

- What has not had its turn to be written never is.
- What waits behind others for its answer is left alone until it is its turn.
- What runs gets `GRACE` to end by itself, then the server is asked to cancel it, after `ASK_AGAIN`
  once more, and has `PATIENCE` to answer; else the connection is closed. A fence holds back whoever
  comes next until no cancel request can be on its way any more.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pgwire.aio.deadlines import Deadlines
from pgwire.aio.future import QueryFuture, hear, query_future
from pgwire.aio.loops import check_loop
from pgwire.driving import ASK_AGAIN, CANCEL_PATIENCE, GRACE, NO_ANSWER, PATIENCE, DriverBase
from pgwire.errors import Error, OperationalError
from pgwire.protocol.simple import Fence

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import Awaitable, Callable, Coroutine

    from pgwire.protocol.operation import Operation
    from pgwire.protocol.session import Session


class GivingUp(DriverBase):
    """The part of `AsyncDriver` that is described above; the other part reads and writes."""

    def __init__(
        self,
        session: Session,
        loop: AbstractEventLoop,
        cancel_request: Callable[[Any], Awaitable[None]],
    ) -> None:
        super().__init__(session)
        self.loop = loop
        self._cancel_request = cancel_request
        self._deadlines = Deadlines(loop, QueryFuture.time_is_up)
        self._receiving = False
        self._abandoned = False  # among `pending` may be what nobody wants any more
        self._recovering: Operation | None = None
        self._tasks: set[Task[Any]] = set()

    def abandon(self, future: QueryFuture) -> None:
        operation = future.operation
        if future.entry is not None:
            self._deadlines.remove(future.entry)
        if not operation.done:
            operation.abandon()
            self._abandoned = True
            pending = self.session.pending
            if pending and pending[0].abandoned:  # it, or what nobody wanted from the beginning
                self._recover_head()
            if not self._receiving:
                self._flush_soon()

    def _recover_head(self) -> None:
        """What runs now is canceled if nobody wants it; what waits behind it has its time."""
        pending = self.session.pending
        if pending and pending[0].abandoned and pending[0] is not self._recovering:
            self._recovering = head = pending[0]
            try:
                head.waiter.with_extra().ended = ended = self.loop.create_future()
                task = self._spawn(self._recover(head, ended, *self._raise_fence(Fence())))
                task.add_done_callback(self._recovered)
            except BaseException:  # Ctrl-C, say: nobody would lower the fence
                self.abort()
                raise
        self._abandoned = any(operation.abandoned for operation in pending)

    def _recovered(self, task: Task[None]) -> None:
        if task.cancelled() or task.exception() is not None:
            self.abort()  # it may not even have begun

    def _raise_fence(self, fence: Fence) -> tuple[Fence, QueryFuture]:
        fenced = query_future(self.loop, fence, self)
        fenced.add_done_callback(hear)
        self.session.raise_fence(fence)
        return fence, fenced

    async def _recover(
        self, operation: Operation, ended: Future[None], fence: Fence, fenced: QueryFuture
    ) -> None:
        try:
            is_patient = operation.is_brief or operation.ends_by_itself
            if not await within(ended, PATIENCE if is_patient else GRACE):
                await self._cancel_running(ended, fence)
            fence.lower()
            self._flush()
            await self._see_through(fence, fenced)
        except BaseException:  # the loop is being shut down
            fence.lower()
            self.abort()
            raise
        finally:
            if self._recovering is operation:
                self._recovering = None

    async def _see_through(self, fence: Fence, fenced: QueryFuture) -> None:
        """Wait for the answer to a fence that is lowered: `PATIENCE` from when it is its turn."""
        its_turn = False
        while not await within(fenced, PATIENCE):
            if its_turn:  # nobody is to blame but the server
                self.abort(NO_ANSWER)
            else:
                its_turn = self.session.pending[0] is fence

    async def _cancel_running(self, ended: Future[None], fence: Fence) -> None:
        """Ask the server to cancel; give the connection up if that does not help in time."""
        limit = self.loop.time() + PATIENCE
        is_last = False
        while not is_last:
            fence.requests += 1
            try:
                async with asyncio.timeout_at(limit):
                    await self._cancel_request(self)
            except TimeoutError:
                break  # it is on its way, and might hit who comes next
            except (OSError, Error):
                pass  # it was never sent
            seconds = max(0.0, limit - self.loop.time())
            # Once more would leave it no time; and with a coarse clock a wait may end too early.
            is_last = seconds < 1.5 * ASK_AGAIN
            if await within(ended, seconds if is_last else ASK_AGAIN):
                return
        self.abort(NO_ANSWER)

    async def cancel(self) -> None:
        """Ask the server to cancel what runs now."""
        check_loop(self.loop, "connection")
        self.check_usable()
        if self.session.backend_key is None:
            return  # there is nothing to ask with
        fence, fenced = self._raise_fence(Fence(at_large=True))
        self._flush()
        # Once it has begun it must come to its end, or it might hit who comes next.
        delivery = self._spawn(self._deliver_cancel(fence, fenced))
        delivery.add_done_callback(hear)
        await asyncio.shield(delivery)

    async def _deliver_cancel(self, fence: Fence, fenced: QueryFuture) -> None:
        try:
            async with asyncio.timeout(CANCEL_PATIENCE):
                await self._cancel_request(self)
        except TimeoutError:
            raise OperationalError(
                f"the cancel request could not be delivered within {CANCEL_PATIENCE:g} s"
            ) from None
        except OSError as error:
            raise OperationalError(f"the cancel request could not be delivered: {error}") from error
        finally:
            fence.lower()
            self._flush()
            self._spawn(self._see_through(fence, fenced))

    async def interrupt(self, *, always: bool = False) -> None:
        """End what is being done here: on the server, then by cutting the line.

        `always` cuts the line even if nothing is being done.
        """
        limit = self.loop.time() + PATIENCE
        while self.session.pending and self.loop.time() < limit:
            idle = self._idle()
            with suppress(TimeoutError, OSError, Error):
                async with asyncio.timeout_at(limit):
                    await self._cancel_request(self)
            # The request may have overtaken its query, and hit nothing: ask again.
            await within(idle, 0.1)
        if always or self.session.pending:
            self.abort()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> Task[None]:
        task = self.loop.create_task(work)
        # `asyncio.run` cancels all tasks and closes the loop. What is begun for one of these comes
        # too late to be cancelled itself: that is no mistake, and nobody's to be told.
        with suppress(AttributeError):  # as its own `gather` does; but a loop may have other tasks
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _idle(self) -> Future[None]:
        """Done once nothing is under way any more, unless it was cancelled before."""
        idle: Future[None] = self.loop.create_future()
        self.when_idle(lambda: None if idle.done() else idle.set_result(None))
        return idle

    # ---------------------------------------------------------------- the other part

    def when_idle(self, callback: Callable[[], object]) -> None:
        """Call it once nothing is under way any more; at once if nothing is."""
        raise NotImplementedError

    def abort(self, why: str = "") -> None:
        """Close the socket now, without a word."""
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _flush_soon(self) -> None:
        raise NotImplementedError


async def within(future: Future[Any], seconds: float) -> bool:
    """Wait until it is done, at most so long; whether it is."""
    await asyncio.wait((future,), timeout=seconds)
    return future.done()
