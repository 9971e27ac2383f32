"""The sections of a ``tvmkd.toml`` about a trained student: made smaller, and exported."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StrictFloat, StrictInt, StrictStr, field_validator, model_validator

from tvmkd.config.budget import Budget, parse_budget
from tvmkd.config.fields import Count, Fraction, Positive, Section


class Quantize(Section):
    """``[quantize]``: also writes the student in int8, as ``student-int8.onnx``. Optional."""

    method: Literal["ptq", "qat"] = "qat"
    """Quantisation-aware training, or calibration only."""
    epochs: Count = 20
    """``qat``: training epochs."""
    lr: Positive = 2e-4
    """``qat``: highest learning rate."""
    images: Count = 128
    """Training images that calibrate the ranges of activations."""
    keep_fp32: list[str] = Field(default_factory=list)
    """Modules that stay in FP32, by their paths in ``named_modules()``."""
    allow_slow: bool = False
    """Also quantise where the target file says that int8 is not faster."""


class EarlyExit(Section):
    """``[early_exit]``: branches after some modules, at which easy images leave. Optional."""

    exits: Annotated[list[str], Field(min_length=1, max_length=4)]
    """Modules of the student to put an exit after, by their paths in ``named_modules()``."""
    weight: Positive = 0.5
    """Weight of each branch's loss; that of the last exit is 1."""
    max_drop: Fraction = 0.0
    """Share of the validation images (0 to 1) that may become wrong by leaving early."""
    mean_budget: StrictStr | StrictInt | StrictFloat | None = None
    """In place of ``max_drop``: the greatest mean time of an image, a text such as ``0.3ms`` or a
    number of milliseconds. The rule is the most accurate within it; single images take longer."""

    @property
    def budget(self) -> Budget | None:
        """The budget of ``mean_budget``."""
        return None if self.mean_budget is None else parse_budget(self.mean_budget)

    @field_validator("mean_budget")
    @classmethod
    def _a_time(cls, given: str | float | None) -> str | float | None:
        if given is not None and parse_budget(given).unit != "ms":
            raise ValueError("wants a latency such as 0.3ms: pieces are timed, not counted")
        return given

    @model_validator(mode="after")
    def _one_aim(self) -> EarlyExit:
        if self.mean_budget is not None and self.max_drop:
            raise ValueError("max_drop and mean_budget do not go together: give one of them")
        return self


class Prune(Section):
    """``[prune]``: removes channels while the compiled student gets faster. Optional."""

    steps: Count = 4
    """Number of pruning steps."""
    ratio: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.25
    """Share of each layer's channels that one step removes."""
    epochs: Count = 20
    """Fine-tuning epochs after each step."""
    lr: Positive = 1e-3
    """Highest learning rate of the fine-tuning."""
    max_drop: Fraction = 0.01
    """Loss of accuracy on the validation split, against the unpruned student, that ends pruning."""


class Export(Section):
    """``[export]``: the ONNX file."""

    batch: Count = 1
    """Batch size of the file; with ``dynamic_batch``, the one that is compiled."""
    dynamic_batch: bool = False
    """Leave the batch dimension free."""
    opset: Annotated[int, Field(ge=18, le=23)] = 18
    """ONNX opset version."""
    precision: Literal["fp32", "fp16", "int8", "auto"] = "fp32"
    """Precision of ``student.onnx``, which is tuned, built and compared. ``int8``: the file that
    ``[quantize]`` writes. ``auto``: int8 or FP32, whichever ``[quantize]`` measured to be faster
    in TVM; int8 on a target that does not run here if its file says that it pays."""
    keep_fp32: list[str] = Field(default_factory=list)
    """``fp16``: modules that stay in FP32 (mixed precision), by their paths in
    ``named_modules()``."""
    allow_slow: bool = False
    """Also use a precision that is not faster according to the target file."""

    @model_validator(mode="after")
    def _of_one_precision(self) -> Export:
        if self.keep_fp32 and self.precision != "fp16":
            raise ValueError('keep_fp32 goes with precision = "fp16"; [quantize] has its own')
        if self.precision in ("int8", "auto") and (self.dynamic_batch or self.batch != 1):
            raise ValueError(f'precision = "{self.precision}" is for a batch of 1: leave batch out')
        return self
