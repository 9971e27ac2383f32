"""The stage ``distill``: trains the teacher and the students."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base import console, user_code
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
        own = [context.source(one.loss) for one in cfg.detection.losses if ":" in one.loss]
        return {
            **({} if given is None else {"student": context.hash(given)}),
            **({"losses": own} if own else {}),
            "seed": cfg.project.seed,
            "data": context.data,
            "distill": context.section_input(cfg.distill),
            "detection": cfg.detection.identity() if cfg.data.detection else None,
            "exits": exits.model_dump(mode="json", include={"exits", "weight"}) if exits else None,
            # Only a registered student, whose name has no colon, is rounded to it.
            "multiple": None if ":" in cfg.student.model else context.target.channel_multiple,
            "networks": [
                {
                    "section": context.section_input(section),
                    "code": context.source(section.model),
                    "backbone": context.hash(section.backbone),
                }
                for section in (cfg.teacher, cfg.student)
            ],
            "checkpoint": context.hash(cfg.teacher.checkpoint),
            **context.more_teachers,
            **self._latencies(),
            "loss": context.source(cfg.distill.loss),
            **context.more_losses,
        }

    def _latencies(self) -> dict[str, Any]:
        """What latencies come from, where the training depends on them."""
        context, cfg = self.context, self.context.cfg
        read: dict[str, Any] = {}
        if cfg.distill.shaped and cfg.student.checkpoint is None:
            from tvmkd.search.soft.opening import table_folder

            read["table"] = context.hash(table_folder(cfg, context.folder))
        if read or cfg.distill.watch is not None:
            read["building"] = context.building
        if cfg.distill.watch is not None:
            tune = cfg.tune
            read["watch"] = [tune.tracker, tune.key, cfg.export.batch]
        if user_code.is_own(cfg.distill.latency):
            read["latency"] = context.source(cfg.distill.latency)
        return read

    def outputs(self) -> list[Path]:
        """The chosen student, the metrics, and the teacher if it was trained."""
        context = self.context
        trained = context.folder / "teacher.pt"
        teacher = [trained] if context.teacher_weights == trained else []
        return [context.distilled, context.metrics, *teacher]

    def check(self) -> list[str]:
        """Looks for the latency table, and for where checkpoints can be measured."""
        context, cfg = self.context, self.context.cfg
        if cfg.project.log_to is not None:
            from tvmkd.distill import loggers

            loggers.check(cfg.project.log_to, context.search_in)
        if cfg.distill.shaped and cfg.student.checkpoint is None:
            from tvmkd.search.soft import opening

            opening.check(cfg, context.target, context.folder)
        if cfg.distill.watch is not None:
            from tvmkd.search.watch import opening as watching

            watching.check(cfg, context.target)
        return []

    def run(self) -> dict[str, Any]:
        """Returns what ``metrics.json`` holds."""
        context = self.context
        cfg = context.cfg
        with console.progress() as progress:
            result = train(
                cfg,
                context.target,
                context.folder,
                context.search_in,
                progress,
                [context.records, *cfg.tune.records],
                context.source(cfg.student.model),
            )
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
    records: Sequence[Path] = (),
    code: str | None = None,
) -> Result:
    """Trains as the config says; every process under torchrun calls this with equal arguments.

    Args:
        cfg: the whole config.
        target: what the student is for.
        folder: of the run.
        search_in: folders to look for a ``module:callable`` in.
        progress: shows bars.
        records: folders that may hold tuning records, for ``[distill] watch``.
        code: identifies the user's code behind the student, if any.

    Raises:
        InputError: the data, a model or a checkpoint cannot be used.
        GateFailure: the student is over the budget of ``[distill] watch``.
    """
    from tvmkd import distill

    section = cfg.distill
    shaped = section.shaped and cfg.student.checkpoint is None
    if section.watch is None and not shaped:
        return distill.train(
            cfg, folder, progress, search_in=search_in, multiple=target.channel_multiple
        )
    from tvmkd.search.soft.opening import open_shaper, table_folder
    from tvmkd.search.watch.opening import open_watch

    task = distill.make_task(cfg, search_in)
    with contextlib.ExitStack() as opened:
        watch = shaper = None
        if section.watch is not None:
            known = [*records, table_folder(cfg, folder)]
            watch = opened.enter_context(open_watch(cfg, target, folder, task, known, code))
        if shaped:
            looking = None if watch is None else watch.while_shaping
            shaper = opened.enter_context(open_shaper(cfg, target, folder, progress, looking))
        result = distill.train(
            cfg,
            folder,
            progress,
            search_in=search_in,
            multiple=target.channel_multiple,
            task=task,
            shaper=shaper,
            after_checkpoint=watch,
        )
        if watch is not None and int(os.environ.get("RANK", "0")) == 0:
            watch.finish(result)
        return result
