"""From a structure, the values of a space's parameters, to a config and to a network."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tvmkd import config
from tvmkd.base import user_code
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.config.overlay import Overlay
from tvmkd.search import exit_points
from tvmkd.search.signatures import Signature

if TYPE_CHECKING:
    from torch import nn

    from tvmkd.config import Config
    from tvmkd.distill.task import Task

Structure = dict[str, Any]
"""Values by the names of a space's parameters."""

ARGS = "student.args."
IMAGES = 2
"""Inputs that show which activations of an int8 network may be negative."""
_OVERLAY = Overlay(config.Config)


def text(structure: Mapping[str, Any]) -> str:
    """A structure for people: ``model=mlp, width=0.5``."""
    return ", ".join(f"{name}={value}" for name, value in structure.items()) or "the file's network"


def configure(
    cfg: Config,
    values: Mapping[str, Any],
    signatures: Mapping[str, Signature],
    name: str = "the structure",
    multiple: int = 8,
) -> Config:
    """The config of one network: a validated copy, without ``[search]``.

    Of the file's ``[student] args`` those stay that the network's model has: they were written for
    the model of the file.

    Args:
        cfg: the file.
        values: by path.
        signatures: of the models of the space.
        name: for messages.
        multiple: the target's channel multiple.

    Raises:
        InputError: the schema refuses the values together, or there is no place for an exit.
    """
    data = cfg.model_dump(mode="json", exclude_unset=True, exclude={"search"})
    model = values.get("student.model", cfg.student.model)
    if model != cfg.student.model:
        names = signatures[model].names
        data["student"] = {
            **data.get("student", {}),
            "args": {key: value for key, value in cfg.student.args.items() if key in names},
        }
    try:
        _OVERLAY.put(data, copy.deepcopy(dict(values)))
    except ValueError as error:
        raise InputError(f"{name}: {error}") from None
    if "prune" in data:  # judged, and written for the winner, with one step
        data["prune"] = {"max_drop": 1.0, **data["prune"], "steps": 1}
    exits = data.get("early_exit", {}).get("exits", [])
    if any(map(exit_points.is_share, exits)):
        args = data.get("student", {}).get("args", {})
        size = data.get("data", {}).get("image_size", cfg.data.image_size)
        data["early_exit"]["exits"] = exit_points.resolve(exits, model, args, size, multiple)
    return config.parse(data, name)


def input_shape(cfg: Config, task: Task) -> tuple[int, ...]:
    """The shape of a network's input, batch first: the task's, unless the image size differs."""
    batch, channels, *sides = task.input_shape
    if cfg.data.image_size != task.cfg.data.image_size:
        sides = [cfg.data.image_size] * len(sides)
    return (batch, channels, *sides)


def build(
    cfg: Config, task: Task, multiple: int, search_in: Sequence[Path] = (), seed: int = 0
) -> nn.Module:
    """The network of a config as the stages ``distill`` and ``prune`` build it, not trained.

    Where ``[prune]`` is given, its share of the channels is gone. The random state of torch stays.

    Args:
        cfg: as `configure` gives it.
        task: what is learnt; it may be that of another resolution.
        multiple: the target's channel multiple.
        search_in: folders to look in for a ``module:callable``.
        seed: of the weights.

    Raises:
        InputError: it cannot be built, or does not take its input.
    """
    import torch

    from tvmkd import models
    from tvmkd.distill.distributed import ALONE
    from tvmkd.distill.session import Session
    from tvmkd.models.reparameterize import fused
    from tvmkd.prune.channels import shrink

    shape = input_shape(cfg, task)
    if shape != task.input_shape:
        task = copy.copy(task)
        task.input_shape = shape
    session = Session(cfg, Path(), ALONE, task, None, multiple)
    spec, args = session.student_model
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        network = models.build(spec, search_in=search_in, **session.kwargs("student", spec, args))
        network.eval()
        with user_code.guard(f'student "{cfg.student.model}"', theirs=True):
            network(torch.zeros(shape))
    if cfg.prune is not None:
        network = fused(network, shape, spec)  # as when the trained one is pruned
        shrink(network, shape, cfg.prune.ratio, multiple, task.fixed_outputs(network))
    return network.eval()


def images(cfg: Config, task: Task) -> np.ndarray:
    """A few inputs of a network: the task's, or random ones where the size differs.

    Returns:
        float32 ``[IMAGES, C, H, W]``.
    """
    shape = input_shape(cfg, task)
    if shape == task.input_shape:
        return task.samples(IMAGES, "train")
    return np.random.default_rng(0).standard_normal((IMAGES, *shape[1:])).astype(np.float32)


def fingerprint(spec: str, args: Mapping[str, Any], multiple: int, size: int) -> str:
    """Text that is equal for equal networks, such as those of widths that round alike.

    A registered model is built without memory for its weights, and described by its layers and the
    shapes of its weights. What another model makes of its arguments does not show in its layers;
    they are the text themselves.
    """
    from tvmkd.models import registry

    plain = json.dumps([spec, args], sort_keys=True, default=str)
    if spec not in registry.REGISTERED:
        return plain
    try:
        return _layers(plain, multiple, size)
    except TvmkdError:  # it shows where the network is really built
        return plain


@lru_cache(maxsize=4096)
def _layers(plain: str, multiple: int, size: int) -> str:
    import torch

    from tvmkd import models

    spec, args = json.loads(plain)
    known = models.arguments(spec, classes=10, channels=3, size=size, multiple=multiple)
    with torch.device("meta"):
        network = models.build(spec, **{**known, **args})
    shapes = [(name, tuple(weight.shape)) for name, weight in network.state_dict().items()]
    return hashlib.sha256(f"{network!r}\n{shapes}".encode()).hexdigest()


def named(structure: Mapping[str, Any], error: TvmkdError) -> InputError:
    """The error of one network, which says which network it is."""
    return InputError(f"{text(structure)}: {error}")
