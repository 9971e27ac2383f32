"""Compiles the CUDA driver without a GPU (``fake_cuda.c``, ``fake_ptx.c``)."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from pathlib import Path

from tvmkd.base import toolchain

HERE = Path(__file__).parent
NAME = "libcuda.so.1"


def built(folder: Path, triple: str | None = None, *flags: str) -> Path:
    """The folder, with the driver in it.

    Args:
        folder: to write to.
        triple: for another machine than this one.
        flags: ``-DWITHOUT_GRAPHS`` for a driver before CUDA 10.1.
    """
    command = [*toolchain.zig(), "cc", *(["-target", triple] if triple else []), "-shared", "-fPIC"]
    command += ["-O2", "-fno-sanitize=all", "-Wall", "-Wextra", "-Werror", *flags]
    command += [f"-Wl,-soname,{NAME}", "-o", os.fspath(folder / NAME)]
    sources = [os.fspath(HERE / name) for name in ("fake_cuda.c", "fake_ptx.c")]
    subprocess.run([*command, *sources, "-lm", "-lpthread"], check=True)
    return folder


def kept(trace: Path) -> dict[str, int]:
    """What was made and not removed, by kind, as ``FAKE_CUDA_TRACE`` tells."""
    found: Counter[str] = Counter()
    for word in trace.read_text().split():
        if word[0] in "+-" and word[1:].isalpha():
            found[word[1:]] += 1 if word[0] == "+" else -1
    return {kind: count for kind, count in found.items() if count}
