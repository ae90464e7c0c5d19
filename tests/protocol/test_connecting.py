"""What to try when connecting, and what to tell when it fails."""

from __future__ import annotations

import pytest

from pgwire.errors import (
    AuthenticationError,
    ConnectionFailed,
    ConnectionLost,
    Error,
    InterfaceError,
    NotSupportedError,
    ProgrammingError,
    ProtocolError,
    TLSError,
)
from pgwire.protocol.connecting import (
    Attempts,
    Encryption,
    EncryptionPlan,
    failed_attempt,
    read_ssl_answer,
    spoken_too_soon,
    waiting_may_help,
)
from pgwire.sqlstate import mixed_in, postgres_error

PLAIN, OFFERED, TLS = Encryption.PLAIN, Encryption.TLS_IF_OFFERED, Encryption.TLS


def refused(sqlstate: str, failure: type[ConnectionFailed] = ConnectionFailed) -> Error:
    return mixed_in(failure, postgres_error({"C": sqlstate, "M": "no"}))


def tried(plan: EncryptionPlan, *failures: Error) -> list[Encryption]:
    """The attempts made if each of them fails so."""
    made = []
    left = iter(failures)
    for attempt in plan:
        made.append(attempt)
        if (failure := next(left, None)) is not None:
            plan.failed(failure)
    return made


@pytest.mark.parametrize(
    ("sslmode", "first", "second"),
    [
        ("disable", PLAIN, None),
        ("allow", PLAIN, TLS),
        ("prefer", OFFERED, PLAIN),
        ("require", TLS, None),
        ("verify-ca", TLS, None),
        ("verify-full", TLS, None),
    ],
)
def test_the_attempts_of_each_sslmode(
    sslmode: str, first: Encryption, second: Encryption | None
) -> None:
    """A second one is made only where encryption may be the reason of the failure."""
    both = [first] if second is None else [first, second]

    def plan() -> EncryptionPlan:
        return EncryptionPlan(sslmode, unix_socket=False)

    assert tried(plan()) == [first]
    assert tried(plan(), TLSError("no")) == both
    assert tried(plan(), refused("28000", AuthenticationError)) == both
    assert tried(plan(), refused("28P01", AuthenticationError)) == [first]
    assert tried(plan(), refused("57P03")) == [first]
    assert tried(plan(), ProtocolError("what?")) == [first]
    assert tried(plan(), TLSError("no"), TLSError("no")) == both
    assert tried(plan(), spoken_too_soon()) == [first]


def test_an_attempt_that_went_without_tls_is_not_made_twice() -> None:
    """Where the server has none, `prefer` has had both of its ways at once."""
    for sslmode, tls, wanted in [
        ("prefer", False, [OFFERED]),
        ("prefer", True, [OFFERED, PLAIN]),
        ("allow", False, [PLAIN, TLS]),
    ]:
        made = []
        plan = EncryptionPlan(sslmode, unix_socket=False)
        for attempt in plan:
            made.append(attempt)
            plan.connected(tls=tls)
            plan.failed(refused("28000", AuthenticationError))
        assert made == wanted


@pytest.mark.parametrize("sslmode", ["disable", "prefer", "require", "verify-full"])
def test_there_is_no_tls_over_a_unix_socket(sslmode: str) -> None:
    assert tried(EncryptionPlan(sslmode, unix_socket=True), TLSError("no")) == [PLAIN]


def test_tls_from_the_first_byte_on_is_the_only_attempt() -> None:
    plan = EncryptionPlan("require", unix_socket=False, direct=True)
    assert tried(plan, TLSError("no")) == [Encryption.DIRECT]
    assert tried(EncryptionPlan("require", unix_socket=True, direct=True)) == [PLAIN]


def test_the_answer_to_ssl_request() -> None:
    assert read_ssl_answer(b"S", TLS)
    assert read_ssl_answer(b"S", OFFERED)
    assert not read_ssl_answer(b"N", OFFERED)
    with pytest.raises(TLSError, match="does not offer TLS, and sslmode demands it"):
        read_ssl_answer(b"N", TLS)


@pytest.mark.parametrize("encryption", [TLS, OFFERED])
@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (b"", ConnectionFailed, "closed the connection instead of answering"),
        (b"E", ConnectionFailed, "answered the request for TLS with an error"),
        (b"H", ProtocolError, "not PostgreSQL's"),
        (b"\0", ProtocolError, "not PostgreSQL's"),
        (b"s", ProtocolError, "not PostgreSQL's"),
        (b"SS", ProtocolError, "not PostgreSQL's"),
        (b"SX", ProtocolError, "not PostgreSQL's"),
    ],
)
def test_any_other_answer_is_an_error_that_shows_nothing_of_it(
    encryption: Encryption, answer: bytes, kind: type[Error], words: str
) -> None:
    """More than one byte would be read as if it had come encrypted."""
    with pytest.raises(kind, match=words) as caught:
        read_ssl_answer(answer, encryption)
    assert answer.decode("latin-1") not in str(caught.value) or len(answer) < 2


@pytest.mark.parametrize(
    ("error", "may_help"),
    [
        (OSError("refused"), True),
        (ConnectionFailed("timed out"), True),
        (ConnectionLost("gone"), True),
        (ProtocolError("garbage"), True),
        (refused("57P03"), True),
        (refused("53300"), True),
        (refused("3D000"), False),
        (refused("42501"), False),
        (refused("28P01", AuthenticationError), False),
        (AuthenticationError("no password"), False),
        (TLSError("certificate"), False),
        (ProgrammingError("sslmode"), False),
        (NotSupportedError("gss"), False),
        (InterfaceError("misuse"), False),
    ],
)
def test_what_waiting_can_mend(error: Exception, may_help: bool) -> None:
    assert waiting_may_help(error) is may_help


def test_what_is_said_of_an_attempt() -> None:
    own = TLSError("no certificate")
    assert failed_attempt("db:5432", own) is own
    lost = ConnectionLost("gone")
    failure = failed_attempt("db:5432", lost)
    assert (type(failure), str(failure)) == (ConnectionFailed, "db:5432: gone")
    assert failure.__cause__ is lost
    failure = failed_attempt("db:5432", ProtocolError("garbage"))
    assert str(failure) == "db:5432: is there a PostgreSQL server? garbage"


def failure_of(*errors: Exception) -> ConnectionFailed:
    attempts = Attempts()
    for number, error in enumerate(errors):
        attempts.failed(f"host{number}", error)
    return attempts.error()


def test_a_single_attempt_raises_its_own_error() -> None:
    error = refused("28P01", AuthenticationError)
    failure = failure_of(error)
    assert failure is error
    assert [tuple(attempt) for attempt in failure.attempts] == [("host0", error)]


def test_a_single_attempt_that_failed_in_another_way() -> None:
    error = ProtocolError("garbage")
    failure = failure_of(error)
    assert type(failure) is ConnectionFailed
    assert str(failure) == "host0: garbage"
    assert failure.__cause__ is error


def test_several_attempts_are_listed() -> None:
    errors = OSError("refused"), refused("57P03")
    failure = failure_of(*errors)
    assert type(failure) is ConnectionFailed
    assert str(failure) == "host0: refused; host1: no"
    assert [attempt.error for attempt in failure.attempts] == list(errors)
    assert failure.__cause__ is errors[1]


def test_an_address_is_told_once() -> None:
    attempts = Attempts()
    attempts.failed("db:5432", ConnectionFailed("db:5432: refused"))
    attempts.failed("db:5433", ConnectionFailed("starting up"))
    assert str(attempts.error()) == "db:5432: refused; db:5433: starting up"


@pytest.mark.parametrize("kind", [AuthenticationError, TLSError])
def test_several_attempts_that_failed_alike_have_their_class(kind: type[ConnectionFailed]) -> None:
    assert type(failure_of(kind("a"), kind("b"))) is kind
    assert type(failure_of(kind("a"), ConnectionFailed("b"))) is ConnectionFailed


def test_no_attempt_at_all() -> None:
    assert str(failure_of()) == "there is no address to connect to"


def test_a_wrong_password_is_told_with_the_file_that_it_is_from() -> None:
    def told(error: Error, passfile: str | None) -> str:
        return str(failed_attempt("db", error, passfile))

    def wrong() -> Error:
        return refused("28P01", AuthenticationError)

    assert told(wrong(), "/p") == "no\nHINT: the password was read from the file '/p'"
    assert told(wrong(), None) == "no"
    assert told(refused("28000", AuthenticationError), "/p") == "no"
    assert told(AuthenticationError("none"), "/p") == "none"
    fields = {"C": "28P01", "M": "no", "H": "think"}
    error = mixed_in(AuthenticationError, postgres_error(fields))
    assert told(error, "/p") == "no\nHINT: think\nthe password was read from the file '/p'"


@pytest.mark.parametrize(
    ("routine", "hint", "expected"),
    [
        ("InitProcess", None, "share a few in a Pool"),
        ("InitializeSessionUserId", None, "share a few in a Pool"),
        ("InitPostgres", "Ask Ada.", "no\nHINT: Ask Ada."),  # the server's own
        (None, None, "no"),  # a pooler
    ],
)
def test_a_server_that_is_full_is_told_with_what_to_do(
    routine: str | None, hint: str | None, expected: str
) -> None:
    fields = {"C": "53300", "M": "no", "R": routine, "H": hint}
    given = {name: text for name, text in fields.items() if text is not None}
    error = mixed_in(ConnectionFailed, postgres_error(given))
    told = str(failed_attempt("db", error))
    assert expected in told
    assert ("Pool" in told) is ("Pool" in expected)


def test_a_password_that_is_missing_is_told_with_the_reason_if_there_is_one() -> None:
    error = AuthenticationError("none was given")
    assert failed_attempt("db", error, "/p", "/p is ignored") is error
    error.lacks_password = True
    assert failed_attempt("db", error, "/p", None) is error
    told = failed_attempt("db", error, "/p", "/p is ignored")
    assert str(told) == "none was given; /p is ignored"
    assert type(told) is AuthenticationError
