from __future__ import annotations

from pathlib import Path

import pytest
import tiny_kernels

from tvmkd.boards.fleet import Fleet
from tvmkd.tuning import records


@pytest.mark.rpc
@pytest.mark.slow
def test_it_improves_and_goes_on_from_its_records(tmp_path: Path, fleet: Fleet) -> None:
    settings = {"tasks": ["evolve:64"], "options": {"batch": 8}}
    result = tiny_kernels.tune(tmp_path, fleet.address(), trials=16, **settings)
    assert result["fresh"] == 16
    # A search started anew knows the earlier candidates and starts from the best of them.
    tiny_kernels.tune(tmp_path, fleet.address(), trials=24, **settings)
    lines = records.read_lines(tmp_path / records.TRIALS)
    assert len({line["key"] for line in lines}) == len(lines) == 24
    figures = [line["figure"] for line in lines if line["figure"] is not None]
    first = sorted(figures[:8])
    assert min(figures[8:]) < first[len(first) // 2]
