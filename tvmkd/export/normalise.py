"""Brings an ONNX model to a form that a compiler's importer reads rightly, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx.inliner import inline_local_functions

from tvmkd.base.text import first_line
from tvmkd.export.folding import fold, foldable
from tvmkd.export.graph import graphs
from tvmkd.export.rewrites import lower
from tvmkd.export.rewrites.old_opsets import raise_old
from tvmkd.export.rewrites.registry import LOWERINGS
from tvmkd.export.site import OURS

Feed = Mapping[str, np.ndarray]
Step = Callable[[onnx.ModelProto], onnx.ModelProto]
Same = Callable[[onnx.ModelProto], str | None]


@dataclass
class Normalised:
    """A normalised model.

    Attributes:
        model: its inputs and outputs have the names, shapes and dtypes of the original.
        steps: what was done.
        left_out: steps that failed or changed the outputs, each with the reason.
    """

    model: onnx.ModelProto
    steps: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)


def inline(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy without local functions."""
    return inline_local_functions(model) if model.functions else model


def fold_if_needed(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with constants folded; itself if there are none to fold."""
    return fold(model) if foldable(model) else model


def steps_for(where: str, reasons: dict[str, str]) -> dict[str, Step]:
    """Every step by name, in its order. A step returns its argument if there is nothing to do.

    Args:
        where: names the model in errors.
        reasons: gets why a node could not be lowered, by its name.
    """

    def plain(model: onnx.ModelProto) -> onnx.ModelProto:
        used = {
            ("" if node.domain in OURS else node.domain, node.op_type)
            for graph in graphs(model)
            for node in graph.node
        }
        if not used & LOWERINGS.keys():
            return model
        result, found = lower(model, where)
        reasons.clear()
        reasons.update(found)
        return model if result.graph == model.graph else result

    return {
        "local functions inlined": inline,
        "raised to opset 13": lambda model: raise_old(model, where),
        "constants and fixed shapes folded": fold_if_needed,
        "operators replaced by plain ones": plain,
        "constants folded again": fold_if_needed,
    }


def normalise(model: onnx.ModelProto, same: Same, steps: Mapping[str, Step]) -> Normalised:
    """Applies the steps whose result equals the original.

    All steps are applied and checked together. If that check fails, each step is checked by itself
    and left out if it changes the outputs.

    Args:
        model: with fixed input sizes and its weights inside; stays as it is.
        same: returns None if a model's outputs equal the original's, otherwise the difference.
        steps: by name, in their order.
    """
    result = _apply(model, steps)
    if not result.steps or same(result.model) is None:
        return result
    careful = Normalised(model)
    for name, step in steps.items():
        one = _apply(careful.model, {name: step})
        careful.left_out.update(one.left_out)
        if not one.steps:
            continue
        difference = same(one.model)
        if difference is None:
            careful.model = one.model
            careful.steps.append(name)
        else:
            careful.left_out[name] = difference
    return careful


def _apply(model: onnx.ModelProto, steps: Mapping[str, Step]) -> Normalised:
    result = Normalised(model)
    for name, step in steps.items():
        try:
            changed = step(result.model)
        except Exception as error:  # libraries raise errors of every class; the step is optional
            result.left_out[name] = first_line(error)
            continue
        if changed is not result.model:
            result.model = changed
            result.steps.append(name)
    return result


def differences(
    wanted: Sequence[Sequence[np.ndarray]], found: Sequence[Sequence[np.ndarray]]
) -> str | None:
    """How outputs differ by more than rounding, or None.

    Args:
        wanted, found: the outputs for each sample.
    """
    pairs = zip(zip(*wanted, strict=True), zip(*found, strict=True), strict=True)
    for number, (before, after) in enumerate(pairs):
        for want, got in zip(before, after, strict=True):
            if want.dtype != got.dtype or want.shape != got.shape:
                return (
                    f"output {number} is {got.dtype}{list(got.shape)} "
                    f"and was {want.dtype}{list(want.shape)}"
                )
        if not _near(
            *(np.concatenate([part.ravel() for part in all_]) for all_ in (before, after))
        ):
            return f"output {number} has other values"
    return None


def _near(want: np.ndarray, got: np.ndarray) -> bool:
    """Whether values differ by rounding only; floats as a share of their spread."""
    if want.dtype.kind != "f":
        return bool(np.array_equal(want, got))
    finite = np.isfinite(want)
    if not np.array_equal(want[~finite], got[~finite], equal_nan=True):
        return False
    if not np.isfinite(got[finite]).all():
        return False
    before, after = want[finite].astype(np.float64), got[finite].astype(np.float64)
    if not before.size:
        return True
    share = {2: 1e-2, 4: 1e-4, 8: 1e-9}.get(want.dtype.itemsize, 1e-2)
    spread = float(np.ptp(before)) or float(np.abs(before).max())
    rounding = 8 * float(np.finfo(want.dtype).eps) * np.abs(before)
    return bool((np.abs(before - after) <= share * spread + rounding + 1e-7).all())
