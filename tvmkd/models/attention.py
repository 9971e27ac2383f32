"""Self-attention between the tokens of an image: all of them, or fewer products.

All kinds are plain matrix products with fixed shapes: the decomposition of a fused operator would
depend on the exporter, and compilers support these.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from tvmkd.base.errors import UsageError
from tvmkd.base.text import suggest

HEADS = 4
WINDOW, KEEP = 4, 8
_NOWHERE = -1e4  # a score whose exponential is 0; finite, for half precision


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017): two matrix products and a softmax.

    Args:
        features: features of each token; a multiple of ``heads``.
        heads: number of attention heads.
    """

    def __init__(self, features: int, heads: int = HEADS) -> None:
        super().__init__()
        self.heads = heads
        self.mix = nn.Linear(features, 3 * features)
        self.out = nn.Linear(features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, tokens, features]`` to the same shape."""
        out: Tensor = self.out(self.mixed(self.mix(x)))
        return out

    def mixed(self, x: Tensor) -> Tensor:
        """Maps queries, keys and values to what the queries get, of all heads side by side.

        From ``[N, tokens, 3 · features]`` to ``[N, tokens, features]``.
        """
        tokens, features = x.shape[1], x.shape[2] // 3
        split = (-1, tokens, self.heads, features // self.heads)
        query, key, value = (part.reshape(split) for part in x.chunk(3, dim=-1))
        found = self.attend(query.transpose(1, 2), key, value.transpose(1, 2))
        return found.transpose(1, 2).reshape(-1, tokens, features)

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """What each query gets: ``[N, heads, tokens, features of a head]``.

        Args:
            query, value: of that shape.
            key: ``[N, tokens, heads, features of a head]``.
        """
        return self.weights(self.scores(query, key)) @ value

    def scores(self, query: Tensor, key: Tensor) -> Tensor:
        """How well each key fits each query: ``[N, heads, tokens, tokens]``."""
        # Scales the smaller factor, not the tokens × tokens scores.
        found: Tensor = query * query.shape[-1] ** -0.5 @ key.permute(0, 2, 3, 1)
        return found

    def weights(self, scores: Tensor) -> Tensor:
        """The share of each value for each query, from `scores`."""
        return scores.softmax(-1)


class WindowAttention(Attention):
    """Attention within windows of the map that do not overlap (Swin: Liu et al., 2021).

    Windows are not shifted: in a hybrid network convolutions connect them. They are as equal as
    possible, and at most ``window`` a side; where they do not divide the map, it is padded, and
    nothing attends to the padding.

    Args:
        features, heads: as for `Attention`.
        grid: tokens a side of the map.
        window: tokens a side of a window, at most.
    """

    hidden: Tensor

    def __init__(self, features: int, grid: int, window: int, heads: int = HEADS) -> None:
        super().__init__(features, heads)
        self.grid, self.count = grid, math.ceil(grid / window)
        self.side = math.ceil(grid / self.count)
        whole = self.count * self.side
        shown = torch.zeros(1, whole, whole, 1)
        shown[:, grid:], shown[:, :, grid:] = _NOWHERE, _NOWHERE
        self.padding = whole - grid
        cut = self._cut(shown).reshape(self.count**2, 1, 1, self.side**2)
        self.register_buffer("hidden", cut, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps ``[N, grid², features]`` to the same shape."""
        features, grid = x.shape[2], self.grid
        cut = self._cut(self._padded(self.mix(x).reshape(-1, grid, grid, 3 * features)))
        found = self.mixed(cut).reshape(-1, self.count, self.count, self.side, self.side, features)
        whole = self.count * self.side
        joined = found.permute(0, 1, 3, 2, 4, 5).reshape(-1, whole, whole, features)
        out: Tensor = self.out(joined[:, :grid, :grid].reshape(-1, grid * grid, features))
        return out

    def weights(self, scores: Tensor) -> Tensor:
        """As `Attention.weights`, without the padding."""
        if self.padding:
            shape = scores.shape[1:]
            scores = (scores.reshape(-1, self.count**2, *shape) + self.hidden).reshape(-1, *shape)
        return scores.softmax(-1)

    def _padded(self, x: Tensor) -> Tensor:
        pad = self.padding
        return nn.functional.pad(x, (0, 0, 0, pad, 0, pad)) if pad else x

    def _cut(self, x: Tensor) -> Tensor:
        """Maps ``[N, whole, whole, features]`` to ``[N · windows, tokens of one, features]``."""
        features, count, side = x.shape[3], self.count, self.side
        cut = x.reshape(-1, count, side, count, side, features).permute(0, 1, 3, 2, 4, 5)
        return cut.reshape(-1, side * side, features)


class LinearAttention(Attention):
    """ReLU linear attention (EfficientViT: Cai et al., 2023; Katharopoulos et al., 2020).

    ``relu(Q) (relu(K)ᵀ V)``, divided by ``relu(Q) Σ relu(K)``: the products grow with the tokens,
    not with their square, and no exponential is needed.
    """

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.attend`."""
        query, key = query.relu(), key.permute(0, 2, 3, 1).relu()
        return query @ (key @ value) / (query @ key.sum(-1, keepdim=True) + 1e-6)


class TopKAttention(Attention):
    """Each query attends to the keys with the highest scores (k-NN attention: Wang et al., 2022).

    Written densely: the other scores are masked, and both products stay whole, so it costs the
    selection more than `Attention`, which matrix units run faster than they gather.

    Args:
        features, heads: as for `Attention`.
        keep: keys for each query, at most; equal scores are all kept.
    """

    def __init__(self, features: int, keep: int, heads: int = HEADS) -> None:
        super().__init__(features, heads)
        self.keep = keep

    def weights(self, scores: Tensor) -> Tensor:
        """As `Attention.weights`, with zeros for all keys but the best."""
        if self.keep < scores.shape[-1]:
            least = scores.topk(self.keep, dim=-1).values[..., -1:]
            scores = torch.where(scores >= least, scores, _NOWHERE)
        return scores.softmax(-1)


class GatheredTopKAttention(TopKAttention):
    """`TopKAttention` that reads only the values of the best keys: ``keep`` products a query.

    Of keys with equal scores it reads ``keep`` at most, where the other keeps all.
    """

    def attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """See `Attention.attend`."""
        scores = self.scores(query, key)
        heads, tokens, size = value.shape[1:]
        if self.keep >= tokens:
            return scores.softmax(-1) @ value
        best, index = scores.topk(self.keep, dim=-1)
        rows = index.reshape(-1, heads, tokens * self.keep, 1).expand(-1, -1, -1, size)
        near = value.gather(2, rows).reshape(-1, heads, tokens, self.keep, size)
        return (best.softmax(-1).unsqueeze(3) @ near).squeeze(3)


Make = Callable[[int, int], Attention]
"""From the features of a token and the tokens a side of the map to a layer."""


def maker(kind: str, window: int = WINDOW, keep: int = KEEP) -> Make:
    """How the layers of a kind are made.

    Args:
        kind: ``full``, ``window``, ``linear``, ``topk`` or ``topk-gather``.
        window: of `WindowAttention`.
        keep: of `TopKAttention` and `GatheredTopKAttention`.

    Raises:
        UsageError: there is no such kind, or a number is not a whole one above 0.
    """
    for name, value in (("window", window), ("keep", keep)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise UsageError(f"{name} = {value!r}: wants a whole number of tokens, at least 1")
    kinds: dict[str, Make] = {
        "full": lambda features, grid: Attention(features),
        "window": lambda features, grid: WindowAttention(features, grid, window),
        "linear": lambda features, grid: LinearAttention(features),
        "topk": lambda features, grid: TopKAttention(features, keep),
        "topk-gather": lambda features, grid: GatheredTopKAttention(features, keep),
    }
    if kind not in kinds:
        hint = suggest(str(kind), kinds)
        raise UsageError(f"attention = {kind!r}: not known{hint or '; known: ' + ', '.join(kinds)}")
    return kinds[kind]
