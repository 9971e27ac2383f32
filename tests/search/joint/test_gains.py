"""What further trials are expected to gain: by hand, and against curves that are known."""

from __future__ import annotations

import math

import pytest

from tvmkd.search.joint.gains import PRIOR, Gains
from tvmkd.search.joint.protocols import Progress
from tvmkd.search.latency.prediction import Kernel, KernelTime


def time(key: str, kind: str = "conv2d", *, error: float = 0.0) -> KernelTime:
    source = "interpolated" if error else "measured"
    return KernelTime(Kernel(key, key, kind, 1, 1.0), 1.0, source, error)


def falling(slope: float, trials: int) -> Progress:
    return Progress(trials, 1.0, trials**-slope)


def test_a_kind_that_nobody_tuned_has_the_prior() -> None:
    gains = Gains({}, {})
    assert gains.slope("a", "conv2d") == PRIOR


def test_many_trials_show_a_kernels_own_slope() -> None:
    gains = Gains({"a": falling(0.5, 10**9)}, {"a": "conv2d"})
    assert gains.slope("a", "conv2d") == pytest.approx(0.5, rel=0.05)


def test_one_trial_says_nothing() -> None:
    gains = Gains({"a": Progress(1, 1.0, 1.0)}, {"a": "conv2d"})
    assert gains.slope("a", "conv2d") == pytest.approx(PRIOR)
    assert gains.share(time("a"), 15) == pytest.approx(1 - 16**-PRIOR)


def test_kernels_of_its_kind_speak_for_a_kernel() -> None:
    tuned = {f"good {i}": falling(0.6, 64) for i in range(6)}
    tuned |= {f"bad {i}": falling(0.0, 64) for i in range(6)}
    gains = Gains(tuned, {key: key.split()[0] for key in tuned})
    assert gains.slope("new", "good") > 0.5
    assert gains.slope("new", "bad") < 0.03


def test_what_is_tuned_far_has_less_to_gain() -> None:
    tuned = {"early": falling(0.3, 4), "late": falling(0.3, 400)}
    gains = Gains(tuned, dict.fromkeys(tuned, "conv2d"))
    assert gains.share(time("early"), 32) > 5 * gains.share(time("late"), 32) > 0


def test_predicts_the_next_trials_of_a_curve() -> None:
    tuned = {f"{i}": falling(0.4, 32) for i in range(8)}
    gains = Gains(tuned, dict.fromkeys(tuned, "conv2d"))
    expected = 1 - (64 / 32) ** -0.4
    assert gains.share(time("0"), 32) == pytest.approx(expected, rel=0.1)


def test_an_unmeasured_kernel_may_be_faster_by_its_error() -> None:
    gains = Gains({}, {})
    assert gains.share(time("a", error=0.5), 32) == pytest.approx(1 - math.exp(-0.5))
