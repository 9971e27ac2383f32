"""The stage ``distill``: trains the teacher and the students."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console
from tvmkd.stages.base import Stage

if TYPE_CHECKING:
    from rich.progress import Progress

    from tvmkd.config import Config
    from tvmkd.distill import Result
    from tvmkd.targets import Target


class Distill(Stage):
    """Teacher and students: ``student.pt``, ``metrics.json``."""

    name = "distill"
    makes_student = True

    @property
    def forced(self) -> bool:
        """True under torchrun: the other processes wait for this one."""
        return int(os.environ.get("WORLD_SIZE", "1")) > 1

    def inputs(self) -> dict[str, Any]:
        """The data, both networks, the loss, and the user's code behind either network."""
        context, cfg = self.context, self.context.cfg
        exits = cfg.early_exit
        given = cfg.student.checkpoint
        return {
            **({} if given is None else {"student": context.hash(given)}),
            "seed": cfg.project.seed,
            "data": context.data,
            "distill": cfg.distill.model_dump(mode="json"),
            "detection": cfg.detection.model_dump(mode="json") if cfg.data.detection else None,
            "exits": exits.model_dump(mode="json", include={"exits", "weight"}) if exits else None,
            # Only a registered student, whose name has no colon, is rounded to it.
            "multiple": None if ":" in cfg.student.model else context.target.channel_multiple,
            "networks": [
                {
                    "section": section.model_dump(mode="json"),
                    "code": context.source(section.model),
                    "backbone": context.hash(section.backbone),
                }
                for section in (cfg.teacher, cfg.student)
            ],
            "checkpoint": context.hash(cfg.teacher.checkpoint),
            "loss": context.source(cfg.distill.loss),
        }

    def outputs(self) -> list[Path]:
        """The chosen student, the metrics, and the teacher if it was trained."""
        context = self.context
        trained = context.folder / "teacher.pt"
        teacher = [trained] if context.teacher_weights == trained else []
        return [context.distilled, context.metrics, *teacher]

    def run(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""
        context = self.context
        with console.progress() as progress:
            result = train(context.cfg, context.target, context.folder, context.search_in, progress)
        for line in result.lines():
            console.say(f"  {line}")
        metrics: dict[str, Any] = json.loads(result.metrics.read_text(encoding="utf-8"))
        return metrics


def train(
    cfg: Config,
    target: Target,
    folder: Path,
    search_in: Sequence[Path],
    progress: Progress | None = None,
) -> Result:
    """Trains as the config says; every process under torchrun calls this with equal arguments.

    Raises:
        InputError: the data, a model or a checkpoint cannot be used.
    """
    from tvmkd import distill

    return distill.train(
        cfg, folder, progress, search_in=search_in, multiple=target.channel_multiple
    )
