"""Secret: a text that is not to be seen, whatever a traceback, a log or a debugger prints."""

from __future__ import annotations

from typing import Any, NoReturn


class Secret:
    """A text that shows itself to `reveal()` only: not to repr, str, format, pickle or vars."""

    __slots__ = ("__text",)

    def __init__(self, text: str) -> None:
        self.__text = text

    def reveal(self) -> str:
        """The text itself. Keep it out of variables that outlive the statement."""
        return self.__text

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        return self.__text == other.__text if isinstance(other, Secret) else NotImplemented

    def __hash__(self) -> int:
        return hash((Secret, self.__text))

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret cannot be pickled")
