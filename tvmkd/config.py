"""The ``tvmkd.toml`` schema. Unknown keys are errors that name the key and the nearest valid one.

Paths in the file are relative to the folder that tvmkd is started in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from tvmkd.base.errors import InputError
from tvmkd.base.text import suggest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Seed = Annotated[int, Field(ge=0, lt=2**32)]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Count = Annotated[int, Field(ge=1)]
EngineName = Literal[
    "torch",
    "torch.compile",
    "onnxruntime",
    "onnxruntime:cuda",
    "onnxruntime:tensorrt",
    "tensorrt",
    "tensorrt-rtx",
    "tvm:untuned",
    "tvm",
]
AugmentName = Literal["none", "affine", "flip", "camera", "camera+affine", "camera+flip"]
Effect = Literal[
    "skew", "motion", "defocus", "exposure", "white_balance", "shot_noise", "read_noise", "jpeg"
]
# The ends of a camera's ranges: beyond them nothing is left of a picture.
Pixels = Annotated[float, Field(ge=-256.0, le=256.0)]
Length = Annotated[float, Field(ge=0.0, le=256.0)]
Degrees = Annotated[float, Field(ge=-360.0, le=360.0)]
Stops = Annotated[float, Field(ge=-8.0, le=8.0)]
Gain = Annotated[float, Field(gt=0.0, le=8.0)]
Electrons = Annotated[float, Field(ge=1.0, le=1e6)]
Rms = Annotated[float, Field(ge=0.0, le=1e4)]
Quality = Annotated[float, Field(ge=1.0, le=100.0)]

ENGINES: tuple[EngineName, ...] = ("torch", "torch.compile", "onnxruntime", "tvm:untuned", "tvm")
"""Without ``[compare] engines``: those that need no NVIDIA GPU."""

DEFAULT_TRACKER_PORT = 9190


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Project(_Section):
    """``[project]``: the run's name, where its files go, and the seed of what has no own one."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    out: Path = Path()  # runs/NAME where it is not given
    seed: Seed = 0

    @model_validator(mode="before")
    @classmethod
    def _default_out(cls, data: Any) -> Any:
        if isinstance(data, dict) and "name" in data and "out" not in data:
            return {**data, "out": f"runs/{data['name']}"}
        return data


class Camera(_Section):
    """``[data.camera]``: the effects of ``augment = "camera"``, and ``[lowest, highest]`` of each.

    Pixels are those of the image that the model sees.
    """

    # The defaults are those of tvmkd.data.camera, which would load torch here; a test compares.
    effects: tuple[Effect, ...] = get_args(Effect)
    skew: tuple[Pixels, Pixels] = (-2.0, 2.0)  # rolling shutter: how far the last row moves
    motion: tuple[Length, Length] = (0.0, 3.0)  # pixels
    angle: tuple[Degrees, Degrees] = (0.0, 180.0)  # of the motion, counterclockwise from a row
    defocus: tuple[Length, Length] = (0.0, 1.0)  # radius of the blur, pixels
    exposure: tuple[Stops, Stops] = (-0.7, 0.7)
    white_balance: tuple[Gain, Gain] = (0.9, 1.1)  # red and blue, each by itself
    full_well: tuple[Electrons, Electrons] = (300.0, 5000.0)  # at white; fewer: more shot noise
    read_noise: tuple[Rms, Rms] = (1.0, 5.0)  # electrons rms
    jpeg: tuple[Quality, Quality] = (60.0, 95.0)

    @field_validator(
        "skew",
        "motion",
        "angle",
        "defocus",
        "exposure",
        "white_balance",
        "full_well",
        "read_noise",
        "jpeg",
    )
    @classmethod
    def _ordered(cls, limits: tuple[float, float]) -> tuple[float, float]:
        if limits[0] > limits[1]:
            raise ValueError("a range is [lowest, highest]")
        return limits


class Data(_Section):
    """``[data]``: the embedded digits, or a folder of images, one sub-folder a class.

    Or, for detectors, the embedded scenes, or a folder in VOC's or COCO's layout. A folder that
    holds ``train`` and ``test`` (and perhaps ``val``) is taken as it is split;
    one that holds the classes themselves is split here by the fractions and ``split_seed``.
    """

    dataset: Literal["digits", "folder", "scenes", "voc", "coco"] = "digits"
    path: Path | None = None
    image_size: Annotated[int, Field(ge=8, le=4096)] = 32
    batch_size: Count = 64
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    split_seed: Seed = 0
    workers: Annotated[int, Field(ge=0)] = 0  # threads that decode images; 0: one a core
    channels: Literal[1, 3] | None = None  # None: gray if all images looked at are gray
    augment: AugmentName = "affine"  # flip: affine, and mirrored
    camera: Camera = Field(default_factory=Camera)
    classes: list[str] = Field(default_factory=list)  # voc's class map; none: all names, sorted
    scenes: tuple[Count, Count, Count] = (600, 100, 200)  # to train, validate and test on

    @property
    def detection(self) -> bool:
        """Whether there are boxes to find."""
        return self.dataset in ("scenes", "voc", "coco")

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if self.dataset in ("folder", "voc", "coco") and self.path is None:
            raise ValueError(f'dataset = "{self.dataset}" needs a path')
        if self.dataset != "voc" and self.classes:
            raise ValueError('classes is the class map of dataset = "voc"')
        if self.detection and self.augment != type(self).model_fields["augment"].default:
            raise ValueError("augment is for classifiers; detectors have [detection] augment")
        if self.detection and self.image_size < 64:
            raise ValueError("detectors need an image_size of 64 or more")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError("val_fraction and test_fraction leave nothing to train on")
        if "camera" not in self.augment and self.camera != Camera():
            raise ValueError(
                f'[data.camera] has no effect with augment = "{self.augment}"; set '
                '"camera", "camera+affine" or "camera+flip"'
            )
        return self


class Teacher(_Section):
    """``[teacher]``: trained here, or read from ``checkpoint`` (then not trained)."""

    model: str = "residual"
    args: dict[str, Any] = Field(default_factory=dict)
    epochs: Annotated[int, Field(ge=0)] = 10  # 0: used as the callable returns it
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    batch_size: Count | None = None  # None: that of [data]
    checkpoint: Path | None = None
    backbone: Path | None = None  # of a detector: weights of a classifier to start from


class Student(_Section):
    """``[student]``: a registered name, ``module:callable`` or ``torchvision:NAME``."""

    model: str = "depthwise"
    args: dict[str, Any] = Field(default_factory=dict)
    backbone: Path | None = None  # of a detector: weights of a classifier to start from


class Feature(_Section):
    """``[[distill.features]]``: one more loss, between what two modules compute on the way.

    ``student`` and ``teacher`` are their paths in the networks, as ``named_modules()`` has them.
    """

    loss: Literal["hint", "attention", "contrastive", "self-attention"]
    student: str
    teacher: str
    weight: Positive = 1.0
    schedule: Literal["constant", "decay", "ramp"] = "constant"


class Distill(_Section):
    """``[distill]``: the loss and the loop; ``baseline`` also trains without a teacher."""

    loss: Literal["kd", "dkd", "ce"] = "dkd"
    alpha: Fraction = 0.1  # the weight of the labels; 1 - alpha is the teacher's
    temperature: Positive = 4.0
    beta: Annotated[float, Field(ge=0.0)] = 8.0
    epochs: Count = 10
    lr: Positive = 2e-3
    weight_decay: Annotated[float, Field(ge=0.0)] = 5e-4
    seeds: Annotated[list[Seed], Field(min_length=1)] = Field(default_factory=lambda: [0, 1, 2])
    baseline: bool = True
    latency_weight: Annotated[float, Field(ge=0.0)] = 0.0
    features: list[Feature] = Field(default_factory=list)
    hard_mining: Annotated[float, Field(ge=0.0)] = 0.0  # more weight to what the teacher knows
    curriculum: Literal["none", "linear", "root", "step"] = "none"  # what it is sure of comes first
    curriculum_start: Annotated[float, Field(gt=0.0, le=1.0)] = 0.3  # share of the first epoch
    curriculum_full_at: Fraction = 0.7  # progress from which on all images are drawn from

    @model_validator(mode="after")
    def _needs_teacher(self) -> Distill:
        asked = {
            "features": bool(self.features),
            "hard_mining": self.hard_mining > 0,
            "curriculum": self.curriculum != "none",
        }
        named = [name for name, holds in asked.items() if holds]
        if self.loss == "ce" and named:
            raise ValueError(f'loss = "ce" has no teacher, and {", ".join(named)} needs one')
        return self

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) != len(seeds):
            raise ValueError("the seeds must differ")
        return seeds


class Quantize(_Section):
    """``[quantize]``: the student in eight bits, ``student-int8.onnx``, trained so or not.

    ``keep_fp32`` names modules whose layers stay as they are.
    """

    method: Literal["ptq", "qat"] = "qat"
    epochs: Count = 20  # of qat
    lr: Positive = 2e-4
    images: Count = 128  # of the training split, for the ranges of activations
    keep_fp32: list[str] = Field(default_factory=list)
    allow_slow: bool = False  # also where the target's file says that int8 does not pay


class EarlyExit(_Section):
    """``[early_exit]``: the student answers after some of its modules already, where it is sure.

    ``exits`` are paths of modules, as ``named_modules()`` of the student has them.
    """

    exits: Annotated[list[str], Field(min_length=1, max_length=4)]
    weight: Positive = 0.5  # of each branch's loss, against 1 of the last exit
    max_drop: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0  # validation images lost, a share


class Prune(_Section):
    """``[prune]``: channels go in steps; a step stays where the compiled student got faster."""

    steps: Count = 4
    ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25  # of each layer's channels, a step
    epochs: Count = 20  # of fine-tuning, a step
    lr: Positive = 1e-3
    max_drop: Fraction = 0.01  # accuracy on the validation split, against the student


class Detection(_Section):
    """``[detection]``: how detectors are trained, and what they learn from their teacher.

    The last four are weights of the losses between student and teacher, and the temperature of the
    classes.
    """

    augment: tuple[Literal["colour", "crop", "zoom", "flip"], ...] = ("colour", "crop", "zoom")
    # Views of each image that students see, an epoch each, in turn: then the teacher is asked once
    # of each and its answers are kept. 0: a new view each epoch, and the teacher is asked anew.
    variants: Annotated[int, Field(ge=0)] = 0
    classification: Annotated[float, Field(ge=0.0)] = 1.0
    boxes: Annotated[float, Field(ge=0.0)] = 1.0
    features: Annotated[float, Field(ge=0.0)] = 1.0
    temperature: Positive = 2.0


class Export(_Section):
    """``[export]``: the ONNX file."""

    batch: Count = 1
    dynamic_batch: bool = False
    opset: Annotated[int, Field(ge=18, le=23)] = 18


class TargetRef(_Section):
    """``[target]``: a name that ``tvmkd targets`` lists, or the path of a target file."""

    name: str = "host"


class Tune(_Section):
    """``[tune]``: trials over TVM RPC; ``tracker = "local"`` starts a fleet on this machine.

    ``stack`` is the compiler's: what is tuned by it is built by it.
    """

    stack: Literal["relax", "relay"] = "relax"
    trials: Count = 256
    tracker: str = "local"
    key: str = "local"
    seed: Seed = 0
    boards: Count | None = None  # None: all under the key, and one on this machine

    @field_validator("tracker")
    @classmethod
    def _tracker(cls, text: str) -> str:
        if text != "local":
            parse_tracker(text)
        return text


class Compare(_Section):
    """``[compare]``: which engines, on how many threads, for how long each."""

    engines: Annotated[list[EngineName], Field(min_length=1)] = Field(
        default_factory=lambda: list(ENGINES)
    )
    threads: Count | None = None  # None: the physical cores
    seconds: Positive = 3.0
    rounds: Count = 8


class Gate(_Section):
    """``[gate]``: expressions such as ``tvm.p99 < 20ms``, all of which must hold."""

    require: list[str] = Field(default_factory=list)


class Config(_Section):
    """A whole ``tvmkd.toml``."""

    project: Project
    data: Data = Field(default_factory=Data)
    teacher: Teacher = Field(default_factory=Teacher)
    student: Student = Field(default_factory=Student)
    distill: Distill = Field(default_factory=Distill)
    prune: Prune | None = None
    quantize: Quantize | None = None
    early_exit: EarlyExit | None = None
    detection: Detection = Field(default_factory=Detection)
    export: Export = Field(default_factory=Export)
    target: TargetRef = Field(default_factory=TargetRef)
    tune: Tune = Field(default_factory=Tune)
    compare: Compare = Field(default_factory=Compare)
    gate: Gate = Field(default_factory=Gate)

    @model_validator(mode="after")
    def _one_way_to_be_fast(self) -> Config:
        other = "prune" if self.prune else "quantize" if self.quantize else None
        if self.early_exit is not None and other is not None:
            raise ValueError(f"[{other}] and [early_exit] do not go together: give one of them")
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> Config:
        if not self.data.detection:
            if self.detection != Detection():
                raise ValueError("[detection] needs [data] dataset = scenes, voc or coco")
            if self.teacher.backbone or self.student.backbone:
                raise ValueError("backbone is for detectors: [data] dataset = scenes, voc or coco")
            return self
        given = [name for name in ("prune", "quantize", "early_exit") if getattr(self, name)]
        fields = type(self.distill).model_fields
        given += [
            f"distill.{name}"
            for name in ("hard_mining", "curriculum", "latency_weight")
            if getattr(self.distill, name) != fields[name].default
        ]
        given += ["distill.features"] if self.distill.features else []
        if given:
            raise ValueError(
                f"{given[0]} is for classifiers: what a detector learns from its teacher is in "
                '[detection], and distill.loss only says whether there is one ("ce": none)'
            )
        return self


def parse_tracker(text: str) -> tuple[str, int]:
    """Splits ``HOST[:PORT]`` (port 9190 where none is given; IPv6 hosts in brackets).

    Raises:
        ValueError: no host, or the port is not a number from 1 to 65535.
    """
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else rest
    else:
        host, _, port = text.partition(":")
    number = port or str(DEFAULT_TRACKER_PORT)
    if not host or not number.isdigit() or not 0 < int(number) < 65536:
        raise ValueError(f'"{text}" is not a tracker address: give HOST or HOST:PORT')
    return host, int(number)


def read(path: Path) -> Config:
    """Reads and checks a ``tvmkd.toml``.

    Raises:
        InputError: missing, not TOML, an unknown key (with the nearest one) or a wrong value; the
            line names the file and the key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file; give --config FILE") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    return parse(data, str(path))


def parse(data: dict[str, Any], where: str = "tvmkd.toml") -> Config:
    """Checks plain data against the schema.

    Raises:
        InputError: as `read`; ``where`` stands at the head of the line.
    """
    try:
        return Config.model_validate(data)
    except ValidationError as error:
        # A misspelt key also shows as a missing one: the misspelling is what helps.
        problems = error.errors(include_url=False)
        first = min(problems, key=lambda problem: problem["type"] != "extra_forbidden")
        more = error.error_count() - 1
        tail = f" (and {more} more)" if more else ""
        raise InputError(f"{where}: {_explain(first)}{tail}") from None


def _explain(problem: Any) -> str:
    place = [str(part) for part in problem["loc"]]
    name = ".".join(place)
    if problem["type"] == "extra_forbidden":
        known = _keys(place[:-1])
        kind = "section" if len(place) == 1 else "key"
        hint = suggest(place[-1], known) or f"; known: {', '.join(known)}"
        return f'unknown {kind} "{name}"{hint}'
    if problem["type"] == "missing":
        return f'"{name}" is missing; add it'
    message = problem["msg"].removeprefix("Value error, ")
    given = "" if isinstance(problem["input"], dict) else f", got {problem['input']!r}"
    return f"{name}: {message[0].lower()}{message[1:]}{given}"


def _keys(place: list[str]) -> list[str]:
    model: Any = Config
    for part in place:
        # A number is a place in a list, whose items' model stands in the list's annotation.
        model = get_args(model)[0] if part.isdigit() else model.model_fields[part].annotation
        if type(None) in get_args(model):
            model = get_args(model)[0]
    return list(model.model_fields)
