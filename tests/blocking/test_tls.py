"""TLS and threads; the rest of TLS is in `tests/shells`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from pgwire import errors

if TYPE_CHECKING:
    from pgwire import embedded
    from tests.blocking.conftest import Connect


def test_cancelling_from_another_thread(tls_server: embedded.Server, connect: Connect) -> None:
    conn = connect(tls_server.tls_url)
    timer = threading.Timer(0.1, conn.cancel)
    timer.start()
    with pytest.raises(errors.QueryCanceled):
        conn.query("select pg_sleep(20)")
    timer.join()
    assert conn.query("select 1").scalar() == 1
