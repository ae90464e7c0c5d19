"""Cancellation at every point where a coroutine of the asyncio pool may be suspended. I-19 to I-22.

`tests.support.sweep` cancels at the k-th suspension, for every k, at once, when what was waited for
has just come, and again and again. Whatever happens: CancelledError surfaces, no task is left, the
connections that are open are idle, and the next user finds a session without a past.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.aio.support import SLEEP, ask, pool, start, step, until
from tests.support.guards import go_on
from tests.support.sweep import Cut, How, sweep

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.loops import Runner

    Work = Callable[[pgwire.AsyncPool], Awaitable[Any]]

NAME = "sweep"


async def all_is_back(p: pgwire.AsyncPool, most: int) -> None:
    """I-1 to I-6, and I-23: nothing is lost, and everything is clean."""
    await until(lambda: not (p.stats().leased or p.stats().shared or p.stats().resetting))
    await until(lambda: not (p.stats().opening or p.stats().closing or p.stats().checking))
    stats = p.stats()
    assert stats.idle == stats.size <= most
    assert stats.granted == stats.released
    assert not p._engine.leases
    leases = [await p.connect() for _ in range(most)]  # all that it may have, it can have
    try:
        for number, lease in enumerate(leases):
            assert lease.transaction_status is pgwire.TransactionStatus.IDLE
            assert (await lease.query("select $1::int", [number])).scalar() == number
            assert (await lease.query("show application_name")).scalar() == NAME
    finally:
        for lease in leases:
            lease.release()


async def lease_by_hand(p: pgwire.AsyncPool) -> None:
    lease = await p.connect()
    try:
        await lease.query("set application_name = 'spoiled'")
    finally:
        lease.release()


async def lease_by_block(p: pgwire.AsyncPool) -> None:
    async with p.connect() as conn:
        await conn.query("begin")
        await conn.script("create temp table spoiled (a int)")


async def two_leases(p: pgwire.AsyncPool) -> None:
    async with p.connect() as one, p.connect() as other:
        await asyncio.gather(one.query("select 1"), other.query("select 2"))


async def transaction(p: pgwire.AsyncPool) -> None:
    async with p.transaction() as conn:
        await conn.query("set application_name = 'spoiled'")
        async with conn.transaction():
            await conn.query("select 1")


async def run_transaction(p: pgwire.AsyncPool) -> None:
    async def work(conn: pgwire.AsyncLease) -> None:
        await conn.query("select set_config('application_name', 'spoiled', false)")
        attempts.append(1)
        if len(attempts) == 1:
            await conn.script("do $$ begin raise serialization_failure; end $$")

    attempts: list[int] = []
    await p.run_transaction(work)


async def query_many(p: pgwire.AsyncPool) -> None:
    result = await p.query_many("select $1::int", [[n] for n in range(10)])
    assert result.scalars() == list(range(10))


async def statement(p: pgwire.AsyncPool) -> None:
    async with p.connect() as conn:
        prepared = await conn.prepare("select $1::int")
        await prepared.query([1])
        await prepared.query_many([[1], [2]])
        await prepared.close()


async def end_of_a_lease(p: pgwire.AsyncPool) -> None:
    conn = await p.connect()
    try:
        await conn.query("select 1")
    finally:
        await conn.close()


SCENARIOS: dict[str, Work] = {
    "query": lambda p: p.query("select 1"),
    "query that changes": lambda p: p.query("set application_name = 'spoiled'"),
    "begin": lambda p: p.query("begin"),
    "query that fails": lambda p: suppressed(p.query("select 1/0")),
    "query with a timeout": lambda p: p.query("select 1", timeout=30),
    "query_many": query_many,
    "lease by hand": lease_by_hand,
    "lease by block": lease_by_block,
    "two leases": two_leases,
    "transaction": transaction,
    "run_transaction": run_transaction,
    "statement": statement,
    "close": end_of_a_lease,
    "wait": lambda p: p.wait(),
    "ping": lambda p: with_lease(p, lambda conn: conn.ping()),
    "cancel": lambda p: with_lease(p, lambda conn: conn.cancel()),
}


async def with_lease(
    p: pgwire.AsyncPool, use: Callable[[pgwire.AsyncLease], Awaitable[Any]]
) -> None:
    async with p.connect() as conn:
        await use(conn)


async def suppressed(work: Awaitable[Any]) -> None:
    with suppress(pgwire.PostgresError):
        await work


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SCENARIOS))
@pytest.mark.parametrize("warm", [True, False], ids=["warm", "cold"])
async def test_every_suspension(dsn: str, name: str, warm: bool) -> None:
    """On an idle connection, and where one has to be opened first."""
    ways = tuple(How) if warm else (How.AT_ONCE, How.AT_WAKING)

    async def scenario(cut: Cut) -> None:
        if not warm:
            p.expire()
            await until(lambda: p.total_count == 0)
        await cut(SCENARIOS[name](p))
        await all_is_back(p, 2)

    async with pool(dsn, max_size=2, application_name=NAME) as p:
        await all_is_back(p, 2)
        # A pool that has something open need not wait for it.
        assert await sweep(scenario, ways) > 0 or (name, warm) == ("wait", True)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["query", "lease by hand", "transaction", "two leases"])
async def test_every_suspension_with_hooks(dsn: str, name: str) -> None:
    async def hook(conn: pgwire.AsyncConnection) -> None:
        await conn.query("set application_name = 'sweep'")
        await asyncio.sleep(0)

    async def scenario(cut: Cut) -> None:
        p.expire()
        await until(lambda: p.total_count == 0)
        await cut(SCENARIOS[name](p))
        await all_is_back(p, 2)

    options = {"on_connect": hook, "reset": hook}
    async with pool(dsn, max_size=2, application_name=NAME, **options) as p:
        assert await sweep(scenario, (How.AT_ONCE,)) > 0


@pytest.mark.parametrize("name", ["query", "query_many", "lease by hand", "transaction"])
async def test_every_suspension_in_the_queue(dsn: str, name: str) -> None:
    """I-20: a cancellation that meets the grant passes the connection on to the next in line."""

    async def scenario(cut: Cut) -> None:
        held = await p.connect()
        cutting = start(cut(SCENARIOS[name](p)))
        await step()
        behind = p.query("select 'behind'")
        held.release()
        await cutting
        assert (await behind).scalar() == "behind"
        await all_is_back(p, 1)

    async with pool(dsn, max_size=1, checkout_timeout=None, application_name=NAME) as p:
        await all_is_back(p, 1)
        assert await sweep(scenario) > 0


@pytest.mark.parametrize("timeout", [None, 20])
@pytest.mark.parametrize("work", ["idle", "leased", "opening"])
async def test_every_suspension_of_the_end(dsn: str, timeout: float | None, work: str) -> None:
    """I-22: it is not undone."""

    async def scenario(cut: Cut) -> None:
        p = pgwire.AsyncPool(dsn, max_size=2)
        future = p.query("select 1")
        if work != "opening":
            await future
        lease = await p.connect() if work == "leased" else None
        if lease is not None:
            asyncio.get_running_loop().call_later(0.005, lease.release)
        await cut(start(p.end(timeout)) if lease is None else by_another_task(p, timeout))
        assert isinstance(p.query("select 1").exception(), pgwire.PoolClosed)
        assert (await future).scalar() == 1
        await until(lambda: p.total_count == 0)
        await p.end()

    await sweep(scenario)


async def by_another_task(p: pgwire.AsyncPool, timeout: float | None) -> None:
    await p.end(timeout)


# ------------------------------------------------------------------ what a cancelled task leaves


async def test_a_query_that_runs_is_cancelled_on_the_server(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        await ask(p, 0)
        (pid,) = [c.session.backend_key.pid for c in p._engine.core.connections()]  # type: ignore[union-attr]
        task = start(p.query(SLEEP, [1]))
        await step()
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(20):
            assert (await p.query("select pg_backend_pid()")).scalar() == pid


async def test_a_cancelled_query_in_the_queue_leaves_it(dsn: str) -> None:
    async with pool(dsn, max_size=1) as p:
        held = await p.connect()
        futures = [p.query("select $1::int", [n]) for n in range(5)]
        assert futures[1].cancel()
        assert futures[3].cancel()
        assert not futures[3].cancel()
        assert p.waiting_count == 3
        held.release()
        answers = await asyncio.gather(*futures, return_exceptions=True)
        assert [type(a).__name__ for a in answers] == [
            *("Result", "CancelledError", "Result", "CancelledError", "Result"),
        ]
        assert p.stats().abandoned == 2


async def test_a_transaction_of_a_cancelled_task_is_rolled_back(dsn: str) -> None:
    async with pool(dsn, max_size=2) as p:
        await p.query("drop table if exists cancelled_tx")
        await p.query("create table cancelled_tx (a int)")
        try:

            async def work() -> None:
                async with p.transaction() as conn:
                    await conn.query("insert into cancelled_tx values (1)")
                    inserted.set()
                    await conn.query(SLEEP, [1])

            inserted = asyncio.Event()
            task = start(work())
            await inserted.wait()
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await p.query("select count(*) from cancelled_tx")).scalar() == 0
            await until(lambda: not p.stats().leased)
        finally:
            await p.query("drop table cancelled_tx")


# ------------------------------------------------------------------ a storm

SECONDS = float(os.environ.get("PGWIRE_STORM_SECONDS", "1.0"))


class Storm:
    """Tasks that ask for their own answers, and are cancelled at any moment."""

    def __init__(self, p: pgwire.AsyncPool, seed: str) -> None:
        self.pool = p
        self.dice = random.Random(seed)
        self.asked = self.answered = self.cancelled = 0

    async def ask(self, who: Any) -> None:
        self.asked += 1
        marker = self.asked
        got = (await who.query("select $1::int8", [marker])).scalar()
        assert got == marker, f"asked for {marker}, got {got}"
        self.answered += 1

    async def query(self) -> None:
        await self.ask(self.pool)

    async def slow(self) -> None:
        await self.pool.query("select pg_sleep(0.002)")

    async def lease(self) -> None:
        async with self.pool.connect() as conn:
            assert conn.transaction_status is pgwire.TransactionStatus.IDLE
            assert (await conn.query("show application_name")).scalar() == NAME
            await conn.query("set application_name = 'spoiled'")
            await self.ask(conn)

    async def transaction(self) -> None:
        async with self.pool.transaction() as conn:
            await self.ask(conn)

    async def many(self) -> None:
        result = await self.pool.query_many("select $1::int", [[n] for n in range(5)])
        assert result.scalars() == list(range(5))

    async def mistake(self) -> None:
        with suppress(pgwire.errors.DivisionByZero):
            await self.pool.query("select 1 / $1::int", [0])

    async def one(self) -> None:
        choices = [*[self.query] * 8, self.slow, self.lease, self.transaction, self.many]
        task = asyncio.ensure_future(self.dice.choice([*choices, self.mistake])())
        moment = self.dice.choice([0, 0, 0.0005, 0.002, None])
        if moment is not None:
            for _ in range(self.dice.randrange(4)):
                await asyncio.sleep(moment)
            wanted = task.cancel()
            await asyncio.wait((task,))
            assert task.cancelled() == wanted, f"a cancellation was lost: {task!r}"
            self.cancelled += wanted
            if wanted:
                return
        await task

    async def user(self, until_when: float) -> None:
        """Until then, and until there was enough of everything on a machine that is busy."""
        while asyncio.get_running_loop().time() < until_when or not self.is_enough:
            await self.one()

    @property
    def is_enough(self) -> bool:
        return min(self.cancelled, self.answered) > 20


@pytest.mark.slow
@pytest.mark.parametrize("max_pipeline", [1, 8])
async def test_a_storm_of_cancellations(dsn: str, max_pipeline: int) -> None:
    """0 cancellations lost, 0 connections leaked, every answer its own. PGWIRE_STORM_SECONDS."""
    seed = os.environ.get("PGWIRE_STORM_SEED") or str(random.randrange(1 << 32))
    print("PGWIRE_STORM_SEED =", seed)
    go_on(SECONDS + 30)  # in place of `watch`
    options = {"max_size": 4, "max_pipeline": max_pipeline, "application_name": NAME}
    p = pgwire.AsyncPool(dsn, **options)  # type: ignore[arg-type]
    async with asyncio.timeout(SECONDS + 20), p:
        storm = Storm(p, seed)
        limit = asyncio.get_running_loop().time() + SECONDS
        await asyncio.gather(*[storm.user(limit) for _ in range(24)])
        assert storm.is_enough
        await all_is_back(p, 4)


# ------------------------------------------------------------------ Ctrl-C


def test_ctrl_c_in_a_program_that_runs_cancels_its_main_task(dsn: str, runner: Runner) -> None:
    """I-19 to I-22: and what is true of that is true of Ctrl-C."""

    async def main() -> None:
        async with pool(dsn, max_size=1, application_name=NAME) as p:
            query, other = p.query(SLEEP, [60]), p.query("select 1")
            await until(lambda: p.waiting_count == 1)
            signal.raise_signal(signal.SIGINT)
            try:
                await query
            finally:
                assert (await other).scalar() == 1
                await all_is_back(p, 1)

    make_loop = type(runner.loop)
    with asyncio.Runner(loop_factory=make_loop) as program, pytest.raises(KeyboardInterrupt):
        program.run(main())
