from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.models import registry
from tvmkd.models.reparameterize import fused
from tvmkd.prune import channels

SHAPE = [1, 1, 16, 16]
ARGS: dict[str, Any] = {"classes": 10, "widths": [16, 32], "depth": 1}


class Pairs(nn.Module):
    """A network of two branches, which its method takes for the channels that it was built with."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(1, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.whole(x) if hasattr(self, "whole") else self.first(x) + self.second(x)
        logits: torch.Tensor = self.head(x.relu().mean((2, 3)))
        return logits

    def reparameterize(self) -> None:
        self.whole = nn.Conv2d(1, 16, 3, padding=1)
        self.whole.weight.data = self.first.weight + nn.functional.pad(self.second.weight, [1] * 4)
        self.whole.bias.data = self.first.bias + self.second.bias
        del self.first, self.second


def dense(network: nn.Module) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, nn.Linear)]


def test_a_network_pruned_twice_is_rebuilt_from_its_history() -> None:
    torch.manual_seed(0)
    network = models.build("residual", **ARGS)
    history: list[list[Any]] = []
    for _ in range(2):
        history += channels.shrink(network, SHAPE, 0.3, 4, dense(network))
    told = json.loads(json.dumps(history))
    twin = models.build("pruned", base="residual", args=ARGS, shape=SHAPE, history=told)
    assert (
        channels.widths(twin)
        == channels.widths(network)
        != channels.widths(models.build("residual", **ARGS))
    )
    twin.load_state_dict(network.state_dict())
    images = torch.linspace(0, 1, 512).view(2, 1, 16, 16)
    assert torch.equal(twin.eval()(images), network.eval()(images))


@pytest.mark.parametrize(
    "history",
    [
        [["nowhere", True, [0]]],
        [["blocks.0.first.0", True, ["x"]]],
        [["blocks.0.first.0"]],
    ],
)
def test_a_damaged_history_is_one_line(history: Any) -> None:
    with pytest.raises(InputError, match="its history is damaged, or of another network"):
        models.build("pruned", base="residual", args=ARGS, shape=SHAPE, history=history)


def test_a_block_that_was_left_out_gives_its_input() -> None:
    args = {"classes": 10, "widths": [16], "depth": 2}
    torch.manual_seed(0)
    network = models.build("residual", **args)
    twin = models.build(
        "pruned",
        base="residual",
        args=args,
        shape=SHAPE,
        history=[["blocks.0.second.0", True, [0, 1]]],
        skipped=["blocks.1"],
    )
    assert isinstance(twin.get_submodule("blocks.1"), nn.Identity)
    assert twin.get_submodule("blocks.0.second.0").out_channels == 14
    whole = models.build("pruned", base="residual", args=args, shape=SHAPE, history=[])
    whole.load_state_dict(network.state_dict())
    assert set(twin.state_dict()) < set(whole.state_dict())
    assert twin(torch.zeros(2, 1, 16, 16)).shape == (2, 10)


@pytest.mark.parametrize("skipped", [["nowhere"], [""], [3]])
def test_a_block_that_is_not_there_is_one_line(skipped: Any) -> None:
    with pytest.raises(InputError, match=r"residual has no block .*damaged checkpoint"):
        models.build("pruned", base="residual", args=ARGS, shape=SHAPE, history=[], skipped=skipped)


def test_a_file_does_not_choose_what_code_runs() -> None:
    with pytest.raises(InputError, match='"os:getcwd" is not a model of tvmkd'):
        models.build("pruned", base="os:getcwd", args={}, shape=SHAPE, history=[])


def test_a_network_whose_branches_are_fused_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._OURS, "pairs", f"{__name__}:Pairs")
    torch.manual_seed(0)
    network = fused(models.build("pairs"), SHAPE)
    history = channels.shrink(network, SHAPE, 0.5, 4, dense(network))
    twin = models.build("pruned", base="pairs", args={}, shape=SHAPE, history=history, fused=True)
    twin.load_state_dict(network.state_dict())
    images = torch.linspace(0, 1, 512).view(2, 1, 16, 16)
    assert torch.equal(twin.eval()(images), network.eval()(images))
    assert twin.whole.out_channels == 8
