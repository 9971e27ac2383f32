"""Accuracy of int8 in tvmkd and in ONNX Runtime, on a network that was trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import Result
from _quantised import quantised

import tvmkd
from tvmkd import config, targets
from tvmkd.base import resources
from tvmkd.base.onnx_runtime import open_session
from tvmkd.config import tomllib
from tvmkd.distill import tasks
from tvmkd.stacks.compile import build
from tvmkd.stages import pipeline

BAR = 0.1
"""Points of accuracy that tvmkd's int8 may lose against ONNX Runtime's."""
CALIBRATION = 128

Run = Callable[[np.ndarray], np.ndarray]


def measure(work: Path, wanted: Sequence[str]) -> list[Result]:
    """The student of the recipe ``qat``: a residual network on 1,200 handwritten digits.

    It is trained once, calibrated without further training, and quantised twice: its convolutions
    and matrix products (as ``[quantize]`` does), and every operator.

    Args:
        work: the run stays in its folder ``accuracy``.
        wanted: targets.

    Returns:
        the points that each target loses against ONNX Runtime with the same file.
    """
    text = (resources.folder("recipes") / "qat.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    data["project"]["out"] = str(work / "accuracy")
    data["quantize"] = {"method": "ptq", "images": CALIBRATION, "allow_slow": True}
    cfg = config.parse(data)
    pipeline.run(cfg, until="quantize")
    folder = work / "accuracy" / cfg.project.name
    folder = folder if folder.is_dir() else work / "accuracy"
    task = tasks.make(cfg)
    float32 = folder / "quantize" / "fp32.onnx"
    whole = quantised(
        float32, folder / "whole-int8.onnx", images=task.samples(CALIBRATION, "train")
    )
    network = task.restore(folder / "student.pt")

    def score(run: Run) -> float:
        def images(batch: torch.Tensor) -> torch.Tensor:
            rows = [run(row[None]) for row in batch.numpy()]
            return torch.from_numpy(np.concatenate(rows))

        return float(task.measure(network, images, "test")[task.metric.key])

    full, results = score(_in_onnx_runtime(float32)), []
    for kind, path in (("layers", folder / "student-int8.onnx"), ("every operator", whole)):
        peer = score(_in_onnx_runtime(path))
        for target in wanted:
            made = folder / f"{target}-{kind.replace(' ', '-')}"
            build(path, targets.load(target), [], made, shipped=False)
            ours = score(tvmkd.load(made))
            results.append(
                Result(
                    f"points that {target} loses against ONNX Runtime's int8: {kind}",
                    100 * (peer - ours),
                    BAR,
                    note=f"{ours:.2%}, ONNX Runtime {peer:.2%}, FP32 {full:.2%}",
                    details={"ours": ours, "onnxruntime": peer, "fp32": full},
                )
            )
    return results


def _in_onnx_runtime(path: Path) -> Run:
    session: Any = open_session(path, threads=1)
    (given,) = session.get_inputs()
    return lambda image: np.asarray(session.run(None, {given.name: image})[0])
