"""The server's side of an instance, with a process whose answers the test chooses."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from fake_models import MOST, layout, manifest, spec

from tvmkd.deploy.serving import worker as workers
from tvmkd.deploy.serving.call import Request
from tvmkd.deploy.serving.worker import Events, Program, Worker

X, Y = [spec("x")], [spec("y")]
INSTANCE = f"""#!{sys.executable}
import json, os, socket, sys
assert sys.argv[1:3] == ["-m", "tvmkd.deploy.serving.instance"]
given = json.loads(sys.argv[3])
control = socket.socket(fileno=given["control"])
kind = os.path.basename(given["folder"])
if kind == "exits":
    os._exit(3)  # at once: a process that closes its socket and tidies up for long is killed
if kind == "cannot":
    control.sendall(b'{{"error": "no ')
    control.sendall(b'library"}}\\n')
    sys.exit(1)
from tvmkd.base.manifest import Manifest
from tvmkd.deploy.serving.channel import HEAD, Channel
from tvmkd.deploy.serving.tensors import Layout, tensors
manifest = Manifest.model_validate(given["manifest"])
layout = Layout.of(
    tensors(manifest.inputs, ""), tensors(manifest.outputs, ""), HEAD, given["most"]
)
channel = Channel(layout, given["channel"])
control.sendall(b'{{"ready": true, "run_ns": 1234}}\\n')
while channel.wait(control.fileno(), given["spin_us"]):
    (source,), _ = channel.input_places()
    data = bytes(channel.view[source : source + 16])
    (place,) = channel.output_places([(1, 4)])
    channel.view[place : place + 16] = data[::-1]
    error = None
    if data[:5] == b"error":
        names = "TVM_NUM_THREADS", "OMP_NUM_THREADS"
        error = " ".join([os.environ[name] for name in names] + [str(given["cpus"])])
    channel.reply(5, 9, error)
    if data[:4] == b"dies":
        os.kill(os.getpid(), 9)
"""


@pytest.fixture(autouse=True)
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "instance"
    script.write_text(INSTANCE, encoding="utf-8")
    script.chmod(0o755)
    monkeypatch.setattr(workers.sys, "executable", str(script))


class Told:
    """What a worker reports, in turn."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    async def next(self) -> tuple[Any, ...]:
        return await asyncio.wait_for(self.queue.get(), 60)


def run(kind: str, steps: Callable[[Worker, Told], Awaitable[None]], spin_us: int = 0) -> None:
    """Runs steps with a started worker, and checks that nothing is left of it."""

    async def main() -> None:
        told = Told()
        events = Events(
            lambda _, nanoseconds: told.queue.put_nowait(("ready", nanoseconds)),
            lambda _, request: told.queue.put_nowait(("done", request)),
            lambda _, request, reason: told.queue.put_nowait(("died", request, reason)),
        )
        program = Program(Path(kind), manifest(X, Y), layout(X, Y), MOST, spin_us)
        worker = Worker(program, 0, (0, 2), 3, events)
        worker.start()
        process = worker.process
        assert process is not None
        try:
            await steps(worker, told)
        finally:
            await worker.stop()
        assert process.poll() is not None
        assert told.queue.empty()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(main())
    assert len(os.listdir("/proc/self/fd")) == before


def request(data: bytes) -> Request:
    return Request([data], [(1, 4)], 0, 0, asyncio.get_running_loop().create_future())


def test_requests_in_turn_and_the_end() -> None:
    async def steps(worker: Worker, told: Told) -> None:
        assert not worker.ready
        assert await told.next() == ("ready", 1234)
        assert worker.ready
        for number in range(3):
            asked = request(struct.pack("<iiii", 1, 2, 3, number))
            worker.run(asked)
            assert worker.request is asked
            assert asked.copied_ns >= worker.asked_ns > 0
            assert await told.next() == ("done", asked)
            assert worker.request is None
            assert worker.channel.answer()[:2] == (5, 9)
            outputs, shapes = worker.channel.outputs()
            assert outputs == [bytes(asked.inputs[0])[::-1]]
            assert list(shapes) == [(1, 4)]
        # An error of the model; here it tells what the process was given.
        worker.run(request(b"error" + bytes(11)))
        await told.next()
        assert worker.channel.answer()[3] == "3 3 [0, 2]"

    run("serves", steps)


def test_an_answer_that_is_looked_for_is_reported_once() -> None:
    async def steps(worker: Worker, told: Told) -> None:
        await told.next()
        asked = request(bytes(16))
        worker.run(asked)
        worker.look(60_000_000_000)
        assert told.queue.get_nowait() == ("done", asked)
        for _ in range(3):
            await asyncio.sleep(0)
        assert told.queue.empty()

    run("serves", steps, spin_us=100)


def test_an_answer_before_a_death_counts() -> None:
    async def steps(worker: Worker, told: Told) -> None:
        await told.next()
        asked = request(b"dies" + bytes(12))
        worker.run(asked)
        assert await told.next() == ("done", asked)
        assert await told.next() == ("died", None, "it was ended by signal 9")
        assert not worker.ready

    run("serves", steps)


def test_a_death_hands_the_request_back() -> None:
    async def steps(worker: Worker, told: Told) -> None:
        await told.next()
        assert worker.process is not None
        os.kill(worker.process.pid, signal.SIGSTOP)
        asked = request(bytes(16))
        worker.run(asked)
        worker.kill()
        assert await told.next() == ("died", asked, "it was ended by signal 9")
        assert worker.request is None
        # And it can be started again.
        worker.start()
        assert (await told.next())[0] == "ready"
        worker.run(again := request(bytes(16)))
        assert await told.next() == ("done", again)

    run("serves", steps)


@pytest.mark.parametrize(
    ("kind", "reason"), [("cannot", "no library"), ("exits", "it ended with exit code 3")]
)
def test_a_start_that_fails_says_why(kind: str, reason: str) -> None:
    async def steps(worker: Worker, told: Told) -> None:
        assert await told.next() == ("died", None, reason)

    run(kind, steps)


def test_stopping_reports_nothing() -> None:
    async def steps(worker: Worker, told: Told) -> None:
        await told.next()
        worker.run(request(bytes(16)))
        process = worker.process
        await worker.stop()
        assert process is not None
        assert process.returncode == 0, "it ended by itself"
        await worker.stop()  # twice is no mistake

    run("serves", steps)
