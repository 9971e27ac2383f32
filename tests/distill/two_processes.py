"""Trains a small classifier and a small detector: alone, then in all processes of torchrun.

The processes then run `distill`, from a config to a folder.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE / "detector")]

import small  # noqa: E402
import tiny_detectors  # noqa: E402

from tvmkd.distill import distill  # noqa: E402
from tvmkd.distill.classification import ClassificationTask  # noqa: E402
from tvmkd.distill.detection import DetectionTask  # noqa: E402
from tvmkd.distill.distributed import ALONE, Team, assemble  # noqa: E402
from tvmkd.distill.optimizer import Optimizer  # noqa: E402
from tvmkd.distill.task import Task  # noqa: E402
from tvmkd.distill.trainer import Trainer  # noqa: E402
from tvmkd.distill.training import Job, Settings  # noqa: E402


def train(task: Task, spec: str, kwargs: dict[str, Any], batch: int, team: Team, out: Path) -> None:
    """One epoch of distillation; the leader writes the gradients, weights, loss and scores."""
    network = task.build(spec, kwargs, "student", seed=0)
    teacher = task.build(spec, kwargs, "teacher", seed=1).eval().requires_grad_(False)
    found = task.distillation(network, teacher, out.with_suffix(".answers"), team)
    job = Job(
        name="student",
        model={"spec": spec, "kwargs": kwargs},
        settings=Settings(1, 1e-3, 0.0, batch, 0, ema=0.5),
        path=out.with_suffix(".pt"),
        loss=found.loss,
        loss_id=found.identity,
        variants=task.variants,
    )
    gradients: list[torch.Tensor] = []
    step = Optimizer.step

    def noted(self: Optimizer, loss: torch.Tensor, number: int) -> Any:
        found = step(self, loss, number)
        if number == 0:
            gradients.extend(w.grad.clone() for w in self.weights if w.grad is not None)
        return found

    Optimizer.step = noted  # type: ignore[method-assign]
    state = Trainer(task, team).fit(network, job)
    Optimizer.step = step  # type: ignore[method-assign]
    scores = task.evaluate(network, "val", team)
    if team.leader:
        facts = {"loss": state.history[-1]["loss"], "scores": scores, "gradients": gradients}
        torch.save({**facts, "weights": network.state_dict()}, out)


def main(root: Path) -> None:
    """Writes ``alone/``, ``together/``, ``run/`` and the scores that each process saw in it."""
    torch.set_num_threads(1)
    classifier = {"stem": 8, "blocks": [[8, 1]], "classes": 10, "channels": 1}
    detector = {**tiny_detectors.ARGS, "width": 0.25, "classes": 10, "size": 64}
    # Losses that compare the images of a batch see those of both processes.
    relations = [{"loss": "mlkd"}, {"loss": "dist"}]
    digits = ClassificationTask(small.small(distill={"hard_mining": 2.0, "logits": relations}))
    boxes = DetectionTask(tiny_detectors.small(root, detection={"augment": ["colour"]}))

    def both(team: Team, folder: Path) -> None:
        folder.mkdir(exist_ok=True)  # by any process
        train(digits, "depthwise", classifier, 64, team, folder / "classifier")
        train(boxes, "ssdlite", detector, 6, team, folder / "detector")

    if os.environ["RANK"] == "0":  # before there is a group of processes
        for name in ("alone", "together"):  # torchrun starts both again after a failure
            shutil.rmtree(root / name, ignore_errors=True)
        both(ALONE, root / "alone")
    with assemble() as team:
        both(team, root / "together")
    found = distill(small.small(distill={"seeds": [0], "baseline": False}), root / "run")
    # A file each: what two processes print at once may share a line.
    (root / f"score{os.environ['RANK']}").write_text(
        f"{found.chosen.test_accuracy:.6f} {found.teacher.test_accuracy:.6f}"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
