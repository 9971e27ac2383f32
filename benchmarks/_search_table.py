"""Predicted against measured latency of networks that a table has not seen.

Networks are drawn from three spaces. Those of one draw make the table: their kernels are tuned, and
some of them are timed whole. Those of another draw are predicted, each before it is built, and then
timed. Multiply-accumulates get the same information: a line through the networks timed whole.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from _common import Result
from scipy.stats import spearmanr

from tvmkd import models, targets
from tvmkd.base import console
from tvmkd.search.latency.filling import Network, fill
from tvmkd.search.latency.folder import TimedNetwork
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards

DRAWN, WHOLE = 40, 18
"""Networks of each space that the table is made from, and those of them that are timed whole."""
FRESH = {"depthwise": 14, "bottleneck": 13, "mobilenet_v2": 13}
BAR_10, BAR_5, BAR_RANK = 0.95, 0.8, 0.98
WIDTHS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
CHANNELS, STRIDES = (16, 24, 32, 64, 96, 160, 320), (1, 2, 2, 2, 1, 2, 1)


def draw(space: str, rng: np.random.Generator) -> Network:
    """A random network of a space."""

    def one(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    if space == "depthwise":
        size = one(8, 16, 32)
        name, args = "depthwise", {"width": one(*WIDTHS, 2.0), "depth": one(1, 1.5, 2, 3)}
        shape = (1, 1, size, size)
    elif space == "bottleneck":
        size = one(32, 48, 64)
        args = {"width": one(*WIDTHS), "depth": one(0.5, 1, 1.5, 2), "size": size, "channels": 3}
        name, shape = "bottleneck", (1, 3, size, size)
    else:
        rows = [
            [1 if number == 0 else one(3, 6), channels, one(1, 2, 3), stride]
            for number, (channels, stride) in enumerate(zip(CHANNELS, STRIDES, strict=True))
        ]
        args = {"width_mult": one(0.25, 0.35, 0.5, 0.75), "inverted_residual_setting": rows}
        name, shape = "torchvision:mobilenet_v2", (1, 3, 96, 96)
    return lambda: (models.build(name, **args), shape)


def accuracy(work: Path, seed: int = 0) -> list[Result]:
    """Fills a table in the folder ``work``, and checks it on fresh networks."""
    target = targets.load("host")
    rng = np.random.default_rng(seed)
    begin = time.monotonic()
    with LatencyTable(work / "table", target, TargetBoards(target)) as table:
        for space in FRESH:
            with console.progress() as progress:
                sample = [draw(space, rng) for _ in range(DRAWN)]
                fill(table, sample, whole=WHOLE, progress=progress)
        filled = time.monotonic() - begin
        timed = list(table.folder.networks)
        fresh = [(space, draw(space, rng)) for space, count in FRESH.items() for _ in range(count)]
        files, found = [], []
        for _, make in fresh:
            model, shape = make()
            files.append(table.lowering.file(model, shape))
            found.append(table.predict_model(files[-1]))
        macs = [sum(k.flop * k.calls for k in table.kernels(file)) / 2 for file in files]
        measured = undisturbed(table, files)
        facts = table.describe()
    taken = time.monotonic() - begin
    predicted = np.array([each.seconds for each in found])
    low, high = (np.array([getattr(each, end) for each in found]) for end in ("low", "high"))
    times = np.array(measured)
    line = by_macs(timed)
    spaces = np.array([space for space, _ in fresh])
    details = {
        "measured_us": (times * 1e6).tolist(),
        "predicted_us": (predicted * 1e6).tolist(),
        "macs": macs,
        "spaces": spaces.tolist(),
        "interpolated": [each.interpolated for each in found],
        "in_interval": float(np.mean((low <= times) & (times <= high))),
        "table": facts,
        "fill_seconds": filled,
        "seconds": taken,
    }
    others = np.array([line(each) for each in macs])
    return [
        Result("table: networks within 10 %", near(predicted, times, 0.1), BAR_10, "higher",
               details=details),
        Result("table: networks within 5 %", near(predicted, times, 0.05), BAR_5, "higher"),
        Result("table: rank correlation", rank(predicted, times), BAR_RANK, "higher"),
        Result("table: in the interval for 90 %", details["in_interval"], None, "higher"),
        Result("MACs: networks within 10 %", near(others, times, 0.1), None, "higher"),
        Result("MACs: networks within 5 %", near(others, times, 0.05), None, "higher"),
        Result("MACs: rank correlation", rank(np.array(macs), times), None, "higher"),
    ]  # fmt: skip


def undisturbed(table: LatencyTable, files: list[Path]) -> list[float]:
    """Seconds of networks; those during which something else ran are timed again, up to twice."""
    found = [table.measure(file) for file in files]
    for _ in range(2):
        for place, file in enumerate(files):
            if found[place].drift.disturbed:
                found[place] = min(
                    found[place], table.measure(file), key=lambda each: each.drift.passing
                )
    return [each.seconds for each in found]


def by_macs(timed: list[TimedNetwork]) -> Callable[[float], float]:
    """Seconds from multiply-accumulates: the line with the least relative errors."""
    macs = np.array([network.macs for network in timed])
    seconds = np.array([network.seconds for network in timed])
    rows = np.stack([macs, np.ones_like(macs)], axis=1) / seconds[:, None]
    slope, constant = np.linalg.lstsq(rows, np.ones_like(macs), rcond=None)[0]
    return lambda each: float(slope * each + constant)


def near(predicted: np.ndarray, measured: np.ndarray, share: float) -> float:
    """The share of networks that are predicted within a share of what was measured."""
    return float(np.mean(np.abs(predicted / measured - 1) <= share))


def rank(predicted: np.ndarray, measured: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(predicted, measured)[0])
