from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from fake_session import FakeSession
from onnx import TensorProto, helper
from onnx_files import convolution, save, weights

from tvmkd.base.errors import InputError
from tvmkd.base.tolerance import COMPILED
from tvmkd.export import check, ort_tools
from tvmkd.export import half as module
from tvmkd.export.half import half


def test_weights_become_fp16_and_inputs_and_outputs_stay_fp32(tmp_path):
    source = save(convolution(), tmp_path / "m.onnx")
    error = half(source, tmp_path / "half.onnx")
    assert 0 < error < 5e-3
    info = check(tmp_path / "half.onnx")
    assert {tensor.dtype for tensor in (*info.inputs, *info.outputs)} == {"float32"}
    found = onnx.load(tmp_path / "half.onnx")
    assert [entry.data_type for entry in found.graph.initializer] == [TensorProto.FLOAT16]
    assert {entry.key: entry.value for entry in found.metadata_props}["teacher"] == "residual"


def test_a_kept_layer_stays_in_fp32(tmp_path):
    source = save(convolution(), tmp_path / "m.onnx")
    half(source, tmp_path / "kept.onnx", ["first"])
    found = onnx.load(tmp_path / "kept.onnx")
    assert [entry.data_type for entry in found.graph.initializer] == [TensorProto.FLOAT]


def test_an_overflow_is_refused_and_leaves_no_file(tmp_path):
    source = save(convolution(weights() * 1e5), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="in FP16 it differs by inf of the output's range"):
        half(source, tmp_path / "half.onnx")
    assert list(tmp_path.iterdir()) == [source]


def test_a_layer_that_is_not_there_is_named_with_its_key(tmp_path) -> None:
    source = save(convolution(), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="keep_fp32"):
        half(source, tmp_path / "half.onnx", ["third"])


def test_a_converter_that_fails_is_one_line(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError("an odd node")

    source = save(convolution(), tmp_path / "m.onnx")
    ort_tools.importable()
    monkeypatch.setattr("onnxruntime.transformers.float16.convert_float_to_float16", fail)
    with pytest.raises(InputError, match=r"m\.onnx: cannot be converted to FP16: an odd node"):
        half(source, tmp_path / "half.onnx")
    assert list(tmp_path.iterdir()) == [source]


Fakes = Callable[..., tuple[FakeSession, FakeSession]]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """Lets `half` compare two fake sessions: the FP32 file's and the FP16 file's."""

    def make(single, double, shape=("batch", 3, 8, 8)) -> tuple[FakeSession, FakeSession]:
        pair = FakeSession(single, shape), FakeSession(double, shape)
        waiting = list(pair)
        monkeypatch.setattr(module, "open_session", lambda path: waiting.pop(0))
        return pair

    return make


def flat(value: float):
    return lambda x: np.full((len(x), 2), value, np.float32)


def test_half_the_tolerance_passes_and_twice_is_refused(tmp_path, fakes: Fakes) -> None:
    source = save(convolution(), tmp_path / "m.onnx")
    allowed = COMPILED["float16"]
    fakes(flat(100.0), flat(100.0 * (1 + allowed / 2)))
    assert half(source, tmp_path / "half.onnx") == pytest.approx(allowed / 2, rel=1e-3)
    assert (tmp_path / "half.onnx").exists()
    fakes(flat(100.0), flat(100.0 * (1 + allowed * 2)))
    with pytest.raises(InputError, match=r"differs by 0\.04 of the output's range \(0\.02 is"):
        half(source, tmp_path / "other.onnx")
    assert not (tmp_path / "other.onnx").exists()


@pytest.mark.parametrize("errors", [(0.5, 0.0), (0.0, 0.5), (0.5, 0.25)])
def test_the_worst_of_several_outputs_counts(tmp_path, fakes: Fakes, errors) -> None:
    source = save(convolution(), tmp_path / "m.onnx")
    allowed = COMPILED["float16"]

    def off(share: float):
        return lambda x: tuple(np.full((len(x), 2), 1 + share * error, "f4") for error in errors)

    fakes(off(0), off(allowed))
    assert half(source, tmp_path / "half.onnx") == pytest.approx(allowed / 2, rel=1e-3)
    fakes(off(0), off(4 * allowed))
    with pytest.raises(InputError, match=r"differs by 0\.04 "):
        half(source, tmp_path / "other.onnx")


def test_nan_in_half_precision_is_refused(tmp_path, fakes: Fakes) -> None:
    source = save(convolution(), tmp_path / "m.onnx")
    fakes(flat(1.0), flat(np.nan))
    with pytest.raises(InputError, match="in FP16 it differs by inf"):
        half(source, tmp_path / "half.onnx")


def numbered(count: int) -> np.ndarray:
    """Pictures; every pixel is the picture's number."""
    return np.arange(count, dtype=np.float32)[:, None, None, None] * np.ones((1, 3, 8, 8), "f4")


@pytest.mark.parametrize(
    ("batch", "count", "fed"),
    [
        ("batch", 3, [[0], [1], [2]]),
        (2, 4, [[0, 1], [2, 3]]),
        (2, 5, [[0, 1], [2, 3], [3, 4]]),
        (3, 3, [[0, 1, 2]]),
    ],
)
def test_every_picture_is_compared(tmp_path, fakes: Fakes, batch, count: int, fed) -> None:
    source = save(convolution(batch=batch), tmp_path / "m.onnx")
    same = lambda x: x.mean((1, 2, 3))[:, None]  # noqa: E731
    pair = fakes(same, same, (batch, 3, 8, 8))
    assert half(source, tmp_path / "half.onnx", pictures=numbered(count)) == 0.0
    for session in pair:
        assert [list(x[:, 0, 0, 0]) for x in session.fed] == fed


@pytest.mark.parametrize("spoilt", range(5))
def test_an_overflow_on_any_one_picture_is_refused(tmp_path, fakes: Fakes, spoilt: int) -> None:
    source = save(convolution(batch=2), tmp_path / "m.onnx")

    def overflows(x: np.ndarray) -> np.ndarray:
        return np.where(x[:, :1, 0, 0] == spoilt, np.inf, 1.0)

    fakes(flat(1.0), overflows, (2, 3, 8, 8))
    with pytest.raises(InputError, match="in FP16 it differs by inf"):
        half(source, tmp_path / "half.onnx", pictures=numbered(5))


def test_fewer_pictures_than_a_batch_are_an_error(tmp_path) -> None:
    source = save(convolution(batch=4), tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"m\.onnx: has a batch of 4; 3 pictures are too few"):
        half(source, tmp_path / "half.onnx", pictures=numbered(3))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("before", [logging.NOTSET, logging.INFO])
def test_the_logging_level_is_restored(tmp_path, before: int) -> None:
    source = save(convolution(), tmp_path / "m.onnx")
    refused = save(convolution(weights() * 1e5), tmp_path / "big.onnx")
    try:
        logging.disable(before)
        half(source, tmp_path / "half.onnx")
        assert logging.root.manager.disable == before
        with pytest.raises(InputError):
            half(refused, tmp_path / "half.onnx")
        assert logging.root.manager.disable == before
    finally:
        logging.disable(logging.NOTSET)


def test_several_inputs_are_compared_on_noise(tmp_path):
    entry = helper.make_tensor_value_info
    nodes = [
        helper.make_node("MatMul", ["a", "b"], ["m"], name="product"),
        helper.make_node("Gather", ["m", "i"], ["y"], name="rows"),
    ]
    inputs = [
        entry("a", TensorProto.FLOAT, [4, 8]),
        entry("b", TensorProto.FLOAT, [8, 2]),
        entry("i", TensorProto.INT64, [3]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, [entry("y", TensorProto.FLOAT, [3, 2])])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    assert 0 < half(tmp_path / "m.onnx", tmp_path / "half.onnx") < 5e-3
