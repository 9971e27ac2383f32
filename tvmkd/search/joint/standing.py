"""The networks of a search with their latencies as they are known now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tvmkd.search.front import nondominated
from tvmkd.search.joint.protocols import Predictor, Scored
from tvmkd.search.latency.prediction import Kernel, Prediction
from tvmkd.search.structure import Structure


@dataclass(frozen=True)
class Network:
    """A structure that has been trained.

    Attributes:
        structure: the values of the space's parameters.
        key: the structure's, of `Structures.key`.
        kernels: what it becomes on the target.
        score: higher is better; stays the same when latencies are corrected.
    """

    structure: Structure
    key: str
    kernels: Sequence[Kernel]
    score: float


@dataclass(frozen=True)
class Standing:
    """Networks with predictions, made at one state of a table."""

    networks: Sequence[Network]
    predictions: Sequence[Prediction]

    @classmethod
    def now(cls, networks: Sequence[Network], table: Predictor) -> Standing:
        """Predicts all networks anew."""
        return cls(list(networks), [table.predict(each.kernels) for each in networks])

    @property
    def points(self) -> list[Scored]:
        """Latency in seconds and score of each network."""
        return [
            (prediction.seconds, network.score)
            for network, prediction in zip(self.networks, self.predictions, strict=True)
        ]

    @cached_property
    def front(self) -> list[int]:
        """The indices of the networks that no other dominates, fastest first."""
        scores = [each.score for each in self.networks]
        order = nondominated(scores, [each.seconds for each in self.predictions])
        return [int(index) for index in order]

    def same_front(self, earlier: Standing) -> bool:
        """Whether the front has the networks that it had, as fast as they were said to be.

        A latency is the same if it lies within the interval of its earlier prediction.
        """
        keys = [self.networks[i].key for i in self.front]
        if keys != [earlier.networks[i].key for i in earlier.front]:
            return False
        pairs = zip(self.front, earlier.front, strict=True)
        return all(
            earlier.predictions[j].low <= self.predictions[i].seconds <= earlier.predictions[j].high
            for i, j in pairs
        )
