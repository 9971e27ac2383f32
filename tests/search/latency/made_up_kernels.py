"""Kernels with times that follow a rule, as a machine might have them."""

from __future__ import annotations

import math

import numpy as np

from tvmkd.search.latency.prediction import Kernel

LANES = 16


def kernel(kind: str, pixels: int, inner: int, channels: int, **features: float) -> Kernel:
    """A convolution of ``pixels`` × ``pixels`` (``inner`` 1 for a depthwise one), or a move."""
    taps = 9 if kind == "depthwise" else 1
    sums = 1 if kind == "elementwise" else inner * taps
    blocks = -(-channels // LANES)
    row = {
        "work": pixels * pixels * channels * sums,
        "sums": sums, "taps": taps, "inner": inner,
        "rows": pixels, "columns": pixels, "channels": channels,
        "ragged": channels % LANES,
        "filled": channels / (blocks * LANES),
        "vectors": pixels * pixels * blocks,
        "main_instructions": 3,
        "input_bytes": 4 * pixels * pixels * inner,
        "weight_bytes": 4 * sums * channels,
        "output_bytes": 4 * pixels * pixels * channels,
    }  # fmt: skip
    if kind != "elementwise":
        row["expected"] = pixels * pixels * channels * sums / LANES / 1.5
    key = f"{kind}-{pixels}-{inner}-{channels}"
    made = {name: float(value) for name, value in {**row, **features}.items()}
    return Kernel(key, f"fused_{key}", kind, 1, 2.0 * row["work"], made)


def seconds(of: Kernel) -> float:
    """Whole vectors, slow depthwise kernels, weights that leave the first cache, and a call."""
    row = of.features
    cycles = row["vectors"] * row["sums"] * {"depthwise": 2.0, "conv2d": 0.7}.get(of.kind, 4.0)
    if row["weight_bytes"] > 32e3:
        cycles *= 1.4
    memory = (row["input_bytes"] + row["output_bytes"]) / 2e10
    return cycles / 2.5e9 + memory + 0.3e-6


def drawn(count: int, seed: int = 0, noise: float = 0.01) -> tuple[list[Kernel], np.ndarray]:
    """Distinct random kernels, and their times with a little noise."""
    rng = np.random.default_rng(seed)
    found: dict[str, Kernel] = {}
    while len(found) < count:
        kind = str(rng.choice(["conv2d", "conv2d", "depthwise", "elementwise"]))
        pixels = int(rng.choice([4, 6, 8, 12, 16, 24, 32]))
        inner, channels = (8 * int(math.exp(rng.uniform(0, 3.4))) for _ in range(2))
        one = kernel(kind, pixels, 1 if kind == "depthwise" else inner, channels)
        found[one.key] = one
    kernels = list(found.values())
    times = np.array([seconds(each) for each in kernels])
    return kernels, times * np.exp(rng.normal(0, noise, count))
