"""The embedded digits: networks found by a search against hand-made students and a search on MACs.

The hand-made students are the registered ones as they come; the best of them is that with the best
score on the validation split. A search over the registered convolutional students, by width, depth
and kernel, has the share of the bar of its measured latency as its budget, and is to be as
accurate. (The recipe's own space has only networks that are smaller than that budget.)

Against MACs a space of blocks of several kinds is searched (`_mixed_net`), with a tight budget that
is known before anything is trained: one search gets the latency of the quickest quarter of a random
sample of the space, the other the MACs of the quarter with the least, and both the same trainings.
The one on MACs may measure the best of what it trained, until one meets the latency.
"""

from __future__ import annotations

import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _common import Result

from tvmkd import config, targets
from tvmkd.base import resources, user_code
from tvmkd.config import Config
from tvmkd.export import export
from tvmkd.models.checkpoint import load
from tvmkd.search import methods, sampling
from tvmkd.search.front import usable
from tvmkd.search.latency import FOLDER
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.search.results import Point, Study
from tvmkd.search.space import Space
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.networks import TEACHERS, Networks
from tvmkd.search.study.studying import study
from tvmkd.targets import Target

SHARE = 0.7
"""Bar: of the hand-made student's measured latency."""
TRIALS, TIGHT_TRIALS, ROUNDS = 15, 9, 2
HAND_MADE = ("depthwise", "bottleneck", "mobilevit", "mlp")
REGISTERED: dict[str, Any] = {
    "model": ["depthwise", "bottleneck"],
    "width": {"low": 0.5, "high": 2.0, "step": 0.5},
    "depth": [0.5, 1.0, 2.0],
    "kernel": [3, 5],
}
MIXED: dict[str, Any] = {
    "student.args.kind": ["dense", "separable", "grouped", "dilated"],
    "student.args.width": [8, 12, 16, 24, 32],
    "student.args.depth": [0, 1, 2],
    "student.args.kernel": [3, 5],
}
HERE = Path(__file__).parent
SAMPLE, QUARTER = 60, 0.25
"""Networks of the space from whose latencies and MACs the budgets are taken."""


@dataclass(frozen=True)
class Found:
    """A trained network: where from, its scores, its file, and its latency in ms."""

    name: str
    accuracy: float
    test: float
    onnx: Path
    ms: float = 0.0


def by_macs(cfg: Config, target: Target, folder: Path) -> Macs:
    """The latency predictor of a search on MACs: `Plan.latency` names it."""
    del folder
    return Macs(target, cfg.tune.stack)


def base(out: Path, seed: int, **search: Any) -> Config:
    """The recipe for digits with another folder, seed and ``[search]``."""
    recipe = config.read(resources.folder("recipes") / "digits.toml")
    data = recipe.model_dump(mode="json", exclude_unset=True)
    data["project"] |= {"out": str(out), "seed": seed}
    data["distill"]["seeds"] = [seed]
    if search.get("space") == MIXED:
        data["student"] |= {"model": "_mixed_net:net", "args": {}}
    data["search"] |= {"seed": seed, **search}
    return config.parse(data)


def networks(points: Sequence[Point], folder: Path, name: str) -> list[Found]:
    """The networks of some points, as ONNX files."""
    found = []
    for point in points:
        assert point.checkpoint is not None
        assert point.accuracy is not None
        assert point.test_accuracy is not None
        checkpoint = folder / point.checkpoint
        spec = load(checkpoint).model["spec"]
        onnx = export(
            checkpoint,
            checkpoint.with_suffix(".onnx"),
            model=spec if user_code.is_own(spec) else None,
            search_in=[HERE],
        )
        text = f"{name}: {', '.join(f'{key}={value}' for key, value in point.structure.items())}"
        found.append(Found(text, point.accuracy, point.test_accuracy, onnx))
    return found


def timed(table: LatencyTable, found: Sequence[Found]) -> list[Found]:
    """The networks with the medians of some rounds, in which all of them take turns."""
    rounds = [[table.measure(each.onnx).seconds for each in found] for _ in range(ROUNDS)]
    medians = [statistics.median(times) * 1e3 for times in zip(*rounds, strict=True)]
    return [
        Found(each.name, each.accuracy, each.test, each.onnx, ms)
        for each, ms in zip(found, medians, strict=True)
    ]


def budgets(work: Path) -> tuple[float, float]:
    """Fills the table for both spaces.

    Returns:
        milliseconds and millions of MACs of the quickest quarter of the mixed space.
    """
    target = targets.load("host")
    times: list[float] = []
    counts: list[float] = []
    with LatencyTable(work / FOLDER, target, TargetBoards(target)) as table, Macs(target) as macs:
        for more in ({"space": REGISTERED}, {"space": MIXED}):
            cfg = base(work / "budgets", 0, table=str(work / FOLDER), **more)
            space = Space.from_config(cfg, target, [HERE])
            task = Networks(work / "budgets", target, [HERE]).session(cfg).task
            sampling.prepare(table, space, task)
        for each in sampling.structures(space, SAMPLE, 1):
            times.append(space.predict(cfg, each, task, table).seconds * 1e3)
            counts.append(space.predict(cfg, each, task, macs).seconds * 1e3)
    return float(np.quantile(times, QUARTER)), float(np.quantile(counts, QUARTER))


def search(cfg: Config, target: Target, **plan: Any) -> Study:
    """A study as a config says."""
    return study(Plan(cfg, target, methods.folder(cfg), [HERE], **plan), _quiet)


def best_within(table: LatencyTable, found: Sequence[Found], ms: float) -> Found | None:
    """The most accurate network that takes no longer; they are measured until one does."""
    for each in sorted(found, key=lambda one: -one.accuracy):
        (measured,) = timed(table, [each])
        if measured.ms <= ms:
            return measured
    return None


def one_seed(
    work: Path, seed: int, trials: int, common: Path, quarter: tuple[float, float]
) -> dict[str, Any]:
    """Hand-made students, a search, and a search on MACs, with one seed."""
    target = targets.load("host")
    given: dict[str, Any] = {"table": str(common), "baselines": [], "stop": "never"}
    few = min(trials, TIGHT_TRIALS)
    hand = base(work / "hand", seed, objective="front", budget=None, trials=len(HAND_MADE),
                space={"model": list(HAND_MADE)}, **given)  # fmt: skip
    best = max(usable(search(hand, target).points), key=lambda point: point.accuracy or 0.0)
    with LatencyTable(common, target, TargetBoards(target)) as table:
        (first,) = timed(table, networks([best], methods.folder(hand), "hand-made"))
    equal = base(work / "equal", seed, budget=f"{SHARE * first.ms}ms", trials=trials,
                 space=REGISTERED, **given)  # fmt: skip
    _share_teacher(hand, equal)
    as_good = search(equal, target)
    tight = base(work / "tight", seed, budget=f"{quarter[0]}ms", trials=few, space=MIXED,
                 **given)  # fmt: skip
    macs = base(work / "macs", seed, budget=f"{quarter[1]}M", trials=few, space=MIXED,
                measure=False, **given)  # fmt: skip
    for other in (tight, macs):
        _share_teacher(hand, other)
    found = search(tight, target)
    guided = search(macs, target, latency=f"{__name__}:by_macs")
    files = [
        *networks([best], methods.folder(hand), "hand-made"),
        *networks(_winner(as_good), methods.folder(equal), "found"),
        *networks(_winner(found), methods.folder(tight), "tight"),
    ]
    others = networks(usable(guided.points), methods.folder(macs), "MACs")
    with LatencyTable(common, target, TargetBoards(target)) as table:
        by_hand, as_good_one, tight_one = timed(table, files)
        limit = max(quarter[0], tight_one.ms)
        on_macs = best_within(table, others, limit)
    return {
        "hand": by_hand,
        "found": as_good_one,
        "tight": tight_one,
        "macs": on_macs,
        "limit_ms": limit,
        "board_seconds": found.board_seconds,
        "training_seconds": found.training_seconds,
        "macs_training_seconds": guided.training_seconds,
    }


def results(work: Path, seeds: Sequence[int] = (0, 1, 2), trials: int = TRIALS) -> list[Result]:
    """The ratios over some seeds; details hold every network."""
    began = time.monotonic()
    quarter = budgets(work)
    runs = [one_seed(work / str(seed), seed, trials, work / FOLDER, quarter) for seed in seeds]
    ratios = [run["found"].ms / run["hand"].ms for run in runs]
    gains = [run["found"].test - run["hand"].test for run in runs]
    against = [run["tight"].accuracy - (run["macs"].accuracy if run["macs"] else 0) for run in runs]
    details = {
        "runs": [_plain(run) for run in runs],
        "quarter_ms": quarter[0],
        "quarter_m_macs": quarter[1],
        "seconds": time.monotonic() - began,
    }
    return [
        Result("found: latency over the best hand-made student's", statistics.median(ratios), SHARE,
               "lower", ratios, details=details),
        Result("found: test accuracy less the hand-made student's", statistics.mean(gains), -0.005,
               "higher", gains, note="equal accuracy: within half a point, mean of the seeds"),
        Result("tight budget: accuracy less that of the search on MACs", statistics.mean(against),
               0.0, "higher", against),
    ]  # fmt: skip


def _share_teacher(cfg: Config, other: Config) -> None:
    """Puts the teacher that one search has trained where another looks for it."""
    for place in (methods.folder(cfg) / TEACHERS).iterdir():
        shutil.copytree(place, methods.folder(other) / TEACHERS / place.name)


def _winner(result: Study) -> list[Point]:
    (found,) = (point for point in result.points if point.number == result.winner)
    return [found]


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    def one(each: Found | None) -> Any:
        return each and {"name": each.name, "val": each.accuracy, "test": each.test, "ms": each.ms}

    return {key: one(each) if isinstance(each, Found) else each for key, each in run.items()}


def _quiet(name: str, data: dict[str, Any]) -> None:
    if name == "note":
        print(data["text"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for result in results(Path(folder)):
            print(result.name, result.ratio)
