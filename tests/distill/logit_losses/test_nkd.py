from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.nkd import NKD

P, Q = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.6, 0.3, 0.1]])
LABEL = torch.tensor([0])


def test_nkd_by_hand() -> None:
    """Of the others the student gives (0.6, 0.4), the teacher (0.75, 0.25)."""
    target = -0.6 * math.log(0.5)
    rest = -(0.75 * math.log(0.6) + 0.25 * math.log(0.4))
    found = NKD(alpha=0.0, gamma=1.5)(P.log(), Q.log(), LABEL)
    assert float(found) == pytest.approx(target + 1.5 * rest, rel=1e-4)


def test_the_temperature_is_of_the_others_alone() -> None:
    """At T = 2 they are in proportion to roots: √3 to √2, and √3 to 1."""
    mine = math.sqrt(3) / (math.sqrt(3) + math.sqrt(2))
    other = math.sqrt(3) / (math.sqrt(3) + 1)
    rest = -(other * math.log(mine) + (1 - other) * math.log(1 - mine))
    found = NKD(alpha=0.0, gamma=1.0, temperature=2.0)(P.log(), Q.log(), LABEL)
    assert float(found) == pytest.approx(-0.6 * math.log(0.5) + 4 * rest, rel=1e-4)


def test_the_paper_weighs_labels_and_teacher_alike() -> None:
    hard, soft = NKD().parts(P.log(), Q.log(), LABEL)
    assert float(hard) == pytest.approx(0.5 * math.log(2), rel=1e-5)
    assert float(soft) == pytest.approx(
        0.5 * (0.6 * math.log(2) - 1.5 * (0.75 * math.log(0.6) + 0.25 * math.log(0.4))), rel=1e-4
    )
