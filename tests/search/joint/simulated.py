"""A board that is made up: kernels with hidden tuned times, which trials approach.

The best of n tries: each schedule of a kernel is slower than its best one by a factor whose
logarithm is drawn from a gamma distribution, scaled by how much this kernel has to gain. The first
schedule is a middling one. A kernel that nobody has measured is interpolated from others of its
kind.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import BaseTrial

from tvmkd.search.joint.protocols import Progress, Spent
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction
from tvmkd.search.structure import Structure
from tvmkd.tuning.scheduler import TaskScheduler

PEAK = {"conv2d": 20e9, "depthwise": 5e9, "elementwise": 2e9}  # operations a second, well tuned
OVERHEAD = 2e-6  # seconds of a kernel's call
TRIAL = 1.0  # board seconds
UNSURE = 0.5  # standard error of an interpolated time's logarithm


def number(*parts: Any) -> float:
    """A number from 0 to 1 that depends on the parts only."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


class Space:
    """Five parameters; a network is a stack of blocks."""

    choices: Mapping[str, Sequence[Any]] = {
        "block": ["depthwise", "bottleneck"],
        "width": list(range(16, 65, 8)),
        "depth": list(range(2, 8)),
        "kernel": [3, 5, 7],
        "expansion": [1, 2, 4, 6],
    }

    def suggest(self, trial: BaseTrial) -> Structure:
        return {name: trial._suggest(name, kind) for name, kind in self.distributions({}).items()}

    def params(self, structure: Mapping[str, Any]) -> dict[str, Any]:
        return dict(structure)

    def distributions(self, structure: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        kinds: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values) for name, values in self.choices.items()
        }
        for name in ("width", "depth", "kernel"):
            low, high = self.choices[name][0], self.choices[name][-1]
            kinds[name] = IntDistribution(low, high, step=self.choices[name][1] - low)
        return kinds

    def draw(self, rng: np.random.Generator) -> Structure:
        return {name: v[int(rng.integers(len(v)))] for name, v in self.choices.items()}

    def key(self, structure: Structure) -> str:
        return repr(sorted(structure.items()))

    def mutate(self, structure: Structure, rng: np.random.Generator) -> Structure:
        name = list(self.choices)[int(rng.integers(len(self.choices)))]
        return {**structure, name: self.draw(rng)[name]}

    def crossover(self, first: Structure, second: Structure, rng: np.random.Generator) -> Structure:
        return {name: (first if rng.random() < 0.5 else second)[name] for name in first}


def lower(structure: Structure) -> list[Kernel]:
    """The kernels of a network: two pointwise or dense ones and a spatial one a block."""
    counted: dict[tuple[Any, ...], int] = {}
    width, kernel, block = structure["width"], structure["kernel"], structure["block"]
    for level in range(structure["depth"]):
        channels = width * (1 + level // 3)
        inner, size = channels * structure["expansion"], 32 // (1 + level // 3)
        spatial = inner if block == "depthwise" else channels * channels
        parts = [
            ("conv2d", 1, channels, inner, 2 * size**2 * channels * inner),
            (
                "depthwise" if block == "depthwise" else "conv2d",
                kernel,
                inner,
                inner,
                2 * size**2 * kernel**2 * spatial,
            ),
            ("conv2d", 1, inner, channels, 2 * size**2 * channels * inner),
        ]
        for part in parts:
            counted[part] = counted.get(part, 0) + 1
    return [
        Kernel(
            repr(part),
            repr(part),
            f"{part[0]} {part[1]}x{part[1]}",
            calls,
            float(part[4]),
            {"kernel": part[1]},
        )
        for part, calls in counted.items()
    ]


def accuracy(structure: Structure) -> float:
    """Rises with the work that a network does, ever more slowly; a little luck for each structure.

    Work counts as what it would take on a board whose kernels all tune as their features suggest:
    so no kind of block is better by itself, and what is best depends on how the kernels tune.
    """
    work = sum(nominal(each) * each.calls for each in lower(structure))
    luck = 0.01 * (number("luck", sorted(structure.items())) - 0.5)
    return 0.99 - 0.035 * work**-0.35 + luck


def nominal(kernel: Kernel) -> float:
    """Seconds of a kernel that tunes as its features suggest."""
    return kernel.flop / PEAK[kernel.kind.split()[0]] + OVERHEAD


class Macs:
    """Predicts that all operations cost the same."""

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        seconds = sum(each.flop * each.calls for each in kernels) / 1e10
        return Prediction(seconds, seconds, seconds)


class Board:
    """A board and its table.

    Args:
        seed: of what is hidden.
        gains: what tuning gains: it ``"differs"`` between kernels, is ``"alike"`` for all of them,
            or there is ``"none"``, as where first schedules are the best.
    """

    def __init__(
        self, seed: int = 0, gains: Literal["differs", "alike", "none"] = "differs"
    ) -> None:
        self._seed = seed
        self._gains = gains
        self._tried: dict[str, list[float]] = {}
        self._kernels: dict[str, Kernel] = {}
        self._ideal: dict[str, float] = {}

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        self._kernels.update((each.key, each) for each in kernels)
        paces = self._paces()
        times = [self._time(each, paces) for each in kernels]
        seconds = sum(each.seconds * each.kernel.calls for each in times)
        spread = math.exp(0.03)
        return Prediction(seconds, seconds / spread, seconds * spread, times)

    def _time(self, kernel: Kernel, paces: Mapping[str, float]) -> KernelTime:
        tried = self._tried.get(kernel.key)
        if tried:
            return KernelTime(kernel, min(tried), "measured", 0.02)
        pace = paces.get(kernel.kind, 0.0)
        seconds = nominal(kernel) * math.exp(pace)
        return KernelTime(kernel, seconds, "interpolated", UNSURE)

    def _paces(self) -> dict[str, float]:
        """How much slower kernels of each kind are than nominal, as a mean of logarithms."""
        found: dict[str, list[float]] = {}
        for key, times in self._tried.items():
            kernel = self._kernels[key]
            found.setdefault(kernel.kind, []).append(math.log(min(times) / nominal(kernel)))
        return {kind: float(np.mean(each)) for kind, each in found.items()}

    def ideal(self, kernel: Kernel) -> float:
        """Seconds of the best schedule there is."""
        if self._gains != "differs":
            return nominal(kernel)
        of_kind = number(self._seed, "ideal", kernel.kind)
        own = number(self._seed, "ideal", kernel.key)
        return nominal(kernel) * math.exp(1.6 * (of_kind - 0.5) + 0.3 * (own - 0.5))

    def gain(self, kernel: Kernel) -> float:
        """How much slower its schedules are than the best, as the mean of the logarithm's half."""
        if self._gains != "differs":
            return 0.4 if self._gains == "alike" else 0.0
        # Some kinds and sizes of kernels have a template, whose first schedule is nearly the best;
        # the others are searched from plain loops. Which ones, differs from board to board.
        template = number(self._seed, "template", kernel.kind) < 0.5
        return (0.05 if template else 0.9) + 0.2 * number(self._seed, "gain", kernel.key)

    def trial(self, kernel: Kernel, index: int) -> float:
        """Seconds of a kernel's schedule."""
        if index == 0:
            draw = 2.0
        else:
            rng = np.random.default_rng([self._seed, index, int(number(kernel.key) * 2**32)])
            draw = float(rng.gamma(2.0))
        if self._gains == "alike":
            draw = 2.0 / math.sqrt(1 + index)
        return self.ideal(kernel) * math.exp(self.gain(kernel) * draw)

    def progress(self, key: str) -> Progress | None:
        tried = self._tried.get(key)
        return Progress(len(tried), tried[0], min(tried)) if tried else None

    def tune(self, weights: Mapping[str, float], trials: int) -> Spent:
        """Shares trials as tvmkd's tuner does: by its own scheduler, in batches."""
        kernels = [self._kernels[key] for key in weights]
        scheduler = TaskScheduler([(weights[each.key], each.flop, each.kind) for each in kernels])
        batch = max(1, min(16, -(-trials // (2 * len(kernels)))))
        for index, each in enumerate(kernels):
            tried = self._tried.get(each.key, [])
            scheduler.resume(index, min(tried, default=None), len(tried) // batch)
        rng = np.random.default_rng(self._seed)
        made = 0
        while made < trials and (index := scheduler.next(rng)) is not None:
            tried = self._tried.setdefault(kernels[index].key, [])
            for _ in range(min(batch, trials - made)):
                tried.append(self.trial(kernels[index], len(tried)))
                made += 1
            scheduler.record(index, min(tried))
        return Spent(made * TRIAL, made)
