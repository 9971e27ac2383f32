from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import spaces
import torch
from torch import nn

from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.distill.distributed import ALONE
from tvmkd.distill.session import Session
from tvmkd.distill.task import Task
from tvmkd.models import registry
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.prune.channels import widths
from tvmkd.search import structure
from tvmkd.search.signatures import signature

CFG = spaces.parse({"width": [1]}, student={"args": {"stem": 8, "width": 0.5}})


@pytest.fixture(scope="module")
def task() -> Task:
    return tasks.make(CFG)


def test_a_config_of_one_network() -> None:
    found = structure.configure(CFG, {"student.args.width": 2, "distill.lr": 0.5}, {})
    assert found.student.args == {"stem": 8, "width": 2}
    assert (found.distill.lr, found.search) == (0.5, None)
    assert CFG.student.args == {"stem": 8, "width": 0.5}


def test_another_model_keeps_the_arguments_that_it_has() -> None:
    known = {"mlp": signature("mlp")}
    found = structure.configure(CFG, {"student.model": "mlp", "student.args.depth": 2}, known)
    assert found.student.args == {"width": 0.5, "depth": 2}


def test_values_that_do_not_go_together() -> None:
    values = {"prune.ratio": 0.5, "early_exit.exits": ["a"]}
    with pytest.raises(InputError, match=r"^a, b: \[prune\] and \[early_exit\] do not go"):
        structure.configure(CFG, values, {}, "a, b")


def test_the_network_is_that_of_the_stage_distill(task: Task) -> None:
    cfg = structure.configure(CFG, {"student.args.width": 1.5}, {})
    before = torch.random.get_rng_state()
    found = structure.build(cfg, task, 16, seed=3)
    assert torch.equal(torch.random.get_rng_state(), before)
    session = Session(cfg, Path(), ALONE, task, None, 16)
    wanted = session.build("student", *session.student_model, 3).state_dict()
    assert not found.training
    assert wanted.keys() == found.state_dict().keys()
    assert all(torch.equal(wanted[key], found.state_dict()[key]) for key in wanted)


def test_another_resolution(task: Task) -> None:
    cfg = structure.configure(
        CFG, {"student.model": "mlp", "data.image_size": 24}, {"mlp": signature("mlp")}
    )
    assert structure.input_shape(cfg, task) == (1, 1, 24, 24)
    network = structure.build(cfg, task, 8)
    assert network(torch.zeros(1, 1, 24, 24)).shape == (1, 10)
    assert task.input_shape == (1, 1, 16, 16)


def test_exits_are_branches_and_pruned_channels_are_gone(task: Task) -> None:
    exits = structure.configure(CFG, {"early_exit.exits": ["features.4"]}, {})
    network = structure.build(exits, task, 8)
    assert isinstance(network, EarlyExitNet)
    assert network.exits == ("features.4",)
    values = {"student.args.width": 2.0, "student.args.stem": 16}
    full = widths(structure.build(structure.configure(CFG, values, {}), task, 8))
    values["prune.ratio"] = 0.5
    half = widths(structure.build(structure.configure(CFG, values, {}), task, 8))
    assert half == {name: count // 2 for name, count in full.items()}


class Pairs(nn.Module):
    """Two branches for the training, which are one convolution when it runs."""

    def __init__(self, channels: int = 1, **others: Any) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(channels, 16, 1), nn.Conv2d(channels, 16, 1)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.whole(x) if hasattr(self, "whole") else self.first(x) + self.second(x)
        logits: torch.Tensor = self.head(x.relu().mean((2, 3)))
        return logits

    def fuse(self) -> None:
        self.whole = nn.Conv2d(self.first.in_channels, 16, 1)
        self.whole.weight.data = self.first.weight + self.second.weight
        self.whole.bias.data = self.first.bias + self.second.bias
        del self.first, self.second


def test_branches_are_fused_before_channels_are_pruned(
    task: Task, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(registry._OURS, "pairs", f"{__name__}:Pairs")
    cfg = spaces.parse({"width": [1]}, student={"model": "pairs"}, prune={"ratio": 0.5})
    network = structure.build(cfg, task, 8)
    assert network.get_submodule("whole").out_channels == 8


def test_equal_networks_have_equal_fingerprints() -> None:
    def text(width: float, size: int = 16, **args: int) -> str:
        return structure.fingerprint("bottleneck", {"width": width, **args}, 8, size)

    assert text(0.5) == text(0.51)
    assert len({text(0.5), text(1.0), text(0.5, size=64), text(0.5, depth=2)}) == 4
    assert structure.fingerprint("mine:net", {"a": 1}, 8, 16) != structure.fingerprint(
        "mine:net", {"a": 2}, 8, 16
    )
    # An argument out of range shows where the network is built.
    assert json.loads(structure.fingerprint("mlp", {"width": -1}, 8, 16)) == ["mlp", {"width": -1}]


def test_reading_a_space_loads_neither_torch_nor_optuna() -> None:
    code = (
        "import sys, tvmkd.search.space; "
        "sys.exit(str({'torch', 'optuna'} & set(sys.modules)) if "
        "{'torch', 'optuna'} & set(sys.modules) else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_files_own_pruning_is_judged_in_one_step_and_a_run_does_the_same() -> None:
    cfg = spaces.parse({"width": [1.0]}, prune={"ratio": 0.5, "steps": 4})
    found = structure.configure(cfg, {}, {}).prune
    assert found is not None
    assert (found.steps, found.max_drop, found.ratio) == (1, 1.0, 0.5)


def test_a_path_through_a_value_is_one_line() -> None:
    cfg = spaces.parse({"width": [1.0]}, student={"args": {"blocks": [[8, 1]]}})
    with pytest.raises(InputError, match=r"^net: student.args.blocks.0: blocks is \[\[8, 1\]\]"):
        structure.configure(cfg, {"student.args.blocks.0": 3}, {}, "net")
