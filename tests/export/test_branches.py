from __future__ import annotations

from pathlib import Path

import models
import numpy as np
import onnx

from tvmkd.export import branches
from tvmkd.export.branches import TRIES, covering, drawn
from tvmkd.export.samples import Sampler


def choosing(*nodes: onnx.NodeProto, **weights: np.ndarray) -> onnx.ModelProto:
    """``y`` is ``-x`` where ``c`` holds, else ``x``; the nodes make ``c``."""
    bodies = [
        onnx.helper.make_graph([models.node(kind, "x", kind)], kind, [], [models.value(kind)])
        for kind in ("Neg", "Identity")
    ]
    branch = models.node("If", "c", "y", then_branch=bodies[0], else_branch=bodies[1])
    inputs = [models.value("x", shape=[1, 8]), models.value("mode", models.INT64, [])]
    return models.model([*nodes, branch], inputs, [models.value("y")], **weights)


SPECS = [
    {"name": "x", "shape": [1, 8], "dtype": "float32"},
    {"name": "mode", "shape": [], "dtype": "int64"},
]
ZERO = {"x": np.zeros((1, 8), np.float32), "mode": np.array(0)}


def found(model: onnx.ModelProto) -> list:
    return covering(Path("m.onnx"), model, Sampler(model, SPECS), [ZERO])


def test_a_branch_that_a_number_selects_is_taken() -> None:
    model = choosing(models.node("Equal", "mode seven", "c"), seven=np.array(7))
    assert [int(each["mode"]) for each in found(model)] == [7]


def test_a_branch_that_a_mean_selects_is_taken() -> None:
    nodes = [models.node("ReduceMean", "x", "m", keepdims=0), models.node("Less", "t m", "c")]
    (sample,) = found(choosing(*nodes, t=np.float32(5.0)))
    assert sample["x"].mean() > 5


def test_what_is_taken_anyway_needs_no_sample_and_what_cannot_be_is_left(monkeypatch) -> None:
    nodes = [models.node("Equal", "mode mode", "c")]
    drawn: list[str] = []
    original = Sampler.draw
    monkeypatch.setattr(
        Sampler, "draw", lambda self, *given: drawn.append("x") or original(self, *given)
    )
    assert found(choosing(*nodes)) == []
    assert len(drawn) == TRIES
    plain = models.model([models.node("Neg", "x", "y")], [models.value("x", shape=[1, 8])], [])
    assert covering(Path("m.onnx"), plain, Sampler(plain, SPECS[:1]), [ZERO]) == []


def test_a_slow_condition_ends_the_search(monkeypatch) -> None:
    model = choosing(models.node("Equal", "mode seven", "c"), seven=np.array(7))
    monkeypatch.setattr(branches, "SECONDS", -1.0)
    assert found(model) == []


def test_a_branch_that_only_a_size_selects_is_not_sought(monkeypatch) -> None:
    monkeypatch.setattr(Sampler, "draw", None)
    nodes = [
        models.node("Neg", "x", "n"),
        models.node("Size", "n", "s"),
        models.node("Less", "s eight", "c"),
    ]
    assert found(choosing(*nodes, eight=np.array(8))) == []


def test_drawn_samples_take_both_branches_and_more_are_spare() -> None:
    nodes = [models.node("ReduceMean", "x", "m", keepdims=0), models.node("Less", "t m", "c")]
    choices, spare = drawn(Path("m.onnx"), choosing(*nodes, t=np.float32(5.0)), SPECS)
    assert len({bool(sample["x"].mean() > 5) for sample, *_ in choices}) == 2
    assert len(list(spare)) == 2
