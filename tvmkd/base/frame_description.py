"""What a library does with a camera's frame before the network, and with its outputs after it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tvmkd.base.detector_description import Description

LARGEST = (1920, 1080)
"""Width and height of the largest frame if nobody says another, pixels."""

Activation = Literal["sigmoid", "softmax", "none"]
Task = Literal["detect", "classify", "tensors"]
Spec = Mapping[str, Any]
"""``{"name", "shape", "dtype"}`` of an input or output."""


@dataclass(frozen=True)
class FrameOptions:
    """What a user asks for.

    Attributes:
        largest: width and height of the largest frame, pixels.
        steps: pre-processing; its keys replace those of the file's metadata.
    """

    largest: tuple[int, int] = LARGEST
    steps: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Frames:
    """From a frame to results.

    Attributes:
        largest: width and height of the largest frame, pixels.
        size: width and height of the network's input, pixels.
        channels: of the network's input: 1 is brightness, 3 are colours.
        bgr: the network wants blue first.
        channels_last: the input is ``[1, H, W, C]``, not ``[1, C, H, W]``.
        shorter: the shorter side is scaled to this, and the centre cut out; 0: the whole frame is
            scaled to ``size``.
        antialias: scaled as by Pillow's ``BILINEAR``; otherwise as by torch's ``interpolate``.
        subtract, divide: of each channel: a value of 0 to 255 becomes ``(value - subtract) /
            divide``, in float32.
        task: what the outputs are.
        classes: their names; empty if unknown.
        activation: from outputs to scores.
        detector: of a detector.
        outputs: numbers of the outputs that results are made of: a detector's logits and offsets, a
            classifier's scores.
        class_count: number of classes.
    """

    largest: tuple[int, int]
    size: tuple[int, int]
    channels: int
    bgr: bool
    channels_last: bool
    shorter: int
    antialias: bool
    subtract: tuple[float, ...]
    divide: tuple[float, ...]
    task: Task
    classes: tuple[str, ...] = ()
    activation: Activation = "none"
    detector: Description | None = None
    outputs: tuple[int, ...] = ()
    class_count: int = 0

    def to_dict(self) -> dict[str, Any]:
        """For a manifest."""
        return {
            "task": self.task,
            "largest": list(self.largest),
            "size": list(self.size),
            "channels": self.channels,
            "resize": "crop" if self.shorter else "stretch",
            "subtract": list(self.subtract),
            "divide": list(self.divide),
            "classes": list(self.classes),
        }
