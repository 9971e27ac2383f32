"""The cost model that ships: how long a kernel takes that nobody has measured.

Gradient-boosted trees (XGBoost), trained by ``benchmarks/make_cost_model.py`` on random kernels,
not on those of any network. Here they are evaluated with numpy: importing XGBoost takes two
seconds, and a build needs nothing else of it.
"""

from __future__ import annotations

import functools
import gzip
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd.base import resources
from tvmkd.base.errors import TvmkdError
from tvmkd.stacks.relax.templates.cpu import Cpu

Config = dict[str, Any]
FOLDER, ABOUT = "cost_model", "about.json"
VERSION = 1
"""Of the features: a model of another version is not read."""

FEATURES = {
    "packed": (
        *("rows", "columns", "blocks", "sums", "order", "pad", "cycles", "far", "tile_bytes"),
        *("columns_left", "rows_left", "blocks_left", "steps", "inner", "taps", "work", "groups"),
        *("weight_bytes", "input_bytes", "output_bytes", "epilogue", "ragged", "lanes"),
    ),
    "depthwise": (
        *("width", "columns", "rows", "pad", "order", "registers", "columns_left", "rows_left"),
        *("blocks_left", "steps", "taps", "last_tap", "work", "input_bytes", "output_bytes"),
        *("row_bytes", "epilogue"),
    ),
}
WORDS = ("none", "channels", "rows", "ahead", "row", "inline")


def row(kind: str, config: Config) -> list[float]:
    """The features of a configuration, in the order of `FEATURES`."""
    values = (config[name] for name in FEATURES[kind])
    return [float(WORDS.index(v) if isinstance(v, str) else v) for v in values]


def ideal_cycles(config: Config, cpu: Cpu) -> float:
    """Cycles that the multiply-adds of a kernel take at least on one core."""
    return float(config["work"]) / (cpu.lanes * cpu.fma)


class Trees:
    """A model in XGBoost's JSON format.

    Args:
        model: the parsed file.
    """

    def __init__(self, model: dict[str, Any]) -> None:
        learner = model["learner"]
        base = learner["learner_model_param"]["base_score"]
        self._base = float(str(base).strip("[]"))
        trees = learner["gradient_booster"]["model"]["trees"]
        size = max(len(tree["left_children"]) for tree in trees)

        def table(name: str, dtype: type) -> np.ndarray:
            made: np.ndarray = np.zeros((len(trees), size), dtype)
            for number, tree in enumerate(trees):
                made[number, : len(tree[name])] = tree[name]
            return made

        self._left, self._right = table("left_children", int), table("right_children", int)
        self._feature = table("split_indices", int)
        # A leaf's value stands where an inner node has its threshold.
        self._value = table("split_conditions", np.float32)

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The prediction for each row of features, float32 ``[N, features]``."""
        count = len(self._left)
        trees, at = np.arange(count)[None, :], np.zeros((len(rows), count), int)
        lines = np.arange(len(rows))[:, None]
        while True:
            inner = self._left[trees, at] > 0
            if not inner.any():
                break
            less = rows[lines, self._feature[trees, at]] < self._value[trees, at]
            step = np.where(less, self._left[trees, at], self._right[trees, at])
            at = np.where(inner, step, at)
        return np.asarray(self._base + self._value[trees, at].sum(axis=1))


def folder_for(lanes: int, registers: int) -> Path:
    """Where the models for cores with so many registers of so many floats ship."""
    return resources.folder("schedules") / "relax" / FOLDER / f"{registers}x{lanes}"


@functools.cache
def load(kind: str, folder: Path) -> Trees | None:
    """The model of a kind of kernel in a folder; None if none was trained.

    Raises:
        TvmkdError: its file is not the one that was shipped.
    """
    about = folder / ABOUT
    facts = json.loads(about.read_text(encoding="utf-8")) if about.is_file() else None
    if facts is None or facts["version"] != VERSION or kind not in facts["models"]:
        return None
    path = folder / facts["models"][kind]["file"]
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != facts["models"][kind]["sha256"]:
        raise TvmkdError(f"{path}: not the cost model that {ABOUT} names; install tvmkd again")
    return Trees(json.loads(gzip.decompress(data)))


def cycles(
    kind: str, configs: Sequence[Config], reckoned: Callable[[Config], float], cpu: Cpu
) -> list[float]:
    """Cycles that each configuration is expected to take on one core.

    Args:
        kind: a key of `FEATURES`.
        configs: of one kernel.
        reckoned: gives the cycles where there is no model for such a core.
        cpu: the target's.
    """
    model = load(kind, folder_for(cpu.lanes, cpu.registers))
    if model is None:
        return [reckoned(config) for config in configs]
    rows = np.array([row(kind, config) for config in configs], np.float32)
    ideal = np.array([ideal_cycles(config, cpu) for config in configs])
    return [float(value) for value in ideal * np.exp(model.predict(rows))]
