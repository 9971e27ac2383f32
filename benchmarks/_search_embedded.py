"""The embedded digits: networks found by a search against hand-made students and a search on MACs.

The hand-made students are the registered ones as they come; the best of them is that with the best
score on the validation split. A search has the share of the bar of its measured latency as its
budget, and is to be as accurate.

Against MACs a tight budget is taken, known before anything is trained: a search gets the latency
of the quickest quarter of a random sample of the space, the other the MACs of the quarter with the
least, and both the same trainings. The one on MACs may measure all that it trained. At the end all
networks are timed in turns in one run.
"""

from __future__ import annotations

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
from tvmkd.base import resources
from tvmkd.config import Config
from tvmkd.export import export
from tvmkd.search import methods, sampling
from tvmkd.search.front import front, usable
from tvmkd.search.latency import FOLDER
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.search.results import Point, Study
from tvmkd.search.space import Space
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.networks import Networks
from tvmkd.search.study.studying import study
from tvmkd.targets import Target

SHARE = 0.7
"""Bar: of the hand-made student's measured latency."""
TRIALS, ROUNDS = 16, 2
HAND_MADE = ("depthwise", "bottleneck", "mobilevit", "mlp")
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
        onnx = export(checkpoint, checkpoint.with_suffix(".onnx"))
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
    """Milliseconds and millions of MACs of the quickest quarter of the space; fills the table."""
    target = targets.load("host")
    cfg = base(work / "budgets", 0, table=str(work / FOLDER))
    space = Space.from_config(cfg, target)
    task = Networks(work / "budgets", target).session(cfg).task
    drawn = sampling.structures(space, SAMPLE, 1)
    with LatencyTable(work / FOLDER, target, TargetBoards(target)) as table, Macs(target) as macs:
        sampling.prepare(table, space, task)
        times = [space.predict(cfg, each, task, table).seconds * 1e3 for each in drawn]
        counts = [space.predict(cfg, each, task, macs).seconds * 1e3 for each in drawn]
    return float(np.quantile(times, QUARTER)), float(np.quantile(counts, QUARTER))


def one_seed(
    work: Path, seed: int, trials: int, common: Path, quarter: tuple[float, float]
) -> dict[str, Any]:
    """Hand-made students, a search, and a search on MACs, with one seed."""
    target, table_folder = targets.load("host"), str(common)
    hand = base(work / "hand", seed, objective="front", budget=None, trials=len(HAND_MADE),
                space={"model": list(HAND_MADE)}, stop="never", table=table_folder)  # fmt: skip
    made = study(Plan(hand, target, methods.folder(hand)), _quiet)
    best = max(usable(made.points), key=lambda point: point.accuracy or 0.0)
    with LatencyTable(common, target, TargetBoards(target)) as table:
        (first,) = timed(table, networks([best], methods.folder(hand), "hand-made"))
    limit = quarter[0]
    given: dict[str, Any] = {"trials": trials, "table": table_folder, "baselines": []}
    equal = base(work / "equal", seed, budget=f"{SHARE * first.ms}ms", **given)
    as_good = study(Plan(equal, target, methods.folder(equal)), _quiet)
    ours = base(work / "tight", seed, budget=f"{limit}ms", **given)
    found = study(Plan(ours, target, methods.folder(ours)), _quiet)
    other = base(work / "macs", seed, budget=f"{quarter[1]}M", **given)
    on_macs = Plan(other, target, methods.folder(other), latency=f"{__name__}:by_macs")
    guided = study(on_macs, _quiet)
    files = [
        *networks([best], methods.folder(hand), "hand-made"),
        *networks(_winner(as_good), methods.folder(equal), "found"),
        *networks(_winner(found), methods.folder(ours), "tight"),
        *networks(front(found.points), methods.folder(ours), "tight, front"),
        *networks(usable(guided.points), methods.folder(other), "MACs"),
    ]
    with LatencyTable(common, target, TargetBoards(target)) as table:
        all_timed = timed(table, files)
    return {
        "hand": all_timed[0],
        "found": all_timed[1],
        "tight": all_timed[2],
        "front": [each for each in all_timed if each.name.startswith("tight, front")],
        "macs": [each for each in all_timed if each.name.startswith("MACs")],
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
    against = [
        run["tight"].accuracy
        - max((each.accuracy for each in run["macs"] if each.ms <= allowed(run)), default=0.0)
        for run in runs
    ]
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


def _winner(result: Study) -> list[Point]:
    (found,) = (point for point in result.points if point.number == result.winner)
    return [found]


def allowed(run: dict[str, Any]) -> float:
    """Milliseconds that both searches may take: what the search's own network takes, if more."""
    return max(run["limit_ms"], run["tight"].ms)


def _plain(run: dict[str, Any]) -> dict[str, Any]:
    def one(each: Found | None) -> Any:
        return each and {"name": each.name, "val": each.accuracy, "test": each.test, "ms": each.ms}

    return {
        key: [one(each) for each in value]
        if isinstance(value, list)
        else one(value)
        if isinstance(value, Found)
        else value
        for key, value in run.items()
    }


def _quiet(name: str, data: dict[str, Any]) -> None:
    if name == "note":
        print(data["text"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        for result in results(Path(folder)):
            print(result.name, result.ratio)
