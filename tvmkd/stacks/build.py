"""Builds an artifact from a model's tasks and tuning records, checked against ONNX Runtime.

A library is compared with ONNX Runtime before it becomes an artifact; a record that makes it wrong
is found and set aside (`tvmkd.stacks.wrong_kernel`).
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tvmkd import artifact
from tvmkd.base import frame_reader, resources, stack_registry, tolerance
from tvmkd.base.agreement import Arrays, Verdict
from tvmkd.base.errors import InputError
from tvmkd.base.exits import Exits
from tvmkd.base.files import sha256
from tvmkd.base.frame_description import FrameOptions
from tvmkd.base.given_inputs import real_samples
from tvmkd.base.manifest import LIBRARY
from tvmkd.stacks import first_difference
from tvmkd.stacks.base import Emit
from tvmkd.stacks.builder import Builder, Model
from tvmkd.stacks.check import Reference
from tvmkd.stacks.coverage import coverage
from tvmkd.stacks.messages import BuildRequest
from tvmkd.stacks.standalone.exits import output_of
from tvmkd.stacks.wrong_kernel import build_until_right, first_of
from tvmkd.targets import Target
from tvmkd.tuning import records
from tvmkd.tuning.records import StoredRecord
from tvmkd.tuning.session import SCORE, check_made_for, read_info

Again = Callable[[Path], tuple[Model, Builder]]
"""Imports another ONNX file for the same target."""


def build_as_asked(
    builder: Builder,
    model: Model,
    request: BuildRequest,
    emit: Emit,
    again: Again | None = None,
) -> dict[str, Any]:
    """Calls `build` with the arguments of a request."""
    return build(
        builder,
        model,
        request.target,
        request.records,
        request.out,
        real_inputs=request.real_inputs,
        check=request.check,
        board=request.board,
        trusted=request.checked,
        exits=request.exits,
        frames=request.frames,
        emit=emit,
        again=again,
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
    trusted: bool = False,
    frames: FrameOptions | None = None,
    again: Again | None = None,
    exits: Exits | None = None,
) -> dict[str, Any]:
    """Builds, checks and writes an artifact; returns its manifest as JSON.

    Args:
        builder: of the model.
        model: the imported ONNX file.
        target: ``Target.to_dict()`` of the target.
        folders: records folders; a wrong record is set aside in its own folder, or in the first
            writable one.
        out: the artifact folder to write.
        real_inputs: ``.npz`` of real inputs, see `tvmkd.base.given_inputs`.
        check: compare with ONNX Runtime, if the target's code runs on this machine or on ``board``.
        board: ``{"host", "port", "key"}`` of the tracker of a board to compare on; only used if the
            target's code does not run on this machine.
        emit: gets ``stage``, ``note`` and ``set_aside`` events.
        trusted: True if the caller has checked the folders and ``out``; ``out`` is checked again
            when the artifact is moved there.
        frames: what the builder's library is to do with frames.
        again: imports parts of the model, to find the operator that is wrong; None: do not search.
        exits: the model's outputs are the logits of these exits.

    Raises:
        InputError: records of another target or stack, a board that does not fit the target, or
            wrong outputs that no record is to blame for.
        MissingError: no board is registered at the tracker.
    """
    begin = time.monotonic()
    if not trusted:
        artifact.check_destination(out)
    for folder in folders:
        if not trusted:
            check_made_for(folder, target, builder.stack, same_cores=False)
        info = read_info(folder) or {}
        made = info.get("stack_version")
        if made and made != builder.version:
            text = f"{folder}: made with TVM {made}, this is {builder.version}: records that do"
            emit("note", {"text": f"{text} not fit are ignored"})
    check_one_kind(folders)
    found = records.best(folders)
    usable = {
        key: [record for record in own_first(found.get(key, [])) if builder.fits(task, record)]
        for key, task in builder.tasks.items()
    }
    not_here = Target.from_dict(target).why_not_here(builder.runtime)
    aside: list[dict[str, str]] = []
    there = board if check and not_here is not None else None
    judged = builder if there is None else builder.over_rpc()
    with (
        tempfile.TemporaryDirectory(prefix="tvmkd-build-") as work,
        judged.ahead(first_of(usable), defaults=True),
    ):
        library = Path(work) / LIBRARY
        if check and (not_here is None or board is not None):
            emit("stage", {"text": "running ONNX Runtime"})
            real = real_samples(real_inputs, model.inputs)
            reference = Reference(
                builder.stack, model.info.runnable, model.inputs, real, board=there, target=target,
                tighten=not builder.byoc, runtime=judged.runtime,
                least=tolerance.REGIONS[(builder.byoc or {}).get("precision", "fp32")],
            )  # fmt: skip

            def explain(verdict: Verdict) -> str:
                return _explained(model, reference, verdict, again, emit)

            verdict, aside = build_until_right(
                judged, explain, usable, reference, library, folders, emit
            )
            if judged is not builder:
                builder.library(first_of(usable), library, defaults=True)
            checked: dict[str, Any] = {
                "against": "onnxruntime fp32",
                "samples": len(reference.samples),
                "real_samples": len(real),
                "max_error": verdict.error,
                "tolerance": reference.tolerance,
                "outputs": [
                    {"name": each.name, "max_error": each.error, "allowed": each.allowed}
                    for each in verdict.outputs
                ],
                **({"on": reference.on} if reference.on else {}),
            }
        else:
            emit("stage", {"text": "compiling"})
            builder.library(first_of(usable), library, defaults=True)
            checked = {"skipped": not_here or "not asked for"}
        emit("stage", {"text": "writing the artifact"})
        chosen = first_of(usable)
        manifest = artifact.write(
            out,
            {**builder.files(library), **_normalised(model)},
            name=model.info.name,
            target=target,
            stack=builder.stack,
            stack_version=builder.version,
            runtime=builder.runtime,
            frames=_frames(model, frames),
            onnx_sha256=model.info.sha256,
            inputs=model.inputs,
            outputs=[output_of(model.outputs)] if exits else model.outputs,
            coverage={
                **coverage(builder, chosen, aside),
                "kernels": _kernel_facts(builder, chosen),
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
            normalised={"steps": model.info.steps, "left_out": model.info.left_out}
            if model.info.steps or model.info.left_out
            else {},
            exits={name: value for name, value in asdict(exits).items() if value} if exits else {},
            metadata=model.info.metadata,
        )
    return manifest.model_dump(mode="json")


def _frames(model: Model, options: FrameOptions | None) -> dict[str, Any]:
    if options is None:
        return {}
    info = model.info
    where = os.fspath(info.path)
    return frame_reader.read(info.metadata, model.inputs, model.outputs, options, where).to_dict()


def _normalised(model: Model) -> dict[str, Path]:
    """The file that was compiled, where that is not the user's."""
    made = model.info.normalised
    return {} if made is None or not model.info.steps else {artifact.NORMALISED: made}


def _explained(
    model: Model, reference: Reference, verdict: Verdict, again: Again | None, emit: Emit
) -> str:
    """Which operator is wrong, in one line."""
    path = model.info.path
    others = [name for name in stack_registry.names() if name != reference.stack]
    wrong = next((each for each in verdict.outputs if not each.agrees), None)
    found = None
    if again is not None:
        compiled = again

        def attempt(part: Path, samples: Sequence[Arrays]) -> Verdict:
            lowered, builder = compiled(part)
            library = builder.library({}, part.with_suffix(".so"), defaults=True)
            return reference.of(part, lowered.inputs, samples).judge(library)

        name = wrong.name if wrong else model.outputs[0]["name"]
        sample = reference.samples[wrong.sample if wrong else 0]
        found = first_difference.find(
            model.info.compiled, name, sample, attempt, emit, verdict.reason, path
        )
    return first_difference.line(path, found, verdict.reason, others)


def _kernel_facts(
    builder: Builder, chosen: Mapping[str, StoredRecord]
) -> dict[str, dict[str, Any]]:
    """The builder's facts; nobody measured a kernel whose record was chosen by a score."""
    facts = builder.kernel_facts(chosen)
    scored = {
        folder for folder in {r.folder for r in chosen.values()} if "scored" in _marks(folder)
    }
    for fact in facts.values():
        if fact["key"] in chosen and chosen[fact["key"]].folder in scored:
            fact["measured_us"] = None
    return facts


def _marks(folder: Path) -> dict[str, Any]:
    """Whether a folder's figures are from emulated boards, counts or scores; empty if not."""
    info = read_info(folder) or {}
    marks = {"emulated": info.get("measured_on") == "emulated"}
    marks["icount"] = info.get("evaluator") == "icount"
    marks["scored"] = info.get("evaluator") == SCORE
    return {name: True for name, holds in marks.items() if holds}


def check_one_kind(folders: Sequence[Path]) -> None:
    """Refuses to rank real times together with times of emulated boards or instruction counts.

    Shipped records are left out: they are ranked behind all others (`own_first`).

    Raises:
        InputError: the folders hold more than one kind of figures.
    """
    folders = [folder for folder in folders if not _shipped(folder)]
    kinds = {" and ".join(_marks(folder)) or "real times": folder for folder in folders}
    if len(kinds) > 1:
        named = "; ".join(f"{folder}: {kind}" for kind, folder in sorted(kinds.items()))
        raise InputError(f"these records cannot be ranked together ({named}); give one kind")


def own_first(found: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Sorts the user's records before shipped ones, each group still best first.

    Shipped times were measured on another machine, so the two groups do not compare: the user's
    own record wins even if the shipped time is lower.
    """
    return sorted(found, key=lambda record: _shipped(record.folder))


def _shipped(folder: Path) -> bool:
    return folder.is_relative_to(resources.folder("schedules"))
