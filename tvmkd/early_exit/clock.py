"""Times the pieces of a network, and the whole network, in a separate process."""

from __future__ import annotations

import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.artifact import Artifact
from tvmkd.early_exit.runtime import EarlyExit, load
from tvmkd.timing.alone import run_alone
from tvmkd.timing.loop import collector_off, lead_in, timed
from tvmkd.timing.rounds import in_order

ROUNDS = 6
WARM_UP = 0.5  # seconds


def pieces_ms(pieces: list[Path], whole: Path, images: Path, threads: int) -> dict[str, Any]:
    """Median times over images; the chain of pieces and the whole network are interleaved.

    Args:
        pieces: artifacts in the order in which they run.
        whole: artifact of the same network with its last exit only.
        images: an ``.npy``: float32 ``[n, C, H, W]``.
        threads: number of TVM's threads.

    Returns:
        ``{"pieces": [ms, ...], "whole": ms}``.

    Raises:
        InputError: an artifact cannot be run.
    """
    found: dict[str, Any] = run_alone(
        __name__, ["pieces", images, *pieces, whole], threads, pieces[0]
    )
    return found


def network_ms(folder: Path, whole: Path, images: Path, threads: int) -> dict[str, Any]:
    """Times the network with exits and the whole network, image by image, interleaved.

    Returns:
        ``{"early": [ms, ...], "whole": [ms, ...], "exits": [...], "classes": [...]}``, one entry
        per image; times are medians of a few rounds.

    Raises:
        InputError: the folder or the artifact cannot be run.
    """
    found: dict[str, Any] = run_alone(__name__, ["network", images, folder, whole], threads, folder)
    return found


def _time_pieces(pieces: list[Artifact], whole: Artifact, images: np.ndarray) -> dict[str, Any]:
    times: list[list[float]] = [[] for _ in (*pieces, whole)]

    def run_pieces(image: np.ndarray) -> None:
        values = image
        for index, piece in enumerate(pieces):
            taken, outputs = timed(functools.partial(piece.run, [values]))
            times[index].append(taken)
            values = outputs[-1]

    def run_whole(image: np.ndarray) -> None:
        times[-1].append(timed(functools.partial(whole.run, [image]))[0])

    everything = EarlyExit(pieces, [2.0] * (len(pieces) - 1))
    _warm_up(everything, whole, images)
    with collector_off():
        for turn in range(ROUNDS):
            for row in images:
                for run in in_order((run_pieces, run_whole), turn):
                    run(row[None])
    medians = [float(np.median(found)) for found in times]
    return {"pieces": medians[:-1], "whole": medians[-1]}


def _time_network(network: EarlyExit, whole: Artifact, images: np.ndarray) -> dict[str, Any]:
    early: list[list[float]] = [[] for _ in images]
    full: list[list[float]] = [[] for _ in images]
    answers: dict[int, tuple[int, int]] = {}

    def run_network(index: int, image: np.ndarray) -> None:
        taken, (logits, left) = timed(functools.partial(network, image))
        early[index].append(taken)
        answers[index] = (left, int(logits.argmax()))

    def run_whole(index: int, image: np.ndarray) -> None:
        full[index].append(timed(functools.partial(whole.run, [image]))[0])

    _warm_up(network, whole, images)
    with collector_off():
        for turn in range(ROUNDS):
            for index, row in enumerate(images):
                for run in in_order((run_network, run_whole), turn):
                    run(index, row[None])
    return {
        "early": np.median(early, axis=1).tolist(),
        "whole": np.median(full, axis=1).tolist(),
        "exits": [answers[index][0] for index in range(len(images))],
        "classes": [answers[index][1] for index in range(len(images))],
    }


def _warm_up(network: EarlyExit, whole: Artifact, images: np.ndarray) -> None:
    for call in (
        functools.partial(network, images[:1]),
        functools.partial(whole.run, [images[:1]]),
    ):
        lead_in(call, int(WARM_UP * 1e9))


def _main(what: str, images: str, *folders: str) -> None:
    pictures = np.load(images)
    if what == "pieces":
        *pieces, whole = [artifact.load(folder) for folder in folders]
        found = _time_pieces(pieces, whole, pictures)
    else:
        found = _time_network(load(folders[0]), artifact.load(folders[1]), pictures)
    print(json.dumps(found))


if __name__ == "__main__":
    _main(*sys.argv[1:])
