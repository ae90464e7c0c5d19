"""Forks while an asyncio pool is there: a child starts empty, in a loop of its own. I-34.

Each test is a program of its own, so that the run of the tests is not what is forked.
"""

from __future__ import annotations

import os
import textwrap

import pytest

from tests.pool.support import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")

FORK = """
    import asyncio, uvloop

    def in_child(function):
        "What the function returns in a forked child, as text; it must end well."
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # there may be threads: on purpose
            child = os.fork()
        if not child:
            try:
                os.write(writing, str(function()).encode())
            except BaseException as error:
                os.write(writing, repr(error).encode())
            os._exit(0)
        os.close(writing)
        with open(reading) as pipe:
            answer = pipe.read()
        assert os.waitpid(child, 0)[1] == 0
        return answer

    async def pid(who):
        return (await who.query("select pg_backend_pid()")).scalar()
"""


def run(script: str, dsn: str, loop: str = "asyncio") -> list[str]:
    end = f"\nwith asyncio.Runner(loop_factory={loop}.new_event_loop) as runner:\n"
    end += "    runner.run(main())\n"
    whole = textwrap.dedent(FORK) + textwrap.dedent(script) + end
    return run_script(whole, dsn, "-W", "error").splitlines()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_child_starts_empty_and_opens_its_own(dsn: str, loop: str) -> None:
    """Forked in the midst of a coroutine: in the child no loop is running."""
    out = run(
        """
        async def main():
            async with pgwire.AsyncPool(DSN, max_size=2) as pool:
                own = await pid(pool)
                waiting = [pool.query("select pg_sleep(0.05)") for _ in range(4)]

                async def child():
                    before = pool.total_count, pool.waiting_count
                    async with pool:
                        new = await pid(pool)
                    return before, new != own, pool.total_count

                print(in_child(lambda: asyncio.run(child())))
                await asyncio.gather(*waiting)
                print(pool.stats().opened <= 2, await pid(pool) == own or pool.total_count == 2)
        """,
        dsn,
        loop,
    )
    assert out == ["((0, 0), True, 0)", "True True"]


def test_an_inherited_lease_raises_and_its_release_does_nothing(dsn: str) -> None:
    out = run(
        """
        async def main():
            async with pgwire.AsyncPool(DSN, max_size=1) as pool:
                async with pool.connect() as lease:
                    own = await pid(lease)

                    async def child():
                        try:
                            await lease.query("select 1")
                        except pgwire.InterfaceError:
                            lease.release()
                        async with pool:
                            return (await pool.query("select 7")).scalar()

                    print(in_child(lambda: asyncio.run(child())))
                    print(await pid(lease) == own)
                print(await pid(pool) == own)
        """,
        dsn,
    )
    assert out == ["7", "True", "True"]


@pytest.mark.parametrize(
    "use",
    [
        "asyncio.run(pool.end())",
        "asyncio.run(pool.end(timeout=0))",
        "leases.clear()",  # lost: no warning either, as it is not the child's
        "leases[0].release(discard=True)",
        "asyncio.run(leases[0].close())",
        "gc.collect()",
        "sys.exit(0)",
    ],
)
def test_nothing_that_a_child_does_reaches_the_parents_sessions(dsn: str, use: str) -> None:
    out = run(
        f"""
        async def main():
            async with pgwire.AsyncPool(DSN, max_size=2) as pool:
                leases = [await pool.connect(), await pool.connect()]
                idle = leases.pop()
                pids = [await pid(leases[0]), await pid(idle)]
                idle.release()

                def child():
                    {use}

                in_child(child)
                print(await pid(leases[0]) == pids[0])
                print(await pid(pool) == pids[1])
                leases[0].release()
        """,
        dsn,
    )
    assert out == ["True", "True"]


def test_a_pool_that_has_ended_has_ended_in_the_child(dsn: str) -> None:
    out = run(
        """
        async def main():
            pool = pgwire.AsyncPool(DSN)
            await pid(pool)
            await pool.end()

            async def child():
                return type(pool.query("select 1").exception()).__name__

            print(in_child(lambda: asyncio.run(child())))
        """,
        dsn,
    )
    assert out == ["PoolClosed"]


@pytest.mark.parametrize(
    ("use", "loop"),
    [
        ("asyncio.run(give_up(pool))", "asyncio"),
        ("asyncio.run(give_up(pool))", "uvloop"),
        ("[query.cancel() for query in waiting]; asyncio.run(asyncio.sleep(0))", "asyncio"),
        ("asyncio.run(asyncio.wait_for(waiting[0], 0.01))", "asyncio"),
        ("asyncio.run(pool.end(timeout=0))", "asyncio"),
    ],
)
def test_openings_and_requests_that_wait_stay_with_the_parent(
    dsn: str, use: str, loop: str
) -> None:
    """Whatever the child does with its pool, or with the parent's futures: they go on there."""
    out = run(
        f"""
        from tests.support.proxy import Proxy
        from urllib.parse import urlsplit

        async def give_up(pool):
            "Its own opening stands before the proxy as well."
            assert (pool.total_count, pool.waiting_count) == (0, 0)
            try:
                await pool.query("select 1", timeout=0.01)
            except pgwire.PoolTimeout:
                assert pool.stats().opening == 1
            try:
                await pool.end(timeout=0.01)
            except pgwire.PoolTimeout:
                assert pool.total_count == 0

        async def main():
            url = urlsplit(DSN)
            with Proxy(url.hostname, url.port) as proxy:
                async with pgwire.AsyncPool(proxy.dsn(DSN), max_size=3, max_opening=2) as pool:
                    lease = await pool.connect()
                    proxy.hold()
                    waiting = [pool.query("select $1::int", [n]) for n in range(5)]
                    while proxy.accepted < 3:
                        await asyncio.sleep(0.001)

                    def child():
                        counts = pool.total_count, pool.waiting_count
                        try:
                            {use}
                        except ValueError:  # the futures are another loop's
                            pass
                        return counts

                    print(in_child(child))
                    print(pool.total_count, pool.waiting_count)
                    proxy.flow()
                    print([(await query).scalar() for query in waiting], pool.stats().open_failures)
                    print((await lease.query("select 7")).scalar())
                    lease.release()
        """,
        dsn,
        loop,
    )
    assert out == ["(0, 0)", "3 5", "[0, 1, 2, 3, 4] 0", "7"]
