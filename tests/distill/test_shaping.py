"""Learning a structure in the first part of a training; what shapes it is a stand-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from small import small
from torch import Tensor, nn

from tvmkd import models
from tvmkd.distill import distill
from tvmkd.distill.shaping import Shaped, epochs
from tvmkd.distill.task import Task
from tvmkd.models import checkpoint


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Weighed(nn.Module):
    """A loss with a weight, as choices are."""

    def __init__(self, inner: Any, closed: list[bool]) -> None:
        super().__init__()
        self.inner, self.closed = inner, closed
        self.choice = nn.Parameter(torch.zeros(1))

    def forward(self, batch: Any, output: Any) -> Tensor:
        loss: Tensor = self.inner(batch, output) + (self.choice - 1).square().sum()
        return loss

    def close(self) -> None:
        self.closed.append(True)
        if hasattr(self.inner, "close"):
            self.inner.close()


class Halving:
    """A `Shaper` and `Shaping` that replaces the student by one with half of the channels."""

    def __init__(self) -> None:
        self.identity = {"half": True}
        self.seen: list[tuple[str, int]] = []
        self.closed: list[bool] = []
        self.paces: list[float] = []
        self.moved = 0.0

    def soften(
        self, network: nn.Module, model: Mapping[str, Any], task: Task, pace: float, leader: bool
    ) -> Halving:
        assert leader
        self.paces.append(pace)
        return self

    def after_checkpoint(self, path: Path, epoch: int, network: nn.Module) -> None:
        self.seen.append((path.parent.name, epoch))

    def loss(self, inner: Any) -> nn.Module:
        self.made = Weighed(inner, self.closed)
        return self.made

    def shaped(self) -> Shaped:
        assert self.closed, "hooks are off the network when it is cut"
        self.moved = float(self.made.choice.detach())
        torch.manual_seed(7)
        model = {
            "spec": "depthwise",
            "kwargs": {"classes": 10, "channels": 1, "stem": 8, "blocks": [[16, 1]]},
        }
        network = models.build(model["spec"], **model["kwargs"])
        return Shaped(network, model, {"ratio": 0.5, "summary": "half of it"})


def test_the_epochs_are_shared_out_with_one_for_each_part() -> None:
    assert epochs(10, 0.5) == (5, 5)
    assert epochs(10, 0.01) == (1, 9)
    assert epochs(10, 0.99) == (9, 1)
    assert epochs(2, 0.5) == (1, 1)


SECTION = {"latency": "table", "latency_weight": 1.0, "epochs": 5, "shaping": 0.4, "seeds": [0]}


def test_a_student_is_shaped_then_cut_and_trained_on(tmp_path: Path) -> None:
    shaper, after = Halving(), list[tuple[str, int]]()
    result = distill(
        small(distill={**SECTION, "baseline": False}),
        tmp_path,
        shaper=shaper,
        after_checkpoint=lambda path, epoch, network: after.append((path.parent.name, epoch)),
        checkpoint_seconds=0,
    )
    assert shaper.seen == [("shaping", 1), ("shaping", 2)]
    assert after == [("students", 1), ("students", 2), ("students", 3)]
    # 256 images in batches of 64, 2 epochs, and a mean learning rate of half of 4e-3.
    assert shaper.paces == [pytest.approx(4 * 2 * 2e-3)]
    assert shaper.moved > 0, "the choices are trained"
    saved = checkpoint.load(result.checkpoint)
    assert saved.model["kwargs"]["blocks"] == [[16, 1]]
    assert result.chosen.shape is not None
    assert result.chosen.shape["macs"] == result.student.macs
    assert result.lines()[-1] == "distilled, seed 0: half of it"


def test_only_the_training_after_the_cut_averages_weights(tmp_path: Path) -> None:
    found: dict[str, bool] = {}

    def seen(path: Path, epoch: int, network: nn.Module) -> None:
        found[f"{path.parent.name} {epoch}"] = "ema" in (checkpoint.load(path).optimizer or {})

    shaper = Halving()
    shaper.after_checkpoint = seen  # type: ignore[method-assign]
    section = {**SECTION, "epochs": 4, "shaping": 0.5, "loss": "ce", "ema": 0.9}
    distill(
        small(distill=section), tmp_path, shaper=shaper, after_checkpoint=seen, checkpoint_seconds=0
    )
    assert found == {
        "shaping 1": False,
        "shaping 2": False,
        "students 1": True,
        "students 2": False,  # it is finished
    }


def test_finished_parts_are_not_trained_again(tmp_path: Path) -> None:
    cfg = small(distill={**SECTION, "baseline": False})
    first = distill(cfg, tmp_path, shaper=Halving())
    shaper = Halving()
    again = distill(cfg, tmp_path, shaper=shaper, checkpoint_seconds=0)
    assert shaper.seen == []
    assert again.accuracies("distilled") == first.accuracies("distilled")


def test_another_shaper_starts_again(tmp_path: Path) -> None:
    cfg = small(distill={**SECTION, "loss": "ce"})
    distill(cfg, tmp_path, shaper=Halving())
    other = Halving()
    other.identity = {"half": False}
    distill(cfg, tmp_path, shaper=other, checkpoint_seconds=0)
    assert other.seen == [("shaping", 1), ("shaping", 2)]


def test_the_latency_counts_when_the_best_student_is_chosen(tmp_path: Path) -> None:
    class Uneven(Halving):
        ratios = iter([0.9, 0.1])

        def shaped(self) -> Shaped:
            found = super().shaped()
            return Shaped(found.network, found.model, {**found.facts, "ratio": next(self.ratios)})

    section = {**SECTION, "loss": "ce", "seeds": [0, 1], "latency_weight": 100.0}
    result = distill(small(distill=section), tmp_path, shaper=Uneven())
    assert result.chosen.seed == 1
