"""What the stages of one run share: the config, the target, the files, and common inputs."""

from __future__ import annotations

import importlib.metadata
import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from tvmkd.base import machine, shards, stack_registry, user_code
from tvmkd.base.files import file_hash, listing_hash, source_hash
from tvmkd.config import Config
from tvmkd.config.fields import Section
from tvmkd.targets import Target

SAMPLES = 8  # batches of real images to check builds on and to compare engines on

# Fields of [distill] that only the first training of a student reads.
_FIRST_TRAINING = {
    *("epochs", "lr", "ema", "seeds", "baseline", "watch", "watch_every"),
    *("latency", "latency_weight", "table", "shape", "shaping"),
    *("optimizer", "momentum", "delta"),
}
# Keys of [teacher], [student] and [distill] that runs of older versions were finished without.
_NEWER = {
    *("ema", "stop_at", "ensemble", "average", "assistants", "reparam"),
    *("standardize", "logits", "optimizer", "momentum", "delta", "views"),
}


@dataclass
class RunContext:
    """One run.

    Attributes:
        folder: where the run's files are.
        search_in: folders to look for a ``module:callable`` in.
        results: the summaries of the stages that have run, by name.
    """

    cfg: Config
    target: Target
    folder: Path
    search_in: Sequence[Path] = ()
    results: dict[str, Any] = field(default_factory=dict)

    # The files that more than one stage knows.

    @property
    def distilled(self) -> Path:
        """The checkpoint of the distilled student."""
        return self.folder / "student.pt"

    @property
    def metrics(self) -> Path:
        """What is known of the teacher and the students."""
        return self.folder / "metrics.json"

    @property
    def student(self) -> Path:
        """The checkpoint of the final student in floating point."""
        return self.distilled if self.cfg.prune is None else self.folder / "pruned.pt"

    @property
    def onnx(self) -> Path:
        """The student's ONNX file."""
        return self.folder / "student.onnx"

    @property
    def full_precision(self) -> Path:
        """The student's ONNX file in FP32, where `onnx` is in half precision."""
        return self.folder / "student-fp32.onnx"

    @property
    def int8(self) -> Path:
        """The ONNX file that ``[quantize]`` writes."""
        return self.folder / "student-int8.onnx"

    @property
    def precision(self) -> str:
        """Of ``student.onnx``, "fp32", "fp16" or "int8": as configured, or as measured.

        What is measured is known after the stage ``quantize``; before, it is "fp32".
        """
        wanted = self.cfg.export.precision
        if wanted != "auto":
            return wanted
        if self.target.runs_here() is not None:
            return "int8" if self.target.precisions["int8"].ok else "fp32"
        ms = self.results.get("quantize", {}).get("ms", {})
        faster = ms.get("tvm int8", math.inf) < ms.get("tvm fp32", math.inf)
        return "int8" if faster else "fp32"

    @property
    def teacher_onnx(self) -> Path:
        """The teacher's ONNX file."""
        return self.folder / "teacher.onnx"

    @property
    def samples(self) -> Path:
        """Real inputs of the student, an ``.npz`` with one array ``[SAMPLES * batch, C, H, W]``."""
        return self.folder / "inputs.npz"

    @property
    def records(self) -> Path:
        """The tuning records of this target and stack; a student trained again reuses them."""
        stack = stack_registry.get(self.cfg.tune.stack)
        mark = "" if stack.default else f"-{stack.name}"
        return self.folder / "records" / f"{self.target.name}{mark}"

    @property
    def artifact(self) -> Path:
        """The tuned artifact."""
        return self.folder / "artifact"

    @property
    def untuned(self) -> Path:
        """The artifact without tuning records."""
        return self.folder / "artifact-untuned"

    @property
    def comparison(self) -> Path:
        """The comparison of the engines."""
        return self.folder / "comparison.json"

    @property
    def teacher_weights(self) -> Path | None:
        """The teacher's checkpoint, given or trained; None if the loss needs no teacher."""
        if self.cfg.distill.loss == "ce":
            return None
        path = self.cfg.teacher.checkpoint or self.folder / "teacher.pt"
        return path if path.is_file() else None

    # Settings that follow from several fields.

    @property
    def dims(self) -> dict[str, int]:
        """Sizes of the student's free dimensions: of its batch, if that is free."""
        return {"batch": self.cfg.export.batch} if self.cfg.export.dynamic_batch else {}

    @property
    def threads(self) -> int:
        """The threads of each engine that is timed."""
        return self.cfg.compare.threads or machine.physical_cores()

    # Inputs that several stages state.

    def hash(self, path: Path | None) -> str | None:
        """The hash of a file or folder; None if there is none."""
        return file_hash(path) if path is not None and path.exists() else None

    def onnx_hash(self, path: Path) -> list[str | None]:
        """The hashes of an ONNX file and of the weights beside it."""
        return [self.hash(path), self.hash(path.with_name(f"{path.name}.data"))]

    @cached_property
    def data(self) -> dict[str, Any]:
        """The inputs of a stage that loads the data set."""
        data = self.cfg.data
        return {
            "section": data.model_dump(mode="json"),
            "files": self._listing,
            "code": self.source(data.task or ""),
        }

    @property
    def _listing(self) -> str | None:
        """The hash of the names, sizes and times of the data set's files."""
        path = self.cfg.data.path
        if path is not None and self.cfg.data.dataset == "webdataset":
            return shards.listing_hash(path)
        return listing_hash(path)

    def source(self, spec: str) -> str | None:
        """The hash of the user's code behind a ``module:callable``; None for a built-in model."""
        return source_hash(spec, self.search_in)

    @property
    def more_teachers(self) -> dict[str, Any]:
        """The files behind an ensemble and assistants, where there are any."""
        cfg = self.cfg.teacher
        if not (cfg.ensemble or cfg.assistants):
            return {}
        given = [self.hash(one.checkpoint) for one in cfg.ensemble]
        return {"teachers": [given, *(self.source(spec) for spec in cfg.specs[1:])]}

    @staticmethod
    def section_input(section: Section, leave_out: Set[str] = frozenset()) -> dict[str, Any]:
        """A section as a stage's input, without keys that older versions had not and that are off.

        Args:
            leave_out: further keys that are no input.
        """
        fields = type(section).model_fields
        unused = {
            name
            for name in _NEWER & fields.keys()
            if getattr(section, name) == fields[name].get_default(call_default_factory=True)
        }
        return section.model_dump(mode="json", exclude={*unused, *leave_out})

    @property
    def more_losses(self) -> dict[str, Any]:
        """The user's code behind the further losses on logits, where there is any."""
        code = [self.source(term.loss) for term in self.cfg.distill.logits]
        return {"logits": code} if any(code) else {}

    @property
    def fine_tuning(self) -> dict[str, Any]:
        """The inputs of a stage that trains a changed student on, guided by the teacher."""
        cfg = self.cfg
        read: dict[str, Any] = {
            "seed": cfg.project.seed,
            "data": self.data,
            "distill": self.section_input(cfg.distill, _FIRST_TRAINING),
            "detection": cfg.detection.identity() if cfg.data.detection else None,
            "loss": self.source(cfg.distill.loss),
            **self.more_losses,
        }
        if own := [self.source(one.loss) for one in cfg.detection.losses if ":" in one.loss]:
            read["losses"] = own
        if cfg.student.images is not None:
            read["images"] = cfg.student.images
        if cfg.distill.loss != "ce":
            read["teacher"] = {
                "section": self.section_input(cfg.teacher),
                "weights": self.hash(self.teacher_weights),
                "backbone": self.hash(cfg.teacher.backbone),
                "code": self.source(cfg.teacher.model),
                **self.more_teachers,
            }
        return read

    @cached_property
    def compiler(self) -> dict[str, str]:
        """The stack, its interpreter if it has its own, and the version of its TVM."""
        from tvmkd.runtime import interpreters
        from tvmkd.stacks import survey

        stack = self.cfg.tune.stack
        interpreter = interpreters.find(stack)
        found: dict[str, str] = {"stack": stack}
        if stack_registry.get(stack).own_interpreter:
            found["python"] = interpreter.python
        elif (version := package_version("apache-tvm")) is not None:
            return {**found, "tvm": version}
        # An own interpreter, or a TVM built from source.
        return {**found, "tvm": str(survey.ask(interpreter).get("tvm"))}

    @property
    def building(self) -> dict[str, Any]:
        """The inputs of a stage that compiles: target, compiler, and the records that ship."""
        from tvmkd.stacks.compile import shipped_records

        return {
            "target": self.target.to_dict(),
            "compiler": self.compiler,
            "shipped": self.hash(shipped_records(self.target, self.cfg.tune.stack)),
        }

    @property
    def timing(self) -> dict[str, Any]:
        """The inputs of a stage that times engines beside each other."""
        compare = self.cfg.compare
        return {
            "threads": self.threads,
            "seconds": compare.seconds,
            "rounds": compare.rounds,
            "processes": compare.processes,
            "packages": {name: package_version(name) for name in _MEASURED},
        }


# Packages whose engines stages time, or check outputs against.
_MEASURED = ("onnxruntime", "onnxruntime-gpu", "tensorrt", "tensorrt-rtx", "torch")


@lru_cache
def package_version(name: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def own_code(spec: str) -> str | None:
    """``spec`` if it is a ``module:callable`` of the user, which an export runs only if told to."""
    return spec if user_code.is_own(spec) else None
