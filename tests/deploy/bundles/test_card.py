from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import handmade
import numpy as np
import pytest

from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.base.manifest import TensorSpec
from tvmkd.deploy.bundles.card import classes, text

DETECTOR = Description(
    ("cup", "cat"), 64, "sigmoid", (1.0, 1.0, 2.0, 2.0), np.zeros((3, 4), np.float32)
).to_metadata()


def _card(metadata: dict[str, str], names: list[str] | None = None) -> Any:
    return json.loads(text(handmade.model(metadata=metadata), "student", "1.2", names))


@pytest.mark.parametrize(
    ("metadata", "found"),
    [
        ({}, None),
        ({"classes": '["0", "1"]'}, ["0", "1"]),
        ({"names": "{0: 'person', 1: 'car'}"}, ["person", "car"]),
        # By number, whatever the order; Ultralytics' key goes before the other one.
        ({"names": "{1: 'car', 0: 'person'}", "classes": '["x"]'}, ["person", "car"]),
        ({"names": "{0: \"dog's\", 1: 'Füße'}"}, ["dog's", "Füße"]),
        ({"names": "{1: 'person'}"}, None),
        ({"names": "{0: 'person', 2: 'car'}"}, None),
        ({"names": "{'a': 'person'}"}, None),
        ({"names": "{0: 1}"}, None),
        ({"names": "__import__('os')"}, None),
        ({"names": "[1, 2]"}, None),
        ({"names": "[]"}, None),
        ({"names": "{}"}, None),
        ({"names": "'person'"}, None),
        ({"names": "person, car"}, None),
        ({"names": "[" * 10_000}, None),
        (DETECTOR, ["cup", "cat"]),
    ],
)
def test_class_names_of_the_onnx_file(metadata: dict[str, str], found: list[str] | None) -> None:
    assert classes(handmade.model(metadata=metadata).manifest, None) == found


def test_class_names_from_a_file(tmp_path: Path) -> None:
    manifest = handmade.model(metadata={"names": "['other']"}).manifest
    names = tmp_path / "names"
    names.write_text("cat\r\n wild dog \nFüße\n\n\n", encoding="utf-8")
    assert classes(manifest, names) == ["cat", "wild dog", "Füße"]
    for content in ("", "\n\n", "a\n\nb\n", "\na\n"):
        names.write_text(content)
        with pytest.raises(InputError, match="names: wants one class name a line"):
            classes(manifest, names)
    names.write_bytes(b"caf\xe9\n")
    with pytest.raises(InputError, match="names: the class names cannot be read"):
        classes(manifest, names)
    with pytest.raises(InputError, match="none: the class names cannot be read"):
        classes(manifest, tmp_path / "none")


@pytest.mark.parametrize(
    ("shapes", "count"),
    [
        ([[1, 3]], 3),
        ([["batch", 3], ["batch", 3]], 3),
        ([[1, 1]], None),
        ([[1, "classes"]], None),
        ([[1, 3], [1, 4]], None),
        ([[1, 3, 8, 8]], None),
    ],
)
def test_a_classifier_wants_a_name_for_each_class(
    tmp_path: Path, shapes: list[list[int | str]], count: int | None
) -> None:
    outputs = [
        TensorSpec(name=f"y{at}", shape=shape, dtype="float32") for at, shape in enumerate(shapes)
    ]
    manifest = handmade.model(outputs=outputs).manifest
    names = tmp_path / "names"
    names.write_text("a\nb\nc\n")
    assert classes(manifest, names) == ["a", "b", "c"]
    names.write_text("a\nb\n")
    if count is None:
        assert classes(manifest, names) == ["a", "b"]
        return
    with pytest.raises(InputError, match="names: has 2 class names, and the model has 3 classes"):
        classes(manifest, names)


def test_a_detector_wants_a_name_for_each_class(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("a\nb\nc\n")
    with pytest.raises(InputError, match="has 3 class names, and the model has 2 classes"):
        classes(handmade.model(metadata=DETECTOR).manifest, tmp_path / "names")


def test_what_is_known_of_any_model() -> None:
    card = _card({}, ["cat", "Füße"])
    assert card == {
        "schema": 1,
        "name": "student",
        "version": "1.2",
        "created": "2026-11-29T06:00:00+00:00",
        "target": "jetson-nano",
        "onnx_sha256": "ab" * 32,
        "inputs": [
            {"name": "x", "shape": [1, 4], "dtype": "float32"},
            {"name": "counts", "shape": [3], "dtype": "int64"},
        ],
        "outputs": [
            {"name": "y", "shape": [1, 4], "dtype": "float32"},
            {"name": "total", "shape": [1], "dtype": "int64"},
        ],
        "classes": ["cat", "Füße"],
        "preprocessing": None,
        "postprocessing": None,
    }
    assert _card({})["classes"] is None


def test_a_detector_is_described() -> None:
    card = _card(DETECTOR)
    about = card["preprocessing"]
    assert (about["resize"], about["layout"], about["colours"]) == ([64, 64], "NCHW", "RGB")
    assert about["scale"] * 255 == pytest.approx(1)
    assert card["postprocessing"]["kind"] == "anchors"
    assert card["postprocessing"]["activation"] == "sigmoid"
    assert card["postprocessing"]["box_weights"] == [1.0, 1.0, 2.0, 2.0]
    assert card["postprocessing"]["threshold"] == 0.05
    anchors = np.zeros((3, 4), np.float32)
    about = Description(("cup", "cat"), 64, "sigmoid", (1.0,) * 4, anchors, 0.25)
    assert _card(about.to_metadata())["postprocessing"]["threshold"] == 0.25


def test_what_was_exported_with_the_model_counts_more() -> None:
    given = {"preprocessing": '{"mean": [0.3]}'}
    assert _card(given)["preprocessing"] == {"mean": [0.3]}
    card = _card({**DETECTOR, **given})
    assert card["preprocessing"] == {"mean": [0.3]}
    assert card["postprocessing"]["kind"] == "anchors"
    # Somebody else's key of that name.
    assert _card({"preprocessing": "resize to 224"})["preprocessing"] is None
    assert _card({**DETECTOR, "preprocessing": "null"})["preprocessing"]["resize"] == [64, 64]
