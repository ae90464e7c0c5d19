"""What is asked for in one `with conn.pipeline()` block, and who has heard what came of it.

The manual: "Pipelining" in "Frontend/Backend Protocol". Each query has its own Sync, and with it
its own error: outside of a transaction one that fails undoes nothing but itself.
"""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

from pgwire.errors import InterfaceError


class Asked(Protocol):
    """One query of a pipeline."""

    is_heard: bool  # whether its user has asked for the result, or the error

    @property
    def failure(self) -> BaseException | None:
        """Why there is no result, once it is settled."""


Query = TypeVar("Query", bound=Asked)


class PipelineBlock(Generic[Query]):
    """The queries of one block. What has succeeded is not kept: the block may go on for ever."""

    def __init__(self) -> None:
        self._has_begun = self._is_over = False
        self._failed: list[Query] = []
        self.waiting: dict[Query, None] = {}  # in the order in which they were asked for

    def enter(self) -> None:
        if self._has_begun:
            raise InterfaceError("a pipeline can be entered once")
        self._has_begun = True

    def leave(self) -> None:
        self._is_over = True

    def check_open(self) -> None:
        if not self._has_begun or self._is_over:
            raise InterfaceError("a pipeline takes queries inside its `with` block")

    def add(self, query: Query) -> None:
        self.waiting[query] = None

    def settled(self, query: Query) -> None:
        """It has its result or its error."""
        del self.waiting[query]
        if query.failure is not None:
            self._failed.append(query)

    def unheard(self) -> BaseException | None:
        """The first error that nobody has asked for, at the end of the block."""
        return next((query.failure for query in self._failed if not query.is_heard), None)
