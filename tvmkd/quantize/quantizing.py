"""Quantises a trained student to int8, with or without training (QAT, PTQ), and measures it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tvmkd import data, models
from tvmkd.base import console, machine
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.data.splits import Images, batches
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.export import qdq
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint
from tvmkd.quantize import fake
from tvmkd.stacks import progress
from tvmkd.stacks.compile import build

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.targets import Target


def quantize(
    cfg: Config, target: Target, student: Path, out: Path, *, search_in: Sequence[Path] = ()
) -> dict[str, Any]:
    """Quantises a student with the settings of ``[quantize]``.

    Args:
        cfg: the whole config.
        target: the target to compile for.
        student: checkpoint of a student of tvmkd or torchvision.
        out: the run folder; ``student-int8.onnx`` and ``quantize/`` are written into it.
        search_in: folders to search for a ``module:callable`` teacher.

    Returns:
        JSON-safe: accuracies (0 to 1, test split) ``fp32_accuracy``, ``int8_accuracy`` in ONNX
        Runtime and, after QAT, ``trained_accuracy`` in PyTorch; ``agreement``: the share of test
        images to which the int8 file gives the same class as the FP32 file (after QAT: as the
        trained network in PyTorch); ``quantized``: number of int8 layers; ``kept``: the layers in
        FP32; ``ms``: medians by engine; ``left_out``: reasons by engine.

    Raises:
        InputError: the student cannot be quantised.
    """
    section = cfg.quantize
    assert section is not None
    splits = data.load(cfg.data)
    saved = checkpoint.load(student)
    if not models.is_builtin(saved.model["spec"]):
        raise InputError(
            f'[quantize] supports students of tvmkd or torchvision, not "{saved.model["spec"]}"'
        )
    network = models.build(saved.model["spec"], **saved.model["kwargs"])
    network.load_state_dict(saved.state)
    folder = out / "quantize"
    folder.mkdir(exist_ok=True)
    before = export(student, folder / "fp32.onnx", splits.shape)
    source, full = before, _classes_of(before, splits.test)
    expected = full
    if section.method == "qat":

        def train() -> None:
            fine_tune(
                cfg,
                out,
                network,
                {"spec": "rounded", "kwargs": saved.model},
                folder / "qat.pt",
                name="student in eight bits",
                epochs=section.epochs,
                lr=section.lr,
                search_in=search_in,
            )

        # The int8 file is compared with the network that was trained for int8: its answers differ
        # from the FP32 student's by design.
        expected = trained_classes(network, section.keep_fp32, train, splits.test)
        source = export(network, folder / "qat.onnx", splits.shape, metadata=saved.meta)
    final = out / "student-int8.onnx"
    with console.working("calibrating the ranges of activations"):
        images = splits.sample(section.images, "train")
        facts = qdq.quantize(source, final, images, section.keep_fp32)
    labels = splits.test.labels.numpy()
    got = _classes_of(final, splits.test)
    times, left_out = _time(cfg, target, source, final, splits.sample(8), folder)
    found = {
        "method": section.method,
        "fp32_accuracy": float((full == labels).mean()),
        "int8_accuracy": float((got == labels).mean()),
        "agreement": float((got == expected).mean()),
        "quantized": facts.quantized,
        "kept": list(facts.kept),
        "ms": times,
        "left_out": left_out,
    }
    if section.method == "qat":
        found["trained_accuracy"] = float((expected == labels).mean())
    return found


def trained_classes(
    network: nn.Module, keep_fp32: Collection[str], train: Callable[[], None], images: Images
) -> np.ndarray:
    """Trains ``network`` with simulated int8 and returns the classes it then gives.

    The classes are taken before the simulation is removed, so that they are those of the int8
    network. Afterwards ``network`` is a plain FP32 module again, with the trained weights.

    Args:
        network: changed in place.
        keep_fp32: see `tvmkd.quantize.fake.attach`.
        train: trains ``network``.
        images: the images to classify.

    Returns:
        int64 ``[images]``: the class of each.
    """
    detach = fake.attach(network, keep_fp32)
    train()
    classes = _classes(network.cpu(), images)
    detach()
    return classes


def lines(found: dict[str, Any]) -> list[str]:
    """The results of `quantize` as lines for a terminal."""
    times = ", ".join(f"{name} {ms:.3f} ms" for name, ms in found["ms"].items())
    kept = f", {len(found['kept'])} kept in fp32" if found["kept"] else ""
    what = (
        f"{found['quantized']} layers in int8{kept}: right {found['int8_accuracy']:.1%}, in fp32 "
        f"{found['fp32_accuracy']:.1%}; {found['agreement']:.1%} of the classes as expected"
    )
    left_out = [f"{name}: left out: {reason}" for name, reason in found["left_out"].items()]
    return [what, times, *left_out]


def _classes(network: nn.Module, images: Images) -> np.ndarray:
    found = []
    order = torch.split(torch.arange(len(images.labels)), 128)
    with torch.inference_mode():
        for pictures, _ in batches(images, order):
            found.append(network.eval()(pictures).argmax(1))
    return torch.cat(found).numpy()


def _classes_of(onnx: Path, images: Images) -> np.ndarray:
    """The classes that ONNX Runtime gives to the images of a split, one image at a time."""
    session = open_session(onnx, threads=machine.physical_cores())
    name = session.get_inputs()[0].name
    pictures = images.get(torch.arange(len(images.labels))).numpy()
    return np.array([int(session.run(None, {name: row[None]})[0].argmax()) for row in pictures])


def _time(
    cfg: Config, target: Target, before: Path, after: Path, samples: np.ndarray, folder: Path
) -> tuple[dict[str, float], dict[str, str]]:
    """Median latencies (ms) of both files in ONNX Runtime and, if the target runs here, in TVM."""
    from tvmkd.bench import CompareOptions, EngineSpec, compare
    from tvmkd.export import check

    specs = [
        EngineSpec("onnxruntime fp32", "onnxruntime", before),
        EngineSpec("onnxruntime int8", "onnxruntime", after, precision="int8"),
    ]
    unbuilt: dict[str, str] = {}
    if target.runs_here() is None:
        for name, onnx in (("fp32", before), ("int8", after)):
            try:
                with progress.following(f"building {name} for {target.name}") as follow:
                    build(onnx, target, [], folder / name, stack=cfg.tune.stack, on_event=follow)
            except InputError as error:
                # TVM may round a value to the other side; the numeric check refuses that.
                unbuilt[f"tvm {name}"] = str(error)
                continue
            specs.append(EngineSpec(f"tvm {name}", "tvm", folder / name, precision=name))
    given = check(before).inputs[0].name
    with console.working("timing both in alternation"):
        result = compare(
            specs,
            before,
            [{given: row[None]} for row in samples],
            options=CompareOptions(
                threads=cfg.compare.threads or machine.physical_cores(),
                seconds=cfg.compare.seconds,
                rounds=cfg.compare.rounds,
            ),
        )
    return (
        {engine.name: engine.p50 for engine in result.engines},
        {**unbuilt, **{item.name: item.reason for item in result.left_out}},
    )
