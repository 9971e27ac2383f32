"""Soft choices inside a network: masks over channels and switches on blocks.

FBNetV2's masks (Wan et al., 2020, arXiv:2004.05565): the channels that an option keeps are a prefix
of the group's channels by importance, all options share the weights, and a group's mask is the sum
of its options' masks, weighted by a Gumbel softmax (Jang et al., 2017, arXiv:1611.01144). A mask
lies on the *inputs* of the layers that read the channels, so that a channel of weight 0 has the
same effect as one that was cut, whatever normalisation is between. A block that may go gives a mix
of its output and its input.
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from tvmkd.search.soft.choices import Choice, Structure

HOT, COLD = 5.0, 0.2  # temperatures at the start and at the end
WHOLE = 0.5  # probability of the whole group, and of a block, at the start
WARM_UP = 0.25  # of the shaping: weights learn at all widths before the probabilities move
TRAVEL = 20.0  # how far a logit comes if every step moves it the same way


class Gates(nn.Module):
    """The probabilities of the options, learnt, and the hooks that apply them.

    While the network is in training mode each forward pass draws a soft structure; in evaluation
    mode it has the likeliest one.

    Args:
        network: gets the hooks, until `close`.
        choices: about it.
        pace: the sum of the learning rates of all steps: determines the scale of the logits, so
            that they travel equally far in a short training and in a long one.

    Attributes:
        progress: share of the shaping that is done. It sets the temperature, and in the first
            `WARM_UP` of it the probabilities do not learn.
    """

    progress: Tensor
    place: Tensor
    start: Tensor
    valid: Tensor
    channel: Tensor

    def __init__(self, network: nn.Module, choices: Sequence[Choice], pace: float) -> None:
        super().__init__()
        self.choices = tuple(choices)
        most = max(len(choice.options) for choice in choices)
        counts = [len(choice.options) for choice in choices]
        # Options of all choices in a row, each in its cell of a [choices, most] table.
        cells = [row * most + place for row, count in enumerate(counts) for place in range(count)]
        start = torch.zeros(len(counts), most)
        for row, count in enumerate(counts):
            start[row, 0] = torch.tensor(WHOLE / (1 - WHOLE) * max(1, count - 1)).log()
        valid = torch.zeros(len(counts) * most, dtype=torch.bool)
        valid[cells] = True
        self.moved = nn.Parameter(torch.zeros(len(cells)))  # a vector: no weight decay
        self.scale = TRAVEL / pace
        for name, value in (
            ("place", torch.tensor(cells)),
            ("start", start),
            ("valid", valid.view_as(start)),
            ("channel", _channels(choices, most)),
        ):
            self.register_buffer(name, value, persistent=False)
        # Exact, or a resumed training would end in other weights.
        self.register_buffer("progress", torch.zeros((), dtype=torch.float64))
        self._share = 0.0  # the progress, without asking a GPU
        self._drawn: tuple[Tensor, Tensor] | None = None
        self._network = [network]  # not a module of this one
        self._hooks = [*self._masks(network), *self._switches(network)]

    def probabilities(self) -> Tensor:
        """Of the options: ``[choices, most]``, 0 where a choice has fewer."""
        return self._soften(self._logits())

    def likeliest(self) -> Structure:
        """The likeliest option of each choice."""
        best = self._logits().argmax(1).tolist()
        pairs = zip(self.choices, best, strict=True)
        return {choice.name: choice.options[place] for choice, place in pairs}

    def set(self, structure: Structure) -> None:
        """Makes a structure all but certain."""
        with torch.no_grad():
            logits = torch.full_like(self.start, -100.0)
            for row, choice in enumerate(self.choices):
                option = structure.get(choice.name, choice.options[0])
                logits[row, choice.options.index(option)] = 100.0
            self.moved.copy_(((logits - self.start) / self.scale).flatten()[self.place])

    def step(self, progress: float) -> None:
        """Ends a step: the next forward pass draws again."""
        self.progress.fill_(progress)
        self._share = progress
        self._drawn = None

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._share = float(self.progress)

    def close(self) -> None:
        """Takes the hooks off."""
        for hook in self._hooks:
            hook.remove()

    def _logits(self) -> Tensor:
        moved = self.moved.detach() if self._share < WARM_UP else self.moved
        table = torch.zeros_like(self.start).flatten().index_put((self.place,), moved)
        logits = self.start + self.scale * table.view_as(self.start)
        return logits.masked_fill(~self.valid, -torch.inf)

    def _soften(self, logits: Tensor) -> Tensor:
        return torch.softmax(logits, 1)

    def _now(self) -> tuple[Tensor, Tensor]:
        """The weights of the options ``[choices, most]``, and of 1 and all groups' channels."""
        training = self._network[0].training
        if training and self._drawn is not None:
            return self._drawn
        logits = self._logits()
        if training:
            noise = -torch.empty_like(logits).exponential_().log()
            heat = HOT * (COLD / HOT) ** self._share
            weights = self._soften((logits + noise) / heat)
        else:
            weights = nn.functional.one_hot(logits.argmax(1), logits.shape[1]).to(logits.dtype)
        # A channel stays in its group's first options: it weighs as much as they do together.
        sums = torch.cat([weights.new_ones(1), weights.cumsum(1).flatten()])
        found = weights, sums[self.channel]
        if training:
            self._drawn = found
        return found

    def _masks(self, network: nn.Module) -> list[Any]:
        """Hooks on the layers that read channels of groups."""
        readers: dict[str, Tensor] = {}
        offset = 1
        for choice in self.choices:
            if choice.group is None:
                continue
            for part in choice.group.parts:
                if part.side == "inputs":
                    layer = network.get_submodule(part.path)
                    index = readers.setdefault(
                        part.path, torch.zeros(_width(layer), dtype=torch.long)
                    )
                    index[list(part.channels)] = torch.tensor(part.roots) + offset
            offset += choice.group.size
        hooks = []
        for number, (path, index) in enumerate(readers.items()):
            self.register_buffer(f"reader{number}", index, persistent=False)
            layer = network.get_submodule(path)
            wide = isinstance(layer, nn.Conv2d)
            mask = functools.partial(self._mask, f"reader{number}", wide)
            hooks.append(layer.register_forward_pre_hook(mask))
        return hooks

    def _mask(self, name: str, wide: bool, _module: nn.Module, inputs: tuple[Any, ...]) -> Any:
        first, *others = inputs
        mask = self._now()[1][getattr(self, name)].to(first.dtype)
        return (first * (mask.view(1, -1, 1, 1) if wide else mask), *others)

    def _switches(self, network: nn.Module) -> list[Any]:
        """Hooks on the blocks that may go."""
        return [
            network.get_submodule(choice.name).register_forward_hook(
                functools.partial(self._switch, row)
            )
            for row, choice in enumerate(self.choices)
            if choice.kind == "depth"
        ]

    def _switch(self, row: int, _module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Any:
        weights = self._now()[0][row].to(output.dtype)
        return weights[0] * output + weights[1] * inputs[0]


def _width(layer: nn.Module) -> int:
    """Input channels of a layer."""
    if isinstance(layer, nn.Conv2d):
        return layer.in_channels
    assert isinstance(layer, nn.Linear)
    return layer.in_features


def _channels(choices: Sequence[Choice], most: int) -> Tensor:
    """For 1 and for each channel of each group: where its weight is in 1 and the options' sums."""
    found = [0]
    for row, choice in enumerate(choices):
        if choice.group is None:
            continue
        places = defaultdict(int)
        for rank, channel in enumerate(choice.group.order):
            staying = sum(option > rank for option in choice.options)
            places[channel] = row * most + staying  # the sum of that many first options
        found += [places[channel] for channel in range(choice.group.size)]
    return torch.tensor(found)
