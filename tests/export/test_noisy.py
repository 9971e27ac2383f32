from __future__ import annotations

import models
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tvmkd.base.onnx_runtime import open_session
from tvmkd.export.noisy import noisy

rng = np.random.default_rng(0)


def moved(model: onnx.ModelProto, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The output without and with noise."""
    changed = noisy(model)
    plain, shaken = (
        open_session(each.SerializeToString(), optimize=False).run(None, {"x": x})[0]
        for each in (model, changed)
    )
    return plain.astype(np.float64), shaken.astype(np.float64)


def one(kind: str, shape: list[int], inputs: str = "x", dtype: int = models.FLOAT, **weights):
    return models.model(
        [models.node(kind, inputs, "y")],
        [models.value("x", dtype, shape)],
        [models.value("y", dtype)],
        **weights,
    )


@pytest.mark.parametrize(("dtype", "unit"), [(np.float32, 2.0**-20), (np.float16, 2.0**-9)])
def test_a_sum_moves_by_some_units_in_the_last_place(dtype: type, unit: float) -> None:
    kind = models.FLOAT if dtype is np.float32 else models.HALF
    w = rng.standard_normal((64, 50)).astype(dtype)
    plain, shaken = moved(
        one("MatMul", [1, 64], "x w", kind, w=w), rng.standard_normal((1, 64)).astype(dtype)
    )
    apart = np.abs(plain - shaken)
    assert 0 < apart.max() < 40 * unit
    assert np.median(apart) > 0


def test_a_convolution_that_winograd_may_compute_moves_by_what_is_near() -> None:
    x = np.zeros((1, 4, 9, 9), np.float32)
    x[:, :, 4, 4] = 1000

    def noise(**attributes: object) -> np.ndarray:
        model = models.model(
            [models.node("Conv", "x w", "y", kernel_shape=[3, 3], **attributes)],
            [models.value("x", models.FLOAT, [1, 4, 9, 9])],
            [models.value("y", models.FLOAT)],
            w=np.ones((1, 4, 3, 3), np.float32),
        )
        plain, shaken = moved(model, x)
        return np.abs(plain - shaken)[0, 0]

    found = noise()
    assert 1e-4 < found.max() < 0.1
    assert found[0, 0] > 1e-5, "two pixels from the bright one"
    # In any other convolution only the nine sums move that the pixel is part of.
    assert (noise(dilations=[2, 2]) > 0).sum() == 9


def test_scales_of_a_resize_are_no_data() -> None:
    model = models.model(
        [
            models.node(
                "Constant", "", "s", value=numpy_helper.from_array(np.float32([1, 1, 2, 2]))
            ),
            models.node("Resize", "x  s", "y", mode="linear"),
        ],
        [models.value("x", models.FLOAT, [1, 2, 5, 5])],
        [models.value("y", models.FLOAT)],
    )
    model.graph.node[1].input[:] = ["x", "", "s"]
    plain, shaken = moved(model, rng.standard_normal((1, 2, 5, 5)).astype(np.float32))
    assert plain.shape == shaken.shape == (1, 2, 10, 10)
    assert 0 < np.abs(plain - shaken).max() < 1e-5


def test_another_draw_is_other_noise() -> None:
    model = one("MatMul", [1, 8], "x w", w=np.ones((8, 5), np.float32))
    x = {"x": np.ones((1, 8), np.float32)}
    found = [
        open_session(noisy(model, draw).SerializeToString(), optimize=False).run(None, x)[0]
        for draw in (0, 1, 0)
    ]
    assert (found[0] != found[1]).any()
    np.testing.assert_array_equal(found[0], found[2])


def test_a_sum_that_cancels_moves_by_its_terms() -> None:
    w = np.tile(np.array([[1.0], [-1.0]], np.float32), (32, 20))
    plain, shaken = moved(one("MatMul", [1, 64], "x w", w=w), np.full((1, 64), 1e3, np.float32))
    assert np.abs(plain).max() == 0
    assert 1e-4 < np.abs(shaken).max() < 0.1


def test_a_silent_sigmoid_moves_by_a_unit_of_1_in_the_last_place() -> None:
    x = np.full((1, 100), -20, np.float32)
    plain, shaken = moved(one("Sigmoid", [1, 100]), x)
    assert plain.max() < 1e-7
    assert 1e-7 < np.abs(plain - shaken).max() < 1e-6


def test_what_only_moves_or_selects_values_is_exact() -> None:
    x = rng.standard_normal((4, 5)).astype(np.float32)
    for kind in ("Relu", "Transpose", "Identity", "Neg"):
        plain, shaken = moved(one(kind, [4, 5]), x)
        np.testing.assert_array_equal(plain, shaken)


def test_float16_between_operators_overflows_as_a_compiler_s_does() -> None:
    """ONNX Runtime's own run keeps float32 between them."""
    model = models.model(
        [models.node("MatMul", "x w", "a"), models.node("Mul", "a k", "y")],
        [models.value("x", models.HALF, [1, 64])],
        [models.value("y", models.HALF)],
        w=np.full((64, 8), 100, np.float16),
        k=np.float16(1e-3),
    )
    plain, shaken = moved(model, np.full((1, 64), 100, np.float16))
    assert np.isfinite(plain).all()
    assert np.isinf(shaken).all()


def test_a_quantiser_rounds_some_values_to_the_other_side() -> None:
    model = models.model(
        [
            models.node("QuantizeLinear", "x s z", "q"),
            models.node("DequantizeLinear", "q s z", "y"),
        ],
        [models.value("x", shape=[1000])],
        [models.value("y")],
        s=np.float32(0.1),
        z=np.int8(0),
    )
    plain, shaken = moved(model, rng.uniform(-5, 5, 1000).astype(np.float32))
    levels = np.round((shaken - plain) / 0.1)
    assert set(levels) == {-1.0, 0.0, 1.0}
    assert 10 < np.count_nonzero(levels) < 200


def test_names_of_inputs_and_outputs_stay_and_each_run_has_other_noise() -> None:
    model = one("Exp", [1, 50])
    changed = noisy(model)
    assert [entry.name for entry in changed.graph.output] == ["y"]
    session = onnxruntime.InferenceSession(changed.SerializeToString())
    x = np.ones((1, 50), np.float32)
    first, second = (session.run(None, {"x": x})[0] for _ in range(2))
    assert not np.array_equal(first, second)
