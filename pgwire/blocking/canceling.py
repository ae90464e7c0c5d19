"""Having the server cancel what a driver runs: it is asked again as long as there is time."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from pgwire.blocking.net import Deadline
from pgwire.driving import ASK_AGAIN

if TYPE_CHECKING:
    from pgwire.blocking.driver import Driver
    from pgwire.protocol.operation import Operation


def have_canceled(driver: Driver, operation: Operation, deadline: float) -> None:
    """Ask for a cancel, and read until the operation is done; `Deadline` when time is up."""
    while (soon := monotonic() + ASK_AGAIN) < deadline:
        driver.send_cancel_request(deadline)
        with suppress(Deadline):
            driver._drive(operation, soon)
            return
    driver.send_cancel_request(deadline)
    driver._drive(operation, deadline)
