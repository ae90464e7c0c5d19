"""TLS and threads; the rest of TLS is in `tests/shells`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgwire import errors
from tests.pool.support import Thread, until

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.blocking.conftest import Connect


def test_cancelling_from_another_thread(tls_server: embedded.Server, connect: Connect) -> None:
    conn, eyes = connect(tls_server.tls_url), connect(tls_server.tls_url)
    sql = "select wait_event = 'PgSleep' from pg_stat_activity where pid = $1"

    def cancel() -> None:
        until(lambda: eyes.query(sql, [conn.backend_pid]).scalar())
        conn.cancel()

    thread = Thread(cancel)
    with pytest.raises(errors.QueryCanceled):
        conn.query("select pg_sleep(60)")
    thread.outcome()
    assert conn.query("select 1").scalar() == 1
