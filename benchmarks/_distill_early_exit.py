"""Time saved by early exits, relative to the last exit: the recipe of that name over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config
from tvmkd.base import resources
from tvmkd.config import tomllib
from tvmkd.stages import pipeline

FASTER, LOST = 1.5, 0.005


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains, cuts, compiles and times the recipe with each seed."""
    text = (resources.folder("recipes") / "early-exit.toml").read_text(encoding="utf-8")
    found = []
    for seed in seeds:
        data = tomllib.loads(text)
        data["project"]["out"] = str(out / str(seed))
        data["distill"]["seeds"] = [seed]
        found.append(pipeline.run(config.parse(data), until="early_exit")["early_exit"])
    faster = [run["mean_whole_ms"] / run["mean_ms"] for run in found]
    lost = [run["full_accuracy"] - run["accuracy"] for run in found]
    note = f"loses {100 * statistics.fmean(lost):.2f} points in the mean over seeds"
    return [
        {
            "name": "early exit: mean latency without exits over that with them",
            "ratio": statistics.fmean(faster),
            "ratios": faster,
            "bar": FASTER,
            "better": "higher",
            "holds": statistics.fmean(faster) >= FASTER,
            "note": note,
            "runs": found,
        },
        {
            "name": "early exit: accuracy lost, 0 to 1",
            "ratio": statistics.fmean(lost),
            "ratios": lost,
            "bar": LOST,
            "better": "lower",
            "holds": statistics.fmean(lost) <= LOST,
        },
    ]
