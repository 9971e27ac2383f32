from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill.ensemble import Ensemble
from tvmkd.models import checkpoint


class Says(nn.Module):
    def __init__(self, *logits: float) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([logits]))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(images), -1)


IMAGES = torch.zeros(2, 1)


def test_probabilities_are_averaged_by_hand() -> None:
    """(0.75, 0.25) and (0.25, 0.75), the second with logits of another size, give a half each."""
    both = Ensemble([Says(math.log(3), 0.0), Says(5.0, 5 + math.log(3))], "probabilities")
    torch.testing.assert_close(both(IMAGES).exp(), torch.full((2, 2), 0.5))
    sure = Ensemble([Says(1e4, 0.0), Says(0.0, 0.0)], "probabilities")
    torch.testing.assert_close(sure(IMAGES)[0].exp(), torch.tensor([0.75, 0.25]))


def test_logits_are_averaged_by_hand() -> None:
    found = Ensemble([Says(4.0, 0.0), Says(0.0, -2.0)], "logits")(IMAGES)
    assert found.tolist() == [[2.0, -1.0]] * 2


def test_what_is_averaged_is_part_of_the_fingerprint() -> None:
    members = [Says(4.0, 0.0), Says(0.0, -2.0)]
    prints = {
        checkpoint.fingerprint(Ensemble(chosen, average).state_dict())
        for average in ("probabilities", "logits")
        for chosen in (members, members[:1])
    }
    assert len(prints) == 4


def test_members_of_other_classes_are_told() -> None:
    with pytest.raises(InputError, match="answer 2, 3 classes"):
        Ensemble([Says(1.0, 2.0), Says(1.0, 2.0, 3.0)], "logits")(IMAGES)
