"""Whether models can do what a stream asks of them."""

from __future__ import annotations

from collections.abc import Sequence

from tvmkd.base import detector_description
from tvmkd.base.detector_description import Description
from tvmkd.base.errors import UsageError
from tvmkd.base.manifest import TensorSpec
from tvmkd.base.text import listing
from tvmkd.deploy.streaming.model import Model
from tvmkd.deploy.streaming.pipeline import is_image


def check(models: Sequence[Model], when_late: str, *, prepared: bool = False) -> None:
    """Makes sure that there are exits to take, and that a ladder's models stand in for the first.

    A smaller detector may look at a smaller image: each model has its own steps around it.

    Args:
        models: the best first.
        when_late: of the `Plan`.
        prepared: all models get the inputs of the first one, so that sizes must be the same too.

    Raises:
        UsageError: they cannot.
    """
    first = models[0]
    if when_late == "exit" and first.exits < 2:
        raise UsageError(
            f"--when-late exit: {first.path} has no early exits; leave the option out, or give a "
            "network with exits"
        )
    for model in models[1:]:
        for verb, one, other in (
            ("takes", _taken(first, prepared), _taken(model, prepared)),
            ("gives", _given(first), _given(model)),
        ):
            if one != other:
                raise UsageError(
                    f"--ladder {model.path}: {verb} {other}, and {first.path} {verb} {one}; a "
                    "ladder's models must stand in for each other"
                )


def _taken(model: Model, prepared: bool) -> str:
    resized = is_image(model.inputs) or detector_description.KEY in model.metadata
    return "images" if resized and not prepared else _tensors(model.inputs)


def _given(model: Model) -> str:
    if detector_description.KEY in model.metadata:
        classes = Description.from_metadata(model.metadata, str(model.path)).classes
        return f"boxes of {listing(classes)}"
    return _tensors(model.outputs)


def _tensors(specs: Sequence[TensorSpec]) -> str:
    # Not their names, which differ from export to export.
    return listing(f"{spec.dtype} {' x '.join(map(str, spec.shape))}" for spec in specs)
