from __future__ import annotations

import math

import pytest
import torch

from tvmkd.distill.logit_losses.dist import DIST

P = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6]])
Q = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.5, 0.4]])
LABELS = torch.tensor([0, 2])
# Thirty times the deviations from the mean of each row: (5, -1, -4) and (8, -1, -7) in the first,
# (-4, -4, 8) and (-7, 5, 2) in the second.
ROWS = [69 / math.sqrt(42 * 114), 24 / math.sqrt(96 * 78)]
# Two images: of each class both networks rank them alike (1) or not (-1).
COLUMNS = [1, -1, 1]


@pytest.mark.parametrize("heat", [1.0, 2.0])
def test_dist_by_hand(heat: float) -> None:
    inter = 1 - sum(ROWS) / 2
    intra = 1 - sum(COLUMNS) / 3
    loss = DIST(alpha=0.0, beta=2.0, gamma=0.5, temperature=heat)
    found = loss(heat * P.log(), heat * Q.log(), LABELS)
    assert float(found) == pytest.approx(heat**2 * (2 * inter + 0.5 * intra), rel=1e-4)


def test_labels_are_weighed_as_in_every_loss() -> None:
    found = DIST(alpha=0.25, beta=0.0, gamma=0.0)(P.log(), Q.log(), LABELS)
    assert float(found) == pytest.approx(0.25 * (math.log(2) - math.log(0.6)) / 2, rel=1e-4)


def test_a_stronger_teacher_is_matched_by_a_student_in_proportion() -> None:
    """Probabilities a·q + b have a correlation of 1 with q, where a divergence would be left."""
    softened = 0.4 * Q + 0.2
    assert float(DIST(alpha=0.0)(softened.log(), Q.log(), LABELS)) == pytest.approx(0, abs=1e-5)


def test_the_paper_weighs_the_labels_once_and_each_relation_twice() -> None:
    loss = DIST()
    share = 1 - loss.alpha
    assert (loss.alpha, share * loss.beta, share * loss.gamma) == (0.5, 1.0, 1.0)
    assert loss.temperature == 1.0
