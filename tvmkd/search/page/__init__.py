"""A study as one HTML file: light and dark, fit for paper, nothing fetched, no script needed."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path

from markupsafe import Markup

from tvmkd.base.files import write_text
from tvmkd.report import environment
from tvmkd.search.page import marked, rows, sections, summary, units
from tvmkd.search.results import Study

PARETO = "pareto.html"


def write(study: Study, path: Path) -> Path:
    """Writes the page; replaces an older one in one step.

    Raises:
        InputError: the file cannot be written.
    """
    write_text(path, render(study))
    return path


def render(study: Study) -> str:
    """The page as text."""
    study = units.readable(study)
    known = marked.find(study)
    head, detail = summary.headline(study, known)
    script = (environment.TEMPLATES / "search.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [
        sections.alternatives(study, known),
        sections.predictions(study),
        sections.progress(study),
        sections.parameters(study),
    ]
    return environment.render(
        "search.html",
        title=f"{study.name}: {head}",
        emulated=study.unit == "M instructions",
        eyebrow=summary.eyebrow(study),
        headline=head,
        detail=detail,
        tiles=summary.tiles(study, known),
        notes=summary.notes(study, known),
        pareto=sections.pareto(study, known),
        legend=_legend(study, known),
        sections=[part for part in parts if part is not None],
        grid=rows.make(study, known) if study.points or study.baselines else None,
        method=sections.method(study),
        script=Markup(script),
        digest=digest,
        footer=f"tvmkd {study.tvmkd_version}",
    )


def _legend(study: Study, known: marked.Marked) -> list[tuple[str, str]]:
    """(class, text) of each mark that the plot has."""
    measured = [point.measured is not None for point in study.points if point.state == "complete"]
    entries = [
        ("dot winner", "winner", known.winner is not None),
        ("dot front", "front", bool(known.front)),
        ("dot other", "other networks", len(measured) > len(known.front)),
        ("dot front predicted", "hollow: predicted, not measured", not all(measured)),
        ("dot other macs", "choice by MACs", known.macs_pick not in (None, known.winner)),
        ("dot hand", "made by hand", bool(study.baselines)),
        ("line by-macs", "front by MACs", len(known.by_macs) > 1),
    ]
    return [(css, text) for css, text, there in entries if there]
