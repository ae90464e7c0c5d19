"""AsyncTransaction: the `async with` block around protocol.transaction's rules.

What a cancelled task leaves behind is brought to its end behind its back: BEGIN is followed by
a ROLLBACK; COMMIT and ROLLBACK, once asked for, are carried out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.aio.future import hear
from pgwire.errors import ConnectionLost, InterfaceError
from pgwire.protocol.simple import SimpleQuery
from pgwire.protocol.transaction import GIVEN_UP, INTERLEAVED, TransactionBlock

if TYPE_CHECKING:
    from types import TracebackType

    from pgwire.aio.connection import AsyncConnection
    from pgwire.aio.future import QueryFuture
    from pgwire.protocol.rows import Result


class AsyncTransaction:
    """Made by `conn.transaction()`. Begins when it is entered.

    Leaving the block commits, or rolls back if it is left by an exception. After
    `commit()` or `rollback()` inside the block, leaving it does nothing more.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        isolation: str | None,
        read_only: bool | None,
        deferrable: bool | None,
    ) -> None:
        self._connection = connection
        self._block = TransactionBlock(connection._blocks, isolation, read_only, deferrable)
        self._entered = False

    @property
    def connection(self) -> AsyncConnection:
        """The connection that the transaction runs on."""
        return self._connection

    async def commit(self) -> None:
        """Commit now (RELEASE SAVEPOINT in a nested block)."""
        sql = self._block.commit(self._connection.transaction_status)
        self._block.check_committed(await self._answer(sql))

    async def rollback(self) -> None:
        """Undo everything since the block began, now."""
        await self._answer(self._block.rollback())

    async def _answer(self, sql: str) -> list[Result[Any]]:
        results: list[Result[Any]] = await self._send(sql)
        return results

    def _send(self, sql: str) -> QueryFuture:
        operation = SimpleQuery(sql)
        operation.is_brief = True
        sent = self._connection._driver.submit(operation, self._connection._default_timeout)
        if operation.done:
            self._block.answered()
        else:  # whether or not somebody still waits for it then
            sent.finished = self._block.answered
        return sent

    async def __aenter__(self) -> AsyncTransaction:
        if self._entered:
            raise InterfaceError("a transaction block can be entered once")
        self._entered = True
        sql = self._block.begin(self._connection.transaction_status)
        try:
            sent = self._send(sql)
        except BaseException:  # in another event loop
            self._block.not_begun()
            raise
        try:
            await sent
        except BaseException:
            if sent.operation.error is not None:
                self._block.not_begun()
            else:  # it has begun, or may still begin
                self._undo_begin(sent)
            raise
        return self

    def _undo_begin(self, sent: QueryFuture) -> None:
        block = self._block
        if block.bears_others:
            block.forget()
            driver = self._connection._driver
            driver.session.fail(ConnectionLost(GIVEN_UP))  # before it there may be another's COMMIT
            driver.abort()
            return
        sent.finished = None  # all is answered once the ROLLBACK is
        if (sql := block.undo_begin()) is not None:
            self._send(sql).add_done_callback(hear)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._block.ended:
            return
        if self._connection.closed:
            self._block.forget()
            if kind is None:
                await self._connection.ping()  # raises what there is to know
        elif kind is None:
            if not self._block.is_innermost:
                self._connection._driver.abort()
                raise InterfaceError(INTERLEAVED)
            await self.commit()
        else:
            await self._roll_back_after(value)

    async def _roll_back_after(self, value: BaseException | None) -> None:
        """Roll back without hiding the exception that is on its way."""
        try:
            await self.rollback()
        except Exception as error:
            self._connection._driver.abort()
            if value is not None:
                value.add_note(f"the transaction could not be rolled back: {error}")
