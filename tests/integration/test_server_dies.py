"""A server that is stopped, killed, and started again, and what connections make of it."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from pgwire import errors

if TYPE_CHECKING:
    from pgwire import embedded


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_it_is_told_at_once_to_all_and_afterwards_life_goes_on(
    fresh_server: embedded.Server, how: str
) -> None:
    busy = pgwire.connect(fresh_server.url)
    idle = pgwire.connect(fresh_server.socket_url)
    caught: list[BaseException] = []

    def wait() -> None:
        try:
            busy.query("select pg_sleep(60)")
        except pgwire.Error as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    sleeps = "select wait_event = 'PgSleep' from pg_stat_activity where pid = $1"
    while not idle.query(sleeps, [busy.backend_pid]).scalar():
        time.sleep(0.005)
    getattr(fresh_server, how)()
    thread.join(20)
    lost: Any = caught[0]
    assert isinstance(lost, pgwire.ConnectionLost)
    assert "whether the server has carried it out is not known" in str(lost)
    assert lost.sent
    if how == "stop":  # killed, a backend may or may not find the time to say so
        assert isinstance(lost, errors.AdminShutdown)
    with pytest.raises(pgwire.ConnectionLost):
        idle.query("select 1")
    with pytest.raises(pgwire.ConnectionLost, match="lost before") as again:
        idle.query("select 1")
    assert not again.value.sent
    assert busy.closed
    assert idle.closed
    with pytest.raises(pgwire.ConnectionFailed):
        pgwire.connect(fresh_server.url)
    fresh_server.start()
    with pgwire.connect(fresh_server.url) as conn:
        assert conn.query("select 1").scalar() == 1
