"""The latency of a structure before it is trained; with exits, what is known then and later."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.search import exits, kernel_file
from tvmkd.search import structure as structures
from tvmkd.search.latency.prediction import Prediction

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.search.structure import Structure
    from tvmkd.search.study.bench import Bench
    from tvmkd.search.study.networks import Candidate


def times(bench: Bench, structure: Structure) -> list[Prediction]:
    """The predicted latency of a network; with exits, until each of them, the last one at the end.

    Where images leave is known after the training: until then it may be the first exit.

    Raises:
        InputError: the network cannot be built, exported or compiled.
    """
    cfg = bench.space.apply(bench.plan.cfg, structure)
    if cfg.early_exit is None:
        return [bench.predict(structure)]
    candidate = bench.networks.build(cfg)
    assert isinstance(candidate.network, EarlyExitNet)
    if cfg.export.precision == "fp32":
        return exits.times(bench.latency, candidate.network, candidate.shape)
    images = structures.images(cfg, candidate.session.task)
    stem = bench.space.folder / bench.space.key(structure)

    def file(part: nn.Module, number: int) -> Path:
        return kernel_file.write(part, images, cfg, stem.with_suffix(f".{number}.onnx"))

    return exits.times(bench.latency, candidate.network, candidate.shape, file)


def mean(
    known: list[Prediction], candidate: Candidate, checkpoint: Path
) -> tuple[Prediction, list[float]]:
    """The mean latency of a trained network with exits over the validation images.

    Args:
        known: its `times`.
        candidate: the network.
        checkpoint: its weights.

    Returns:
        the mean, with the interval of the last exit's time, and the share of the images that leave
        at each exit.
    """
    section, task = candidate.cfg.early_exit, candidate.session.task
    network = task.restore(checkpoint)
    assert isinstance(network, EarlyExitNet)
    assert section is not None
    shares = exits.rates(network, task, known, section.max_drop)
    whole = known[-1]
    share = exits.mean_seconds(known, shares) / whole.seconds
    found = replace(
        whole, seconds=whole.seconds * share, low=whole.low * share, high=whole.high * share
    )
    return found, list(shares)
