"""Shared by all benchmarks: options, result table, JSON output, facts about the machine."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tvmkd
from tvmkd.bench import machine


@dataclass
class Result:
    """One ratio and its limit.

    Attributes:
        name: the two sides of the ratio, "tvmkd over peer".
        ratio: the measured value.
        bar: the limit; None if the ratio is only reported.
        better: "lower" (the ratio must be at most the bar) or "higher" (at least).
        ratios: the single measurements that the ratio summarises.
        note: anything a reader must know to interpret the ratio.
        details: further JSON-safe facts about the measurement.
    """

    name: str
    ratio: float
    bar: float | None
    better: str = "lower"
    ratios: list[float] = field(default_factory=list)
    note: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """True if the ratio is within its limit, or has none."""
        if self.bar is None:
            return True
        return self.ratio <= self.bar if self.better == "lower" else self.ratio >= self.bar

    def to_dict(self) -> dict[str, Any]:
        """JSON-safe, ``holds`` included."""
        return {**asdict(self), "holds": self.holds}


def parser(description: str) -> argparse.ArgumentParser:
    """An argument parser with the option ``--json PATH``."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--json", type=Path, metavar="PATH", help="write the results here as well")
    return made


def from_ratios(
    name: str, ratios: Sequence[float], bar: float, better: str = "lower", note: str = ""
) -> Result:
    """The median of alternating measurements as a result."""
    return Result(name, statistics.median(ratios), bar, better, list(ratios), note)


def finish(results: Sequence[Result], path: Path | None, **more: Any) -> int:
    """Prints the table and writes ``path`` if given; returns 0 if every ratio is within its limit.

    Args:
        more: further JSON-safe entries of the file, next to "results" and "machine".
    """
    width = max((len(result.name) for result in results), default=0)
    if results:
        print(f"{'':{width}}  {'ratio':>8}  {'bar':>8}  spread")
    for result in results:
        verdict = "" if result.bar is None else "holds" if result.holds else "MISSED"
        spread = ""
        if len(result.ratios) > 1:
            spread = f"{min(result.ratios):.3f} to {max(result.ratios):.3f}"
        print(
            f"{result.name:{width}}  {result.ratio:8.3f}  {_bar(result):>8}  {spread:16}  {verdict}"
        )
        if result.note:
            print(f"{'':{width}}  {result.note}")
    if path is not None:
        data = {
            "benchmark": Path(sys.argv[0]).stem,
            "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "tvmkd": tvmkd.__version__,
            "machine": {**machine.facts(), **machine.weather()},
            "results": [result.to_dict() for result in results],
            **more,
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        draft.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
        os.replace(draft, path)
    return 0 if all(result.holds for result in results) else 1


def _bar(result: Result) -> str:
    if result.bar is None:
        return ""
    return f"{'≤' if result.better == 'lower' else '≥'} {result.bar:6.3g}"
