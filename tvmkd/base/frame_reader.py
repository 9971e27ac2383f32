"""Reads what a library is to do with frames.

From the ``metadata_props`` of an ONNX file (``preprocessing``, ``classes``, and a detector's
description), or from what a user gives in place of them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from tvmkd.base.detector_description import KEY as DETECTOR
from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.base.frame_description import Activation, FrameOptions, Frames, Spec, Task
from tvmkd.base.text import listing, suggest

PREPROCESSING, CLASSES = "preprocessing", "classes"
"""Keys of the metadata; both hold JSON."""
_MOST_SIDE = 16384  # pixels; keeps all offsets of a frame in 32 bits
_EXAMPLE = (
    '{"color": "RGB", "scale": 0.00392156862745098, "resize_shorter_side": 256, '
    '"crop_center": [224, 224], "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}'
)
_KEYS = (
    *("color", "channels", "source", "scale", "mean", "std", "layout", "interpolation"),
    *("resize", "resize_shorter_side", "crop_center", "activation"),
)


_INTERPOLATIONS = ("bilinear, antialiased", "bilinear")


def read(
    metadata: Mapping[str, str],
    inputs: Sequence[Spec],
    outputs: Sequence[Spec],
    options: FrameOptions,
    where: str,
) -> Frames:
    """What a file's metadata and a user's options say together.

    Args:
        metadata: of the ONNX file.
        inputs, outputs: of the network.
        options: of the user.
        where: the file's name, for messages.

    Raises:
        InputError: something is missing or cannot be.
    """
    if not all(0 < side <= _MOST_SIDE for side in options.largest):
        raise InputError(f"--frame: a side must be from 1 to {_MOST_SIDE} pixels")
    steps = {**_json(metadata, PREPROCESSING, dict, where), **options.steps}
    detector = Description.from_metadata(metadata, where) if DETECTOR in metadata else None
    if not steps and detector is None:
        raise InputError(
            f'{where}: its metadata has no "{PREPROCESSING}" that says how frames become its '
            f"input; give it, for example --preprocessing '{_EXAMPLE}'"
        )
    return _Reader(steps, where).read(metadata, inputs, outputs, options, detector)


def parse_steps(text: str, where: str) -> dict[str, Any]:
    """The pre-processing that a user gives as JSON.

    Args:
        text: an object.
        where: its origin, for messages.

    Raises:
        InputError: it is no JSON object.
    """
    return dict(_json({PREPROCESSING: text}, PREPROCESSING, dict, where))


def _json(metadata: Mapping[str, str], key: str, kind: type[Any], where: str) -> Any:
    try:
        found = json.loads(metadata.get(key) or "null")
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: {key} is no JSON: {error}") from None
    if found is not None and not isinstance(found, kind):
        wanted = "a list" if kind is list else f"an object, such as {_EXAMPLE}"
        raise InputError(f"{where}: {key} must be {wanted}")
    return kind() if found is None else found


class _Reader:
    """Reads the keys of ``preprocessing``, each with a message of its own."""

    def __init__(self, steps: Mapping[str, Any], where: str) -> None:
        self._steps, self._where = steps, where

    def read(
        self,
        metadata: Mapping[str, str],
        inputs: Sequence[Spec],
        outputs: Sequence[Spec],
        options: FrameOptions,
        detector: Description | None,
    ) -> Frames:
        for key in self._steps:
            if key not in _KEYS:
                raise self._wrong(
                    key, f"is not known{suggest(key, _KEYS)}: known are {listing(_KEYS)}"
                )
        size, channels, last = self._input(inputs)
        subtract, divide = self._normalisation(channels)
        shorter = self._shorter(size)
        task, classes, count, used = self._results(metadata, outputs, detector)
        return Frames(
            largest=options.largest,
            size=size,
            channels=channels,
            bgr=self._one_of(("color", "channels"), ("RGB", "BGR", "gray"), "RGB") == "BGR",
            channels_last=last,
            shorter=shorter,
            antialias=self._one_of(("interpolation",), _INTERPOLATIONS, _INTERPOLATIONS[0])
            != "bilinear",
            subtract=subtract,
            divide=divide,
            task=task,
            classes=classes,
            activation=self._activation(task, detector),
            detector=detector,
            outputs=used,
            class_count=count,
        )

    def _wrong(self, key: str, why: str) -> InputError:
        return InputError(f"{self._where}: preprocessing: {key} {why}")

    def _one_of(self, keys: Sequence[str], allowed: Sequence[str], default: str) -> str:
        for key in keys:
            if key in self._steps:
                if self._steps[key] not in allowed:
                    if allowed is _INTERPOLATIONS:  # one of them holds a comma
                        raise self._wrong(key, 'must be "{}" or "{}"'.format(*allowed))
                    raise self._wrong(key, f"must be one of {listing(allowed)}")
                return str(self._steps[key])
        return default

    def _input(self, inputs: Sequence[Spec]) -> tuple[tuple[int, int], int, bool]:
        """Width and height, the channels, and whether they come last."""
        shape = tuple(inputs[0]["shape"]) if len(inputs) == 1 else ()
        layout = self._one_of(("layout",), ("NCHW", "NHWC"), "")
        if not layout:
            layout = "NCHW" if len(shape) == 4 and shape[1] in (1, 3) else "NHWC"
        where = 1 if layout == "NCHW" else 3
        fits = len(shape) == 4 and shape[0] == 1 and shape[where] in (1, 3)
        if not fits or inputs[0]["dtype"] != "float32":
            raise InputError(
                f"{self._where}: --with-preprocessing is for one input of float32 1 x C x H x W or "
                "1 x H x W x C with 1 or 3 channels, and this has "
                + listing(
                    f"{each['name']}: {each['dtype']} {' x '.join(map(str, each['shape']))}"
                    for each in inputs
                )
            )
        height, width = shape[2:] if layout == "NCHW" else shape[1:3]
        channels = int(shape[where])
        colour = self._one_of(("color", "channels"), ("RGB", "BGR", "gray"), "")
        if (colour == "gray") != (channels == 1) and colour:
            raise self._wrong("color", f"is {colour}, and the input has {channels} channels")
        return (int(width), int(height)), channels, layout == "NHWC"

    def _numbers(self, key: str, channels: int, default: float) -> list[float]:
        given = self._steps.get(key, default)
        found = given if isinstance(given, list) else [given] * channels
        good = len(found) == channels and all(
            isinstance(each, int | float) and not isinstance(each, bool) and math.isfinite(each)
            for each in found
        )
        if not good:
            many = "1 number" if channels == 1 else f"{channels} numbers"
            raise self._wrong(key, f"must be a number, or a list of {many}")
        return [float(each) for each in found]

    def _normalisation(self, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """In the arithmetic of `tvmkd.data.splits.TensorImages`: mean and std times 255."""
        import numpy as np

        mean, std = self._numbers("mean", channels, 0.0), self._numbers("std", channels, 1.0)
        scale = self._numbers("scale", 1, 1 / 255)[0]
        if scale <= 0 or min(std) <= 0:
            raise self._wrong("scale" if scale <= 0 else "std", "must be above 0")
        whole = np.float32(1 / scale)
        subtract = np.asarray(mean, np.float32) * whole
        divide = np.asarray(std, np.float32) * whole
        if not (np.isfinite(subtract).all() and np.isfinite(divide).all() and divide.all()):
            raise self._wrong("scale", "is out of the range of float32")
        return tuple(subtract.tolist()), tuple(divide.tolist())

    def _shorter(self, size: tuple[int, int]) -> int:
        """The shorter side to scale to, or 0."""
        sides = list(reversed(size))
        if "resize_shorter_side" in self._steps and "resize" not in self._steps:
            shorter = self._steps["resize_shorter_side"]
            if not isinstance(shorter, int) or not max(size) <= shorter <= _MOST_SIDE:
                raise self._wrong(
                    "resize_shorter_side", f"must be a number of pixels, at least {max(size)}"
                )
            if self._steps.get("crop_center", sides) != sides:
                raise self._wrong("crop_center", f"must be {sides}, the network's height and width")
            return shorter
        if self._steps.get("resize", sides) != sides:
            raise self._wrong("resize", f"must be {sides}, the network's height and width")
        return 0

    def _results(
        self, metadata: Mapping[str, str], outputs: Sequence[Spec], detector: Description | None
    ) -> tuple[Task, tuple[str, ...], int, tuple[int, ...]]:
        if detector is not None:
            anchors, count = len(detector.anchors), len(detector.classes)
            wanted = {"logits": [1, anchors, detector.outputs], "offsets": [1, anchors, 4]}
            found = {each["name"]: each for each in outputs}
            for name, shape in wanted.items():
                if name not in found or list(found[name]["shape"]) != shape:
                    raise InputError(
                        f"{self._where}: a detector's {name} must be float32 "
                        f"{' x '.join(map(str, shape))}; export it again, with batch 1"
                    )
            names = list(found)
            used = (names.index("logits"), names.index("offsets"))
            return "detect", detector.classes, count, used
        shape = list(outputs[-1]["shape"])
        # With early exits the last output is the most exact one.
        if len(shape) != 2 or shape[0] != 1 or outputs[-1]["dtype"] != "float32":
            return "tensors", (), 0, ()
        classes = tuple(map(str, _json(metadata, CLASSES, list, self._where)))
        if classes and len(classes) != shape[1]:
            raise InputError(
                f"{self._where}: has {len(classes)} classes in its metadata and {shape[1]} outputs"
            )
        return "classify", classes, int(shape[1]), (len(outputs) - 1,)

    def _activation(self, task: Task, detector: Description | None) -> Activation:
        if detector is not None:
            return detector.activation
        found = self._one_of(("activation",), ("softmax", "sigmoid", "none"), "softmax")
        return found if task == "classify" else "none"  # type: ignore[return-value]
