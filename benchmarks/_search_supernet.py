"""Sub-networks judged by a supernet, against each of them trained on its own.

On the embedded digits: random networks of a space are scored with the weights of a supernet, and
trained from scratch over seeds, with the same labels, learning rate and images. What is compared is
their order. Trainings differ from seed to seed, too: the correlation of two seeds of the networks
that are trained on their own is beside the supernet's, which can hardly be above it.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from _common import Result
from scipy.stats import kendalltau, spearmanr

from tvmkd import config, targets
from tvmkd.base.console import say
from tvmkd.distill.task import Task
from tvmkd.models.macs import macs
from tvmkd.search.space import Space
from tvmkd.search.study.networks import Networks as Sessions
from tvmkd.search.supernet import corners, training
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.calibration import calibrate

BAR = 0.8
NETWORKS, SEEDS = 12, (0, 1, 2)
EPOCHS = 100
"""Epochs of a network that is trained on its own: its loss no longer falls."""
FILE = {
    "project": {"name": "supernet"},
    "data": {"dataset": "digits", "image_size": 16, "batch_size": 64, "augment": "affine"},
    "student": {"model": "depthwise", "args": {"multiple": 4}},
    # Labels alone, for both sides: what is compared is sharing weights.
    "distill": {"loss": "ce", "epochs": EPOCHS, "lr": 4e-3, "baseline": False},
    "search": {
        "method": "supernet",
        "supernet": {"epochs": 400},
        "space": {
            "width": [0.125, 0.25, 0.375, 0.5, 0.75, 1.0],
            "depth": [0.5, 1.0, 2.0],
            "kernel": [3, 5],
            "resolution": [8, 16],
        },
    },
}


def correlation(work: Path, seed: int = 0) -> list[Result]:
    """Compares the orders; trainings that an earlier call left in ``work`` are not done again.

    Args:
        work: a folder for the trainings.
        seed: of the draw of networks.
    """
    cfg, target = config.parse(FILE), targets.load("host")
    space = Space.from_config(cfg, target)
    sessions = Sessions(work, target)
    drawn = _draw(space, seed)
    alone, costs = _alone(cfg, space, sessions, drawn, work)
    blueprints = Blueprints(cfg, space, lambda one: sessions.session(one).task)
    shared, spent, scored = [], [], []
    for number in SEEDS:
        say(f"supernet, seed {number}")
        found, seconds, looked = _supernet(cfg, blueprints, sessions, drawn, work, number)
        shared.append(found)
        spent.append(seconds)
        scored.append(looked)
    mean = np.mean(alone, axis=0)
    ranks = [float(spearmanr(scores, mean)[0]) for scores in shared]
    pairs = list(itertools.combinations(range(len(SEEDS)), 2))
    noise = [float(spearmanr(alone[one], alone[other])[0]) for one, other in pairs]
    one_by_one = sum(costs) / len(SEEDS)
    rows = [
        {
            "structure": structure,
            "macs": macs(blueprints.build(structure), blueprints.task(structure).input_shape),
            "shared": [round(scores[index], 4) for scores in shared],
            "alone": [round(scores[index], 4) for scores in alone],
        }
        for index, structure in enumerate(drawn)
    ]
    cost = (
        f"{fmean(spent):.0f} s to train, {1000 * fmean(scored) / len(drawn):.0f} ms for each "
        f"network; {one_by_one / len(drawn):.1f} s to train each on its own"
    )
    return [
        Result(
            name=f"supernet: rank correlation of accuracies, {len(drawn)} networks",
            ratio=fmean(ranks),
            bar=BAR,
            better="higher",
            ratios=ranks,
            note=f"two seeds of networks trained on their own: {fmean(noise):.2f}; {cost}",
            details={
                "kendall": [float(kendalltau(scores, mean)[0]) for scores in shared],
                "single_seeds": [
                    float(spearmanr(one, other)[0]) for one in shared for other in alone
                ],
                "noise": noise,
                "macs": float(spearmanr([row["macs"] for row in rows], mean)[0]),
                "networks": rows,
            },
        ),
        Result(
            name="supernet: seconds over those of training each network on its own",
            ratio=(fmean(spent) + fmean(scored)) / one_by_one,
            bar=None,
            ratios=[(a + b) / one_by_one for a, b in zip(spent, scored, strict=True)],
            note=f"{len(drawn)} networks; {len(space.grid())} are in the space",
            details={"supernet": spent, "scoring": scored, "alone": costs},
        ),
    ]


def _draw(space: Space, seed: int) -> list[dict[str, Any]]:
    """Random networks, each once."""
    rng, found = np.random.default_rng(seed), {}
    while len(found) < NETWORKS:
        structure = space.draw(rng)
        found.setdefault(space.key(structure), structure)
    return list(found.values())


def _alone(
    cfg: config.Config,
    space: Space,
    sessions: Sessions,
    drawn: Sequence[dict[str, Any]],
    work: Path,
) -> tuple[list[list[float]], list[float]]:
    """Scores by seed and network of those trained on their own, and the seconds of all."""
    found, costs = [], []
    for seed in SEEDS:
        scores = []
        for number, structure in enumerate(drawn):
            session = sessions.session(space.apply(cfg, structure))
            path = work / "alone" / f"{space.key(structure)}-{seed}.pt"
            network, job = session.student(seed, path, "alone", None)
            costs.append(session.fit(network, job).seconds)
            scores.append(_score(session.task, network))
            say(f"seed {seed}, network {number + 1}: {scores[-1]:.4f}, {costs[-1]:.1f} s")
        found.append(scores)
    return found, costs


def _supernet(
    cfg: config.Config,
    blueprints: Blueprints,
    sessions: Sessions,
    drawn: Sequence[dict[str, Any]],
    work: Path,
    seed: int,
) -> tuple[list[float], float, float]:
    """Scores with the weights of one supernet, and the seconds of training and scoring."""
    import torch

    assert cfg.search is not None
    distill = cfg.distill.model_copy(update={"seeds": [seed]})
    own = Blueprints(
        cfg.model_copy(update={"distill": distill}),
        blueprints.space,
        lambda one: sessions.session(one).task,
    )
    settings = cfg.search.supernet
    ends = corners.find(own)
    networks, state = training.train(
        own, ends, settings, sessions, work / f"supernet-{seed}" / "supernet.pt"
    )
    began, scores = time.monotonic(), []
    for structure in drawn:
        task = own.task(structure)
        images = torch.from_numpy(task.samples(settings.calibration, "train"))
        scores.append(_score(task, calibrate(networks.cut(structure), images)))
    return scores, state.seconds, time.monotonic() - began


def _score(task: Task, network: Any) -> float:
    """Accuracy on all images that nobody trains on: validation and test split."""
    counts = [task.count("val"), task.count("test")]
    scores = [task.score(network, "val"), task.score(network, "test")]
    return float(np.average(scores, weights=counts))
