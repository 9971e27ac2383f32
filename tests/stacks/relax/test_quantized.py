"""QDQ networks in integers: as ONNX Runtime computes them, without floats between kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from in_tvm import INSIDE, inside

if INSIDE:
    import qdq_graphs
    import tvm
    from relax_graphs import PLAIN, operators, run
    from tvm import relax

    from tvmkd.base.onnx_runtime import open_session
    from tvmkd.export.door import admit
    from tvmkd.stacks.relax import importer
    from tvmkd.stacks.relax.quantized import integers
    from tvmkd.stacks.relax.tasks import tasks_of
    from tvmkd.stacks.relax.templates.cpu import Cpu
    from tvmkd.stacks.relax.templates.enumerated import EnumeratedSpace


@pytest.mark.parametrize(("activation", "bits"), [("uint8", 7), ("int8", 8)])
@inside("relax")
def test_a_network_gives_what_onnx_runtime_gives(
    tmp_path: Path, activation: str, bits: int
) -> None:
    path = qdq_graphs.network(tmp_path / "m.onnx", activation, bits)
    model, target = importer.read(path), tvm.target.Target(PLAIN)
    x = np.random.default_rng(3).standard_normal((1, 3, 12, 12)).astype(np.float32)
    wanted = open_session(path, threads=1, exact=True).run(None, {"x": x})
    fused = importer.fuse(model.mod, target)
    for found, right in zip(run(fused, [x], PLAIN), wanted, strict=True):
        steps = np.rint((found - right) / 0.05)
        assert np.abs(steps).max() <= 1
        assert (steps == 0).mean() > 0.99
    names = operators(fused)
    assert sum("quantized" in name for name in names) == 5
    assert stored(fused) == 2, "the outputs"


def stored(mod: Any) -> int:
    """How many tensors of floats kernels give each other."""
    (block,) = mod["main"].body.blocks
    kept = [b.var for b in block.bindings if isinstance(b.var, relax.DataflowVar)]
    return sum("float" in str(getattr(var.ty, "dtype", "")) for var in kept)


@inside("relax")
def test_a_float_network_stays_as_it_is(tmp_path: Path) -> None:
    import graphs

    mod = importer.read(graphs.separable(tmp_path / "m.onnx")).mod
    assert integers(mod, tvm.target.Target(PLAIN)).same_as(mod)


@inside("relax")
def test_operators_on_integers_become_the_same_kernels(tmp_path: Path) -> None:
    path = qdq_graphs.operators(tmp_path / "m.onnx")
    x = np.random.default_rng(3).standard_normal((1, 4, 6, 6)).astype(np.float32)
    (wanted,) = open_session(path, threads=1, exact=True).run(None, {"x": x})
    mod = importer.read(path, info=admit(path, {}, tmp_path)).mod
    fused = importer.fuse(mod, tvm.target.Target(PLAIN))
    (found,) = run(fused, [x], PLAIN)
    assert np.abs(np.rint((found - wanted) / 0.3)).max() <= 1
    assert len(np.unique(wanted)) == 5
    assert sum("quantized" in name for name in operators(fused)) == 2
    assert stored(fused) == 0


@pytest.mark.parametrize("mcpu", ["x86-64-v3", "cascadelake"])
@inside("relax")
def test_integer_kernels_have_templates(tmp_path: Path, mcpu: str) -> None:
    target = tvm.target.Target({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": mcpu})
    mod = importer.read(qdq_graphs.network(tmp_path / "m.onnx")).mod
    found = [
        task
        for task in tasks_of(importer.fuse(mod, target), target, Cpu())
        if "quantized" in task.name
    ]
    assert sorted(task.kind for task in found) == ["conv2d"] * 3 + ["dense", "depthwise"]
    for task in found:
        assert isinstance(task.template, EnumeratedSpace)
        assert task.template.member(0) is not None, task.name


@pytest.mark.parametrize("outer", [16, 10])
@inside("relax")
def test_a_depthwise_convolution_with_a_multiplier(tmp_path: Path, outer: int) -> None:
    g = qdq_graphs.Quantised(1, outer // 2, 9, 8)
    g.qdq()
    g.quantised_conv(outer // 2, outer, groups=outer // 2, unit=0.05, strides=[2, 2])
    path = g.save(tmp_path / "m.onnx", g.qdq(0.03))
    x = np.random.default_rng(3).standard_normal((1, outer // 2, 9, 8)).astype(np.float32)
    (wanted,) = open_session(path, threads=1, exact=True).run(None, {"x": x})
    fused = importer.fuse(importer.read(path).mod, tvm.target.Target(PLAIN))
    (found,) = run(fused, [x], PLAIN)
    assert np.abs(np.rint((found - wanted) / 0.03)).max() <= 1
    assert (found == wanted).mean() > 0.99
    assert sum("quantized_depthwise" in name for name in operators(fused)) == 1


@pytest.mark.parametrize(("padding", "count"), [(0, 0), (1, 1), (1, 0)])
@inside("relax")
def test_averages_over_windows(tmp_path: Path, padding: int, count: int) -> None:
    g = qdq_graphs.Quantised(1, 16, 9, 8)
    g.qdq()
    options = {"pads": [padding] * 4, "count_include_pad": count, "strides": [2, 1]}
    g.add("AveragePool", kernel_shape=[3, 2], **options)
    path = g.save(tmp_path / "m.onnx", g.qdq(0.031))
    x = np.random.default_rng(3).standard_normal((1, 16, 9, 8)).astype(np.float32)
    (wanted,) = open_session(path, threads=1, optimize=False).run(None, {"x": x})
    fused = importer.fuse(importer.read(path).mod, tvm.target.Target(PLAIN))
    (found,) = run(fused, [x], PLAIN)
    steps = np.rint((found - wanted) / 0.031)
    assert np.abs(steps).max() <= 1
    assert (steps != 0).mean() < 0.01
    # Where windows at the edge have fewer values, it stays in float.
    integers_used = sum("quantized_depthwise" in name for name in operators(fused))
    assert integers_used == (padding == count)
