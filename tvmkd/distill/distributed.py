"""The processes that train together: one, or as many as torchrun started."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import nn

from tvmkd.base.errors import UsageError


@dataclass(frozen=True)
class Team:
    """This process's place among those that train together. Alone it costs nothing."""

    rank: int
    size: int
    device: torch.device

    @property
    def leader(self) -> bool:
        """Whether this process writes files and talks to people."""
        return self.rank == 0

    def wrap(self, model: nn.Module) -> nn.Module:
        """The model with its gradients averaged over the team."""
        if self.size == 1:
            return model
        device_ids = [self.device.index] if self.device.type == "cuda" else None
        return nn.parallel.DistributedDataParallel(model, device_ids=device_ids)

    def average_gradients(self, weights: Sequence[nn.Parameter]) -> None:
        """Averages the gradients of weights that no wrapped model holds."""
        for weight in weights:
            if self.size > 1 and weight.grad is not None:
                dist.all_reduce(weight.grad)
                weight.grad /= self.size

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums each value over the team."""
        if self.size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Returns when every process has come here."""
        if self.size > 1:
            self.total([0.0])


def find_device() -> torch.device:
    """This process's GPU where there is one, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return torch.device("cpu")


@contextlib.contextmanager
def assemble() -> Iterator[Team]:
    """The team of this process: from torchrun's environment where it is set, else alone.

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
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), size, device)
        dist.barrier()  # one that leaves early breaks the connections of those still at work
    finally:
        dist.destroy_process_group()
