"""The embedded digits: networks found by a search against hand-made students and a search on MACs.

The hand-made students are the registered ones as they come. The best of them on the validation
split sets the budget: a share of its measured latency. Each search gets as many trainings, and the
one on MACs may measure every network that it trained. At the end all networks are timed in turns in
one run.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import Result

from tvmkd import config, targets
from tvmkd.base import resources
from tvmkd.config import Config
from tvmkd.export import export
from tvmkd.search import methods
from tvmkd.search.front import front, usable
from tvmkd.search.latency import FOLDER
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.search.results import Point, Study
from tvmkd.search.study.bench import Plan
from tvmkd.search.study.studying import study
from tvmkd.targets import Target

SHARE = 0.7
"""Bar: of the hand-made student's measured latency."""
TRIALS, ROUNDS = 24, 5
HAND_MADE = ("depthwise", "bottleneck", "mobilevit", "mlp")


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


def networks(result: Study, points: Sequence[Point], folder: Path, name: str) -> list[Found]:
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
    del result
    return found


def timed(table: LatencyTable, found: Sequence[Found]) -> list[Found]:
    """The networks with the medians of some rounds, in which all of them take turns."""
    rounds = [[table.measure(each.onnx).seconds for each in found] for _ in range(ROUNDS)]
    medians = [statistics.median(times) * 1e3 for times in zip(*rounds, strict=True)]
    return [
        Found(each.name, each.accuracy, each.test, each.onnx, ms)
        for each, ms in zip(found, medians, strict=True)
    ]


def one_seed(work: Path, seed: int, trials: int) -> dict[str, Any]:
    """Hand-made students, a search, and a search on MACs, with one seed."""
    target = targets.load("host")
    hand = base(work / "hand", seed, objective="front", budget=None, trials=len(HAND_MADE),
                space={"model": list(HAND_MADE)}, table=str(work / FOLDER))  # fmt: skip
    made = study(Plan(hand, target, methods.folder(hand)), _quiet)
    best = max(usable(made.points), key=lambda point: point.accuracy or 0.0)
    with LatencyTable(work / FOLDER, target, TargetBoards(target)) as table:
        (first,) = timed(table, networks(made, [best], methods.folder(hand), "hand-made"))
    common = {"trials": trials, "table": str(work / FOLDER)}
    ours = base(work / "ours", seed, budget=f"{SHARE * first.ms}ms", **common)
    found = study(Plan(ours, target, methods.folder(ours)), _quiet)
    other = base(work / "macs", seed, budget=f"{SHARE * (best.macs or 0) / 1e6}M", **common)
    on_macs = Plan(other, target, methods.folder(other), latency=f"{__name__}:by_macs")
    guided = study(on_macs, _quiet)
    chosen = [point for point in found.points if point.number == found.winner]
    files = [
        *networks(made, [best], methods.folder(hand), "hand-made"),
        *networks(found, chosen, methods.folder(ours), "search"),
        *networks(found, front(found.points), methods.folder(ours), "search, front"),
        *networks(guided, usable(guided.points), methods.folder(other), "MACs"),
    ]
    with LatencyTable(work / FOLDER, target, TargetBoards(target)) as table:
        all_timed = timed(table, files)
    limit = SHARE * all_timed[0].ms
    return {
        "hand": all_timed[0],
        "search": all_timed[1] if chosen else None,
        "front": [each for each in all_timed if each.name.startswith("search, front")],
        "macs": [each for each in all_timed if each.name.startswith("MACs")],
        "limit_ms": limit,
        "board_seconds": found.board_seconds,
        "training_seconds": found.training_seconds,
    }


def results(work: Path, seeds: Sequence[int] = (0, 1, 2), trials: int = TRIALS) -> list[Result]:
    """The ratios over some seeds; details hold every network."""
    runs = [one_seed(work / str(seed), seed, trials) for seed in seeds]
    ratios = [run["search"].ms / run["hand"].ms for run in runs if run["search"]]
    gains = [run["search"].test - run["hand"].test for run in runs if run["search"]]
    against = [
        run["search"].accuracy
        - max((each.accuracy for each in run["macs"] if each.ms <= run["limit_ms"]), default=0.0)
        for run in runs
        if run["search"]
    ]
    details = {"runs": [_plain(run) for run in runs]}
    return [
        Result("found: latency over the best hand-made student's", statistics.median(ratios), SHARE,
               "lower", ratios, details=details),
        Result("found: test accuracy less the hand-made student's", statistics.mean(gains), -0.005,
               "higher", gains, note="equal accuracy: within half a point, mean of the seeds"),
        Result("found: accuracy within the budget less that of MACs", statistics.mean(against), 0.0,
               "higher", against),
    ]  # fmt: skip


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
