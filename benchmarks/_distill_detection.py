"""Distils a RetinaNet into an SSDLite by the recipe of that name, then makes the student smaller.

Students with and without a teacher have the same views, epochs and seeds; differences are paired,
and scores are those on more test scenes than the recipe has. The chosen student is pruned and
trained with simulated int8, by the settings of the recipe ``detection-edge``. Each of these
networks, and the teacher, is tuned by TVM with the same number of trials and built; the artifacts,
and the teacher and the student in ONNX Runtime, run in turns on scenes of the test split. Ratios
are over the teacher in whichever of the two engines is faster.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _paired import paired
from _trained import network

from tvmkd import config, targets
from tvmkd.base import machine, resources
from tvmkd.config import tomllib
from tvmkd.data.detection.load import load
from tvmkd.detection import preprocess, runtime, timing
from tvmkd.distill import make_task
from tvmkd.export import export
from tvmkd.stacks.compile import build, tune
from tvmkd.stages import pipeline
from tvmkd.timing import stats

KEPT, COST, CLOSED = 0.85, 0.05, 0.5  # of the teacher's mAP, of its latency, of the gap
JUDGED = 2000  # test scenes; on the recipe's 300, students of one mAP differ by 0.02
TRIALS = 400  # of each network
ROUNDS, SECONDS = 10, 0.5
TEACHERS = ("teacher, tvm", "teacher, onnxruntime")
STUDENT = "student, tvm"


def recipe(out: Path, seeds: Sequence[int]) -> dict[str, Any]:
    """The recipe ``detection``, with the later steps of ``detection-edge``."""
    found, edge = (
        tomllib.loads((resources.folder("recipes") / f"{name}.toml").read_text("utf-8"))
        for name in ("detection", "detection-edge")
    )
    found["project"]["out"] = str(out)
    found["distill"]["seeds"] = list(seeds)
    return {**found, **{key: edge[key] for key in ("prune", "quantize")}}


def measure(out: Path, seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Trains teacher and students, makes the chosen one smaller, and times all of them."""
    cfg = config.parse(recipe(out / "run", seeds))
    run = pipeline.run(cfg, until="quantize")
    results = _accuracies(out / "run", run["distill"])
    files = {
        name: export(out / "run" / f"{name}.pt", out / f"{name}.onnx")
        for name in ("teacher", "student", "pruned")
        if name != "pruned" or run["prune"]["kept"]  # else it is the student
    }
    files["int8"] = out / "run" / "student-int8.onnx"
    detectors = {f"{name}, tvm": _compiled(path, out / name) for name, path in files.items()}
    for name in ("teacher", "student"):
        detectors[f"{name}, onnxruntime"] = runtime.load(files[name])
    scenes = load(cfg.data).test
    annotations = scenes.annotations[:: max(1, len(scenes) // 20)]
    pictures = [preprocess.pixels(a.image) for a in annotations]
    rounds = _in_turns(detectors, pictures)
    steps = {
        name: timing.measure(detector, pictures).to_dict() for name, detector in detectors.items()
    }
    scores = {
        "student": run["distill"]["chosen"]["test_accuracy"],
        "pruned": run["prune"]["steps"][run["prune"]["kept"]]["test_score"],
        "int8": run["quantize"]["int8_score"],
    }
    results += [_pruned(step) for step in run["prune"]["steps"][1:]]
    return results + _latencies(rounds, steps, scores)


def _pruned(step: dict[str, Any]) -> dict[str, Any]:
    """What a step of pruning costs and gains, by the stage's own measurement."""
    kept = "kept" if step["kept"] else f"not kept: {step['why']}"
    return {
        "name": f"detection: latency of the student without {step['share']:.0%} of its channels",
        "ratio": step["ratio"],
        "bar": None,
        "better": "lower",
        "note": f"{kept}; mAP {step['test_score']:.3f}, {step['macs'] / 1e6:.1f} MMAC; in turns, "
        "with the kernels that ship",
    }


def _judge() -> Callable[[Path], float]:
    """From a checkpoint to its mAP on `JUDGED` test scenes, the first of which are the recipe's."""
    given = recipe(Path(), [0])
    given["data"]["scenes"] = [1, 1, JUDGED]
    task = make_task(config.parse(given))

    return lambda path: task.score(network(path), "test")


def _accuracies(folder: Path, run: dict[str, Any]) -> list[dict[str, Any]]:
    """What students keep of the teacher's mAP, and what the teacher gives them."""
    score = _judge()
    teacher = score(folder / "teacher.pt")
    scores = {
        kind: [
            score(folder / entry["checkpoint"]) for entry in run["runs"] if entry["kind"] == kind
        ]
        for kind in ("distilled", "baseline")
    }
    taught, alone = scores["distilled"], scores["baseline"]
    kept = [score / teacher for score in taught]
    interval = paired(kept, [0.0] * len(kept))
    gap = teacher - statistics.fmean(alone)
    gain = paired(taught, alone)
    share = gain.over(gap)
    return [
        {
            "name": "detection: mAP of the distilled student over its teacher's",
            "ratio": interval.mean,
            "ratios": kept,
            "bar": KEPT,
            "better": "higher",
            "note": f"± {interval.half:.3f}; teacher mAP {teacher:.3f}, distilled "
            f"{statistics.fmean(taught):.3f}, alone {statistics.fmean(alone):.3f}",
            "summary": run["summary"],
            "runs": run["runs"],
        },
        {
            "name": "detection: share of the gap to the teacher that the recipe closes",
            "ratio": share.mean,
            "ratios": [(mine - other) / gap for mine, other in zip(taught, alone, strict=True)],
            "bar": CLOSED,
            "better": "higher",
            "note": f"± {share.half:.2f} (95 %, paired by seed); gap {gap:.3f}",
        },
    ]


def _compiled(onnx: Path, folder: Path) -> runtime.Detector:
    """The detector as tuned and built for this machine; records and artifacts are kept."""
    host, records = targets.load("host"), folder / "records"
    print(f"  {onnx.stem}: {TRIALS} trials", flush=True)
    tune(onnx, host, records, trials=TRIALS, tracker=None, key="host")
    build(onnx, host, [records], folder / "artifact")
    return runtime.load(folder / "artifact")


def _latencies(
    rounds: dict[str, list[list[float]]],
    steps: dict[str, Any],
    scores: dict[str, float],
) -> list[dict[str, Any]]:
    """The student's network over its teacher's, and each step over the one before."""
    every = {
        name: stats.percentile([ms for part in parts for ms in part], 50)
        for name, parts in rounds.items()
    }
    teacher = min(TEACHERS, key=every.__getitem__)
    total = {name: found["steps"][-1]["p50"] for name, found in steps.items()}
    plain, pruned = "student, onnxruntime", "pruned, tvm"
    pairs = {
        "the student's network over the teacher's": (STUDENT, teacher, COST),
        "the student's network in ONNX Runtime over the teacher's": (plain, teacher, None),
    }
    if pruned in rounds:
        pairs["the pruned network over the student's"] = (pruned, STUDENT, None)
    base = pruned if pruned in rounds else STUDENT
    pairs["int8 over the network it is made from"] = ("int8, tvm", base, None)
    results = []
    for text, (mine, other, bar) in pairs.items():
        ratios = [
            statistics.median(one) / statistics.median(two)
            for one, two in zip(rounds[mine], rounds[other], strict=True)
        ]
        notes = [f"{name} {every[name]:.3g} ms, from pixels to boxes {total[name]:.3g}"
                 for name in (mine, other)]  # fmt: skip
        score = scores.get(mine.partition(",")[0])
        results.append(
            {
                "name": f"detection: latency of {text}",
                "ratio": statistics.median(ratios),
                "ratios": ratios,
                "bar": bar,
                "better": "lower",
                "note": "; ".join(notes) + (f"; mAP {score:.3f}" if score is not None else ""),
                "threads": machine.physical_cores(),
                "steps": {name: steps[name] for name in (mine, other)},
            }
        )
    return results


def _in_turns(
    detectors: dict[str, runtime.Detector], pictures: Sequence[Any]
) -> dict[str, list[list[float]]]:
    """Times of the networks alone in each round, ms."""
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
    return rounds
