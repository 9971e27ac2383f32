"""Networks that a run has trained."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from tvmkd import models
from tvmkd.models import checkpoint


def network(path: Path) -> nn.Module:
    """The network of a checkpoint, in evaluation mode."""
    found = checkpoint.load(path)
    made = models.build(found.model["spec"], **found.model["kwargs"])
    made.load_state_dict(found.state)
    return made.eval()
