from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import scaled_dot_product_attention

from tvmkd.models.macs import macs, parameters


def test_counts_by_hand():
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),  # 8·3·9·100
        nn.Conv2d(8, 8, 3, padding=1, groups=8),  # 8·9·100
        nn.Conv2d(8, 16, 1, stride=2),  # 16·8·25
        nn.Flatten(),
        nn.Linear(400, 10),  # 4000
    )
    assert macs(model, (1, 3, 10, 10)) == 21600 + 7200 + 3200 + 4000
    assert macs(model, (2, 3, 10, 10)) == 2 * 36000
    assert parameters(model) == (216 + 8) + (72 + 8) + (128 + 16) + 4010


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    macs(model, (1, 1, 8, 8))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_frozen_weights_do_not_count():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    assert parameters(model) == 6


class Applies(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@pytest.mark.parametrize(
    ("model", "count"),
    [
        # Two products of 4×4×2 for each of ten heads.
        (Applies(lambda x: scaled_dot_product_attention(*[x.reshape(1, 10, 2, 4).mT] * 3)), 640),
        (Applies(lambda x: x @ x[0, 0]), 80),
        (Applies(lambda x: x[0, 0] @ x[0, 1]), 8),
        (Applies(lambda x: (x * x.softmax(-1)).sum(1)), 80),
        (Applies(lambda x: (x * 2.0).sum(1)), 0),
        (Applies(lambda x: (x * x).relu().sum(1)), 0),
        (nn.LSTM(8, 4, batch_first=True), 10 * 4 * (8 * 4 + 4 * 4)),
        # Four dense layers and two products in the attention, two dense layers of 16 units.
        (
            nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
            10 * 8 * (4 * 8 + 2 * 10 + 2 * 16),
        ),
    ],
    ids=["fused", "vector", "dot", "sum", "scaled", "other", "recurrent", "encoder"],
)
def test_products_that_fused_operators_hide(model, count):
    before = torch.backends.mha.get_fastpath_enabled()
    assert macs(model, (1, 10, 8)) == count
    assert torch.backends.mha.get_fastpath_enabled() == before
