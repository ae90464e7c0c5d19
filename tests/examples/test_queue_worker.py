"""examples/queue_worker.py: every job is done once, whatever is killed, lost, or fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import pgwire
from tests.pool.support import PATIENCE, ROOT, Thread, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

SCRIPT = "examples/queue_worker.py"
NAME = "queue_worker"


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    import queue_worker

    monkeypatch.setattr(queue_worker, "POLL", 3600.0)  # nothing is found by chance
    module: ModuleType = queue_worker
    return module


@pytest.fixture
def admin(dsn: str, example: ModuleType) -> Iterator[pgwire.Pool]:
    with pgwire.Pool(dsn) as pool:
        pool.query("drop table if exists jobs")
        pool.query(example.SCHEMA)
        pool.query("create table if not exists done (what int)")
        pool.query("truncate done")
        yield pool
        pool.query("drop table jobs")
        pool.query("drop table done")


class Worker:
    """One in a thread, that writes down what it does."""

    def __init__(self, example: ModuleType, dsn: str, do: Any = None) -> None:
        self.pool = pgwire.Pool(dsn, max_size=3, application_name=NAME)
        self.jobs = self.pool.listen("jobs")
        self.thread = Thread(lambda: example.work(self.pool, do or record, self.jobs))

    def __enter__(self) -> None:
        pass

    def __exit__(self, *why: object) -> None:
        self.jobs.close()
        self.thread.outcome()
        self.pool.end(timeout=PATIENCE)


def record(conn: Any, what: int) -> None:
    conn.query("insert into done values ($1)", [what])


def done(admin: pgwire.Pool) -> list[int]:
    found: list[int] = admin.query("select what from done order by what").scalars()
    return found


def queued(admin: pgwire.Pool) -> int:
    count: int = admin.query("select count(*) from jobs").scalar()
    return count


def kill_workers(admin: pgwire.Pool) -> None:
    admin.query(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = $1",
        [NAME],
    )


def test_what_was_there_before_is_done(dsn: str, example: ModuleType, admin: pgwire.Pool) -> None:
    for n in range(5):
        example.put(admin, n)
    with Worker(example, dsn):
        until(lambda: done(admin) == [0, 1, 2, 3, 4])
    assert queued(admin) == 0


def test_each_is_done_once_by_one_of_several(
    dsn: str, example: ModuleType, admin: pgwire.Pool
) -> None:
    with Worker(example, dsn), Worker(example, dsn), Worker(example, dsn):
        for n in range(100):
            example.put(admin, n)
        until(lambda: queued(admin) == 0)
        assert done(admin) == list(range(100))


def test_each_is_done_once_whoever_is_killed(
    dsn: str, example: ModuleType, admin: pgwire.Pool
) -> None:
    with Worker(example, dsn), Worker(example, dsn):
        for n in range(100):
            example.put(admin, n)
            if n % 20 == 10:
                kill_workers(admin)
        until(lambda: queued(admin) == 0)
        assert done(admin) == list(range(100))


def test_after_a_gap_it_looks(dsn: str, example: ModuleType, admin: pgwire.Pool) -> None:
    """Nobody has said anything of this job: its notification was lost, say."""
    with Worker(example, dsn):
        example.put(admin, 1)
        until(lambda: done(admin) == [1])
        admin.query("insert into jobs (what) values ('2')")
        kill_workers(admin)
        until(lambda: done(admin) == [1, 2])


def test_one_that_fails_is_undone_and_tried_again_later(
    dsn: str, example: ModuleType, admin: pgwire.Pool
) -> None:
    def do(conn: Any, what: int) -> None:
        record(conn, what)
        if what == 1:
            raise LookupError("one")

    with Worker(example, dsn, do):
        for n in range(3):
            example.put(admin, n)
        until(lambda: done(admin) == [0, 2])
    row = admin.query("select attempts, error, due > now() as later from jobs").one()
    assert row == (1, "LookupError('one')", True)


def run(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ,
    )


def test_as_a_program(dsn: str, admin: pgwire.Pool) -> None:
    worker = run(dsn, "work")
    try:
        putter = run(dsn, "put", json.dumps({"to": "ada"}))
        assert putter.communicate(timeout=PATIENCE) == ("1\n", "")
        assert worker.stdout is not None
        assert worker.stdout.readline() == "{'to': 'ada'}\n"
        worker.send_signal(signal.SIGINT)
        assert worker.communicate(timeout=PATIENCE) == ("", "")
        assert worker.returncode == 0
    finally:
        worker.kill()
        worker.wait()


def test_what_makes_no_sense() -> None:
    process = run("dbname=nowhere", "dance")
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 1
    assert "A queue in a table" in complaint
