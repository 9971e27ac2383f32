from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.prune import channels

SHAPE = [1, 1, 16, 16]
ARGS: dict[str, Any] = {"classes": 10, "widths": [16, 32], "depth": 1}


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
