"""From tasks and records to an artifact, and never with a wrong kernel in it.

A compiler that is given thousands of odd loop nests miscompiles some of them, and the wrong one
may well be the fastest. So a build is compared with ONNX Runtime before it gets its name; where it
differs, the guilty record is found by bisection, set aside, and the next best one is taken.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tvmkd import artifact
from tvmkd.base import resources
from tvmkd.base.errors import InputError, TvmkdError
from tvmkd.base.files import sha256
from tvmkd.base.toolchain import linker_for
from tvmkd.export.check import ModelInfo
from tvmkd.stacks.base import Emit
from tvmkd.stacks.check import Reference, Verdict, real_samples
from tvmkd.targets import Target
from tvmkd.tuning import records
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.session import check_made_for, read_info
from tvmkd.tuning.space import Task

LIBRARY = artifact.LIBRARY


class Linker:
    """What ``export_library`` calls to link its objects: the target's linker."""

    def __init__(self, toolchain: Mapping[str, Any]) -> None:
        self._command = linker_for(toolchain)
        self._triple = str(toolchain["triple"])
        self.output_format = "so"

    def get_target_triple(self) -> str:
        """The triple, which TVM asks for where a library holds no code, only other engines'."""
        return self._triple

    def __call__(self, output: str, objects: Sequence[str], **_: Any) -> None:
        """Links."""
        command = [*self._command, "-o", output, *objects]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise TvmkdError(f"linking failed ({command[0]}): {last}")


class Model(Protocol):
    """An imported ONNX file."""

    @property
    def info(self) -> ModelInfo:
        """What is known of the file."""

    @property
    def inputs(self) -> list[dict[str, Any]]:
        """``{"name", "shape", "dtype"}`` of each, in order."""

    @property
    def outputs(self) -> list[dict[str, Any]]:
        """Likewise."""


class Builder(Protocol):
    """Builds libraries of one model with whatever records are chosen for its tasks.

    Attributes:
        stack: its name.
        version: of the compiler.
        tasks: by key.
        byoc: what was handed to another engine, JSON-safe; None where nothing was asked for.
    """

    stack: str
    version: str
    tasks: dict[str, Task]
    byoc: Mapping[str, Any] | None

    def library(self, chosen: Mapping[str, StoredRecord], path: Path, *, defaults: bool) -> Path:
        """Compiles with the records in ``chosen`` (by task key) into ``path``.

        Args:
            defaults: give tasks without a record the stack's default schedule; without it they are
                compiled as plainly as can be, which is the yardstick in the search for a wrong one.
        """

    def fits(self, task: Task, record: StoredRecord) -> bool:
        """Whether the record can be applied to the task."""

    def default_schedule(self, task: Task) -> str:
        """What a task without a record runs, in words."""

    def kernel_facts(self, chosen: Mapping[str, StoredRecord]) -> dict[str, dict[str, Any]]:
        """What a profile needs to know of each kernel, by the name that it has in the library."""


def build_as_asked(
    builder: Builder, model: Model, params: Mapping[str, Any], emit: Emit
) -> dict[str, Any]:
    """:func:`build` with the parameters of :meth:`tvmkd.stacks.client.StackClient.build`."""
    return build(
        builder,
        model,
        params["target"],
        [Path(folder) for folder in params["records"]],
        Path(params["out"]),
        real_inputs=Path(params["real_inputs"]) if params.get("real_inputs") else None,
        check=bool(params.get("check", True)),
        board=params.get("board"),
        emit=emit,
    )


def build(
    builder: Builder,
    model: Model,
    target: dict[str, Any],
    folders: Sequence[Path],
    out: Path,
    *,
    real_inputs: Path | None,
    check: bool,
    board: Mapping[str, Any] | None,
    emit: Emit,
) -> dict[str, Any]:
    """Builds, checks and writes an artifact; returns its manifest as JSON.

    Args:
        folders: records folders; what is set aside is written into the first one that is writable.
        real_inputs: ``.npz`` of real inputs, name to samples stacked along the first axis.
        check: compare with ONNX Runtime where the target's code runs on this machine.
        board: ``{"host", "port", "key"}`` of the tracker of a board to compare on, where it does
            not.

    Raises:
        InputError: records of another target or stack, or a board that does not fit the target.
        MissingError: no board.
        TvmkdError: the model is wrong even without any record: TVM's fault, not the tuning's.
    """
    begin = time.monotonic()
    artifact.check_destination(out)
    for folder in folders:
        check_made_for(folder, target, builder.stack, same_cores=False)
        info = read_info(folder) or {}
        made = info.get("stack_version")
        if made and made != builder.version:
            text = f"{folder}: made with TVM {made}, this is {builder.version}: what does not fit"
            emit("note", {"text": f"{text} is passed over"})
    _check_one_kind(folders)
    found = records.best(folders)
    usable = {
        key: [record for record in _own_first(found.get(key, [])) if builder.fits(task, record)]
        for key, task in builder.tasks.items()
    }
    not_here = Target.from_dict(target).runs_here()
    aside: list[dict[str, str]] = []
    with tempfile.TemporaryDirectory(prefix="tvmkd-build-") as work:
        library = Path(work) / LIBRARY
        if check and (not_here is None or board is not None):
            emit("stage", {"text": "asking ONNX Runtime"})
            real = real_samples(real_inputs, model.inputs)
            there = None if not_here is None else board
            reference = Reference(
                builder.stack, model.info.path, model.inputs, real, board=there, target=target
            )
            verdict, aside = _until_right(builder, model, usable, reference, library, folders, emit)
            checked: dict[str, Any] = {
                "against": "onnxruntime fp32",
                "samples": len(reference.samples),
                "real_samples": len(real),
                "max_error": verdict.error,
                "tolerance": reference.tolerance,
                **({"on": reference.on} if reference.on else {}),
            }
        else:
            emit("stage", {"text": "compiling"})
            builder.library(_first(usable), library, defaults=True)
            checked = {"skipped": not_here or "not asked for"}
        emit("stage", {"text": "writing the artifact"})
        chosen = _first(usable)
        manifest = artifact.write(
            out,
            {LIBRARY: library},
            name=model.info.path.stem,
            target=target,
            stack=builder.stack,
            stack_version=builder.version,
            onnx_sha256=model.info.sha256,
            inputs=model.inputs,
            outputs=model.outputs,
            coverage={
                **coverage(builder, chosen, aside),
                "kernels": builder.kernel_facts(chosen),
                "build_seconds": round(time.monotonic() - begin, 3),
                **({"byoc": dict(builder.byoc)} if builder.byoc else {}),
            },
            records=[
                {
                    "path": os.fspath(folder),
                    "sha256": sha256(records.native(folder)[-1]),
                    "used": sum(1 for record in chosen.values() if record.folder == folder),
                    "trial_seconds": records.trial_seconds(folder),
                    **_marks(folder),
                }
                for folder in folders
            ],
            check=checked,
            metadata=model.info.metadata,
        )
    return manifest.model_dump(mode="json")


def _marks(folder: Path) -> dict[str, Any]:
    """That records are of emulated boards, or instruction counts; empty for real times."""
    info = read_info(folder) or {}
    marks = {"emulated": info.get("measured_on") == "emulated"}
    marks["icount"] = info.get("evaluator") == "icount"
    return {name: True for name, holds in marks.items() if holds}


def _check_one_kind(folders: Sequence[Path]) -> None:
    """Refuses to rank times of real boards beside those of emulated ones, or beside counts.

    Raises:
        InputError: the folders are of more than one kind.
    """
    kinds = {" and ".join(_marks(folder)) or "real times": folder for folder in folders}
    if len(kinds) > 1:
        named = "; ".join(f"{folder}: {kind}" for kind, folder in sorted(kinds.items()))
        raise InputError(f"these records cannot be ranked together ({named}); give one kind")


def _own_first(found: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Best first, but times of another machine do not compare: records that ship come last."""
    shipped = resources.folder("schedules")
    return sorted(found, key=lambda record: record.folder.is_relative_to(shipped))


def _first(usable: Mapping[str, Sequence[StoredRecord]]) -> dict[str, StoredRecord]:
    return {key: found[0] for key, found in usable.items() if found}


def _until_right(
    builder: Builder,
    model: Model,
    usable: dict[str, list[StoredRecord]],
    reference: Reference,
    library: Path,
    folders: Sequence[Path],
    emit: Emit,
) -> tuple[Verdict, list[dict[str, str]]]:
    """Builds, and sets records aside, until the outputs agree."""
    aside: list[dict[str, str]] = []
    while True:
        chosen = _first(usable)
        emit("stage", {"text": f"compiling {len(builder.tasks)} kernels"})
        builder.library(chosen, library, defaults=True)
        emit("stage", {"text": "comparing with ONNX Runtime"})
        verdict = reference.judge(library)
        if verdict.agrees:
            return verdict, aside
        guilty = _guilty(builder, model, chosen, reference, library, emit, verdict)
        record = usable[guilty].pop(0)
        entry = {
            "task": builder.tasks[guilty].name,
            "key": record.key,
            "reason": verdict.reason,
            "folder": os.fspath(record.folder),
        }
        _write_aside(record, folders, verdict.reason)
        aside.append(entry)
        emit("set_aside", entry)


def _guilty(
    builder: Builder,
    model: Model,
    chosen: Mapping[str, StoredRecord],
    reference: Reference,
    library: Path,
    emit: Emit,
    verdict: Verdict,
) -> str:
    """The key of a task whose record makes the model wrong, found by bisection.

    Keeps ``right``, a number of first tasks with which the model is right, and ``wrong``, one with
    which it is not: the task between the two, when they meet, is guilty.
    """
    order = list(chosen)
    probe = library.with_name("probe.so")

    def agrees(count: int) -> bool:
        part = {key: chosen[key] for key in order[:count]}
        emit("stage", {"text": f"looking for the wrong kernel: {count} of {len(order)} tuned"})
        return reference.judge(builder.library(part, probe, defaults=False)).agrees

    if not agrees(0):
        raise TvmkdError(
            f"{model.info.path}: {verdict.reason}, without any tuning record too: TVM's importer "
            "or code generator is wrong on this model; nothing was written"
        )
    right, wrong = 0, len(order)
    if agrees(wrong):
        raise TvmkdError(
            f"{model.info.path}: {verdict.reason}, and the fault lies in no record: a default "
            "schedule is wrong; nothing was written"
        )
    while wrong - right > 1:
        middle = (right + wrong) // 2
        if agrees(middle):
            right = middle
        else:
            wrong = middle
    return order[right]


def _write_aside(record: StoredRecord, folders: Sequence[Path], reason: str) -> None:
    """Into the record's own folder, or the first writable one (those that ship are read-only)."""
    for folder in (record.folder, *folders):
        if os.access(folder, os.W_OK):
            records.set_aside(folder, record.task, record.key, reason)
            return


def coverage(
    builder: Builder,
    chosen: Mapping[str, StoredRecord],
    aside: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """What runs tuned, what does not, and the share of the time that is.

    A tuned task counts with its measured time. An untuned one with its operations at the median
    speed of the tuned ones of its kind (of all where its kind has none), which is a lower bound:
    it runs slower than that.
    """
    tasks = list(builder.tasks.values())
    speeds: dict[str, list[float]] = {}
    for task in tasks:
        if task.key in chosen and task.flop:
            speed = task.flop / chosen[task.key].seconds
            speeds.setdefault(task.kind, []).append(speed)
            speeds.setdefault("", []).append(speed)

    def estimate(task: Task) -> float:
        if task.key in chosen:
            return task.weight * chosen[task.key].seconds
        known = sorted(speeds.get(task.kind) or speeds.get("") or [1e9])
        return task.weight * task.flop / known[len(known) // 2]

    total = sum(map(estimate, tasks)) or 1.0
    untuned = [task for task in tasks if task.key not in chosen]
    return {
        "tasks": len(tasks),
        "tuned": len(tasks) - len(untuned),
        "tuned_share": 1.0 - sum(map(estimate, untuned)) / total,
        "estimate_us": total * 1e6 if len(untuned) < len(tasks) else None,
        "untuned": [
            {
                "name": task.name,
                "kind": task.kind,
                "share": estimate(task) / total,
                "schedule": builder.default_schedule(task),
            }
            for task in untuned
        ],
        "set_aside": [dict(entry) for entry in aside],
    }
