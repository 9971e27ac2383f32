from __future__ import annotations

import pytest
import torch
from tiny_detectors import one_map, shared, sight

from tvmkd.distill.detector.terms.pkd import PKD


@pytest.fixture(scope="module")
def loss() -> PKD:
    network = shared()
    term = one_map(PKD(network, network), 2)
    assert isinstance(term, PKD)
    return term


def test_it_is_one_minus_the_correlation_by_hand(loss: PKD) -> None:
    """A channel with r = 1 whatever its scale and offset, and one with r = 0.6."""
    mine = torch.tensor([[1.0, 2, 3, 4], [2, 4, 1, 3]]).reshape(1, 2, 2, 2)
    wanted = torch.tensor([[-7.0, -5, -3, -1], [1, 4, 2, 3]]).reshape(1, 2, 2, 2)
    # Deviations (-.5, 1.5, -1.5, .5) and (-1.5, 1.5, -.5, .5): 4 of 5.
    assert float(loss(sight(mine, wanted))) == pytest.approx((0 + (1 - 0.8)) / 2, abs=1e-4)
    assert float(loss(sight(mine, -mine))) == pytest.approx(2, abs=1e-4)


def test_the_correlation_is_over_the_whole_batch(loss: PKD) -> None:
    mine = torch.tensor([0.0, 1, 10, 11]).reshape(2, 1, 1, 2).expand(2, 2, 1, 2)
    shifted = torch.tensor([10.0, 11, 0, 1]).reshape(2, 1, 1, 2).expand(2, 2, 1, 2)
    assert float(loss(sight(mine, shifted))) > 1.5  # image by image they would be the same
