"""What is left of a lease when it has been released; the same for both shells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.errors import InterfaceError

if TYPE_CHECKING:
    from pgwire.handle import Handle


class _Released:
    """Stands where the driver was: whoever still uses the lease is told so."""

    closed = is_released = True

    def __getattr__(self, name: str) -> Any:
        raise InterfaceError("this lease has been released; its connection may be in other hands")

    def __setattr__(self, name: str, value: object) -> None:
        self.__getattr__(name)


RELEASED: Any = _Released()


def take_away(connection: Handle) -> None:
    """From whoever has this object: it is dead from now on, as a lease that was released."""
    connection._driver = RELEASED
