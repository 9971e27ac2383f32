"""The steps of a frame around the model: pixels to inputs, outputs to boxes or a class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tvmkd.base import detector_description, frame_reader, images
from tvmkd.base.detector_description import Description
from tvmkd.base.errors import InputError
from tvmkd.base.frame_description import FrameOptions
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
    """The steps that fit a model: its library's own, of a detector, a classifier, or none.

    Raises:
        InputError: the description of a detector does not fit its inputs and outputs, or an input
            has a free dimension.
    """
    if model.run_frame is not None:
        return InLibrary()
    for spec in model.inputs:
        if not all(isinstance(size, int) for size in spec.shape):
            raise InputError(
                f"{model.path}: its input {spec.name} has free sizes {spec.shape}; build it with "
                "fixed ones (--dim)"
            )
    if detector_description.KEY in model.metadata:
        return DetectorSteps(model)
    return ImageSteps(model) if is_image(model.inputs) else Tensors(model.inputs)


class InLibrary:
    """The library does everything: `Model.run_frame`."""

    kind = "in the library: pre-processing; boxes, class or none"

    def prepare(self, pixels: Pixels) -> Arrays:
        """Never called: there is nothing to do."""
        raise AssertionError("the library prepares its frames itself")

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """Never called: there is nothing to do."""
        raise AssertionError("the library has finished the frame itself")


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


def is_image(inputs: Sequence[TensorSpec]) -> bool:
    """Whether the one input is an image: float32 ``[1, C, H, W]`` or ``[1, H, W, C]``."""
    if len(inputs) != 1 or inputs[0].dtype != "float32":
        return False
    shape = inputs[0].shape
    return len(shape) == 4 and shape[0] == 1 and (shape[1] in (1, 3) or shape[3] in (1, 3))


class ImageSteps:
    """Resizing and normalising as the model was trained; the class of one row of logits.

    The steps are those in the model's metadata (``preprocessing``), as a standalone library with
    pre-processing has them; without them the whole frame is resized and its values become 0 to 1.

    Args:
        model: with one image as its input (`is_image`).

    Raises:
        InputError: the metadata makes no sense.
    """

    def __init__(self, model: Model) -> None:
        known = frame_reader.PREPROCESSING in model.metadata
        inputs, outputs = (
            [spec.model_dump() for spec in specs] for specs in (model.inputs, model.outputs)
        )
        options = FrameOptions(steps={} if known else {"scale": 1 / 255})
        about = frame_reader.read(model.metadata, inputs, outputs, options, str(model.path))
        self._about = about
        self._classifies = about.task == "classify"
        self._input = np.empty([int(size) for size in model.inputs[0].shape], np.float32)
        # The same memory, seen as [H, W, C].
        planes = self._input[0]
        self._rows = planes if about.channels_last else planes.transpose(1, 2, 0)
        self._subtract = np.array(about.subtract, np.float32)
        self._divide = np.array(about.divide, np.float32)
        how = "as trained" if known else "assumed: 0 to 1"
        after = "class and probability" if self._classifies else "none"
        self.kind = f"image: {'crop' if about.shorter else 'resize'} and scale ({how}); {after}"

    def prepare(self, pixels: Pixels) -> Arrays:
        """See `Pipeline`. The same array is filled again each time."""
        about, picture = self._about, Image.fromarray(pixels)
        if about.channels == 1:
            picture = picture.convert("L")
        if about.shorter:
            picture = _middle(picture, about.shorter, about.size)
        elif picture.size != about.size:
            picture = images.resized(picture, about.size)
        values = np.asarray(picture).reshape(self._rows.shape)
        np.subtract(values[..., ::-1] if about.bgr else values, self._subtract, out=self._rows)
        np.divide(self._rows, self._divide, out=self._rows)
        return [self._input]

    def finish(self, outputs: Outputs, pixels: Pixels) -> Any:
        """The most probable class and its probability; the outputs if they are no logits."""
        if not self._classifies:
            return outputs
        row = outputs[self._about.outputs[0]][0]
        weights = np.exp(row - row.max())
        best = int(weights.argmax())
        return best, float(weights[best] / weights.sum())


def _middle(picture: Image.Image, shorter: int, size: tuple[int, int]) -> Image.Image:
    """Scales the shorter side and cuts the centre out, as `tvmkd.data.pictures.Decoder` does."""
    scale = shorter / min(picture.size)
    wide, high = (max(shorter, round(side * scale)) for side in picture.size)
    fitted = images.resized(picture, (wide, high))
    left, top = (wide - size[0]) // 2, (high - size[1]) // 2
    return fitted.crop((left, top, left + size[0], top + size[1]))


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
