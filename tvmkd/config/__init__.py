"""The ``tvmkd.toml`` schema. Unknown keys are errors that name the key and the nearest valid one.

Paths in the file are relative to the folder that tvmkd is started in.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import Field, ValidationError, model_validator

from tvmkd.base.errors import InputError
from tvmkd.base.files import read_text
from tvmkd.base.text import suggest
from tvmkd.config.compiling import (
    DEFAULT_TRACKER_PORT,
    Compare,
    Gate,
    TargetRef,
    Tune,
    parse_tracker,
)
from tvmkd.config.data import Camera, Data, Detection, Effect
from tvmkd.config.exporting import EarlyExit, Export, Prune, Quantize
from tvmkd.config.fields import Section
from tvmkd.config.losses import defaults, unread
from tvmkd.config.search import Search, check_space
from tvmkd.config.sections import Distill, Feature, Project, Student, Teacher

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "DEFAULT_TRACKER_PORT",
    "Camera",
    "Compare",
    "Config",
    "Data",
    "Detection",
    "Distill",
    "EarlyExit",
    "Effect",
    "Export",
    "Feature",
    "Gate",
    "Project",
    "Prune",
    "Quantize",
    "Search",
    "Student",
    "TargetRef",
    "Teacher",
    "Tune",
    "parse",
    "parse_tracker",
    "read",
    "tomllib",
]


class Config(Section):
    """A whole ``tvmkd.toml``."""

    project: Project
    """The run's name, folder and seed."""
    data: Data = Field(default_factory=Data)
    """The data set."""
    teacher: Teacher = Field(default_factory=Teacher)
    """The teacher network."""
    student: Student = Field(default_factory=Student)
    """The student network."""
    distill: Distill = Field(default_factory=Distill)
    """The loss on the logits, and the training of the students."""
    prune: Prune | None = None
    """Removes channels. Done where the section is given."""
    quantize: Quantize | None = None
    """Writes the student in int8. Done where the section is given."""
    early_exit: EarlyExit | None = None
    """Exits after some modules. Done where the section is given."""
    detection: Detection = Field(default_factory=Detection)
    """Training of detectors."""
    export: Export = Field(default_factory=Export)
    """The ONNX file."""
    target: TargetRef = Field(default_factory=TargetRef)
    """What to compile for."""
    tune: Tune = Field(default_factory=Tune)
    """The compiler and the trials."""
    compare: Compare = Field(default_factory=Compare)
    """Which engines are measured."""
    gate: Gate = Field(default_factory=Gate)
    """What the comparison must satisfy."""
    search: Search | None = None
    """The search for a student, for ``tvmkd search``."""

    @model_validator(mode="after")
    def _one_way_to_be_fast(self) -> Config:
        other = "prune" if self.prune else "quantize" if self.quantize else None
        if self.early_exit is not None and other is not None:
            raise ValueError(f"[{other}] and [early_exit] do not go together: give one of them")
        return self

    @model_validator(mode="after")
    def _views_of_classes(self) -> Config:
        if self.distill.views and self.data.detection:
            raise ValueError("distill.views is for classifiers; detectors have detection.variants")
        return self

    @model_validator(mode="after")
    def _read_by_the_loss(self) -> Config:
        section = self.distill
        # The branches of early exits have a temperature whatever the loss is.
        names = unread(section.loss) - ({"temperature"} if self.early_exit else set())
        usual = defaults(section.loss, section.standardize)
        for name in sorted(names):
            default = usual.get(name, type(section).model_fields[name].default)
            if getattr(section, name) != default and not self.data.detection:
                also = "" if "loss" in section.model_fields_set else ", the default"
                raise ValueError(
                    f'distill.{name} has no effect with loss = "{section.loss}"{also}: remove it, '
                    'or give another loss, for example "dkd"'
                )
        return self

    @model_validator(mode="after")
    def _searched_or_given(self) -> Config:
        if self.search is not None and self.student.checkpoint is not None:
            raise ValueError("[student] checkpoint and [search] do not go together: remove one")
        if self.search is not None and self.early_exit is not None and self.early_exit.mean_budget:
            raise ValueError(
                "early_exit.mean_budget and [search] do not go together: a search predicts the "
                "mean time that max_drop allows"
            )
        return self

    @model_validator(mode="after")
    def _shaped_as_a_whole(self) -> Config:
        if self.distill.shaped and self.early_exit is not None:
            raise ValueError(
                '[early_exit] and distill.latency = "table" do not go together: give one of them'
            )
        if self.distill.watch is not None and self.export.precision != "fp32":
            raise ValueError(
                "distill.watch measures the student as it is trained, in FP32, and "
                f'export.precision = "{self.export.precision}" is another network: leave it out'
            )
        return self

    @model_validator(mode="after")
    def _two_parts(self) -> Config:
        if self.distill.optimizer == "dot":
            supernet = self.search is not None and self.search.method == "supernet"
            other = "[early_exit]" if self.early_exit else '[search] method = "supernet"'
            if self.early_exit is not None or supernet:
                raise ValueError(f'distill.optimizer = "dot" and {other} do not go together')
        return self

    @model_validator(mode="after")
    def _branches_of_fixed_shape(self) -> Config:
        supernet = self.search is not None and self.search.method == "supernet"
        if self.student.reparam is not None and (self.distill.shaped or supernet):
            other = 'search.method = "supernet"' if supernet else 'distill.latency = "table"'
            raise ValueError(
                f"student.reparam and {other} do not go together, which cuts channels while it "
                "trains: remove one"
            )
        return self

    @model_validator(mode="after")
    def _int8_from_somewhere(self) -> Config:
        precision = self.export.precision
        if precision in ("int8", "auto") and self.quantize is None:
            raise ValueError(f'export.precision = "{precision}" needs the section [quantize]')
        return self

    @model_validator(mode="after")
    def _camera_used(self) -> Config:
        used = f"{self.data.augment} {self.teacher.augment}"
        if "camera" not in used and self.data.camera != Camera():
            raise ValueError(
                f'[data.camera] has no effect with data.augment = "{self.data.augment}"; set '
                '"camera", "camera+affine" or "camera+flip", there or as teacher.augment'
            )
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> Config:
        if not self.data.detection:
            if self.detection != Detection():
                raise ValueError("[detection] needs [data] dataset = scenes, voc or coco")
            if self.teacher.backbone or self.student.backbone:
                raise ValueError("backbone is for detectors: [data] dataset = scenes, voc or coco")
            return self
        if self.distill.loss == "ce" and self.detection.losses:
            raise ValueError('distill.loss = "ce" has no teacher, and detection.losses need one')
        given = ["early_exit"] if self.early_exit else []
        given += ["teacher.augment"] if self.teacher.augment else []
        given += [
            f"teacher.{name}" for name in ("ensemble", "assistants") if getattr(self.teacher, name)
        ]
        given += ["student.images"] if self.student.images else []
        fields = type(self.distill).model_fields
        given += [
            f"distill.{name}"
            for name in ("hard_mining", "curriculum", "latency_weight", "standardize")
            if getattr(self.distill, name) != fields[name].default
            and not (name == "latency_weight" and self.distill.shaped)
        ]
        given += ["distill.features"] if self.distill.features else []
        given += ["distill.optimizer"] if self.distill.optimizer == "dot" else []
        given += ["distill.logits"] if self.distill.logits else []
        if given:
            raise ValueError(
                f"{given[0]} is for classifiers: what a detector learns from its teacher is in "
                '[detection], and distill.loss only says whether there is one ("ce": none)'
            )
        return self

    @model_validator(mode="after")
    def _space_of_this_file(self) -> Config:
        if self.search is not None:
            base = self.model_dump(mode="json", exclude_unset=True, exclude={"search"})
            check_space(self.search.space, type(self), base, _problem)
        return self


def read(path: Path) -> Config:
    """Reads and checks a ``tvmkd.toml``.

    Raises:
        InputError: missing, not TOML, an unknown key (with the nearest one) or a wrong value; the
            line names the file and the key.
    """
    try:
        data = tomllib.loads(read_text(path))
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
        more = error.error_count() - 1
        tail = f" (and {more} more)" if more else ""
        raise InputError(f"{where}: {_first(error)}{tail}") from None


def _problem(data: dict[str, Any]) -> str | None:
    """What is wrong with plain data, in one line; None: nothing."""
    try:
        Config.model_validate(data)
    except ValidationError as error:
        return _first(error)
    return None


def _first(error: ValidationError) -> str:
    # A misspelt key also shows as a missing one: the misspelling is what helps.
    problems = error.errors(include_url=False)
    return _explain(min(problems, key=lambda problem: problem["type"] != "extra_forbidden"))


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
    # What concerns several sections belongs to no key.
    return (f"{name}: " if name else "") + f"{message[0].lower()}{message[1:]}{given}"


def _keys(place: list[str]) -> list[str]:
    model: Any = Config
    for part in place:
        # A number is a place in a list, whose items' model stands in the list's annotation.
        if get_origin(model) is dict:
            model = get_args(model)[1]
            continue
        model = get_args(model)[0] if part.isdigit() else model.model_fields[part].annotation
        if type(None) in get_args(model):
            model = get_args(model)[0]
    return list(model.model_fields)
