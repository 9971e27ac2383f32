"""The evaluation of interpolated kernels, on kernels whose times follow a known rule."""

from __future__ import annotations

import sys
from typing import Any

import by_path
import numpy as np
import pytest
from made_up_kernels import drawn

sys.path.append(str(by_path.ROOT / "benchmarks"))  # it imports what all benchmarks share
bench: Any = by_path.module("benchmarks/_search_kernels.py", "interpolation_of_kernels")

KERNELS, SECONDS = drawn(80)


def test_kernels_are_left_out_and_compared_by_kind_with_other_predictors() -> None:
    facts = bench.leave_out(KERNELS, SECONDS, 0.75, repeats=2)
    assert set(facts) == {"in_interval", *bench.METHODS}
    ours, macs = facts["interpolated"], facts["MACs"]
    assert ours["all"]["kernels"] == 20
    assert sum(ours[kind]["kernels"] for kind in ours if kind != "all") in (19, 20)
    assert ours["all"]["median"] < macs["all"]["median"]
    assert ours["all"]["p90"] > ours["all"]["median"]
    assert 0.6 < facts["in_interval"] <= 1


def test_one_number_times_the_median_ratio() -> None:
    shown, rest = KERNELS[:5], KERNELS[5:7]
    times = np.array([3e-9 * kernel.flop for kernel in shown])
    found = bench.scaled(shown, times, rest, lambda kernel: ("flop", kernel.flop))
    assert found == pytest.approx([3e-9 * kernel.flop for kernel in rest])


def test_useful_kernels_first_make_networks_right_with_fewer_measurements(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    keys = [kernel.key for kernel in KERNELS]
    networks = [{str(key): 2 for key in rng.choice(keys, 8, replace=False)} for _ in range(12)]
    monkeypatch.setattr(bench, "SHARES", (0.5,))
    found = {each.name: each for each in bench.orders(KERNELS, list(SECONDS), networks, "made up")}
    useful = found["made up: networks within 5 %, 50% of kernels measured most useful first"]
    random = found["made up: networks within 5 %, 50% of kernels measured at random"]
    assert useful.ratio >= random.ratio
    assert useful.ratio == 1.0
    whole = {kernel.key: (kernel, each) for kernel, each in zip(KERNELS, SECONDS, strict=True)}
    assert len(bench._useful_first(whole, networks, 40)) == 40
