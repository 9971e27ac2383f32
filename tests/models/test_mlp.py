from __future__ import annotations

import pytest
import torch

from tvmkd.base.errors import InputError, UsageError
from tvmkd.models.mlp import MixerBlock, MixerNet


@pytest.mark.parametrize(
    ("size", "patch", "tokens"), [(8, 1, 64), (28, 4, 49), (29, 4, 64), (32, 4, 64), (224, 28, 64)]
)
def test_at_most_eight_patches_a_side(size, patch, tokens):
    net = MixerNet(size=size)
    assert net.embed.kernel_size == net.embed.stride == (patch, patch)
    assert net.blocks[0].token_mix[0].in_features == tokens
    assert net(torch.zeros(2, 1, size, size)).shape == (2, 10)


def test_every_pixel_is_in_a_patch():
    torch.manual_seed(0)
    x = torch.randn(1, 1, 29, 29, requires_grad=True)
    MixerNet(size=29)(x).square().sum().backward()
    assert (x.grad != 0).all()


def test_tokens_are_mixed_feature_by_feature_and_features_token_by_token():
    torch.manual_seed(0)
    block = MixerBlock(tokens=6, features=8, token_hidden=16, feature_hidden=16)
    x, y = torch.randn(1, 6, 8), torch.randn(1, 6, 8)
    y[0, 0] = x[0, 0]
    # Without the mixing of tokens, a token depends on itself alone.
    assert not torch.allclose(block(x)[0, 0], block(y)[0, 0])
    for weight in block.token_mix.parameters():
        torch.nn.init.zeros_(weight)
    torch.testing.assert_close(block(x)[0, 0], block(y)[0, 0])


def test_a_patch_that_is_asked_for():
    assert MixerNet(size=28, patch=14).blocks[0].token_mix[0].in_features == 4
    for patch in (0, 33, 2.5):
        with pytest.raises(UsageError, match=r"patch = .*1 to 32"):
            MixerNet(size=32, patch=patch)


def test_an_image_of_another_size_is_one_line():
    with pytest.raises(InputError, match=r"28×28.*built for 32×32"):
        MixerNet()(torch.zeros(1, 1, 28, 28))
