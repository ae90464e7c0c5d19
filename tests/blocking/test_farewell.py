"""A server that says farewell: the connection is told lost once the backend is gone. I-1."""

from __future__ import annotations

import pytest

import pgwire
from pgwire import errors
from tests.support import backend
from tests.support.guards import go_on
from tests.support.scripted import Line, ScriptedServer


def test_a_killed_backend_is_gone_when_its_client_is_told(dsn: str) -> None:
    seen = "select count(*) from pg_stat_activity where pid = $1"
    with pgwire.connect(dsn) as watcher:
        for _ in range(50):
            go_on()
            with pgwire.connect(dsn) as conn:
                pid = conn.backend_pid
                with pytest.raises(errors.AdminShutdown):
                    conn.query("select pg_terminate_backend(pg_backend_pid())")
                assert watcher.query(seen, [pid]).scalar() == 0


def test_a_server_that_does_not_go_is_waited_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pgwire.blocking.driver.CLOSE_PATIENCE", 0.05)

    def script(line: Line) -> None:
        line.let_in()
        line.read_message()
        line.send(backend.fatal("57P01", "good-bye"))
        line.wait_for_hang_up()

    with ScriptedServer(script) as server, pgwire.connect(server.dsn) as conn:
        with pytest.raises(errors.AdminShutdown):
            conn.query("select 1")
        assert conn.closed
