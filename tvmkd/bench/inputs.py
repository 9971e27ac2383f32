"""The engines' inputs: given arrays, checked against the model, or seeded random arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tvmkd.base.errors import InputError
from tvmkd.base.random_inputs import random_sample

Sample = Mapping[str, np.ndarray]


def resolve(
    signature: Sequence[Mapping[str, Any]], shapes: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    """The signature with the shapes that `tvmkd.export.check.input_shapes` found."""
    return [{**tensor, "shape": list(shapes[tensor["name"]])} for tensor in signature]


def random_samples(tensors: Sequence[Mapping[str, Any]], count: int, seed: int) -> list[Sample]:
    """``count`` seeded samples: normal values for floats, 0 and 1 for integers and booleans."""
    rng = np.random.default_rng(seed)
    return [random_sample(rng, tensors) for _ in range(count)]


def check(samples: Sequence[Sample], signature: Sequence[Mapping[str, Any]]) -> list[Sample]:
    """Checks samples; returns them with contiguous arrays in the model's order.

    Raises:
        InputError: no samples were given, a name, dtype, rank or fixed size differs from the
            model's, or samples have different shapes (an engine is compiled for one shape).
    """
    if not samples:
        raise InputError("inputs: no samples were given")
    names = [tensor["name"] for tensor in signature]
    result: list[Sample] = []
    for number, sample in enumerate(samples):
        if set(sample) != set(names):
            raise InputError(
                f"inputs: sample {number} has {', '.join(sorted(sample)) or 'nothing'}; "
                f"the model takes {', '.join(names)}"
            )
        for tensor in signature:
            array, name = sample[tensor["name"]], tensor["name"]
            if array.dtype != np.dtype(tensor["dtype"]):
                raise InputError(
                    f"inputs: {name!r} is {array.dtype}; the model takes {tensor['dtype']}"
                )
            fits = len(array.shape) == len(tensor["shape"]) and all(
                isinstance(want, str) or have == want
                for have, want in zip(array.shape, tensor["shape"], strict=False)
            )
            if not fits or array.shape != samples[0][name].shape:
                raise InputError(
                    f"inputs: {name!r} of sample {number} has shape {list(array.shape)}; "
                    f"the model takes {tensor['shape']}"
                )
        result.append({name: np.ascontiguousarray(sample[name]) for name in names})
    return result
