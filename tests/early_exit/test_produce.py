"""From a config to pieces that run, on a network of two blocks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import exits
import numpy as np
import pytest

from tvmkd import data, early_exit, targets
from tvmkd.base.errors import UsageError
from tvmkd.early_exit import produce
from tvmkd.stages import pipeline


@pytest.mark.slow
@pytest.mark.usefixtures("warm_worker")
def test_distilling_leaves_pieces_that_run_and_numbers_that_add_up(tmp_path: Path) -> None:
    cfg = exits.parsed(project={"name": "exits", "out": str(tmp_path / "run")})
    found: dict[str, Any] = pipeline.run(cfg, until="early_exit")["early_exit"]
    json.dumps(found)
    rates = [entry["rate"] for entry in found["exits"]]
    upto = [entry["ms"] for entry in found["exits"]]
    assert sum(rates) == pytest.approx(1.0)
    assert found["expected_ms"] == pytest.approx(np.dot(rates, upto))
    assert [entry["beyond"] for entry in found["exits"]] == pytest.approx([rates[1], 0.0])
    assert len(found["temperatures"]) == len(found["calibration_error"]) == 2
    assert found["worst_ms"] == upto[-1] > upto[0] > 0
    assert found["agreement"] > 0.99, "compiled pieces and PyTorch leave and answer alike"
    assert found["val_accuracy"] >= found["val_full_accuracy"] - 0.05
    network = early_exit.load(tmp_path / "run/early-exit/exits")
    logits, index = network(data.load(cfg.data).sample(1))
    assert logits.shape == (1, 10)
    assert index in (0, 1)
    # Nothing has changed: nothing is done again.
    assert pipeline.run(cfg, until="early_exit")["early_exit"] == found


def test_a_target_that_does_not_run_here_is_refused_before_any_work(tmp_path: Path) -> None:
    cfg = exits.parsed()
    assert cfg.early_exit is not None
    nano = targets.load("jetson-nano")
    with pytest.raises(UsageError, match="jetson-nano does not run here"):
        produce.produce(tmp_path / "none.pt", data.load(cfg.data), cfg.early_exit, nano, tmp_path)
