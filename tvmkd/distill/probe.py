"""Whether a model and the data fit together, found out before hours are spent."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.base import user_code
from tvmkd.base.errors import InputError
from tvmkd.data.splits import Splits


def logits_of(output: Any) -> Tensor:
    """The logits in what a classifier returns: a tensor, the first of several, or ``.logits``.

    Raises:
        InputError: none of these.
    """
    if isinstance(output, Tensor):
        return output
    if isinstance(getattr(output, "logits", None), Tensor):
        logits: Tensor = output.logits
        return logits
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        return output[0]
    raise InputError(f"a model returned {type(output).__name__}; a classifier returns logits")


def probe(model: nn.Module, splits: Splits, name: str) -> None:
    """Runs one empty image through ``model``, on the CPU and in evaluation mode.

    Raises:
        InputError: the model refuses the shape of the data, does not return ``[1, classes]``
            logits, or has no weights.
    """
    if next(model.parameters(), None) is None:
        raise InputError(f"{name}: the model has no weights")
    mode = model.training
    try:
        with torch.no_grad():
            logits = logits_of(model.eval()(torch.zeros(splits.shape)))
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    except Exception as error:  # a model may fail in any way
        raise InputError(
            f"{name}: cannot take an image of shape {list(splits.shape)}, which is what the data "
            f"has: {user_code.describe(error, __file__)}"
        ) from error
    finally:
        model.train(mode)
    if list(logits.shape) != [1, len(splits.classes)]:
        raise InputError(
            f"{name}: answers an image with shape {list(logits.shape)}, but the data has "
            f"{len(splits.classes)} classes: [1, {len(splits.classes)}] is needed; set its args"
        )
