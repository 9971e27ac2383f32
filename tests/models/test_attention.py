from __future__ import annotations

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from tvmkd.base.errors import UsageError
from tvmkd.models.attention import (
    Attention,
    GatheredTopKAttention,
    LinearAttention,
    TopKAttention,
    WindowAttention,
    maker,
)
from tvmkd.models.macs import macs

FEATURES, HEADS, GRID = 8, 2, 5
TOKENS = GRID * GRID
BOTH = TOKENS * FEATURES * 4 * FEATURES  # the two dense layers
QUADRATIC = TOKENS * TOKENS * FEATURES  # one of the two products, of all heads


def parts(layer, x):
    """Queries, keys and values: ``[N, heads, tokens, features of a head]`` each."""
    n, tokens, features = x.shape
    split = layer.mix(x).reshape(n, tokens, 3, layer.heads, features // layer.heads)
    return split.permute(2, 0, 3, 1, 4)


def joined(layer, heads):
    return layer.out(heads.transpose(1, 2).flatten(2))


def given(layer):
    torch.manual_seed(0)
    return layer, torch.randn(3, TOKENS, FEATURES)


def test_full_attention_is_the_fused_one_written_out():
    layer, x = given(Attention(FEATURES, HEADS))
    q, k, v = parts(layer, x)
    torch.testing.assert_close(layer(x), joined(layer, scaled_dot_product_attention(q, k, v)))


@pytest.mark.parametrize("window", [1, 2, 3, 5, 9])
def test_windows_are_full_attention_with_the_rest_masked(window):
    layer, x = given(WindowAttention(FEATURES, GRID, window, HEADS))
    q, k, v = parts(layer, x)
    row, column = (
        torch.arange(TOKENS) // GRID // layer.side,
        torch.arange(TOKENS) % GRID // layer.side,
    )
    place = row * GRID + column
    mask = place[:, None] == place[None, :]
    found = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(layer(x), joined(layer, found))
    assert layer.side <= window
    assert not layer.state_dict().keys() - Attention(FEATURES).state_dict().keys()


def test_linear_attention_is_the_quadratic_sum_in_another_order():
    layer, x = given(LinearAttention(FEATURES, HEADS))
    q, k, v = parts(layer, x)
    shares = q.relu() @ k.relu().transpose(2, 3)
    wanted = shares @ v / (shares.sum(-1, keepdim=True) + 1e-6)
    torch.testing.assert_close(layer(x), joined(layer, wanted))


@pytest.mark.parametrize("kind", [TopKAttention, GatheredTopKAttention])
@pytest.mark.parametrize("keep", [1, 3, TOKENS, 2 * TOKENS])
def test_the_best_keys_alone_count(kind, keep):
    layer, x = given(kind(FEATURES, keep, HEADS))
    q, k, v = parts(layer, x)
    scores = q @ k.transpose(2, 3)
    best = scores.argsort(-1, descending=True)[..., :keep]
    mask = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, best, True)
    found = scaled_dot_product_attention(q, k, v, attn_mask=mask)
    torch.testing.assert_close(layer(x), joined(layer, found))


@pytest.mark.parametrize(
    ("layer", "products"),
    [
        (Attention(FEATURES, HEADS), 2 * QUADRATIC),
        # Written densely, it saves no product.
        (TopKAttention(FEATURES, 3, HEADS), 2 * QUADRATIC),
        (GatheredTopKAttention(FEATURES, 3, HEADS), QUADRATIC + TOKENS * 3 * FEATURES),
        # Two products with a matrix of 4×4 for each head, and one with its sums.
        (LinearAttention(FEATURES, HEADS), 2 * TOKENS * FEATURES * 4 + TOKENS * FEATURES),
    ],
    ids=lambda value: type(value).__name__,
)
def test_all_products_are_counted(layer, products):
    assert macs(layer, (1, TOKENS, FEATURES)) == BOTH + products


def test_windows_cost_their_own_products():
    layer = WindowAttention(FEATURES, 6, 3, HEADS)
    assert macs(layer, (1, 36, FEATURES)) == 36 * FEATURES * 4 * FEATURES + 2 * 4 * 81 * FEATURES


@pytest.mark.parametrize(
    ("kind", "args", "message"),
    [
        ("windows", {}, 'attention = .windows.: not known; did you mean "window"'),
        ("window", {"window": 0}, "window = 0: wants a whole number of tokens"),
        ("topk", {"keep": 2.5}, "keep = 2.5: wants a whole number of tokens"),
    ],
)
def test_a_bad_argument_is_one_line(kind, args, message):
    with pytest.raises(UsageError, match=message):
        maker(kind, **args)
