"""What this machine can do at most: the two limits of the roofline model, measured now.

(Williams, Waterman and Patterson, *Roofline: an insightful visual performance model*, 2009.)
"""

from __future__ import annotations

import ctypes
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tvmkd.base import native

SOURCE = Path(__file__).with_name("native") / "roofline.c"
FLAGS = ["-O3", "-march=native"]
"""Not -ffast-math: gcc then links code that turns denormals off in the whole process."""
ROUNDS = 1_000_000
FLOATS = 1 << 25
"""Of one thread's array: 128 MB, more than a cache holds."""
REPEATS = 7


@dataclass(frozen=True)
class Roofline:
    """The limits of a number of threads.

    Attributes:
        gflops: GFLOP/s of independent multiply-adds in registers.
        gbps: GB/s read from memory in order.
        threads: how many.
    """

    gflops: float
    gbps: float
    threads: int

    def limit(self, intensity: float) -> float:
        """GFLOP/s that are possible with ``intensity`` operations for each byte."""
        return min(self.gflops, self.gbps * intensity)


def measure(threads: int) -> Roofline:
    """Measures both limits, the best of some repeats; about a second.

    Raises:
        MissingError: there is no C compiler.
    """
    host = f"{platform.machine()} {platform.node()} {platform.processor()} {FLAGS}"
    library = ctypes.CDLL(os.fspath(native.library(SOURCE, "cc", FLAGS, host)))
    work, read = library.tvmkd_multiply_adds, library.tvmkd_read
    work.argtypes, work.restype = [ctypes.c_long], ctypes.c_float
    read.argtypes, read.restype = [ctypes.c_void_p, ctypes.c_long], ctypes.c_float
    arrays = [np.ones(FLOATS, np.float32) for _ in range(threads)]
    with ThreadPoolExecutor(threads) as pool:  # ctypes lets go of the interpreter's lock

        def best(call: Callable[[int], object]) -> float:
            found = []
            for _ in range(REPEATS):
                begin = time.perf_counter()
                list(pool.map(call, range(threads)))
                found.append(time.perf_counter() - begin)
            return min(found)

        computing = best(lambda _: work(ROUNDS))
        reading = best(lambda number: read(arrays[number].ctypes.data, FLOATS))
    return Roofline(
        gflops=ROUNDS * library.tvmkd_lanes() * 2 * threads / computing / 1e9,
        gbps=FLOATS * 4 * threads / reading / 1e9,
        threads=threads,
    )
