"""What is known of teachers and students once they are trained."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from tvmkd.base.files import write_json
from tvmkd.base.version import __version__
from tvmkd.distill.task import Metric
from tvmkd.models import checkpoint as files

Kind = Literal["distilled", "baseline"]


@dataclass(frozen=True)
class Network:
    """A model's name and size. MACs and parameters are those of one image.

    Scores have the name of accuracies whatever the metric: ``metrics.json`` names it. ``others``
    are scores on the test split by further metrics; ``assistants`` the networks between a teacher
    and its students.
    """

    model: str
    macs: int
    parameters: int
    test_accuracy: float | None = None
    seconds: float = 0.0
    others: Mapping[str, float] = field(default_factory=dict)
    assistants: tuple[Network, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        values = _flat(asdict(replace(self, assistants=())))
        del values["assistants"]
        chain = [one.to_dict() for one in self.assistants]
        return {**values, "assistants": chain} if chain else values


@dataclass(frozen=True)
class Run:
    """One student: how it was trained and how good it is; scores as in `Network`.

    ``shape`` is what is known of its structure if that was learnt: see
    `tvmkd.distill.shaping.Shaped`; its macs and parameters are there too.
    """

    kind: Kind
    seed: int
    val_accuracy: float
    test_accuracy: float
    checkpoint: Path
    seconds: float
    others: Mapping[str, float] = field(default_factory=dict)
    shape: Mapping[str, Any] | None = None

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """As plain data, the checkpoint as a path in ``folder``."""
        path = self.checkpoint.relative_to(folder).as_posix()
        values = _flat({**asdict(self), "checkpoint": path})
        if values["shape"] is None:
            del values["shape"]
        return values


@dataclass(frozen=True)
class Result:
    """The result of `distill`.

    Attributes:
        checkpoint: the chosen student, ready for export: of the distilled ones the best on the
            validation split (minus the latency term, if there is one).
        metrics: the JSON file with all of this.
        teacher: None where the loss needs none.
        scores: the metrics of the task, the deciding one first.
    """

    checkpoint: Path
    metrics: Path
    teacher: Network | None
    student: Network
    runs: Sequence[Run]
    chosen: Run
    scores: Sequence[Metric]

    def accuracies(self, kind: Kind) -> list[float]:
        """Scores on the test split of one kind of student, in the order of the seeds."""
        return [run.test_accuracy for run in self.runs if run.kind == kind]

    def summary(self) -> dict[str, dict[str, float]]:
        """For each kind of student: mean, sample standard deviation, lowest, highest, count.

        And the mean of each further metric, by its key.
        """
        kinds: tuple[Kind, ...] = ("distilled", "baseline")
        found = {kind: self.accuracies(kind) for kind in kinds}
        return {
            kind: {
                "mean": statistics.fmean(scores),
                "std": statistics.stdev(scores) if len(scores) > 1 else 0.0,
                "min": min(scores),
                "max": max(scores),
                "count": len(scores),
                **{
                    metric.key: statistics.fmean(
                        run.others[metric.key] for run in self.runs if run.kind == kind
                    )
                    for metric in self.scores[1:]
                },
            }
            for kind, scores in found.items()
            if scores
        }

    def lines(self) -> list[str]:
        """The numbers as lines of text, for a terminal."""
        rows = []
        chain = () if self.teacher is None else (self.teacher, *self.teacher.assistants)
        for number, network in enumerate(chain):
            if network.test_accuracy is not None:
                known = {**network.others, self.scores[0].key: network.test_accuracy}
                text = "  ".join(
                    one.text(known[one.key]) for one in self.scores if one.key in known
                )
                rows.append(("assistant" if number else "teacher", network, text))
        rows += [(kind, self.student, self._spread(s)) for kind, s in self.summary().items()]
        width = max(len(network.model) for _, network, _ in rows)
        lines = [
            f"{label:<9}  {network.model:<{width}}  {network.macs / 1e6:8.2f} MMAC  {text}"
            for label, network, text in rows
        ]
        return lines + [
            f"{run.kind}, seed {run.seed}: {run.shape['summary']}"
            for run in self.runs
            if run.shape is not None
        ]

    def write(self, data: Mapping[str, Any], sections: Mapping[str, Any], **meta: str) -> None:
        """Writes ``student.pt``, ready for export, and then ``metrics.json``.

        Args:
            data: ``sha256``, ``classes``, ``shape``, ``images`` of each split, ``preprocessing``.
            sections: sections of the config to read the numbers with.
            meta: further metadata of the checkpoint.
        """
        trained = files.load(self.chosen.checkpoint)
        score = self.summary()[self.chosen.kind]
        name = self.scores[0].name
        known = {
            "student": self.student.model,
            "teacher": self.teacher.model if self.teacher else "none",
            "classes": json.dumps(data["classes"]),
            "preprocessing": json.dumps(data["preprocessing"]),
            "data_sha256": data["sha256"],
            "input_shape": ",".join(map(str, data["shape"])),
            "tvmkd_version": __version__,
            **meta,
            "metric": f"test {name} {self.chosen.test_accuracy:.4f} (seed {self.chosen.seed}; "
            f"{score['mean']:.4f} ± {score['std']:.4f} over {score['count']} seeds)",
        }
        files.save(self.checkpoint, replace(trained, optimizer=None, meta=known))
        folder = self.metrics.parent
        report = {
            "schema_version": 1,
            "tvmkd_version": __version__,
            "metric": name,
            "data": data,
            **sections,
            "teacher": self.teacher.to_dict() if self.teacher else None,
            "student": self.student.to_dict(),
            "runs": [run.to_dict(folder) for run in self.runs],
            "summary": self.summary(),
            "chosen": self.chosen.to_dict(folder),
        }
        write_json(self.metrics, report)

    def _spread(self, score: Mapping[str, float]) -> str:
        first, *others = self.scores
        spread = f" ± {first.spread(score['std'])} over {score['count']} seeds"
        text = f"{first.text(score['mean'])}{spread if score['count'] > 1 else ''}"
        return "  ".join([text, *(metric.text(score[metric.key]) for metric in others)])


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    """Further scores beside the first one: ``test_voc`` beside ``test_accuracy``."""
    others = values.pop("others")
    return {**values, **{f"test_{key}": value for key, value in others.items()}}
