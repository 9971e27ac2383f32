"""How often a classifier is right."""

from __future__ import annotations

import torch
from torch import nn

from tvmkd.data.splits import Images, batches
from tvmkd.distill.distributed import Team
from tvmkd.distill.probe import logits_of


def evaluate(model: nn.Module, images: Images, batch_size: int, team: Team) -> float:
    """Top-1 accuracy, 0 to 1, over a whole split, shared out over the team.

    The model is in evaluation mode afterwards. Full precision: it is what is exported.
    """
    model.eval()
    mine = torch.arange(team.rank, len(images.labels), team.size)
    right = 0.0
    with torch.inference_mode():
        for pictures, labels in batches(images, torch.split(mine, max(batch_size, 128))):
            pictures = pictures.to(team.device, memory_format=torch.channels_last)
            guesses = logits_of(model(pictures)).argmax(dim=1)
            right += float((guesses == labels.to(team.device)).sum())
    return team.total([right])[0] / len(images.labels)
