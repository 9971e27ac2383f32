"""Structure and schedule together, against a search that tunes last and a search on MACs.

All three strategies get the same board seconds and the same number of trainings, accounted by a
ledger for each, and the same proposals, choice and scheduler: `tvmkd.search.joint.loop`. What a
training gives is cached by structure, so that a structure which two strategies choose is trained
once; each is charged for it. At the end each strategy's front is built with the records that this
strategy has made, and all of these networks are timed in turns, beside a fixed network.

- ``joint``: trains, tunes the kernels of the front, corrects the table, trains on.
- ``last``: the same search on a table of first schedules; all tuning afterwards, for its front.
- ``MACs``: the same search on multiply-accumulates; all board seconds go to its front.

The latency table at the start (one schedule of each kernel of a sample of the space) is paid by the
first two, once each.

Used by bench_search.py. By itself: ``python benchmarks/_search_joint.py [WORK [SPACE...]]``.
"""

from __future__ import annotations

import math
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _common import Result

from tvmkd import config, targets
from tvmkd.distill.training import Rungs
from tvmkd.export import export
from tvmkd.models import checkpoint as checkpoints
from tvmkd.search import sampling
from tvmkd.search.front import hypervolume, reference
from tvmkd.search.joint.ledger import Ledger
from tvmkd.search.joint.loop import JointSearch, Options
from tvmkd.search.joint.proposals import StudyProposer
from tvmkd.search.joint.standing import Network
from tvmkd.search.joint.tuned_table import TunedTable
from tvmkd.search.latency import drift
from tvmkd.search.latency import reference as fixed_network
from tvmkd.search.latency.filling import fill
from tvmkd.search.latency.macs import Macs
from tvmkd.search.latency.prediction import Kernel
from tvmkd.search.latency.table import LatencyTable
from tvmkd.search.latency.target_boards import TargetBoards
from tvmkd.search.space import Space
from tvmkd.search.study.networks import Networks
from tvmkd.search.study.training import Distilling, Trained

HERE = Path(__file__).parent
BOARD_SECONDS, TRAININGS, ROUNDS = 300.0, 14, 4
SAMPLE, WHOLE = 12, 4
"""Networks of the space that the first table is made for, and of them those timed whole."""
EPOCHS, SIDE = 60, 32
"""240 steps: after a tenth of that most networks have learnt nothing."""
TIMES = 3
"""How often each network of the fronts is timed in the end."""

STRATEGIES: dict[str, dict[str, Any]] = {
    "joint": {},
    "last": {"tune_early": False, "rank_again": False},
    "MACs": {"rank_again": False},
}

SPACES: dict[str, dict[str, Any]] = {
    # Every kernel has a template, whose first schedule is nearly the best.
    "templates": {
        "student": {"model": "depthwise", "args": {"stem": 16}},
        "space": {
            "model": ["depthwise", "bottleneck"],
            "width": {"low": 0.5, "high": 2.0, "step": 0.25},
            "depth": [0.5, 1.0, 1.5],
            "kernel": {"choices": [3, 5], "only": ["depthwise"]},
        },
    },
    # Grouped convolutions have no template: evolution searches their schedules.
    "searched": {
        "student": {"model": "_mixed_net:net"},
        "space": {
            "student.args.kind": ["dense", "separable", "grouped", "dilated"],
            "student.args.width": [8, 16, 24, 32],
            "student.args.depth": [0, 1, 2],
            "student.args.kernel": [3, 5],
        },
    },
}


def base(name: str, out: Path) -> config.Config:
    """The config of a space: the embedded digits, learnt without a teacher."""
    return config.parse(
        {
            "project": {"name": "joint", "out": str(out)},
            "data": {"dataset": "digits", "image_size": SIDE, "batch_size": 64},
            "student": SPACES[name]["student"],
            "distill": {"loss": "ce", "epochs": EPOCHS, "lr": 4e-3, "seeds": [0]},
            "target": {"name": "host"},
            "search": {"space": SPACES[name]["space"], "stop": "never"},
        }
    )


@dataclass
class Bench:
    """What the strategies share: the space, trainings and the first table."""

    work: Path
    name: str
    cfg: config.Config = field(init=False)
    trained: dict[str, Trained] = field(default_factory=dict)
    first: Path = field(init=False)
    first_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.cfg = base(self.name, self.work)
        self.target = targets.load("host")
        self.space = Space.from_config(self.cfg, self.target, [HERE])
        self.networks = Networks(self.work, self.target, [HERE])
        self.training = Distilling(self.networks)
        self.first = self.work / "first"
        with LatencyTable(self.first, self.target, TargetBoards(self.target)) as table:
            table.reference()
            shutil.copytree(
                self.first / fixed_network.FOLDER, self.work / "empty" / fixed_network.FOLDER
            )
            task = self.networks.session(self.cfg).task
            drawn = sampling.structures(self.space, SAMPLE, 0)
            made = sampling.networks(self.space, task, drawn)
            self.first_seconds = fill(table, made, whole=WHOLE).board_seconds

    def train(self, structure: Mapping[str, Any]) -> float:
        """The accuracy of a structure on the validation split; each is trained once."""
        key = self.space.key(structure)
        if key not in self.trained:
            candidate = self.networks.build(self.space.apply(self.cfg, structure))
            never = Rungs(frozenset(), lambda epoch, score: None)
            self.trained[key] = self.training.fit(candidate, never, lambda done, note: None)
        return self.trained[key].score

    def kernels(self, table: LatencyTable, structure: Mapping[str, Any]) -> list[Kernel]:
        """The kernels of a structure."""
        task = self.networks.session(self.space.apply(self.cfg, structure)).task
        network = self.space.build(self.cfg, structure, task)
        return table.kernels(network, self.space.shape(self.cfg, structure, task))


@dataclass
class Front:
    """What a strategy ends with."""

    strategy: str
    seed: int
    networks: list[Network]
    artifacts: list[Path]
    spent: dict[str, float]
    tests: list[float]
    seconds: list[float] = field(default_factory=list)


def search(bench: Bench, strategy: str, seed: int, board_seconds: float, trainings: int) -> Front:
    """One strategy with one seed."""
    folder = bench.work / f"{strategy}-{seed}"
    shutil.copytree(bench.work / "empty" if strategy == "MACs" else bench.first, folder)
    ledger = Ledger(board_seconds, trainings)
    if strategy != "MACs":
        ledger.charge_board("first table", bench.first_seconds)
    with LatencyTable(folder, bench.target, TargetBoards(bench.target)) as table:
        known: dict[str, list[Kernel]] = {}

        def lower(structure: Mapping[str, Any]) -> list[Kernel]:
            key = bench.space.key(structure)
            if key not in known:
                known[key] = bench.kernels(table, structure)
            return known[key]

        loop = JointSearch(
            bench.space,
            StudyProposer(bench.space),
            lower,
            bench.train,
            TunedTable(table, seed),
            ledger,
            Options(rounds=ROUNDS, patience=ROUNDS, seed=seed, **STRATEGIES[strategy]),
            guide=Macs(bench.target) if strategy == "MACs" else None,
        )
        standing = loop.run()
        chosen = [standing.networks[i] for i in standing.front]
        artifacts, tests = [], []
        for network in chosen:
            found = bench.trained[network.key]
            assert found.checkpoint is not None
            spec = checkpoints.load(found.checkpoint).model["spec"]
            onnx = export(
                found.checkpoint,
                found.checkpoint.with_suffix(".onnx"),
                model=spec if ":" in spec else None,
                search_in=[HERE],
            )
            out = folder / "artifacts" / network.key
            table.lowering.build(onnx, [folder], out)
            artifacts.append(out)
            tests.append(found.test or 0.0)
    return Front(strategy, seed, chosen, artifacts, ledger.summary(), tests)


def time_all(bench: Bench, fronts: Sequence[Front]) -> None:
    """Times the networks of all fronts in turns, each beside the fixed network."""
    artifacts = [each for front in fronts for each in front.artifacts]
    with (
        LatencyTable(bench.first, bench.target) as table,
        TargetBoards(bench.target) as boards,
    ):
        fixed, readings = table.reference(), table.folder.readings
        rounds = [
            [
                boards.measure(each, fixed, lambda board: drift.least(readings, board)).seconds
                for each in artifacts
            ]
            for _ in range(TIMES)
        ]
    medians = iter(float(np.median(each)) for each in zip(*rounds, strict=True))
    for front in fronts:
        front.seconds = [next(medians) for _ in front.artifacts]


def volumes(fronts: Sequence[Front]) -> dict[str, float]:
    """The hypervolumes of fronts over the logarithm of the latency, against one reference."""
    logs = {each.strategy: np.log(each.seconds) for each in fronts}
    scores = {each.strategy: [network.score for network in each.networks] for each in fronts}
    against = reference(np.concatenate(list(scores.values())), np.concatenate(list(logs.values())))
    return {name: hypervolume(scores[name], logs[name], against) for name in logs}


def faster(first: Front, second: Front) -> float:
    """The first front's latency over the second's, at equal accuracy: a geometric mean.

    Over the accuracies that both reach.
    """

    def at(front: Front, score: float) -> float:
        pairs = zip(front.networks, front.seconds, strict=True)
        return min(seconds for network, seconds in pairs if network.score >= score)

    lowest = min(each.score for each in (*first.networks, *second.networks))
    highest = min(max(n.score for n in each.networks) for each in (first, second))
    wanted = np.linspace(lowest, highest, 200)
    return math.exp(float(np.mean([math.log(at(first, s) / at(second, s)) for s in wanted])))


def one_space(
    work: Path, name: str, seeds: Sequence[int], board_seconds: float, trainings: int
) -> list[Result]:
    """The results of one space."""
    bench = Bench(work / name, name)
    runs = []
    for seed in seeds:
        fronts = [
            search(bench, strategy, seed, board_seconds, trainings) for strategy in STRATEGIES
        ]
        time_all(bench, fronts)
        runs.append((seed, {each.strategy: each for each in fronts}, volumes(fronts)))
    details = {
        "board_seconds": board_seconds,
        "trainings": trainings,
        "first_table_seconds": round(bench.first_seconds, 1),
        "distinct_trainings": len(bench.trained),
        "runs": [
            {
                "seed": seed,
                "hypervolume": found,
                "fronts": {key: _plain(front) for key, front in fronts.items()},
            }
            for seed, fronts, found in runs
        ],
    }
    results = []
    for other in ("last", "MACs"):
        ratios = [found["joint"] / found[other] for _, _, found in runs]
        times = [faster(fronts["joint"], fronts[other]) for _, fronts, _ in runs]
        results.append(
            Result(
                f"{name}: front's hypervolume, joint over {other}",
                float(np.mean(ratios)),
                None,
                "higher",
                ratios,
                note=f"latency at equal accuracy {np.mean(times):.3f} of {other}'s "
                f"({', '.join(f'{each:.3f}' for each in times)})",
                details=details if other == "last" else {},
            )
        )
    return results


def _plain(front: Front) -> dict[str, Any]:
    return {
        "spent": front.spent,
        "networks": [
            {
                "structure": network.structure,
                "val": network.score,
                "test": test,
                "ms": seconds * 1e3,
            }
            for network, test, seconds in zip(
                front.networks, front.tests, front.seconds, strict=True
            )
        ],
    }


def results(
    work: Path,
    seeds: Sequence[int] = (0, 1, 2),
    *,
    board_seconds: float = BOARD_SECONDS,
    trainings: int = TRAININGS,
    spaces: Sequence[str] = tuple(SPACES),
) -> list[Result]:
    """Joint search against the two others, over seeds, in each space.

    Args:
        work: a folder, which may be thrown away.
        seeds: of the searches.
        board_seconds: of each strategy and seed.
        trainings: of each strategy and seed.
        spaces: of `SPACES`.
    """
    found = []
    for name in spaces:
        found += one_space(work, name, seeds, board_seconds, trainings)
    return found


if __name__ == "__main__":
    given = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(given[0]) if given else Path(folder)
        for result in results(place, spaces=given[1:] or tuple(SPACES)):
            print(f"{result.name}: {result.ratio:.3f} {result.ratios} {result.note}")
