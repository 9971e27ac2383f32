#!/usr/bin/env python
"""What a server adds to a call, what it does under overload, and whether its memory grows.

``--server tvmkd`` is `tvmkd serve`; ``native`` is ``tvmkd-server`` with a standalone library, and
``script`` is ``serve.py`` with one.

Cost: the median over one connection that is kept (REST, binary tensors) less the median of the bare
call of the same artifact in a process of its own; both with one thread, pinned, in turns. Bar: 150
us.

Overload: requests arrive at random (Poisson) at twice the rate that one instance can carry, each
with a deadline, and no client waits for answers before it asks again. Bars: 99.9% of the accepted
requests are answered within their deadline, and 99% of the refusals come within 5 ms.

Soak (``--minutes``): the same load for so long; resident memory of server and instance at the end
over that after a fifth of the time. Bar: 1.02.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _common import Result, finish, parser
from _networks import EDGE12, NETWORKS, STUDENT, onnx_file

from tvmkd import artifact, targets
from tvmkd.base.runtimes import STANDALONE, TVM
from tvmkd.deploy import native_programs, serve_file
from tvmkd.stacks.compile import build
from tvmkd.timing.stats import percentile

ROOT = Path(__file__).resolve().parents[1]
BAR_COST_US, BAR_KEPT, BAR_REFUSED_MS, BAR_MEMORY = 150.0, 0.999, 5.0, 1.02
CONNECTIONS = 64
ALL = sorted(os.sched_getaffinity(0))
CPUS = ("--cpus", str(ALL[-1])) if len(ALL) > 1 else ()
"""The instance has the last CPU for itself; server and client share the others."""
BARE = """
import sys, time
import numpy as np
from tvmkd.artifact import load
model = load(sys.argv[1])
given = [np.ones(spec.shape, spec.dtype) for spec in model.manifest.inputs]
clock = time.perf_counter
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = clock()
        model.run(given)
        times.append(clock() - start)
    print(*times, flush=True)
"""


@contextlib.contextmanager
def bare(folder: Path) -> Iterator[Any]:
    """A function that runs the artifact in its own process and returns the seconds of each call."""
    process = subprocess.Popen(
        [sys.executable, "-c", BARE, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "TVM_NUM_THREADS": "1"},
    )
    os.sched_setaffinity(process.pid, {ALL[-1]})
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def calls(count: int) -> list[float]:
        stdin.write(f"{count}\n")
        stdin.flush()
        return [float(word) for word in stdout.readline().split()]

    try:
        yield calls
    finally:
        process.kill()
        process.communicate()


def command(folder: Path, kind: str) -> list[str]:
    """What starts a server of a kind, with an artifact."""
    if kind == "tvmkd":
        return [sys.executable, "-m", "tvmkd", "serve", str(folder), "--no-grpc"]
    library = str(folder / artifact.read(folder, verify=False).library)
    if kind == "native":
        return [str(native_programs.server_program(targets.load("host"))), library]
    serve_file.write(folder.parent / "serve.py")
    return [sys.executable, str(folder.parent / "serve.py"), library]


@contextlib.contextmanager
def server(folder: Path, kind: str, *options: str) -> Iterator[str]:
    """The URL of the server, with one thread and one instance."""
    common = ("--name", "model", "--threads", "1", "--http-port", "0", "--json", *CPUS, *options)
    process = subprocess.Popen(
        [*command(folder, kind), *common],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        preexec_fn=lambda: os.sched_setaffinity(0, ALL),
    )
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.terminate()
        process.communicate()


def request(folder: Path, timeout_us: int = 0) -> bytes:
    """The bytes of one inference."""
    inputs, size = [], 0
    for spec in artifact.read(folder, verify=False).inputs:
        count = 4 if spec.dtype == "float32" else 1
        for dim in spec.shape:
            count *= int(dim)
        datatype = "FP32" if spec.dtype == "float32" else "UINT8"
        inputs.append({"name": spec.name, "shape": spec.shape, "datatype": datatype,
                       "parameters": {"binary_data_size": count}})  # fmt: skip
        size += count
    parameters: dict[str, Any] = {"binary_data_output": True}
    if timeout_us:
        parameters["timeout"] = timeout_us
    head = json.dumps({"inputs": inputs, "parameters": parameters}).encode()
    return (
        b"POST /v2/models/model/infer HTTP/1.1\r\nHost: localhost\r\n"
        b"Inference-Header-Content-Length: %d\r\nContent-Length: %d\r\n\r\n"
        % (len(head), len(head) + size)
        + head
        + bytes(size)
    )


def address(url: str) -> tuple[str, int]:
    """Host and port."""
    host, _, port = url.rpartition("//")[2].rpartition(":")
    return host, int(port)


class Client:
    """One connection that is kept."""

    def __init__(self, url: str, raw: bytes) -> None:
        self._line = socket.create_connection(address(url), timeout=60)
        self._line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._raw = raw

    def calls(self, count: int) -> list[float]:
        """Seconds of each of ``count`` requests, one after the other."""
        times, clock = [], time.perf_counter
        for _ in range(count):
            start = clock()
            self._line.sendall(self._raw)
            data = self._line.recv(1 << 20)
            head, _, body = data.partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            while len(body) < length:
                body += self._line.recv(1 << 20)
            times.append(clock() - start)
            if not head.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"the server answers: {data[:300]!r}")
        return times


def cost(folder: Path, kind: str, rounds: int, name: str) -> Result:
    """What the server adds to a call, microseconds."""
    added, shown = [], []
    with bare(folder) as alone, server(folder, kind) as url:
        client = Client(url, request(folder))
        alone(200)
        client.calls(200)
        for _ in range(rounds):
            plain = statistics.median(alone(400))
            served = statistics.median(client.calls(400))
            added.append(1e6 * (served - plain))
            shown.append((1e6 * plain, 1e6 * served))
    plain, served = (statistics.median(side) for side in zip(*shown, strict=True))
    return Result(
        f"{name}: cost of a REST call, us", statistics.median(added), BAR_COST_US, ratios=added,
        note=f"bare {plain:.0f} us, over REST {served:.0f} us, medians",
        details={"bare_us": plain, "rest_us": served},
    )  # fmt: skip


@dataclass
class Load:
    """What a load has measured.

    Attributes:
        accepted, refused: seconds of each answer with 200, with 503.
        others: statuses that should not be.
    """

    accepted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: list[int] = field(default_factory=list)


async def overloaded(url: str, raw: bytes, rate: float, seconds: float) -> Load:
    """Requests at random times, ``rate`` a second, whether or not others are answered."""
    found = Load()
    free: asyncio.Queue[Any] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(*address(url), limit=1 << 22))
    tasks: set[asyncio.Task[None]] = set()

    async def one(line: Any) -> None:
        reader, writer = line
        start = time.perf_counter()
        writer.write(raw)
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        await reader.readexactly(length)
        took, status = time.perf_counter() - start, int(head[9:12])
        {200: found.accepted, 503: found.refused}.get(status, []).append(took)
        if status not in (200, 503):
            found.others.append(status)
        free.put_nowait(line)

    chance = random.Random(0)
    begin = at = time.perf_counter()
    while at < begin + seconds:
        at += chance.expovariate(rate)
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        task = asyncio.ensure_future(one(await free.get()))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    while not free.empty():
        free.get_nowait()[1].close()
    return found


def resident(url: str) -> float:
    """MiB of the server and its instances."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        lines = response.read().decode().splitlines()
    names = ("process_resident_memory_bytes", "tvmkd_instance_resident_memory_bytes")
    return sum(float(line.split()[-1]) for line in lines if line.startswith(names)) / 2**20


def errors(url: str) -> dict[str, float]:
    """Requests without a result, by kind: ``late`` at once, ``expired`` at their deadline."""
    with urllib.request.urlopen(f"{url}/metrics") as response:
        lines = response.read().decode().splitlines()
    pattern = re.compile(r'tvmkd_inference_errors_total{kind="(\w+)",model="model".*} (\S+)')
    return {found[1]: float(found[2]) for found in map(pattern.match, lines) if found}


def capacity(url: str, folder: Path) -> tuple[float, float]:
    """Requests a second that one instance can carry, and the median seconds of one."""
    client = Client(url, request(folder))
    client.calls(20)
    times = client.calls(max(50, int(2 / statistics.median(client.calls(20)))))
    # The fast half: on a machine with other work the mean would be too low a rate to overload it.
    median = statistics.median(times)
    fast = [took for took in times if took <= median]
    return len(fast) / sum(fast), median


def overload(folder: Path, kind: str, seconds: float, minutes: float, name: str) -> list[Result]:
    """Deadlines and refusals under twice the load that can be carried; and memory."""
    with server(folder, kind, "--queue", "1000") as url:
        rate, median = capacity(url, folder)
        deadline = max(0.05, 8 * median)
        raw = request(folder, round(1e6 * deadline))
        load = asyncio.run(overloaded(url, raw, 2 * rate, seconds))
        kept = sum(took <= deadline for took in load.accepted) / max(1, len(load.accepted))
        note = (
            f"deadline {1000 * deadline:.0f} ms, {2 * rate:.0f} requests/s: "
            f"{len(load.accepted)} accepted, {len(load.refused)} refused, "
            f"{len(load.others)} others"
        )
        why = ", ".join(f"{count:.0f} {kind}" for kind, count in errors(url).items())
        slow = 1000 * percentile(load.refused, 99) if load.refused else float("nan")
        latest = 1000 * max(load.accepted, default=0)
        found = [
            Result(f"{name}: accepted within the deadline, share", kept, BAR_KEPT, "higher",
                   note=f"{note}; the latest {latest:.1f} ms"),
            Result(f"{name}: p99 of refusals, ms", slow, BAR_REFUSED_MS,
                   note=f"median {1000 * percentile(load.refused, 50):.2f} ms; {why}"),
            Result(f"{name}: carried under overload over capacity",
                   len(load.accepted) / seconds / rate, None),
        ]  # fmt: skip
        if minutes:
            found.append(soak(url, raw, rate, minutes, name))
        return found


def soak(url: str, raw: bytes, rate: float, minutes: float, name: str) -> Result:
    """Memory at the end over memory after a fifth of the time."""
    sizes = []
    steps = 20
    for _ in range(steps):
        asyncio.run(overloaded(url, raw, 2 * rate, 60 * minutes / steps))
        sizes.append(resident(url))
    first = statistics.median(sizes[steps // 5 : steps // 5 + 3])
    last = statistics.median(sizes[-3:])
    return Result(
        f"{name}: memory after {minutes:g} minutes", last / first, BAR_MEMORY,
        note=f"{first:.1f} MiB, then {last:.1f}", details={"mib": sizes},
    )  # fmt: skip


def main() -> int:
    """Builds the artifacts for this machine and measures."""
    options = parser(__doc__ or "")
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--seconds", type=float, default=15, help="of overload")
    options.add_argument("--minutes", type=float, default=0, help="of soak; 0: none")
    options.add_argument("--cost", default=STUDENT, metavar="NETWORK", help="a small one")
    options.add_argument("--load", default="mobilenet_v2", metavar="NETWORK")
    options.add_argument("--server", choices=("tvmkd", "native", "script"), default="tvmkd")
    args = options.parse_args()
    runtime = TVM if args.server == "tvmkd" else STANDALONE
    os.sched_setaffinity(0, set(ALL[:-1]) or set(ALL))
    for network in (args.cost, args.load):
        if network not in NETWORKS | EDGE12:
            options.error(f"no such network: {network}; known: {', '.join(NETWORKS | EDGE12)}")
    with tempfile.TemporaryDirectory(prefix="tvmkd-serve-") as text:
        work = Path(text)
        folders = {}
        for network in dict.fromkeys((args.cost, args.load)):
            folders[network] = work / f"{network}-artifact"
            host = targets.load("host")
            build(onnx_file(network, work), host, [], folders[network], runtime=runtime)
        rows = [cost(folders[args.cost], args.server, args.rounds, args.cost)]
        rows += overload(folders[args.load], args.server, args.seconds, args.minutes, args.load)
    return finish(rows, args.json)


if __name__ == "__main__":
    sys.exit(main())
