"""``model.json``: class names, and how pictures become inputs and outputs become answers."""

from __future__ import annotations

import ast
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tvmkd.base import detector_description
from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.manifest import Manifest
from tvmkd.deploy.bundles.model import Model

SCHEMA = 1


def classes(manifest: Manifest, given: Path | None) -> list[str] | None:
    """The class names: from a file with one a line, a detector's description, or the ONNX file.

    ``names`` in the metadata is what Ultralytics' exporter writes: ``{0: 'person', ...}``.

    Raises:
        InputError: the file cannot be read, is empty, or has not a name for each class.
    """
    if given is not None:
        try:
            found = [line.strip() for line in read_text(given).splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{given}: the class names cannot be read: {_why(error)}") from None
        while found and not found[-1]:
            found.pop()
        if not found or not all(found):
            raise InputError(f"{given}: wants one class name a line")
        wanted = _count(manifest)
        if wanted is not None and len(found) != wanted:
            raise InputError(
                f"{given}: has {len(found)} class names, and the model has {wanted} classes"
            )
        return found
    metadata = manifest.metadata
    if detector_description.KEY in metadata:
        where = f"the manifest of {manifest.name}"
        return list(detector_description.Description.from_metadata(metadata, where).classes)
    try:
        names = ast.literal_eval(metadata.get("names", metadata.get("classes", "")))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None
    if isinstance(names, dict) and sorted(names) == list(range(len(names))):
        names = [names[number] for number in range(len(names))]
    if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
        return names
    return None


def _count(manifest: Manifest) -> int | None:
    """How many classes a detector, or a model of nothing but logits, has; None: not known."""
    if detector_description.KEY in manifest.metadata:
        where = f"the manifest of {manifest.name}"
        return len(detector_description.Description.from_metadata(manifest.metadata, where).classes)
    # One output, or one for each exit. A single number may tell two classes apart.
    sizes = {
        spec.shape[1] if len(spec.shape) == 2 and spec.dtype.startswith("float") else None
        for spec in manifest.outputs
    }
    size = sizes.pop() if len(sizes) == 1 else None
    return size if isinstance(size, int) and size > 1 else None


def _why(error: OSError | UnicodeDecodeError) -> str:
    # Python's own words for an error of the system repeat the path.
    return "it is no UTF-8" if isinstance(error, UnicodeDecodeError) else str(error.strerror)


def text(model: Model, name: str, version: str, names: Sequence[str] | None) -> str:
    """The file's text: what a program that uses the library has to know.

    ``preprocessing`` and ``postprocessing`` are null where nothing is known: the model's inputs are
    then what whoever trained it says.
    """
    manifest = model.manifest
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "name": name,
        "version": version,
        "created": manifest.created,
        "target": manifest.target.get("name"),
        "onnx_sha256": manifest.onnx_sha256,
        "inputs": [spec.model_dump() for spec in manifest.inputs],
        "outputs": [spec.model_dump() for spec in manifest.outputs],
        "classes": None if names is None else list(names),
        "preprocessing": None,
        "postprocessing": None,
    }
    if detector_description.KEY in manifest.metadata:
        content |= _detector(manifest)
    with contextlib.suppress(ValueError):  # what tvmkd export writes; others may use the key, too
        found = json.loads(manifest.metadata.get("preprocessing", "null"))
        content["preprocessing"] = found or content["preprocessing"]
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _detector(manifest: Manifest) -> dict[str, Any]:
    """As `tvmkd.detection` prepares and decodes."""
    about = json.loads(manifest.metadata[detector_description.KEY])
    return {
        "preprocessing": {
            "colours": "RGB",
            "resize": [about["size"], about["size"]],
            "interpolation": "bilinear",
            "keep_aspect_ratio": False,
            "scale": 1 / 255,
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "layout": "NCHW",
        },
        "postprocessing": {
            "kind": "anchors",
            **{key: about[key] for key in ("activation", "box_weights", "anchors")},
            "threshold": about.get("threshold") or detector_description.THRESHOLD,
            "anchors_format": "base64 of zlib of float32 [A, 4]: x1, y1, x2, y2 in pixels",
        },
    }
