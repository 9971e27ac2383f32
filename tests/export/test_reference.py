"""ONNX Runtime's runs of a model, and which samples are left out."""

from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import onnx
import pytest

from tvmkd.base.agreement import Output
from tvmkd.base.errors import InputError
from tvmkd.export import reference

rng = np.random.default_rng(0)
TABLE = rng.standard_normal((5, 4)).astype(np.float32)


def run(path: Path, model: onnx.ModelProto, *choices) -> tuple[list, list[Output]]:
    onnx.save(model, path / "m.onnx")
    return reference.run(path / "m.onnx", model, choices)


def classifier() -> onnx.ModelProto:
    return models.model(
        [models.node("MatMul", "x w", "s"), models.node("ArgMax", "s", "y", axis=1)],
        [models.value("x", shape=[1, 5])],
        [models.value("s"), models.value("y", models.INT64)],
        w=TABLE,
    )


def test_each_output_has_its_runs_for_each_sample(tmp_path: Path) -> None:
    xs = [{"x": rng.standard_normal((1, 5)).astype(np.float32)} for _ in range(3)]
    samples, (scores, label) = run(tmp_path, classifier(), *([x] for x in xs))
    assert samples == xs
    # Optimised, plain, with noise, in float64.
    assert [len(runs) for runs in scores.runs] == [4, 4, 4]
    assert scores.runs[0][3].dtype == np.float64
    for x, (best, *others) in zip(xs, scores.runs, strict=True):
        np.testing.assert_allclose(best, x["x"] @ TABLE, rtol=1e-5)
        assert 0 < max(float(np.abs(other - best).max()) for other in others) < 1e-4
    assert label.source is not None
    assert (label.source.name, label.axis) == ("s", 1)
    assert label.runs[0][0] == scores.runs[0][0].argmax(1, keepdims=True)


def gather() -> onnx.ModelProto:
    return models.model(
        [models.node("Gather", "t i", "y")],
        [models.value("i", models.INT64, [1])],
        [models.value("y")],
        t=TABLE,
    )


def test_a_sample_that_onnx_runtime_refuses_is_replaced_or_left_out(tmp_path: Path) -> None:
    good, bad = {"i": np.array([4])}, {"i": np.array([99])}
    samples, (out,) = run(tmp_path, gather(), [bad, good], [bad])
    assert samples == [good]
    assert len(out.runs) == 1


def test_without_any_sample_left_inputs_have_to_be_given(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"m\.onnx: .*none of the inputs .*--inputs FILE\.npz"):
        run(tmp_path, gather(), [{"i": np.array([99])}])


def test_random_outputs_are_refused_with_the_node(tmp_path: Path) -> None:
    model = models.model(
        [models.node("RandomNormalLike", "x", "noise"), models.node("Add", "x noise", "y")],
        [models.value("x", shape=[2])],
        [models.value("y")],
    )
    with pytest.raises(InputError, match=r"m\.onnx: RandomNormalLike \(node 'noise'\)"):
        run(tmp_path, model, [{"x": np.zeros(2, np.float32)}])


def test_a_file_that_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    model = models.model([models.node("Nothing", "x", "y")], [models.value("x")], [])
    with pytest.raises(InputError, match="cannot load it"):
        run(tmp_path, model, [{"x": np.zeros(1, np.float32)}])


def test_external_weights_are_found_beside_the_file(tmp_path: Path) -> None:
    model = models.model(
        [models.node("MatMul", "x w", "y")],
        [models.value("x", shape=[1, 64])],
        [models.value("y")],
        w=rng.standard_normal((64, 64)).astype(np.float32),
    )
    onnx.save(model, tmp_path / "m.onnx", save_as_external_data=True, size_threshold=0)
    light = onnx.load(tmp_path / "m.onnx", load_external_data=False)
    x = {"x": rng.standard_normal((1, 64)).astype(np.float32)}
    _, (out,) = reference.run(tmp_path / "m.onnx", light, [[x]])
    assert len(out.runs[0]) == 3  # no float64 form: the weights are not in the file
