"""Sub-networks judged by a supernet, against each of them trained on its own.

On the embedded digits: random networks of a space are scored with the weights of a supernet, and
trained from scratch over seeds, with the same labels, learning rate and images. What is compared is
their order. Trainings differ from seed to seed, too: the correlation of two seeds of the networks
that are trained on their own is beside the supernet's, which can hardly be above it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from _common import Result
from scipy.stats import kendalltau, spearmanr
from torch import nn

from tvmkd import config, targets
from tvmkd.distill.task import Task
from tvmkd.models.macs import macs
from tvmkd.search.space import Space
from tvmkd.search.study.networks import Networks as Sessions
from tvmkd.search.supernet import corners, training
from tvmkd.search.supernet.blueprints import Blueprints
from tvmkd.search.supernet.calibration import calibrate

BAR = 0.8
NETWORKS, SEEDS = 12, (3, 4, 5)
"""Networks that are drawn, and seeds of all trainings: not those with which the number of epochs
was chosen (0 to 2)."""
EPOCHS = 100
"""Epochs of a network that is trained on its own: its loss no longer falls."""
FILE: dict[str, Any] = {
    "project": {"name": "supernet"},
    "data": {"dataset": "digits", "image_size": 16, "batch_size": 64, "augment": "affine"},
    "student": {"model": "depthwise", "args": {"multiple": 4}},
    # Labels alone, for both sides: what is compared is sharing weights.
    "distill": {"loss": "ce", "epochs": EPOCHS, "lr": 4e-3, "baseline": False},
    "search": {
        "method": "supernet",
        "supernet": {"epochs": 1000},
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

    Two processes with one thread each train side by side.

    Args:
        work: a folder for the trainings.
        seed: of the draw of networks.
    """
    drawn = _draw(seed)
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        # The longest first.
        shared = [pool.submit(_supernet, work, number, drawn) for number in SEEDS]
        alone = [pool.submit(_alone, work, number, drawn) for number in SEEDS]
        supernets, networks = ([job.result() for job in jobs] for jobs in (shared, alone))
    mean = np.mean([found.scores for found in networks], axis=0)
    ranks = [float(spearmanr(found.scores, mean)[0]) for found in supernets]
    noise = [
        float(spearmanr(one.scores, other.scores)[0])
        for one, other in itertools.combinations(networks, 2)
    ]
    each = fmean(found.training for found in networks) / len(drawn)
    blueprints = _blueprints(work, 0)[1]
    rows = [
        {
            "structure": structure,
            "macs": macs(blueprints.build(structure), blueprints.task(structure).input_shape),
            "shared": [round(found.scores[index], 4) for found in supernets],
            "alone": [round(found.scores[index], 4) for found in networks],
        }
        for index, structure in enumerate(drawn)
    ]
    whole = fmean(found.training for found in supernets)
    scoring = fmean(found.scoring for found in supernets)
    size = len(blueprints.space.grid())
    return [
        Result(
            name=f"supernet: rank correlation of accuracies, {len(drawn)} networks",
            ratio=fmean(ranks),
            bar=BAR,
            better="higher",
            ratios=ranks,
            note=f"two seeds of networks trained on their own: {fmean(noise):.2f}",
            details={
                "kendall": [float(kendalltau(found.scores, mean)[0]) for found in supernets],
                "single_seeds": [
                    float(spearmanr(one.scores, other.scores)[0])
                    for one, other in itertools.product(supernets, networks)
                ],
                "noise": noise,
                "macs": float(spearmanr([row["macs"] for row in rows], mean)[0]),
                "networks": rows,
            },
        ),
        Result(
            name=f"supernet: seconds over those of training all {size} networks on their own",
            ratio=(whole + scoring / len(drawn) * size) / (each * size),
            bar=None,
            note=f"{whole:.0f} s, and {1000 * scoring / len(drawn):.0f} ms to score a network; "
            f"{each:.1f} s to train one on its own",
            details={
                "supernet": [found.training for found in supernets],
                "scoring": [found.scoring for found in supernets],
                "alone": [found.training for found in networks],
            },
        ),
    ]


@dataclass(frozen=True)
class Scored:
    """Accuracies of the networks, and the seconds that training and scoring took in all."""

    scores: list[float]
    training: float
    scoring: float


def _blueprints(work: Path, seed: int) -> tuple[Sessions, Blueprints]:
    cfg = config.parse({**FILE, "distill": {**FILE["distill"], "seeds": [seed]}})
    target = targets.load("host")
    sessions = Sessions(work, target)
    space = Space.from_config(cfg, target)
    return sessions, Blueprints(cfg, space, lambda one: sessions.session(one).task)


def _draw(seed: int) -> list[dict[str, Any]]:
    """Random networks, each once."""
    cfg = config.parse(FILE)
    space, rng = Space.from_config(cfg, targets.load("host")), np.random.default_rng(seed)
    found: dict[str, dict[str, Any]] = {}
    while len(found) < NETWORKS:
        structure = space.draw(rng)
        found.setdefault(space.key(structure), structure)
    return list(found.values())


def _alone(work: Path, seed: int, drawn: Sequence[dict[str, Any]]) -> Scored:
    """Networks that are trained on their own."""
    torch.set_num_threads(1)
    sessions, blueprints = _blueprints(work, seed)
    scores, training, scoring = [], 0.0, 0.0
    for structure in drawn:
        session = sessions.session(blueprints.config(structure))
        path = work / "alone" / f"{blueprints.key(structure)}-{seed}.pt"
        network, job = session.student(seed, path, "alone", None)
        training += session.fit(network, job).seconds
        began = time.monotonic()
        scores.append(_score(session.task, network))
        scoring += time.monotonic() - began
    return Scored(scores, training, scoring)


def _supernet(work: Path, seed: int, drawn: Sequence[dict[str, Any]]) -> Scored:
    """The same networks with the weights of a supernet."""
    torch.set_num_threads(1)
    sessions, blueprints = _blueprints(work, seed)
    assert blueprints.cfg.search is not None
    settings = blueprints.cfg.search.supernet
    path = work / f"supernet-{seed}.pt"
    networks, state = training.train(blueprints, corners.find(blueprints), settings, sessions, path)
    began, scores = time.monotonic(), []
    for structure in drawn:
        task = blueprints.task(structure)
        images = torch.from_numpy(task.samples(settings.calibration, "train"))
        scores.append(_score(task, calibrate(networks.cut(structure), images)))
    return Scored(scores, state.seconds, time.monotonic() - began)


def _score(task: Task, network: nn.Module) -> float:
    """Accuracy on all images that nobody trains on: validation and test split."""
    counts = [task.count("val"), task.count("test")]
    scores = [task.score(network, "val"), task.score(network, "test")]
    return float(np.average(scores, weights=counts))
