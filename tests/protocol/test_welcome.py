"""The end of a login taken in one go: the same comes of it as message by message."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, strategies as st

from pgwire.config import Secret
from pgwire.pgtypes import TypeRegistry
from pgwire.protocol.credentials import Credentials
from pgwire.protocol.session import Session
from pgwire.protocol.startup import Startup
from pgwire.protocol.welcome import _MOST_KNOWN, _known, take_welcome
from tests.support import backend
from tests.support.scram_server import NONCE, SECRET, Server

FIRST = b"n,,n=*,r=" + NONCE.encode()
REPORTS = {
    "usual": b"".join(
        backend.parameter_status(name, value)
        for name, value in (
            ("client_encoding", "UTF8"),
            ("TimeZone", "Europe/Berlin"),
            ("server_version", "18.6"),
            ("session_authorization", "J\u00f6rg"),
        )
    ),
    "twice": backend.parameter_status("is_superuser", "off") * 2,
    "empty": backend.parameter_status("", ""),
    "mistakable": backend.parameter_status("K", ""),
    "another encoding": backend.parameter_status("client_encoding", "LATIN1"),
    "long": backend.parameter_status("search_path", "x" * 4_100),
    "too long for two bytes": b"S\0\x01\0\0",
    "impossible": b"S\0\0\0\x03",
    "malformed": backend.message("S", b"no end"),
    "longer than it is": b"S\0\0\0\x40a\0b\0",
    "notice": backend.notice(),
    "notification": backend.notification(),
    "ok": backend.AUTHENTICATION_OK,
}


def begin(*, scram: bool, wrong: bool = False) -> tuple[Session, Startup, list[str], bytes]:
    """A login that waits for its end, the time zones that it will hear of, the server's proof."""
    zones: list[str] = []
    session = Session(TypeRegistry(), zone_of=zones.append)  # type: ignore[arg-type]
    startup = Startup({}, Credentials("me", Secret(SECRET), NONCE, exposed=False))
    session.submit(startup)
    final = b""
    if scram:
        server = Server(SECRET.encode(), iterations=1)
        session.receive_data(backend.sasl("SCRAM-SHA-256"))
        session.data_to_send()
        session.receive_data(backend.authentication(11, server.first(FIRST)))
        final = server.final(session.data_to_send()[5:])
        if wrong:
            final = final[:2] + (b"B" if final[2:3] == b"A" else b"A") + final[3:]
    return session, startup, zones, backend.authentication(12, final)


def outcome(pieces: list[bytes], *, scram: bool, wrong: bool = False) -> Any:
    session, startup, zones, final = begin(scram=scram, wrong=wrong)
    if scram:
        pieces = [piece.replace(b"<FINAL>", final) for piece in pieces]
    for piece in pieces:
        session.receive_data(piece)
    return (
        startup.phase.name,
        startup.done,
        repr(startup.error),
        dict(session.parameters),
        session.parameters._bytes,
        startup._heard,
        session.backend_key,
        zones[-1:],
        session.in_step,
    )


def all_three(data: bytes, **how: bool) -> Any:
    """What comes of it, whole; it is the same byte by byte, and once it is known."""
    final = b"<FINAL>"
    head = [final] if data.startswith(final) else []
    single = [*head, *(data[i : i + 1] for i in range(len(final) * len(head), len(data)))]
    whole = outcome([data], **how)
    assert whole == outcome(single, **how) == outcome([data], **how)
    return whole


@given(
    st.booleans(),
    st.lists(st.sampled_from(list(REPORTS)), max_size=3),
    st.sampled_from([backend.key_data(), backend.key_data(7, b"k" * 32), b""]),
    st.booleans(),
)
@example(True, ["usual"], backend.key_data(), True)
@example(False, ["usual", "usual"], backend.key_data(), True)
@example(False, ["usual", "impossible"], backend.key_data(), True)
@example(False, ["another encoding", "usual"], backend.key_data(), False)
@example(False, ["another encoding"], backend.key_data(), True)
@example(False, ["usual", "notice"], backend.key_data(), True)
def test_the_same_as_message_by_message(
    scram: bool, reports: list[str], key: bytes, ready: bool
) -> None:
    data = b"".join(REPORTS[name] for name in reports) + key + backend.ready() * ready
    all_three(b"<FINAL>" * scram + backend.AUTHENTICATION_OK + data, scram=scram)


def test_what_it_comes_to() -> None:
    end = REPORTS["usual"] + backend.key_data() + backend.ready()
    whole = all_three(b"<FINAL>" + backend.AUTHENTICATION_OK + end, scram=True)
    assert whole[:3] == ("STARTING", True, "None")
    assert whole[3]["session_authorization"] == "J\u00f6rg"
    assert whole[-2:] == (["Europe/Berlin"], True)


@pytest.mark.parametrize("ok", [backend.AUTHENTICATION_OK, b""])
def test_a_wrong_signature(ok: bytes) -> None:
    whole = all_three(b"<FINAL>" + ok, scram=True, wrong=True)
    assert "signature is wrong" in whole[2]


@pytest.mark.parametrize("data", [b"", REPORTS["usual"] + backend.ready()])
def test_let_in_before_the_server_has_proved_anything(data: bytes) -> None:
    whole = all_three(backend.AUTHENTICATION_OK + data, scram=True)
    assert "left the authentication" in whole[2]


def test_a_signature_that_nobody_asked_for() -> None:
    final = backend.authentication(12, b"v=" + b"A" * 43 + b"=")
    whole = all_three(final + backend.AUTHENTICATION_OK, scram=False)
    assert "unknown authentication method (12)" in whole[2]


def test_what_is_known_does_not_grow_for_ever() -> None:
    for number in range(300):
        data = backend.parameter_status("server_version", str(number)) + backend.key_data()
        all_three(backend.AUTHENTICATION_OK + data, scram=False)
        assert len(_known) <= _MOST_KNOWN


def test_some_reports_may_have_come_before() -> None:
    begin, end = backend.AUTHENTICATION_OK + REPORTS["twice"], REPORTS["usual"] + backend.key_data()
    assert outcome([begin, end], scram=False) == all_three(begin + end, scram=False)


@pytest.mark.parametrize("scram", [True, False])
@pytest.mark.parametrize("before", [b"", b"before"])
def test_it_is_taken_in_one_go(scram: bool, before: bytes) -> None:
    """All but the key, which is another one each time, and what is behind it."""
    _known.clear()
    _, startup, zones, final = begin(scram=scram)
    end = before + final * scram + backend.AUTHENTICATION_OK + REPORTS["usual"]
    data = end + backend.key_data() + backend.ready()
    assert take_welcome(startup, data, len(before), len(data)) == len(end)
    assert startup.phase is startup.STARTING
    assert zones == ["Europe/Berlin"]


@pytest.mark.parametrize("end", [b"", REPORTS["usual"] + backend.key_data()])
def test_let_in_twice(end: bytes) -> None:
    ok = backend.AUTHENTICATION_OK
    assert outcome([ok, ok + end], scram=False) == all_three(ok + ok + end, scram=False)


@pytest.mark.parametrize("before", [b"", b"<FINAL>"])
@pytest.mark.parametrize("scram", [True, False])
def test_settings_before_anybody_is_let_in(scram: bool, before: bytes) -> None:
    data = before * scram + REPORTS["usual"] + backend.key_data()
    whole = all_three(data, scram=scram)
    assert "PARAMETER_STATUS not expected" in whole[2]
    assert whole[3] == {}


def test_in_two_pieces() -> None:
    """Cut anywhere: behind the first byte of what follows the settings, too."""
    data = backend.AUTHENTICATION_OK + REPORTS["usual"] + backend.key_data() + backend.ready()
    whole = outcome([data], scram=False)
    for cut in range(len(data)):
        assert outcome([data[:cut], data[cut:]], scram=False) == whole
