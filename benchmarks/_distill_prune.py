"""Latency and accuracy of each pruning step: the recipe of that name over seeds."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config
from tvmkd.base import resources
from tvmkd.config import tomllib
from tvmkd.stages import pipeline


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains, prunes, compiles and times the recipe with each seed."""
    text = (resources.folder("recipes") / "prune.toml").read_text(encoding="utf-8")
    found = []
    for seed in seeds:
        data = tomllib.loads(text)
        data["project"].update(out=str(out / str(seed)), seed=seed)
        data["distill"]["seeds"] = [seed]
        found.append(pipeline.run(config.parse(data), until="prune")["prune"])
    ratios, lost = [], []
    for run in found:
        kept = [step for step in run["steps"] if step["kept"]]
        # Use the interleaved ratios: medians measured at different times are not comparable.
        ratios.append(math.prod(step["ratio"] for step in kept))
        lost.append(kept[0]["test_score"] - kept[-1]["test_score"])
    note = f"loses {100 * statistics.fmean(lost):.2f} points of test accuracy in the mean"
    return [
        {
            "name": "pruning: latency of the last step that was kept over the student's",
            "ratio": statistics.fmean(ratios),
            "ratios": ratios,
            "bar": None,
            "holds": True,
            "note": note,
            "lost": lost,
            "runs": found,
        }
    ]
