"""Builds models by name: registered, ``torchvision:NAME``, ``timm:NAME``, ``module:callable``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tvmkd.base import user_code
from tvmkd.base.errors import InputError, MissingError, TvmkdError, UsageError
from tvmkd.base.text import suggest

REGISTERED = {
    "depthwise": "tvmkd.models.depthwise:DepthwiseNet",
    "residual": "tvmkd.models.residual:ResidualNet",
    "bottleneck": "tvmkd.models.bottleneck:BottleneckNet",
    "mobilevit": "tvmkd.models.mobilevit:MobileVitNet",
    "mlp": "tvmkd.models.mlp:MixerNet",
}
DETECTORS = {
    "retinanet": "tvmkd.models.detectors:retinanet",
    "ssdlite": "tvmkd.models.detectors:ssdlite",
}
# Made by other stages from a student; checkpoints have these names, users do not need them.
CHANGED = {
    "pruned": "tvmkd.models.pruned:pruned",
    "early-exit": "tvmkd.models.early_exit:EarlyExitNet",
}
_OURS = {**REGISTERED, **DETECTORS, **CHANGED}


# The arguments by which the functions of `user_code.LIBRARIES` load weights.
_LOADING = {"torchvision": ("weights",), "timm": ("pretrained", "checkpoint_path")}


def is_builtin(spec: str) -> bool:
    """True if ``spec`` names a model of tvmkd or of a library: building it runs no user code."""
    return spec in _OURS or of_library(spec)


def of_library(spec: str) -> bool:
    """True if ``spec`` names a model of torchvision or timm."""
    return ":" in spec and spec.partition(":")[0] in user_code.LIBRARIES


def without_weights(spec: str, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments for a model that gets its weights from a file: it must not download any."""
    loading = _LOADING.get(spec.partition(":")[0], ()) if of_library(spec) else ()
    return {key: value for key, value in kwargs.items() if not key.startswith(loading)}


def arguments(
    spec: str,
    classes: int,
    channels: int,
    *,
    size: int | None = None,
    multiple: int | None = None,
) -> dict[str, Any]:
    """Arguments that are known from the data and the target, and need not be given in ``args``.

    Args:
        spec: as for `build`. A registered model receives those of the following that are its
            parameters, a torchvision model only the number of classes, one of timm also the
            channels, a ``module:callable`` none.
        classes: number of classes.
        channels: channels of the image.
        size: side of the image, pixels; None: unknown.
        multiple: the target's channel multiple; None: any count.
    """
    if spec not in _OURS:
        if not of_library(spec):
            return {}
        image = {"in_chans": channels} if spec.startswith("timm:") else {}
        return {"num_classes": classes, **image}
    known = {"classes": classes, "channels": channels, "size": size, "multiple": multiple}
    taken = inspect.signature(_registered(spec)).parameters
    return {key: value for key, value in known.items() if key in taken and value is not None}


def build(spec: str, /, *, search_in: Sequence[Path] = (), **kwargs: Any) -> nn.Module:
    """Builds the model named ``spec``, with torch's current random state.

    Args:
        spec: a name in `REGISTERED`, ``torchvision:NAME``, ``timm:NAME`` or ``module:callable``. A
            module is searched in the current folder, then in ``search_in``, then on Python's path.
        kwargs: passed to the callable.

    Raises:
        InputError: there is no such model, its module cannot be imported, the callable does not
            accept ``kwargs``, its result is not an ``nn.Module``, or it changes the default dtype.
        UsageError: an argument of a registered model is out of range.
        MissingError: it is of timm, which is not installed.
    """
    made = factory(spec, search_in)
    try:
        with default_dtype_kept(f'model "{spec}"'):
            model = made(**kwargs)
    except UsageError as error:
        raise UsageError(f'model "{spec}": {error}') from None
    except TvmkdError:
        raise
    except Exception as error:  # reports any error of the user's code in one line
        given = ", ".join(f"{key}={value!r}" for key, value in kwargs.items()) or "no arguments"
        why = user_code.describe(error, __file__)
        raise InputError(f'model "{spec}" with {given}: {why}') from error
    if not isinstance(model, nn.Module):
        raise InputError(
            f'model "{spec}" returns {type(model).__name__}; it has to return a torch.nn.Module'
        )
    return model


def factory(spec: str, search_in: Sequence[Path] = ()) -> Callable[..., Any]:
    """The callable that builds the model named ``spec``; see `build`.

    Raises:
        InputError: there is no such model, or its module cannot be imported.
        MissingError: it is of timm, which is not installed.
    """
    kind, _, name = spec.partition(":")
    if spec in _OURS:
        return _registered(spec)
    if kind == "torchvision" and name:
        return _torchvision(name)
    if kind == "timm" and name:
        return _timm(name)
    if kind and name:
        with default_dtype_kept(f'model "{spec}"'):
            return user_code.load(spec, f'model "{spec}"', search_in)
    known = {**REGISTERED, **DETECTORS}
    hint = suggest(spec, known)
    raise InputError(
        f'model "{spec}": not known{hint or "; known: " + ", ".join(known)}; '
        "or give torchvision:NAME, timm:NAME or module:callable"
    )


@contextlib.contextmanager
def default_dtype_kept(what: str) -> Iterator[None]:
    """Raises if a user's code in the block changes torch's default dtype, and sets it back.

    Args:
        what: starts the message.

    Raises:
        InputError: it does.
    """
    before = torch.get_default_dtype()
    yield
    changed = torch.get_default_dtype()
    if changed != before:
        torch.set_default_dtype(before)
        raise InputError(
            f"{what}: changes the default dtype of torch to {changed}; networks are trained in "
            "float32: remove torch.set_default_dtype"
        )


def _registered(spec: str) -> Callable[..., Any]:
    module, _, name = _OURS[spec].partition(":")
    factory: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return factory


def _torchvision(name: str) -> Callable[..., Any]:
    from torchvision import models

    names = models.list_models(module=models)
    if name not in names:
        raise InputError(f'model "torchvision:{name}": not known{suggest(name, names)}')

    def factory(**kwargs: Any) -> Any:
        return models.get_model(name, **kwargs)

    return factory


def _timm(name: str) -> Callable[..., Any]:
    try:
        import timm
    except ImportError:
        raise MissingError(
            f'model "timm:{name}": timm is not installed; pip install timm'
        ) from None
    # Of its own list only: other names, such as hf-hub:..., would be downloaded.
    names = timm.list_models()
    if name not in names:
        raise InputError(f'model "timm:{name}": not known{suggest(name, names)}')

    def make(**kwargs: Any) -> Any:
        return timm.create_model(name, **kwargs)

    return make
