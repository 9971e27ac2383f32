"""LSTM, GRU and RNN of ONNX files: one kernel a layer, and ONNX Runtime's outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from in_tvm import INSIDE, inside
from recurrent_models import model

if INSIDE:
    import tvm
    from relax_graphs import PLAIN, operators, run

    from tvmkd.base.errors import InputError
    from tvmkd.stacks.relax import importer, vector_math
    from tvmkd.stacks.relax.tasks import tasks_of
    from tvmkd.stacks.relax.templates.cpu import Cpu

    CPU = Cpu(threads=2)


def check(given: onnx.ModelProto, folder: Path) -> Any:
    """The fused module; its outputs are ONNX Runtime's."""
    import onnxruntime

    path = folder / "m.onnx"
    onnx.save(given, path)
    target = tvm.target.Target(PLAIN)
    read = importer.read(path, cpu=CPU)
    fused = importer.fuse(read.mod, target, CPU)
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal(each["shape"]).astype(np.float32) for each in read.inputs]
    session = onnxruntime.InferenceSession(str(path))
    feeds = {each["name"]: array for each, array in zip(read.inputs, inputs, strict=True)}
    vector_math.install()
    for got, wanted in zip(run(fused, inputs), session.run(None, feeds), strict=True):
        assert got.shape == wanted.shape
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=2e-6)
    return fused


@pytest.mark.parametrize(
    ("kind", "form"),
    [
        ("LSTM", {}),
        ("LSTM", {"direction": "bidirectional", "given": "B h c", "sizes": (7, 1, 6, 16)}),
        ("LSTM", {"direction": "reverse", "fed": "h c"}),
        ("GRU", {"given": "B", "direction": "bidirectional", "sizes": (3, 5, 4, 12)}),
        ("GRU", {"given": "B", "linear_before_reset": 1, "direction": "reverse"}),
        ("GRU", {"fed": "h", "linear_before_reset": 1, "direction": "bidirectional"}),
        ("RNN", {"given": "B", "fed": "h", "sizes": (3, 1, 4, 8)}),
        ("RNN", {"direction": "bidirectional", "activations": ["Relu", "Relu"]}),
    ],
)
@inside("relax")
def test_a_layer_is_one_product_and_one_kernel(
    kind: str, form: dict[str, Any], tmp_path: Path
) -> None:
    fused = check(model(kind, **form), tmp_path)
    called = operators(fused)
    assert called.count(kind.lower()) == 1
    assert sum("matmul" in name or "dense" in name for name in called) == 1
    # No schedule applies to it, and nobody searches for one.
    assert kind.lower() not in {t.name for t in tasks_of(fused, tvm.target.Target(PLAIN), CPU)}


@inside("relax")
def test_outputs_that_nobody_reads_may_have_no_names(tmp_path: Path) -> None:
    for kept in range(3):
        given = model("LSTM")
        for place in range(3):
            if place != kept:
                given.graph.node[0].output[place] = ""
        only = given.graph.output[kept]
        del given.graph.output[:]
        given.graph.output.append(only)
        check(given, tmp_path)


@inside("relax")
def test_without_a_cpu_the_steps_are_plain_operators(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model("GRU", given="B"), path)
    assert "gru" not in operators(importer.read(path).mod)
    onnx.save(model("RNN", sizes=(600, 1, 1, 1)), path)
    with pytest.raises(InputError, match="RNN has 600 steps, more than 512"):
        importer.read(path)


@inside("relax")
def test_with_weights_that_are_inputs_the_steps_are_plain_operators(tmp_path: Path) -> None:
    fused = check(model("RNN", fed="R"), tmp_path)
    assert "rnn" not in operators(fused)
