"""What is known of teachers and students once they are trained."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from tvmkd.base.files import write_json
from tvmkd.base.version import __version__
from tvmkd.models import checkpoint as files

Kind = Literal["distilled", "baseline"]


@dataclass(frozen=True)
class Network:
    """A model's name and size. MACs and parameters are those of one image."""

    model: str
    macs: int
    parameters: int
    test_accuracy: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Run:
    """One student: how it was trained and how often it is right (0 to 1)."""

    kind: Kind
    seed: int
    val_accuracy: float
    test_accuracy: float
    checkpoint: Path
    seconds: float

    def to_dict(self, folder: Path) -> dict[str, Any]:
        """As plain data, the checkpoint as a path in ``folder``."""
        return {**asdict(self), "checkpoint": self.checkpoint.relative_to(folder).as_posix()}


@dataclass(frozen=True)
class Result:
    """What `distill` leaves behind.

    Attributes:
        checkpoint: the chosen student, ready for export: of the distilled ones the best on the
            validation split (less the latency term, if there is one).
        metrics: the JSON file with all of this.
        teacher: None where the loss needs none.
    """

    checkpoint: Path
    metrics: Path
    teacher: Network | None
    student: Network
    runs: Sequence[Run]
    chosen: Run

    def accuracies(self, kind: Kind) -> list[float]:
        """Test accuracies (0 to 1) of one kind of student, in the order of the seeds."""
        return [run.test_accuracy for run in self.runs if run.kind == kind]

    def summary(self) -> dict[str, dict[str, float]]:
        """For each kind of student: mean, sample standard deviation, lowest, highest, count."""
        found = {kind: self.accuracies(kind) for kind in ("distilled", "baseline")}
        return {
            kind: {
                "mean": statistics.fmean(scores),
                "std": statistics.stdev(scores) if len(scores) > 1 else 0.0,
                "min": min(scores),
                "max": max(scores),
                "count": len(scores),
            }
            for kind, scores in found.items()
            if scores
        }

    def lines(self) -> list[str]:
        """The numbers as lines of text, for a terminal."""
        rows = []
        if self.teacher is not None and self.teacher.test_accuracy is not None:
            rows.append(("teacher", self.teacher, self._score(self.teacher)))
        rows += [(kind, self.student, self._spread(s)) for kind, s in self.summary().items()]
        width = max(len(network.model) for _, network, _ in rows)
        return [
            f"{label:<9}  {network.model:<{width}}  {network.macs / 1e6:8.2f} MMAC  {text}"
            for label, network, text in rows
        ]

    def write(self, data: Mapping[str, Any], sections: Mapping[str, Any], **meta: str) -> None:
        """Writes ``student.pt``, ready for export, and then ``metrics.json``.

        Args:
            data: ``sha256``, ``classes``, ``shape``, ``images`` of each split, ``preprocessing``.
            sections: those of the config that the numbers are to be read with.
            meta: what else the checkpoint says of itself; ``metric`` names what was measured.
        """
        trained = files.load(self.chosen.checkpoint)
        score = self.summary()[self.chosen.kind]
        known = {
            "student": self.student.model,
            "teacher": self.teacher.model if self.teacher else "none",
            "classes": json.dumps(data["classes"]),
            "preprocessing": json.dumps(data["preprocessing"]),
            "data_sha256": data["sha256"],
            "input_shape": ",".join(map(str, data["shape"])),
            "tvmkd_version": __version__,
            **meta,
            "metric": f"test {meta['metric']} {self.chosen.test_accuracy:.4f} (seed "
            f"{self.chosen.seed}; {score['mean']:.4f} ± {score['std']:.4f} over "
            f"{score['count']} seeds)",
        }
        files.save(self.checkpoint, replace(trained, optimizer=None, meta=known))
        folder = self.metrics.parent
        report = {
            "schema_version": 1,
            "tvmkd_version": __version__,
            "metric": meta["metric"],
            "data": data,
            **sections,
            "teacher": asdict(self.teacher) if self.teacher else None,
            "student": asdict(self.student),
            "runs": [run.to_dict(folder) for run in self.runs],
            "summary": self.summary(),
            "chosen": self.chosen.to_dict(folder),
        }
        write_json(self.metrics, report)

    def _score(self, network: Network) -> str:
        return f"{network.test_accuracy:.1%}"

    def _spread(self, score: Mapping[str, float]) -> str:
        spread = f" ± {100 * score['std']:.1f} over {score['count']} seeds"
        return f"{score['mean']:.1%}{spread if score['count'] > 1 else ''}"
