"""Evaluates networks of a space without training them."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tvmkd.base.errors import TvmkdError
from tvmkd.base.files import read_text, write_json
from tvmkd.models.macs import macs, parameters
from tvmkd.search.study.goal import in_unit
from tvmkd.search.supernet.calibration import calibrate
from tvmkd.search.supernet.ranking import Judged, Ranking

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.distill.distributed import Team
    from tvmkd.search.latency.prediction import Latency
    from tvmkd.search.structure import Structure
    from tvmkd.search.supernet.blueprints import Blueprints
    from tvmkd.search.supernet.networks import Networks


class Scores:
    """The scores of networks with one supernet's weights, kept in a file.

    Args:
        path: the file.
        identity: of the supernet's weights and of how networks are scored: scores of another
            identity are not used.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._path, self._identity = path, identity
        self.known: dict[str, float] = {}
        try:
            content = json.loads(read_text(path))
            if content["identity"] == identity:
                self.known = {str(key): float(score) for key, score in content["scores"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass  # missing, or damaged: they are computed again

    def write(self) -> None:
        """Writes all scores, in one step."""
        write_json(self._path, {"identity": self._identity, "scores": self.known})


class Judge:
    """Predicts the latency of a network, and scores it if it is fast enough.

    Args:
        networks: with trained weights.
        latency: of the target.
        ranking: says what is too slow.
        scores: known ones are used, new ones added.
        team: whose device networks run on.
        images: training images for the statistics of batch normalisation.
        validation: images of the validation split to score on; None: all.
    """

    def __init__(
        self,
        networks: Networks,
        latency: Latency,
        ranking: Ranking,
        scores: Scores,
        team: Team,
        *,
        images: int,
        validation: int | None = None,
    ) -> None:
        self._networks, self._latency, self._ranking = networks, latency, ranking
        self.scores, self._team = scores, team
        self._images, self._validation = images, validation

    def __call__(self, structure: Structure) -> Judged:
        """Evaluates a network; what is wrong with it is in the result."""
        found = predicted(self._networks.blueprints, self._latency, structure)
        if found.error is not None or self._ranking.excess(found) > 0:
            return found
        score = self.scores.known.get(found.key)
        if score is None:
            try:
                score = self.score(structure)
            except TvmkdError as error:
                return replace(found, error=in_one_line(error))
            if not math.isfinite(score):
                return replace(found, error=f"its score on the validation split is {score}")
            self.scores.known[found.key] = score
        return replace(found, score=score)

    def score(self, structure: Structure) -> float:
        """The deciding score of a network with the supernet's weights, on validation images.

        Raises:
            InputError: it cannot be built, or is no part of the largest network.
        """
        task = self._networks.blueprints.task(structure)
        if self._validation is not None:
            task = task.shortened("val", self._validation)
        return task.score(self.network(structure), "val", self._team)

    def network(self, structure: Structure) -> nn.Module:
        """A network with a copy of its part of the weights, and its own statistics.

        Raises:
            InputError: as `score`.
        """
        network = self._networks.cut(structure)
        task = self._networks.blueprints.task(structure)
        images = torch.from_numpy(task.samples(self._images, "train")).to(self._team.device)
        return calibrate(network, images)


def predicted(blueprints: Blueprints, latency: Latency, structure: Structure) -> Judged:
    """A network's size and predicted latency, without a score; or why it has none."""
    found = Judged(blueprints.key(structure), structure)
    try:
        network, task = blueprints.build(structure), blueprints.task(structure)
        prediction = blueprints.space.predict(blueprints.cfg, structure, task, latency)
    except TvmkdError as error:
        return replace(found, error=in_one_line(error))
    return replace(
        found,
        predicted=in_unit(prediction.seconds),
        low=in_unit(prediction.low),
        high=in_unit(prediction.high),
        interpolated=prediction.interpolated,
        parameters=parameters(network),
        macs=macs(network, task.input_shape),
    )


def in_one_line(error: TvmkdError) -> str:
    """An error's message in one line."""
    return " ".join(str(error).split())


def identity(**facts: Any) -> str:
    """The text that tells scores apart; see `Scores`."""
    return json.dumps(facts, sort_keys=True, default=str)
