"""What a pool keeps of errors: all that they say, and no frames."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

import pgwire
from pgwire.pool.reasons import bare, take_error


class Odd(Exception):
    """It takes something else than `args`."""

    def __init__(self, number: int, *, text: str) -> None:
        super().__init__(f"{number}: {text}")
        self.number = number


def raised(error: BaseException) -> Any:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        OSError(2, "No such file", "here"),
        Odd(3, text="no"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        pgwire.OperationalError("no"),
        ExceptionGroup("several", [ValueError("one"), OSError("two")]),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_copy_says_the_same(error: Exception) -> None:
    made = bare(raised(error))
    assert made is not error
    assert (type(made), str(made), made.args) == (type(error), str(error), error.args) or (
        isinstance(made, ExceptionGroup) and repr(made) == repr(error)
    )
    assert made.__traceback__ is None
    assert getattr(made, "number", None) == getattr(error, "number", None)


def test_and_so_does_that_of_a_servers_error() -> None:
    error = pgwire.PostgresError()
    error.sqlstate, error.message, error.hint = "53300", "too many", "come back later"
    made = bare(raised(error))
    assert isinstance(made, type(error))
    assert (made.sqlstate, str(made)) == ("53300", "too many\nHINT: come back later")
    assert not getattr(made, "__notes__", None)


def test_what_it_came_of_is_there_without_frames_too() -> None:
    cause = raised(OSError("first"))
    cause.__cause__ = cause  # some are
    error = ValueError("second")
    error.__cause__ = cause
    made = bare(raised(error))
    assert repr(made.__cause__) == repr(cause)
    assert made.__cause__ is not cause
    assert made.__cause__ is not None
    assert made.__cause__.__traceback__ is None
    assert made.__context__ is None


def test_where_user_code_has_raised_it_stands_in_a_note() -> None:
    error = raised(ValueError("no"))
    error.add_note("mine")
    first = bare(error)
    assert first.__notes__[0] == "mine"
    assert first.__notes__[1].startswith(f"raised at {__file__}:")
    assert first.__notes__[1].endswith(", in raised")
    assert bare(first).__notes__ == first.__notes__
    assert error.__notes__ == ["mine"]


def test_that_is_where_it_was_raised_and_not_where_it_went_through() -> None:
    def user_code() -> None:
        raise ValueError

    with pytest.raises(ValueError) as caught:
        user_code()
    assert bare(caught.value).__notes__[0].endswith(", in user_code")


def test_a_group_keeps_no_frames_of_its_members() -> None:
    made = bare(ExceptionGroup("several", [raised(ValueError("one"))]))
    assert isinstance(made, ExceptionGroup)
    assert made.exceptions[0].__traceback__ is None


def test_what_cannot_be_copied_is_told_in_other_words() -> None:
    made_before: list[object] = []

    class Unique(Exception):
        def __new__(cls, *args: object) -> Unique:
            if made_before:
                raise TypeError("there is one already")
            made_before.append(cls)
            return super().__new__(cls, *args)

    made = bare(Unique("no"))
    assert isinstance(made, pgwire.OperationalError)
    assert str(made).endswith("Unique: no")


def test_one_whose_copy_is_itself_is_made_anew() -> None:
    class Same(Exception):
        def __copy__(self) -> Same:
            return self

    error = Same("no")
    made = bare(error)
    assert made is not error
    assert (type(made), str(made)) == (Same, "no")


def test_who_is_told_has_the_error_itself_and_leaves_a_copy() -> None:
    error = raised(pgwire.OperationalError("no"))
    waiter: Any = SimpleNamespace(error=error)
    assert take_error(waiter) is error
    assert repr(waiter.error) == repr(error)
    assert waiter.error.__traceback__ is None
