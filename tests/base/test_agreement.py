"""The error allowed at each value, and which errors are found; no compiler runs."""

from __future__ import annotations

import numpy as np
import pytest

from tvmkd.base.agreement import Output, Result, allowances, compare, judge

FP32, FP16 = 1e-3, 2e-2


def ramp(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    return np.linspace(low, high, int(np.prod(shape)), dtype=np.float32).reshape(shape)


def output(*runs: np.ndarray, bound: float = FP32, **more) -> Output:
    """An output of one sample: the reference and other runs of it."""
    return Output("y", [list(runs)], bound, **more)


def off(array: np.ndarray, by: float, at: int = -1) -> np.ndarray:
    """The array with one value moved."""
    moved = array.copy()
    moved.reshape(-1)[at] += by
    return moved


def judged(wanted: Output, *got: np.ndarray | None) -> Result:
    return judge(wanted, got)


@pytest.mark.parametrize(("error", "agrees"), [(0.0, True), (1.99e-3, True), (2.02e-3, False)])
def test_without_noise_the_bound_is_a_share_of_the_spread(error: float, agrees: bool) -> None:
    wanted = ramp(50)
    result = judged(output(wanted), off(wanted, error))
    assert result.agrees is agrees
    assert result.error == pytest.approx(error / 2, abs=1e-6)
    assert bool(result.reason) is not agrees


def test_a_value_near_zero_may_be_off_by_a_tenth_of_that() -> None:
    wanted = np.append(ramp(50), np.float32(0.0))
    assert judged(output(wanted), off(wanted, 1.9e-4)).agrees
    assert not judged(output(wanted), off(wanted, 2.1e-4)).agrees


def test_behind_a_quantiser_values_near_zero_may_be_off_by_twice_the_largest_noise() -> None:
    wanted = ramp(401)
    noisy = off(wanted, 0.04, at=10)  # one rounding that tips over
    runs, near = [wanted, noisy], off(wanted, 0.07, at=200)
    quantised = Output("y", [runs], 0.05, channels=False)
    assert wanted[200] == pytest.approx(0, abs=1e-6)
    assert judged(quantised, near).agrees
    assert not judged(quantised, off(wanted, 0.09, at=200)).agrees
    assert not judged(Output("y", [runs[:1]], 0.05, channels=False), near).agrees
    chaotic = Output("y", [[wanted, off(wanted, 0.15, at=10)]], 0.05, channels=False)
    assert judged(chaotic, off(wanted, 0.14, at=200)).agrees
    assert not judged(chaotic, off(wanted, 0.16, at=200)).agrees


@pytest.mark.parametrize(("error", "agrees"), [(0.29, True), (0.31, False)])
def test_behind_a_quantiser_no_noise_allows_more_than_that_share_of_the_spread(
    error: float, agrees: bool
) -> None:
    wanted = ramp(401)
    elsewhere = (wanted + np.random.default_rng(0).normal(0, 0.5, 401)).astype(np.float32)
    quantised = Output("y", [[wanted, elsewhere]], 0.05, channels=False)
    assert judged(quantised, off(wanted, error, at=200)).agrees is agrees


def test_an_offset_does_not_hide_an_error_of_the_signal() -> None:
    wanted = ramp(50) + 1000
    assert judged(output(wanted), off(wanted, 1e-3)).agrees
    assert not judged(output(wanted), off(wanted, 0.01)).agrees


def test_what_little_noise_there_is_tightens_the_bound_and_much_widens_it() -> None:
    wanted = ramp(1000)
    for noise, allowed in [
        (0.0, 0.1 * FP32 * 2),  # never below a tenth of the bound
        (5e-5, 16 * 5e-5),
        (2e-4, FP32 * 2),  # 16 times would be above the bound
        (1e-3, 6 * 1e-3),  # the bound would be below the noise
    ]:
        shaken = wanted + np.float32(noise) * np.where(np.arange(1000) % 2, 1, -1)
        found = allowances(output(wanted, shaken.astype(np.float32)))[0]
        assert found[-1] == pytest.approx(allowed, rel=0.05), noise


def test_runs_that_are_not_there_yet_can_only_allow_more() -> None:
    rng = np.random.default_rng(0)
    for shape in [(1,), (1, 12), (2, 6, 9)]:
        for scale in (0.0, 1e-7, 1e-4, 1e-2):
            for kind in (np.float32, np.float16):
                wanted = (5 + rng.standard_normal(shape)).astype(kind)
                others = [(wanted * rng.normal(1, scale, shape)).astype(kind) for _ in range(2)]
                for more in ({}, {"tighten": False}, {"channels": False}):
                    early = allowances(output(wanted, more=True, **more))[0]
                    assert (early <= allowances(output(wanted, *others, **more))[0]).all()
                    assert (early <= allowances(output(wanted, **more))[0]).all()


def test_an_engine_that_computes_less_exactly_has_the_whole_bound() -> None:
    wanted = ramp(1000)
    found = allowances(output(wanted, wanted + np.float32(1e-6), tighten=False))[0]
    assert found[-1] == pytest.approx(FP32 * 2)


def test_an_output_that_is_nearly_silent_may_be_off_by_its_noise() -> None:
    """A detector that says no everywhere: 6e-5 at most, and rounding moves it by 2e-7."""
    rng = np.random.default_rng(0)
    wanted = rng.uniform(0, 6e-5, 1000).astype(np.float32)
    shaken = wanted + rng.uniform(-2e-7, 2e-7, 1000).astype(np.float32)
    assert judged(output(wanted, shaken), off(wanted, 5e-7)).agrees
    assert not judged(output(wanted), off(wanted, 5e-7)).agrees
    assert not judged(output(wanted, shaken), off(wanted, 6e-6)).agrees


@pytest.mark.parametrize("axis", [1, 2])
def test_a_channel_of_scores_beside_boxes_in_pixels_counts_by_its_own_spread(axis: int) -> None:
    rng = np.random.default_rng(0)
    boxes = rng.uniform(0, 640, (1, 4, 100)).astype(np.float32)
    scores = rng.uniform(0, 1, (1, 1, 100)).astype(np.float32)
    wanted = np.concatenate([boxes, scores], axis=1)
    wrong = wanted.copy()
    wrong[0, 4, 7] += 0.05
    if axis == 2:
        wanted, wrong = wanted.transpose(0, 2, 1), wrong.transpose(0, 2, 1)
    result = judged(output(wanted), wrong)
    assert not result.agrees
    assert not judged(output(wanted, channels=False), off(wanted, 50.0)).agrees
    assert judged(output(wanted, channels=False), wrong).agrees


def test_channels_of_one_value_are_pooled_over_the_samples() -> None:
    rng = np.random.default_rng(1)
    runs = [[np.array([[rng.uniform(0, 640), rng.uniform()]], np.float32)] for _ in range(8)]
    got = [run[0].copy() for run in runs]
    got[3][0, 1] += 0.05
    assert not judge(Output("y", runs, FP32), got).agrees
    assert judge(Output("y", runs, FP32, channels=False), got).agrees


def test_the_worst_sample_is_the_result_and_names_value_and_place() -> None:
    wanted = ramp(2, 5)
    runs = Output("scores", [[wanted]] * 3, FP32)
    got = [wanted, off(wanted, 0.5, at=9), off(wanted, 0.1)]
    result = judge(runs, got)
    assert (result.agrees, result.sample) == (False, 1)
    assert result.error == pytest.approx(0.25)
    assert result.reason == (
        'output "scores" differs by 0.25 of its spread (0.001 is allowed): '
        "1.5 at [1, 4], ONNX Runtime has 1"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_in_one_array_only_does_not_agree(value: float) -> None:
    wanted = ramp(8)
    spoilt = wanted.copy()
    spoilt[3] = value
    for one, other in ((wanted, spoilt), (spoilt, wanted)):
        result = judged(output(one), other)
        assert (result.agrees, result.error) == (False, np.inf)
    assert judged(output(spoilt), spoilt).agrees
    assert not judged(
        output(spoilt), np.where(np.isnan(spoilt) | np.isinf(spoilt), 9, spoilt).astype(np.float32)
    ).agrees


def test_infinities_of_different_sign_do_not_agree() -> None:
    wanted = np.array([np.inf, 1.0, 2.0], np.float32)
    assert not judged(output(wanted), np.array([-np.inf, 1.0, 2.0], np.float32)).agrees


def test_where_rounding_decides_about_infinity_both_are_right() -> None:
    wanted = np.array([65504.0, 1.0], np.float16)
    over = np.array([np.inf, 1.0], np.float16)
    assert judged(output(wanted, over, bound=FP16), over).agrees
    assert not judged(output(wanted, wanted, bound=FP16), over).agrees


def test_next_to_infinity_the_order_of_a_sum_decides() -> None:
    wanted = np.array([-np.inf, 1.0, 2.0], np.float32)
    assert judged(output(wanted), np.array([-6e37, 1.0, 2.0], np.float32)).agrees
    for value in (6e37, -1e37, np.nan):
        assert not judged(output(wanted), np.array([value, 1.0, 2.0], np.float32)).agrees


@pytest.mark.parametrize(
    ("got", "reason"),
    [
        (None, 'output "y" is missing'),
        (np.ones((3,), np.float32), r'output "y" has shape [3], ONNX Runtime gives [1, 3]'),
        (np.ones((1, 3), np.float64), 'output "y" is float64, ONNX Runtime gives float32'),
    ],
)
def test_dtype_and_shape_are_part_of_agreement(got: np.ndarray | None, reason: str) -> None:
    result = judged(output(np.ones((1, 3), np.float32)), got)
    assert (result.agrees, result.error, result.reason) == (False, np.inf, reason)


def test_integers_are_equal() -> None:
    wanted = np.array([2**53, 2**53 + 2, -5], np.int64)
    assert judged(output(wanted), wanted).agrees
    result = judged(output(wanted), wanted + np.array([0, 1, 0]))
    assert (result.agrees, result.error) == (False, pytest.approx(1 / 3))
    assert result.reason.endswith(
        "differs in 1 of 3 integers: 9007199254740995 at [1], ONNX Runtime has 9007199254740994"
    )
    flags = np.array([True, False])
    assert not judged(output(flags), ~flags).agrees


def test_an_integer_that_rounding_moves_may_be_any_of_the_runs() -> None:
    wanted, other = np.array([3, 7, 9]), np.array([3, 8, 9])
    assert judged(output(wanted, other), other).agrees
    assert not judged(output(wanted, other), np.array([3, 6, 9])).agrees
    assert not judged(output(wanted, other), np.array([4, 7, 9])).agrees


@pytest.mark.parametrize("dtype", [np.int32, np.int64, np.int8])
def test_what_a_float_becomes_that_no_integer_holds_is_open(dtype: type) -> None:
    least = np.iinfo(dtype).min
    wanted = np.array([least, 1, 2], dtype)
    assert judged(output(wanted), np.array([7, 1, 2], dtype)).agrees is (dtype is not np.int8)
    assert not judged(output(wanted), np.array([least, 1, 3], dtype)).agrees


def test_a_quantiser_may_round_to_the_other_side() -> None:
    wanted = np.array([0, 128, 255], np.uint8)
    near = np.array([1, 127, 254], np.uint8)
    assert judged(output(wanted, steps=1), near).agrees
    assert not judged(output(wanted), near).agrees
    assert not judged(output(wanted, steps=1), np.array([2, 128, 255], np.uint8)).agrees
    # 255 is not one below 0.
    assert not judged(output(wanted, steps=1), np.array([255, 128, 255], np.uint8)).agrees


def test_another_index_counts_if_the_value_there_is_as_good() -> None:
    data = np.array([[[0.5, 1.0], [0.5 + 1e-5, 0.0], [-1.0, 0.9]]], np.float32)  # [1, 3, 2]
    wanted = data.argmax(1)  # [[1, 0]]
    given = output(wanted, source=output(data), axis=1)
    assert judged(given, wanted).agrees
    assert judged(given, np.array([[0, 0]])).agrees
    assert not judged(given, np.array([[1, 2]])).agrees
    assert not judged(given, np.array([[2, 0]])).agrees
    assert not judged(given, np.array([[-3, 0]])).agrees
    assert not judged(given, np.array([[5, 0]])).agrees


def test_indices_that_became_floats_are_indices_still() -> None:
    data = np.array([[1.0, 1.0, 0.5]], np.float32)
    indices = Output("y", [[np.array([0.0], np.float32)]], FP32, source=Output("s", [[data]], FP32),
                     axis=1)  # fmt: skip
    assert judged(indices, np.array([1.0], np.float32)).agrees
    assert not judged(indices, np.array([2.0], np.float32)).agrees
    assert not judged(indices, np.array([0.5], np.float32)).agrees


def test_the_indices_of_topk_may_change_places_but_not_repeat() -> None:
    data = np.array([[0.9, 0.3, 0.9 + 1e-6, 0.1]], np.float32)
    given = output(np.array([[2, 0]]), source=output(data), axis=-1)
    assert judged(given, np.array([[0, 2]])).agrees
    assert not judged(given, np.array([[0, 0]])).agrees
    assert not judged(given, np.array([[2, 1]])).agrees


def test_a_verdict_holds_the_result_of_each_output() -> None:
    wanted = [output(ramp(50)), Output("q", [[np.array([1, 2])]], FP32)]
    verdict = compare(wanted, {"0.0": ramp(50), "0.1": np.array([1, 2])})
    assert (verdict.agrees, verdict.error, verdict.reason) == (True, 0.0, "")
    verdict = compare(wanted, {"0.0": ramp(50), "0.1": np.array([1, 3])})
    assert not verdict.agrees
    assert [result.agrees for result in verdict.outputs] == [True, False]
    assert verdict.error == verdict.outputs[1].error == 0.5
    assert verdict.reason == verdict.outputs[1].reason


def test_where_the_reference_is_zero_rounding_at_the_outputs_own_size_is_no_error() -> None:
    """A sigmoid of ONNX Runtime is 0 below -18; an exact one is 1e-8."""
    silent, loud = np.zeros((1, 4, 8), np.float32), ramp(1, 4, 8, low=0.0)
    runs = [[silent], [loud]]
    assert judged(Output("y", runs, FP32), silent + np.float32(3e-7), loud).agrees
    assert not judged(Output("y", runs, FP32), silent + np.float32(1e-6), loud).agrees
    tiny = [[silent], [loud * np.float32(1e-7)]]
    assert not judged(Output("y", tiny, FP32), silent + np.float32(3e-9), tiny[1][0]).agrees


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_an_output_of_one_repeated_value_has_to_have_it(value: float) -> None:
    wanted = np.full((4, 4), value, np.float32)
    assert judged(output(wanted), wanted).agrees
    assert not judged(output(wanted), wanted + np.float32(1e-4)).agrees
    assert judged(output(np.float32(value).reshape(())), np.asarray(np.float32(value))).agrees


def test_an_empty_output_agrees() -> None:
    for kind in (np.float32, np.int64):
        empty = np.zeros((0, 4), kind)
        assert judged(output(empty), empty).agrees


def test_where_rounding_decides_about_a_shape_each_shape_of_a_run_is_right() -> None:
    three, two = ramp(3), ramp(2)
    wanted = Output("y", [[three, two, three]], FP32)
    assert judged(wanted, three).agrees
    assert judged(wanted, two).agrees
    assert "differs" in judged(wanted, off(two, 0.5)).reason
    assert "has shape [4], ONNX Runtime gives [3]" in judged(wanted, ramp(4)).reason


def test_samples_of_different_shapes_and_empty_ones_count_one_by_one() -> None:
    scores, box, none = ramp(2, 5), ramp(3), np.zeros((0, 4), np.float32)
    wanted = Output("y", [[none], [scores], [box]], FP32)
    assert judged(wanted, none, scores, box).agrees
    found = judged(wanted, none, scores, off(box, 0.5))
    assert not found.agrees
    assert found.sample == 2
    indices = [np.array([[1]]), np.array([[0], [2]])]
    source = Output("s", [[ramp(3)[None]], [off(ramp(3), -2.0)[None]]], FP32)
    pointing = Output("i", [[each] for each in indices], FP32, source=source, axis=1)
    assert judge(pointing, indices).agrees
