"""Reckons how long a kernel takes on a core, without one: QEMU runs it, LLVM knows the core.

The score of a kernel, in cycles of one thread, adds up

- what llvm-mca expects of every block that ran, as often as it ran;
- a twentieth of a cycle for each instruction, for what no model of a core's ports knows;
- the lines of 64 bytes that the first and the second data cache did not have, as the plugin's
  caches count them, times what one costs.

The caches do not prefetch, and the costs are below the latencies for that reason. They were chosen
from what is published about the cores, and fitted to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import _aarch64
import _mca
import numpy as np
from _qemu import CODE, PROGRAMS, Counts, between, plugin

from tvmkd import targets
from tvmkd.base.errors import MissingError

GUEST = Path(__file__).with_name("_guest_kernels.py")
INSTRUCTION = 0.05


@dataclass(frozen=True)
class Machine:
    """A core and its caches.

    Attributes:
        architecture: of QEMU.
        cpu: QEMU's name.
        core: LLVM's.
        l1, l2: of data: bytes and ways.
        l1_miss, l2_miss: cycles that a line costs which only the second cache, or neither, has.
        hertz: cycles a second.
    """

    architecture: str
    cpu: str
    core: _mca.Core
    l1: tuple[int, int]
    l2: tuple[int, int]
    l1_miss: float
    l2_miss: float
    hertz: float


def _line(name: str) -> float:
    """Cycles that a line from memory costs, of a target file that says so."""
    facts = targets.load(name).cpu
    assert facts is not None
    assert facts.line is not None
    return facts.line


MACHINES = {
    # Memory: LPDDR4 with 64 bits on the Nano and 32 on the Pi; 16 bytes a cycle from the L2.
    "jetson-nano": Machine(
        "aarch64", "cortex-a57", _mca.CORES["cortex-a57"], (32 << 10, 2), (2 << 20, 16),
        8.0, _line("jetson-nano"), 1.43e9,
    ),
    "raspberry-pi-4": Machine(
        "aarch64", "cortex-a72", _mca.CORES["cortex-a72"], (32 << 10, 2), (1 << 20, 16),
        8.0, _line("raspberry-pi-4"), 1.5e9,
    ),
    # AMD's Zen 3 and 4: 32 bytes a cycle from the L2, a third cache behind it.
    "x86-64-v3": Machine(
        "x86_64", "max", _mca.CORES["znver3"], (32 << 10, 8), (1 << 20, 8),
        3.0, 12.0, 3.0e9,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Score:
    """What is known of one run of a kernel.

    Attributes:
        instructions: retired.
        mca: llvm-mca's cycles.
        l1_misses, l2_misses: lines.
        cycles: the score.
        seconds: the same at the core's clock.
        output: a weighted mean of the kernel's output, and its largest magnitude.
    """

    instructions: float
    mca: float
    l1_misses: float
    l2_misses: float
    cycles: float
    seconds: float
    output: list[float]


class Scorer:
    """A guest process that runs kernels one after the other. Use as a context manager.

    Args:
        machine: to run them on.
        folder: for the counts; its own, and empty.

    Raises:
        MissingError: what it needs is not here.
    """

    def __init__(self, machine: Machine, folder: Path) -> None:
        self._machine, self._counts = machine, folder / "counts"
        self._codes = np.empty(0, np.uint64)
        l1, l2 = (f"{size}:{ways}" for size, ways in (machine.l1, machine.l2))
        options = f"file={plugin()},counts={self._counts},l1={l1},l2={l2}"
        command = [PROGRAMS[machine.architecture], "-cpu", machine.cpu, "-plugin", options]
        env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"}
        env |= {"TVM_USE_RUNTIME_LIB": "1", "TVM_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        if machine.architecture == "aarch64":
            system = _aarch64.root(machine.cpu)
            env["PYTHONPATH"] = str(system / "site")
            command[3:3] = ["-L", str(system)]
            command += [str(system / "usr" / "bin" / f"python{_aarch64.PYTHON}"), str(GUEST)]
        else:
            command += [sys.executable, str(GUEST)]
        self._guest = subprocess.Popen(
            command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        while not self._counts.exists() or self._counts.stat().st_size < CODE:
            if self._guest.poll() is not None:
                raise MissingError(f"the guest ended with code {self._guest.returncode}")
            time.sleep(0.01)
        Counts.follow_caches(self._counts, False)
        self._answer()

    def __enter__(self) -> Scorer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._guest.kill()
        self._guest.wait()
        self._counts.unlink(missing_ok=True)

    def _answer(self) -> Any:
        assert self._guest.stdout is not None
        line = self._guest.stdout.readline()
        if not line:
            raise MissingError(f"the guest ended with code {self._guest.wait()}")
        return json.loads(line)

    def _say(self, text: str) -> None:
        assert self._guest.stdin is not None
        self._guest.stdin.write(text + "\n")
        self._guest.stdin.flush()

    def score(self, library: Path, args: Sequence[tuple[str, list[int]]]) -> Score | None:
        """The score of the kernel ``main`` of a library; None where it fails.

        Args:
            args: dtype and shape of each argument.
        """
        self._say(json.dumps({"library": str(library), "args": [list(arg) for arg in args]}))
        Counts.follow_caches(self._counts, True)
        warm = self._answer()
        if "output" not in warm:
            Counts.follow_caches(self._counts, False)
            return None
        start = Counts.read(self._counts)
        self._say("go")
        place = self._answer()
        end = Counts.read(self._counts)
        Counts.follow_caches(self._counts, False)
        if "error" in place:
            return None
        blocks = between(end, start)
        inside = (blocks["address"] >= place["first"]) & (blocks["address"] < place["last"])
        blocks = blocks[inside]
        with self._counts.open("rb") as file:
            parts = []
            ends = np.append(np.sort(end.blocks["code"]), _code_bytes(self._counts))
            for begin in blocks["code"]:
                file.seek(CODE + int(begin))
                after = ends[np.searchsorted(ends, begin, side="right")]
                parts.append(file.read(int(after - begin)))
        misses = end.l1_misses - start.l1_misses, end.l2_misses - start.l2_misses
        return self._joined(blocks, parts, *misses, warm["output"])

    def _joined(
        self,
        blocks: np.ndarray,
        parts: Sequence[bytes],
        l1_misses: float,
        l2_misses: float,
        output: list[float],
    ) -> Score:
        machine = self._machine
        retired = float((blocks["instructions"] * blocks["runs"]).sum())
        mca = float(_mca.expected(blocks, parts, machine.core).sum())
        cycles = mca + INSTRUCTION * retired
        cycles += machine.l1_miss * (l1_misses - l2_misses) + machine.l2_miss * l2_misses
        return Score(retired, mca, l1_misses, l2_misses, cycles, cycles / machine.hertz, output)


def _code_bytes(counts: Path) -> int:
    with counts.open("rb") as file:
        return int.from_bytes(file.read(16)[8:], "little")
