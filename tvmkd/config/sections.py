"""The sections of a ``tvmkd.toml`` about the run, the networks and training."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    StrictFloat,
    StrictInt,
    StrictStr,
    field_validator,
    model_validator,
)

from tvmkd.base import user_code
from tvmkd.base.text import suggest_or_own
from tvmkd.config.budget import Budget, parse_budget
from tvmkd.config.data import AugmentName
from tvmkd.config.fields import Count, Decay, Fraction, NotNegative, Positive, Section, Seed
from tvmkd.config.losses import checked, defaults

LOGGERS = ("tensorboard", "mlflow")
"""Names for ``[project] log_to``; see tvmkd.distill.loggers."""
LATENCIES = ("macs", "table")
"""Names for ``[distill] latency``."""


class Project(Section):
    """``[project]``: the run's name, folder and seed."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Name of the run: letters, digits, dots, dashes and underscores."""
    out: Path = Path()
    """The run's folder. Without it: ``runs/NAME``."""
    seed: Seed = 0
    """Seed of the teacher's training and of everything else that has no seed of its own."""
    log_to: str | None = None
    """Where the numbers of each training epoch go, besides ``training.html``: ``tensorboard``, into
    the folder ``tensorboard`` of the run; ``mlflow``, to ``MLFLOW_TRACKING_URI`` or else into
    ``mlflow.db`` in the run's folder; or your own: the ``module:callable`` of a function that is
    called with the training's name, the epoch and a dict of numbers. Changes no result."""

    @field_validator("log_to")
    @classmethod
    def _log_known(cls, name: str | None) -> str | None:
        if name is not None and name not in LOGGERS and not user_code.is_own(name):
            raise ValueError(f'there is no logger "{name}"' + suggest_or_own(name, LOGGERS))
        return name

    @model_validator(mode="before")
    @classmethod
    def _default_out(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" in data and "out" not in data:
            return {**data, "out": f"runs/{data['name']}"}
        return data


class Member(Section):
    """``[[teacher.ensemble]]``: one more teacher; the answers of all are averaged."""

    model: str | None = None
    """As ``[teacher] model``. Without it: the same, from another seed or checkpoint."""
    args: dict[str, Any] | None = None
    """Keyword arguments of the model. Without it: those of ``[teacher]`` if ``model`` is not given
    either."""
    checkpoint: Path | None = None
    """Weights to use in place of training, as ``[teacher] checkpoint``. Without it: trained as the
    teacher is."""


class Assistant(Section):
    """``[[teacher.assistants]]``: a network between teacher and student. It is distilled from the
    one before it, and the student from the last."""

    model: str
    """As ``[teacher] model``."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the model, as a TOML table."""
    epochs: Count = 10
    """Training epochs."""
    lr: Positive = 2e-3
    """Highest learning rate."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of the optimiser."""


class Teacher(Section):
    """``[teacher]``: trained here, or read from ``checkpoint`` (then not trained)."""

    model: str = "residual"
    """A registered name, ``torchvision:NAME``, ``timm:NAME``, or ``module:callable``, which returns
    an ``nn.Module``."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the model, as a TOML table."""
    epochs: Annotated[int, Field(ge=0)] = 10
    """Training epochs. 0: the network is used as the callable returns it."""
    lr: Positive = 2e-3
    """Highest learning rate."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of the optimiser."""
    batch_size: Count | None = None
    """Training images in a batch. Without it: that of ``[data]``."""
    ema: Decay = 0.0
    """As ``[distill] ema``, for the teacher."""
    augment: AugmentName | None = None
    """Augmentation of the teacher's training images, for classifiers. Without it: that of
    ``[data]``."""
    checkpoint: Path | None = None
    """Weights to use in place of training: a checkpoint of tvmkd, safetensors, or a ``state_dict``
    as other trainers save it (under ``model_state_dict``, ``net``, ``ema``, with a prefix...). A
    whole pickled model is refused, because reading it would run code."""
    backbone: Path | None = None
    """Detectors: weights of a classifier that initialise the backbone."""
    stop_at: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of the epochs after which the training ends, with the learning rates of all of them: a
    teacher of an earlier epoch may teach a small student better (Cho and Hariharan, 2019)."""
    ensemble: list[Member] = Field(default_factory=list)
    """More teachers, for classifiers."""
    average: Literal["logits", "probabilities"] = "logits"
    """``ensemble``: what is averaged. Of ``probabilities`` the student sees the logarithm, which
    has no lower bound where all teachers are sure: rather for ``kd`` than for ``mse``."""
    assistants: list[Assistant] = Field(default_factory=list)
    """Networks between teacher and student, for classifiers, the largest first."""

    @model_validator(mode="after")
    def _consistent(self) -> Teacher:
        given = self.checkpoint is not None and all(one.checkpoint for one in self.ensemble)
        if self.stop_at < 1 and (given or self.epochs == 0):
            raise ValueError("stop_at is for a teacher that is trained here")
        if self.average != "logits" and not self.ensemble:
            raise ValueError("average has no effect without [[teacher.ensemble]]")
        if self.ensemble and self.backbone is not None:
            raise ValueError("backbone and [[teacher.ensemble]] do not go together")
        return self

    @property
    def members(self) -> list[Teacher]:
        """The section of each teacher of the ensemble, this one's first, without the others."""
        alone = {"ensemble": [], "assistants": [], "average": "logits"}
        found = [self.model_copy(update=alone)] if self.ensemble or self.assistants else [self]
        for one in self.ensemble:
            same = one.model is None
            changes = {
                "model": self.model if one.model is None else one.model,
                "args": one.args if one.args is not None else self.args if same else {},
                "checkpoint": one.checkpoint,
            }
            found.append(found[0].model_copy(update=changes))
        return found

    @property
    def specs(self) -> list[str]:
        """The models of the ensemble and the assistants."""
        return [*(one.model for one in self.members), *(one.model for one in self.assistants)]

    @property
    def last(self) -> int | None:
        """The epoch after which the training ends; None: after all."""
        last = max(1, round(self.stop_at * self.epochs))
        return last if last < self.epochs else None


class Student(Section):
    """``[student]``: the network to distil into."""

    model: str = "depthwise"
    """A registered name, ``torchvision:NAME``, ``timm:NAME``, or ``module:callable``, which returns
    an ``nn.Module``."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the model, as a TOML table."""
    images: Count | None = None
    """Number of training images of the students, evenly by class, for classifiers: a network that
    was trained on more teaches one for which there are few. Without it: all, as the teacher."""
    checkpoint: Path | None = None
    """Weights to use in place of training, in any form that ``[teacher] checkpoint`` may have: no
    student is trained, and the teacher only where a later section needs it."""
    backbone: Path | None = None
    """Detectors: weights of a classifier that initialise the backbone."""
    reparam: Count | None = None
    """Trains each convolution that a batch normalisation follows as so many parallel ones, one of
    1×1 and the identity, which are fused into it afterwards: the student has the same size and
    speed. Its training takes longer."""

    @model_validator(mode="after")
    def _trained(self) -> Student:
        if self.checkpoint is not None and self.reparam is not None:
            raise ValueError("reparam has no effect with a checkpoint: no student is trained")
        return self


class Feature(Section):
    """``[[distill.features]]``: one more loss, between the outputs of two modules."""

    loss: Literal["hint", "attention", "contrastive", "self-attention"]
    """The loss between the two outputs."""
    student: str
    """Path of the student's module, as in ``named_modules()``."""
    teacher: str
    """Path of the teacher's module, as in ``named_modules()``."""
    weight: Positive = 1.0
    """Factor of this loss in the sum."""
    schedule: Literal["constant", "decay", "ramp"] = "constant"
    """The factor over the training: constant; a cosine from 1 to 0; or a rise over the first
    fifth."""


class Logits(Section):
    """``[[distill.logits]]``: one more loss, between the logits of student and teacher."""

    loss: Annotated[str, AfterValidator(checked)]
    """As ``[distill] loss``. Of a registered loss only the part with the teacher is added, of a
    ``module:callable`` all."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the loss, such as ``temperature``."""
    standardize: bool = False
    """As ``[distill] standardize``, for this loss."""
    weight: Positive = 1.0
    """Factor of this loss in the sum."""
    schedule: Literal["constant", "decay", "ramp"] = "constant"
    """The factor over the training: constant; a cosine from 1 to 0; or a rise over the first
    fifth."""

    @field_validator("loss")
    @classmethod
    def _with_a_teacher(cls, name: str) -> str:
        if name == "ce":
            raise ValueError("ce has no teacher: the labels have their weight in [distill] alpha")
        return name


class Distill(Section):
    """``[distill]``: the loss on the logits, and the training of the students."""

    loss: Annotated[str, AfterValidator(checked)] = "kd"
    """``kd`` (Hinton et al., 2015), ``dkd`` (Zhao et al., 2022), ``dist`` (Huang et al., 2022),
    ``mlkd`` (Jin et al., 2023), ``nkd`` (Yang et al., 2023), ``mse`` (Ba and Caruana, 2014),
    ``ce``: no teacher, or your own: the ``module:callable`` of a function or class that compares
    the logits of student and teacher (see ``tvmkd.distill.losses.make``)."""
    loss_args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the loss, for example ``gamma`` of ``dist`` and ``nkd``,
    ``temperatures`` of ``mlkd``, or those of a ``module:callable``."""
    standardize: bool = False
    """The part with the teacher sees z-scores of both networks' logits (Sun et al., 2024);
    ``temperature`` is then the base temperature."""
    alpha: Fraction = 0.1
    """Weight of the loss on the labels; ``1 - alpha`` is the teacher's. Without it: 0.5 for
    ``dist`` and ``nkd``, 0.011 for ``kd``, ``dkd`` and ``mlkd`` with ``standardize``, as in their
    papers."""
    temperature: Positive = 4.0
    """Temperature of both softmaxes. Without it: 1 for ``dist`` and ``nkd``, 2 for ``kd`` and
    ``dkd`` with ``standardize``. ``mlkd`` has ``temperatures`` in ``loss_args``, ``mse`` none."""
    beta: NotNegative = 8.0
    """``dkd``: weight of the non-target classes; ``dist``: of the relation between classes (without
    it: 2)."""
    logits: list[Logits] = Field(default_factory=list)
    """More losses on the logits."""
    epochs: Count = 10
    """Training epochs of each student."""
    lr: Positive = 2e-3
    """Highest learning rate."""
    weight_decay: NotNegative = 5e-4
    """Weight decay of the optimiser."""
    optimizer: Literal["adamw", "sgd", "dot"] = "adamw"
    """Optimiser of the students. ``sgd`` has momentum and needs a larger ``lr``, such as 0.05.
    ``dot`` is SGD with a larger momentum for the teacher's part of the loss than for that of the
    labels (Zhao et al., 2023, "DOT"); a student without a teacher has ``sgd`` then."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """``sgd``, ``dot``: momentum."""
    delta: NotNegative = 0.075
    """``dot``: the momentum is larger by this for the teacher, smaller by this for the labels."""
    ema: Decay = 0.0
    """Decay of an exponential moving average of the weights, for example 0.999: each step keeps
    this share of the average; the first steps keep less. The average is what is scored, saved and
    exported. 0: off. Not used while a structure is learnt, nor by ``[prune]`` and ``[quantize]``,
    which start from the averaged student."""
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [0, 1, 2])
    """One student is trained for each seed. They must differ."""
    baseline: bool = True
    """Also train each student without the teacher."""
    latency: str = "macs"
    """What ``latency_weight`` is a factor of. ``macs``: millions of multiply-accumulates; they move
    no weight and count only when the best student is chosen. ``table``: the latency that a latency
    table of the target predicts, as a share of the whole student's; the structure of each student
    is learnt with it in the loss. Or your own latency model: the ``module:callable`` of a function
    that takes the student (a ``torch.nn.Module``) and returns one number; a tensor with a gradient
    to the weights is added to the loss, another number counts like ``macs``."""
    latency_weight: NotNegative = 0.0
    """Factor of the student's latency: see ``latency``. 0: accuracy alone, nothing is taken out."""
    table: Path | None = None
    """``table``: folder of the latency table. Without it: that of ``[search]``, or
    ``search/table`` in the run's folder."""
    shape: Annotated[tuple[Literal["width", "depth"], ...], Field(min_length=1)] = (
        "width",
        "depth",
    )
    """``table``: what may be taken out of the student: channels (``width``), residual blocks
    (``depth``)."""
    shaping: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    """``table``: share of the epochs in which the structure is learnt; in the others the student
    that was cut out is trained on."""
    watch: StrictStr | StrictInt | StrictFloat | None = None
    """Latency budget, a text such as ``8ms`` or a number of milliseconds: checkpoints are compiled
    with the tuned kernels there are and run on the target, and the training ends with exit code 1
    if the median is over it."""
    watch_every: NotNegative = 60.0
    """``watch``: least seconds between two measurements. The first checkpoint and the finished
    student are measured in any case."""
    features: list[Feature] = Field(default_factory=list)
    """Losses between intermediate outputs."""
    views: Annotated[int, Field(ge=0)] = 0
    """Augmented views of each image, one an epoch in turn, for classifiers; the teacher's logits of
    each view are computed once and cached on disk, for all seeds. 0: new views each epoch, and the
    teacher is run each time. Detectors have ``[detection] variants``."""
    hard_mining: NotNegative = 0.0
    """Extra weight of images on which the teacher is confident and the student differs. 0: off."""
    curriculum: Literal["none", "linear", "root", "step"] = "none"
    """How fast images are added to the training, those with high teacher confidence first."""
    curriculum_start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3
    """Share of the images in the first epoch of a curriculum."""
    curriculum_full_at: Fraction = 0.7
    """Progress of the training (0 to 1) after which a curriculum uses all images."""

    @model_validator(mode="after")
    def _needs_teacher(self) -> Distill:
        asked = {
            "logits": bool(self.logits),
            "standardize": self.standardize,
            "features": bool(self.features),
            "hard_mining": self.hard_mining > 0,
            "curriculum": self.curriculum != "none",
        }
        named = [name for name, holds in asked.items() if holds]
        if self.loss == "ce" and named:
            raise ValueError(f'loss = "ce" has no teacher, and {", ".join(named)} needs one')
        return self

    @model_validator(mode="after")
    def _views_are_of_logits(self) -> Distill:
        if self.views and self.features:
            raise ValueError(
                "views keeps the teacher's logits, and features runs the teacher in each step "
                "anyway: leave one of them out"
            )
        return self

    @field_validator("latency")
    @classmethod
    def _latency_known(cls, name: str) -> str:
        if name not in LATENCIES and not user_code.is_own(name):
            raise ValueError(
                f'there is no latency model "{name}"' + suggest_or_own(name, LATENCIES)
            )
        return name

    @property
    def shaped(self) -> bool:
        """Whether the structure of students is learnt."""
        return self.latency == "table" and self.latency_weight > 0

    @property
    def limit(self) -> Budget | None:
        """The budget of ``watch``."""
        return None if self.watch is None else parse_budget(self.watch)

    @field_validator("watch")
    @classmethod
    def _a_time(cls, given: str | float | None) -> str | float | None:
        if given is not None and parse_budget(given).unit != "ms":
            raise ValueError("wants a latency such as 8ms: checkpoints are timed, not counted")
        return given

    @model_validator(mode="after")
    def _of_a_table(self) -> Distill:
        fields = type(self).model_fields
        given = [
            name
            for name in ("table", "shape", "shaping")
            if getattr(self, name) != fields[name].default
        ]
        if self.latency != "table" and given:
            raise ValueError(f'{given[0]} has no effect without latency = "table"')
        if self.shaped and self.epochs < 2:
            raise ValueError(
                'latency = "table" needs 2 epochs or more: to learn the structure, and to train on'
            )
        if len(set(self.shape)) != len(self.shape):
            raise ValueError("shape names something twice")
        return self

    @model_validator(mode="after")
    def _of_the_loss(self) -> Distill:
        for name, value in defaults(self.loss, self.standardize).items():
            if name not in self.model_fields_set:
                # Around pydantic's setter, which would note it as given: written configs would too.
                self.__dict__[name] = value
        if self.loss_args and self.loss == "ce":
            raise ValueError('loss_args has no effect with loss = "ce"')
        return self

    @model_validator(mode="after")
    def _momenta(self) -> Distill:
        used = {"adamw": (), "sgd": ("momentum",), "dot": ("momentum", "delta")}[self.optimizer]
        for name in ("momentum", "delta"):
            if name not in used and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f'{name} has no effect with optimizer = "{self.optimizer}"')
        if self.optimizer == "dot":
            if self.loss == "ce":
                raise ValueError('loss = "ce" has no teacher, and optimizer = "dot" needs one')
            if self.momentum + self.delta >= 1 or self.delta > self.momentum:
                raise ValueError(
                    f"momentum {self.momentum:g} and delta {self.delta:g} give momenta outside of "
                    "0 to 1: choose a smaller delta"
                )
            if self.shaped:
                raise ValueError(
                    'optimizer = "dot" and latency = "table" do not go together: choose one'
                )
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("the seeds must differ")
        return seeds
