"""What an ONNX file says about itself: its ``metadata_props``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import onnx

from tvmkd.base.files import draft


def describe(path: Path, metadata: Mapping[str, str]) -> None:
    """Sets entries of a file's metadata, in one step; the others stay.

    Args:
        path: an ONNX file that holds its weights.
        metadata: strings by key.

    Raises:
        InputError: the file cannot be written.
    """
    model = onnx.load(str(path))
    known = {entry.key: entry.value for entry in model.metadata_props}
    onnx.helper.set_model_props(model, {**known, **metadata})
    with draft(path, ".onnx") as written:
        onnx.save(model, str(written))
