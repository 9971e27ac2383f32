"""ONNX files that no verb may take, and what is said of each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import toys


def write(name: str, folder: Path) -> Path:
    """Writes the bad file called ``name``."""
    path = folder / f"{name}.onnx"
    if name == "not-onnx":
        path.write_text("hello, I am not a model\n")
    elif name == "truncated":
        toys.onnx_file(path)
        path.write_bytes(path.read_bytes()[:-50])
    elif name == "unsupported":
        toys.onnx_file(path, operator="Swirl")
    elif name == "free":
        toys.onnx_file(path, shape=(1, "width"))
    elif name == "nan":
        import onnx

        model = onnx.load(toys.onnx_file(path))
        (weights,) = model.graph.initializer
        values = onnx.numpy_helper.to_array(weights).copy()
        values[0, 0] = np.nan
        weights.CopyFrom(onnx.numpy_helper.from_array(values, weights.name))
        onnx.save(model, path)
    else:
        assert name == "missing"
    return path


# Name: a part of what is said after the path, matched as a regular expression.
MESSAGES = {
    "missing": r"there is no such file",
    "not-onnx": r"not an ONNX file",
    "truncated": r"cut short",
    "unsupported": r"unsupported operator Swirl \(nodes: last\)",
    "free": r'"width" \(axis 1 of input "x"\).*--dim width=1',
    "nan": r'weight "w": 1 of 64 values are NaN',
}
