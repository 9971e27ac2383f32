"""Quantises a trained student to int8, with or without training (QAT, PTQ), and measures it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from tvmkd import models
from tvmkd.base import console, machine
from tvmkd.base.errors import InputError
from tvmkd.base.onnx_runtime import open_session
from tvmkd.distill import tasks
from tvmkd.distill.fine_tune import fine_tune
from tvmkd.export import qdq
from tvmkd.export.description import describe
from tvmkd.export.onnx import export
from tvmkd.models import checkpoint
from tvmkd.models.reparameterize import fused
from tvmkd.quantize import fake
from tvmkd.stacks import progress
from tvmkd.stacks.compile import build

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.distill.task import Task
    from tvmkd.targets import Target


def quantize(
    cfg: Config, target: Target, student: Path, out: Path, *, search_in: Sequence[Path] = ()
) -> dict[str, Any]:
    """Quantises a student with the settings of ``[quantize]``.

    Args:
        cfg: the whole config.
        target: the target to compile for.
        student: checkpoint of a student of tvmkd, torchvision or timm.
        out: the run folder; ``student-int8.onnx`` and ``quantize/`` are written into it.
        search_in: folders to search for a ``module:callable``.

    Returns:
        JSON-safe: ``metric`` and its text for people by score; on the test split ``int8_score`` in
        ONNX Runtime, ``fp32_score`` of the student (PTQ: in ONNX Runtime, QAT: in PyTorch) and,
        after QAT, ``trained_score`` in PyTorch; ``agreement``:
        the share of answers (see `tvmkd.distill.task.Task.agreement`) that the int8 file has in
        common with the FP32 file (after QAT: with the trained network in PyTorch), or None;
        ``quantized``: number of int8 layers; ``kept``: the layers in FP32; ``ms``: medians by
        engine; ``left_out``: reasons by engine.

    Raises:
        InputError: the student cannot be quantised.
    """
    section = cfg.quantize
    assert section is not None
    task = tasks.make(cfg, search_in)
    final = out / "student-int8.onnx"
    made = convert(cfg, task, student, out, out / "quantize", final, search_in=search_in)
    got = _judge(task, made.network, in_onnx_runtime(final))
    folder, source, facts = out / "quantize", made.source, made.facts
    full, expected = made.full, made.expected
    times, left_out = _time(cfg, target, source, final, task.samples(8), folder)
    scores = {"fp32_score": full.score, "int8_score": got.score}
    if section.method == "qat":
        scores["trained_score"] = expected.score
    return {
        "method": section.method,
        "metric": task.metric.name,
        "text": {name: task.metric.text(score) for name, score in scores.items()},
        **scores,
        "agreement": None if got.answers is None else task.agreement(expected.answers, got.answers),
        "quantized": facts.quantized,
        "kept": list(facts.kept),
        "ms": times,
        "left_out": left_out,
    }


@dataclass(frozen=True)
class Converted:
    """A student and its int8 file.

    Attributes:
        network: the student; after QAT with the weights that were trained for int8.
        source: its FP32 file.
        facts: of the int8 file.
        full: how the student did in FP32.
        expected: what the int8 file is compared with: PTQ: ``full``; QAT: the trained network.
    """

    network: nn.Module
    source: Path
    facts: qdq.Facts
    full: Judged
    expected: Judged


def convert(
    cfg: Config,
    task: Task,
    student: Path,
    teacher: Path,
    folder: Path,
    final: Path,
    *,
    search_in: Sequence[Path] = (),
) -> Converted:
    """Writes the int8 file of a student, as ``[quantize]`` says.

    Args:
        cfg: the whole config.
        task: what is learnt.
        student: checkpoint of a student of tvmkd, torchvision or timm.
        teacher: the folder of ``teacher.pt``, for QAT.
        folder: gets the FP32 file, and the checkpoint of the training.
        final: the int8 file to write.
        search_in: folders to search for a ``module:callable``.

    Raises:
        InputError: the student cannot be quantised.
    """
    section = cfg.quantize
    assert section is not None
    saved = checkpoint.load(student)
    if not models.is_builtin(saved.model["spec"]):
        raise InputError(
            "[quantize] supports students of tvmkd, torchvision or timm, not "
            f'"{saved.model["spec"]}"'
        )
    network = task.restore(student)
    folder.mkdir(exist_ok=True)
    if section.method == "ptq":
        source = export(student, folder / "fp32.onnx", task.input_shape)
        full = expected = _judge(task, network, in_onnx_runtime(source))
    else:
        # What is rounded has to be what runs: the fused layers.
        network = fused(network, task.input_shape, saved.model["spec"])
        full = _judge(task, network, _in_pytorch(network))

        def train() -> None:
            fine_tune(
                cfg,
                teacher,
                network,
                {"spec": "rounded", "kwargs": saved.model},
                folder / "qat.pt",
                name="student in eight bits",
                epochs=section.epochs,
                lr=section.lr,
                search_in=search_in,
                task=task,
            )

        # The int8 file is compared with the network that was trained for int8: its answers differ
        # from the FP32 student's by design.
        expected = judge_trained(network, section.keep_fp32, train, task)
        about = checkpoint.description(saved.meta)
        source = export(network, folder / "qat.onnx", task.input_shape, metadata=about)
    with console.working("calibrating the ranges of activations"):
        images = task.samples(section.images, "train")
        facts = qdq.quantize(source, final, images, section.keep_fp32)
    if task.calibrates:
        describe(final, task.calibrate(network, in_onnx_runtime(final)))
    return Converted(network, source, facts, full, expected)


@dataclass(frozen=True)
class Judged:
    """How a network did on the test split.

    Attributes:
        score: by the task's metric.
        answers: see `tvmkd.distill.task.Task.answers`.
    """

    score: float
    answers: Any


def judge_trained(
    network: nn.Module, keep_fp32: Collection[str], train: Callable[[], None], task: Task
) -> Judged:
    """Trains ``network`` with simulated int8, and judges it.

    It is judged before the simulation is removed: as the int8 network. Afterwards ``network`` is a
    plain FP32 module again, with the trained weights.

    Args:
        network: changed in place.
        keep_fp32: see `tvmkd.quantize.fake.attach`.
        train: trains ``network``.
        task: what is learnt.
    """
    detach = fake.attach(network, keep_fp32)
    train()
    judged = _judge(task, network, _in_pytorch(network))
    detach()
    return judged


def lines(found: dict[str, Any]) -> list[str]:
    """The results of `quantize` as lines for a terminal."""
    times = ", ".join(f"{name} {ms:.3f} ms" for name, ms in found["ms"].items())
    kept = f", {len(found['kept'])} kept in fp32" if found["kept"] else ""
    score, metric = found["text"]["int8_score"], f"{found['metric']} "
    score = score if score.startswith(metric) else metric + score  # some are shown with their name
    what = (
        f"{found['quantized']} layers in int8{kept}: {score}, in fp32 {found['text']['fp32_score']}"
    )
    if found["agreement"] is not None:
        what += f"; {found['agreement']:.1%} of the answers as expected"
    left_out = [f"{name}: left out: {reason}" for name, reason in found["left_out"].items()]
    return [what, times, *paid(found["ms"]), *left_out]


def paid(ms: dict[str, float]) -> list[str]:
    """Whether int8 is faster, for each engine that ran both files.

    Args:
        ms: medians by engine and precision, as `quantize` gives them.
    """
    said = []
    for name in (key.removesuffix(" int8") for key in ms if key.endswith(" int8")):
        if f"{name} fp32" in ms:
            share = ms[f"{name} int8"] / ms[f"{name} fp32"]
            verdict = "pays" if share < 1 else "does not pay"
            said.append(f"int8 {verdict} in {name}: {share:.2f} of the time in fp32")
    return said


def _judge(task: Task, network: nn.Module, run: Callable[[torch.Tensor], Any]) -> Judged:
    score = task.measure(network, run, "test")[task.metric.key]
    return Judged(score, task.answers(network, run, "test"))


def _in_pytorch(network: nn.Module) -> Callable[[torch.Tensor], Any]:
    """Runs a network on the CPU in evaluation mode: ``[n, C, H, W]`` to its outputs."""
    network.cpu().eval()

    def run(images: torch.Tensor) -> Any:
        with torch.inference_mode():
            return network(images)

    return run


def in_onnx_runtime(onnx: Path) -> Callable[[torch.Tensor], Any]:
    """Runs a file image by image: ``[n, C, H, W]`` to its outputs, as `Task.measure` wants them."""
    session = open_session(onnx, threads=machine.physical_cores())
    name = session.get_inputs()[0].name

    def run(images: torch.Tensor) -> Any:
        found = [session.run(None, {name: row[None]}) for row in images.numpy()]
        outputs = [torch.from_numpy(np.concatenate(one)) for one in zip(*found, strict=True)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    return run


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
                processes=cfg.compare.processes,
            ),
        )
    return (
        {engine.name: engine.p50 for engine in result.engines},
        {**unbuilt, **{item.name: item.reason for item in result.left_out}},
    )
