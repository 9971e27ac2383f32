"""Compares an engine's outputs with the reference. An engine that disagrees is not timed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """How far an engine's outputs are from the reference.

    Attributes:
        max_abs_error: largest absolute difference over all samples and outputs.
        relative_error: for each output the largest difference divided by the largest magnitude in
            the reference; the maximum over the outputs.
        problem: a message that describes what is wrong, or None.
    """

    max_abs_error: float
    relative_error: float
    problem: str | None


def compare_outputs(
    reference: Sequence[Sequence[np.ndarray]],
    got: Sequence[Sequence[np.ndarray]],
    tolerance: float,
) -> Agreement:
    """Compares outputs, given as sample -> output -> array.

    An output's largest magnitude is taken over all samples. Otherwise a sample with logits near
    zero could fail because of rounding alone.
    """
    worst_abs = worst_rel = 0.0
    problem: str | None = None
    for index in range(len(reference[0])):
        expected = [sample[index] for sample in reference]
        scale = max(float(np.abs(_wide(a)).max(initial=0.0)) for a in expected)
        for number, (sample, want) in enumerate(zip(got, expected, strict=True)):
            where = f"output {index} of sample {number}"
            if len(sample) != len(reference[0]):
                problem = f"{len(sample)} outputs instead of {len(reference[0])}"
                return Agreement(float("inf"), float("inf"), problem)
            have = sample[index]
            if have.shape != want.shape:
                problem = f"{where} has shape {have.shape} instead of {want.shape}"
                return Agreement(float("inf"), float("inf"), problem)
            if not np.isfinite(_wide(have)).all():
                return Agreement(float("inf"), float("inf"), f"{where} holds NaN or infinity")
            error = float(np.abs(_wide(have) - _wide(want)).max(initial=0.0))
            relative = error / scale if scale else (0.0 if error == 0.0 else float("inf"))
            worst_abs = max(worst_abs, error)
            if relative > worst_rel:
                worst_rel = relative
                if relative > tolerance:
                    problem = (
                        f"{where} is off by {error:.3g}, {relative:.2%} of its largest magnitude "
                        f"({tolerance:.2%} is allowed)"
                    )
    return Agreement(worst_abs, worst_rel, problem)


def _wide(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float64, copy=False)
