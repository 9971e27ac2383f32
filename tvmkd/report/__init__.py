"""The comparison as one HTML file: no script, no network, light and dark, fit for paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tvmkd.base.files import write_text
from tvmkd.bench.schema import Comparison
from tvmkd.report import environment, page, records, sections


def write(
    path: Path | str,
    comparison: Comparison,
    *,
    accuracy: Sequence[Mapping[str, Any]] | None = None,
    metric: str = "accuracy",
    records_dir: Path | str | None = None,
    kernels: Sequence[Mapping[str, Any]] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """Writes the report.

    Args:
        path: the file, replaced in one step.
        comparison: what to show.
        accuracy: models to place against each other: ``name``, ``accuracy`` (0 to 1) and
            ``latency_ms`` (those without one are left out of the plot). The last one is the model
            that was compared.
        metric: what their ``accuracy`` is: ``accuracy``, ``mAP``.
        records_dir: a folder of tuning records, for the tuning curve.
        kernels: a profile: ``kernel``, ``calls`` and ``us`` (µs of one run of the model).
        metadata: more lines for "How this was measured".

    Raises:
        InputError: ``records_dir`` is not a folder of tuning records.
    """
    path = Path(path)
    text = render(
        comparison,
        accuracy=accuracy or (),
        metric=metric,
        history=None if records_dir is None else records.read(Path(records_dir)),
        kernels=kernels or (),
        metadata=metadata or {},
    )
    write_text(path, text)
    return path


def render(
    comparison: Comparison,
    *,
    accuracy: Sequence[Mapping[str, Any]] = (),
    metric: str = "accuracy",
    history: records.History | None = None,
    kernels: Sequence[Mapping[str, Any]] = (),
    metadata: Mapping[str, str] | None = None,
) -> str:
    """The page as text; arguments as `write`, with the records already read."""
    last = (str(accuracy[-1]["name"]), float(accuracy[-1]["accuracy"])) if accuracy else None
    parts = [
        sections.engines(comparison),
        sections.distribution(comparison),
        sections.accuracy(accuracy, comparison, metric),
        None if history is None else sections.tuning(history),
        sections.kernels(kernels),
        page.method(comparison, metadata or {}),
    ]
    return environment.render(
        "report.html",
        **page.header(comparison),
        tiles=page.tiles(comparison, last, metric),
        notes=page.notes(comparison),
        sections=[part for part in parts if part is not None],
    )
