"""Which steps are kept, and what counts as a difference."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import onnx
import pytest

from tvmkd.export import normalise as normalising
from tvmkd.export.normalise import differences, normalise


def marked(text: str) -> Callable[[onnx.ModelProto], onnx.ModelProto]:
    def step(model: onnx.ModelProto) -> onnx.ModelProto:
        return onnx.ModelProto(doc_string=model.doc_string + text)

    return step


def nothing(model: onnx.ModelProto) -> onnx.ModelProto:
    return model


def failing(model: onnx.ModelProto) -> onnx.ModelProto:
    raise ValueError("no such thing\nmore")


def unless(bad: str) -> Callable[[onnx.ModelProto], str | None]:
    return lambda model: f"has {bad}" if bad in model.doc_string else None


def test_all_steps_are_done_and_checked_once() -> None:
    asked: list[str] = []

    def same(model: onnx.ModelProto) -> None:
        asked.append(model.doc_string)

    found = normalise(onnx.ModelProto(), same, {"a": marked("a"), "n": nothing, "b": marked("b")})
    assert found.model.doc_string == "ab"
    assert found.steps == ["a", "b"]
    assert asked == ["ab"]
    assert not found.left_out


def test_the_step_that_changes_the_outputs_is_left_out() -> None:
    steps = {"a": marked("a"), "b": marked("b"), "c": marked("c")}
    found = normalise(onnx.ModelProto(), unless("b"), steps)
    assert found.model.doc_string == "ac"
    assert found.steps == ["a", "c"]
    assert found.left_out == {"b": "has b"}


def test_a_step_that_fails_is_left_out() -> None:
    found = normalise(onnx.ModelProto(), unless("!"), {"a": failing, "b": marked("b")})
    assert found.model.doc_string == "b"
    assert found.left_out == {"a": "no such thing"}


def test_without_a_change_nothing_is_compared() -> None:
    model = onnx.ModelProto()

    def same(model: onnx.ModelProto) -> None:
        raise AssertionError

    assert normalise(model, same, {"n": nothing}).model is model


def test_inlining_leaves_a_model_without_functions_alone() -> None:
    model = onnx.ModelProto()
    assert normalising.inline(model) is model


ONE = np.array([0.0, 1.0], np.float32)


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (ONE.astype(np.float64), "float64.*was float32"),
        (ONE[None], r"\[1, 2\] and was float32\[2\]"),
        (ONE + np.float32(5e-4), "other values"),
        (np.array([0.0, np.nan], np.float32), "other values"),
        (np.array([0.0, np.inf], np.float32), "other values"),
        (ONE - np.float32(5e-4), "other values"),
    ],
)
def test_differences_are_told(got: np.ndarray, text: str) -> None:
    found = differences([[ONE, ONE]], [[ONE, got]])
    assert found is not None
    assert found.startswith("output 1")
    assert re.search(text, found)


@pytest.mark.parametrize(
    ("want", "got"),
    [
        (ONE, ONE + np.float32(5e-5)),
        (np.array([np.nan, np.inf, 1.0], np.float32),) * 2,
        (np.array([], np.float32),) * 2,
        (np.array([1e-9], np.float32), np.array([2e-9], np.float32)),
        (np.array([1000.0, 1001.0], np.float32), np.array([1000.0005, 1001.0], np.float32)),
    ],
)
def test_rounding_is_no_difference(want: np.ndarray, got: np.ndarray) -> None:
    assert differences([[want]], [[got]]) is None


def test_a_large_offset_hides_nothing() -> None:
    offset = (ONE + np.float32(1000)).astype(np.float32)
    assert differences([[offset]], [[offset + np.float32(0.05)]]) is not None


def test_integers_are_equal_or_differ() -> None:
    assert differences([[np.array([3])]], [[np.array([3])]]) is None
    assert differences([[np.array([3])]], [[np.array([4])]]) == "output 0 has other values"
