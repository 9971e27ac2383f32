from __future__ import annotations

import builtins
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from tvmkd.base import onnx_runtime
from tvmkd.base.errors import InputError, MissingError


class Opened(SimpleNamespace):
    """The arguments of one call of `InferenceSession`."""

    def options(self) -> tuple[Any, ...]:
        given = self.given
        return (
            given.intra_op_num_threads,
            given.inter_op_num_threads,
            given.graph_optimization_level,
            given.get_session_config_entry("session.intra_op.allow_spinning"),
            given.log_severity_level,
        )


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Opened]:
    calls: list[Opened] = []

    def session(model: Any, given: Any, providers: Any, **more: Any) -> Opened:
        calls.append(Opened(model=model, given=given, providers=providers, **more))
        return calls[-1]

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    return calls


def test_defaults(opened: list[Opened]) -> None:
    onnx_runtime.open_session(Path("m.onnx"))
    (call,) = opened
    assert (call.model, call.providers) == ("m.onnx", ["CPUExecutionProvider"])
    level = onnxruntime.SessionOptions().graph_optimization_level
    assert call.options() == (0, 1, level, "1", onnx_runtime.FATAL)


def test_options(opened: list[Opened]) -> None:
    onnx_runtime.open_session(
        b"model",
        threads=3,
        optimize=False,
        spin=False,
        providers=[("CUDAExecutionProvider", {"use_tf32": "0"}), onnx_runtime.CPU],
        log_level=onnx_runtime.ERROR,
    )
    (call,) = opened
    assert call.model == b"model"
    assert call.providers == [("CUDAExecutionProvider", {"use_tf32": "0"}), "CPUExecutionProvider"]
    off = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    assert call.options() == (3, 1, off, "0", onnx_runtime.ERROR)


@pytest.mark.parametrize(
    ("name", "shown"), [("", "{path}: ONNX Runtime cannot load it: "), ("student", "student: ONNX")]
)
def test_a_file_that_is_no_model_is_one_line_with_its_name(
    tmp_path: Path, name: str, shown: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(b"not a model")
    with pytest.raises(InputError) as caught:
        onnx_runtime.open_session(path, name)
    assert isinstance(caught.value, onnx_runtime.Unloadable)
    assert str(caught.value).startswith(shown.format(path=path))
    assert str(caught.value).endswith(caught.value.reason)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""


def test_bytes_have_a_name_in_messages_too() -> None:
    with pytest.raises(InputError, match=r"^the model: ONNX Runtime cannot load it: "):
        onnx_runtime.open_session(b"not a model")


def test_without_onnx_runtime_the_message_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "onnxruntime":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingError, match="pip install onnxruntime"):
        onnx_runtime.open_session(b"")


@pytest.mark.parametrize(
    ("kind", "dtype"),
    [
        ("tensor(float)", "float32"),
        ("tensor(double)", "float64"),
        ("tensor(float16)", "float16"),
        ("tensor(int64)", "int64"),
        ("tensor(bool)", "bool"),
    ],
)
def test_element_types_have_numpy_names(kind: str, dtype: str) -> None:
    assert onnx_runtime.numpy_dtype(kind) == dtype


def test_products_of_bytes_are_summed_exactly_on_demand() -> None:
    """uint8 times int8, twice 255 * 127: a sum that does not fit in 16 bits."""
    from onnx import TensorProto, helper

    sides = [
        helper.make_tensor("b", TensorProto.INT8, [4, 1], [127] * 4),
    ]
    node = helper.make_node("MatMulInteger", ["x", "b"], ["y"])
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 1])],
        sides,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnx_runtime.open_session(model.SerializeToString(), exact=True)
    x = np.full((1, 4), 255, np.uint8)
    assert session.run(None, {"x": x})[0].item() == 4 * 255 * 127


def test_what_is_written_can_be_optimised_again(tmp_path: Path) -> None:
    """A product of three axes and a sum, twice: ONNX Runtime would name the same tensors twice."""
    from onnx import parser

    model = parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> net (float[2, 3, 4] x) => (float[2, 3, 2] y)
        <float[4, 2] w = {1, 2, 3, 4, 5, 6, 7, 8}, float[2] b = {1, 2}> {
            t = MatMul(x, w) y = Add(t, b)
        }"""
    )
    path = tmp_path / "m.onnx"
    onnx_runtime.open_session(model.SerializeToString(), written=path)
    onnx_runtime.open_session(path, written=tmp_path / "n.onnx")
    names = {tensor.name for tensor in onnx.load(path).graph.initializer}
    assert names == {"w", "b"}


class Running:
    """A session whose run lasts until it is ended, or answers at once."""

    def __init__(self, answer: list[Any] | Exception | None) -> None:
        self.answer = answer

    def run(self, names: None, feed: dict[str, Any], options: Any) -> list[Any]:
        assert names is None
        while self.answer is None:
            if options.terminate:
                raise RuntimeError("Exiting due to terminate flag being set to true.")
        if isinstance(self.answer, Exception):
            raise self.answer
        return [*self.answer, *feed.values()]


def test_a_run_is_ended_after_its_limit() -> None:
    for limit in (None, 60.0):
        assert onnx_runtime.run_within(Running([1]), {"x": 2}, limit) == [1, 2]  # type: ignore[arg-type]
    with pytest.raises(TimeoutError, match="ended after 0 s"):
        onnx_runtime.run_within(Running(None), {}, 0.01)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="bad"):
        onnx_runtime.run_within(Running(ValueError("bad")), {}, 60.0)  # type: ignore[arg-type]


def test_what_has_no_exact_form_is_opened_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def exactly(options: Any) -> bool:
        try:
            return bool(options.get_session_config_entry("session.x64quantprecision") == "1")
        except RuntimeError:  # it was never set
            return False

    def session(_model: Any, given: Any, providers: Any) -> str:
        asked.append(exactly(given))
        if asked[-1]:
            raise RuntimeError("Failed to find kernel for com.microsoft.QGemm(1)")
        return "session"

    monkeypatch.setattr(onnxruntime, "InferenceSession", session)
    assert onnx_runtime.open_session(Path("m.onnx"), exact=True) == "session"
    assert asked == [True, False]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Non-zero status code returned while running "
                "NonMaxSuppression node. Name:'' Status Message: non_max_suppression_helper.h:129 "
                "GetThresholdsFromInputs iou_threshold must be in range [0, 1]."
            ),
            "NonMaxSuppression: iou_threshold must be in range [0, 1].",
        ),
        (
            (
                "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while "
                "running Reshape node. Name:'/r' Status Message: /src/core/reshape_helper.h"
                ":45 ns::ReshapeHelper::ReshapeHelper(const ns::TensorShape&, bool) "
                "a == b was false."
            ),
            "Reshape (node '/r'): a == b was false.",
        ),
        (
            (
                "[ONNXRuntimeError] : 1 : FAIL : Exception during initialization: /s/normalizer.cc"
                ":235 ns::Locale::Locale(const std::string&)::<lambda()> Failed to construct locale"
            ),
            "Exception during initialization: Failed to construct locale",
        ),
        ("a" * 100 + "b" * 100, "a" * 70 + "..." + "b" * 87),
    ],
)
def test_an_error_says_the_cause_and_not_where_it_stands_in_the_sources(
    raw: str, shown: str
) -> None:
    assert onnx_runtime.plain(RuntimeError(raw)) == shown
