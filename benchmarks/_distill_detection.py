"""Distils a RetinaNet into an SSDLite by the recipe of that name, over seeds, and times both.

Latencies are those of the two ONNX files in ONNX Runtime, interleaved, on scenes of the test split.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd import config
from tvmkd.base import machine, resources
from tvmkd.config import tomllib
from tvmkd.data.detection.load import load
from tvmkd.detection import preprocess, runtime, timing
from tvmkd.export import export
from tvmkd.stages import pipeline
from tvmkd.timing import stats

KEPT, COST = 0.7, 0.1  # of the teacher's mAP and of its latency: SPEC.md's claim, and the bar
ROUNDS, SECONDS = 10, 0.5


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains teacher and students, and times the teacher and the chosen student."""
    data = tomllib.loads((resources.folder("recipes") / "detection.toml").read_text("utf-8"))
    data["project"]["out"] = str(out / "run")
    data["distill"]["seeds"] = list(seeds)
    splits = load(config.parse(data).data)
    run = pipeline.run(config.parse(data), until="distill")["distill"]
    files = {"teacher": out / "teacher.onnx", "student": out / "student.onnx"}
    for name, path in files.items():
        export(out / "run" / f"{name}.pt", path)
    detectors = {name: runtime.load(path) for name, path in files.items()}
    annotations = splits.test.annotations[:: max(1, len(splits.test) // 20)]
    pictures = [preprocess.pixels(a.image) for a in annotations]
    ratios, medians = _in_turns(detectors, pictures)
    steps = {
        name: timing.measure(detector, pictures).to_dict() for name, detector in detectors.items()
    }
    teacher = run["teacher"]["test_accuracy"]
    kept = {
        kind: [entry["test_accuracy"] / teacher for entry in run["runs"] if entry["kind"] == kind]
        for kind in ("distilled", "baseline")
    }
    note = f"teacher mAP {teacher:.3f}, VOC {run['teacher']['test_voc']:.3f}"
    cost = statistics.median(ratios)
    return [
        {
            "name": "detection: mAP of the distilled student over its teacher's",
            "ratio": statistics.fmean(kept["distilled"]),
            "ratios": kept["distilled"],
            "bar": KEPT,
            "better": "higher",
            "holds": statistics.fmean(kept["distilled"]) >= KEPT,
            "note": note,
            "summary": run["summary"],
            "runs": run["runs"],
        },
        {
            "name": "detection: mAP of the student alone over the teacher's",
            "ratio": statistics.fmean(kept["baseline"]),
            "ratios": kept["baseline"],
            "bar": None,
            "better": "higher",
            "holds": True,
        },
        {
            "name": "detection: latency of the student's network over the teacher's",
            "ratio": cost,
            "ratios": ratios,
            "bar": COST,
            "better": "lower",
            "holds": cost <= COST,
            "note": ", ".join(f"{name} {median:.3g} ms" for name, median in medians.items()),
            "threads": machine.physical_cores(),
            "steps": steps,
        },
    ]


def _in_turns(
    detectors: dict[str, Any], pictures: Sequence[Any]
) -> tuple[list[float], dict[str, float]]:
    """The ratio of medians of each round, student over teacher, and the medians of all, ms."""
    inputs = {
        name: [found.prepare(picture) for picture in pictures] for name, found in detectors.items()
    }
    rounds: dict[str, list[list[float]]] = {name: [] for name in detectors}
    for turn in range(-1, ROUNDS):  # the first run is the warm-up
        for name in sorted(detectors, reverse=turn % 2 == 0):
            times: list[float] = []
            end = time.perf_counter() + SECONDS
            while time.perf_counter() < end:
                values = inputs[name][len(times) % len(pictures)]
                start = time.perf_counter()
                detectors[name].infer(values)
                times.append((time.perf_counter() - start) * 1e3)
            if turn >= 0:
                rounds[name].append(times)
    ratios = [
        statistics.median(mine) / statistics.median(other)
        for mine, other in zip(rounds["student"], rounds["teacher"], strict=True)
    ]
    every = {name: [ms for part in parts for ms in part] for name, parts in rounds.items()}
    return ratios, {name: stats.percentile(times, 50) for name, times in every.items()}
