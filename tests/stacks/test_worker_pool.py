"""Which worker a client gets, with processes that only answer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tvmkd.base.errors import TvmkdError
from tvmkd.stacks import worker_pool
from tvmkd.stacks.worker_pool import Pool

SCRIPT = """
from tvmkd.base.wire import serve

def fail(params, emit):
    raise ValueError("no")

def ask(params, emit):
    emit("asked", {})
    return 1

serve({"ask": ask, "fail": fail, "end": lambda params, emit: exit(3)})
"""
ARGV = [sys.executable, "-c", SCRIPT]


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.close()


def used(pool: Pool, env: dict[str, str] | None = None, argv: list[str] = ARGV) -> int:
    """The process id of a worker that answered one call and went back."""
    with pool.child(argv, env) as child:
        assert child.call("ask", timeout=60) == 1
        return child.pid


def test_only_an_equal_worker_is_used_again(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = used(pool)
    assert used(pool) == first
    assert used(pool, {"MARK": "1"}) != first
    assert used(pool) == first
    monkeypatch.setenv("MARK", "2")
    assert used(pool) != first
    monkeypatch.delenv("MARK")
    monkeypatch.chdir(tmp_path)
    assert used(pool) != first


def test_two_clients_at_once_have_two_workers(pool: Pool) -> None:
    with pool.child(ARGV) as first, pool.child(ARGV) as second:
        assert first.pid != second.pid


def test_a_worker_that_reported_an_error_is_used_again(pool: Pool) -> None:
    with pool.child(ARGV) as child, pytest.raises(TvmkdError):
        child.call("fail", timeout=60)
    assert used(pool) == child.pid


@pytest.mark.parametrize("spoil", ["died", "interrupted", "busy"])
def test_a_worker_that_may_be_spoilt_is_ended(pool: Pool, spoil: str) -> None:
    with pool.child(ARGV) as child:
        child.call("ask", timeout=60)
        if spoil == "died":
            with pytest.raises(TvmkdError):
                child.call("end", timeout=60)
        elif spoil == "interrupted":
            child.interrupt()
        else:

            def leave(_event: str, _data: dict[str, object]) -> None:
                raise RuntimeError

            with pytest.raises(RuntimeError):
                child.call("ask", timeout=60, on_event=leave)
    assert not running(child.pid)
    assert used(pool) != child.pid


def test_a_worker_that_died_while_it_was_idle_is_replaced(pool: Pool) -> None:
    with pool.child(ARGV) as child:
        child.call("ask", timeout=60)
    child.kill()
    assert used(pool) != child.pid


def test_the_oldest_idle_worker_is_ended_when_there_are_too_many(pool: Pool) -> None:
    pids = [used(pool, {"MARK": str(number)}) for number in range(worker_pool.KEPT + 1)]
    assert [running(pid) for pid in pids] == [False, True, True]
    pool.close()
    assert not any(map(running, pids))


def test_workers_are_shared_inside_the_block_only() -> None:
    def pid() -> int:
        with worker_pool.start(ARGV) as child:
            child.call("ask", timeout=60)
            return child.pid

    alone = pid()
    assert not running(alone)
    with worker_pool.shared():
        first = pid()
        with worker_pool.shared():
            assert pid() == first
        assert pid() == first
        assert running(first)
    assert not running(first)


def test_a_pool_from_outside_outlives_the_block(pool: Pool) -> None:
    with worker_pool.shared(pool), worker_pool.start(ARGV) as child:
        child.call("ask", timeout=60)
    assert running(child.pid)
    with worker_pool.shared(), worker_pool.start(ARGV) as other:
        other.call("ask", timeout=60)
    assert other.pid != child.pid
    assert not running(other.pid)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
