"""What each query goes through has few attributes of its own.

Up to 29 of them Python 3.11 finds by their number; an object with more has a dict, in which each is
looked for by its name. A thirtieth in the driver made a query of one value cost 7 % more, the
system's calls aside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pgwire

if TYPE_CHECKING:
    from tests.support.loops import Runner

MOST = 29


async def test_what_a_query_goes_through_has_few_attributes(runner: Runner, dsn: str) -> None:
    async with pgwire.AsyncPool(dsn, min_size=1) as pool:
        await pool.query("select 1")
        async with pool.connect() as conn:
            await conn.query("select 1", timeout=10)
            driver = conn._driver
        engine = pool._engine
        for passed in (driver, driver.session, engine, engine.core, engine.queries):
            assert len(vars(passed)) <= MOST, passed
