"""A tiny detector as an ONNX file, and pictures for it: it finds patches of red and of blue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

from tvmkd.base.detector_description import Activation, Description

SIZE, CELL = 32, 8
CLASSES = ("red", "blue")
# Of red, green and blue, and a constant: 6 on the colour, -6 on gray.
RED, BLUE, BACKGROUND = (12, -12, 0, -6), (0, -12, 12, -6), (0, 0, 0, 0)


def description(activation: Activation = "sigmoid", **changes: Any) -> Description:
    """Of an anchor a cell of 8 x 8 pixels."""
    corners = np.stack(np.meshgrid(np.arange(0, SIZE, CELL), np.arange(0, SIZE, CELL)), -1)
    anchors = np.concatenate([corners, corners + CELL], -1).reshape(-1, 4).astype(np.float32)
    fields = {"classes": CLASSES, "size": SIZE, "box_weights": (1.0,) * 4, "anchors": anchors}
    return Description(**{**fields, "activation": activation, **changes})


def onnx_detector(
    path: Path,
    activation: Activation = "sigmoid",
    *,
    about: Description | None = None,
    batch: int | str = 1,
    size: int | str = SIZE,
    names: tuple[str, ...] = ("logits", "offsets"),
    scale: float = 1.0,
) -> Path:
    """Writes the detector.

    Args:
        path: the file.
        activation: of its logits.
        about: what it says of itself; None: what is true.
        batch: of its input; a name is a free size.
        size: of its input's sides; a name is a free size.
        names: of its outputs.
        scale: of its logits.
    """
    rows = ([BACKGROUND] if activation == "softmax" else []) + [RED, BLUE]
    head = np.array([*rows, *[(0, 0, 0, 0)] * 4], np.float32)
    head[: len(rows)] *= scale
    cells = "cells" if isinstance(size, str) else (size // CELL) ** 2
    weights = {
        "colours": head[:, :3, None, None],
        "bias": head[:, 3],
        "flat": np.array([0, -1, len(head)], np.int64),
        "parts": np.array([len(rows), 4], np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node(
                "AveragePool", ["input"], ["mean"], kernel_shape=[CELL] * 2, strides=[CELL] * 2
            ),
            helper.make_node("Conv", ["mean", "colours", "bias"], ["head"]),
            helper.make_node("Transpose", ["head"], ["last"], perm=[0, 2, 3, 1]),
            helper.make_node("Reshape", ["last", "flat"], ["rows"]),
            helper.make_node("Split", ["rows", "parts"], list(names[:2]), axis=2),
            *[helper.make_node("Identity", [names[0]], [name]) for name in names[2:]],
        ],
        "detector",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [batch, 3, size, size])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, cells, width])
            for name, width in zip(names, (len(rows), 4, len(rows)), strict=False)
        ],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, (about or description(activation)).to_metadata())
    save(model, path)
    return path


def scene(width: int = 64, height: int = 32) -> np.ndarray:
    """Gray, with one red patch and one blue one, each a cell of the detector: uint8 RGB."""
    pixels = np.full((height, width, 3), 128, np.uint8)
    down, across = height // 4, width // 4
    pixels[down : 2 * down, :across] = (255, 0, 0)
    pixels[:down, 2 * across : 3 * across] = (0, 0, 255)
    return pixels


def patches(width: int = 64, height: int = 32) -> dict[str, list[int]]:
    """The boxes in `scene`."""
    down, across = height // 4, width // 4
    return {"red": [0, down, across, 2 * down], "blue": [2 * across, 0, 3 * across, down]}
