"""The time of a network with early exits: how long until each exit, and the mean over images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from tvmkd.base.errors import InputError

if TYPE_CHECKING:
    from tvmkd.distill.task import Task
    from tvmkd.models.early_exit import EarlyExitNet
    from tvmkd.search.latency.prediction import Latency, Prediction


class Until(nn.Module):
    """A network with exits, up to one of them: what runs for an image that leaves there.

    Args:
        network: the network.
        last: number of the exit, from 0; that of the network itself is the last.
    """

    def __init__(self, network: EarlyExitNet, last: int) -> None:
        super().__init__()
        self.network, self.last = network, last

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """The logits of the exits in order, each ``[N, classes]``."""
        logits = self.network(images)
        branches = self.network.branch_logits
        self.network.features = []
        return (*branches, logits)[: self.last + 1]


def everything(network: nn.Module) -> nn.Module:
    """A network with exits, all of which run; any other network as it is."""
    from tvmkd.models.early_exit import EarlyExitNet

    return Until(network, len(network.exits)) if isinstance(network, EarlyExitNet) else network


def times(
    latency: Latency,
    network: EarlyExitNet,
    shape: Sequence[int],
    file: Callable[[nn.Module, int], Path] | None = None,
) -> list[Prediction]:
    """The predicted time of an image that leaves at each exit, the last one included.

    A network with exits is run in pieces, one for each exit; each costs a call.

    Args:
        latency: of the target.
        network: in evaluation mode.
        shape: of the input, batch first.
        file: writes what runs until an exit as an ONNX file in another precision than FP32.

    Raises:
        InputError: it cannot be exported or compiled.
    """
    found = []
    for exit_number in range(len(network.exits) + 1):
        part = Until(network, exit_number)
        one = latency.predict_model(file(part, exit_number) if file else part, shape)
        more = exit_number * one.fixed
        found.append(
            replace(
                one,
                seconds=one.seconds + more,
                low=one.low + more,
                high=one.high + more,
                fixed=one.fixed + more,
            )
        )
    return found


def rates(
    network: EarlyExitNet, task: Task, predictions: Sequence[Prediction], max_drop: float
) -> tuple[float, ...]:
    """The share of the validation images that leave at each exit of a trained network.

    Args:
        network: on the CPU, in evaluation mode.
        task: a classification.
        predictions: of each exit, as `times` gives them.
        max_drop: largest share of images that may become wrong by leaving early.

    Raises:
        InputError: the task is not a classification; or a logit is not finite.
    """
    from tvmkd.distill.classification import ClassificationTask
    from tvmkd.early_exit.produce import exit_logits
    from tvmkd.early_exit.selection import within_drop

    if not isinstance(task, ClassificationTask):
        raise InputError("early exits are for classifiers")
    images = task.splits.val
    costs = [prediction.seconds for prediction in predictions]
    labels = images.labels.numpy()
    return within_drop(exit_logits(network, images), labels, costs, max_drop).rates


def mean_seconds(predictions: Sequence[Prediction], shares: Sequence[float]) -> float:
    """The mean time of an image.

    Args:
        predictions: of each exit, as `times` gives them.
        shares: of the images that leave at each exit, as `rates` finds them; they add up to 1.
    """
    if len(predictions) != len(shares) or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"{len(predictions)} exits, and shares {list(shares)}")
    pairs = zip(predictions, shares, strict=True)
    return sum(prediction.seconds * share for prediction, share in pairs)
