"""Models with QuantizeLinear and DequantizeLinear in regions of another engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import numpy as np
import pytest
from qdq_graphs import Quantised, network

from tvmkd import targets
from tvmkd.base.errors import UsageError
from tvmkd.byoc.region import Region
from tvmkd.stacks.client import StackClient

pytestmark = pytest.mark.timeout(240)
TARGET = targets.load("host").to_dict()
NANO = targets.load("jetson-nano-gpu").to_dict()
ADA = {**NANO, "cuda": {**NANO["cuda"], "arch": "sm_89"}}
SYMMETRIC = "its zero point is not 0 or it is unsigned, and TensorRT's INT8 is symmetric"


@pytest.fixture(scope="module")
def stack(relax_stack: StackClient) -> StackClient:
    return relax_stack


def symmetric(path: Path, *between: str) -> Path:
    """Two convolutions as TensorRT reads them; one tensor is dequantised twice."""
    g = Quantised(1, 3, 12, 12, activation="int8", bits=8)
    g.qdq(0.03, 0)
    g.quantised_conv(3, 16, unit=0.03)
    g.add("Relu")
    unit, zero = g.weight(value=0.04), g.array(np.zeros((), np.int8))
    whole = g.add("QuantizeLinear", unit, zero)
    skip = g.add("DequantizeLinear", unit, zero, data=whole)
    g.add("DequantizeLinear", unit, zero, data=whole)
    g.quantised_conv(16, 16, unit=0.04)
    g.add("Add", skip)
    for kind in between:
        g.add(kind)
    g.qdq(0.05, 0)
    g.quantised_conv(16, 4, kernel=1, unit=0.05)
    return g.save(path)


def regions(library: Path) -> list[Region]:
    """The regions that a library contains, read from its bytes."""
    data = library.read_bytes()
    found = []
    for part in data.split(b"TVMKDRG1")[1:]:
        size = int.from_bytes(part[:8], "little")
        if size < 10_000 and part[8 : 8 + size].startswith(b"{"):
            found.append(Region.from_bytes(b"TVMKDRG1" + part))
    return found


def test_symmetric_integers_go_in_whole(stack: StackClient, tmp_path: Path) -> None:
    byoc = stack.lower(symmetric(tmp_path / "m.onnx"), NANO, byoc="tensorrt")["byoc"]
    assert (byoc["regions"], byoc["left"], byoc["mac_share"]) == (1, [], 1.0)
    # Three activations, one of them twice; weights are dequantised in the region.
    assert (byoc["offloaded"]["quantize"], byoc["offloaded"]["dequantize"]) == (4, 7)


def test_a_tensor_may_be_dequantised_twice(stack: StackClient, tmp_path: Path) -> None:
    g = Quantised(1, 3, 12, 12, activation="int8", bits=8)
    zero = g.array(np.zeros((), np.int8))
    whole = g.add("QuantizeLinear", g.weight(value=0.04), zero)
    other = g.add("DequantizeLinear", g.weight(value=0.08), zero, data=whole)
    g.add("DequantizeLinear", g.weight(value=0.04), zero, data=whole)
    g.add("Add", other)
    byoc = stack.lower(g.save(tmp_path / "m.onnx"), NANO, byoc="tensorrt")["byoc"]
    assert (byoc["regions"], byoc["left"]) == (1, [])
    # One for each, which TensorRT makes one again.
    assert byoc["offloaded"] == {"quantize": 2, "dequantize": 2, "add": 1}


def test_no_integers_cross_the_border_of_a_region(stack: StackClient, tmp_path: Path) -> None:
    manifest = stack.build(
        symmetric(tmp_path / "m.onnx", "Sign"), TARGET, [], tmp_path / "out", byoc="onnxruntime"
    )
    byoc = manifest["coverage"]["byoc"]
    assert byoc["regions"] == 2
    assert [entry["name"] for entry in byoc["left"]] == ["sign"]
    assert [each["precision"] for each in byoc["carried"]] == ["int8", "int8"]
    assert byoc["precision"] == "int8"
    assert manifest["check"]["max_error"] < 0.05


def test_unsigned_integers_stay_where_the_engine_lacks_them(
    stack: StackClient, tmp_path: Path
) -> None:
    model = network(tmp_path / "m.onnx")
    left = {
        entry["name"]: entry["reasons"]
        for entry in stack.lower(model, NANO, byoc="tensorrt")["byoc"]["left"]
    }
    assert left["quantize"] == left["dequantize"] == [SYMMETRIC]
    # Weights are symmetric whatever the activations are.
    taken = stack.lower(model, NANO, byoc="tensorrt")["byoc"]["offloaded"]
    assert taken["dequantize"] == 5
    assert "quantize" not in taken
    manifest = stack.build(model, TARGET, [], tmp_path / "out", byoc="onnxruntime")
    assert manifest["coverage"]["byoc"]["regions"] == 1
    assert "quantize" in manifest["coverage"]["byoc"]["offloaded"]


def test_weights_that_the_engine_does_not_read_are_floats(
    stack: StackClient, tmp_path: Path
) -> None:
    g = Quantised(1, 3, 12, 12, activation="int8", bits=8)
    g.qdq(0.03, 0)
    given = g.last
    values = g.array(g.rng.integers(0, 255, (8, 3, 3, 3)).astype(np.uint8))
    zero = g.array(np.full(8, 128, np.uint8))
    tap = g.add("DequantizeLinear", g.weight(8), zero, data=values, axis=0)
    g.add("Conv", tap, data=given)
    byoc = stack.lower(g.save(tmp_path / "m.onnx"), NANO, byoc="tensorrt")["byoc"]
    assert (byoc["regions"], byoc["left"], byoc["mac_share"]) == (1, [], 1.0)
    assert byoc["offloaded"]["dequantize"] == 1


def test_weights_that_two_regions_share(stack: StackClient, tmp_path: Path) -> None:
    g = Quantised(1, 8, 12, 12, activation="int8", bits=8)
    tap, _ = g.tap(8, 8, 1, 1)
    for between in ("Sign", "Relu"):
        g.qdq(0.03, 0)
        g.add("Conv", tap)
        g.add(between)
    manifest = stack.build(
        g.save(tmp_path / "m.onnx"), TARGET, [], tmp_path / "out", byoc="onnxruntime"
    )
    byoc = manifest["coverage"]["byoc"]
    assert (byoc["regions"], byoc["mac_share"]) == (2, 1.0)
    assert [entry["name"] for entry in byoc["left"]] == ["sign"]


def test_a_scale_that_is_computed_stays(stack: StackClient, tmp_path: Path) -> None:
    g = Quantised(1, 8, 6, 6, activation="int8", bits=8)
    given = g.last
    unit = g.add("ReduceMax", keepdims=0)
    zero = g.array(np.zeros((), np.int8))
    g.add("QuantizeLinear", unit, zero, data=given)
    g.add("DequantizeLinear", unit, zero)
    byoc = stack.lower(g.save(tmp_path / "m.onnx"), NANO, byoc="tensorrt")["byoc"]
    assert {entry["name"]: entry["reasons"] for entry in byoc["left"]} == {
        "quantize": ["its scale or its zero point is computed"],
        "dequantize": ["its scale or its zero point is computed"],
    }


def test_a_constant_alone_is_no_region(stack: StackClient, tmp_path: Path) -> None:
    g = Quantised(1, 8, 6, 6, activation="int8", bits=8)
    given = g.last
    tap, _ = g.tap(8, 6, 6)
    signs = g.add("Sign", data=tap)
    g.add("Sign", data=given)
    g.add("Add", signs)
    manifest = stack.build(
        g.save(tmp_path / "m.onnx"), TARGET, [], tmp_path / "out", byoc="onnxruntime"
    )
    byoc = manifest["coverage"]["byoc"]
    assert byoc["offloaded"] == {"add": 1}
    assert manifest["check"]["max_error"] < 1e-6


def test_tensorrt_rtx_reads_the_integers(stack: StackClient, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    manifest = stack.build(
        symmetric(tmp_path / "m.onnx"), ADA, [], tmp_path / "out", byoc="tensorrt-rtx"
    )
    (carried,) = manifest["coverage"]["byoc"]["carried"]
    assert (carried["form"], carried["precision"]) == ("plan", "int8")
    (region,) = regions(tmp_path / "out" / "model.so")
    assert region.precision == "int8"


@pytest.mark.parametrize("precision", ["fp16", "tf32"])
def test_an_fp32_model_may_be_computed_in_less(
    precision: str, stack: StackClient, tmp_path: Path
) -> None:
    pytest.importorskip("tensorrt_rtx")
    model = graphs.separable(tmp_path / "m.onnx")
    manifest = stack.build(
        model, ADA, [], tmp_path / "out", byoc="tensorrt-rtx", byoc_precision=precision
    )
    assert manifest["coverage"]["byoc"]["precision"] == precision
    (region,) = regions(tmp_path / "out" / "model.so")
    assert (region.form, region.precision) == ("plan", precision)


def test_onnx_in_a_library_says_what_to_compute_it_in(stack: StackClient, tmp_path: Path) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    stack.build(model, NANO, [], tmp_path / "out", byoc="tensorrt", byoc_precision="fp16")
    (region,) = regions(tmp_path / "out" / "model.so")
    assert (region.form, region.precision) == ("onnx", "fp16")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"byoc": "onnxruntime", "byoc_precision": "fp16"}, "ONNX Runtime computes regions in"),
        ({"byoc": "tensorrt", "byoc_precision": "int8"}, "regions in INT8 come from a model with"),
        ({"byoc": "tensorrt", "byoc_precision": "fp8"}, '"fp8" is no precision of regions'),
        ({"byoc_precision": "fp16"}, "--byoc-precision goes with --byoc"),
    ],
)
def test_what_an_engine_cannot_compute_in_is_said_at_once(
    options: Any, said: str, stack: StackClient, tmp_path: Path
) -> None:
    model = graphs.separable(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match=said):
        stack.build(model, TARGET, [], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
