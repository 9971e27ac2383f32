"""Times of kernels that nobody measured, on kernels whose times follow a known rule."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from made_up_kernels import drawn, kernel, seconds

from tvmkd.base.errors import InputError
from tvmkd.search.latency import roofline
from tvmkd.search.latency.interpolation import FEWEST, KernelModel
from tvmkd.search.latency.prediction import Kernel

KERNELS, SECONDS = drawn(300)
SHOWN = 150


@pytest.fixture(scope="module")
def model() -> KernelModel:
    return KernelModel().fit(KERNELS[:SHOWN], list(SECONDS[:SHOWN]))


def errors(model: KernelModel, kernels: list[Kernel], truth: np.ndarray) -> np.ndarray:
    found = np.array([seconds for seconds, _ in model.predict_all(kernels)])
    return np.abs(found / truth - 1)


def test_new_kernels_are_predicted_better_than_by_rates_alone(model: KernelModel) -> None:
    rest, truth = KERNELS[SHOWN:], SECONDS[SHOWN:]
    off = errors(model, rest, truth)
    assert np.median(off) < 0.06
    rows = [each.features for each in KERNELS]
    rates = roofline.fit(rows[:SHOWN], SECONDS[:SHOWN]).seconds(rows[SHOWN:])
    assert np.median(off) < 0.4 * np.median(np.abs(rates / truth - 1))


def test_stated_intervals_hold_about_ninety_percent(model: KernelModel) -> None:
    found = model.predict_all(KERNELS[SHOWN:])
    inside = [
        abs(np.log(guess / truth)) < 1.645 * error
        for (guess, error), truth in zip(found, SECONDS[SHOWN:], strict=True)
    ]
    assert 0.8 < np.mean(inside) < 0.99


def test_the_error_grows_away_from_what_was_measured(model: KernelModel) -> None:
    near = float(np.median([error for _, error in model.predict_all(KERNELS[SHOWN:])]))
    for far in (
        kernel("conv2d", 32, 8000, 16000),
        replace(kernel("conv2d", 12, 64, 64), kind="attention", key="of no known kind"),
    ):
        assert model.predict(far)[1] > 2 * near, far.key


def test_the_same_kernels_give_the_same_model_in_any_order(model: KernelModel) -> None:
    again = KernelModel().fit(KERNELS[:SHOWN][::-1], list(SECONDS[:SHOWN][::-1]))
    assert again.predict_all(KERNELS[SHOWN:]) == model.predict_all(KERNELS[SHOWN:])


def test_one_by_one_and_repeated_is_the_same_and_takes_microseconds(model: KernelModel) -> None:
    some = KERNELS[SHOWN : SHOWN + 5]
    together = model.predict_all([*some, *some])
    assert together == [model.predict(each) for each in some] * 2
    begin = time.perf_counter()
    for _ in range(100):
        model.predict_all(some)
    assert (time.perf_counter() - begin) / 100 < 1e-3


@pytest.mark.parametrize("count", [FEWEST - 1, FEWEST, 12])
def test_few_measured_kernels_are_enough_for_the_scale(count: int) -> None:
    few = KernelModel().fit(KERNELS[:count], list(SECONDS[:count]))
    found = few.predict_all(KERNELS[SHOWN:])
    ratios = [guess / truth for (guess, _), truth in zip(found, SECONDS[SHOWN:], strict=True)]
    assert 1 / 3 < np.median(ratios) < 3
    assert np.median([error for _, error in found]) > 0.1, "and they are said to be rough"


def test_one_measured_kernel_scales_the_expectation() -> None:
    one = kernel("conv2d", 16, 64, 64)
    model = KernelModel().fit([one], [1e-3])
    assert model.predict(one)[0] == pytest.approx(1e-3)
    twice, error = model.predict(kernel("conv2d", 16, 128, 64))
    assert twice == pytest.approx(2e-3, rel=0.05)
    assert error > 0.5


def test_without_any_measured_kernel_it_says_so() -> None:
    with pytest.raises(InputError, match="no kernel was measured"):
        KernelModel().fit([], [])
    with pytest.raises(InputError, match="no kernel was measured"):
        KernelModel().predict(KERNELS[0])


def test_a_stack_without_expectations_and_kernels_without_features() -> None:
    rest = ("work", "sums", "rows", "columns", "channels", "input_bytes", "output_bytes")
    bare = [
        replace(each, features={name: each.features[name] for name in rest}) for each in KERNELS
    ]
    model = KernelModel().fit(bare[:SHOWN], list(SECONDS[:SHOWN]))
    assert np.median(errors(model, bare[SHOWN:], SECONDS[SHOWN:])) < 0.25
    nothing = Kernel("new", "new", "conv2d", 1, 1e6)
    guess, error = model.predict(nothing)
    assert 0 < guess < 1
    assert error > 0.2
    assert seconds(KERNELS[0]) > 0
