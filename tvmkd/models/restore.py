"""Builds a model for weights that are there already, with as many classes as they have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from tvmkd.base import console
from tvmkd.base.errors import InputError
from tvmkd.models import checkpoint, state_dicts
from tvmkd.models.registry import REGISTERED, build


def restore(
    path: Path, spec: str, args: Mapping[str, Any] | None = None, search_in: Sequence[Path] = ()
) -> nn.Module:
    """A model with the weights from ``path``.

    If only the last layer differs from the model's own, as after fine-tuning to other classes, the
    model is built again with as many classes as the file has, unless ``args`` say how many.

    Args:
        path: weights in any form that `checkpoint.weights` reads.
        spec: as for `build`.
        args: arguments of the model.
        search_in: folders to look in for a ``module:callable``.

    Raises:
        InputError: as `build` and `checkpoint.load_weights`.
    """
    given = dict(args or {})
    name = "classes" if spec in REGISTERED else "num_classes"
    network = build(spec, search_in=search_in, **given)
    if name not in given:
        weights = checkpoint.weights(path, state_dicts.shapes(network))
        classes = state_dicts.classes_in(network.state_dict(), weights)
        if classes is not None:
            try:
                network = build(spec, search_in=search_in, **given, **{name: classes[1]})
                console.say(f"{path}: has {classes[1]} classes, not {classes[0]}: {name} set")
            except InputError:  # it has no such argument; what does not fit is told below
                pass
    checkpoint.load_weights(network, path, f'"{spec}"')
    return network
