from __future__ import annotations

import base64
import json
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tvmkd.base import detector_description
from tvmkd.base.detector_description import KEY, Description
from tvmkd.base.errors import InputError

ANCHORS = np.array([[0, 0, 8, 8], [4.5, 4, 30, 31.25]], np.float32)


def detector(**changes: Any) -> Description:
    given: dict[str, Any] = {
        "classes": ("cat", "dog"),
        "size": 96,
        "activation": "sigmoid",
        "box_weights": (1.0, 1.0, 1.0, 1.0),
        "anchors": ANCHORS,
    }
    return Description(**{**given, **changes})


def changed(**changes: Any) -> dict[str, str]:
    content = json.loads(detector().to_metadata()[KEY])
    content.update(changes)
    return {KEY: json.dumps({key: value for key, value in content.items() if value is not ...})}


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1).map(tuple),
    st.integers(1, 4096),
    st.sampled_from(["sigmoid", "softmax"]),
    st.tuples(*[st.floats(0.01, 100)] * 4),
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(0, 50), st.just(4)),
        elements=st.floats(-1e6, 1e6, width=32),
    ),
)
def test_metadata_round_trip(
    classes: Any, size: int, activation: Any, weights: Any, anchors: np.ndarray
) -> None:
    before = Description(classes, size, activation, weights, anchors)
    after = Description.from_metadata({"other": "x", **before.to_metadata()}, "a.onnx")
    assert after.classes == classes
    assert (after.size, after.activation, after.box_weights) == (size, activation, weights)
    np.testing.assert_array_equal(after.anchors, anchors)
    assert after.anchors.dtype == np.float32


@pytest.mark.parametrize("threshold", [None, 0.125, 0.4321])
def test_a_threshold_is_kept_and_may_be_missing(threshold: float | None) -> None:
    metadata = detector(threshold=threshold).to_metadata()
    assert ("threshold" in json.loads(metadata[KEY])) is (threshold is not None)
    assert Description.from_metadata(metadata, "a.onnx").threshold == threshold


def test_softmax_has_a_logit_for_the_background() -> None:
    assert detector().outputs == 2
    assert detector(activation="softmax").outputs == 3


def test_metadata_without_a_description() -> None:
    with pytest.raises(InputError, match=r"^a\.onnx: has no anchors"):
        Description.from_metadata({"teacher": "resnet"}, "a.onnx")


def test_a_newer_version() -> None:
    with pytest.raises(InputError, match=r"^a\.onnx: detector version 2; .*update tvmkd"):
        Description.from_metadata(changed(version=2), "a.onnx")


@pytest.mark.parametrize(
    "metadata",
    [
        {KEY: ""},
        {KEY: "{"},
        {KEY: "[]"},
        {KEY: '"text"'},
        {KEY: "[" * 100_000},
        *[changed(**{key: ...}) for key in ("version", "classes", "size", "anchors")],
        changed(classes="cat"),
        changed(classes=[]),
        changed(classes=[1]),
        changed(size=0),
        changed(size=1 << 20),
        changed(size="large"),
        changed(size=float("inf")),
        changed(activation="tanh"),
        changed(activation=["sigmoid"]),
        changed(box_weights=[1, 1, 1]),
        changed(box_weights=[1, 1, 1, 0]),
        changed(box_weights=[1, 1, 1, float("nan")]),
        changed(box_weights=[1, 1, 1, 10**400]),
        *[changed(threshold=value) for value in (0, 1, -0.1, float("nan"), "high", [0.5])],
        changed(anchors="?"),
        changed(anchors=3),
        changed(anchors=base64.b64encode(b"not zlib").decode()),
        changed(anchors=packed(b"x" * 15)),
        changed(anchors=packed(np.full(4, np.nan, "<f4").tobytes())),
        changed(anchors=base64.b64encode(zlib.compress(ANCHORS.tobytes())[:-6]).decode()),
        changed(anchors=base64.b64encode(zlib.compress(ANCHORS.tobytes()) + b"more").decode()),
    ],
)
def test_damaged(metadata: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^a\.onnx: its detector's description is damaged: "):
        Description.from_metadata(metadata, "a.onnx")


def test_a_file_cannot_exhaust_the_memory() -> None:
    """Two gigabytes of zeros compress to two megabytes; this test uses 256 MB to be fast."""
    bomb = changed(anchors=packed(bytes(1 << 28)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="more than 1048576 anchors"):
            Description.from_metadata(bomb, "a.onnx")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * detector_description.MOST_ANCHORS * 16


def test_the_most_anchors_still_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(detector_description, "MOST_ANCHORS", 2)
    assert len(Description.from_metadata(detector().to_metadata(), "a.onnx").anchors) == 2
    monkeypatch.setattr(detector_description, "MOST_ANCHORS", 1)
    with pytest.raises(InputError, match="more than 1 anchors"):
        Description.from_metadata(detector().to_metadata(), "a.onnx")
