"""The processes that train together: one, or as many as torchrun started.

Each batch is shared out evenly, gradients are averaged, and what a loss or batch normalisation
computes over a batch is computed over the whole one. So several processes train the same network
as one, within rounding.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MethodType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore  # type: ignore[attr-defined]  # not in its __all__
from torch.distributed.rendezvous import rendezvous
from torch.nn.modules.batchnorm import _BatchNorm

from tvmkd.base.errors import UsageError

_TEAMS = itertools.count(1)  # in every process alike


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together. Alone it costs nothing."""

    rank: int
    size: int
    device: torch.device

    @property
    def leader(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    def average_gradients(self, weights: Sequence[nn.Parameter], value: Tensor) -> Tensor:
        """Averages the gradients of weights over the team, in one all-reduce.

        Unlike DistributedDataParallel this needs no wrapper round the network, allows weights that
        some steps do not use, and treats a loss's weights as the network's.

        Args:
            weights: the same in each process; one without a gradient anywhere keeps none.
            value: a scalar, for example the loss.

        Returns:
            The value's average, without a gradient.
        """
        value = value.detach()
        if self.size == 1:
            return value
        used = [weight.grad is not None for weight in weights]
        parts = [
            (torch.zeros_like(weight) if weight.grad is None else weight.grad).flatten()
            for weight in weights
        ]
        flags = torch.tensor([*map(float, used)], device=value.device)
        flat = torch.cat([*parts, flags, value.float().reshape(1)])
        dist.all_reduce(flat)
        flat /= self.size
        shares = torch.split(flat, [*(len(part) for part in parts), len(flags), 1])
        for weight, share, anywhere in zip(weights, shares, shares[-2].tolist(), strict=False):
            if anywhere:
                if weight.grad is None:
                    weight.grad = torch.zeros_like(weight)
                weight.grad.copy_(share.view_as(weight))
        found: Tensor = shares[-1].reshape(())
        return found

    @contextlib.contextmanager
    def synchronised(self, network: nn.Module) -> Iterator[None]:
        """Meanwhile batch normalisation uses the statistics of the whole batch.

        torch's SyncBatchNorm does not run on CPUs.
        """
        norms = [
            module
            for module in network.modules()
            if self.size > 1 and isinstance(module, _BatchNorm)
        ]
        try:
            for norm in norms:
                setattr(norm, "forward", MethodType(_normalise, norm))  # noqa: B010
            yield
        finally:
            for norm in norms:
                del norm.forward

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums each value over the team."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def gather(self, values: list[Any]) -> list[Any]:
        """The values of every process, those of the first one first; picklable."""
        if self.size == 1:
            return values
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, values)
        return [value for part in found for value in part]

    def wait(self) -> None:
        """Returns when every process has called this."""
        if self.size > 1:
            self.total([0.0])

    @contextlib.contextmanager
    def leader_first(self) -> Iterator[None]:
        """The leading process runs the block before the others, which use the files it made."""
        if not self.leader:
            self.wait()
        yield
        if self.leader:
            self.wait()


ALONE = Team(0, 1, torch.device("cpu"))
"""One process, on the CPU."""


def average(value: Tensor) -> Tensor:
    """The average over the processes that train together; gradients flow to all of them.

    The value itself where there is one process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return value
    found: Tensor = _Sum.apply(value) / dist.get_world_size()
    return found


def whole(value: Tensor) -> Tensor:
    """The rows of all processes, each of which needs as many; gradients flow to all of them.

    The value itself where there is one process.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return value
    rows = [torch.zeros_like(value) for _ in range(dist.get_world_size())]
    rows[dist.get_rank()] = value
    found: Tensor = _Sum.apply(torch.cat(rows))
    return found


def moments(value: Tensor, axes: Sequence[int]) -> tuple[Tensor, Tensor, int]:
    """Mean and biased variance over some axes and all processes, and over how many values.

    Each process needs a share of the same size. The axes are kept, with length 1.
    """
    mean = average(value.mean(tuple(axes), keepdim=True))
    variance = average((value - mean).pow(2).mean(tuple(axes), keepdim=True))
    own = value.numel() // max(1, mean.numel())
    return mean, variance, own * (dist.get_world_size() if dist.is_initialized() else 1)


def normaliser(total: Tensor, least: float = 1.0) -> Tensor:
    """What to divide a sum over this process's images by, so that averaged gradients are right.

    A loss over a batch is often a sum divided by a count, such as that of the objects in it. The
    average over processes of their sums, each divided by this, is the sum of all divided by the
    count of all (at least ``least``).
    """
    size = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    return (average(total.detach()) * size).clamp_min(least) / size


class _Sum(torch.autograd.Function):
    """Sums over processes, forwards and backwards."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        found = value.detach().clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found)
        return found

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        found = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(found)
        return found


def _normalise(norm: Any, images: Tensor) -> Tensor:
    """Batch normalisation's forward, with the statistics of all processes while it trains."""
    if not norm.training:
        found: Tensor = type(norm).forward(norm, images)
        return found
    axes = [axis for axis in range(images.ndim) if axis != 1]
    mean, variance, count = moments(images.float(), axes)
    if norm.track_running_stats and norm.running_mean is not None:
        norm.num_batches_tracked.add_(1)
        share = norm.momentum
        if share is None:
            share = 1.0 / float(norm.num_batches_tracked)
        with torch.no_grad():
            unbiased = variance.flatten() * count / max(1, count - 1)
            norm.running_mean.lerp_(mean.flatten(), share)
            norm.running_var.lerp_(unbiased, share)
    found = (images - mean) * torch.rsqrt(variance + norm.eps)
    if norm.affine:
        shape = [-1 if axis == 1 else 1 for axis in range(images.ndim)]
        found = found * norm.weight.view(shape) + norm.bias.view(shape)
    return found.to(images.dtype)


def find_device() -> torch.device:
    """This process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@functools.cache
def _meeting_point() -> tuple[Any, int, int]:
    """The store that torchrun's processes share, this process's rank, and how many there are."""
    found: tuple[Any, int, int] = next(rendezvous("env://"))
    return found


@contextlib.contextmanager
def assemble() -> Iterator[Team]:
    """The team of this process: from torchrun's environment where it is set, else alone.

    A process may do this several times, one after the other: once for each stage that trains.

    Raises:
        UsageError: torchrun's environment is incomplete.
    """
    device = find_device()
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(0, 1, device)
        return
    missing = [name for name in ("RANK", "MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise UsageError(f"WORLD_SIZE is {size}, but {', '.join(missing)} not set: use torchrun")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    store, rank, size = _meeting_point()
    # Its own names: under those of an earlier team there are addresses where nothing listens now.
    names = PrefixStore(f"team {next(_TEAMS)}", store)
    backend = "nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=names, rank=rank, world_size=size)
    try:
        yield Team(rank, size, device)
        dist.barrier()  # one that leaves early breaks the connections of those still at work
    finally:
        dist.destroy_process_group()
