"""Trains a changed student further: with channels pruned, or weights rounded."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd.base import console
from tvmkd.distill import tasks
from tvmkd.distill.distributed import assemble
from tvmkd.distill.recorder import Recorder
from tvmkd.distill.session import Session
from tvmkd.distill.task import Task
from tvmkd.distill.training import Job, Settings
from tvmkd.models import checkpoint as files

if TYPE_CHECKING:
    from tvmkd.config import Config


def fine_tune(
    cfg: Config,
    out_dir: Path,
    network: nn.Module,
    model: dict[str, Any],
    path: Path,
    *,
    name: str,
    epochs: int,
    lr: float,
    search_in: Sequence[Path] = (),
    task: Task | None = None,
) -> None:
    """Trains a changed student further, with the loss and the teacher of its `distill`.

    Args:
        cfg: as for `distill`.
        out_dir: the folder of that `distill`: its ``teacher.pt`` is used.
        network: trained in place.
        model: ``{"spec", "kwargs"}`` that it is rebuilt from.
        path: the checkpoint; one of the same training is resumed.
        name: for messages.
        epochs, lr: of this training.
        search_in: as for `distill`.
        task: what is learnt; None: what ``[data]`` names.

    Raises:
        InputError: as `distill`.
    """
    with console.progress() as progress, assemble() as team, contextlib.ExitStack() as opened:
        recorder = None
        if path.is_relative_to(out_dir):  # not that of a trial of a search
            log_to, run = cfg.project.log_to, cfg.project.name
            recorder = opened.enter_context(Recorder(out_dir, team, log_to, run, search_in))
        session = Session(
            cfg=cfg,
            out=out_dir,
            team=team,
            task=task or tasks.make(cfg, search_in),
            progress=progress if team.leader else None,
            recorder=recorder,
        )
        settle = getattr(network, "settle", None)  # of a detector
        if settle is not None and cfg.student.backbone is not None:
            settle()  # a network that was read from a file does not know
        settings = Settings(
            epochs, lr, cfg.distill.weight_decay, cfg.data.batch_size, cfg.project.seed
        )
        job = Job(
            name=name,
            model=model,
            settings=settings,
            path=path,
            loss=session.task.student_loss(network),
            loss_id=session.task.student_labels_id,
            variants=session.task.variants,
            checkpoint_seconds=session.checkpoint_seconds,
        )
        # Where it starts determines where it ends.
        start = {"start": files.fingerprint(network.state_dict())}
        if cfg.distill.loss != "ce":
            job = session.distilled(job, network, session.teacher()[0])
        # A pruned student is trained on all images: it has seen the easy ones.
        job = replace(job, loss_id={**job.loss_id, **start}, curriculum=None)
        session.fit(network, job)
