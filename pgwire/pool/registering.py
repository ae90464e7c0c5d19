"""What both pools do about types: register them, and look them up again. Neither is copied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgwire.errors import InterfaceError
from pgwire.pgtypes.registration import RegistersTypes

if TYPE_CHECKING:
    from pgwire.opening import OpenerBase
    from pgwire.pgtypes.registration import Registration


class PoolTypes(RegistersTypes):
    """See the module."""

    _opener: OpenerBase

    def _register(self, name: str, registration: Registration) -> None:
        self._opener.registrations.add(name, registration)

    def refresh_types(self) -> None:
        """Look enums, composites and the like up again when they are needed next.

        Types that were dropped and made anew are noticed without it, and so are attributes that
        a composite type has got or lost; what needs it is an attribute's new name.
        """
        self._opener.refresh_types()

    def __reduce__(self) -> Any:
        raise InterfaceError(
            "a pool cannot be pickled or copied; each process makes its own, or has it by a fork"
        )
