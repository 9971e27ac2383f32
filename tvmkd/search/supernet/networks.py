"""The networks of a space as parts of its largest one."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.memory_format import to_device
from tvmkd.search import structure as structures
from tvmkd.search.supernet.alignment import Pairs, align
from tvmkd.search.supernet.channels import Channels
from tvmkd.search.supernet.corners import Corners
from tvmkd.search.supernet.slices import Slice, slices

if TYPE_CHECKING:
    from tvmkd.distill.task import Task
    from tvmkd.search.supernet.blueprints import Blueprints

KEPT = 1024  # parts that are kept for the next step that needs them; they have no weights

Structure = Mapping[str, Any]


@dataclass(frozen=True)
class Part:
    """A network of the space, and which part of the largest network it is.

    Attributes:
        network: built on its own; its weights have no content, slices take their place.
        slices: for each of its tensors the part of the largest network's.
        task: with images of its size.
    """

    network: nn.Module
    slices: Mapping[str, Slice]
    task: Task


class Networks:
    """The largest network of a space, and all others as slices of its weights.

    A sub-network is the plain network that the space builds, called with slices of the largest
    network's tensors (`torch.func.functional_call`): gradients flow back into them, and any
    builder works whose networks nest.

    Args:
        blueprints: builds the networks.
        corners: the largest structure, and which parameters change the number of blocks.
        largest: the network of the largest structure, on the CPU; it is moved to the device.
        team: whose device they are on.

    Attributes:
        largest: holds the weights that all share.
        channels: which of them belong together; None: not known, the leading ones are shared.
        problem: why `channels` is not known, one line.
    """

    def __init__(
        self, blueprints: Blueprints, corners: Corners, largest: nn.Module, team: Team = ALONE
    ) -> None:
        self.blueprints, self.corners, self._team = blueprints, corners, team
        self.channels: Channels | None = None
        self.problem: str | None = None
        try:
            shape = blueprints.task(corners.largest).input_shape
            self.channels = Channels(largest, shape)
        except InputError as error:
            self.problem = str(error)
        self.largest = to_device(largest, team.device)
        self._parts: OrderedDict[str, Part] = OrderedDict()
        self._failed: dict[str, str] = {}
        self._depths: dict[str, tuple[nn.Module, Pairs]] = {}

    def part(self, structure: Structure) -> Part:
        """A network of the space as a part of the largest.

        Raises:
            InputError: it cannot be built, or is no part of it.
        """
        text = structures.text(structure)
        if text in self._failed:
            raise InputError(self._failed[text])
        if text not in self._parts:
            try:
                with random_state_kept():
                    self._parts[text] = self._make(structure)
            except TvmkdError as error:
                self._failed[text] = str(error)
                raise
            if len(self._parts) > KEPT:
                self._parts.popitem(last=False)
        self._parts.move_to_end(text)
        return self._parts[text]

    def forward(self, part: Part, images: Tensor) -> Any:
        """A sub-network's output, as the losses take it, in training mode.

        Args:
            images: of its size, float ``[N, C, H, W]`` on the team's device.
        """
        shared = dict(self.largest.named_parameters(remove_duplicate=False))
        caller = _Caller(part)
        weights = {
            f"network.{name}": part.slices[name].of(shared)
            for name, _ in part.network.named_parameters()
        }
        part.network.train()
        with self._team.synchronised(part.network):
            return functional_call(caller, weights, (images,))

    def cut(self, structure: Structure) -> nn.Module:
        """A plain network with a copy of its part of the weights, on the team's device.

        Its statistics of batch normalisation are slices too: see
        `tvmkd.search.supernet.calibration`.

        Raises:
            InputError: it cannot be built, or is no part of the largest network.
        """
        part = self.part(structure)
        with random_state_kept():
            network = self.blueprints.build(structure)
        shared, own = _tensors(self.largest), _tensors(network)
        with torch.no_grad():
            for name, piece in part.slices.items():
                own[name].copy_(piece.of(shared))
        return to_device(network, self._team.device)

    def _make(self, structure: Structure) -> Part:
        network = self.blueprints.build(structure)
        pairs = self._pairs(network, structure)
        found = slices(network, self.largest, pairs, self.channels)
        network = without_weights(to_device(network, self._team.device))
        return Part(network, found, self.blueprints.task(structure))

    def _pairs(self, network: nn.Module, structure: Structure) -> Pairs:
        """By way of a network of the same depth and full width, where blocks can be told apart."""
        full = self.corners.deepened(structure)
        text = structures.text(full)
        try:
            if text not in self._depths:
                wide = without_weights(self.blueprints.build(full))
                self._depths[text] = wide, align(wide, self.largest)
            wide, depth = self._depths[text]
            width = align(network, wide)
        except InputError as error:
            what = structures.text(structure)
            raise InputError(f"{what}: is no part of the largest network: {error}") from None
        return {path: depth[other] for path, other in width.items()}


def without_weights(network: nn.Module) -> nn.Module:
    """The network with parameters that have a shape and no content; buffers stay."""
    empty: dict[nn.Parameter, nn.Parameter] = {}
    for module in network.modules():
        for name, weight in module.named_parameters(recurse=False):
            if weight not in empty:
                empty[weight] = nn.Parameter(weight.detach().to("meta"), weight.requires_grad)
            module._parameters[name] = empty[weight]
    return network


def _tensors(network: nn.Module) -> dict[str, Tensor]:
    return {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }


class _Caller(nn.Module):
    """Calls a network as its task does, where `functional_call` can exchange its weights."""

    def __init__(self, part: Part) -> None:
        super().__init__()
        self.network, self._task = part.network, part.task

    def forward(self, images: Tensor) -> Any:
        return self._task.forward(self.network, images)


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Leaves every random generator as it was: a training resumes alike whatever was cached."""
    state, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng([*range(torch.cuda.device_count())]):
            yield
    finally:
        random.setstate(state)
        np.random.set_state(numbers)  # noqa: NPY002
