"""The training of one trial: distilled from the shared teacher, judged at rungs."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.base.locks import Lock
from tvmkd.distill.results import Network
from tvmkd.distill.training import Report, Rungs
from tvmkd.models import checkpoint as files
from tvmkd.search import finishing
from tvmkd.search.study.networks import Candidate, Networks

if TYPE_CHECKING:
    from tvmkd.config import Config


@dataclass(frozen=True)
class Trained:
    """A finished training.

    Attributes:
        score: the deciding one, on the validation split.
        test: the same on the test split, for reports: it chooses nothing.
        seconds: of training, those before an interruption included.
        epochs: how many.
        checkpoint: the weights of the student, as ``[student] checkpoint`` takes them; None: there
            are none to keep.
        onnx: the network as it will run, where that is more than the student: pruned, in its
            precision; None: the student itself.
    """

    score: float
    test: float | None
    seconds: float
    epochs: int
    checkpoint: Path | None
    onnx: Path | None = None


class Training(Protocol):
    """Trains the networks of trials. Benchmarks and tests put something quicker here."""

    def teacher(self, candidate: Candidate) -> Network | None:
        """The teacher of a network, trained if it is not yet; None if it learns without."""

    def fit(self, candidate: Candidate, rungs: Rungs, report: Report) -> Trained:
        """Trains a network, from its checkpoint if there is one.

        Args:
            candidate: the network; trained in place.
            rungs: where the training is judged, and may be ended by an exception.
            report: called with the epochs done and a note, before the first epoch and after each.

        Raises:
            InputError: the training fails: NaN, a user's code, a full disk.
        """


class Distilling:
    """Trains with the teacher, as ``tvmkd distill`` does.

    Args:
        networks: has the teacher.
    """

    def __init__(self, networks: Networks) -> None:
        self._networks = networks

    def teacher(self, candidate: Candidate) -> Network | None:
        """See `Training`."""
        found = self._networks.teacher(candidate.session)
        return None if found is None else found[1]

    def fit(self, candidate: Candidate, rungs: Rungs, report: Report) -> Trained:
        """See `Training`."""
        session, path = candidate.session, weights(candidate)
        found = self._networks.teacher(session)
        network, job = session.student(
            candidate.seed, path, "student", None if found is None else found[0]
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        # Networks that differ in what comes after the training share it: the second one waits.
        with Lock(path.with_name(".lock"), "training it", "", wait=lambda line: None):
            state = session.fit(network, replace(job, rungs=rungs), report)
        if not finishing.is_final(candidate.cfg):
            return self._finish(candidate, state.seconds, report)
        score, _ = session.evaluate(network, "val")
        test, _ = session.evaluate(network, "test")
        return Trained(score, test, state.seconds, state.epoch, path)

    def _finish(self, candidate: Candidate, seconds: float, report: Report) -> Trained:
        """Prunes the trained student and puts it into its precision."""
        cfg, epochs = candidate.cfg, candidate.cfg.distill.epochs
        report(epochs, "pruning it" if cfg.prune else f"putting it into {cfg.export.precision}")
        with console.quiet():
            done = finishing.finish(
                cfg,
                candidate.session.task,
                weights(candidate),
                candidate.session.out,
                candidate.folder / finishing_key(cfg),
                self._networks.target.channel_multiple,
                self._networks.search_in,
            )
        path = weights(candidate)
        return Trained(done.score, done.test, seconds + done.seconds, epochs, path, done.onnx)


def finishing_key(cfg: Config) -> str:
    """Tells apart what is done with a student after its training."""
    parts = {"prune", "quantize", "export"}
    facts = cfg.model_dump(mode="json", include=parts, exclude_defaults=True)
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


def weights(candidate: Candidate) -> Path:
    """The checkpoint of a network's training."""
    return candidate.folder / "student.pt"


def seconds_before(candidate: Candidate) -> float:
    """The seconds of training that are in the checkpoint; 0 if there is none."""
    path = weights(candidate)
    if not path.exists():
        return 0.0
    try:
        return files.load(path).seconds
    except InputError:  # damaged: the training starts again
        return 0.0
