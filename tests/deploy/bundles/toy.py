"""An artifact around a library written by hand (``sample_model.c``), and bundles of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import sample_library

from tvmkd import artifact
from tvmkd.base.files import sha256
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.runtimes import STANDALONE
from tvmkd.deploy.bundles import bundle, model
from tvmkd.targets import Target

CREATED = "2026-11-29T06:00:00+00:00"
INPUTS = [
    TensorSpec(name="x", shape=[1, 4], dtype="float32"),
    TensorSpec(name="counts", shape=[3], dtype="int64"),
]
OUTPUTS = [
    TensorSpec(name="y", shape=[1, 4], dtype="float32"),
    TensorSpec(name="total", shape=[1], dtype="int64"),
]


def onnx_file(path: Path, version: int = 1) -> Path:
    """``y = 2 * x + version`` and ``total = sum(counts)``: what ``sample_model.c`` computes."""
    helper, kinds = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["doubled"]),
        helper.make_node("Add", ["doubled", "added"], ["y"]),
        helper.make_node("ReduceSum", ["counts", "axes"], ["total"], keepdims=1),
    ]
    constants = [
        helper.make_tensor("two", kinds.FLOAT, [], [2.0]),
        helper.make_tensor("added", kinds.FLOAT, [], [float(version)]),
        helper.make_tensor("axes", kinds.INT64, [1], [0]),
    ]
    kind = {"float32": kinds.FLOAT, "int64": kinds.INT64}
    inputs, outputs = (
        [helper.make_tensor_value_info(spec.name, kind[spec.dtype], spec.shape) for spec in specs]
        for specs in (INPUTS, OUTPUTS)
    )
    graph = helper.make_graph(nodes, "toy", inputs, outputs, constants)
    opset = [helper.make_opsetid("", 13)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def artifact_folder(out: Path, target: Target, version: int = 1, *, wrong: bool = False) -> Path:
    """Writes a standalone artifact at ``out``; its library adds ``version``.

    Args:
        wrong: the library computes something else than the ONNX file.
    """
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        flag = f"-DSAMPLE_VERSION={version + wrong}"
        files = {
            "libsample.so": sample_library.shared(target, folder / "libsample.so", flag),
            "libsample.a": sample_library.archive(target, folder / "libsample.a", flag),
            "normalised.onnx": onnx_file(folder / "normalised.onnx", version),
        }
        fields = {
            "name": "sample",
            "target": target.to_dict(),
            "stack": "relax",
            "stack_version": "0.27.0",
            "runtime": STANDALONE,
            "onnx_sha256": sha256(files["normalised.onnx"]),
            "inputs": INPUTS,
            "outputs": OUTPUTS,
            "check": {"tolerance": 1e-3},
        }
        artifact.write(out, files, **fields)
    # So that an artifact that is made again is the same one.
    path = out / artifact.MANIFEST
    manifest = artifact.read(out).model_copy(update={"created": CREATED})
    path.write_text(manifest.model_dump_json(indent=2))
    return out


def make(
    folder: Path, out: Path, options: bundle.Options | None = None, name: str | None = None
) -> bundle.Bundle:
    """A bundle of the artifact at ``folder``, named and numbered by ``out``."""
    read = model.read(folder)
    named = model.name_and_version(read, out, ".tar.gz", name, None)
    return bundle.make(read, out, *named, options or bundle.Options(), lambda _: None)
