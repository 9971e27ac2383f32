"""Accuracy and latency of int8, with and without quantisation-aware training, over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config
from tvmkd.base import resources
from tvmkd.config import tomllib
from tvmkd.stages import pipeline


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Runs the recipe with each seed, by post-training quantisation and by QAT."""
    text = (resources.folder("recipes") / "qat.toml").read_text(encoding="utf-8")
    found: dict[str, list[dict[str, Any]]] = {"ptq": [], "qat": []}
    for seed in seeds:
        for method, runs in found.items():
            data = tomllib.loads(text)
            data["project"].update(out=str(out / str(seed)), seed=seed)
            data["distill"]["seeds"] = [seed]
            data["quantize"]["method"] = method
            runs.append(pipeline.run(config.parse(data), until="quantize")["quantize"])
    return [result for method, runs in found.items() for result in _results(method, runs)]


def _results(method: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    lost = [run["fp32_score"] - run["int8_score"] for run in runs]
    results = []
    for engine in ("onnxruntime", "tvm"):
        ratios = [
            run["ms"][f"{engine} int8"] / run["ms"][f"{engine} fp32"]
            for run in runs
            if f"{engine} int8" in run["ms"]
        ]
        if ratios:
            results.append(
                {
                    "name": f"{method}: latency of int8 over fp32, {engine}",
                    "ratio": statistics.fmean(ratios),
                    "ratios": ratios,
                    "bar": None,
                    "holds": True,
                    "note": f"loses {100 * statistics.fmean(lost):.2f} points in the mean",
                    "lost": lost,
                    "runs": runs,
                }
            )
    return results
