from __future__ import annotations

from pathlib import Path
from typing import Any

import latencies
import pytest
import torch
from torch import nn

from tvmkd import config
from tvmkd.base.errors import InputError
from tvmkd.distill import tasks
from tvmkd.distill.classification import ClassificationTask
from tvmkd.early_exit.produce import exit_logits
from tvmkd.early_exit.selection import within_drop
from tvmkd.models.early_exit import EarlyExitNet
from tvmkd.search import exits

SHAPE = (1, 1, 16, 16)


@pytest.fixture(scope="module")
def network() -> EarlyExitNet:
    torch.manual_seed(0)
    args = {"stem": 8, "blocks": [[16, 1], [32, 2]]}
    return EarlyExitNet("depthwise", args, ["features.3", "features.4"], 10, SHAPE).eval()


def test_a_network_until_an_exit(network: EarlyExitNet) -> None:
    images = torch.randn(SHAPE)
    with torch.no_grad():
        wanted = [network(images), *network.branch_logits]
        last = wanted.pop(0)
        for number in range(3):
            found = exits.Until(network, number)(images)
            assert len(found) == number + 1
            for one, other in zip(found, [*wanted, last], strict=False):
                torch.testing.assert_close(one, other)
    assert network.features == []
    plain = nn.Linear(2, 2)
    assert exits.everything(plain) is plain
    assert len(exits.everything(network)(images)) == 3


def test_each_exit_costs_another_call(network: EarlyExitNet) -> None:
    latency = latencies.Staircase(fixed=0.5)
    found = exits.times(latency, network, SHAPE)
    asked = [one.last for one in latency.asked if isinstance(one, exits.Until)]
    assert asked == [0, 1, 2]
    assert [one.fixed for one in found] == [0.5, 1.0, 1.5]
    base = latency.predict_model(network, SHAPE).seconds
    assert [one.seconds for one in found] == pytest.approx([base, base + 0.5, base + 1.0])
    assert [one.high - one.low for one in found] == pytest.approx([0.2 * base] * 3)


def test_the_mean_over_images(network: EarlyExitNet) -> None:
    found = exits.times(latencies.Staircase(fixed=0.5), network, SHAPE)
    mean = exits.mean_seconds(found, [0.5, 0.25, 0.25])
    assert mean == pytest.approx(found[0].seconds + 0.5 * 0.25 + 1.0 * 0.25)
    with pytest.raises(ValueError, match="3 exits, and shares"):
        exits.mean_seconds(found, [0.5, 0.5])


def test_the_images_that_leave_at_each_exit(network: EarlyExitNet) -> None:
    data = {"project": {"name": "a"}, "data": {"image_size": 16}}
    task = tasks.make(config.parse(data))
    costs = exits.times(latencies.Staircase(fixed=0.5), network, SHAPE)
    # Where every image may become wrong, all leave at the first exit.
    assert exits.rates(network, task, costs, max_drop=1.0) == (1.0, 0.0, 0.0)
    assert isinstance(task, ClassificationTask)
    labels = task.splits.val.labels.numpy()
    logits = exit_logits(network, task.splits.val)
    # As the stage calibrates them, with temperatures.
    wanted = within_drop(logits, labels, [each.seconds for each in costs], 0.02)
    assert exits.rates(network, task, costs, max_drop=0.02) == wanted.rates
    assert wanted.accuracy >= wanted.full_accuracy - 0.02
    with pytest.raises(InputError, match="early exits are for classifiers"):
        exits.rates(network, object(), costs, 0.0)  # type: ignore[arg-type]


def test_in_another_precision_files_are_predicted(network: EarlyExitNet, tmp_path: Path) -> None:
    written: list[tuple[int, int]] = []

    class Latency(latencies.Staircase):
        def predict_model(self, model: Any, shape: Any = None) -> Any:
            assert shape is None or not isinstance(model, Path) or model.parent == tmp_path
            return super().predict_model(network, SHAPE)

    def file(part: nn.Module, number: int) -> Path:
        assert isinstance(part, exits.Until)
        written.append((part.last, number))
        return tmp_path / f"{number}.onnx"

    assert len(exits.times(Latency(), network, SHAPE, file)) == 3
    assert written == [(0, 0), (1, 1), (2, 2)]
