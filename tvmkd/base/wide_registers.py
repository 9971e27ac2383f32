"""Whether AVX-512 pays on this machine, by a measurement that is made once.

On some CPUs the clock falls where it is used. On others the halves of a register are computed one
after the other: sums of products are as fast as with AVX2 then, but whole networks are faster,
since there are twice the registers and half the instructions.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import time
from pathlib import Path

from tvmkd.base import machine, native, resources
from tvmkd.base.errors import TvmkdError
from tvmkd.base.files import write_json

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ["-O3", "-ffp-contract=fast", "-Wno-psabi"]
INNER, ROUNDS, REPEATS = 512, 64, 9
SAME = 1.03
"""Ratio of times up to which they count as the same."""
NARROW, WIDE = 4 * 3 * 8, 8 * 3 * 16
"""Sums of a tile: pixels times blocks times lanes, as in the C source."""


@functools.cache
def pay() -> bool:
    """Whether sums in AVX-512's registers are as fast as in AVX2's, or faster.

    The answer is kept in ``$XDG_CACHE_HOME/tvmkd/host``, so that it is the same in every process;
    False without a C compiler. The CPU must have both.
    """
    features = " ".join(sorted(machine.cpu_features()))
    key = hashlib.sha256(f"{machine.cpu_model()} {features}".encode()).hexdigest()[:16]
    path = resources.cache("host") / f"{key}.json"
    try:
        return bool(json.loads(path.read_text(encoding="utf-8"))["avx512"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    try:
        narrow, wide = seconds()
    except (TvmkdError, OSError):
        return False
    found = {"avx512": wide <= SAME * narrow, "avx2_ns": narrow * 1e9, "avx512_ns": wide * 1e9}
    with contextlib.suppress(TvmkdError, OSError):  # then the next process measures again
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return bool(found["avx512"])


def seconds() -> tuple[float, float]:
    """Seconds of a multiply-add in AVX2's and in AVX-512's registers: the least of some repeats.

    Raises:
        MissingError: there is no C compiler.
    """
    import numpy as np  # not for every command that looks for the host's target

    library = ctypes.CDLL(str(native.library(SOURCE, "cc", FLAGS)))
    rng = np.random.default_rng(0)
    x = rng.standard_normal(8 * INNER).astype(np.float32)
    weight = rng.standard_normal(INNER * 3 * 16).astype(np.float32)
    out = np.zeros(WIDE, np.float32)
    pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, weight, out)]
    best = [float("inf")] * 2
    for _ in range(REPEATS):
        for number, (name, sums, rounds) in enumerate(
            (("tvmkd_narrow", NARROW, ROUNDS * WIDE // NARROW), ("tvmkd_wide", WIDE, ROUNDS))
        ):
            begin = time.perf_counter()
            getattr(library, name)(*pointers, ctypes.c_long(INNER), ctypes.c_long(rounds))
            spent = time.perf_counter() - begin
            best[number] = min(best[number], spent / (sums * INNER * rounds))
    return best[0], best[1]
