"""The types of what is published: asked for by the simple protocol, before a replication begins."""

from __future__ import annotations

from typing import Any

import pytest

from pgwire.errors import ConnectionLost
from pgwire.pgtypes import TypeRegistry, oids
from pgwire.pgtypes.lsn import Lsn
from pgwire.protocol.pgoutput import PgOutput
from pgwire.protocol.published import PublishedTypes
from pgwire.protocol.session import Session
from pgwire.protocol.simple import SimpleQuery
from tests.support import backend, pgoutput
from tests.support.pgoutput import row, text

MOOD, MOODS, PAIR = 20_000, 20_001, 20_002
OIDS = backend.row_description(backend.column("atttypid", oids.OID))
_TEXT_ARRAY, _OID_ARRAY = oids.TEXT_ARRAY, oids.OID_ARRAY
INFOS = backend.row_description(
    *(backend.column("", oid) for oid in (oids.OID, oids.TEXT, oids.TEXT, oids.TEXT, oids.OID)),
    *(backend.column("", oid) for oid in (oids.TEXT, oids.OID)),
    *(backend.column("", oid) for oid in (_TEXT_ARRAY, _OID_ARRAY, _TEXT_ARRAY)),
)


def begun(*names: str) -> tuple[Session, PublishedTypes]:
    session, operation = Session(TypeRegistry()), PublishedTypes(names or ("p",))
    session.is_for_replication = True
    session.submit(operation)
    return session, operation


def end(count: int = 0) -> bytes:
    return backend.complete(f"SELECT {count}") + backend.ready()


def info(
    oid: int, name: str, kind: str, *, part: str | None = None, array: int = 0, more: str = ""
) -> bytes:
    """A row; `more` are the labels, or names and types of attributes, such as "a b:23 20001"."""
    names, _, types = more.partition(":")
    lists = [f"{{{','.join(names.split())}}}", f"{{{','.join(types.split())}}}", "{}"]
    if kind == "e":
        lists = ["{}", "{}", lists[0]]
    fields = [str(oid), "public", name, kind, str(array), ",", part, *lists]
    return backend.row(*(None if field is None else field.encode() for field in fields))


def asked(session: Session) -> str:
    """The next Query message."""
    said = session.data_to_send()
    assert said[:1] == b"Q"
    return said[5:-1].decode()


def test_round_by_round() -> None:
    session, operation = begun("p", 'it\'s "q"')
    sql = asked(session)
    assert "ARRAY['p', 'it''s \"q\"']" in sql
    session.receive_data(OIDS + backend.row(b"20001") + backend.row(b"20002") + end(2))
    assert "ARRAY[20001, 20002]::pg_catalog.oid[]" in asked(session)
    rows = info(MOODS, "_mood", "a", part=str(MOOD))
    rows += info(PAIR, "pair", "c", more=f"n moods:23 {MOODS}")
    session.receive_data(INFOS + rows + end(2))
    assert f"ARRAY[{MOOD}]" in asked(session)
    session.receive_data(INFOS + info(MOOD, "mood", "e", array=MOODS, more="sad ok") + end(1))
    assert operation.done
    assert operation.error is None
    assert session.in_step
    registry = session.registry
    assert registry.codec(MOODS).decode_text("{sad,ok}") == ["sad", "ok"]

    # What a change has then; a composite type that was altered stays text.
    output = reader(session)
    value = '(7,"{sad,ok}")'
    assert read(output, value) == (7, ["sad", "ok"])
    assert read(output, "(7,{sad},1)") == "(7,{sad},1)"


def reader(session: Session) -> PgOutput:
    output = PgOutput(lambda: session.registry)
    output.parse(Lsn(), pgoutput.relation(1, [("pair", PAIR, False)]))
    return output


def read(output: PgOutput, value: str) -> object:
    message: Any = output.parse(Lsn(), pgoutput.insert(1, row(text(value))))
    found: object = message.new.pair
    return found


def test_nothing_is_asked_for_what_is_built_in_or_known() -> None:
    session, operation = begun()
    asked(session)
    session.receive_data(OIDS + end())
    assert operation.done
    session, operation = begun()
    asked(session)
    session.receive_data(OIDS + backend.row(b"23") + end(1))
    assert operation.done


def test_what_is_not_found_out_stays_unknown() -> None:
    session, operation = begun()
    asked(session)
    session.receive_data(OIDS + backend.row(b"20000") + end(1))
    asked(session)
    session.receive_data(INFOS + end())
    assert operation.done
    assert operation.error is None
    assert session.registry.known(MOOD) is None


@pytest.mark.parametrize(
    "answer",
    [
        backend.error("42501") + backend.ready(),
        backend.row_description(backend.column("x", 99_999)) + backend.row(b"1") + end(1),
        backend.row_description(*[backend.column("x", 25)] * 2) + backend.row(b"1", b"2") + end(1),
        OIDS + backend.row(None) + end(1),
    ],
)
def test_it_is_no_error_if_the_server_does_not_say(answer: bytes) -> None:
    session, operation = begun()
    asked(session)
    session.receive_data(answer)
    if not operation.done:  # it has named one, and knows nothing of that
        asked(session)
        session.receive_data(answer)
    assert operation.done
    assert operation.error is None
    assert session.in_step


def test_a_server_that_names_types_without_an_end() -> None:
    session, operation = begun()
    asked(session)
    session.receive_data(OIDS + backend.row(b"20000") + end(1))
    rounds = 0
    while not operation.done:
        asked(session)
        number = 20_000 + rounds
        domain = info(number, f"d{rounds}", "d", part=str(number + 1))
        session.receive_data(INFOS + domain + end(1))
        rounds += 1
    assert rounds == 16


def test_abandoned() -> None:
    session, operation = begun()
    asked(session)
    operation.abandon()
    session.receive_data(OIDS + backend.row(b"20000") + end(1))
    assert operation.done
    assert session.in_step


def test_with_the_line() -> None:
    session, operation = begun()
    session.receive_eof()
    assert isinstance(operation.error, ConnectionLost)


def test_a_script_on_such_a_connection_asks_for_no_types() -> None:
    """It could do so by the extended protocol only, and an error costs temporary slots."""
    session, _ = begun()
    session.receive_data(OIDS + end())
    session.data_to_send()
    script = SimpleQuery("select")
    session.submit(script)
    session.data_to_send()
    column = backend.row_description(backend.column("m", MOOD))
    session.receive_data(column + backend.row(b"sad") + end(1))
    assert script.done
    assert script.result[0].rows == [("sad",)]
    assert session.data_to_send() == b""
