"""Several teachers as one: the average of what they answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.distill.probe import logits_of

Average = Literal["probabilities", "logits"]


class Ensemble(nn.Module):
    """Classifiers whose answers are averaged, as one network.

    Args:
        members: at least one; modules are found under ``members.0``, ``members.1``...
        average: ``probabilities``: the output is the logarithm of the mean of the members'
            softmaxes, so that its softmax is that mean. ``logits``: the mean of the logits; a
            member with larger logits then counts more.
    """

    def __init__(self, members: Sequence[nn.Module], average: Average) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        # In the state: the average belongs to what the network answers, as its weights do.
        self.register_buffer("of_logits", torch.tensor(average == "logits"))
        self._of_logits = average == "logits"

    def forward(self, images: Tensor) -> Tensor:
        """Images to logits ``[N, classes]``.

        Raises:
            InputError: the members have different numbers of classes.
        """
        answers = [logits_of(member(images)) for member in self.members]
        shapes = {tuple(answer.shape) for answer in answers}
        if len(shapes) > 1:
            found = ", ".join(str(answer.shape[1]) for answer in answers)
            raise InputError(f"teachers of an ensemble answer {found} classes: they must agree")
        stacked = torch.stack([answer.float() for answer in answers])
        if self._of_logits:
            return stacked.mean(0)
        return torch.logsumexp(stacked.log_softmax(2), 0) - math.log(len(answers))
