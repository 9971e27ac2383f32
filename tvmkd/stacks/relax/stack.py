"""The Relax stack: from ONNX through Relax to tuned TIR kernels in one shared library."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tvm

from tvmkd.base import frame_reader
from tvmkd.base.errors import TvmkdError
from tvmkd.base.exits import Exits
from tvmkd.base.runtimes import STANDALONE
from tvmkd.byoc.region import UNSIGNED
from tvmkd.runtime import nvrtc
from tvmkd.stacks import build, check
from tvmkd.stacks.base import Emit
from tvmkd.stacks.messages import BuildRequest, LowerRequest, ProfileRequest, TuneRequest
from tvmkd.stacks.relax import build as relax_build
from tvmkd.stacks.relax import cuda as relax_cuda
from tvmkd.stacks.relax import importer as relax_import
from tvmkd.stacks.relax import node_names
from tvmkd.stacks.relax import profile as relax_profile
from tvmkd.stacks.relax.cuda_standalone import CudaStandaloneBuilder
from tvmkd.stacks.relax.kernel_features import features
from tvmkd.stacks.relax.outside import ENGINE, merged
from tvmkd.stacks.relax.standalone import StandaloneBuilder
from tvmkd.stacks.relax.tasks import tasks_of
from tvmkd.stacks.relax.templates.cpu import Cpu
from tvmkd.stacks.standalone.exits import output_of
from tvmkd.targets import Target
from tvmkd.tuning.space import Task

if TYPE_CHECKING:
    from tvmkd.stacks.relax.offload import Offloaded

Request = LowerRequest | TuneRequest | BuildRequest
Hand = Callable[[tvm.IRModule], tvm.IRModule]


def tvm_target(target: Mapping[str, Any]) -> tvm.target.Target:
    """The TVM target of a tvmkd target (``Target.to_dict()``)."""
    host = target.get("host")
    return tvm.target.Target(target["tvm"], host) if host else tvm.target.Target(target["tvm"])


def may_hand_over(request: Request, target: Mapping[str, Any]) -> bool:
    """Whether ONNX Runtime may run what TVM cannot import: on this machine, or where asked for."""
    if target["device"] != "cpu":
        return False
    asked = not isinstance(request, TuneRequest) and request.byoc == ENGINE
    return asked or Target.from_dict(dict(target)).runs_here() is None


class RelaxStack:
    """Implements :class:`tvmkd.stacks.base.Stack`."""

    def available(self) -> dict[str, Any]:
        """The versions of TVM and of its LLVM."""
        llvm = tvm.get_global_func("target.llvm_version_major", allow_missing=True)
        return {
            "version": tvm.__version__,
            "llvm": int(llvm()) if llvm is not None else None,
            "reason": None if llvm is not None else "this TVM was built without LLVM",
        }

    def _tasks(
        self, request: Request, spec: Mapping[str, Any], hand: Hand | None = None
    ) -> tuple[relax_import.Model, list[Task]]:
        """The model fused for the target ``spec``, and its tasks; of what ``hand`` leaves."""
        target = tvm_target(spec)
        gpu = nvrtc.settings(spec)
        if gpu is not None:
            nvrtc.install(gpu)
            with node_names.importing() as names:
                model = relax_import.read(request.onnx, request.dims, request.model)
            model.mod = node_names.noted(model.mod, names)
            relax_cuda.refuse_int8(model.info.path, spec)
            model.fused = relax_cuda.fuse(model.mod, target)
            return model, tasks_of(model.fused, target, None)
        cpu = Cpu.of(spec)
        model = relax_import.read(
            request.onnx,
            request.dims,
            request.model,
            hand_over=may_hand_over(request, spec),
            # An engine takes plain operators.
            cpu=None if hand else cpu,
        )
        mod = hand(model.mod) if hand else model.mod
        model.fused = relax_import.fuse(mod, target, cpu)
        return model, tasks_of(model.fused, target, cpu)

    def lower(self, request: LowerRequest, emit: Emit) -> dict[str, Any]:
        """The tasks of a model, its inputs and its outputs; or what an engine takes of it."""
        if request.byoc:
            return self._regions(request, request.byoc)
        model, tasks = self._tasks(request, request.target)
        whole = sum(task.flop * task.weight for task in tasks) or 1.0
        summaries = [task.summary() for task in tasks]
        if request.features:
            cpu = None if nvrtc.settings(request.target) else Cpu.of(request.target)
            for task, summary in zip(tasks, summaries, strict=True):
                summary["features"] = features(task, cpu)
        return {
            "tasks": summaries,
            "inputs": model.inputs,
            "outputs": model.outputs,
            "notes": [
                *(model.outside.notes() if model.outside else ()),
                *(
                    f"{task.name}: no template knows it; searched by evolution "
                    f"({task.flop * task.weight / whole:.0%} of the operations)"
                    for task in tasks
                    if task.template is None
                ),
            ],
            "module": model.fused.script() if request.show and model.fused else None,
        }

    @staticmethod
    def _simplified(mod: tvm.IRModule, engine: str) -> tvm.IRModule:
        from tvmkd.stacks.relax import quantized_regions
        from tvmkd.stacks.relax import tensorrt as relax_tensorrt

        if relax_tensorrt.by_tvm(engine):  # it knows no quantised tensors
            return relax_import.simplify(mod)
        symmetric = engine not in UNSIGNED
        return quantized_regions.simplified(mod, relax_import.simplify, symmetric)

    def _regions(self, request: LowerRequest, engine: str) -> dict[str, Any]:
        from tvmkd.stacks.relax import offload as relax_offload
        from tvmkd.stacks.relax import tensorrt as relax_tensorrt

        reason = None
        model = relax_import.read(
            request.onnx,
            request.dims,
            request.model,
            hand_over=may_hand_over(request, request.target),
        )
        mod = self._simplified(model.mod, engine)
        try:
            relax_offload.maker_for(engine, request.target)
        except TvmkdError as error:
            reason = str(error)
        return {
            "tasks": [],
            "inputs": model.inputs,
            "outputs": model.outputs,
            "notes": model.outside.notes() if model.outside else [],
            "module": relax_tensorrt.partition(mod, engine).script() if request.show else None,
            "byoc": {
                "available": reason,
                "engine": engine,
                **relax_tensorrt.coverage(mod, engine),
            },
        }

    def tune(self, request: TuneRequest, emit: Emit) -> dict[str, Any]:
        """Tunes the models' tasks into a records folder."""
        from tvmkd.tuning.space import union
        from tvmkd.tuning.tune import tune_into

        model, tasks = self._tasks(request, request.target)
        others = (
            self._tasks(replace(request, onnx=each.path, model=each), request.target)[1]
            for each in request.others
        )
        tasks = union([tasks, *others], request.weights)
        for note in model.outside.notes() if model.outside else ():
            emit("note", {"text": note})
        return tune_into(
            request.records,
            tasks,
            request.target,
            request.tracker,
            trials=request.trials,
            seed=request.seed,
            emit=emit,
            stack="relax",
            stack_version=tvm.__version__,
            onnx_sha256=model.sha256,
            options=request.options,
        )

    def build(self, request: BuildRequest, emit: Emit) -> dict[str, Any]:
        """Builds an artifact that agrees with ONNX Runtime."""
        emit("stage", {"text": "lowering"})
        if request.check and Target.from_dict(request.target).runs_here() is None:
            check.prestart("relax")
        target = rest = request.target
        handed: list[Offloaded] = []
        hand: Hand | None = None
        if request.byoc:
            from tvmkd.stacks.relax import offload as relax_offload

            engine = request.byoc
            maker = relax_offload.maker_for(engine, target, request.byoc_precision)

            def hand(mod: tvm.IRModule) -> tvm.IRModule:
                emit("stage", {"text": "handing regions over"})
                plain = self._simplified(mod, engine)
                handed.append(relax_offload.offload(plain, engine, maker))
                for note in handed[0].notes:
                    emit("note", {"text": note})
                # All was refused: then it is compiled as if nothing had been asked for.
                return handed[0].mod if handed[0].report["regions"] else mod

            # What the engine does not take runs on the CPU beside the GPU.
            host = target.get("host") or target["tvm"]
            rest = {**target, "device": "cpu", "tvm": host, "host": None}
        model, tasks = self._tasks(request, rest, hand)
        goal, tools = tvm_target(rest), target["toolchain"]
        report = handed[0].report if handed else None
        if model.outside:
            report = merged(report, model.outside.report())

        def builder_of(
            found: relax_import.Model,
            tasks: list[Task],
            report: Mapping[str, Any] | None,
            exits: Exits | None = None,
        ) -> relax_build.RelaxBuilder:
            if request.runtime == STANDALONE:
                place, frames = Target.from_dict(target), None
                if request.frames is not None and found is model:
                    frames = frame_reader.read(
                        model.info.metadata,
                        model.inputs,
                        [output_of(model.outputs)] if exits else model.outputs,
                        request.frames,
                        os.fspath(model.info.path),
                    )
                kind = CudaStandaloneBuilder if place.cuda else StandaloneBuilder
                return kind(found, tasks, goal, place, Cpu.of(rest), exits, frames)
            return relax_build.RelaxBuilder(found, tasks, goal, tools, report, Cpu.of(rest))

        builder = builder_of(model, tasks, report, request.exits)
        # After a refusal, which says the same.
        for note in model.outside.notes() if model.outside else ():
            emit("note", {"text": note})

        def again(path: Path) -> tuple[relax_import.Model, relax_build.RelaxBuilder]:
            part, found = self._tasks(replace(request, onnx=path, dims={}, model=None), rest)
            return part, builder_of(part, found, None)

        return build.build_as_asked(builder, model, request, emit, None if hand else again)

    def profile(self, request: ProfileRequest, emit: Emit) -> list[dict[str, Any]]:
        """Times an artifact's kernels one by one."""
        return relax_profile.profile(
            request.artifact, request.inputs, request.repeats, request.onnx
        )


# Every thread of the target is one of the worker's too: TVM takes half of what it finds.
os.environ.setdefault("TVM_NUM_THREADS", str(os.cpu_count() or 1))
