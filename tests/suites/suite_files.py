"""Results of suites as they lie in a folder."""

from __future__ import annotations

from pathlib import Path

import samples

from tvmkd.bench import schema
from tvmkd.suites.result import COMPARISON, Entry, Result

NAMES = ("tvm", "onnxruntime", "tensorrt")


def made(folder: Path, count: int = 3, **more: object) -> Result:
    entries = []
    for number in range(count):
        engines = [
            samples.engine(name, (1 + number) * (1 + index), device="CPU")
            for index, name in enumerate(NAMES[: 2 + number % 2])
        ]
        found = samples.comparison(*engines)
        left = schema.LeftOut(name="torch", kind="torch", why="missing", reason="<no> checkpoint")
        found = found.model_copy(update={"left_out": [left], "warnings": ["others were busy"]})
        name = f"net{number}"
        (folder / name).mkdir()
        found.save(folder / name / COMPARISON)
        entries.append(Entry(name=name, state="done", seconds=10.0 + number))
    entries += [
        Entry(name="bad", state="failed", reason="operator <X> is unknown"),
        Entry(name="late", state="left", reason="the 3 minutes were over"),
    ]
    return Result(
        tool="tvmkd 0",
        created="2026-11-29T00:00:00+00:00",
        suite="mine",
        device="cpu",
        networks=entries,
        **more,  # type: ignore[arg-type]
    )
