"""Makes the pieces of a trained network with exits, their thresholds and their timings."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from tvmkd import models
from tvmkd.base import console, machine, stack_registry
from tvmkd.base.errors import UsageError
from tvmkd.base.exits import NEVER
from tvmkd.base.folders import draft_folder
from tvmkd.data.splits import Images, Splits, batches
from tvmkd.early_exit import calibrate, clock, selection
from tvmkd.early_exit.cut import cut
from tvmkd.early_exit.runtime import Plan
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.stacks import progress
from tvmkd.stacks.compile import build

if TYPE_CHECKING:
    from tvmkd.config import EarlyExit as Section
    from tvmkd.targets import Target

IMAGES = 200  # images of the test split that are timed
SAMPLES = 8  # real inputs for the numeric check of each piece


def produce(
    student: Path,
    splits: Splits,
    section: Section,
    target: Target,
    out: Path,
    *,
    threads: int | None = None,
    stack: str = stack_registry.DEFAULT,
) -> dict[str, Any]:
    """Cuts, compiles, times, calibrates and times again.

    Args:
        student: checkpoint of an `EarlyExitNet`.
        splits: thresholds are calibrated on the validation split, results are those of the test
            split.
        section: the config's ``[early_exit]``.
        target: compilation target; its code must run here, since the thresholds depend on measured
            times.
        out: folder for ``exits/`` (the pieces and ``exits.json``), ``whole/`` and the ONNX files.
        threads: number of TVM's threads; None: one per physical core.
        stack: the compiler stack.

    Returns:
        JSON-safe: for each exit its ``threshold``, its ``rate`` and the share ``beyond`` of the
        images that go on, its ``ms`` up to and including this exit, and its ``accuracy`` alone;
        ``accuracy`` with exits and ``full_accuracy`` without, on the test split; ``whole_ms``,
        ``expected_ms``, ``worst_ms`` (all pieces with their branches) from times of the pieces, and
        ``mean_ms``, ``mean_whole_ms`` of the network run image by image; ``agreement`` with
        PyTorch, 0 to 1; and `tvmkd.early_exit.selection.facts`.

    Raises:
        UsageError: the target's code does not run here.
        InputError: the network cannot be split, exported or compiled; or ``mean_budget`` is below
            the time of the first exit.
    """
    reason = target.runs_here()
    if reason is not None:
        raise UsageError(
            f"[early_exit] times its pieces, and {target.name} does not run here: {reason}; "
            "calibrate on the board's own machine, or give target host"
        )
    saved = checkpoint.load(student)
    network = restored(saved)
    threads = threads or machine.physical_cores()
    final, whole, images = out / "exits", out / "whole", out / "images.npy"
    with draft_folder(final) as folder:
        with console.working("cutting the network at its exits") as step:
            metadata = checkpoint.description(saved.meta)
            paths = cut(network, folder, splits.shape, metadata=metadata)
            export(student, out / "whole.onnx", splits.shape)
            samples = _samples(network, splits)
        names = [path.stem for path in paths]
        for path, values in zip(paths, samples, strict=True):
            _build(path, values, target, folder / path.stem, stack)
        _build(out / "whole.onnx", samples[0], target, whole, stack)
        with console.working("timing the pieces, and the network whole") as step:
            np.save(images, splits.sample(IMAGES))
            times = clock.pieces_ms([folder / name for name in names], whole, images, threads)
            step("calibrating the exits on the validation split")
            upto = np.cumsum(times["pieces"])
            val, test = (exit_logits(network, part) for part in (splits.val, splits.test))
            made = selection.select(section, val, splits.val.labels.numpy(), upto.tolist())
            chosen, labels = made.calibration, splits.test.labels.numpy()
            facts = selection.facts(made, test, labels, upto.tolist())
            told = {name: value for name, value in facts.items() if name != "temperatures"}
            Plan.of(folder, names, chosen.rule).save(folder, measured=told)
            step("timing image by image")
            run = clock.network_ms(folder, whole, images, threads)
    _warn_of_unused(chosen, network)
    found = calibrate.apply(test, labels, chosen.rule)
    picks = torch.linspace(0, len(labels) - 1, len(run["exits"])).round().long().numpy()
    guesses = np.stack([logits.argmax(axis=1) for logits in test])
    exits = calibrate.leave_by(test, chosen.rule)
    agree = guesses[exits, np.arange(len(labels))][picks] == np.array(run["classes"])
    return {
        "exits": [
            {
                "after": path,
                "threshold": threshold,
                "rate": rate,
                "beyond": float((exits > index).mean()),
                "ms": float(ms),
                "accuracy": float((guess == labels).mean()),
            }
            for index, (path, threshold, rate, ms, guess) in enumerate(
                zip(
                    (*network.exits, "the end"),
                    (*chosen.rule.thresholds, None),
                    found.rates,
                    upto,
                    guesses,
                    strict=True,
                )
            )
        ],
        "accuracy": found.accuracy,
        "full_accuracy": found.full_accuracy,
        "val_accuracy": chosen.accuracy,
        "val_full_accuracy": chosen.full_accuracy,
        "whole_ms": times["whole"],
        "expected_ms": float(np.dot(found.rates, upto)),
        "worst_ms": float(upto[-1]),
        "mean_ms": float(np.mean(run["early"])),
        "mean_whole_ms": float(np.mean(run["whole"])),
        "agreement": float(agree.mean()),
        **facts,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """The result of `produce` as lines for a terminal."""
    rows = [
        f"exit after {entry['after']}: {entry['rate']:6.1%} of the images, {entry['beyond']:6.1%} "
        f"go on, {entry['ms']:.3f} ms, right {entry['accuracy']:.1%} by itself"
        for entry in found["exits"]
    ]
    faster = found["mean_whole_ms"] / found["mean_ms"]
    ways = (
        f"run image by image: {found['mean_ms']:.3f} ms against {found['mean_whole_ms']:.3f} ms, "
        f"{faster:.2f} times as fast; right {found['accuracy']:.1%} against "
        f"{found['full_accuracy']:.1%}"
    )
    times = (
        f"expected {found['expected_ms']:.3f} ms, worst case {found['worst_ms']:.3f} ms (the whole "
        f"path and all branches), without exits {found['whole_ms']:.3f} ms"
    )
    return [*rows, times, ways, *selection.lines(found)]


def restored(saved: checkpoint.Checkpoint) -> EarlyExitNet:
    """The trained network of a checkpoint, in evaluation mode."""
    network = models.build(saved.model["spec"], **saved.model["kwargs"])
    assert isinstance(network, EarlyExitNet)
    network.load_state_dict(saved.state)
    return network.eval()


def _samples(network: EarlyExitNet, splits: Splits) -> list[np.ndarray]:
    """Real inputs of each piece: ``[SAMPLES, ...]``."""
    pictures = splits.sample(SAMPLES)
    with torch.no_grad():
        network(torch.from_numpy(pictures))
        return [pictures, *(found.numpy() for found in network.features)]


def _build(path: Path, values: np.ndarray, target: Target, out: Path, stack: str) -> None:
    from tvmkd.export import check

    with tempfile.TemporaryDirectory(prefix="tvmkd-inputs-") as folder:
        inputs = Path(folder) / "inputs.npz"
        named: dict[str, Any] = {check(path).inputs[0].name: values}
        np.savez(inputs, **named)
        with progress.following(f"building {path.stem} for {target.name}") as follow:
            build(path, target, [], out, inputs=inputs, stack=stack, on_event=follow)


def exit_logits(network: EarlyExitNet, images: Images) -> list[np.ndarray]:
    """The logits of each exit in order: ``[N, classes]`` over a split."""
    parts: list[list[torch.Tensor]] = []
    order = torch.split(torch.arange(len(images.labels)), 128)
    with torch.inference_mode():
        for pictures, _ in batches(images, order):
            last = network(pictures)
            parts.append([*network.branch_logits, last])
    joined: Sequence[torch.Tensor] = [torch.cat(column) for column in zip(*parts, strict=True)]
    return [found.numpy() for found in joined]


def _warn_of_unused(chosen: calibrate.Calibration, network: EarlyExitNet) -> None:
    never = [
        path
        for path, threshold in zip(network.exits, chosen.rule.thresholds, strict=True)
        if threshold >= NEVER
    ]
    if never:
        console.warn(
            f"the exit after {' and that after '.join(never)} is never taken: no threshold on it "
            "keeps to max_drop, or it saves nothing, or mean_budget allows more; train longer, or "
            "put it later"
        )
