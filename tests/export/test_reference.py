"""ONNX Runtime's runs of a model: which samples are left out, and when more runs are made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import models
import numpy as np
import onnx
import pytest

from tvmkd.base.errors import InputError
from tvmkd.export import reference
from tvmkd.export.reference import MAKERS, Runs

rng = np.random.default_rng(0)
TABLE = rng.standard_normal((5, 4)).astype(np.float32)


def run(path: Path, model: onnx.ModelProto, *choices, **more) -> Runs:
    onnx.save(model, path / "m.onnx")
    return Runs(path / "m.onnx", model, choices, **more)


def found(runs: Runs, factor: float = 1.0) -> dict[str, np.ndarray]:
    """Outputs whose floats are off by ``factor``."""
    return {
        f"{i}.{j}": (each[0] * factor).astype(each[0].dtype)
        if each[0].dtype.kind == "f"
        else each[0]
        for j, output in enumerate(runs.outputs)
        for i, each in enumerate(output.runs)
    }


def counts(runs: Runs) -> set[int]:
    return {len(each) for output in runs.outputs for each in output.runs}


def classifier() -> onnx.ModelProto:
    return models.model(
        [models.node("MatMul", "x w", "s"), models.node("ArgMax", "s", "y", axis=1)],
        [models.value("x", shape=[1, 5])],
        [models.value("s"), models.value("y", models.INT64)],
        w=TABLE,
    )


XS = [{"x": rng.standard_normal((1, 5)).astype(np.float32)} for _ in range(3)]


def test_one_run_of_each_sample_is_enough_for_outputs_that_agree(tmp_path: Path) -> None:
    runs = run(tmp_path, classifier(), *([x] for x in XS))
    assert runs.samples == XS
    assert runs.judge(found(runs, 1 + 1e-5)).agrees
    assert counts(runs) == {1}
    assert runs.outputs[0].more


def test_outputs_that_do_not_agree_are_compared_with_all_runs(tmp_path: Path) -> None:
    runs = run(tmp_path, classifier(), *([x] for x in XS))
    assert not runs.judge(found(runs, 1.1)).agrees
    scores, label = runs.outputs
    assert not scores.more
    # Optimised, plain, with noise, in float64, and with other noise.
    assert [len(each) for each in scores.runs] == [1 + len(MAKERS)] * 3
    assert scores.runs[0][3].dtype == np.float64
    for x, (best, *others) in zip(XS, scores.runs, strict=True):
        np.testing.assert_allclose(best, x["x"] @ TABLE, rtol=1e-5)
        assert 0 < max(float(np.abs(other - best).max()) for other in others) < 1e-4
    assert label.source is not None
    assert (label.source.name, label.axis) == ("s", 1)
    assert label.runs[0][0] == scores.runs[0][0].argmax(1, keepdims=True)


def test_runs_are_added_only_until_the_outputs_agree(tmp_path: Path) -> None:
    """The scores are equal up to rounding, so either label is right: the noise says so."""
    table = np.repeat(TABLE[:, :1], 2, axis=1)
    model = models.model(
        [models.node("MatMul", "x w", "s"), models.node("ArgMax", "s", "y", axis=1)],
        [models.value("x", shape=[1, 5])],
        [models.value("y", models.INT64)],
        w=table,
    )
    runs = run(tmp_path, model, *([x] for x in XS))
    other = {name: 1 - label for name, label in found(runs).items()}
    assert runs.judge(other).agrees
    assert counts(runs) == {2}


def test_a_change_of_what_is_asked_counts_from_the_first_comparison(tmp_path: Path) -> None:
    runs = run(tmp_path, classifier(), *([x] for x in XS))
    strict = runs.judge(found(runs, 1 + 1e-5), lambda each: replace(each, bound=1e-9))
    assert not strict.agrees


def test_spare_samples_are_left_out_when_the_runs_take_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spare = [[x] for x in XS[1:]]
    assert run(tmp_path, classifier(), [XS[0]], spare=spare).samples == XS
    monkeypatch.setattr(reference, "SECONDS", -1.0)
    assert run(tmp_path, classifier(), [XS[0]], spare=spare).samples == XS[:1]


def gather() -> onnx.ModelProto:
    return models.model(
        [models.node("Gather", "t i", "y")],
        [models.value("i", models.INT64, [1])],
        [models.value("y")],
        t=TABLE,
    )


def test_a_sample_that_onnx_runtime_refuses_is_replaced_or_left_out(tmp_path: Path) -> None:
    good, bad = {"i": np.array([4])}, {"i": np.array([99])}
    runs = run(tmp_path, gather(), [bad, good], [bad])
    assert runs.samples == [good]
    assert len(runs.outputs[0].runs) == 1
    assert "out of" in runs.reason


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
    runs = Runs(tmp_path / "m.onnx", light, [[x]])
    assert not runs.judge(found(runs, 2.0)).agrees
    assert counts(runs) == {len(MAKERS)}  # no float64 form: the weights are not in the file
