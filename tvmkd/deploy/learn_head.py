"""Makes a classifier ready to learn on a board: the cut network, and ``head.bin`` with examples."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from tvmkd.base.errors import InputError
from tvmkd.base.files import check_output, sha256
from tvmkd.base.folders import draft_folder
from tvmkd.base.onnx_runtime import open_session
from tvmkd.deploy import learner_file, learner_library
from tvmkd.deploy.board_learner.draws import Draws
from tvmkd.deploy.board_learner.examples import MAX_HALF, Examples
from tvmkd.deploy.board_learner.head_file import (
    MOST_CLASSES,
    MOST_EXAMPLES,
    MOST_FEATURES,
    Head,
    write_head,
)
from tvmkd.export import head, weights
from tvmkd.export.check import check
from tvmkd.targets import Target

HEAD = "head.bin"
LABELS = "labels"
REPLAY, GUARD, FRESH = 20, 40, 10
"""Examples a class at most: in the replay memory, held back and shipped, held back and learned."""
_EVERY = 3
"""Without held-back examples of the user's, one of so many is held back."""

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Ready:
    """What was made.

    Attributes:
        classes, max_classes, features: of the head.
        replay, held_back: examples that are shipped.
        accuracy: of the network on the held-back ones, 0 to 1.
        head_bytes: of ``head.bin``.
    """

    classes: int
    max_classes: int
    features: int
    replay: int
    held_back: int
    accuracy: float
    head_bytes: int


def make(
    onnx_file: Path,
    folder: Path,
    examples: Arrays,
    held_back: Arrays | None = None,
    *,
    where: str = "examples",
    max_classes: int | None = None,
    replay: int = REPLAY,
    seed: int = 0,
    target: Target | None = None,
) -> Ready:
    """Writes a folder: ``NAME.onnx`` to build, ``head.bin``, ``tvmkd_learner.py``, and C's files.

    Args:
        onnx_file: a classifier of one image that ends with a linear layer.
        folder: is made, or replaced if it holds such files.
        examples: ``labels`` ``[n]``, and the images ``[n, ...]`` as the network takes them, under
            the input's name or any other.
        held_back: the same, of images that the network was not trained with; None: every third of
            the examples of a class.
        where: names the examples in errors.
        max_classes: classes at most; None: as many as there are, and four more.
        replay: examples a class in the replay memory.
        seed: of what is drawn, here and on the board.
        target: also compile the learner in C for it.

    Raises:
        InputError: the network or the examples cannot be used, or the network gets hardly more of
            the held-back ones right than chance.
    """
    check_output(folder, folder=True, replaced=True)
    if folder.is_dir() and any(folder.iterdir()) and not (folder / HEAD).is_file():
        raise InputError(f"{folder}: holds other files; give another folder")
    check(onnx_file)
    model = onnx.load(onnx_file, load_external_data=False)
    weights.load_external(model, onnx_file)
    cut = head.with_features(model, str(onnx_file))
    classes, features = cut.weights.shape
    limit = min(classes + 4, MOST_CLASSES) if max_classes is None else max_classes
    if not classes <= limit <= MOST_CLASSES:
        raise InputError(
            f"--max-classes {limit}: the network has {classes}, and a head at most {MOST_CLASSES}"
        )
    if not 0 <= replay * limit <= MOST_EXAMPLES:
        raise InputError(
            f"--replay {replay}: {limit} classes have {replay * limit} examples then, and the "
            f"memory at most {MOST_EXAMPLES}"
        )
    if features > MOST_FEATURES:
        raise InputError(
            f"{onnx_file}: has {features} features, and a head at most {MOST_FEATURES}"
        )
    rows, labels = _features(cut.model, examples, classes, where)
    draws = Draws(seed)
    if held_back is None:
        held = _every(labels, classes)
        guard_rows, guard_labels = rows[held], labels[held]
        rows, labels = rows[~held], labels[~held]
    else:
        guard_rows, guard_labels = _features(cut.model, held_back, classes, f"{where} (held back)")
    accuracy = _accuracy(cut, guard_rows, guard_labels, where)
    guard = Examples(min(len(guard_labels), GUARD * classes), features, limit)
    _offer_all(guard, guard_rows, guard_labels, draws)
    with draft_folder(folder) as new:
        built = new / f"{onnx_file.stem}.onnx"
        onnx.save(cut.model, built)
        digest = bytes.fromhex(sha256(built))
        rooms = (replay * limit, guard.count, FRESH * limit)
        made = Head(cut.weights, cut.bias, limit, rooms, digest, draws.state)
        made.guard = guard
        _offer_all(made.replay, rows, labels, draws, replay)
        made.random = draws.state
        write_head(str(new / HEAD), made)
        (new / learner_file.NAME).write_text(learner_file.text(), encoding="utf-8")
        if target is not None:
            shutil.copyfile(learner_library.HEADER, new / learner_library.HEADER.name)
            archive = learner_library.compiled(target) / learner_library.ARCHIVE
            shutil.copyfile(archive, new / archive.name)
        size = (new / HEAD).stat().st_size
    return Ready(classes, limit, features, made.replay.count, guard.count, accuracy, size)


def _features(
    model: onnx.ModelProto, arrays: Arrays, classes: int, where: str
) -> tuple[np.ndarray, np.ndarray]:
    """Features float32 ``[n, features]`` and labels ``[n]`` of images."""
    session = open_session(model.SerializeToString(), where, threads=1)
    (entry,) = session.get_inputs()
    if LABELS not in arrays:
        raise InputError(f'{where}: has no array "{LABELS}"; write one with numpy.savez')
    others = [name for name in arrays if name != LABELS]
    name = entry.name if entry.name in others else others[0] if len(others) == 1 else None
    if name is None:
        raise InputError(f'{where}: which array is the input? call it "{entry.name}"')
    images, labels = arrays[name], arrays[LABELS]
    shape = [int(size) for size in entry.shape[1:]]
    if list(images.shape[1:]) != shape or images.ndim != len(shape) + 1:
        raise InputError(
            f'{where}: "{name}" is {list(images.shape)}, and the network takes [n, '
            f"{', '.join(map(str, shape))}]"
        )
    wanted = "float32" if entry.type == "tensor(float)" else entry.type[7:-1]
    if str(images.dtype) != wanted:
        raise InputError(f'{where}: "{name}" is {images.dtype}, and the network takes {wanted}')
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu" or not len(labels):
        raise InputError(
            f'{where}: "{LABELS}" has to be [{len(images)}] whole numbers, at least one'
        )
    if labels.min() < 0 or labels.max() >= classes:
        raise InputError(
            f"{where}: labels from {labels.min()} to {labels.max()}, and the network has "
            f"{classes} classes, from 0"
        )
    missing = np.flatnonzero(np.bincount(labels, minlength=classes) < 2)
    if len(missing):
        raise InputError(f"{where}: class {missing[0]} has fewer than two examples")
    names = [entry.name for entry in session.get_outputs()]
    rows: list[Any] = [session.run(names[1:], {entry.name: image[None]})[0][0] for image in images]
    found = np.asarray(rows, np.float32)
    if not np.isfinite(found).all() or np.abs(found).max() > MAX_HALF:
        raise InputError(
            f"{where}: a feature is not finite or beyond half precision (65504); are the images "
            "normalised as in training?"
        )
    return found, labels.astype(np.int64)


def _every(labels: np.ndarray, classes: int) -> np.ndarray:
    """True for every third example of a class, at least one of each."""
    held = np.zeros(len(labels), bool)
    for number in range(classes):
        held[np.flatnonzero(labels == number)[1::_EVERY]] = True
    return held


def _accuracy(cut: head.LinearHead, rows: np.ndarray, labels: np.ndarray, where: str) -> float:
    right = float(((rows @ cut.weights.T + cut.bias).argmax(axis=1) == labels).mean())
    chance = 1 / len(cut.weights)
    if right <= 1.5 * chance:
        raise InputError(
            f"{where}: the network gets {right:.1%} of the held-back examples right, and chance is "
            f"{chance:.1%}; are the labels in its order, and the images normalised as in training?"
        )
    return right


def _offer_all(
    memory: Examples, rows: np.ndarray, labels: np.ndarray, draws: Draws, each: int | None = None
) -> None:
    """Fills a memory; at most ``each`` of a class are kept."""
    if each is not None:
        # Room for classes that are still to come stays free.
        part = Examples(each * (int(labels.max()) + 1), rows.shape[1], len(memory.seen))
        _offer_all(part, rows, labels, draws)
        memory.count, memory.seen[...] = part.count, part.seen
        memory.labels[: part.count] = part.labels[: part.count]
        memory.features[: part.count] = part.features[: part.count]
        return
    for row, label in zip(rows.astype(np.float16), labels, strict=True):
        memory.offer(row, int(label), draws)
