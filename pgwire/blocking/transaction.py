"""Transaction: the `with` block around protocol.transaction's rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgwire.errors import InterfaceError
from pgwire.protocol.simple import SimpleQuery
from pgwire.protocol.transaction import INTERLEAVED, TransactionBlock

if TYPE_CHECKING:
    from types import TracebackType

    from pgwire.blocking.connection import Connection


class Transaction:
    """Made by `conn.transaction()`. Begins when it is entered.

    Leaving the block commits, or rolls back if it is left by an exception. After
    `commit()` or `rollback()` inside the block, leaving it does nothing more.
    """

    def __init__(
        self,
        connection: Connection,
        isolation: str | None,
        read_only: bool | None,
        deferrable: bool | None,
    ) -> None:
        self._connection = connection
        self._block = TransactionBlock(connection._blocks, isolation, read_only, deferrable)
        self._entered = False

    @property
    def connection(self) -> Connection:
        """The connection that the transaction runs on."""
        return self._connection

    def commit(self) -> None:
        """Commit now (RELEASE SAVEPOINT in a nested block)."""
        connection = self._connection
        try:
            sql = self._block.commit(connection.transaction_status)
            results = connection._run(SimpleQuery(sql), None)
        except BaseException as error:
            self._give_up_if_interrupted(error)
            raise
        finally:
            self._block.answered()
        self._block.check_committed(results)

    def rollback(self) -> None:
        """Undo everything since the block began, now."""
        try:
            self._connection._run(SimpleQuery(self._block.rollback()), None)
        except BaseException as error:
            self._give_up_if_interrupted(error)
            raise
        finally:
            self._block.answered()

    def _give_up_if_interrupted(self, error: BaseException) -> None:
        """After Ctrl-C nobody knows whether the block has ended, and nobody is left to end it."""
        if not isinstance(error, Exception):
            self._block.forget()
            self._connection._driver.abort()

    def __enter__(self) -> Transaction:
        if self._entered:
            raise InterfaceError("a transaction block can be entered once")
        self._entered = True
        connection = self._connection
        status = connection.transaction_status
        try:
            connection._run(SimpleQuery(self._block.begin(status)), None)
            self._block.answered()
        except BaseException:
            self._block.not_begun()
            if connection.transaction_status is not status:
                # It has begun all the same (a timeout, Ctrl-C), and nobody would end it.
                connection._driver.abort()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if self._block.ended:
                return
            if self._connection.closed:
                self._block.forget()
                if kind is None:
                    self._connection.ping()  # raises what there is to know
            elif kind is None:
                if not self._block.is_innermost:
                    self._connection._driver.abort()
                    raise InterfaceError(INTERLEAVED)
                self.commit()
            else:
                self._roll_back_after(value)
        except BaseException as error:
            self._give_up_if_interrupted(error)
            raise

    def _roll_back_after(self, value: BaseException | None) -> None:
        """Roll back without hiding the exception that is on its way."""
        try:
            self.rollback()
        except Exception as error:
            self._connection._driver.abort()
            if value is not None:
                value.add_note(f"the transaction could not be rolled back: {error}")
