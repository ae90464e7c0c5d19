"""The tree of exceptions: who is below whom, what they carry, how server errors read."""

from __future__ import annotations

import copy
import pickle

import pytest

from pgwire import errors
from pgwire.errors import Attempt, AuthenticationError, Error, PostgresError
from pgwire.sqlstate import mixed_in, postgres_error

TREE = [
    error
    for error in vars(errors).values()
    if isinstance(error, type) and issubclass(error, Exception)
]


def error_with(**attributes: object) -> PostgresError:
    error = PostgresError("server's words")
    vars(error).update(attributes)
    return error


# --- the tree ---


@pytest.mark.parametrize(
    ("error", "base"),
    [
        (errors.InterfaceError, Error),
        (errors.ProtocolError, errors.InterfaceError),
        (errors.DatabaseError, Error),
        (errors.DataError, errors.DatabaseError),
        (errors.NoRows, errors.DataError),
        (errors.TooManyRows, errors.DataError),
        (errors.OperationalError, errors.DatabaseError),
        (errors.ConnectionFailed, errors.OperationalError),
        (errors.AuthenticationError, errors.ConnectionFailed),
        (errors.TLSError, errors.ConnectionFailed),
        (errors.ConnectionLost, errors.OperationalError),
        (errors.QueryTimeout, errors.OperationalError),
        (errors.QueryTimeout, TimeoutError),
        (errors.PoolError, errors.OperationalError),
        (errors.PoolTimeout, errors.PoolError),
        (errors.PoolTimeout, TimeoutError),
        (errors.PoolClosed, errors.PoolError),
        (errors.PoolClosed, errors.InterfaceError),
        (errors.PoolFull, errors.PoolError),
        (errors.PoolDeadlock, errors.PoolError),
        (errors.IntegrityError, errors.DatabaseError),
        (errors.InternalError, errors.DatabaseError),
        (errors.ProgrammingError, errors.DatabaseError),
        (errors.NotSupportedError, errors.DatabaseError),
        (PostgresError, errors.DatabaseError),
    ],
)
def test_the_tree(error: type[Exception], base: type[Exception]) -> None:
    assert issubclass(error, base)


def test_a_warning_is_no_error() -> None:
    assert not issubclass(errors.Warning, Error)


@pytest.mark.parametrize("error", TREE)
@pytest.mark.parametrize("args", [(), ("words",), ("words", 2), (None, b"\0")])
def test_errors_survive_pickling_and_copying(
    error: type[Exception], args: tuple[object, ...]
) -> None:
    raised = error(*args)
    raised.add_note("a note")
    vars(raised)["attempts"] = [Attempt("db:5432", OSError(111, "refused"))]
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert_same(pickle.loads(pickle.dumps(raised, protocol)), raised)
    assert_same(copy.copy(raised), raised)
    assert_same(copy.deepcopy(raised), raised)


def test_the_error_of_a_single_attempt_holds_itself_and_survives_pickling() -> None:
    error = mixed_in(AuthenticationError, postgres_error({"C": "28P01", "M": "no", "H": "why"}))
    error.attempts = (Attempt("db:5432", error),)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert str(again) == "no\nHINT: why"
        assert again.attempts[0].error is again


def assert_same(found: BaseException, wanted: BaseException) -> None:
    assert found is not wanted
    assert type(found) is type(wanted)
    assert found.args == wanted.args
    assert str(found) == str(wanted)
    assert repr(vars(found)) == repr(vars(wanted))


def test_a_copy_has_attributes_of_its_own() -> None:
    raised = errors.PoolTimeout("no connection")
    copied = copy.copy(raised)
    copied.stats = 1
    assert raised.stats is None


# --- classes per SQLSTATE, by way of pgwire.errors ---


def test_the_classes_per_sqlstate_are_found_here_too() -> None:
    from pgwire import sqlstate

    assert errors.UniqueViolation is sqlstate.UniqueViolation


@pytest.mark.parametrize("name", ["CLASSES", "error_class", "functools", "NoSuchViolation"])
def test_nothing_else_of_that_module_is(name: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute '{name}'"):
        getattr(errors, name)


# --- how an error of the server reads ---


def test_the_text_is_the_message_with_detail_and_hint() -> None:
    error = error_with(message="no", detail="because", hint="try this")
    assert str(error) == "no\nDETAIL: because\nHINT: try this"


def test_without_a_message_the_argument_is_the_text() -> None:
    assert str(PostgresError("words")) == "words"
    assert str(PostgresError()) == ""


@pytest.mark.parametrize(
    ("query", "position", "wanted"),
    [
        ("selec 1", 1, ["LINE 1: selec 1", "        ^"]),
        ("select 1 frm t", 10, ["LINE 1: select 1 frm t", "                 ^"]),
        ("select\n 1,\n oops\nfrom t", 13, ["LINE 3:  oops", "         ^"]),
        ("select", 7, ["LINE 1: select", "              ^"]),
        ("select\n", 8, ["LINE 2: ", "        ^"]),
        ("\tü oops", 4, ["LINE 1: \tü oops", "        \t  ^"]),
        ("a\x1b b", 4, ["LINE 1: a  b", "           ^"]),
    ],
)
def test_a_caret_stands_under_the_position(query: str, position: int, wanted: list[str]) -> None:
    error = error_with(message="no", query=query, position=position)
    assert str(error).split("\n") == ["no", *wanted]


@pytest.mark.parametrize("position", [0, -1, 8, 10**9])
def test_a_position_outside_the_query_has_no_caret(position: int) -> None:
    assert str(error_with(message="no", query="select", position=position)) == "no"


@pytest.mark.parametrize("position", [1, 2, 60, 150, 299, 300])
def test_of_a_long_line_the_part_around_the_position_is_shown(position: int) -> None:
    query = "x" * (position - 1) + "!" + "x" * (300 - position)
    line, caret = str(error_with(message="no", query=query, position=position)).split("\n")[1:]
    assert len(line) < 120
    assert line[caret.index("^")] == "!"


def test_the_internal_query_has_a_caret_where_the_query_has_no_position() -> None:
    error = error_with(message="no", query="call f()", internal_query="oops", internal_position=1)
    assert str(error).split("\n") == ["no", "LINE 1: oops", "        ^"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("a\rb\0", r"a\rb\x00"),
        ("right\u202eleft", r"right\u202eleft"),
        ("two\n\tlines", "two\n\tlines"),
        ("grün €", "grün €"),
    ],
)
def test_a_server_does_not_steer_the_terminal(text: str, shown: str) -> None:
    error = error_with(message=text, detail=text, hint=text)
    assert str(error) == f"{shown}\nDETAIL: {shown}\nHINT: {shown}"
    assert error.message == text
