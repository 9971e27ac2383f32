from __future__ import annotations

import pytest
import torch

from tvmkd.base.errors import InputError, UsageError
from tvmkd.models.attention import Attention, LinearAttention
from tvmkd.models.mobilevit import MobileVitBlock, MobileVitNet


@pytest.mark.parametrize(("side", "patch"), [(8, 2), (7, 1)])
def test_patches_are_cut_and_put_together_again(side, patch):
    block = MobileVitBlock(8, 16, layers=1, side=side)
    x = torch.arange(2 * 16 * side * side, dtype=torch.float32).reshape(2, 16, side, side)
    tokens = block._unfold(x)
    assert tokens.shape == (2 * patch**2, (side // patch) ** 2, 16)
    # The first sequence holds the top left pixel of every patch.
    assert torch.equal(tokens[0, :, 0], x[0, 0, ::patch, ::patch].flatten())
    assert torch.equal(block._fold(tokens), x)


def test_a_far_pixel_is_seen_where_the_kernels_do_not_reach():
    torch.manual_seed(0)
    block = MobileVitBlock(8, 16, layers=1, side=16).eval()
    x = torch.randn(1, 8, 16, 16, requires_grad=True)
    block(x)[0, :, 0, 0].sum().backward()
    # Two 3×3 kernels reach two positions.
    assert x.grad[0, :, 8:, 8:].abs().max() > 0


@pytest.mark.parametrize("size", [8, 28, 30, 50, 96, 224])
def test_any_resolution(size):
    net = MobileVitNet(size=size, width=0.25, depth=0.5).eval()
    with torch.no_grad():
        assert net(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_features_are_divided_by_the_heads():
    net = MobileVitNet(width=0.3, multiple=3).eval()
    widths = {m.mix.in_features for m in net.modules() if isinstance(m, Attention)}
    assert all(width % 12 == 0 for width in widths)
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 10)


def test_an_image_of_another_size_is_one_line():
    with pytest.raises(InputError, match=r"28×28.*built for 32×32"):
        MobileVitNet()(torch.zeros(1, 1, 28, 28))


def test_attention_and_patches_are_arguments():
    net = MobileVitNet(attention="linear", patch=1, width=0.25, depth=0.5).eval()
    blocks = [m for m in net.modules() if isinstance(m, MobileVitBlock)]
    assert [block.patch for block in blocks] == [1, 1]
    assert all(isinstance(block.transformer[0].attend[1], LinearAttention) for block in blocks)
    assert net(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
    # The kinds have the same weights, so that one can be started from another.
    assert net.state_dict().keys() == MobileVitNet(width=0.25, depth=0.5).state_dict().keys()
    with pytest.raises(UsageError, match="patch = 0: wants the positions a side"):
        MobileVitNet(patch=0)
