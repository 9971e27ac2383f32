"""Times the pieces of a network, and it whole, in a process that holds nothing else."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tvmkd import artifact
from tvmkd.artifact import Artifact
from tvmkd.base.errors import InputError
from tvmkd.early_exit.runtime import EarlyExit, load

ROUNDS = 5
WARM_UP = 0.5  # seconds


def pieces_ms(pieces: list[Path], whole: Path, images: Path, threads: int) -> dict[str, Any]:
    """Median times over images, all pieces and the whole in turns.

    Args:
        pieces: artifacts in the order in which they run.
        whole: artifact of the same network with its last exit alone.
        images: an ``.npy``: float32 ``[n, C, H, W]``.
        threads: of TVM.

    Returns:
        ``{"pieces": [ms, ...], "whole": ms}``.

    Raises:
        InputError: an artifact cannot be run.
    """
    return _ask("pieces", [*pieces, whole], images, threads)


def network_ms(folder: Path, whole: Path, images: Path, threads: int) -> dict[str, Any]:
    """The network as it will run, and the whole, one image at a time in turns.

    Returns:
        ``{"early": [ms, ...], "whole": [ms, ...], "exits": [...], "classes": [...]}``, one entry
        an image; times are medians of a few rounds.

    Raises:
        InputError: the folder or the artifact cannot be run.
    """
    return _ask("network", [folder, whole], images, threads)


def _ask(what: str, folders: list[Path], images: Path, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", __name__, what, str(images), *map(str, folders)]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "TVM_NUM_THREADS": str(threads)},
        check=False,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise InputError(f"{folders[0]}: could not be timed: {last[:300]}")
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = call()
    return (time.perf_counter() - start) * 1e3, result


def _warm(call: Callable[[], Any]) -> None:
    end = time.perf_counter() + WARM_UP
    while time.perf_counter() < end:
        call()


def _time_pieces(pieces: list[Artifact], whole: Artifact, images: np.ndarray) -> dict[str, Any]:
    times: list[list[float]] = [[] for _ in (*pieces, whole)]
    everything = EarlyExit(pieces, [2.0] * (len(pieces) - 1))
    _warm(lambda: everything(images[:1]))
    _warm(lambda: whole.run([images[:1]]))
    for _ in range(ROUNDS):
        for row in images:
            image = values = row[None]
            for index, piece in enumerate(pieces):
                taken, outputs = _timed(functools.partial(piece.run, [values]))
                times[index].append(taken)
                values = outputs[-1]
            times[-1].append(_timed(functools.partial(whole.run, [image]))[0])
    medians = [float(np.median(found)) for found in times]
    return {"pieces": medians[:-1], "whole": medians[-1]}


def _time_network(network: EarlyExit, whole: Artifact, images: np.ndarray) -> dict[str, Any]:
    early = np.zeros((ROUNDS, len(images)))
    full = np.zeros((ROUNDS, len(images)))
    exits, classes = [], []
    _warm(lambda: network(images[:1]))
    _warm(lambda: whole.run([images[:1]]))
    for turn in range(ROUNDS):
        for index, row in enumerate(images):
            image = row[None]
            early[turn, index], (logits, left) = _timed(functools.partial(network, image))
            full[turn, index], _ = _timed(functools.partial(whole.run, [image]))
            if turn == 0:
                exits.append(left)
                classes.append(int(logits.argmax()))
    return {
        "early": np.median(early, axis=0).tolist(),
        "whole": np.median(full, axis=0).tolist(),
        "exits": exits,
        "classes": classes,
    }


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
