"""Each stage states everything that it reads, and nothing else."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel

from tvmkd import config, targets
from tvmkd.stages import CLASSES
from tvmkd.stages import context as contexts
from tvmkd.stages.context import RunContext

COMPILERS = ("prune", "quantize", "early_exit")
TRAINERS = ("distill", "prune", "quantize")
LOADERS = (*TRAINERS, "early_exit", "export")
TVM = (*COMPILERS, "tune", "build", "compare", "report")

BASE: dict[str, Any] = {
    "project": {"name": "toy", "out": "run"},
    "data": {"augment": "camera+affine"},
    "teacher": {},
    "student": {"model": "mine:net"},
    "distill": {
        "features": [{"loss": "hint", "student": "a", "teacher": "b"}],
        "logits": [{"loss": "kd"}],
    },
    "export": {"batch": 2, "dynamic_batch": True},
    "compare": {"engines": ["torch", "onnxruntime", "tvm:untuned", "tvm"]},
}
# No config can have every stage and every field.
VARIANTS: dict[str, dict[str, Any]] = {
    "all but early exits": {"prune": {}, "quantize": {}},
    "early exits": {"early_exit": {"exits": ["a"]}},
    "shaped": {"prune": {}, "quantize": {}, "distill": {"latency": "table"}},
    "several teachers": {
        "prune": {},
        "quantize": {},
        "teacher": {"ensemble": [{"args": {"depth": 3}}], "assistants": [{"model": "residual"}]},
    },
    "dot": {"prune": {}, "quantize": {}, "distill": {"optimizer": "dot"}},
    "softened": {"prune": {}, "quantize": {}, "distill": {"loss": "dkd"}},
    "own loss": {"prune": {}, "quantize": {}, "distill": {"loss": "yours:loss"}},
    "detector": {
        "data": {"dataset": "scenes", "image_size": 96},
        "detection": {"losses": [{"loss": "pkd"}]},
        "distill": {},
        "prune": {},
        "quantize": {},
    },
    "half": {"export": {"precision": "fp16", "batch": 2}},
    "int8": {"quantize": {}, "export": {"precision": "int8"}},
    "voc": {"data": {"dataset": "voc", "path": "voc", "image_size": 96}, "distill": {}},
}

DATA: dict[str, Any] = {
    "task": "mine:task",
    "dataset": "folder",
    "path": "elsewhere",
    "image_size": 64,
    "batch_size": 8,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "split_seed": 1,
    "workers": 2,
    "channels": 3,
    "augment": "camera",
    "classes": ["cat"],
    "scenes": [9, 9, 9],
    "camera.effects": ["skew"],
    "camera.skew": [0.0, 1.0],
    "camera.motion": [0.0, 1.0],
    "camera.angle": [0.0, 1.0],
    "camera.defocus": [0.0, 0.5],
    "camera.exposure": [0.0, 0.5],
    "camera.white_balance": [1.0, 1.0],
    "camera.full_well": [9.0, 99.0],
    "camera.read_noise": [1.0, 2.0],
    "camera.jpeg": [80.0, 90.0],
}
# Field: a changed value, and the stages that read the field.
READERS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "project.name": ("other", ("report",)),
    "project.out": ("other", ()),
    "project.seed": (7, TRAINERS),
    "project.log_to": ("tensorboard", ()),
    **{f"data.{name}": (value, LOADERS) for name, value in DATA.items()},
    "teacher.model": ("mine:teacher", (*TRAINERS, "export")),
    "teacher.args": ({"depth": 2}, (*TRAINERS, "export")),
    "teacher.epochs": (3, TRAINERS),
    "teacher.lr": (0.5, TRAINERS),
    "teacher.weight_decay": (0.5, TRAINERS),
    "teacher.batch_size": (4, TRAINERS),
    "teacher.ema": (0.5, TRAINERS),
    "teacher.augment": ("camera", TRAINERS),
    "teacher.stop_at": (0.5, TRAINERS),
    "teacher.average": ("probabilities", TRAINERS),
    "teacher.ensemble.0.model": ("yours:net", TRAINERS),
    "teacher.ensemble.0.args": ({"depth": 2}, TRAINERS),
    "teacher.ensemble.0.checkpoint": ("given.pt", TRAINERS),
    "teacher.assistants.0.model": ("yours:net", TRAINERS),
    "teacher.assistants.0.args": ({"depth": 2}, TRAINERS),
    "teacher.assistants.0.epochs": (3, TRAINERS),
    "teacher.assistants.0.lr": (0.5, TRAINERS),
    "teacher.assistants.0.weight_decay": (0.5, TRAINERS),
    "student.images": (64, TRAINERS),
    "teacher.checkpoint": ("given.pt", (*TRAINERS, "export")),
    "teacher.backbone": ("given.pt", TRAINERS),
    "student.model": ("yours:net", ("distill", "export", "compare")),
    "student.args": ({"width": 2}, ("distill",)),
    "student.checkpoint": ("given.pt", ("distill",)),
    "student.backbone": ("given.pt", ("distill",)),
    "student.reparam": (2, ("distill",)),
    # Without a teacher, none is exported.
    "distill.loss": ("dkd", TRAINERS),
    "distill.loss_args": ({"sharp": 2}, TRAINERS),
    "distill.standardize": (True, TRAINERS),
    "distill.logits.0.loss": ("yours:loss", TRAINERS),
    "distill.logits.0.args": ({"temperature": 2.0}, TRAINERS),
    "distill.logits.0.standardize": (True, TRAINERS),
    "distill.logits.0.weight": (0.5, TRAINERS),
    "distill.logits.0.schedule": ("ramp", TRAINERS),
    "distill.alpha": (0.5, TRAINERS),
    "distill.temperature": (2.0, TRAINERS),
    "distill.beta": (1.0, TRAINERS),
    "distill.epochs": (3, ("distill",)),
    "distill.lr": (0.5, ("distill",)),
    "distill.weight_decay": (0.5, TRAINERS),
    "distill.optimizer": ("sgd", ("distill",)),
    "distill.momentum": (0.5, ("distill",)),
    "distill.delta": (0.05, ("distill",)),
    "distill.ema": (0.5, ("distill",)),
    "distill.seeds": ([5], ("distill",)),
    "distill.baseline": (False, ("distill",)),
    "distill.latency": ("table", ("distill",)),
    "distill.latency_weight": (0.5, ("distill",)),
    "distill.table": ("elsewhere", ("distill",)),
    "distill.shape": (["width"], ("distill",)),
    "distill.shaping": (0.25, ("distill",)),
    "distill.watch": ("8ms", ("distill",)),
    "distill.watch_every": (5.0, ("distill",)),
    "distill.features.0.loss": ("attention", TRAINERS),
    "distill.features.0.student": ("c", TRAINERS),
    "distill.features.0.teacher": ("c", TRAINERS),
    "distill.features.0.weight": (0.5, TRAINERS),
    "distill.features.0.schedule": ("ramp", TRAINERS),
    "distill.views": (2, TRAINERS),
    "distill.hard_mining": (0.5, TRAINERS),
    "distill.curriculum": ("root", TRAINERS),
    "distill.curriculum_start": (0.5, TRAINERS),
    "distill.curriculum_full_at": (0.5, TRAINERS),
    "prune.steps": (2, ("prune",)),
    "prune.ratio": (0.5, ("prune",)),
    "prune.epochs": (2, ("prune",)),
    "prune.lr": (0.5, ("prune",)),
    "prune.max_drop": (0.5, ("prune",)),
    "quantize.method": ("ptq", ("quantize",)),
    "quantize.epochs": (2, ("quantize",)),
    "quantize.lr": (0.5, ("quantize",)),
    "quantize.images": (8, ("quantize",)),
    "quantize.keep_fp32": (["a"], ("quantize",)),
    "quantize.allow_slow": (True, ()),  # only the check before the first stage reads it
    "early_exit.exits": (["b"], ("distill",)),
    "early_exit.weight": (0.25, ("distill",)),
    "early_exit.max_drop": (0.5, ("early_exit",)),
    "early_exit.mean_budget": ("1ms", ("early_exit",)),
    "detection.augment": (["flip"], TRAINERS),
    "detection.variants": (2, TRAINERS),
    "detection.classification": (0.5, TRAINERS),
    "detection.boxes": (0.5, TRAINERS),
    "detection.features": (0.5, TRAINERS),
    "detection.temperature": (0.5, TRAINERS),
    "detection.losses.0.loss": ("yours:loss", TRAINERS),
    "detection.losses.0.weight": (0.5, TRAINERS),
    "detection.losses.0.schedule": ("ramp", TRAINERS),
    "detection.losses.0.args": ({"sharp": 2}, TRAINERS),
    "detection.box_loss": ("giou", TRAINERS),
    "detection.iou_weight": (0.5, TRAINERS),
    "detection.threshold": (0.25, TRAINERS),
    "export.batch": (3, ("export", "tune", "build", "compare")),
    "export.dynamic_batch": (False, ("export", "tune", "build")),
    "export.opset": (20, ("export",)),
    "export.precision": ("fp16", ("export", "compare")),
    "export.keep_fp32": (["a"], ("export",)),
    "export.allow_slow": (True, ()),  # only the check before the first stage reads it
    # The user's student is not rounded to the target's channel_multiple.
    "target.name": ("jetson-nano", (*COMPILERS, "tune", "build", "compare", "report")),
    "tune.stack": ("relay", TVM),
    "tune.trials": (2, ("tune",)),
    "tune.tracker": ("boards:9190", ("tune",)),
    "tune.key": ("nano", ("tune",)),
    "tune.seed": (2, ("tune",)),
    "tune.boards": (2, ("tune",)),
    "tune.records": (["more"], ("build",)),
    "compare.engines": (["torch", "onnxruntime", "tvm"], ("build", "compare")),
    "compare.threads": (3, (*COMPILERS, "compare")),
    "compare.seconds": (0.5, ("quantize", "compare")),
    "compare.rounds": (2, ("quantize", "compare")),
    "compare.processes": (4, ("quantize", "compare")),
    "gate.require": (["tvm.p99 < 1s"], ("gate",)),
    "search": ({"space": {"distill.lr": [0.1, 0.2]}}, ()),  # as a whole: no stage reads any of it
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for everything that a stage may read, and a compiler at no cost."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    monkeypatch.setattr(
        RunContext, "compiler", property(lambda self: {"stack": self.cfg.tune.stack, "tvm": "1"})
    )
    monkeypatch.setattr(
        "tvmkd.stacks.compile.shipped_records", lambda target, stack: tmp_path / "shipped" / stack
    )
    return tmp_path


RECORDS = ("database_workload.json", "database_tuning_record.json", "session.json", "trials.jsonl")
FILES = (
    *("mine.py", "yours.py", "given.pt", "elsewhere/cat/1.png", "voc/a.png"),
    *("shipped/relax/records", "shipped/relay/records"),
    *("run/student.pt", "run/pruned.pt", "run/teacher.pt", "run/metrics.json"),
    *(
        "run/student.onnx",
        "run/student-int8.onnx",
        "run/student-fp32.onnx",
        "run/teacher.onnx",
        "run/inputs.npz",
        "run/comparison.json",
    ),
    *(f"run/records/board/{name}" for name in (*RECORDS, "aside.jsonl")),
    *("run/artifact/model.so", "run/artifact-untuned/model.so"),
)


def host() -> targets.Target:
    """The target of these tests, on any machine."""
    return dataclasses.replace(targets.load("x86-64-v3"), name="board")


def keys(data: dict[str, Any], target: targets.Target | None = None) -> dict[str, str]:
    """The key of each stage of a config, as if every earlier stage had run."""
    cfg = config.parse(data)
    if target is None:
        named = cfg.target.name
        target = host() if named == "host" else targets.load(named)
        # Stages find their files under another target's name, too.
        target = dataclasses.replace(target, name="board")
    context = RunContext(cfg, target, Path("run"), [Path("beside")], {"compare": {"teacher_ms": 1}})
    return {stage.name: stage(context).key() for stage in CLASSES if stage.is_part_of(cfg)}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name, key in before.items() if after[name] != key}


def fields(model: type[BaseModel], place: str = "") -> Iterator[str]:
    """The dotted names of a schema's fields, those of the first item for a list of sections."""
    for name, field in model.model_fields.items():
        inner = [field.annotation, *get_args(field.annotation)]
        sections = [
            kind for kind in inner if isinstance(kind, type) and issubclass(kind, BaseModel)
        ]
        if sections and f"{place}{name}" != "search":
            number = ".0" if get_origin(field.annotation) is list else ""
            yield from fields(sections[0], f"{place}{name}{number}.")
        else:
            yield f"{place}{name}"


def with_value(data: dict[str, Any], field: str, value: Any) -> dict[str, Any]:
    data = copy.deepcopy(data)
    *sections, last = field.split(".")
    inner: Any = data
    for part in sections:
        inner = inner[int(part)] if part.isdigit() else inner.setdefault(part, {})
    inner[last] = value
    return data


def variants_of(field: str) -> list[dict[str, Any]]:
    """The configs of `VARIANTS` in which the field may have a value."""
    section = field.split(".")[0]
    if section == "detection" or field.endswith(".backbone") or field == "data.scenes":
        names = ["detector"]
    elif field == "data.classes":
        names = ["voc"]
    elif field in ("distill.temperature", "distill.beta"):
        names = ["softened"]
    elif field == "distill.loss_args":
        names = ["own loss"]
    elif field == "distill.views":
        names = ["shaped"]  # without losses on features
    elif field in ("distill.table", "distill.shape", "distill.shaping"):
        names = ["shaped"]
    elif field.startswith(("teacher.ensemble", "teacher.assistants", "teacher.average")):
        names = ["several teachers"]
    elif field in ("distill.momentum", "distill.delta"):
        names = ["dot"]
    elif field == "distill.watch":
        names = ["all but early exits"]
    elif field == "export.keep_fp32":
        names = ["half"]
    elif section in ("prune", "quantize"):
        names = ["all but early exits"]
    elif section == "early_exit":
        names = ["early exits"]
    else:
        names = ["all but early exits", "early exits"]
    return [{**BASE, **VARIANTS[name]} for name in names]


def test_the_table_has_exactly_the_fields_of_the_config() -> None:
    assert sorted(READERS) == sorted(fields(config.Config))


@pytest.mark.parametrize("field", READERS)
def test_a_changed_field_invalidates_exactly_the_stages_that_read_it(field: str) -> None:
    value, readers = READERS[field]
    for data in variants_of(field):
        before = keys(data)
        other = with_value(data, field, value)
        if field == "data.dataset":
            other["data"]["path"] = "elsewhere"
        assert changed(before, keys(other)) == set(readers) & set(before), data


def test_a_changed_loss_of_ones_own_for_detectors_trains_again(folder: Path) -> None:
    data = {**BASE, **VARIANTS["detector"], "detection": {"losses": [{"loss": "yours:loss"}]}}
    before = keys(data)
    (folder / "yours.py").write_text("another", encoding="utf-8")
    assert changed(before, keys(data)) == set(TRAINERS)


TARGET = {
    **{
        field.name: (*COMPILERS, "tune", "build")
        for field in dataclasses.fields(targets.Target)
        if field.name != "name"  # of the folder of records: another one is empty
    },
    "description": (*COMPILERS, "tune", "build", "report"),
    "budget": (*COMPILERS, "tune", "build", "compare"),
    "channel_multiple": ("distill", *COMPILERS, "tune", "build"),
}
CHANGED: dict[str, Any] = {
    "description": "another",
    "device": "cuda",
    "tvm": {"kind": "cuda"},
    "toolchain": targets.Toolchain("aarch64-linux-gnu", "2.27"),
    "precisions": {},
    "host": {"kind": "llvm"},
    "cuda": targets.Cuda("sm_53", "6.0", "8.2"),
    "cpu": targets.CpuFacts(4, 32, 5, 1, 1, 1 << 15, 1 << 18),
    "channel_multiple": 32,
    "budget": {"model_ms": 1.5},
    "power": {"watts": 5},
    "unused": {"dla": "of another board"},
    "thermal": {"pause_celsius": 80.0, "resume_celsius": 60.0},
}


@pytest.mark.parametrize("field", TARGET)
def test_a_changed_field_of_the_target_does_too(field: str) -> None:
    other = dataclasses.replace(host(), **{field: CHANGED[field]})
    for name in ("all but early exits", "early exits"):
        data = {**BASE, **VARIANTS[name], "student": {"model": "depthwise"}}
        before = keys(data)
        assert changed(before, keys(data, other)) == set(TARGET[field]) & set(before)


READERS_OF_FILES = {
    "mine.py": ("distill", "export", "compare"),
    "yours.py": (*TRAINERS, "export"),
    "given.pt": (*TRAINERS, "export"),
    "elsewhere/cat/1.png": LOADERS,
    "shipped/relax/records": (*COMPILERS, "build"),
    "run/student.pt": COMPILERS[:1],
    "run/pruned.pt": ("quantize", "export", "compare"),
    "run/metrics.json": ("report",),
    "run/student.onnx": ("tune", "build", "compare"),
    "run/teacher.onnx": ("compare",),
    "run/inputs.npz": ("build", "compare", "report"),
    "run/comparison.json": ("report", "gate"),
    "run/artifact/model.so": ("compare", "report"),
    "run/artifact-untuned/model.so": ("compare",),
    **{f"run/records/board/{name}": ("build", "report") for name in RECORDS},
    "run/records/board/aside.jsonl": ("report",),  # a build writes it
}


@pytest.mark.parametrize("name", READERS_OF_FILES)
def test_a_changed_file_does_too(name: str) -> None:
    data = {
        **BASE,
        **VARIANTS["all but early exits"],
        "data": {"dataset": "folder", "path": "elsewhere"},
        "teacher": {"model": "yours:net", "checkpoint": "given.pt"},
    }
    before = keys(data)
    Path(name).write_text("changed", encoding="utf-8")
    assert changed(before, keys(data)) == set(READERS_OF_FILES[name]) & set(before)


def test_files_of_more_teachers_are_read_by_what_trains() -> None:
    data = {
        **BASE,
        **VARIANTS["all but early exits"],
        "student": {"model": "depthwise"},
        "teacher": {"ensemble": [{"checkpoint": "given.pt"}], "assistants": [{"model": "mine:a"}]},
    }
    for name in ("given.pt", "mine.py"):
        before = keys(data)
        Path(name).write_text("changed", encoding="utf-8")
        assert changed(before, keys(data)) == set(TRAINERS)


def test_shards_that_a_path_with_braces_names_are_read(folder: Path) -> None:
    for name in ("a.tar", "b.tar"):
        (folder / "elsewhere" / name).write_text(name)
    section = {"dataset": "webdataset", "path": "elsewhere/{a,c}.tar"}
    data = {**BASE, **VARIANTS["all but early exits"], "data": section}
    keys(data)  # one is missing: told where the data is loaded
    section["path"] = "elsewhere/{a,b}.tar"
    before = keys(data)
    (folder / "elsewhere" / "b.tar").write_text("changed")
    assert changed(before, keys(data)) == set(LOADERS) & set(before)


@pytest.mark.parametrize(
    ("variant", "name", "readers"),
    [
        ("int8", "run/student-int8.onnx", {"export"}),
        ("half", "run/student-fp32.onnx", {"compare"}),
        ("all but early exits", "run/student-int8.onnx", set()),
        ("all but early exits", "run/student-fp32.onnx", set()),
    ],
)
def test_files_of_another_precision_are_read_where_the_config_asks_for_it(
    variant: str, name: str, readers: set[str]
) -> None:
    data = {**BASE, **VARIANTS[variant]}
    before = keys(data)
    Path(name).write_text("changed", encoding="utf-8")
    assert changed(before, keys(data)) == readers


def test_the_teacher_that_was_trained_is_read_by_the_stages_that_learn_from_it() -> None:
    data = {**BASE, **VARIANTS["all but early exits"]}
    before = keys(data)
    Path("run/teacher.pt").write_text("changed", encoding="utf-8")
    assert changed(before, keys(data)) == {"prune", "quantize", "export"}
    before = keys({**data, "distill": {"loss": "ce"}})
    Path("run/teacher.pt").unlink()
    assert keys({**data, "distill": {"loss": "ce"}}) == before


def test_another_tvm_invalidates_every_stage_that_compiles_or_times_what_was_compiled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("all but early exits", "early exits"):
        data = {**BASE, **VARIANTS[name]}
        with monkeypatch.context() as patched:
            before = keys(data)
            patched.setattr(
                RunContext, "compiler", property(lambda self: {"stack": "relax", "tvm": "2"})
            )
            assert changed(before, keys(data)) == set(TVM) & set(before)


def test_another_version_of_an_engine_is_timed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    data = {**BASE, **VARIANTS["all but early exits"]}
    before = keys(data)
    monkeypatch.setattr(contexts, "package_version", lambda name: "2")
    assert changed(before, keys(data)) == {"quantize", "compare"}


def test_a_comparison_without_tvm_and_torch_reads_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = {**BASE, "compare": {"engines": ["onnxruntime"]}}
    before = keys(data)
    for name in ("mine.py", "run/student.pt", "run/artifact/model.so"):
        Path(name).write_text("changed", encoding="utf-8")
    monkeypatch.setattr(
        RunContext, "compiler", property(lambda self: {"stack": "relax", "tvm": "2"})
    )
    assert "compare" not in changed(before, keys(data))


def test_the_compiler_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()  # the fixture's compiler
    from tvmkd.runtime import interpreters
    from tvmkd.runtime.interpreters import Interpreter
    from tvmkd.stacks import survey

    def found(stack: str, versions: Callable[[str], str | None]) -> dict[str, str]:
        own = {} if stack == "relax" else {"PYTHONPATH": "x"}
        monkeypatch.setattr(interpreters, "find", lambda name: Interpreter(name, "/python", ""))
        monkeypatch.setattr(Interpreter, "environment", lambda self: own)
        monkeypatch.setattr(survey, "ask", lambda interpreter: {"tvm": "asked"})
        monkeypatch.setattr(contexts, "package_version", versions)
        cfg = config.parse({"project": {"name": "toy"}, "tune": {"stack": stack}})
        return RunContext(cfg, host(), Path("run")).compiler

    assert found("relax", lambda name: "9") == {"stack": "relax", "tvm": "9"}
    assert found("relax", lambda name: None) == {"stack": "relax", "tvm": "asked"}
    assert found("relay", lambda name: "9") == {
        "stack": "relay",
        "python": "/python",
        "tvm": "asked",
    }
