"""Drawn inputs: their values suit the operators that read them."""

from __future__ import annotations

import models
import numpy as np
import onnx
import pytest

from tvmkd.export.samples import FLAVOURS, Sampler, channel_axis

TABLE = np.zeros((50, 4), np.float32)


def spec(name: str, dtype: str, *shape: int) -> dict:
    return {"name": name, "shape": list(shape), "dtype": dtype}


def sampler(
    nodes: list[onnx.NodeProto], *specs: dict, seed: int = 0, **weights: np.ndarray
) -> Sampler:
    kinds = {each["name"]: onnx.helper.np_dtype_to_tensor_dtype(np.dtype(each["dtype"]))
             for each in specs}  # fmt: skip
    inputs = [models.value(each["name"], kinds[each["name"]], each["shape"]) for each in specs]
    model = models.model(nodes, inputs, [models.value("y", 0)], **weights)
    return Sampler(model, specs, seed)


def every(made: Sampler) -> list:
    """All samples, in the order of the flavours; one with special values last."""
    normal, large, *special = made.samples()
    return [normal, *made.spare(), large, *special]


def firsts(made: Sampler) -> list:
    return [choices[0] for choices in every(made)]


CONV = [models.node("Conv", "x w", "y")]
W = np.zeros((1, 3, 3, 3), np.float32)


def test_images_are_normal_in_0_to_1_normalised_and_of_255_levels() -> None:
    shape = (1, 3, 32, 32)
    found = [each["x"] for each in firsts(sampler(CONV, spec("x", "float32", *shape), w=W))]
    assert len(found) == len(FLAVOURS) == 4
    normal, unit, standard, large = found
    assert all((each.shape, each.dtype) == (shape, np.float32) for each in found)
    assert normal.mean() == pytest.approx(0, abs=0.1)
    assert (unit.min(), unit.max()) == (0, 1)
    # Neighbours in an image are alike; those of noise are not.
    assert np.abs(np.diff(unit)).mean() < 0.15
    assert -2.2 < standard.min() < -1
    assert 1 < standard.max() < 2.7
    assert (large.min(), large.max()) == (0, 255)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "bool"])
def test_a_number_without_axes_is_an_array_which_onnx_runtime_takes(dtype: str) -> None:
    add = [models.node("Add", "x w", "y")]
    for sample in firsts(sampler(add, spec("x", dtype), w=np.zeros((), dtype))):
        assert isinstance(sample["x"], np.ndarray)
        assert (sample["x"].shape, sample["x"].dtype) == ((), np.dtype(dtype))


def test_half_precision_gets_positive_values_up_to_100() -> None:
    relu = [models.node("ReduceSum", "x", "y")]
    large = firsts(sampler(relu, spec("x", "float16", 1, 500)))[3]["x"]
    assert large.dtype == np.float16
    assert 0 <= large.min() < 5
    assert 95 < large.max() <= 100


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_pictures_of_bytes_use_all_levels_in_every_sample(dtype: str) -> None:
    cast = [models.node("Cast", "x", "y", to=1)]
    for each in firsts(sampler(cast, spec("x", dtype, 1, 32, 32, 3))):
        assert np.ptp(each["x"].astype(int)) == 255


def test_integers_fill_the_vocabulary_and_never_leave_it() -> None:
    gather = [models.node("Gather", "t ids", "y")]
    for choices in every(sampler(gather, spec("ids", "int64", 1, 400), t=TABLE)):
        for each in choices:
            assert (each["ids"].min(), each["ids"].max()) == (0, 49)


def test_one_number_takes_each_constant_that_it_is_compared_with_and_its_neighbours() -> None:
    equal = [models.node("Equal", "mode two", "y")]
    made = sampler(equal, spec("mode", "int64"), two=np.array(2))
    assert {int(each["mode"]) for each, *_ in made.samples()} == {1, 2, 3}
    assert list(made.spare()) == []
    made = sampler(equal, spec("mode", "uint8"), two=np.array(0, np.uint8))
    assert {int(each["mode"]) for each, *_ in made.samples()} == {0, 1}


def test_integers_of_unknown_meaning_are_masks_and_then_wide_with_a_way_back() -> None:
    add = [models.node("Add", "n n", "y")]
    choices = every(sampler(add, spec("n", "int32", 1, 400)))
    spans = [(each[0]["n"].min(), each[0]["n"].max()) for each in choices]
    assert spans == [(0, 1), (0, 1), (-100, 100), (-100, 100)]
    assert {(each[1]["n"].min(), each[1]["n"].max()) for each in choices} == {(0, 1)}


def test_a_divisor_is_never_zero() -> None:
    div = [models.node("Div", "n d", "y")]
    for choices in every(sampler(div, spec("n", "int32", 400), spec("d", "int32", 400))):
        assert all(each["d"].min() >= 1 for each in choices)
    assert choices[0]["d"].max() > 50


def test_a_flag_is_both_true_and_false_and_a_mask_is_mixed() -> None:
    both = [models.node("And", "flag mask", "y")]
    made = sampler(both, spec("flag", "bool", 1), spec("mask", "bool", 1, 64))
    found = [each for each, *_ in made.samples()]
    assert {bool(each["flag"]) for each in found} == {True, False}
    assert all(0 < each["mask"].sum() < 64 for each in found)


def test_nan_and_infinity_only_where_every_operator_defines_them() -> None:
    x = spec("x", "float32", 1, 400)
    *plain, special = firsts(sampler([models.node("IsInf", "x", "y")], x))
    assert all(np.isfinite(each["x"]).all() for each in plain)
    assert np.isnan(special["x"]).any()
    assert np.isposinf(special["x"]).any()
    assert np.isneginf(special["x"]).any()
    assert np.isfinite(special["x"]).mean() > 0.3
    assert len(firsts(sampler([models.node("Exp", "x", "y")], x))) == 4


def test_samples_repeat_with_the_seed_and_differ_among_themselves() -> None:
    x = spec("x", "float32", 1, 16)
    exp = [models.node("Exp", "x", "y")]
    one, again, other = (
        [each["x"].tobytes() for each in firsts(sampler(exp, x, seed=seed))] for seed in (1, 1, 2)
    )
    assert one == again
    assert not set(one) & set(other)
    assert len(set(one)) == 4


@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((1, 3, 32, 32), 1), ((1, 32, 32, 3), 3), ((3, 32, 32), 0), ((2, 1, 8, 9), 1),
        ((1, 64, 32, 32), None), ((1, 3, 4, 4), None), ((1, 3), None), ((8, 3, 9, 9, 9), None),
    ],
)  # fmt: skip
def test_what_is_an_image(shape: tuple[int, ...], axis: int | None) -> None:
    assert channel_axis(shape) == axis
