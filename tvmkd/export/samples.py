"""Draws inputs that exercise a network: images, vocabularies, branches, large values, NaN."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from tvmkd.export.graph import nodes
from tvmkd.export.value_ranges import Values, values_of
from tvmkd.export.walk import inferred

Sample = Mapping[str, np.ndarray]

FLAVOURS = ("normal", "unit", "standard", "large")
"""One sample each: N(0, 1); 0 to 1; normalised like ImageNet's images; large, all positive."""

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

DEFINED = {
    *("IsInf", "IsNaN", "Abs", "Neg", "Add", "Sub", "Mul", "Div", "Sqrt", "Where", "Not", "And"),
    *("Or", "Xor", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "Floor", "Ceil"),
    *("Relu", "Clip", "Max", "Min", "Identity", "Reshape", "Flatten", "Transpose", "Squeeze"),
    *("Unsqueeze", "Concat", "Split", "Slice", "Constant", "Expand", "Tile"),
}
"""Operators with a defined result for NaN and infinity."""

APART = (0, 3)
"""The flavours that differ most, and the numbers for which masks and indices do."""

SPECIAL = (np.nan, np.inf, -np.inf, 0.0, -0.0)


class Sampler:
    """Draws samples of a model.

    Args:
        model: for what its inputs mean.
        inputs: ``{"name", "shape", "dtype"}`` of each input, with fixed sizes.
        seed: the same seed gives the same samples.
    """

    def __init__(
        self, model: onnx.ModelProto, inputs: Sequence[Mapping[str, Any]], seed: int = 0
    ) -> None:
        self._inputs = inputs
        self._rng = np.random.default_rng(seed)
        integers = [spec["name"] for spec in inputs if np.dtype(spec["dtype"]).kind in "iu"]
        self._values: dict[str, Values] = {}
        if integers:
            typed = onnx.ModelProto(graph=inferred(model, "the model"), functions=model.functions)
            self._values = {name: values_of(typed, name) for name in integers}
        selects = any(
            self._values[spec["name"]].points and int(np.prod(spec["shape"])) == 1
            for spec in inputs
            if spec["name"] in self._values
        )
        self._kept: Sequence[int] = range(len(FLAVOURS)) if selects else APART
        self._half = any(
            tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)
            for tensor in model.graph.initializer
        ) or any(np.dtype(spec["dtype"]) == np.float16 for spec in inputs)
        self._special = all(node.op_type in DEFINED for node in nodes(model))

    def samples(self) -> Iterator[list[Sample]]:
        """The samples that no check leaves out, each as the choices for it.

        A later choice is for a model that refuses the first.
        """
        yield from map(self._choices, self._kept)
        if self._special and any(np.dtype(spec["dtype"]).kind == "f" for spec in self._inputs):
            yield [self._with_special(self.draw("normal", 0))]

    def spare(self) -> Iterator[list[Sample]]:
        """Samples of the flavours that `samples` does not have."""
        yield from (self._choices(at) for at in range(len(FLAVOURS)) if at not in self._kept)

    def _choices(self, number: int) -> list[Sample]:
        sample = self.draw(FLAVOURS[number], number)
        return [sample, self._calm(sample)]

    def draw(self, flavour: str, number: int) -> dict[str, np.ndarray]:
        """One sample.

        Args:
            flavour: one of `FLAVOURS`, for floats and images.
            number: selects the branch of inputs with one value, and how wide integers are drawn.
        """
        # Arithmetic on arrays without axes gives numpy's scalars, which ONNX Runtime does not take.
        return {
            spec["name"]: np.asarray(self._array(spec, flavour, number)) for spec in self._inputs
        }

    def _array(self, spec: Mapping[str, Any], flavour: str, number: int) -> np.ndarray:
        dtype, shape = np.dtype(spec["dtype"]), tuple(spec["shape"])
        if dtype.kind == "b":
            if int(np.prod(shape)) == 1:
                return np.full(shape, number % 2 == 0)
            return self._rng.integers(0, 2, shape).astype(bool)
        channels = channel_axis(shape)
        if dtype.kind in "iu":
            image = channels is not None and dtype.itemsize == 1
            if image and self._values[spec["name"]] == Values(None):
                info = np.iinfo(dtype)
                levels = info.min + self._picture(shape, channels or 0) * (info.max - info.min)
                return levels.round().astype(dtype)
            return self._integers(self._values[spec["name"]], dtype, shape, number)
        if channels is not None and flavour != "normal":
            return self._image(shape, channels, flavour).astype(dtype)
        return self._floats(shape, flavour).astype(dtype)

    def _floats(self, shape: tuple[int, ...], flavour: str) -> np.ndarray:
        if flavour == "unit":
            return self._rng.uniform(0, 1, shape)
        if flavour == "large" and self._half:
            return self._rng.uniform(0, 100, shape)
        return np.asarray(self._rng.standard_normal(shape)) * (10 if flavour == "large" else 1)

    def _image(self, shape: tuple[int, ...], axis: int, flavour: str) -> np.ndarray:
        picture = self._picture(shape, axis)
        if flavour == "standard":
            count = shape[axis]
            mean, std = (
                np.resize(values, count).reshape(
                    [count if at == axis else 1 for at in range(len(shape))]
                )
                for values in (MEAN, STD)
            )
            return np.asarray((picture - mean) / std)
        if flavour == "large":
            return picture * (100 if self._half else 255)
        return picture

    def _picture(self, shape: tuple[int, ...], axis: int) -> np.ndarray:
        """Waves and a little noise in 0 to 1: neighbours are alike, as in a photograph."""
        places = [at for at in range(len(shape)) if at != axis][-2:]
        total = 0.1 * self._rng.standard_normal(shape)
        for strength in (1.0, 0.7, 0.5, 0.3):
            phase = self._rng.uniform(
                0, 2 * np.pi, [1 if at in places else size for at, size in enumerate(shape)]
            )
            for at in places:
                steps = np.arange(shape[at]).reshape(
                    [-1 if each == at else 1 for each in range(len(shape))]
                )
                phase = phase + steps * self._rng.uniform(-8, 8) / shape[at] / strength
            total = total + strength * np.sin(phase)
        total -= total.min()
        return np.asarray(total / max(float(total.max()), 1e-9))

    def _integers(
        self, values: Values, dtype: np.dtype[Any], shape: tuple[int, ...], number: int
    ) -> np.ndarray:
        info = np.iinfo(dtype)
        points = [v for point in values.points for v in (point, point - 1, point + 1)]
        points = [v for v in dict.fromkeys(points) if info.min <= v <= info.max]
        if points and int(np.prod(shape)) == 1:
            return np.full(shape, points[number % len(points)], dtype)
        if values.size is not None or values.least:
            size = values.size or (2 if number < 2 else 100)
            low, high = values.least, max(values.least, min(size - 1, info.max))
        elif number < 2:
            # Masks and flags are integers too.
            low, high = 0, 1
        else:
            low, high = max(info.min, -100), min(info.max, 100)
        drawn = self._rng.integers(low, high, shape, endpoint=True)
        inside = [v for v in points if values.size is None or low <= v <= high]
        if inside:
            chosen = self._rng.choice(inside, shape)
            drawn = np.where(self._rng.integers(0, 2, shape) == 1, chosen, drawn)
        return np.asarray(drawn).astype(dtype)

    def _calm(self, sample: Sample) -> Sample:
        """The sample with the integers of unknown meaning 0 or 1: as an index they fit."""
        return {
            name: np.asarray(np.abs(array.astype(np.int64)) % 2).astype(array.dtype)
            if name in self._values and self._values[name] == Values(None)
            else array
            for name, array in sample.items()
        }

    def _with_special(self, sample: Sample) -> Sample:
        result = {}
        for name, array in sample.items():
            if array.dtype.kind == "f":
                chosen = self._rng.integers(0, 2 * len(SPECIAL), array.shape)
                special = np.resize(SPECIAL, 2 * len(SPECIAL))[chosen]
                array = np.where(chosen < len(SPECIAL), special, array).astype(array.dtype)
            result[name] = array
        return result


def channel_axis(shape: tuple[int, ...]) -> int | None:
    """The axis of an image's 1, 3 or 4 channels; None for what is no image."""
    if len(shape) not in (3, 4) or min(sorted(shape[-3:])[1:]) < 8:
        return None
    for axis in (len(shape) - 3, len(shape) - 1):
        if shape[axis] in (1, 3, 4):
            return axis
    return None
