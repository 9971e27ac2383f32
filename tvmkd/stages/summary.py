"""The end of a run in a terminal: accuracies, latencies, the gate's word, where the report is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

Rows = list[tuple[str, str, str]]


def show(results: Mapping[str, Any], folder: Path, to: Console) -> None:
    """Prints what a run's stages gave, as far as it went.

    Args:
        results: what `tvmkd.stages.pipeline.run` returned.
        folder: the run's folder.
        to: a rich console.
    """
    from rich.table import Table

    metric = str((results.get("distill") or {}).get("metric", "accuracy"))
    for title, header, rows in (
        (metric, ("network", "MMAC", f"test {metric}"), accuracies(results)),
        ("latency", ("engine", "median", "p99"), latencies(results)),
    ):
        if rows:
            table = Table(title=title, title_justify="left")
            for number, name in enumerate(header):
                table.add_column(name, justify="right" if number else "left")
            for row in rows:
                table.add_row(*row)
            to.print(table)
    for line in closing(results, folder):
        to.print(line, markup=False, soft_wrap=True)


def accuracies(results: Mapping[str, Any]) -> Rows:
    """Teacher, student with the teacher's help, student without: name, MMACs, accuracy."""
    metrics = results.get("distill")
    if not metrics:
        return []
    rows: Rows = []
    student, teacher = metrics["student"], metrics["teacher"]
    if teacher is not None and teacher["test_accuracy"] is not None:
        rows.append(
            (
                f"teacher {teacher['model']}",
                f"{teacher['macs'] / 1e6:.2f}",
                f"{teacher['test_accuracy']:.2%}",
            )
        )
    labels = {"distilled": "distilled", "baseline": "not distilled"}
    for kind, label in labels.items():
        score = metrics["summary"].get(kind)
        if score is not None:
            spread = f" ± {100 * score['std']:.2f}" if score["count"] > 1 else ""
            seeds = f"{score['count']} seed{'s' if score['count'] > 1 else ''}"
            rows.append(
                (
                    f"student {student['model']}, {label} ({seeds})",
                    f"{student['macs'] / 1e6:.2f}",
                    f"{score['mean']:.2%}{spread}",
                )
            )
    return rows


def latencies(results: Mapping[str, Any]) -> Rows:
    """Engines from fastest to slowest: name, median, p99; then those that were left out."""
    measured = results.get("compare")
    if not measured:
        return []
    engines = sorted(measured["engines"].items(), key=lambda item: float(item[1]["p50"]))
    rows: Rows = [
        (name, f"{figures['p50']:.3f} ms", f"{figures['p99']:.3f} ms") for name, figures in engines
    ]
    return rows + [(name, "left out", "") for name in measured["left_out"]]


def closing(results: Mapping[str, Any], folder: Path) -> list[str]:
    """The verdict, the gate, and where things are."""
    lines = []
    if "compare" in results:
        lines.append(str(results["compare"]["verdict"]))
    gate = results.get("gate")
    if gate is not None and gate["checks"]:
        lines.append(f"gate: {'passed' if gate['passed'] else 'FAILED'}")
        lines += [
            f"  {'pass' if check['holds'] else 'FAIL'}  {check['text']}" for check in gate["checks"]
        ]
    elif gate is not None:
        lines.append("gate: nothing is required")
    for label, name in (("artifact", "artifact"), ("report", "report.html")):
        if (folder / name).exists():
            lines.append(f"{label}: {folder / name}")
    return lines
