"""What a network learns: its data, the contract of its model, its losses and its metric.

A `Task` is all that training, pruning, quantising, export and search know of what is learnt;
nothing else asks whether it is classification or detection. Modelled on timm's ``TrainingTask``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tvmkd import models
from tvmkd.base.errors import InputError
from tvmkd.distill.curriculum import Curriculum
from tvmkd.distill.distributed import ALONE, Team
from tvmkd.distill.nested import moved
from tvmkd.models import checkpoint as files
from tvmkd.models.registry import default_dtype_kept

if TYPE_CHECKING:
    from tvmkd.config import Config

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True)
class Metric:
    """A score of a network on a split.

    Attributes:
        name: in ``metrics.json``, for example ``accuracy`` or ``mAP``.
        label: in front of the number, for people.
        scale: the number is shown times this, with ``digits`` decimals and ``unit`` behind it.
        higher_is_better: the direction.
    """

    name: str
    label: str = ""
    scale: float = 1.0
    digits: int = 3
    unit: str = ""
    higher_is_better: bool = True

    @property
    def key(self) -> str:
        """The name as a key of scores and histories."""
        return self.name.lower()

    def text(self, value: float) -> str:
        """The value for people, for example ``97.5%`` or ``mAP 0.301``."""
        return f"{self.label}{value * self.scale:.{self.digits}f}{self.unit}"

    def spread(self, deviation: float) -> str:
        """A standard deviation with as many digits as `text`, without label and unit."""
        return f"{deviation * self.scale:.{self.digits}f}"

    def gain(self, before: float, after: float) -> float:
        """How much better ``after`` is than ``before``; negative if it is worse."""
        return after - before if self.higher_is_better else before - after


@dataclass(frozen=True)
class Batch:
    """Training images on their way through a network.

    Attributes:
        images: float ``[N, C, H, W]``, augmented.
        labels: what the images show, as the task defines it: int64 ``[N]`` for classes, a list of
            targets for boxes.
        indices: int64 ``[N]``, positions in the training split; on the CPU.
        progress: share of the training that is done, 0 to 1.
        view: which random view of each image this is; equal numbers give equal images where the
            task has numbered views.
    """

    images: Tensor
    labels: Any
    indices: Tensor
    progress: float
    view: int = 0

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; this one if it is there already."""
        if self.images.device.type == device.type == "cpu":
            return self
        images = self.images.to(device, non_blocking=True)
        return replace(self, images=images, labels=moved(self.labels, device))


Loss = Callable[[Batch, Any], Tensor]
"""From a batch and the network's output for it (see `Task.forward`) to a scalar.

A loss that is an ``nn.Module`` may have weights: they are trained beside the network's.
"""

Imitation = Callable[[Any, Any], Tensor]
"""From a network's output and the one that it should give, without a gradient, to a scalar."""


@dataclass(frozen=True)
class Epoch:
    """One pass over the training split.

    Attributes:
        order: for each step the indices of the whole batch, int64 ``[n]``, the same in each
            process of the team; each process trains on `own`.
        number, epochs: this epoch, from 0, of how many.
        generator: where random changes to images come from; in the same state in each process.
        view: which random view of each image this epoch trains on.
        team: the processes that share each batch.
        views: number of random views of each image that come again; 0: each epoch has new ones.
    """

    order: Sequence[Tensor]
    number: int
    epochs: int
    generator: torch.Generator
    view: int = 0
    team: Team = ALONE
    views: int = 0

    def own(self, whole: Any) -> Any:
        """This process's share of a batch: of indices, images or labels."""
        return whole if self.team.size == 1 else whole[self.team.rank :: self.team.size]

    def progress(self, step: int) -> float:
        """Share of the training that is done before a step of this epoch."""
        steps = len(self.order)
        return (self.number * steps + step) / (self.epochs * steps)


@dataclass(frozen=True)
class Distilled:
    """How a student learns from a teacher.

    Attributes:
        loss: of the student; closed after the training if it has ``close``.
        identity: everything that the loss was made from, JSON-safe.
        curriculum: chooses each epoch's images; None: all, shuffled.
    """

    loss: Loss
    identity: dict[str, Any]
    curriculum: Curriculum | None = None


class Task(ABC):
    """What is learnt.

    Args:
        cfg: the whole config.
        search_in: folders to look in for a ``module:callable``.

    Attributes:
        metrics: what `evaluate` measures; the first one decides.
        classes: names of the classes.
        input_shape: of one input, batch 1: ``(1, C, H, W)``.
        sha256: of the data: images, labels and the split.
        preprocessing: what a device does to a picture before the network sees it; JSON-safe.
        variants: number of random views of each image that students see in turn, an epoch each; 0:
            new ones each epoch.
        clip: largest norm of a gradient; None: gradients are not clipped.
        labels_id: identifies the loss on labels alone in checkpoints.
        calibrates: whether `calibrate` has anything to say.
    """

    metrics: ClassVar[tuple[Metric, ...]]
    clip: ClassVar[float | None] = None
    labels_id: ClassVar[dict[str, Any]] = {"loss": "labels"}
    calibrates: ClassVar[bool] = False
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    sha256: str
    preprocessing: dict[str, Any]
    variants: int = 0

    def __init__(self, cfg: Config, search_in: Sequence[Path] = ()) -> None:
        self.cfg, self.search_in = cfg, tuple(search_in)

    @property
    def metric(self) -> Metric:
        """The metric that decides which network is better."""
        return self.metrics[0]

    # Data.

    @abstractmethod
    def count(self, split: Split) -> int:
        """Number of images in a split."""

    @abstractmethod
    def samples(self, count: int, split: Split = "test") -> NDArray[np.float32]:
        """Real inputs, evenly spread over a split: float32 ``[count, C, H, W]``.

        For exporting, calibrating and checking. Fewer if the split is smaller.
        """

    @abstractmethod
    def batches(self, epoch: Epoch) -> Generator[Batch, None, None]:
        """This process's batches of an epoch, one for each entry of ``epoch.order``.

        Decoded and changed ahead of time; channels-last, on the CPU.
        """

    def for_teacher(self) -> Task:
        """The same task with the training images of the teacher."""
        return self

    def shortened(self, split: Split, count: int) -> Task:
        """The same task with fewer images in a split, for quick scores; itself where it cannot."""
        del split, count
        return self

    def identity(self, variants: int = 0) -> dict[str, Any]:
        """What the training images depend on, JSON-safe: part of a training's identity."""
        return {"data": self.sha256, "variants": variants}

    # The model.

    def arguments(
        self, spec: str, args: Mapping[str, Any], multiple: int | None = None
    ) -> dict[str, Any]:
        """All arguments of a model: what the data and the target determine, then ``args``."""
        channels, size = self.input_shape[1], self.input_shape[-1]
        known = models.arguments(spec, len(self.classes), channels, size=size, multiple=multiple)
        return {**known, **args}

    def build(
        self,
        spec: str,
        kwargs: Mapping[str, Any],
        name: str,
        seed: int = 0,
        backbone: Path | None = None,
    ) -> nn.Module:
        """A network with the weights that ``seed`` gives, checked against the data.

        Args:
            spec: as for `tvmkd.models.build`.
            kwargs: as `arguments` gives them.
            name: for messages.
            seed: of the random weights.
            backbone: weights to start from.

        Raises:
            InputError: it cannot be built, or does not fit the data; names ``name``.
        """
        torch.manual_seed(seed)
        network = models.build(spec, search_in=self.search_in, **kwargs)
        with default_dtype_kept(f'{name} "{spec}"'):
            self.check(network, f'{name} "{spec}"')
        if backbone is not None:
            self.load_backbone(network, backbone)
        return network

    @abstractmethod
    def check(self, network: nn.Module, name: str) -> None:
        """Checks that a network takes the task's inputs and gives its outputs.

        Raises:
            InputError: it does not; starts with ``name``.
        """

    def load_backbone(self, network: nn.Module, path: Path) -> None:
        """Starts part of a network from weights.

        Raises:
            InputError: this task's networks have no such part, or the weights do not fit.
        """
        del network
        raise InputError(f"{path}: backbone weights are for detectors; leave backbone out")

    def load_weights(self, network: nn.Module, path: Path, name: str) -> None:
        """Loads a checkpoint's or plain weights into a network.

        Raises:
            InputError: as `checkpoint.load_weights`.
        """
        files.load_weights(network, path, name)

    def restore(self, path: Path) -> nn.Module:
        """The network in a checkpoint of ours, in evaluation mode, on the CPU.

        Builds what the checkpoint names: check `models.is_builtin` first if it is not trusted.

        Raises:
            InputError: the checkpoint cannot be read or its network cannot be built.
        """
        saved = files.load(path)
        network = models.build(
            saved.model["spec"], search_in=self.search_in, **saved.model["kwargs"]
        )
        files.load_weights(network, path, saved.model["spec"])
        return network.eval()

    def fixed_outputs(self, network: nn.Module) -> list[nn.Module]:
        """Layers whose number of outputs the task determines: pruning leaves those alone.

        By default the dense layers with one output a class.
        """
        return [
            module
            for module in network.modules()
            if isinstance(module, nn.Linear) and module.out_features == len(self.classes)
        ]

    def metadata(self, network: nn.Module) -> dict[str, str]:
        """What a checkpoint and an ONNX file of the network say about its outputs."""
        del network
        return {}

    def calibrate(
        self, network: nn.Module, run: Callable[[Tensor], Any], team: Team = ALONE
    ) -> dict[str, str]:
        """What `metadata` says, with what the validation data says about a trained network.

        Args:
            network, run, team: as for `measure`.
        """
        del run, team
        return self.metadata(network)

    # Training.

    def forward(self, network: nn.Module, images: Tensor) -> Any:
        """The network's output for a batch, as the losses take it."""
        return network(images)

    @abstractmethod
    def loss(self, network: nn.Module) -> Loss:
        """The loss on labels alone: how teachers and baselines are trained."""

    def student_loss(self, network: nn.Module) -> Loss:
        """The loss on labels alone of students, where it is not that of teachers."""
        return self.loss(network)

    @property
    def student_labels_id(self) -> dict[str, Any]:
        """Identifies `student_loss` in checkpoints."""
        return self.labels_id

    def imitation(self) -> Imitation | None:
        """How far a network's output is from another one's: how it learns the other's answers.

        None where the task does not say; a network then learns from labels alone.
        """
        return None

    def check_distillation(self, student: nn.Module, teacher: nn.Module) -> None:  # noqa: B027
        """Checks, before either is trained, that a student can learn from a teacher.

        Raises:
            InputError: it cannot; says why.
        """

    def distillation(
        self, student: nn.Module, teacher: nn.Module, folder: Path, team: Team
    ) -> Distilled:
        """How ``student`` learns from ``teacher``.

        Args:
            student: to be trained.
            teacher: trained and frozen, on ``team``'s device.
            folder: for what the teacher answers and need not be asked again.
            team: the processes that train together.

        Raises:
            InputError: the two do not fit together, or the folder cannot be written.
        """
        raise InputError(f'{type(self).__name__} has no distillation; set distill.loss = "ce"')

    # Measuring.

    @abstractmethod
    def measure(
        self,
        network: nn.Module,
        run: Callable[[Tensor], Any],
        split: Split,
        team: Team = ALONE,
    ) -> dict[str, float]:
        """Scores whatever computes a network's outputs: PyTorch, ONNX Runtime, an artifact.

        Args:
            network: says how its outputs are read; it is not run.
            run: from float32 images ``[n, C, H, W]`` on the CPU to the network's outputs, as a
                tensor or a tuple of tensors in the order of the ONNX file.
            split: all its images are measured, shared out over ``team``.

        Returns:
            By the metrics' keys; the same in each process.
        """

    def evaluate(self, network: nn.Module, split: Split, team: Team = ALONE) -> dict[str, float]:
        """Scores a network on a whole split, in full precision: it is what is exported.

        The network is in evaluation mode afterwards.

        Returns:
            By the metrics' keys; the same in each process of ``team``.
        """
        return self.measure(network, running(network, team), split, team)

    def answers(self, network: nn.Module, run: Callable[[Tensor], Any], split: Split) -> Any:
        """What a network answers to each image of a split, for `agreement`; see `measure`.

        None where the task does not say when two answers are the same.
        """
        del network, run, split
        return None

    def agreement(self, first: Any, second: Any) -> float:
        """The share, 0 to 1, of the answers of ``first`` that ``second`` gives too."""
        raise NotImplementedError(f"{type(self).__name__} has answers but no agreement")

    def score(self, network: nn.Module, split: Split, team: Team = ALONE) -> float:
        """The deciding metric of `evaluate`."""
        return self.evaluate(network, split, team)[self.metric.key]

    def chance(self, split: Split) -> float | None:
        """The best score on a split that needs no learning; None: not known."""
        del split
        return None

    def doubt(self, teacher: nn.Module, score: float, team: Team, *, given: bool) -> str | None:
        """What is probably wrong with a teacher, in one line; None: nothing.

        Args:
            teacher: frozen, on ``team``'s device.
            score: of the deciding metric, on the test split.
            team: every process calls this.
            given: its weights come from elsewhere.
        """
        del teacher, team, given
        chance, metric = self.chance("test"), self.metric
        if chance is None or metric.gain(chance, score) > 0:
            return None
        return (
            f"the teacher scores {metric.text(score)}, no better than guessing "
            f"({metric.text(chance)}): check its checkpoint, the order of its classes and its "
            "preprocessing, or train it longer"
        )

    # Reporting.

    @property
    def loss_name(self) -> str:
        """The loss on the teacher's outputs, for a checkpoint's metadata."""
        return self.cfg.distill.loss

    def sections(self) -> dict[str, Any]:
        """Sections of the config to read the numbers with, for ``metrics.json``."""
        return {"distill": self.cfg.distill.model_dump(mode="json")}

    def describe_data(self) -> dict[str, Any]:
        """The data, for ``metrics.json``."""
        return {
            "sha256": self.sha256,
            "classes": list(self.classes),
            "shape": list(self.input_shape),
            "images": {split: self.count(split) for split in SPLITS},
            "preprocessing": self.preprocessing,
        }


def running(network: nn.Module, team: Team = ALONE) -> Callable[[Tensor], Any]:
    """What runs a network that is on the team's device, as `Task.measure` wants it.

    The network is in evaluation mode afterwards.
    """
    network.eval()

    def run(images: Tensor) -> Any:
        if images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode():
            return network(images.to(team.device))

    return run
