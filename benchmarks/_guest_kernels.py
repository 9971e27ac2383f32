"""The program in the emulated system that loads a kernel and calls it, for each line it reads.

Each line of standard input is ``{"library", "args": [[dtype, shape], ...]}``. The kernel is loaded
and called once, which touches its memory; the answer is ``{"output"}``, two numbers that stand for
its last argument. The next line makes it be called once more, then the answer holds where the
library lies: ``{"first", "last"}``. What goes wrong is answered as ``{"error"}``. Only Python,
numpy and TVM are here.
"""

from __future__ import annotations

import json
import sys
from typing import Any

# TVM's bindings import torch where it is installed, which takes QEMU a minute.
sys.modules["torch"] = None  # type: ignore[assignment]

import numpy as np  # noqa: E402
import tvm  # noqa: E402


def arguments(specs: list[Any]) -> list[Any]:
    """Tensors of random numbers, the same for the same sizes."""
    rng = np.random.default_rng(0)
    made = []
    for dtype, shape in specs:
        array = rng.random(shape) + 0.5 if "float" in dtype else rng.integers(0, 100, shape)
        made.append(tvm.runtime.tensor(array.astype(dtype)))
    return made


def place(library: str) -> dict[str, int]:
    """The first and last address of a library's code and data."""
    with open("/proc/self/maps") as file:
        parts = [line.split(None, 1)[0].split("-") for line in file if library in line]
    ends = [(int(first, 16), int(last, 16)) for first, last in parts]
    return {"first": min(first for first, _ in ends), "last": max(last for _, last in ends)}


def answer(value: Any) -> None:
    print(json.dumps(value), flush=True)


def main() -> None:
    """Serves until standard input ends."""
    answer("here")
    for line in sys.stdin:
        job = json.loads(line)
        try:
            function = tvm.runtime.load_module(job["library"])["main"]
            tensors = arguments(job["args"])
            function(*tensors)
            output = tensors[-1].numpy().astype(np.float64).ravel()
            weights = np.random.default_rng(1).random(output.size)
            answer({"output": [float(output @ weights / output.size), float(abs(output).max())]})
            sys.stdin.readline()
            function(*tensors)
            answer(place(job["library"]))
        except Exception as error:  # whatever the kernel or TVM raises
            answer({"error": f"{type(error).__name__}: {error}"[:300]})


if __name__ == "__main__":
    main()
