from __future__ import annotations

import json

import pytest

from tvmkd.search.latency import report
from tvmkd.search.latency.composition import FEW
from tvmkd.search.latency.filling import Filled
from tvmkd.search.latency.prediction import Kernel, KernelTime, Prediction


def prediction(fixed: float = 1e-6) -> Prediction:
    times = [
        KernelTime(Kernel("0x1", "conv", "conv2d", 2, 1e6), 2e-3, "measured"),
        KernelTime(Kernel("0x2", "pool", "pool", 1, 1e3), 5e-4, "interpolated", 0.2),
        KernelTime(Kernel("0x3", "far", "dense", 1, 1e3), 5e-4, "interpolated", 1.5),
    ]
    return Prediction(5e-3 + fixed, 4e-3, 6.2e-3, times, fixed)


def test_a_prediction_in_lines() -> None:
    assert report.prediction_lines("net", prediction(), "s", 10) == [
        "net: 5 ms (9 of 10 between 4 ms and 6.2 ms)",
        "  2 of 3 kernels, 20% of the time in kernels, were never measured and are interpolated",
        "   80.0%        4 ms    2× conv",
        "   10.0%      500 us       pool  interpolated, ±20%",
        "   10.0%      500 us       far  interpolated, within a factor of 4.5",
        "  outside of kernels: 1 us",
    ]


def test_only_the_slowest_kernels_are_listed() -> None:
    lines = report.prediction_lines("net", prediction(), "s", 1)
    assert lines[2:4] == ["   80.0%        4 ms    2× conv", "  and 2 more kernels"]
    assert len(report.prediction_lines("net", prediction(), "s", 0)) == 4


def test_kernels_that_take_less_in_a_network() -> None:
    lines = report.prediction_lines("net", prediction(-2e-6), "s", 10)
    assert lines[-1] == "  less than the kernels add up to: 2 us"


def test_rounding_is_no_time_outside_of_kernels() -> None:
    lines = report.prediction_lines("net", prediction(1e-15), "s", 10)
    assert len(lines) == 5
    assert "outside" not in "\n".join(lines)


def test_nothing_is_said_of_interpolation_where_there_is_none() -> None:
    found = Prediction(1e-3, 9e-4, 1.1e-3, prediction().kernels[:1])
    assert "interpolated" not in "\n".join(report.prediction_lines("net", found, "s", 10))


def test_instructions_are_no_milliseconds() -> None:
    (first, *_) = report.prediction_lines("net", prediction(), "instructions", 10)
    assert (
        first == "net: 5 M instructions (9 of 10 between 4 M instructions and 6.2 M instructions)"
    )


def test_a_prediction_as_json() -> None:
    found = json.loads(json.dumps(report.to_json(prediction(), "s")))
    assert found["unit"] == "s"
    assert found["interpolated_share"] == pytest.approx(0.2)
    assert found["kernels"][0] == {
        "key": "0x1",
        "name": "conv",
        "kind": "conv2d",
        "calls": 2,
        "seconds": 2e-3,
        "source": "measured",
        "error": 0.0,
    }


def facts(networks: int) -> dict[str, object]:
    return {
        "networks": networks,
        "within_5_percent": 0.8,
        "within_10_percent": 1.0,
        "median_error": 0.021,
    }


def test_what_was_done_in_lines() -> None:
    done = Filled(networks=4, kernels=9, tuned=8, missing=1, timed=FEW, board_seconds=71.4)
    first, second, third = report.lines(done, facts(FEW))
    assert first == "4 networks have 9 kernels; 8 were measured now, 1 remain to be interpolated"
    assert second == f"{FEW} networks were timed whole; boards were busy for 71 s"
    assert third.startswith(f"checked on {FEW} networks, each left out in turn: 80% within 5 %, ")
    assert third.endswith("100% within 10 %, median error 2.1%")


def test_failures_are_told_apart() -> None:
    done = Filled(networks=4, failed=2, untimed=1, failures=["no width", "no depth", "no memory"])
    found = report.lines(done, facts(1))
    assert found[2:4] == [
        "2 networks could not be lowered; the first: no width",
        "1 networks could not be built or timed; the first: no memory",
    ]
    assert found[-1] == (
        f"1 networks were timed in all: how good predictions are shows from {FEW} on"
    )
