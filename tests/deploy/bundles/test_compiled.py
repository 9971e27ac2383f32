"""A bundle and an image of a network that TVM compiled, for an emulated Nano."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import asking
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tvmkd import api
from tvmkd.base import onnx_runtime
from tvmkd.boards import emulate
from tvmkd.deploy.bundles import bundle, model, verify
from tvmkd.deploy.images import image

pytestmark = pytest.mark.board


def _network(path: Path) -> Path:
    """A convolution, a ReLU, a pooling and a dense layer."""
    rng = np.random.default_rng(0)
    weights = {
        "kernel": rng.standard_normal((8, 3, 3, 3)).astype(np.float32),
        "dense": rng.standard_normal((8, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("GlobalAveragePool", ["b"], ["c"]),
        helper.make_node("Flatten", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "dense"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.helper.set_model_props(made, {"classes": '["a", "b", "c", "d", "e"]'})
    onnx.save(made, path)
    return path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, model.Model]:
    """The ONNX file and its artifact."""
    reason = emulate.why_not()
    if reason is not None:
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("compiled")
    network = _network(folder / "small.onnx")
    api.build(network, folder / "out", target="jetson-nano", runtime="standalone")
    return network, model.read(folder / "out")


def _asked(url: str, name: str, x: np.ndarray) -> list[float]:
    given = {"name": "input", "shape": list(x.shape), "datatype": "FP32"}
    answer = asking.post(url, name, [{**given, "data": x.ravel().tolist()}])
    found: list[float] = answer["outputs"][0]["data"]
    return found


def test_a_bundle(built: tuple[Path, model.Model], tmp_path: Path) -> None:
    network, read = built
    out = tmp_path / "small-1.0.tar.gz"
    options = bundle.Options(onnx=network, power="max")
    made = bundle.make(read, out, "small", "1.0", options, lambda _: None)
    assert (made.tested, made.emulated) == ("small: 1 output as recorded", True)
    verify.verify(out)
    with tarfile.open(out) as archive:
        archive.extractall(tmp_path, filter="data")
    place = tmp_path / "small-1.0"
    assert (place / "classes.txt").read_text().split() == ["a", "b", "c", "d", "e"]
    start: list[Any] = [emulate.QEMU, "-cpu", "cortex-a57", "-L", str(emulate.SYSTEM)]
    x = np.random.default_rng(1).standard_normal((1, 3, 16, 16)).astype(np.float32)
    (wanted,) = onnx_runtime.open_session(network).run(None, {"input": x})
    command = [*start, str(place / "bin/tvmkd-server"), str(place / "lib/libsmall.so")]
    with asking.served(command) as url:
        found = _asked(url, "small", x)
    np.testing.assert_allclose([found], wanted, rtol=1e-4, atol=1e-5)


def test_an_image(built: tuple[Path, model.Model], tmp_path: Path) -> None:
    network, read = built
    out = tmp_path / "small.oci.tar"
    made = image.make([read], out, "small:1.0", network, lambda _: None)
    assert made.tested == {"arm64": "small: 1 output as recorded"}
    with tarfile.open(out) as archive:
        names = archive.getnames()
        index = json.load(archive.extractfile("index.json") or out.open("rb"))
    assert len([name for name in names if name.startswith("blobs/sha256/")]) == 3
    assert index["manifests"][0]["platform"]["architecture"] == "arm64"
