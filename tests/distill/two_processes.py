"""Trains a small classifier and a small detector, in one process or several."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE), str(HERE / "detector")]


def train(folder: Path) -> None:
    """Writes ``classifier.pt`` and ``detector.pt``: weights, loss and scores of the leader."""
    import small
    import tiny_detectors

    from tvmkd.distill.classification import ClassificationTask
    from tvmkd.distill.detection import DetectionTask
    from tvmkd.distill.distributed import assemble
    from tvmkd.distill.task import Task
    from tvmkd.distill.trainer import Trainer
    from tvmkd.distill.training import Job, Settings

    torch.set_num_threads(1)
    digits = small.small(distill={"hard_mining": 2.0})
    boxes = tiny_detectors.small(folder.parent, detection={"augment": ["colour"]})
    classifier = {"stem": 8, "blocks": [[8, 1]], "classes": 10, "channels": 1}
    detector = {**tiny_detectors.ARGS, "width": 0.25, "classes": 10, "size": 64}
    tasks: list[tuple[str, Task, str, dict[str, object], int]] = [
        ("classifier", ClassificationTask(digits), "depthwise", classifier, 64),
        ("detector", DetectionTask(boxes), "ssdlite", detector, 6),
    ]
    with assemble() as team:
        for name, task, spec, kwargs, size in tasks:
            network = task.build(spec, kwargs, name, seed=0)
            teacher = task.build(spec, kwargs, "teacher", seed=1).eval().requires_grad_(False)
            found = task.distillation(network, teacher, folder / f"answers-{team.size}", team)
            job = Job(
                name=name,
                model={"spec": spec, "kwargs": kwargs},
                settings=Settings(1, 1e-3, 0.0, size, 0),
                path=folder / f"{name}-{team.size}.pt",
                loss=found.loss,
                loss_id=found.identity,
                variants=task.variants,
            )
            state = Trainer(task, team).fit(network, job)
            scores = task.evaluate(network, "val", team)
            if team.leader:
                saved = {"weights": network.state_dict(), "scores": scores}
                torch.save({**saved, "loss": state.history[-1]["loss"]}, folder / f"{name}.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]))
