"""The roofline's arithmetic, and one real measurement."""

from __future__ import annotations

import numpy as np
import pytest

from tvmkd.bench import roofline
from tvmkd.bench.roofline import Roofline


@pytest.mark.parametrize(("intensity", "gflops"), [(0.5, 5.0), (10.0, 100.0), (1e6, 100.0)])
def test_memory_limits_what_does_little_with_it(intensity: float, gflops: float) -> None:
    assert Roofline(100.0, 10.0, 1).limit(intensity) == gflops


def test_this_machine_has_both_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roofline, "ROUNDS", 1000)
    monkeypatch.setattr(roofline, "FLOATS", 1 << 12)
    monkeypatch.setattr(roofline, "REPEATS", 2)
    found = roofline.measure(1)
    assert found.threads == 1
    assert found.gflops > 0
    assert found.gbps > 0
    assert np.float32(1e-40) * np.float32(1) > 0, "denormals are off in this process"
