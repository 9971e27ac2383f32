from __future__ import annotations

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from small import small
from torch import Tensor, nn

from tvmkd.base.errors import InputError
from tvmkd.distill import distill
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.task import Batch, Epoch, Loss, Metric, Split, Task


class Line(Task):
    """A user's own task: four numbers to their sum; the error of which is to be small."""

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("error", higher_is_better=False),)
    classes = ("sum",)
    input_shape = (1, 4)
    sha256 = "line"
    preprocessing: ClassVar[dict[str, Any]] = {}

    def inputs(self, split: Split) -> Tensor:
        seed = {"train": 0, "val": 1, "test": 2}[split]
        return torch.rand(self.count(split), 4, generator=torch.Generator().manual_seed(seed))

    def count(self, split: Split) -> int:
        return 64 if split == "train" else 8

    def samples(self, count: int, split: Split = "test") -> Any:
        return self.inputs(split)[:count].numpy()

    def batches(self, epoch: Epoch) -> Generator[Batch, None, None]:
        values = self.inputs("train")
        for step, whole in enumerate(epoch.order):
            own = epoch.own(whole)
            labels = values[own].sum(1, keepdim=True)
            yield Batch(values[own], labels, own, epoch.progress(step))

    def check(self, network: nn.Module, name: str) -> None:
        if network(torch.zeros(1, 4)).shape != (1, 1):
            raise InputError(f"{name}: gives no sum")

    def loss(self, network: nn.Module) -> Loss:
        return lambda batch, output: (output - batch.labels).square().mean()

    def measure(
        self, network: nn.Module, run: Callable[[Tensor], Any], split: Split, team: Team = ALONE
    ) -> dict[str, float]:
        values = self.inputs(split)
        return {"error": float((run(values) - values.sum(1, keepdim=True)).abs().mean())}


def test_a_users_own_task_is_trained_and_the_least_error_is_chosen(tmp_path: Path) -> None:
    cfg = small(
        data={"batch_size": 16},
        student={"model": "torch.nn:Linear", "args": {"in_features": 4, "out_features": 1}},
        distill={"loss": "ce", "epochs": 30, "lr": 0.05, "seeds": [0, 1, 2]},
    )
    result = distill(cfg, tmp_path, task=Line(cfg))
    errors = [run.val_accuracy for run in result.runs]
    assert result.chosen.val_accuracy == min(errors) < 0.3
    assert "error" in result.metrics.read_text()


def test_a_task_without_distillation_says_so(tmp_path: Path) -> None:
    cfg = small(
        teacher={"model": "torch.nn:Linear", "args": {"in_features": 4, "out_features": 1}},
        student={"model": "torch.nn:Linear", "args": {"in_features": 4, "out_features": 1}},
    )
    task = Line(cfg)
    network = nn.Linear(4, 1)
    with pytest.raises(InputError, match=r'Line has no distillation; set distill.loss = "ce"'):
        task.distillation(network, network, tmp_path, ALONE)


@pytest.mark.parametrize(
    ("metric", "text", "spread"),
    [
        (Metric("accuracy", scale=100, digits=1, unit="%"), "97.5%", "0.6"),
        (Metric("mAP", label="mAP "), "mAP 0.975", "0.006"),
    ],
)
def test_a_metric_is_written_for_people(metric: Metric, text: str, spread: str) -> None:
    assert (metric.text(0.975), metric.spread(0.0061)) == (text, spread)
    assert metric.key == metric.name.lower()


def test_the_gain_has_the_metrics_direction() -> None:
    assert Metric("accuracy").gain(0.5, 0.75) == 0.25
    assert Metric("error", higher_is_better=False).gain(0.5, 0.75) == -0.25


def test_an_epoch_shares_and_counts() -> None:
    epoch = Epoch(
        order=[torch.arange(4), torch.arange(4, 8)],
        number=1,
        epochs=2,
        generator=torch.Generator(),
        team=Team(1, 2, torch.device("cpu")),
    )
    assert epoch.own(epoch.order[1]).tolist() == [5, 7]
    assert [epoch.progress(step) for step in range(2)] == [0.5, 0.75]


def test_evaluation_is_in_evaluation_mode_and_full_precision() -> None:
    task = Line(small())
    network = nn.Sequential(nn.Dropout(1.0), nn.Linear(4, 1)).train()
    nn.init.ones_(network[1].weight)
    nn.init.zeros_(network[1].bias)
    assert task.score(network, "test") == pytest.approx(0.0, abs=1e-6)
    assert not network.training
    assert task.samples(3).dtype == np.float32


def test_a_task_need_not_say_how_networks_imitate_each_other() -> None:
    assert Line(small()).imitation() is None


def test_a_task_need_not_be_able_to_leave_out_images() -> None:
    task = Line(small())
    assert task.shortened("val", 2) is task
