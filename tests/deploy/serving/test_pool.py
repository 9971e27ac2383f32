"""A pool of instances in this process: what the server's own tests cannot wait for."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tvmkd import artifact
from tvmkd.deploy.serving.call import Request
from tvmkd.deploy.serving.channel import HEAD
from tvmkd.deploy.serving.faults import RequestFault
from tvmkd.deploy.serving.limits import Limits
from tvmkd.deploy.serving.pool import Pool
from tvmkd.deploy.serving.statistics import Statistics
from tvmkd.deploy.serving.tensors import Layout, tensors
from tvmkd.deploy.serving.worker import Program


def program(folder: Path) -> Program:
    manifest = artifact.read(folder)
    layout = Layout.of(
        tensors(manifest.inputs, "toy"), tensors(manifest.outputs, "toy"), HEAD, 1 << 20
    )
    return Program(folder, manifest, layout, 1 << 20)


def request(deadline_s: float = 0) -> Request:
    now = time.monotonic_ns()
    values = np.arange(4, dtype=np.float32).tobytes()
    deadline = now + int(1e9 * deadline_s) if deadline_s else 0
    future = asyncio.get_running_loop().create_future()
    return Request([values, values], [(1, 4), (1, 4)], now, deadline, future)


def running(folder: Path, limits: Limits, steps: Any) -> Any:
    """Runs ``steps(pool)`` with a started pool."""

    async def main() -> Any:
        pool = Pool(program(folder), limits, "model 'toy'", Statistics())
        await pool.start()
        try:
            return await asyncio.wait_for(steps(pool), 60)
        finally:
            await pool.close()

    return asyncio.run(main())


def test_a_hung_instance_is_killed_and_started_again(toy: Path) -> None:
    async def steps(pool: Pool) -> None:
        process = pool.workers[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        hung, waiting = request(), request()
        pool.submit(hung)
        pool.submit(waiting)
        with pytest.raises(RequestFault, match="the instance crashed"):
            await hung.future
        result = await waiting.future
        assert np.frombuffer(result.outputs[0], np.float32).tolist() == [0, 2, 4, 6]
        assert pool.statistics.restarts == 1
        assert process.poll() == -signal.SIGKILL

    running(toy, Limits(hang_s=0.5), steps)


def test_a_pool_that_ends_takes_no_more_and_finishes_the_rest(toy: Path) -> None:
    async def steps(pool: Pool) -> None:
        many = [request() for _ in range(5)]
        for each in many:
            pool.submit(each)
        draining = asyncio.ensure_future(pool.drain(30))
        await asyncio.sleep(0)
        with pytest.raises(RequestFault, match="is being unloaded") as error:
            pool.submit(request())
        assert error.value.status == 503
        await draining
        assert all(each.future.done() for each in many)
        assert [len((await each.future).outputs) for each in many] == [2] * 5

    running(toy, Limits(), steps)


def test_what_is_left_at_the_end_fails(toy: Path) -> None:
    async def steps(pool: Pool) -> Request:
        process = pool.workers[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        left = [request(), request()]
        for each in left:
            pool.submit(each)
        await pool.drain(0.1)
        os.kill(process.pid, signal.SIGCONT)
        await pool.close()
        return left[1]

    left = running(toy, Limits(), steps)
    assert isinstance(left.future.exception(), RequestFault)
    assert left.future.exception().kind == "stopping"


def test_late_by_the_estimate_is_refused_at_once(toy: Path) -> None:
    async def steps(pool: Pool) -> None:
        process = pool.workers[0].process
        assert process is not None
        os.kill(process.pid, signal.SIGSTOP)
        pool.service.mean, pool.service.deviation = 1e8, 0.0  # 100 ms
        taken, refused = [], []
        for number in range(10):
            new = request(0.45)
            start = time.monotonic()
            try:
                pool.submit(new)
                taken.append(number)
            except RequestFault as fault:
                refused.append((fault.kind, fault.retry_after, time.monotonic() - start < 0.005))
        assert taken == [0, 1, 2, 3]
        assert refused == [("late", 1, True)] * 6
        with pytest.raises(RequestFault, match="3 requests wait, so this one would miss"):
            pool.submit(request(0.45))
        pool.waiting.clear()
        with pytest.raises(RequestFault, match=r"no instance is free, and a call would take about"):
            pool.submit(request(0.05))
        os.kill(process.pid, signal.SIGCONT)

    running(toy, Limits(), steps)


def test_an_artifact_that_cannot_be_loaded_fails_the_start(toy: Path, tmp_path: Path) -> None:
    async def main() -> None:
        good = program(toy)
        pool = Pool(
            Program(tmp_path, good.manifest, good.layout, good.most), Limits(), "x", Statistics()
        )
        with pytest.raises(RequestFault, match="not an artifact"):
            await pool.start()
        assert pool.workers[0].process is None

    asyncio.run(main())
