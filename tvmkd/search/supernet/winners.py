"""Cuts the best networks out of a supernet, and trains them on as networks of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tvmkd.base.errors import InputError
from tvmkd.distill.training import Report
from tvmkd.models import checkpoint as files
from tvmkd.search.supernet.ranking import Judged, Ranking

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.config.search import Supernet
    from tvmkd.search.study import networks as trials


@dataclass(frozen=True)
class Tuned:
    """A network that was trained on.

    Attributes:
        score, test: the deciding score on the validation and on the test split.
        epochs, seconds: of that training.
        checkpoint: its weights: a student's, as `tvmkd distill` writes them.
        seed: of the training.
    """

    score: float
    test: float
    epochs: int
    seconds: float
    checkpoint: Path
    seed: int


def choose(found: Sequence[Judged], ranking: Ranking, count: int) -> list[Judged]:
    """The networks to train on: the best by the objective, of a front evenly from fast to slow.

    One of them meets the budget by the high end of its prediction, too, if any does: those that
    only just meet it may be measured to be slower.
    """
    usable = [each for each in found if each.score is not None and ranking.excess(each) == 0]
    if not usable:
        return []
    order = ranking(usable)
    if ranking.goal.several:
        line = sorted(_front(order, ranking), key=lambda each: each.predicted or 0.0)
        if len(line) > count:
            places = [round(index * (len(line) - 1) / max(1, count - 1)) for index in range(count)]
            order = [line[place] for place in dict.fromkeys(places)]
        else:
            order = [*line, *(each for each in order if each not in line)]
    chosen = order[:count]
    sure = replace(ranking, sure=True)
    if all(sure.excess(each) > 0 for each in chosen):
        safe = next((each for each in ranking(usable) if sure.excess(each) == 0), None)
        if safe is not None:
            chosen = [*chosen[: count - 1], safe] if count > 1 else [safe]
    return chosen


def _front(order: Sequence[Judged], ranking: Ranking) -> list[Judged]:
    from tvmkd.search.front import nondominated

    kept = nondominated(
        [each.score or 0.0 for each in order],
        [each.predicted or 0.0 for each in order],
        maximize=ranking.goal.maximize,
    )
    return [order[index] for index in kept]


def tune(
    cfg: Config,
    start: nn.Module,
    settings: Supernet,
    sessions: trials.Networks,
    path: Path,
    report: Report | None = None,
) -> Tuned:
    """Trains a network on, with the loss and the teacher of ``[distill]``.

    Args:
        cfg: of the network.
        start: has the weights to start from.
        settings: epochs and learning rate.
        sessions: makes the trainer, and has the teacher.
        path: the checkpoint; a training of the same start that was stopped goes on from it.
        report: called with the epochs done and a note.

    Raises:
        InputError: the training fails.
    """
    changes = {"epochs": settings.tuning_epochs, "lr": settings.tuning_lr}
    cfg = cfg.model_copy(update={"distill": cfg.distill.model_copy(update=changes)})
    session = sessions.session(cfg)
    found = sessions.teacher(session)
    seed = cfg.distill.seeds[0]
    network, job = session.student(seed, path, "winner", None if found is None else found[0])
    network.load_state_dict(start.state_dict())
    # Where it starts determines where it ends. It has seen the easy images already.
    begin = {"start": files.fingerprint(network.state_dict())}
    job = replace(job, loss_id={**job.loss_id, **begin}, curriculum=None)
    state = session.fit(network, job, report)
    score, _ = session.evaluate(network, "val")
    if not math.isfinite(score):
        raise InputError(f"its score on the validation split is {score}")
    test, _ = session.evaluate(network, "test")
    return Tuned(score, test, state.epoch, state.seconds, path, seed)
