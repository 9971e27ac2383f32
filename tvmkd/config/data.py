"""The sections about images: ``[data]``, ``[data.camera]`` and ``[detection]``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from tvmkd.base.text import suggest_or_own
from tvmkd.config.fields import Count, NotNegative, Positive, Section, Seed

AugmentName = Literal["none", "affine", "flip", "camera", "camera+affine", "camera+flip"]
Effect = Literal[
    "skew", "motion", "defocus", "exposure", "white_balance", "shot_noise", "read_noise", "jpeg"
]
# The limits of a camera's ranges: beyond them an image shows nothing.
Pixels = Annotated[float, Field(ge=-256.0, le=256.0)]
Length = Annotated[float, Field(ge=0.0, le=256.0)]
Degrees = Annotated[float, Field(ge=-360.0, le=360.0)]
Stops = Annotated[float, Field(ge=-8.0, le=8.0)]
Gain = Annotated[float, Field(gt=0.0, le=8.0)]
Electrons = Annotated[float, Field(ge=1.0, le=1e6)]
Rms = Annotated[float, Field(ge=0.0, le=1e4)]
Quality = Annotated[float, Field(ge=1.0, le=100.0)]


class Camera(Section):
    """``[data.camera]``: the effects of ``augment = "camera"`` and the range of each.

    A range is ``[lowest, highest]``; each image draws its own value, evenly. Pixels are those of
    the image that the model reads.
    """

    # The defaults are those of tvmkd.data.camera, which would load torch here; a test compares.
    effects: tuple[Effect, ...] = get_args(Effect)
    """Which effects are applied. Their order in a camera is fixed."""
    skew: tuple[Pixels, Pixels] = (-2.0, 2.0)
    """Rolling shutter: horizontal shift of the last row against the first, in pixels."""
    motion: tuple[Length, Length] = (0.0, 3.0)
    """Length of the motion blur, in pixels."""
    angle: tuple[Degrees, Degrees] = (0.0, 180.0)
    """Direction of the motion blur, in degrees counterclockwise from a row."""
    defocus: tuple[Length, Length] = (0.0, 1.0)
    """Radius of the defocus blur, in pixels."""
    exposure: tuple[Stops, Stops] = (-0.7, 0.7)
    """Change of exposure, in stops (a factor of two each)."""
    white_balance: tuple[Gain, Gain] = (0.9, 1.1)
    """Factor on red and on blue, drawn separately."""
    full_well: tuple[Electrons, Electrons] = (300.0, 5000.0)
    """Electrons of a white pixel. Fewer electrons give more shot noise."""
    read_noise: tuple[Rms, Rms] = (1.0, 5.0)
    """Read noise, in electrons rms."""
    jpeg: tuple[Quality, Quality] = (60.0, 95.0)
    """JPEG quality, 1 to 100."""

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


class Data(Section):
    """``[data]``: the data set, for classifiers or for detectors.

    A folder that holds ``train`` and ``test`` (and optionally ``val``) keeps that split. A folder
    that holds the classes themselves is split by ``val_fraction``, ``test_fraction`` and
    ``split_seed``.
    """

    task: str | None = None
    """What is learnt: ``classification``, ``detection``, or your own: the ``module:callable`` of a
    function that takes the whole configuration and returns a ``tvmkd.distill.Task``. Without it:
    what ``dataset`` is for."""
    dataset: Literal["digits", "folder", "webdataset", "huggingface", "scenes", "voc", "coco"] = (
        "digits"
    )
    """``digits`` (embedded), ``folder`` (one sub-folder a class), ``webdataset`` (tar files of
    images and labels) and ``huggingface`` (a folder that the ``datasets`` library saved, or Parquet
    files) are for classifiers; ``scenes`` (embedded), ``voc`` and ``coco`` are for detectors."""
    path: Path | None = None
    """The data set's folder. Required, except for ``digits`` and ``scenes``. ``webdataset``: also
    one tar, or a path with braces, such as ``shards/{train,val}-{000..031}.tar``."""
    image_size: Annotated[int, Field(ge=8, le=4096)] = 32
    """Side of the network's square input, in pixels; at least 64 for detectors."""
    batch_size: Count = 64
    """Training images in a batch."""
    val_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.15
    """Share of the images in the validation split, where the data set is not split yet."""
    test_fraction: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2
    """Share of the images in the test split, where the data set is not split yet."""
    split_seed: Seed = 0
    """Seed of that split."""
    workers: Annotated[int, Field(ge=0)] = 0
    """How many images are decoded at a time, in processes, or in threads where all images fit into
    1 GiB and are decoded once. It does not change the result. 0: one a core."""
    channels: Literal[1, 3] | None = None
    """1 (gray) or 3 (RGB). Without it: gray if all sampled images are gray."""
    augment: AugmentName = "affine"
    """Augmentation of training images, for classifiers. ``flip`` is ``affine`` and mirroring;
    ``camera`` is configured by ``[data.camera]``."""
    camera: Camera = Field(default_factory=Camera)
    """The ranges of ``augment = "camera"``."""
    classes: list[str] = Field(default_factory=list)
    """The class names of ``voc``, in order. Without it: all names in the annotations, sorted."""
    scenes: tuple[Count, Count, Count] = (600, 100, 200)
    """Number of ``scenes`` in the training, validation and test split."""

    @field_validator("classes")
    @classmethod
    def _without_blanks(cls, names: list[str]) -> list[str]:
        return [name for name in names if name]

    @property
    def detection(self) -> bool:
        """Whether the data set has boxes."""
        return self.dataset in ("scenes", "voc", "coco")

    @model_validator(mode="after")
    def _complete(self) -> Data:
        if self.dataset not in ("digits", "scenes") and self.path is None:
            raise ValueError(f'dataset = "{self.dataset}" needs a path')
        if self.dataset != "voc" and self.classes:
            raise ValueError('classes is the class map of dataset = "voc"')
        if self.detection and self.augment != type(self).model_fields["augment"].default:
            raise ValueError("augment is for classifiers; detectors have [detection] augment")
        if self.detection and self.image_size < 64:
            raise ValueError("detectors need an image_size of 64 or more")
        if self.val_fraction + self.test_fraction >= 1.0:
            raise ValueError("val_fraction and test_fraction leave nothing to train on")
        return self


DETECTION_LOSSES = ("fgd", "mgd", "pkd", "crosskd", "ld")
"""Names for ``[[detection.losses]]``. They are registered in tvmkd.distill.detector.terms, which
would load torch here; a test compares."""


class DetectionLoss(Section):
    """``[[detection.losses]]``: one more loss between student and teacher."""

    loss: str
    """``fgd`` (Yang et al., 2022), ``mgd`` (Yang et al., 2022), ``pkd`` (Cao et al., 2022),
    ``crosskd`` (Wang et al., 2024), ``ld`` (Zheng et al., 2022), or your own: a
    ``module:callable`` (see ``tvmkd.distill.detector.terms.total.Terms``)."""
    weight: Positive = 1.0
    """Factor of this loss in the sum."""
    schedule: Literal["constant", "decay", "ramp"] = "constant"
    """The factor over the training: constant; a cosine from 1 to 0; or a rise over the first
    fifth."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the loss."""

    @field_validator("loss")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DETECTION_LOSSES and ":" not in name:
            raise ValueError(f'there is no loss "{name}"' + suggest_or_own(name, DETECTION_LOSSES))
        return name


class Detection(Section):
    """``[detection]``: how detectors are trained, and the losses between student and teacher."""

    augment: tuple[Literal["colour", "crop", "zoom", "flip"], ...] = ("colour", "crop", "zoom")
    """Augmentations of training images and their boxes."""
    variants: Annotated[int, Field(ge=0)] = 0
    """Augmented views of each image, one an epoch in turn; the teacher's outputs of each view are
    computed once and cached. 0: a new view each epoch, and nothing is cached."""
    classification: NotNegative = 1.0
    """Weight of the distillation loss on classes."""
    boxes: NotNegative = 1.0
    """Weight of the distillation loss on boxes."""
    features: NotNegative = 1.0
    """Weight of the distillation loss on feature maps."""
    temperature: Positive = 2.0
    """Temperature of the classes' softmax in that loss."""
    losses: list[DetectionLoss] = Field(default_factory=list)
    """Further losses between student and teacher; they may be given several times."""
    box_loss: Literal["own", "giou", "ciou"] = "own"
    """The student's loss of boxes on the labels. ``own``: that of its kind of detector
    (``ssdlite``: smooth L1). ``giou`` (Rezatofighi et al., 2019), ``ciou`` (Zheng et al., 2020): of
    the decoded boxes."""
    iou_weight: NotNegative = 0.0
    """``ssdlite``: exponent by which the IoU of a box weighs the student's loss on its class (Wu et
    al., 2020), so that well placed boxes get the better scores. 0: all weigh the same."""
    threshold: Literal["f1", "f2", "f0.5"] | Annotated[float, Field(gt=0.0, lt=1.0)] = "f1"
    """Least score of a detection where the student runs, if nobody gives another. ``f1``: the one
    with the best F1 on the validation data; ``f2`` and ``f0.5`` count recall or precision for more.
    Or a number."""

    def identity(self) -> dict[str, Any]:
        """All that determines a training and its result, JSON-safe.

        Keys that are newer than the others are left out where they have no effect.
        """
        newer = ("losses", "box_loss", "iou_weight", "threshold")
        fields = type(self).model_fields
        unused = {
            name
            for name in newer
            if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return self.model_dump(mode="json", exclude=unused)
