from __future__ import annotations

import re
from pathlib import Path

import pytest
import samples

from tvmkd.report import charts, records


@pytest.mark.parametrize("width", [charts.WIDE, charts.NARROW])
def test_nothing_is_drawn_beside_the_canvas(width: int, tmp_path: Path) -> None:
    history = records.read(samples.records(tmp_path / "records"))
    assert history is not None
    points = [(p["name"], p["accuracy"], p["latency_ms"]) for p in samples.ACCURACY]
    for canvas in (
        charts.budget(samples.five(), width),
        charts.distribution(samples.five(None), width),
        charts.accuracy(points, 3.0, width),  # type: ignore[arg-type]
        charts.tuning(history.curve, width),
    ):
        text = canvas.render()
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("y", canvas.height)):
            found = [float(value) for value in re.findall(rf' {name}="([-\d.]+)"', text)]
            assert all(0 <= value <= limit for value in found), (name, found)
