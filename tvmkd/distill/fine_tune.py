"""Trains a changed student on: one whose channels were pruned, or whose weights are rounded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from tvmkd import data
from tvmkd.base import console
from tvmkd.distill import losses
from tvmkd.distill.distillation_loss import Distillation
from tvmkd.distill.distributed import assemble
from tvmkd.distill.losses import Loss
from tvmkd.distill.session import Session
from tvmkd.distill.trainer import Job
from tvmkd.distill.training import Settings
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
) -> None:
    """Trains a changed student on, with the loss and the teacher that `distill` trained it with.

    Args:
        cfg: as for `distill`.
        out_dir: as for `distill`, which has been there: its ``teacher.pt`` is used.
        network: trained in place.
        model: ``{"spec", "kwargs"}`` that it is rebuilt from.
        path: the checkpoint; one of the same training is continued.
        name: for messages.
        epochs, lr: of this training.
        search_in: as for `distill`.

    Raises:
        InputError: as `distill`.
    """
    with console.progress() as progress, assemble() as team:
        session = Session(
            cfg=cfg,
            out=out_dir,
            team=team,
            splits=data.load(cfg.data),
            progress=progress if team.leader else None,
            search_in=tuple(search_in),
        )
        loss: Loss = losses.cross_entropy
        # What it starts from decides where it ends.
        start = files.fingerprint(network.state_dict())
        loss_id: dict[str, Any] = {"loss": "ce", "start": start}
        if cfg.distill.loss != "ce":
            loss, found, _ = session.distillation(network, session.teacher()[0])
            loss_id = {**found, "start": start}
        job = Job(
            name=name,
            model=model,
            loss=loss,
            loss_id=loss_id,
            settings=Settings(
                epochs, lr, cfg.distill.weight_decay, cfg.data.batch_size, cfg.project.seed
            ),
            path=path,
            checkpoint_seconds=session.checkpoint_seconds,
        )
        try:
            session.fit(network, job)
        finally:
            if isinstance(loss, Distillation):
                loss.close()
