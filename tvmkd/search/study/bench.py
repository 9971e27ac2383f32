"""What a worker of a study has at hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tvmkd.base.errors import InputError
from tvmkd.base.wire import Event
from tvmkd.search.latency.prediction import Latency, Prediction
from tvmkd.search.results import Point
from tvmkd.search.study import points
from tvmkd.search.study.goal import Goal, Unit
from tvmkd.search.study.networks import Candidate, Networks
from tvmkd.search.study.quiet import Quiet
from tvmkd.search.study.training import Training

if TYPE_CHECKING:
    import optuna

    from tvmkd.config import Config
    from tvmkd.config.search import Search
    from tvmkd.search.space import Space
    from tvmkd.search.structure import Structure
    from tvmkd.targets import Target

TABLE = "tvmkd.search.latency:open_latency"
DISTILLING = "tvmkd.search.study.training:Distilling"


@dataclass(frozen=True)
class Plan:
    """A search by a study.

    Attributes:
        cfg: with ``[search]``.
        target: what networks have to be fast on.
        folder: the search's folder.
        search_in: folders to look in for a ``module:callable``.
        latency: ``module:callable`` that opens the latency predictor, called with the config, the
            target and the folder.
        training: ``module:callable`` that makes the `Training`, called with the `Networks`.
    """

    cfg: Config
    target: Target
    folder: Path
    search_in: Sequence[Path] = ()
    latency: str = TABLE
    training: str = DISTILLING

    @property
    def search(self) -> Search:
        """``[search]``.

        Raises:
            InputError: the config has none.
        """
        if self.cfg.search is None:
            raise InputError("there is no [search.space]: name the parameters to search over in it")
        return self.cfg.search

    def to_dict(self) -> dict[str, Any]:
        """As JSON-safe data, for another process."""
        return {
            "cfg": self.cfg.model_dump(mode="json", exclude_unset=True),
            "target": self.target.to_dict(),
            "folder": str(self.folder),
            "search_in": [str(folder) for folder in self.search_in],
            "latency": self.latency,
            "training": self.training,
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Plan:
        """The plan that `to_dict` made plain."""
        from tvmkd import config
        from tvmkd.targets import Target

        return cls(
            cfg=config.parse(data["cfg"]),
            target=Target.from_dict(data["target"]),
            folder=Path(data["folder"]),
            search_in=[Path(folder) for folder in data["search_in"]],
            latency=data["latency"],
            training=data["training"],
        )

    def open_latency(self) -> Latency:
        """The latency predictor."""
        found: Latency = _callable(self.latency)(self.cfg, self.target, self.folder)
        return found

    def make_training(self, networks: Networks) -> Training:
        """What trains."""
        made: Training = _callable(self.training)(networks)
        return made


def _callable(spec: str) -> Any:
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


@dataclass
class Bench:
    """A worker's tools.

    Attributes:
        plan: of the search.
        study: Optuna's; the storage's own name for it.
        space: the structures.
        goal: what is looked for.
        unit: of latencies.
        latency: predicts and measures.
        networks: builds.
        training: trains.
        quiet: lets one process measure while no other trains here.
        event: gets ``doing`` (``worker``, ``text``, and maybe ``trial``, ``done``, ``total``),
            ``trial`` (one is over) and ``note`` (``text``).
        worker: this worker's number, from 0.
        away: the last line about a board that did not answer; each line is shown once.
        correct: changes points to what is known now, where latencies were corrected since.
    """

    plan: Plan
    study: optuna.Study
    space: Space
    goal: Goal
    unit: Unit
    latency: Latency
    networks: Networks
    training: Training
    quiet: Quiet
    event: Event
    worker: int = 0
    away: str | None = None
    correct: Callable[[list[Point]], list[Point]] | None = None
    _predictions: dict[str, Prediction] = field(default_factory=dict)

    def build(self, structure: Structure) -> Candidate:
        """The network of a structure; see `Networks.build` for errors."""
        return self.networks.build(self.space.apply(self.plan.cfg, structure))

    def predict(self, structure: Structure) -> Prediction:
        """The predicted latency of a structure; each is predicted once.

        Of a network with exits: that of an image which leaves at the last one.

        Raises:
            InputError: the network cannot be built, exported or compiled.
        """
        key = self.space.key(structure)
        if key not in self._predictions:
            task = self.networks.session(self.space.apply(self.plan.cfg, structure)).task
            self._predictions[key] = self.space.predict(
                self.plan.cfg, structure, task, self.latency
            )
        return self._predictions[key]

    def points(self) -> list[Point]:
        """What is known so far, of all workers."""
        later = points.measured_later(self.study.user_attrs)
        found = points.points(self.study.get_trials(deepcopy=False), later, self.plan.folder)
        return found if self.correct is None else self.correct(found)

    def close(self) -> None:
        """Ends what other processes do for this one, and releases the locks."""
        self.quiet.close()
        close = getattr(self.latency, "close", None)
        if close is not None:
            close()

    def doing(self, text: str, **more: Any) -> None:
        """Tells what the worker does."""
        self.event("doing", {"worker": self.worker, "text": text, **more})

    def note(self, text: str) -> None:
        """Tells a line that the person should see."""
        self.event("note", {"text": text})
