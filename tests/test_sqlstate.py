"""One class per SQLSTATE, and from the server's fields to an exception."""

from __future__ import annotations

import builtins
import copy
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from pgwire import errors, sqlstate
from pgwire.errors import (
    AuthenticationError,
    ConnectionFailed,
    DatabaseError,
    DataError,
    IntegrityError,
    InternalError,
    NotSupportedError,
    OperationalError,
    PostgresError,
    ProgrammingError,
    TLSError,
)
from pgwire.sqlstate import CLASSES, error_class, mixed_in, postgres_error

FIELDS = {
    "S": "FEHLER",
    "V": "ERROR",
    "C": "23505",
    "M": "duplicate key",
    "D": "Key (id)=(1) already exists.",
    "H": "a hint",
    "P": "8",
    "p": "3",
    "q": "select 1",
    "W": "PL/pgSQL function f()",
    "s": "public",
    "t": "users",
    "c": "id",
    "d": "integer",
    "n": "users_pkey",
    "F": "nbtinsert.c",
    "L": "666",
    "R": "_bt_check_unique",
}


# --- the classes ---


@pytest.mark.parametrize(
    ("code", "name", "base"),
    [
        ("02000", "NoData", DatabaseError),
        ("08006", "ConnectionFailure", OperationalError),
        ("0A000", "FeatureNotSupported", NotSupportedError),
        ("21000", "CardinalityViolation", ProgrammingError),
        ("22012", "DivisionByZero", DataError),
        ("22P02", "InvalidTextRepresentation", DataError),
        ("23505", "UniqueViolation", IntegrityError),
        ("23P01", "ExclusionViolation", IntegrityError),
        ("25P02", "InFailedSqlTransaction", InternalError),
        ("25P04", "TransactionTimeout", InternalError),
        ("26000", "InvalidSqlStatementName", ProgrammingError),
        ("28P01", "InvalidPassword", OperationalError),
        ("3D000", "InvalidCatalogName", ProgrammingError),
        ("3F000", "InvalidSchemaName", ProgrammingError),
        ("40001", "SerializationFailure", OperationalError),
        ("40P01", "DeadlockDetected", OperationalError),
        ("42601", "PostgresSyntaxError", ProgrammingError),
        ("42P01", "UndefinedTable", ProgrammingError),
        ("42501", "InsufficientPrivilege", ProgrammingError),
        ("53300", "TooManyConnections", OperationalError),
        ("54001", "StatementTooComplex", OperationalError),
        ("55P03", "LockNotAvailable", OperationalError),
        ("57014", "QueryCanceled", OperationalError),
        ("57P03", "CannotConnectNow", OperationalError),
        ("58000", "PostgresSystemError", OperationalError),
        ("58P03", "FileNameTooLong", OperationalError),
        ("72000", "SnapshotTooOld", OperationalError),
        ("F0001", "LockFileExists", OperationalError),
        ("HV00R", "FdwTableNotFound", OperationalError),
        ("P0001", "RaiseException", ProgrammingError),
        ("P0003", "PostgresTooManyRows", ProgrammingError),
        ("XX000", "PostgresInternalError", InternalError),
        ("01000", "PostgresWarning", DatabaseError),
        ("22001", "StringDataRightTruncation", DataError),
        ("01004", "StringDataRightTruncation01004", DatabaseError),
        ("22004", "NullValueNotAllowed", DataError),
        ("39004", "NullValueNotAllowed39004", OperationalError),
        ("2F004", "ReadingSqlDataNotPermitted", OperationalError),
        ("38004", "ReadingSqlDataNotPermitted38004", OperationalError),
    ],
)
def test_names_and_bases(code: str, name: str, base: type[DatabaseError]) -> None:
    found = error_class(code)
    assert found.__name__ == name
    assert issubclass(found, base)
    assert found is getattr(sqlstate, name)


def test_there_is_a_class_for_every_condition_of_postgresql_18() -> None:
    # The conditions of its errcodes.txt without 00000, and 72000 of earlier versions.
    assert len(CLASSES) == 262
    assert "00000" not in CLASSES


@pytest.mark.parametrize("code", CLASSES)
def test_every_class(code: str) -> None:
    found = CLASSES[code]
    assert found.sqlstate == code
    assert issubclass(found, PostgresError)
    assert found.__name__ not in dir(builtins)
    assert found.__name__ not in vars(errors)
    assert pickle.loads(pickle.dumps(found)) is found


def test_no_two_sqlstates_share_a_class() -> None:
    assert len(set(CLASSES.values())) == len(CLASSES)


@pytest.mark.parametrize("code", [code for code in CLASSES if code[:2] + "000" in CLASSES])
def test_a_class_stands_below_its_category(code: str) -> None:
    assert issubclass(CLASSES[code], CLASSES[code[:2] + "000"])


@pytest.mark.parametrize("code", ["22ZZZ", "23999", "40ABC", "XX999"])
def test_an_unknown_sqlstate_is_its_category(code: str) -> None:
    assert error_class(code) is CLASSES[code[:2] + "000"]


@pytest.mark.parametrize("code", ["", "ZZZZZ", "10ZZZ", "22", "220000", "22\0", "é", "00000"])
def test_what_belongs_to_no_category_is_a_postgres_error(code: str) -> None:
    assert error_class(code) is PostgresError


# --- from fields to an exception ---


def test_every_field_has_its_attribute() -> None:
    error = postgres_error(FIELDS)
    assert type(error) is sqlstate.UniqueViolation
    assert vars(error) == {
        "severity": "ERROR",
        "sqlstate": "23505",
        "message": "duplicate key",
        "detail": "Key (id)=(1) already exists.",
        "hint": "a hint",
        "position": 8,
        "internal_position": 3,
        "internal_query": "select 1",
        "where": "PL/pgSQL function f()",
        "schema": "public",
        "table": "users",
        "column": "id",
        "data_type": "integer",
        "constraint": "users_pkey",
        "file": "nbtinsert.c",
        "line": "666",
        "routine": "_bt_check_unique",
    }
    assert error.args == ("duplicate key",)


def test_no_fields_make_an_error_all_the_same() -> None:
    error = postgres_error({})
    assert type(error) is PostgresError
    assert (error.sqlstate, error.severity, error.message) == ("", "ERROR", "")
    assert str(error) == "the server reported an error without a message"
    assert (error.detail, error.position, error.constraint, error.query) == (None,) * 4


def test_an_unknown_sqlstate_is_kept() -> None:
    error = postgres_error({"C": "22ZZZ", "M": "new"})
    assert isinstance(error, sqlstate.DataException)
    assert error.sqlstate == "22ZZZ"


def test_severity_is_the_untranslated_one_where_there_is_one() -> None:
    assert postgres_error({"S": "FATAL"}).severity == "FATAL"
    assert postgres_error({"S": "FEHLER", "V": "PANIC"}).severity == "PANIC"


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("1", 1),
        ("0042", 42),
        ("1073741823", 1073741823),
        ("0", None),
        ("-1", None),
        ("+1", None),
        (" 1", None),
        ("1_0", None),
        ("1.0", None),
        ("", None),
        ("x", None),
        ("\u0661", None),
        ("9" * 11, None),
        ("9" * 5000, None),
    ],
)
def test_a_position_is_a_number_or_nothing(text: str, position: int | None) -> None:
    error = postgres_error({"P": text, "p": text})
    assert (error.position, error.internal_position) == (position, position)


@given(st.dictionaries(st.text(max_size=2) | st.sampled_from(sorted(FIELDS)), st.text()))
def test_any_fields_make_an_error_that_can_be_shown_and_pickled(fields: dict[str, str]) -> None:
    error = postgres_error(fields)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert vars(again) == vars(error)
    assert str(again) == str(error)


# --- a server's error as a failure to connect ---


@pytest.mark.parametrize("failure", [ConnectionFailed, AuthenticationError, TLSError])
@pytest.mark.parametrize("code", [*CLASSES, "?????"])
def test_a_mixture_is_both_and_carries_everything(
    failure: type[ConnectionFailed], code: str
) -> None:
    error = postgres_error({**FIELDS, "C": code})
    mixed = mixed_in(failure, error)
    mixed.attempts = (errors.Attempt("db:5432", error),)
    for found in (mixed, pickle.loads(pickle.dumps(mixed)), copy.copy(mixed), copy.deepcopy(mixed)):
        assert type(found) is type(mixed)
        assert isinstance(found, failure)
        assert isinstance(found, type(error))
        assert vars(found) | vars(error) == vars(found)
        assert found.args == error.args
        assert str(found) == str(error)
        assert found.attempts[0].address == "db:5432"


def test_a_mixture_has_one_class_and_keeps_the_cause() -> None:
    error = postgres_error(FIELDS)
    error.__cause__ = OSError("before")
    mixed = mixed_in(AuthenticationError, error)
    assert type(mixed).__name__ == "AuthenticationError_UniqueViolation"
    assert type(mixed) is type(mixed_in(AuthenticationError, postgres_error(FIELDS)))
    assert mixed.__cause__ is error.__cause__


def test_a_mixture_leaves_the_servers_error_alone() -> None:
    error = postgres_error(FIELDS)
    mixed_in(ConnectionFailed, error).attempts = [errors.Attempt("db", error)]
    assert "attempts" not in vars(error)


# --- the generator ---

GENERATOR = Path(__file__).parent.parent / "tools" / "generate_sqlstate.py"


def test_the_module_is_what_the_generator_writes() -> None:
    ran = subprocess.run(
        [sys.executable, GENERATOR, "--check"], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
