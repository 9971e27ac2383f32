"""Trains the largest network of a space together with all that are parts of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.distill.training import Report
from tvmkd.models.checkpoint import Checkpoint
from tvmkd.search.supernet.networks import Networks
from tvmkd.search.supernet.sandwich import Sandwich

if TYPE_CHECKING:
    from tvmkd.config import Config
    from tvmkd.config.search import Supernet
    from tvmkd.search.study import networks as trials
    from tvmkd.search.supernet.blueprints import Blueprints
    from tvmkd.search.supernet.corners import Corners

NAME = "supernet"


def train(
    blueprints: Blueprints,
    corners: Corners,
    settings: Supernet,
    sessions: trials.Networks,
    path: Path,
    report: Report | None = None,
) -> tuple[Networks, Checkpoint]:
    """Trains the supernet, or reads it if it is trained already.

    Args:
        blueprints: of the space.
        corners: of the space.
        settings: epochs, learning rate, networks in each step.
        sessions: makes the trainer, and has the teacher.
        path: the checkpoint: that of the largest network, and so of all. A training that was
            stopped goes on from it.
        report: called with the epochs done and a note.

    Returns:
        the networks with trained weights, and the checkpoint.

    Raises:
        InputError: the training fails: NaN, a user's code, a full disk.
    """
    cfg = _config(blueprints.config(corners.largest), settings)
    session = sessions.session(cfg)
    found = sessions.teacher(session)
    seed = cfg.distill.seeds[0]
    network, job = session.student(seed, path, NAME, None if found is None else found[0])
    networks = Networks(blueprints, corners, network, session.team)
    # A smallest network that cannot be had would end the training in its first step.
    networks.part(corners.smallest)
    identity = {
        "space": {each.name: each.values.model_dump() for each in blueprints.space.parameters},
        "samples": settings.samples,
        "leading": networks.channels is None,
    }
    job = replace(
        job,
        loss=Sandwich(networks, job.loss, settings.samples, seed),
        loss_id={**job.loss_id, NAME: identity},
    )
    return networks, session.fit(network, job, report)


def _config(cfg: Config, settings: Supernet) -> Config:
    """With the supernet's epochs and learning rate."""
    changes = {"epochs": settings.epochs, "lr": settings.lr or cfg.distill.lr}
    return cfg.model_copy(update={"distill": cfg.distill.model_copy(update=changes)})


def check(cfg: Config) -> None:
    """Refuses what networks of a supernet cannot have.

    Raises:
        InputError: the config has exits.
    """
    if cfg.early_exit is not None:
        raise InputError(
            '[early_exit]: method = "supernet" finds networks without exits: take the section out, '
            'and put it into the winner\'s tvmkd.toml, or give method = "study"'
        )
