"""One exception class per SQLSTATE, and the way from the server's fields to an exception.

Knows the conditions of the manual's appendix "PostgreSQL Error Codes" and the letters of
"Error and Notice Message Fields"; must not know how either comes over the wire.

A class is named as its condition, in CamelCase, and stands below the class of its category (the
SQLSTATE that ends in 000), as `WHEN data_exception` covers every 22xxx in PL/pgSQL; the category
stands below PEP 249's class and `PostgresError`. So `except TransactionRollback` catches a
deadlock, and an SQLSTATE that this version does not know is raised as its category.

Names that are taken:
- A name that Python's builtins or `pgwire.errors` have already gets `Postgres` in front:
  `PostgresSyntaxError`, `PostgresSystemError`, `PostgresWarning`, `PostgresInternalError`,
  `PostgresTooManyRows`.
- Of conditions with the same name the error with the lowest SQLSTATE keeps it; the others end in
  their SQLSTATE: `NullValueNotAllowed` is 22004, `NullValueNotAllowed39004` the other one.

What follows the marker below is written by tools/generate_sqlstate.py.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, TypeVar

from pgwire.errors import (
    DataError,
    Error,
    IntegrityError,
    InternalError,
    NotSupportedError,
    OperationalError,
    PostgresError,
    ProgrammingError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_Failure = TypeVar("_Failure", bound=OperationalError)

_TEXT_FIELDS = {
    "D": "detail",
    "H": "hint",
    "q": "internal_query",
    "W": "where",
    "s": "schema",
    "t": "table",
    "c": "column",
    "d": "data_type",
    "n": "constraint",
    "F": "file",
    "L": "line",
    "R": "routine",
}


def error_class(sqlstate: str) -> type[PostgresError]:
    """The class for an SQLSTATE; for one that is not known its category's, or `PostgresError`."""
    found = CLASSES.get(sqlstate)
    if found is None and len(sqlstate) == 5:
        found = CLASSES.get(sqlstate[:2] + "000")
    return found or PostgresError


def postgres_error(fields: Mapping[str, str]) -> PostgresError:
    """The exception for the fields of an ErrorResponse, keyed by the manual's letters.

    Takes whatever a server may send: fields that are missing stay at their defaults, unknown
    letters are ignored, and a position that is not a number from 1 up is None.
    """
    sqlstate = fields.get("C", "")
    message = fields.get("M", "")
    error = error_class(sqlstate)(message or "the server reported an error without a message")
    error.sqlstate = sqlstate
    error.message = message
    error.severity = fields.get("V") or fields.get("S") or PostgresError.severity
    error.position = _position(fields.get("P"))
    error.internal_position = _position(fields.get("p"))
    for letter, attribute in _TEXT_FIELDS.items():
        if letter in fields:
            setattr(error, attribute, fields[letter])
    return error


def _position(text: str | None) -> int | None:
    # No message is longer than 2^30 bytes; int() would also take blanks, signs and underscores.
    if text is None or len(text) > 10 or not (text.isascii() and text.isdigit()):
        return None
    return int(text) or None


def mixed_in(failure: type[_Failure], error: PostgresError) -> _Failure:
    """The server's error as the end of a connection: a `failure` and of the error's own class.

    `failure` is `ConnectionFailed` or what is below it, or `ConnectionLost`. The result carries
    every attribute of `error` and its cause, and can be pickled and copied.
    """
    bases: tuple[Any, ...] = (failure, type(error))
    mixed: _Failure = _mixed_class(*bases)(*error.args)
    mixed.__dict__.update(error.__dict__)
    mixed.__cause__ = error.__cause__
    return mixed


@functools.cache
def _mixed_class(*bases: Any) -> Any:
    namespace = {"__module__": __name__, "__reduce__": _reduce_mixed}
    return type("_".join(base.__name__ for base in bases), bases, namespace)


def _reduce_mixed(self: Error) -> tuple[Callable[..., Error], tuple[Any, ...], dict[str, Any]]:
    # The class is made at run time and cannot be found by its name; what it is made of can.
    # The attributes come last: `attempts` of a single attempt holds this very error.
    return _rebuild_mixed, (type(self).__bases__, self.args), self.__dict__


def _rebuild_mixed(bases: Any, args: tuple[Any, ...]) -> Error:
    mixed: Error = _mixed_class(*bases)(*args)
    return mixed


# --- written by tools/generate_sqlstate.py from tools/sqlstates.txt ---


class PostgresWarning(PostgresError):
    sqlstate = "01000"


class NullValueEliminatedInSetFunction(PostgresWarning):
    sqlstate = "01003"


class StringDataRightTruncation01004(PostgresWarning):
    sqlstate = "01004"


class PrivilegeNotRevoked(PostgresWarning):
    sqlstate = "01006"


class PrivilegeNotGranted(PostgresWarning):
    sqlstate = "01007"


class ImplicitZeroBitPadding(PostgresWarning):
    sqlstate = "01008"


class DynamicResultSetsReturned(PostgresWarning):
    sqlstate = "0100C"


class DeprecatedFeature(PostgresWarning):
    sqlstate = "01P01"


class NoData(PostgresError):
    sqlstate = "02000"


class NoAdditionalDynamicResultSetsReturned(NoData):
    sqlstate = "02001"


class SqlStatementNotYetComplete(ProgrammingError, PostgresError):
    sqlstate = "03000"


class ConnectionException(OperationalError, PostgresError):
    sqlstate = "08000"


class SqlclientUnableToEstablishSqlconnection(ConnectionException):
    sqlstate = "08001"


class ConnectionDoesNotExist(ConnectionException):
    sqlstate = "08003"


class SqlserverRejectedEstablishmentOfSqlconnection(ConnectionException):
    sqlstate = "08004"


class ConnectionFailure(ConnectionException):
    sqlstate = "08006"


class TransactionResolutionUnknown(ConnectionException):
    sqlstate = "08007"


class ProtocolViolation(ConnectionException):
    sqlstate = "08P01"


class TriggeredActionException(OperationalError, PostgresError):
    sqlstate = "09000"


class FeatureNotSupported(NotSupportedError, PostgresError):
    sqlstate = "0A000"


class InvalidTransactionInitiation(ProgrammingError, PostgresError):
    sqlstate = "0B000"


class LocatorException(ProgrammingError, PostgresError):
    sqlstate = "0F000"


class InvalidLocatorSpecification(LocatorException):
    sqlstate = "0F001"


class InvalidGrantor(ProgrammingError, PostgresError):
    sqlstate = "0L000"


class InvalidGrantOperation(InvalidGrantor):
    sqlstate = "0LP01"


class InvalidRoleSpecification(ProgrammingError, PostgresError):
    sqlstate = "0P000"


class DiagnosticsException(ProgrammingError, PostgresError):
    sqlstate = "0Z000"


class StackedDiagnosticsAccessedWithoutActiveHandler(DiagnosticsException):
    sqlstate = "0Z002"


class InvalidArgumentForXquery(ProgrammingError, PostgresError):
    sqlstate = "10608"


class CaseNotFound(ProgrammingError, PostgresError):
    sqlstate = "20000"


class CardinalityViolation(ProgrammingError, PostgresError):
    sqlstate = "21000"


class DataException(DataError, PostgresError):
    sqlstate = "22000"


class StringDataRightTruncation(DataException):
    sqlstate = "22001"


class NullValueNoIndicatorParameter(DataException):
    sqlstate = "22002"


class NumericValueOutOfRange(DataException):
    sqlstate = "22003"


class NullValueNotAllowed(DataException):
    sqlstate = "22004"


class ErrorInAssignment(DataException):
    sqlstate = "22005"


class InvalidDatetimeFormat(DataException):
    sqlstate = "22007"


class DatetimeFieldOverflow(DataException):
    sqlstate = "22008"


class InvalidTimeZoneDisplacementValue(DataException):
    sqlstate = "22009"


class EscapeCharacterConflict(DataException):
    sqlstate = "2200B"


class InvalidUseOfEscapeCharacter(DataException):
    sqlstate = "2200C"


class InvalidEscapeOctet(DataException):
    sqlstate = "2200D"


class ZeroLengthCharacterString(DataException):
    sqlstate = "2200F"


class MostSpecificTypeMismatch(DataException):
    sqlstate = "2200G"


class SequenceGeneratorLimitExceeded(DataException):
    sqlstate = "2200H"


class NotAnXmlDocument(DataException):
    sqlstate = "2200L"


class InvalidXmlDocument(DataException):
    sqlstate = "2200M"


class InvalidXmlContent(DataException):
    sqlstate = "2200N"


class InvalidXmlComment(DataException):
    sqlstate = "2200S"


class InvalidXmlProcessingInstruction(DataException):
    sqlstate = "2200T"


class InvalidIndicatorParameterValue(DataException):
    sqlstate = "22010"


class SubstringError(DataException):
    sqlstate = "22011"


class DivisionByZero(DataException):
    sqlstate = "22012"


class InvalidPrecedingOrFollowingSize(DataException):
    sqlstate = "22013"


class InvalidArgumentForNtileFunction(DataException):
    sqlstate = "22014"


class IntervalFieldOverflow(DataException):
    sqlstate = "22015"


class InvalidArgumentForNthValueFunction(DataException):
    sqlstate = "22016"


class InvalidCharacterValueForCast(DataException):
    sqlstate = "22018"


class InvalidEscapeCharacter(DataException):
    sqlstate = "22019"


class InvalidRegularExpression(DataException):
    sqlstate = "2201B"


class InvalidArgumentForLogarithm(DataException):
    sqlstate = "2201E"


class InvalidArgumentForPowerFunction(DataException):
    sqlstate = "2201F"


class InvalidArgumentForWidthBucketFunction(DataException):
    sqlstate = "2201G"


class InvalidRowCountInLimitClause(DataException):
    sqlstate = "2201W"


class InvalidRowCountInResultOffsetClause(DataException):
    sqlstate = "2201X"


class CharacterNotInRepertoire(DataException):
    sqlstate = "22021"


class IndicatorOverflow(DataException):
    sqlstate = "22022"


class InvalidParameterValue(DataException):
    sqlstate = "22023"


class UnterminatedCString(DataException):
    sqlstate = "22024"


class InvalidEscapeSequence(DataException):
    sqlstate = "22025"


class StringDataLengthMismatch(DataException):
    sqlstate = "22026"


class TrimError(DataException):
    sqlstate = "22027"


class ArraySubscriptError(DataException):
    sqlstate = "2202E"


class InvalidTablesampleRepeat(DataException):
    sqlstate = "2202G"


class InvalidTablesampleArgument(DataException):
    sqlstate = "2202H"


class DuplicateJsonObjectKeyValue(DataException):
    sqlstate = "22030"


class InvalidArgumentForSqlJsonDatetimeFunction(DataException):
    sqlstate = "22031"


class InvalidJsonText(DataException):
    sqlstate = "22032"


class InvalidSqlJsonSubscript(DataException):
    sqlstate = "22033"


class MoreThanOneSqlJsonItem(DataException):
    sqlstate = "22034"


class NoSqlJsonItem(DataException):
    sqlstate = "22035"


class NonNumericSqlJsonItem(DataException):
    sqlstate = "22036"


class NonUniqueKeysInAJsonObject(DataException):
    sqlstate = "22037"


class SingletonSqlJsonItemRequired(DataException):
    sqlstate = "22038"


class SqlJsonArrayNotFound(DataException):
    sqlstate = "22039"


class SqlJsonMemberNotFound(DataException):
    sqlstate = "2203A"


class SqlJsonNumberNotFound(DataException):
    sqlstate = "2203B"


class SqlJsonObjectNotFound(DataException):
    sqlstate = "2203C"


class TooManyJsonArrayElements(DataException):
    sqlstate = "2203D"


class TooManyJsonObjectMembers(DataException):
    sqlstate = "2203E"


class SqlJsonScalarRequired(DataException):
    sqlstate = "2203F"


class SqlJsonItemCannotBeCastToTargetType(DataException):
    sqlstate = "2203G"


class FloatingPointException(DataException):
    sqlstate = "22P01"


class InvalidTextRepresentation(DataException):
    sqlstate = "22P02"


class InvalidBinaryRepresentation(DataException):
    sqlstate = "22P03"


class BadCopyFileFormat(DataException):
    sqlstate = "22P04"


class UntranslatableCharacter(DataException):
    sqlstate = "22P05"


class NonstandardUseOfEscapeCharacter(DataException):
    sqlstate = "22P06"


class IntegrityConstraintViolation(IntegrityError, PostgresError):
    sqlstate = "23000"


class RestrictViolation(IntegrityConstraintViolation):
    sqlstate = "23001"


class NotNullViolation(IntegrityConstraintViolation):
    sqlstate = "23502"


class ForeignKeyViolation(IntegrityConstraintViolation):
    sqlstate = "23503"


class UniqueViolation(IntegrityConstraintViolation):
    sqlstate = "23505"


class CheckViolation(IntegrityConstraintViolation):
    sqlstate = "23514"


class ExclusionViolation(IntegrityConstraintViolation):
    sqlstate = "23P01"


class InvalidCursorState(InternalError, PostgresError):
    sqlstate = "24000"


class InvalidTransactionState(InternalError, PostgresError):
    sqlstate = "25000"


class ActiveSqlTransaction(InvalidTransactionState):
    sqlstate = "25001"


class BranchTransactionAlreadyActive(InvalidTransactionState):
    sqlstate = "25002"


class InappropriateAccessModeForBranchTransaction(InvalidTransactionState):
    sqlstate = "25003"


class InappropriateIsolationLevelForBranchTransaction(InvalidTransactionState):
    sqlstate = "25004"


class NoActiveSqlTransactionForBranchTransaction(InvalidTransactionState):
    sqlstate = "25005"


class ReadOnlySqlTransaction(InvalidTransactionState):
    sqlstate = "25006"


class SchemaAndDataStatementMixingNotSupported(InvalidTransactionState):
    sqlstate = "25007"


class HeldCursorRequiresSameIsolationLevel(InvalidTransactionState):
    sqlstate = "25008"


class NoActiveSqlTransaction(InvalidTransactionState):
    sqlstate = "25P01"


class InFailedSqlTransaction(InvalidTransactionState):
    sqlstate = "25P02"


class IdleInTransactionSessionTimeout(InvalidTransactionState):
    sqlstate = "25P03"


class TransactionTimeout(InvalidTransactionState):
    sqlstate = "25P04"


class InvalidSqlStatementName(ProgrammingError, PostgresError):
    sqlstate = "26000"


class TriggeredDataChangeViolation(OperationalError, PostgresError):
    sqlstate = "27000"


class InvalidAuthorizationSpecification(OperationalError, PostgresError):
    sqlstate = "28000"


class InvalidPassword(InvalidAuthorizationSpecification):
    sqlstate = "28P01"


class DependentPrivilegeDescriptorsStillExist(InternalError, PostgresError):
    sqlstate = "2B000"


class DependentObjectsStillExist(DependentPrivilegeDescriptorsStillExist):
    sqlstate = "2BP01"


class InvalidTransactionTermination(InternalError, PostgresError):
    sqlstate = "2D000"


class SqlRoutineException(OperationalError, PostgresError):
    sqlstate = "2F000"


class ModifyingSqlDataNotPermitted(SqlRoutineException):
    sqlstate = "2F002"


class ProhibitedSqlStatementAttempted(SqlRoutineException):
    sqlstate = "2F003"


class ReadingSqlDataNotPermitted(SqlRoutineException):
    sqlstate = "2F004"


class FunctionExecutedNoReturnStatement(SqlRoutineException):
    sqlstate = "2F005"


class InvalidCursorName(ProgrammingError, PostgresError):
    sqlstate = "34000"


class ExternalRoutineException(OperationalError, PostgresError):
    sqlstate = "38000"


class ContainingSqlNotPermitted(ExternalRoutineException):
    sqlstate = "38001"


class ModifyingSqlDataNotPermitted38002(ExternalRoutineException):
    sqlstate = "38002"


class ProhibitedSqlStatementAttempted38003(ExternalRoutineException):
    sqlstate = "38003"


class ReadingSqlDataNotPermitted38004(ExternalRoutineException):
    sqlstate = "38004"


class ExternalRoutineInvocationException(OperationalError, PostgresError):
    sqlstate = "39000"


class InvalidSqlstateReturned(ExternalRoutineInvocationException):
    sqlstate = "39001"


class NullValueNotAllowed39004(ExternalRoutineInvocationException):
    sqlstate = "39004"


class TriggerProtocolViolated(ExternalRoutineInvocationException):
    sqlstate = "39P01"


class SrfProtocolViolated(ExternalRoutineInvocationException):
    sqlstate = "39P02"


class EventTriggerProtocolViolated(ExternalRoutineInvocationException):
    sqlstate = "39P03"


class SavepointException(OperationalError, PostgresError):
    sqlstate = "3B000"


class InvalidSavepointSpecification(SavepointException):
    sqlstate = "3B001"


class InvalidCatalogName(ProgrammingError, PostgresError):
    sqlstate = "3D000"


class InvalidSchemaName(ProgrammingError, PostgresError):
    sqlstate = "3F000"


class TransactionRollback(OperationalError, PostgresError):
    sqlstate = "40000"


class SerializationFailure(TransactionRollback):
    sqlstate = "40001"


class TransactionIntegrityConstraintViolation(TransactionRollback):
    sqlstate = "40002"


class StatementCompletionUnknown(TransactionRollback):
    sqlstate = "40003"


class DeadlockDetected(TransactionRollback):
    sqlstate = "40P01"


class SyntaxErrorOrAccessRuleViolation(ProgrammingError, PostgresError):
    sqlstate = "42000"


class InsufficientPrivilege(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42501"


class PostgresSyntaxError(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42601"


class InvalidName(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42602"


class InvalidColumnDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42611"


class NameTooLong(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42622"


class DuplicateColumn(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42701"


class AmbiguousColumn(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42702"


class UndefinedColumn(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42703"


class UndefinedObject(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42704"


class DuplicateObject(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42710"


class DuplicateAlias(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42712"


class DuplicateFunction(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42723"


class AmbiguousFunction(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42725"


class GroupingError(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42803"


class DatatypeMismatch(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42804"


class WrongObjectType(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42809"


class InvalidForeignKey(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42830"


class CannotCoerce(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42846"


class UndefinedFunction(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42883"


class GeneratedAlways(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "428C9"


class ReservedName(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42939"


class UndefinedTable(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P01"


class UndefinedParameter(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P02"


class DuplicateCursor(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P03"


class DuplicateDatabase(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P04"


class DuplicatePreparedStatement(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P05"


class DuplicateSchema(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P06"


class DuplicateTable(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P07"


class AmbiguousParameter(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P08"


class AmbiguousAlias(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P09"


class InvalidColumnReference(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P10"


class InvalidCursorDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P11"


class InvalidDatabaseDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P12"


class InvalidFunctionDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P13"


class InvalidPreparedStatementDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P14"


class InvalidSchemaDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P15"


class InvalidTableDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P16"


class InvalidObjectDefinition(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P17"


class IndeterminateDatatype(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P18"


class InvalidRecursion(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P19"


class WindowingError(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P20"


class CollationMismatch(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P21"


class IndeterminateCollation(SyntaxErrorOrAccessRuleViolation):
    sqlstate = "42P22"


class WithCheckOptionViolation(ProgrammingError, PostgresError):
    sqlstate = "44000"


class InsufficientResources(OperationalError, PostgresError):
    sqlstate = "53000"


class DiskFull(InsufficientResources):
    sqlstate = "53100"


class OutOfMemory(InsufficientResources):
    sqlstate = "53200"


class TooManyConnections(InsufficientResources):
    sqlstate = "53300"


class ConfigurationLimitExceeded(InsufficientResources):
    sqlstate = "53400"


class ProgramLimitExceeded(OperationalError, PostgresError):
    sqlstate = "54000"


class StatementTooComplex(ProgramLimitExceeded):
    sqlstate = "54001"


class TooManyColumns(ProgramLimitExceeded):
    sqlstate = "54011"


class TooManyArguments(ProgramLimitExceeded):
    sqlstate = "54023"


class ObjectNotInPrerequisiteState(OperationalError, PostgresError):
    sqlstate = "55000"


class ObjectInUse(ObjectNotInPrerequisiteState):
    sqlstate = "55006"


class CantChangeRuntimeParam(ObjectNotInPrerequisiteState):
    sqlstate = "55P02"


class LockNotAvailable(ObjectNotInPrerequisiteState):
    sqlstate = "55P03"


class UnsafeNewEnumValueUsage(ObjectNotInPrerequisiteState):
    sqlstate = "55P04"


class OperatorIntervention(OperationalError, PostgresError):
    sqlstate = "57000"


class QueryCanceled(OperatorIntervention):
    sqlstate = "57014"


class AdminShutdown(OperatorIntervention):
    sqlstate = "57P01"


class CrashShutdown(OperatorIntervention):
    sqlstate = "57P02"


class CannotConnectNow(OperatorIntervention):
    sqlstate = "57P03"


class DatabaseDropped(OperatorIntervention):
    sqlstate = "57P04"


class IdleSessionTimeout(OperatorIntervention):
    sqlstate = "57P05"


class PostgresSystemError(OperationalError, PostgresError):
    sqlstate = "58000"


class IoError(PostgresSystemError):
    sqlstate = "58030"


class UndefinedFile(PostgresSystemError):
    sqlstate = "58P01"


class DuplicateFile(PostgresSystemError):
    sqlstate = "58P02"


class FileNameTooLong(PostgresSystemError):
    sqlstate = "58P03"


class SnapshotTooOld(OperationalError, PostgresError):
    sqlstate = "72000"


class ConfigFileError(OperationalError, PostgresError):
    sqlstate = "F0000"


class LockFileExists(ConfigFileError):
    sqlstate = "F0001"


class FdwError(OperationalError, PostgresError):
    sqlstate = "HV000"


class FdwOutOfMemory(FdwError):
    sqlstate = "HV001"


class FdwDynamicParameterValueNeeded(FdwError):
    sqlstate = "HV002"


class FdwInvalidDataType(FdwError):
    sqlstate = "HV004"


class FdwColumnNameNotFound(FdwError):
    sqlstate = "HV005"


class FdwInvalidDataTypeDescriptors(FdwError):
    sqlstate = "HV006"


class FdwInvalidColumnName(FdwError):
    sqlstate = "HV007"


class FdwInvalidColumnNumber(FdwError):
    sqlstate = "HV008"


class FdwInvalidUseOfNullPointer(FdwError):
    sqlstate = "HV009"


class FdwInvalidStringFormat(FdwError):
    sqlstate = "HV00A"


class FdwInvalidHandle(FdwError):
    sqlstate = "HV00B"


class FdwInvalidOptionIndex(FdwError):
    sqlstate = "HV00C"


class FdwInvalidOptionName(FdwError):
    sqlstate = "HV00D"


class FdwOptionNameNotFound(FdwError):
    sqlstate = "HV00J"


class FdwReplyHandle(FdwError):
    sqlstate = "HV00K"


class FdwUnableToCreateExecution(FdwError):
    sqlstate = "HV00L"


class FdwUnableToCreateReply(FdwError):
    sqlstate = "HV00M"


class FdwUnableToEstablishConnection(FdwError):
    sqlstate = "HV00N"


class FdwNoSchemas(FdwError):
    sqlstate = "HV00P"


class FdwSchemaNotFound(FdwError):
    sqlstate = "HV00Q"


class FdwTableNotFound(FdwError):
    sqlstate = "HV00R"


class FdwFunctionSequenceError(FdwError):
    sqlstate = "HV010"


class FdwTooManyHandles(FdwError):
    sqlstate = "HV014"


class FdwInconsistentDescriptorInformation(FdwError):
    sqlstate = "HV021"


class FdwInvalidAttributeValue(FdwError):
    sqlstate = "HV024"


class FdwInvalidStringLengthOrBufferLength(FdwError):
    sqlstate = "HV090"


class FdwInvalidDescriptorFieldIdentifier(FdwError):
    sqlstate = "HV091"


class PlpgsqlError(ProgrammingError, PostgresError):
    sqlstate = "P0000"


class RaiseException(PlpgsqlError):
    sqlstate = "P0001"


class NoDataFound(PlpgsqlError):
    sqlstate = "P0002"


class PostgresTooManyRows(PlpgsqlError):
    sqlstate = "P0003"


class AssertFailure(PlpgsqlError):
    sqlstate = "P0004"


class PostgresInternalError(InternalError, PostgresError):
    sqlstate = "XX000"


class DataCorrupted(PostgresInternalError):
    sqlstate = "XX001"


class IndexCorrupted(PostgresInternalError):
    sqlstate = "XX002"


CLASSES: dict[str, type[PostgresError]] = {
    "01000": PostgresWarning,
    "01003": NullValueEliminatedInSetFunction,
    "01004": StringDataRightTruncation01004,
    "01006": PrivilegeNotRevoked,
    "01007": PrivilegeNotGranted,
    "01008": ImplicitZeroBitPadding,
    "0100C": DynamicResultSetsReturned,
    "01P01": DeprecatedFeature,
    "02000": NoData,
    "02001": NoAdditionalDynamicResultSetsReturned,
    "03000": SqlStatementNotYetComplete,
    "08000": ConnectionException,
    "08001": SqlclientUnableToEstablishSqlconnection,
    "08003": ConnectionDoesNotExist,
    "08004": SqlserverRejectedEstablishmentOfSqlconnection,
    "08006": ConnectionFailure,
    "08007": TransactionResolutionUnknown,
    "08P01": ProtocolViolation,
    "09000": TriggeredActionException,
    "0A000": FeatureNotSupported,
    "0B000": InvalidTransactionInitiation,
    "0F000": LocatorException,
    "0F001": InvalidLocatorSpecification,
    "0L000": InvalidGrantor,
    "0LP01": InvalidGrantOperation,
    "0P000": InvalidRoleSpecification,
    "0Z000": DiagnosticsException,
    "0Z002": StackedDiagnosticsAccessedWithoutActiveHandler,
    "10608": InvalidArgumentForXquery,
    "20000": CaseNotFound,
    "21000": CardinalityViolation,
    "22000": DataException,
    "22001": StringDataRightTruncation,
    "22002": NullValueNoIndicatorParameter,
    "22003": NumericValueOutOfRange,
    "22004": NullValueNotAllowed,
    "22005": ErrorInAssignment,
    "22007": InvalidDatetimeFormat,
    "22008": DatetimeFieldOverflow,
    "22009": InvalidTimeZoneDisplacementValue,
    "2200B": EscapeCharacterConflict,
    "2200C": InvalidUseOfEscapeCharacter,
    "2200D": InvalidEscapeOctet,
    "2200F": ZeroLengthCharacterString,
    "2200G": MostSpecificTypeMismatch,
    "2200H": SequenceGeneratorLimitExceeded,
    "2200L": NotAnXmlDocument,
    "2200M": InvalidXmlDocument,
    "2200N": InvalidXmlContent,
    "2200S": InvalidXmlComment,
    "2200T": InvalidXmlProcessingInstruction,
    "22010": InvalidIndicatorParameterValue,
    "22011": SubstringError,
    "22012": DivisionByZero,
    "22013": InvalidPrecedingOrFollowingSize,
    "22014": InvalidArgumentForNtileFunction,
    "22015": IntervalFieldOverflow,
    "22016": InvalidArgumentForNthValueFunction,
    "22018": InvalidCharacterValueForCast,
    "22019": InvalidEscapeCharacter,
    "2201B": InvalidRegularExpression,
    "2201E": InvalidArgumentForLogarithm,
    "2201F": InvalidArgumentForPowerFunction,
    "2201G": InvalidArgumentForWidthBucketFunction,
    "2201W": InvalidRowCountInLimitClause,
    "2201X": InvalidRowCountInResultOffsetClause,
    "22021": CharacterNotInRepertoire,
    "22022": IndicatorOverflow,
    "22023": InvalidParameterValue,
    "22024": UnterminatedCString,
    "22025": InvalidEscapeSequence,
    "22026": StringDataLengthMismatch,
    "22027": TrimError,
    "2202E": ArraySubscriptError,
    "2202G": InvalidTablesampleRepeat,
    "2202H": InvalidTablesampleArgument,
    "22030": DuplicateJsonObjectKeyValue,
    "22031": InvalidArgumentForSqlJsonDatetimeFunction,
    "22032": InvalidJsonText,
    "22033": InvalidSqlJsonSubscript,
    "22034": MoreThanOneSqlJsonItem,
    "22035": NoSqlJsonItem,
    "22036": NonNumericSqlJsonItem,
    "22037": NonUniqueKeysInAJsonObject,
    "22038": SingletonSqlJsonItemRequired,
    "22039": SqlJsonArrayNotFound,
    "2203A": SqlJsonMemberNotFound,
    "2203B": SqlJsonNumberNotFound,
    "2203C": SqlJsonObjectNotFound,
    "2203D": TooManyJsonArrayElements,
    "2203E": TooManyJsonObjectMembers,
    "2203F": SqlJsonScalarRequired,
    "2203G": SqlJsonItemCannotBeCastToTargetType,
    "22P01": FloatingPointException,
    "22P02": InvalidTextRepresentation,
    "22P03": InvalidBinaryRepresentation,
    "22P04": BadCopyFileFormat,
    "22P05": UntranslatableCharacter,
    "22P06": NonstandardUseOfEscapeCharacter,
    "23000": IntegrityConstraintViolation,
    "23001": RestrictViolation,
    "23502": NotNullViolation,
    "23503": ForeignKeyViolation,
    "23505": UniqueViolation,
    "23514": CheckViolation,
    "23P01": ExclusionViolation,
    "24000": InvalidCursorState,
    "25000": InvalidTransactionState,
    "25001": ActiveSqlTransaction,
    "25002": BranchTransactionAlreadyActive,
    "25003": InappropriateAccessModeForBranchTransaction,
    "25004": InappropriateIsolationLevelForBranchTransaction,
    "25005": NoActiveSqlTransactionForBranchTransaction,
    "25006": ReadOnlySqlTransaction,
    "25007": SchemaAndDataStatementMixingNotSupported,
    "25008": HeldCursorRequiresSameIsolationLevel,
    "25P01": NoActiveSqlTransaction,
    "25P02": InFailedSqlTransaction,
    "25P03": IdleInTransactionSessionTimeout,
    "25P04": TransactionTimeout,
    "26000": InvalidSqlStatementName,
    "27000": TriggeredDataChangeViolation,
    "28000": InvalidAuthorizationSpecification,
    "28P01": InvalidPassword,
    "2B000": DependentPrivilegeDescriptorsStillExist,
    "2BP01": DependentObjectsStillExist,
    "2D000": InvalidTransactionTermination,
    "2F000": SqlRoutineException,
    "2F002": ModifyingSqlDataNotPermitted,
    "2F003": ProhibitedSqlStatementAttempted,
    "2F004": ReadingSqlDataNotPermitted,
    "2F005": FunctionExecutedNoReturnStatement,
    "34000": InvalidCursorName,
    "38000": ExternalRoutineException,
    "38001": ContainingSqlNotPermitted,
    "38002": ModifyingSqlDataNotPermitted38002,
    "38003": ProhibitedSqlStatementAttempted38003,
    "38004": ReadingSqlDataNotPermitted38004,
    "39000": ExternalRoutineInvocationException,
    "39001": InvalidSqlstateReturned,
    "39004": NullValueNotAllowed39004,
    "39P01": TriggerProtocolViolated,
    "39P02": SrfProtocolViolated,
    "39P03": EventTriggerProtocolViolated,
    "3B000": SavepointException,
    "3B001": InvalidSavepointSpecification,
    "3D000": InvalidCatalogName,
    "3F000": InvalidSchemaName,
    "40000": TransactionRollback,
    "40001": SerializationFailure,
    "40002": TransactionIntegrityConstraintViolation,
    "40003": StatementCompletionUnknown,
    "40P01": DeadlockDetected,
    "42000": SyntaxErrorOrAccessRuleViolation,
    "42501": InsufficientPrivilege,
    "42601": PostgresSyntaxError,
    "42602": InvalidName,
    "42611": InvalidColumnDefinition,
    "42622": NameTooLong,
    "42701": DuplicateColumn,
    "42702": AmbiguousColumn,
    "42703": UndefinedColumn,
    "42704": UndefinedObject,
    "42710": DuplicateObject,
    "42712": DuplicateAlias,
    "42723": DuplicateFunction,
    "42725": AmbiguousFunction,
    "42803": GroupingError,
    "42804": DatatypeMismatch,
    "42809": WrongObjectType,
    "42830": InvalidForeignKey,
    "42846": CannotCoerce,
    "42883": UndefinedFunction,
    "428C9": GeneratedAlways,
    "42939": ReservedName,
    "42P01": UndefinedTable,
    "42P02": UndefinedParameter,
    "42P03": DuplicateCursor,
    "42P04": DuplicateDatabase,
    "42P05": DuplicatePreparedStatement,
    "42P06": DuplicateSchema,
    "42P07": DuplicateTable,
    "42P08": AmbiguousParameter,
    "42P09": AmbiguousAlias,
    "42P10": InvalidColumnReference,
    "42P11": InvalidCursorDefinition,
    "42P12": InvalidDatabaseDefinition,
    "42P13": InvalidFunctionDefinition,
    "42P14": InvalidPreparedStatementDefinition,
    "42P15": InvalidSchemaDefinition,
    "42P16": InvalidTableDefinition,
    "42P17": InvalidObjectDefinition,
    "42P18": IndeterminateDatatype,
    "42P19": InvalidRecursion,
    "42P20": WindowingError,
    "42P21": CollationMismatch,
    "42P22": IndeterminateCollation,
    "44000": WithCheckOptionViolation,
    "53000": InsufficientResources,
    "53100": DiskFull,
    "53200": OutOfMemory,
    "53300": TooManyConnections,
    "53400": ConfigurationLimitExceeded,
    "54000": ProgramLimitExceeded,
    "54001": StatementTooComplex,
    "54011": TooManyColumns,
    "54023": TooManyArguments,
    "55000": ObjectNotInPrerequisiteState,
    "55006": ObjectInUse,
    "55P02": CantChangeRuntimeParam,
    "55P03": LockNotAvailable,
    "55P04": UnsafeNewEnumValueUsage,
    "57000": OperatorIntervention,
    "57014": QueryCanceled,
    "57P01": AdminShutdown,
    "57P02": CrashShutdown,
    "57P03": CannotConnectNow,
    "57P04": DatabaseDropped,
    "57P05": IdleSessionTimeout,
    "58000": PostgresSystemError,
    "58030": IoError,
    "58P01": UndefinedFile,
    "58P02": DuplicateFile,
    "58P03": FileNameTooLong,
    "72000": SnapshotTooOld,
    "F0000": ConfigFileError,
    "F0001": LockFileExists,
    "HV000": FdwError,
    "HV001": FdwOutOfMemory,
    "HV002": FdwDynamicParameterValueNeeded,
    "HV004": FdwInvalidDataType,
    "HV005": FdwColumnNameNotFound,
    "HV006": FdwInvalidDataTypeDescriptors,
    "HV007": FdwInvalidColumnName,
    "HV008": FdwInvalidColumnNumber,
    "HV009": FdwInvalidUseOfNullPointer,
    "HV00A": FdwInvalidStringFormat,
    "HV00B": FdwInvalidHandle,
    "HV00C": FdwInvalidOptionIndex,
    "HV00D": FdwInvalidOptionName,
    "HV00J": FdwOptionNameNotFound,
    "HV00K": FdwReplyHandle,
    "HV00L": FdwUnableToCreateExecution,
    "HV00M": FdwUnableToCreateReply,
    "HV00N": FdwUnableToEstablishConnection,
    "HV00P": FdwNoSchemas,
    "HV00Q": FdwSchemaNotFound,
    "HV00R": FdwTableNotFound,
    "HV010": FdwFunctionSequenceError,
    "HV014": FdwTooManyHandles,
    "HV021": FdwInconsistentDescriptorInformation,
    "HV024": FdwInvalidAttributeValue,
    "HV090": FdwInvalidStringLengthOrBufferLength,
    "HV091": FdwInvalidDescriptorFieldIdentifier,
    "P0000": PlpgsqlError,
    "P0001": RaiseException,
    "P0002": NoDataFound,
    "P0003": PostgresTooManyRows,
    "P0004": AssertFailure,
    "XX000": PostgresInternalError,
    "XX001": DataCorrupted,
    "XX002": IndexCorrupted,
}
