"""The steps of a frame around the model: pixels to inputs, outputs to boxes or a class."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tvmkd.base import detector_description
from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.random_inputs import random_array
from tvmkd.deploy.streaming.frames import Pixels
from tvmkd.deploy.streaming.model import Model, Outputs
from tvmkd.detection.runtime import Detector

Arrays = Sequence[np.ndarray]


class Pipeline(Protocol):
    """What happens to a frame.

    Attributes:
        kind: for people: what the steps are.
    """

    kind: str

    def prepare(self, pixels: Pixels) -> Arrays:
        """Pre-processing: the model's inputs."""

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """Post-processing: the result for the user."""


def pipeline_of(model: Model) -> Pipeline:
    """The steps that fit a model: of a detector, a classifier, or none.

    Raises:
        InputError: the description of a detector does not fit its inputs and outputs, or an input
            has a free dimension.
    """
    for spec in model.inputs:
        if not all(isinstance(size, int) for size in spec.shape):
            raise InputError(
                f"{model.path}: its input {spec.name} has free sizes {spec.shape}; build it with "
                "fixed ones (--dim)"
            )
    if detector_description.KEY in model.metadata:
        return DetectorSteps(model)
    image = image_layout(model.inputs)
    return Tensors(model.inputs) if image is None else ImageSteps(model, image)


class DetectorSteps:
    """Resizing, decoding, suppression, and boxes in the frame's pixels: `tvmkd.detection`."""

    kind = "detector: resize and scale; decode, suppress and place boxes"

    def __init__(self, model: Model) -> None:
        about = Description.from_metadata(model.metadata, str(model.path))
        inputs, outputs = (
            {spec.name: (spec.shape, spec.dtype) for spec in specs}
            for specs in (model.inputs, model.outputs)
        )

        def never(values: NDArray[np.float32]) -> Any:
            raise AssertionError("the stream runs the model itself")

        self.detector = Detector(str(model.path), model.runtime, about, inputs, outputs, never)
        names = list(outputs)
        self._order = [names.index(name) for name in ("logits", "offsets")]

    def prepare(self, pixels: Pixels) -> Arrays:
        """See `Pipeline`."""
        return [self.detector.prepare(pixels)]

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """The boxes: `tvmkd.detection.decode.Detections`."""
        logits, offsets = (outputs[place] for place in self._order)
        found = self.detector.suppress(self.detector.decode(logits, offsets))
        return self.detector.restore(found, pixels)


def image_layout(inputs: Sequence[TensorSpec]) -> tuple[int, int, int, bool] | None:
    """``(channels, height, width, channels last)`` if the one input is an image, otherwise None."""
    if len(inputs) != 1 or inputs[0].dtype not in ("float32", "uint8"):
        return None
    shape = [int(size) for size in inputs[0].shape]
    if len(shape) != 4 or shape[0] != 1:
        return None
    if shape[1] in (1, 3):
        return shape[1], shape[2], shape[3], False
    if shape[3] in (1, 3):
        return shape[3], shape[1], shape[2], True
    return None


class ImageSteps:
    """Resizing and normalising as the model was trained; the class of one row of logits.

    The steps are those in the model's metadata (``preprocessing``, as ``tvmkd export`` writes it);
    without them the whole frame is resized and its values become 0 to 1.

    Args:
        model: with one image as its input.
        layout: of the image, from `image_layout`.
    """

    def __init__(self, model: Model, layout: tuple[int, int, int, bool]) -> None:
        self._channels, self._height, self._width, self._last = layout
        steps = _steps(model)
        self._crop = "crop_center" in steps
        self._bytes = model.inputs[0].dtype == "uint8"
        self._classifies = len(model.outputs) == 1 and len(model.outputs[0].shape) == 2
        mean, std = (
            np.resize(np.asarray(steps.get(name, [value]), np.float32), self._channels)
            for name, value in (("mean", 0.0), ("std", 1.0))
        )
        self._gain, self._offset = 1 / (255 * std[:, None, None]), -(mean / std)[:, None, None]
        self._input = np.empty(
            [int(size) for size in model.inputs[0].shape], np.dtype(model.inputs[0].dtype)
        )
        known = "as trained" if steps else "assumed: 0 to 1"
        after = "class and probability" if self._classifies else "none"
        self.kind = f"image: {'crop, ' if self._crop else ''}resize, scale ({known}); {after}"

    def prepare(self, pixels: Pixels) -> Arrays:
        """See `Pipeline`. The same array is filled again each time."""
        picture = Image.fromarray(pixels)
        if self._channels == 1:
            picture = picture.convert("L")
        if self._crop:
            picture = picture.crop(self._middle(picture.size))
        if picture.size != (self._width, self._height):
            picture = picture.resize((self._width, self._height), Image.Resampling.BILINEAR)
        values = np.asarray(picture).reshape(self._height, self._width, self._channels)
        if self._bytes:
            self._input[0] = values if self._last else values.transpose(2, 0, 1)
            return [self._input]
        planes = self._input[0].transpose(2, 0, 1) if self._last else self._input[0]
        np.multiply(values.transpose(2, 0, 1), self._gain, out=planes)
        planes += self._offset
        return [self._input]

    def _middle(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """The largest part in the middle with the sides' ratio of the input."""
        wide, high = size
        scale = min(wide / self._width, high / self._height)
        across, down = round(self._width * scale), round(self._height * scale)
        left, top = (wide - across) // 2, (high - down) // 2
        return left, top, left + across, top + down

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """The most probable class and its probability; the outputs if they are no logits."""
        if not self._classifies:
            return outputs
        row = outputs[0][0]
        weights = np.exp(row - row.max())
        best = int(weights.argmax())
        return best, float(weights[best] / weights.sum())


class Tensors:
    """For a model whose inputs are no image: the same random arrays for every frame."""

    kind = "no image: the same random inputs for every frame; none"

    def __init__(self, inputs: Sequence[TensorSpec]) -> None:
        rng = np.random.default_rng(0)
        self._arrays = [
            random_array(rng, spec.dtype, [int(size) for size in spec.shape]) for spec in inputs
        ]

    def prepare(self, pixels: Pixels) -> Arrays:
        """See `Pipeline`."""
        return self._arrays

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """See `Pipeline`."""
        return outputs


def _steps(model: Model) -> dict[str, Any]:
    text = model.metadata.get("preprocessing")
    if text is None:
        return {}
    try:
        steps = json.loads(text)
        for name in ("mean", "std"):
            values = np.asarray(steps.get(name, [1.0]), np.float64)
            if values.ndim != 1 or not np.isfinite(values).all() or not len(values):
                raise ValueError(f"{name} is no list of numbers")
        if 0 in steps.get("std", [1.0]):
            raise ValueError("std is zero")
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"{model.path}: its metadata's pre-processing is damaged ({error}); export it again"
        ) from None
    return dict(steps)
