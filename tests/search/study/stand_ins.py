"""Small, quick parts of a study: a space, a latency predictor made of sums, trainings that wait."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from tvmkd import config, targets
from tvmkd.base.errors import InputError, MissingError
from tvmkd.search.latency.prediction import Kernel, Measured, Prediction
from tvmkd.search.study.bench import Plan

SECTIONS: dict[str, dict[str, Any]] = {
    "project": {"name": "toy", "seed": 3},
    "data": {"dataset": "digits", "image_size": 8},
    "teacher": {"model": "residual", "args": {"widths": [8], "depth": 1}, "epochs": 1},
    "student": {"model": "depthwise", "args": {"stem": 8, "blocks": [[16, 1]]}},
    "distill": {"loss": "kd", "epochs": 2, "lr": 4e-3, "seeds": [0], "baseline": False},
    "search": {
        "trials": 4,
        "baselines": [],
        "space": {"width": [0.5, 1.0, 2.0, 3.0, 4.0], "distill.lr": [1e-3, 2e-3, 4e-3, 8e-3]},
    },
}
HERE = Path(__file__).parent


def toy(**changes: dict[str, Any]) -> config.Config:
    """`SECTIONS` with some keys of some sections changed."""
    names = {**SECTIONS, **changes}
    return config.parse(
        {name: {**SECTIONS.get(name, {}), **changes.get(name, {})} for name in names}
    )


def plan(folder: Path, cfg: config.Config | None = None, **changes: Any) -> Plan:
    """A plan whose latencies are a network's parameters, and whose trainings wait."""
    return Plan(
        cfg or toy(),
        targets.load("host"),
        folder,
        [HERE],
        latency=changes.get("latency", "stand_ins:sums"),
        training=changes.get("training", "stand_ins:Waiting"),
    )


@dataclass
class Sums:
    """A predictor: a microsecond for each parameter; measured ones are a tenth slower."""

    unit: str = "s"
    away: bool = False
    measured: list[str] = field(default_factory=list)

    def kernels(self, model: nn.Module | Path, shape: Sequence[int] | None = None) -> list[Kernel]:
        """One kernel."""
        assert isinstance(model, nn.Module)
        count = sum(weight.numel() for weight in model.parameters())
        count *= 1 + 3 * getattr(model, "last", 0)  # until a later exit it takes longer
        return [Kernel("all", "all", "conv2d", 1, float(count))]

    def predict(self, kernels: Sequence[Kernel]) -> Prediction:
        """With an interval of a fifth on each side."""
        seconds = sum(kernel.flop for kernel in kernels) * 1e-6
        return Prediction(seconds, 0.8 * seconds, 1.2 * seconds)

    def predict_model(
        self, model: nn.Module | Path, shape: Sequence[int] | None = None
    ) -> Prediction:
        """Both."""
        return self.predict(self.kernels(model, shape))

    def measure(self, onnx: Path) -> Measured:
        """By the file's size, or no board."""
        if self.away or os.environ.get("STAND_IN_AWAY"):
            raise MissingError("no board answers under the key toy")
        self.measured.append(onnx.parent.name)
        return Measured(1e-3 * len(self.measured), 0.01, board_seconds=2.0)

    def describe(self) -> dict[str, Any]:
        """Nothing."""
        return {"source": "sums"}


def sums(cfg: config.Config, target: targets.Target, folder: Path) -> Sums:
    """A `Sums`."""
    del cfg, target, folder
    return Sums()


class Waiting:
    """Trainings that take ``STAND_IN_SECONDS``; wide networks score higher, and none is kept."""

    def __init__(self, networks: Any) -> None:
        self.seconds = float(os.environ.get("STAND_IN_SECONDS", "0"))

    def teacher(self, candidate: Any) -> None:
        """None."""
        del candidate

    def fit(self, candidate: Any, rungs: Any, report: Any) -> Any:
        """Waits, and passes the rungs."""
        from tvmkd.search.study.training import Trained

        epochs, width = candidate.cfg.distill.epochs, candidate.cfg.student.args["width"]
        if os.environ.get("STAND_IN_FAILS") == str(width):
            raise InputError(f"width {width} is unlucky")
        score = 1 - 0.3 / (1 + width)
        report(0, "")
        for epoch in range(1, epochs + 1):
            time.sleep(self.seconds / epochs)
            report(epoch, "waiting")
            if epoch in rungs.epochs:
                rungs.reached(epoch, score * epoch / epochs)
        return Trained(score, score, self.seconds, epochs, None)


class Saving(Waiting):
    """As `Waiting`, but leaves the network as it was built."""

    def fit(self, candidate: Any, rungs: Any, report: Any) -> Any:
        """Saves it."""
        from tvmkd.models.checkpoint import Checkpoint, save
        from tvmkd.search.study.training import Trained, weights

        spec, args = candidate.session.student_model
        model = {"spec": spec, "kwargs": candidate.session.kwargs("student", spec, args)}
        path = weights(candidate)
        save(path, Checkpoint(model, candidate.network.state_dict()))
        return Trained(0.9, 0.9, 0.0, 1, path)
