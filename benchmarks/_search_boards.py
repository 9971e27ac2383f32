"""One search over three emulated Jetson Nanos, by instruction counts, as a user starts it.

Emulated boards have no times that mean anything, and their instruction counts repeat. So a budget
in millions of instructions makes the search repeat, and shows what it needs of boards: the tracker,
uploads, AArch64 code, records, whole networks, several boards at a time.

By itself: ``python benchmarks/_search_boards.py [METHOD [WORK]]``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tvmkd import targets
from tvmkd.base import toml_text
from tvmkd.boards.emulate import running_emulated_fleet
from tvmkd.search import results
from tvmkd.tuning import records

BOARDS, BUDGET = 3, "0.12M"
TRIALS = 8


def file(work: Path, tracker: str, key: str, method: str) -> Path:
    """The ``tvmkd.toml`` of a small search."""
    data: dict[str, Any] = {
        "project": {"name": "nanos", "out": str(work / "run")},
        "data": {"dataset": "digits", "image_size": 16, "batch_size": 64},
        "student": {"model": "depthwise", "args": {"stem": 8}},
        "distill": {"loss": "ce", "epochs": 40, "lr": 4e-3, "seeds": [0]},
        "target": {"name": "jetson-nano"},
        "tune": {"tracker": tracker, "key": key},
        "search": {
            "method": method,
            "budget": BUDGET,
            "trials": TRIALS,
            "joint": {"rounds": 2, "board_seconds": 120, "batch": 32},
            "space": {
                "width": {"low": 0.25, "high": 1.5, "step": 0.25},
                "depth": [0.5, 1.0],
                "kernel": [3, 5],
            },
        },
    }
    path = work / "tvmkd.toml"
    path.write_text(toml_text.dumps(data))
    return path


def search(work: Path, method: str) -> dict[str, Any]:
    """Runs it; returns what it came to."""
    target = targets.load("jetson-nano")
    began = time.monotonic()
    with running_emulated_fleet(target, BOARDS, "nano", icount=True) as fleet:
        config = file(work, f"{fleet.host}:{fleet.port}", fleet.key, method)
        command = [sys.executable, "-m", "tvmkd", "search", "--config", str(config)]
        subprocess.run(command, check=True)
    seconds = time.monotonic() - began
    study = results.read(work / "run" / "search")
    lines = records.trials(work / "run" / "search" / "table")
    pairs = [(p.predicted, p.measured) for p in study.points if p.measured and p.predicted]
    winner = next((each for each in study.points if each.number == study.winner), None)
    return {
        "seconds": round(seconds, 1),
        "unit": study.unit,
        "budget": study.budget,
        "networks": Counter(each.state for each in study.points),
        "winner": winner and winner.model_dump(include={"structure", "accuracy", "measured"}),
        "measured over predicted": [
            round(measured / predicted, 4) for predicted, measured in pairs
        ],
        "table": study.table,
        "board seconds": round(study.board_seconds, 1),
        "trials by board": Counter(line["board"] for line in lines),
    }


if __name__ == "__main__":
    method = sys.argv[1] if len(sys.argv) > 1 else "joint"
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(sys.argv[2]) if len(sys.argv) > 2 else Path(temporary)
        place.mkdir(parents=True, exist_ok=True)
        for name, value in search(place, method).items():
            print(f"{name}: {value}")
